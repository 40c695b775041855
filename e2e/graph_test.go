//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A storePath holds what Nix records about one store path.
type storePath struct {
	Path, NarHash string
	NarSize       int64
	References    []string
}

func graphFile(system string) string { return filepath.Join(lab.large, system+".json") }

// loadGraph reads a graph that debstore made with nix path-info --json -r.
func loadGraph(t *testing.T, system string) []storePath {
	t.Helper()
	b, err := os.ReadFile(graphFile(system))
	if err != nil {
		t.Fatal(err)
	}
	return parseGraph(t, b)
}

func parseGraph(t *testing.T, b []byte) []storePath {
	t.Helper()
	var graph []storePath
	if err := json.Unmarshal(b, &graph); err != nil {
		t.Fatal(err)
	}
	for i := range graph {
		slices.Sort(graph[i].References)
	}
	slices.SortFunc(graph, func(a, b storePath) int { return strings.Compare(a.Path, b.Path) })
	return graph
}

// hexHash converts a sha256 in SRI form to hexadecimal, the form that sha256sum prints.
func hexHash(t *testing.T, sri string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sri, "sha256-"))
	if err != nil || len(b) != sha256.Size {
		t.Fatalf("%q is no sha256 in SRI form", sri)
	}
	return hex.EncodeToString(b)
}
