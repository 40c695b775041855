package plan

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
)

// TestPlanGolden compares the plans of real closures with stored plans. The layer of each
// path affects every digest of an image. Plans depend on the constants in cost.go and the
// names in names.go.
func TestPlanGolden(t *testing.T) {
	for _, tc := range []struct {
		graph    string
		layers   int
		strategy Strategy
		want     string
	}{
		{"../../testdata/sample-x86_64-linux.json", 10, StrategyCost, "5bcec83d1c6271c6"},
		{"../../bench/plan/graphs/large-x86_64-linux.json.gz", 100, StrategyCost, "b5a300039e1e1045"},
		{"../../bench/plan/graphs/large-x86_64-linux.json.gz", 60, StrategyCost, "18825303f4c945ec"},
		{"../../bench/plan/graphs/large-aarch64-linux.json.gz", 100, StrategyCost, "bc331690b1f30146"},
		{"../../bench/plan/graphs/large-x86_64-linux.json.gz", 100, StrategySize, "2988ff441ad3b4da"},
	} {
		c := graphClosure(t, tc.graph)
		var b strings.Builder
		for _, g := range mustPlan(t, c, Options{MaxLayers: tc.layers, Strategy: tc.strategy}).Groups {
			for _, p := range g.Paths {
				fmt.Fprintln(&b, p)
			}
			fmt.Fprintln(&b)
		}
		sum := sha256.Sum256([]byte(b.String()))
		if got := hex.EncodeToString(sum[:8]); got != tc.want {
			t.Errorf("%s, %d layers, %s: plan %s, want %s", tc.graph, tc.layers, tc.strategy, got, tc.want)
		}
	}
}

// TestPlanGoldenLarge compares the plan of a generated closure that is just large enough for
// largeHeadStep, and of one that is just too small, with stored plans.
func TestPlanGoldenLarge(t *testing.T) {
	for paths, want := range map[int]string{largeClosure: "00817a468c5367ba", largeClosure - 1: "205fddd3f8af7eed"} {
		sum := sha256.Sum256([]byte(shape(mustPlan(t, randomClosure(t, paths, 1), Options{MaxLayers: 60}))))
		if got := hex.EncodeToString(sum[:8]); got != want {
			t.Errorf("%d paths: plan %s, want %s", paths, got, want)
		}
	}
}

func graphClosure(t *testing.T, file string) *closure.Closure {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	// graphClosure does not use the reader of the closure package, which requires narHashes.
	// These graphs contain none.
	var nodes []struct {
		Path       string   `json:"path"`
		NarSize    int64    `json:"narSize"`
		References []string `json:"references"`
	}
	if err := json.NewDecoder(r).Decode(&nodes); err != nil {
		t.Fatal(err)
	}
	var infos []closure.Info
	for _, n := range nodes {
		info := closure.Info{Path: closure.StorePath(n.Path), NarSize: n.NarSize}
		for _, r := range n.References {
			info.References = append(info.References, closure.StorePath(r))
		}
		infos = append(infos, info)
	}
	c, err := closure.New(nil, infos)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
