package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nixoci/nixoci/internal/report"
)

// sampleRegistry holds the sample systems for both platforms. REPO:1 is the image before an
// update, and REPO:2 the image after it. All tests share this registry and only read from it.
var sampleRegistry struct {
	once sync.Once
	repo string
}

func inRegistry(t *testing.T) (repo string) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("SOURCE_DATE_EPOCH", "")
	sampleRegistry.once.Do(func() {
		s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)))
		repo := strings.TrimPrefix(s.URL, "http://") + "/org/web"
		for tag, suffix := range map[string]string{"1": "", "2": "-update"} {
			args := append([]string{"push", repo + ":" + tag}, fromSample(t)...)
			mustRun(t, append(args, sampleSystem(t, "sample-x86_64-linux"+suffix), sampleSystem(t, "sample-aarch64-linux"+suffix))...)
		}
		sampleRegistry.repo = repo
	})
	if sampleRegistry.repo == "" {
		t.Fatal("the samples were not pushed")
	}
	return sampleRegistry.repo
}

// fromSample returns the flags that select the uncompressed binary cache of the samples.
func fromSample(t *testing.T) []string {
	t.Helper()
	v := scriptSystems(t)["sample"]
	return []string{"--from", v["CACHE"], "--trusted-public-key", v["KEY"]}
}

func sampleSystem(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("../../testdata/systems.json")
	if err != nil {
		t.Fatal(err)
	}
	var systems map[string]string
	if err := json.Unmarshal(data, &systems); err != nil || systems[name] == "" {
		t.Fatalf("%s: %v", name, err)
	}
	return systems[name]
}

