// Package internal holds tests of the whole module: imports, length of functions, and
// code that must be in one place.
package internal

import (
	"go/build"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/nixoci/nixoci/"

// allowed lists what each package may import from this module. ARCHITECTURE.md shows the same
// picture. Data flows from closure through plan, layers and manifest to push. Imports go only
// in the opposite direction.
var allowed = map[string][]string{
	// These packages each do one thing and do not handle images.
	"internal/hint":       {},
	"internal/retry":      {},
	"internal/atomicfile": {"internal/retry"},
	"internal/nar":        {},
	"internal/limit":      {},
	"internal/task":       {},
	"internal/terminal":   {},
	"internal/initbin":    {},
	"internal/page":       {},
	"internal/human":      {},
	"internal/mediatype":  {},
	"internal/inflate":    {},
	"internal/golden":     {}, // used by tests only
	"internal/cputime":    {}, // used by benchmarks only

	// Data flows through these packages, from top to bottom.
	"internal/closure":     {"internal/atomicfile", "internal/hint", "internal/nar", "internal/retry"},
	"internal/nixbuild":    {"internal/hint", "internal/nar", "internal/closure"},
	"internal/application": {"internal/hint", "internal/closure"},
	"internal/schema":      {"internal/hint"},
	"internal/spec":        {"internal/hint", "internal/closure", "internal/schema"},
	"internal/plan":        {"internal/hint", "internal/closure"},
	"internal/layers":      {"internal/hint", "internal/inflate", "internal/nar", "internal/closure"},
	"internal/cache":       {"internal/atomicfile", "internal/layers"},
	"internal/oci":         {"internal/hint", "internal/layers"},
	"internal/manifest":    {"internal/hint", "internal/nar", "internal/closure", "internal/application", "internal/layers", "internal/oci", "internal/initbin"},
	"internal/systems":     {"internal/hint", "internal/closure", "internal/nixbuild", "internal/application", "internal/cache", "internal/oci", "internal/manifest"},
	"internal/registry":    {"internal/hint", "internal/retry", "internal/atomicfile", "internal/layers", "internal/oci"},
	"internal/layout":      {"internal/hint", "internal/atomicfile", "internal/layers", "internal/oci"},
	"internal/engine":      {"internal/hint", "internal/layers", "internal/oci", "internal/layout"},
	"internal/push": {"internal/hint", "internal/retry", "internal/closure", "internal/plan", "internal/layers", "internal/cache", "internal/oci",
		"internal/manifest", "internal/registry"},

	// These packages are beside the flow of data. They read images through oci.
	"internal/keyless": {"internal/hint", "internal/retry"},
	"internal/attest":  {"internal/hint", "internal/keyless", "internal/closure", "internal/nixbuild", "internal/oci", "internal/manifest", "internal/registry"},
	"internal/report":  {"internal/nixbuild", "internal/atomicfile", "internal/page", "internal/initbin", "internal/hint", "internal/closure", "internal/plan", "internal/layers", "internal/oci", "internal/manifest", "internal/attest"},
	"internal/doctor":  {"internal/hint", "internal/oci", "internal/manifest", "internal/registry"},
	"internal/prune":   {"internal/hint", "internal/oci", "internal/manifest", "internal/registry"},
	"internal/verify":  {"internal/atomicfile", "internal/initbin", "internal/hint", "internal/nar", "internal/closure", "internal/application", "internal/layers", "internal/oci", "internal/manifest", "internal/attest"},
	"internal/policy":  {"internal/hint", "internal/schema", "internal/keyless", "internal/closure", "internal/layers", "internal/attest", "internal/verify"},

	// This program runs in the container and is separate.
	"internal/guest": {},
}

// everywhere lists packages that all packages except guest may import.
var everywhere = []string{"internal/human", "internal/limit", "internal/mediatype", "internal/task", "internal/terminal"}

func TestImportDirection(t *testing.T) {
	dirs, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, dir := range dirs {
		p, err := build.ImportDir(dir, 0)
		if err != nil {
			continue // the directory has no Go files
		}
		may, known := allowed["internal/"+dir]
		if !known {
			t.Errorf("internal/%s is not in the list of packages: say what it may import", dir)
		}
		checked++
		for _, imp := range p.Imports {
			own, ok := strings.CutPrefix(imp, module)
			if !ok {
				continue
			}
			allowedHere := dir != "guest" && slices.Contains(everywhere, own)
			for _, m := range may {
				allowedHere = allowedHere || m == own
			}
			if !allowedHere {
				t.Errorf("internal/%s imports %s, against the direction of the data", dir, own)
			}
		}
	}
	if checked < 4 {
		t.Fatalf("only %d packages found", checked)
	}
}

// TestGuestStandsApart checks that nixoci-init and nixoci share no package.
func TestGuestStandsApart(t *testing.T) {
	p, err := build.ImportDir("../cmd/nixoci-init", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, imp := range p.Imports {
		if own, ok := strings.CutPrefix(imp, module); ok && own != "internal/guest" {
			t.Errorf("cmd/nixoci-init imports %s", own)
		}
	}
}

// TestGuestIsGo122 checks that Go 1.22 can compile nixoci-init. nix/nixoci-init.nix compiles
// nixoci-init as a separate module with the Go of nixpkgs, and the oldest supported nixpkgs
// has Go 1.22.
func TestGuestIsGo122(t *testing.T) {
	dir := t.TempDir()
	for _, pkg := range []string{"cmd/nixoci-init", "internal/guest"} {
		if err := os.CopyFS(filepath.Join(dir, pkg), os.DirFS(filepath.Join("..", pkg))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module github.com/nixoci/nixoci\n\ngo 1.22\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// With -trimpath, the build cache can be used although the directory is a new one.
	cmd := exec.Command("go", "build", "-trimpath", "-o", os.DevNull, "./cmd/nixoci-init")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOPROXY=off", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
