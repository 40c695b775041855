package systems

import (
	"context"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/closure/closuretest"
	"github.com/nixoci/nixoci/internal/manifest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var storePath = closuretest.StorePath

// store is a store in memory.
type store struct{ closuretest.Store }

// input adds a path with these files to the store, and returns a closure with only this path. A file
// whose content begins with "#!" or with the mark of ELF is executable.
func (s *store) input(t *testing.T, name string, files map[string]string) Resolved {
	t.Helper()
	tree := closuretest.Tree{}
	for name, content := range files {
		kind := "f "
		if strings.HasPrefix(content, "#!") || strings.HasPrefix(content, "\x7fELF") {
			kind = "x "
		}
		tree[name] = kind + content
	}
	p := storePath(name)
	c, err := closure.New([]closure.StorePath{p}, []closure.Info{s.Add(t, p, tree)})
	must(t, err)
	return Resolved{Arg: "./" + name, Toplevel: p, Closure: c, Source: s}
}

// elf returns the first bytes of a program. machine is the number of its processor in ELF.
func elf(machine uint16) string {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(b[16:], 2)
	binary.LittleEndian.PutUint16(b[18:], machine)
	return string(b)
}

var amd64, arm64 = elf(62), elf(183)

func nixos(system string) map[string]string {
	return map[string]string{"init": "#! /bin/sh\n", "system": system, "nixos-version": "26.05"}
}

func platformOf(arch string) ocispec.Platform {
	return ocispec.Platform{OS: "linux", Architecture: arch}
}

// described returns one line for each content: its platform, its arguments and its roots.
func described(contents []Content) (all []string) {
	for _, c := range contents {
		platform := "system"
		if c.Platform != nil {
			platform = c.Platform.Architecture
		}
		all = append(all, fmt.Sprintf("%s %s %d", platform, c.Arg, len(c.Roots)))
	}
	return all
}

// TestContents checks which applications go into the image of which platform.
func TestContents(t *testing.T) {
	s := &store{}
	web := s.input(t, "nixos-system-web-26.05", nixos("x86_64-linux"))
	other := s.input(t, "web", nixos("aarch64-linux")) // an init and a file named system make it a NixOS system
	hello := s.input(t, "hello-1", map[string]string{"bin/hello": amd64})
	tool := s.input(t, "tool-1", map[string]string{"bin/tool": amd64})
	arm := s.input(t, "hello-arm-1", map[string]string{"bin/hello": arm64})
	data := s.input(t, "data-1", map[string]string{"share/data": "x"})
	stated := data
	stated.System = "armv7l-linux"
	broken := s.input(t, "nixos-system-broken-26.05", map[string]string{"share/data": "x"})
	graph := Resolved{Arg: "graph.json", Closure: hello.Closure, Source: s}

	for name, test := range map[string]struct {
		resolved []Resolved
		stated   []ocispec.Platform
		want     []string
	}{
		"systems":                  {[]Resolved{web, other}, nil, []string{"system ./nixos-system-web-26.05 0", "system ./web 0"}},
		"the name of a toplevel":   {[]Resolved{broken}, nil, []string{"system ./nixos-system-broken-26.05 0"}},
		"several roots":            {[]Resolved{graph}, nil, []string{"system graph.json 0"}},
		"one platform":             {[]Resolved{tool, hello}, nil, []string{"amd64 ./tool-1 ./hello-1 2"}},
		"the same twice":           {[]Resolved{hello, hello}, nil, []string{"amd64 ./hello-1 ./hello-1 1"}},
		"two platforms":            {[]Resolved{hello, arm}, nil, []string{"amd64 ./hello-1 1", "arm64 ./hello-arm-1 1"}},
		"data for every platform":  {[]Resolved{data, hello, arm}, nil, []string{"amd64 ./data-1 ./hello-1 2", "arm64 ./data-1 ./hello-arm-1 2"}},
		"only data":                {[]Resolved{data}, []ocispec.Platform{platformOf("riscv64")}, []string{"riscv64 ./data-1 1"}},
		"the argument states it":   {[]Resolved{stated}, []ocispec.Platform{platformOf("riscv64")}, []string{"arm ./data-1 1"}},
		"a system and application": {[]Resolved{hello, web}, nil, []string{"system ./nixos-system-web-26.05 0", "amd64 ./hello-1 1"}},
	} {
		got, err := new(Reader).Contents(t.Context(), test.resolved, test.stated)
		if err != nil || !slices.Equal(described(got), test.want) {
			t.Errorf("%s: %q, %v; want %q", name, described(got), err, test.want)
		}
	}
	if _, err := new(Reader).Contents(t.Context(), []Resolved{data}, nil); err == nil || !strings.Contains(err.Error(), "./data-1") {
		t.Errorf("only data, and no platform: %v", err)
	}
}

// TestSystems checks the systems of an application and a NixOS system. A second run with the cache
// of the first run must open no store file and find the same systems.
func TestSystems(t *testing.T) {
	s := &store{}
	resolved := []Resolved{s.input(t, "web", nixos("x86_64-linux")), s.input(t, "hello-1", map[string]string{"bin/hello": arm64, "bin/other": arm64})}
	resolved[1].Program = "other"
	local := cache.Open(t.TempDir())
	read := func(r *Reader) []*manifest.System {
		t.Helper()
		contents, err := r.Contents(t.Context(), resolved, nil)
		must(t, err)
		all, err := r.Systems(t.Context(), contents, application.Choices{})
		must(t, err)
		return all
	}
	first := read(&Reader{Cache: local})
	if len(first) != 2 || first[0].App != nil || first[0].Platform.Architecture != "amd64" || first[0].Version != "26.05" {
		t.Fatalf("the NixOS system: %+v", first[0])
	}
	if app := first[1].App; app == nil || app.Start != string(resolved[1].Toplevel)+"/bin/other" || first[1].Platform.Architecture != "arm64" {
		t.Errorf("the application: %+v", first[1].App)
	}
	before := s.Reads
	second := read(&Reader{Cache: local})
	if s.Reads != before {
		t.Errorf("%d paths were read again", s.Reads-before)
	}
	if !reflect.DeepEqual(first[0].Facts, second[0].Facts) || !reflect.DeepEqual(first[1].App, second[1].App) {
		t.Errorf("the cache has another result: %+v %+v", second[0].Facts, second[1].App)
	}
	if read(&Reader{}); s.Reads == before {
		t.Error("without a cache, no path was read")
	}
}

// TestSystemsOfOnePlatform checks that two closures for one platform are refused.
func TestSystemsOfOnePlatform(t *testing.T) {
	s := &store{}
	r := new(Reader)
	contents, err := r.Contents(t.Context(), []Resolved{s.input(t, "web", nixos("x86_64-linux")), s.input(t, "hello-1", map[string]string{"bin/hello": amd64})}, nil)
	must(t, err)
	if all, err := r.Systems(t.Context(), contents, application.Choices{}); err == nil {
		t.Errorf("two systems for one platform: %v", all)
	}
	if all, err := r.Expected(t.Context(), contents); err == nil {
		t.Errorf("two systems for one platform to verify: %v", all)
	}
}

// TestSigned checks that facts from a signed image replace the files of a toplevel.
func TestSigned(t *testing.T) {
	s := &store{}
	in := s.input(t, "web", nixos("x86_64-linux"))
	r := &Reader{Signed: func(_ context.Context, info *closure.Info) (manifest.Facts, bool) {
		return manifest.Facts{System: "aarch64-linux", Init: "script"}, info.Path == in.Toplevel
	}}
	contents, err := r.Contents(t.Context(), []Resolved{in}, nil)
	must(t, err)
	all, err := r.Systems(t.Context(), contents, application.Choices{})
	must(t, err)
	if s.Reads != 0 || all[0].Platform.Architecture != "arm64" {
		t.Errorf("%d paths read, platform %v", s.Reads, all[0].Platform)
	}
	// verify must not use the facts that an image claims.
	if all, err = new(Reader).Expected(t.Context(), contents); err != nil || s.Reads == 0 || all[0].Platform.Architecture != "amd64" {
		t.Errorf("to verify: %d paths read, %v, %v", s.Reads, all, err)
	}
}

// TestFinish checks the init program of a NixOS system. Finish must list the platforms for which nixoci
// has none.
func TestFinish(t *testing.T) {
	s := &store{}
	r := &Reader{}
	finish := func(system string, init *manifest.InitChoice) (*manifest.System, []ocispec.Platform) {
		t.Helper()
		contents, err := r.Contents(t.Context(), []Resolved{s.input(t, "web-"+system, nixos(system))}, nil)
		must(t, err)
		all, err := r.Systems(t.Context(), contents, application.Choices{})
		must(t, err)
		all, noInit, err := r.Finish(t.Context(), all, init)
		must(t, err)
		return all[0], noInit
	}
	if sys, noInit := finish("x86_64-linux", &manifest.InitChoice{}); sys.Init == nil || len(noInit) != 0 {
		t.Errorf("x86_64: init %v, platforms without one: %v", sys.Init, noInit)
	}
	if sys, noInit := finish("x86_64-linux", &manifest.InitChoice{None: true}); sys.Init != nil || len(noInit) != 0 {
		t.Errorf("x86_64 without nixoci-init: init %v, platforms without one: %v", sys.Init, noInit)
	}
	if sys, noInit := finish("s390x-linux", &manifest.InitChoice{}); sys.Init != nil || len(noInit) != 1 || noInit[0].Architecture != "s390x" {
		t.Errorf("s390x: init %v, platforms without one: %v", sys.Init, noInit)
	}
}

// TestLook checks that a report has the platform of each closure, and that a closure whose files
// cannot be read is still reported.
func TestLook(t *testing.T) {
	s := &store{}
	web := s.input(t, "nixos-system-web-26.05", nixos("aarch64-linux"))
	hello := s.input(t, "hello-1", map[string]string{"bin/hello": amd64})
	var debug []error
	r := &Reader{Debug: func(err error) { debug = append(debug, err) }}
	got := r.Look(t.Context(), []Resolved{web, hello}, nil)
	if len(got) != 2 || got[0].PlatformName() != "linux/arm64" || got[1].PlatformName() != "linux/amd64" || len(debug) != 0 {
		t.Errorf("%+v, %v", got, debug)
	}
	if len(got[0].Configuration()) != 0 || !slices.Equal(got[1].Configuration(), []closure.StorePath{hello.Toplevel}) {
		t.Errorf("paths that change with every update: %v, %v", got[0].Configuration(), got[1].Configuration())
	}
	clear(s.Trees) // now the content of each path differs from its narHash
	got = r.Look(t.Context(), []Resolved{web, hello}, nil)
	if len(got) != 2 || got[0].IsApplication() || !got[1].IsApplication() || got[0].PlatformName() != "" || len(debug) == 0 {
		t.Errorf("without files: %+v, %v", got, debug)
	}
}
