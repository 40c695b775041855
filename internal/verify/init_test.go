package verify

import (
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/initbin"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/push"
)

// otherInit returns a program that nixoci does not know: nixoci's own program with another entry
// point.
func otherInit(t *testing.T) []byte {
	t.Helper()
	p, ok := initbin.For("amd64")
	if !ok {
		t.Fatal("no program for amd64")
	}
	data, err := p.Bytes()
	must(t, err)
	binary.LittleEndian.PutUint64(data[24:], binary.LittleEndian.Uint64(data[24:])+1)
	return data
}

func TestInit(t *testing.T) {
	amd64 := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	other, err := manifest.NewInit(otherInit(t), amd64)
	must(t, err)
	own := manifest.DefaultInit(amd64)
	file := func(data []byte) *manifest.InitChoice {
		return &manifest.InitChoice{Files: []manifest.InitFile{{Name: "x", Data: data}}}
	}
	ownData := func() []byte {
		p, _ := initbin.Lookup(own.Digest.String())
		data, err := p.Bytes()
		must(t, err)
		return data
	}()
	for _, tt := range []struct {
		name   string
		init   *manifest.Init
		result Verdict
		detail string

		wants    map[string]*manifest.InitChoice // keys are texts that the finding must contain; "" if there must be none
		defaults bool                            // whether the image passes with --default-settings
	}{
		{name: "own", init: own, result: Holds, detail: "of this nixoci", wants: map[string]*manifest.InitChoice{
			"": {}, "should be a link": {None: true}, "should be sha256:": file(otherInit(t))}, defaults: true},
		{name: "other", init: other, result: Unknown, detail: "not a known nixoci-init, " + other.Digest.String(), wants: map[string]*manifest.InitChoice{
			"": file(otherInit(t)), "should be sha256:": file(ownData), "should be a link": {None: true}}},
		{name: "none", result: Without, detail: "links to the system's own init", wants: map[string]*manifest.InitChoice{
			"": {None: true}, "it is not a nixoci-init": {}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			image := ownInit.system(t, "sample-x86_64-linux")
			image.System = image.System.In(manifest.Format2, tt.init)
			dir := filepath.Join(t.TempDir(), "image")
			dst, err := layout.OpenLayout(dir)
			must(t, err)
			_, err = push.Push(t.Context(), dst, []push.PlannedSystem{image}, push.Options{Compression: layers.Compression{Algorithm: layers.None}, Tags: []string{"v1"}})
			must(t, err)
			must(t, dst.Close())
			check := func(o Options) *Report {
				t.Helper()
				return verified(t, "oci:"+dir, o)
			}
			r := check(Options{})
			if !r.OK || r.Platforms[0].Format != manifest.Format2 {
				t.Fatalf("%+v", r)
			}
			if tt.init != nil && r.Platforms[0].Init != tt.init.Digest {
				t.Errorf("init is %s", r.Platforms[0].Init)
			}
			for _, c := range r.Platforms[0].Checks {
				if c.Check == CheckInit && (c.Verdict != tt.result || !strings.Contains(c.Detail, tt.detail)) {
					t.Errorf("%+v", c)
				}
			}
			for says, want := range tt.wants {
				r := check(Options{Init: want})
				if r.OK != (says == "") || !r.OK && (r.Findings[0].Check != CheckInit || !strings.Contains(r.Findings[0].What, says)) {
					t.Errorf("wanted for %q: %v", says, r.Findings)
				}
			}
			if r := check(Options{DefaultSettings: true}); r.OK != tt.defaults {
				t.Errorf("with the default alone: %v", r.Findings)
			}
			// A closure contains no nixoci-init, so the comparison uses the program from the image.
			if r := check(Options{Closures: ownInit.given(t, "sample-x86_64-linux")}); !r.OK {
				t.Errorf("compared with its closure: %v", r.Findings)
			}
		})
	}
}