// command runs nixoci and returns its exit code and output.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := command(t, args...)
	if code != exitOK {
		t.Fatalf("nixoci %s: exit %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

func decode[T any](t *testing.T, s string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
	return v
}

func TestInspect(t *testing.T) {
	repo := inRegistry(t)
	in := decode[report.Inspection](t, mustRun(t, "inspect", repo+":1", "--json"))
	if len(in.Platforms) != 2 || in.Platforms[0].Platform != "linux/amd64" || in.Platforms[1].Platform != "linux/arm64" {
		t.Fatalf("platforms %+v", in.Platforms)
	}
	for _, p := range in.Platforms {
		seen := map[string]bool{}
		var tars int64
		for i, l := range p.Layers {
			if l.Paths == nil || l.System != (i == len(p.Layers)-1) || l.TarSize <= l.Size {
				t.Errorf("%s: layer %d: %+v", p.Platform, i, l)
			}
			for _, path := range l.Paths {
				if seen[string(path.Path)] || path.NarSize == 0 || path.NarHash == "" {
					t.Errorf("%s: layer %d: %+v", p.Platform, i, path)
				}
				seen[string(path.Path)] = true
			}
			tars += l.TarSize
		}
		if len(seen) != 22 || p.StorePaths != 22 || p.TarSize != tars || !strings.HasSuffix(string(p.Toplevel), "-nixos-system-sample-24.05.20240531.debian12") {
			t.Errorf("%s: %d paths in layers, %d in the database, toplevel %s", p.Platform, len(seen), p.StorePaths, p.Toplevel)
		}
	}
	text := mustRun(t, "inspect", repo+":1", "--platform", "linux/arm64", "--paths")
	for _, want := range []string{"OCI index", "linux/arm64", "22 store paths", "/sbin/init", in.Platforms[1].Digest, "-busybox-init-1.35.0\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "linux/amd64") {
		t.Error("--platform shows the other platform too")
	}
	if code, _, stderr := command(t, "inspect", repo+":1", "--platform", "linux/riscv64"); code != exitFailed || !strings.Contains(stderr, "the image has no platform linux/riscv64") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if code, _, stderr := command(t, "inspect", repo+":nope"); code != exitFailed || !strings.Contains(stderr, ":nope: not found") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// TestInspectOtherPlan checks that inspect finds all paths of layers that contain several
// paths. inspect finds the paths by the recipes.
func TestInspectOtherPlan(t *testing.T) {
	repo := inRegistry(t)
	mustRun(t, append(append([]string{"push", repo + "-other:3"}, fromSample(t)...), sampleSystem(t, "sample-x86_64-linux"), "--max-layers", "3", "--compression", "none")...)
	in := decode[report.Inspection](t, mustRun(t, "inspect", repo+"-other:3", "--json"))
	paths := 0
	for _, l := range in.Platforms[0].Layers {
		paths += len(l.Paths)
	}
	if paths != 22 || len(in.Platforms[0].Layers) != 5 { // the image has three store layers, the init layer and the system layer
		t.Errorf("%d paths in %d layers", paths, len(in.Platforms[0].Layers))
	}
}

func TestDiff(t *testing.T) {
	repo := inRegistry(t)
	d := decode[report.Diff](t, mustRun(t, "diff", repo+":1", repo+":2", "--json"))
	if len(d.Platforms) != 2 {
		t.Fatalf("%d platforms", len(d.Platforms))
	}
	in := decode[report.Inspection](t, mustRun(t, "inspect", repo+":2", "--json"))
	for i, p := range d.Platforms {
		if p.Packages[0].Name != "hostname" || p.Packages[0].Kind != report.Changed || p.Packages[0].After[0] != "3.25" {
			t.Errorf("%s: %+v", p.Platform, p.Packages[0])
		}
		if p.Pull.Estimated || p.Pull.OfSize != in.Platforms[i].Size || p.Pull.Size >= p.Pull.OfSize/10 || len(p.Pull.Layers) == 0 {
			t.Errorf("%s: %+v", p.Platform, p.Pull)
		}
	}
	if out := mustRun(t, "diff", repo+":1", repo+":1"); !strings.Contains(out, "nothing changed") {
		t.Errorf("same: %s", out)
	}
	graph := "../../testdata/sample-aarch64-linux-update.json"
	mixed := decode[report.Diff](t, mustRun(t, "diff", repo+":1", "aarch64-linux="+graph, "--json"))
	if len(mixed.Platforms) != 1 || mixed.Platforms[0].Platform != "linux/arm64" || !mixed.Platforms[0].Pull.Estimated ||
		len(mixed.Platforms[0].Pull.Layers) != len(d.Platforms[1].Pull.Layers)-1 { // all layers except the system layer
		t.Errorf("image and graph: %+v", mixed.Platforms)
	}
	text := mustRun(t, "diff", "../../testdata/sample-aarch64-linux.json", graph)
	if !strings.Contains(text, "hostname  3.23+nmu1 → 3.25") {
		t.Errorf("graphs: %s", text)
	}
}

func TestSBOM(t *testing.T) {
	repo := inRegistry(t)
	code, _, stderr := command(t, "sbom", repo+":1")
	if code != exitFailed || !strings.Contains(stderr, "hint: choose one with --platform: linux/amd64, linux/arm64") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if code, _, stderr := command(t, "sbom", repo+":1", "--format", "xml"); code != exitUsage || !strings.Contains(stderr, `"xml"`) {
		t.Errorf("exit %d: %s", code, stderr)
	}
	doc := decode[struct{ Packages []any }](t, mustRun(t, "sbom", repo+":1", "--platform", "linux/amd64"))
	bom := decode[struct{ Components []any }](t, mustRun(t, append([]string{"sbom", sampleSystem(t, "sample-x86_64-linux"), "--format", "cyclonedx"}, fromSample(t)...)...))
	// In addition to the store paths, the document lists nixoci-init and Go's standard
	// library.
	if len(doc.Packages) != 22+2 || len(bom.Components) != 22 {
		t.Errorf("%d packages, %d components of 22 store paths", len(doc.Packages), len(bom.Components))
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	if out := mustRun(t, "sbom", repo+":1", "--platform", "linux/amd64"); !strings.Contains(out, `"created": "2023-11-14T22:13:20Z"`) {
		t.Errorf("no SOURCE_DATE_EPOCH in %.300s", out)
	}
}

// cmdSignatures checks the number of manifests that have a signature: signatures HOST/REPO N
func cmdSignatures(ts *testscript.TestScript, neg bool, args []string) {
	tags, n := listTags(ts, args[0]), 0
	for _, t := range tags {
		if strings.HasPrefix(t, "sha256-") && strings.HasSuffix(t, ".sig") {
			n++
		}
	}
	if fmt.Sprint(n) != args[1] {
		ts.Fatalf("%d manifests are signed, want %s: %v", n, args[1], tags)
	}
}

func TestHTML(t *testing.T) {
	repo := inRegistry(t)
	dir := t.TempDir()
	mustRun(t, "inspect", repo+":1", "--html", filepath.Join(dir, "image.html"))
	mustRun(t, "diff", repo+":1", repo+":2", "--html", filepath.Join(dir, "diff.html"))
	for name, want := range map[string]string{"image.html": "linux/arm64", "diff.html": "3.25"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if code, _, stderr := command(t, "inspect", repo+":1", "--html", filepath.Join(dir, "no", "image.html")); code != exitFailed || !strings.Contains(stderr, "write page") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}
