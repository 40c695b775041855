package verify

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/terminal"
)

func TestUntouched(t *testing.T) {
	r := verified(t, newSampleOf(t, whole, layers.None, "x86_64-linux", "aarch64-linux").layout(), Options{})
	if !r.OK || len(r.Findings) != 0 || len(r.Platforms) != 2 {
		t.Fatalf("%+v", r)
	}
	for _, p := range r.Platforms {
		if p.Paths != 22 {
			t.Errorf("%s: %d paths", p.Platform, p.Paths)
		}
		for _, c := range p.Checks {
			if c.Verdict != Holds {
				t.Errorf("%s: %s is %s", p.Platform, c.Check, c.Verdict)
			}
		}
	}
	if r.Index != Holds {
		t.Errorf("index is %s", r.Index)
	}
	var b strings.Builder
	must(t, r.WriteText(terminal.New(&b), false))
	if !strings.HasSuffix(b.String(), "\n"+NoOrigin+"\n") {
		t.Errorf("the report does not say so: %s", b.String())
	}
}

// TestForms verifies images that were pushed with every flag that changes bytes.
func TestForms(t *testing.T) {
	created := time.Unix(1_700_000_000, 0)
	all := manifest.Settings{
		Env: []string{"TZ=UTC", "PATH=/bin"}, Labels: map[string]string{"a": "<b>"}, Annotations: map[string]string{"c": "d"},
		Cmd: []string{"x"}, User: "0:0", WorkingDir: "/root", StopSignal: "SIGTERM",
		Ports: []string{"80", "53/udp"}, Volumes: []string{"/var/lib"}, Created: &created,
	}
	docker := all
	docker.Docker = true
	most := []string{"Cmd", "Env", "User", "WorkingDir", "StopSignal", "ExposedPorts", "Volumes", "Labels", "created", "annotations"}
	entry := manifest.Settings{Entrypoint: []string{"/bin/sh", "-c", "true"}}
	for _, tt := range []struct {
		name, comp string
		settings   manifest.Settings
		systems    []string
		chosen     []string
	}{
		{name: "zstd", comp: "zstd", settings: manifest.Settings{}, systems: []string{"sample-x86_64-linux"}},
		{name: "none", comp: "none", settings: manifest.Settings{}, systems: []string{"sample-aarch64-linux"}},
		{name: "all settings", comp: "gzip:1", settings: all, systems: []string{"sample-x86_64-linux", "sample-aarch64-linux"}, chosen: most},
		{name: "docker", comp: "gzip", settings: docker, systems: []string{"sample-aarch64-linux", "sample-x86_64-linux"}, chosen: most},
		{name: "entrypoint", comp: "zstd:1", settings: entry, systems: []string{"sample-x86_64-linux-update"}, chosen: []string{"Entrypoint"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := small.layoutOf(t, tt.comp, tt.settings, tt.systems...)
			for _, source := range []string{"oci:" + dir + ":v1"} {
				r := verified(t, source, Options{})
				if !r.OK {
					t.Errorf("%s: %v", source, r.Findings)
				}
				var chosen []string
				for _, s := range r.Platforms[0].Settings {
					chosen = append(chosen, s.Name)
				}
				if !slices.Equal(chosen, tt.chosen) {
					t.Errorf("settings that are not the default: %q", chosen)
				}
				// DefaultSettings must refuse every setting that differs from the default, unless
				// the setting only describes the image. TestInit checks the default of /sbin/init.
				if r := verified(t, source, Options{DefaultSettings: true, Init: tinyInits(t)}); r.OK != (len(tt.chosen) == 0) {
					t.Errorf("with the default alone: %v", r.Findings)
				}
			}
		})
	}
}

func TestArchives(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image.tar")
	dst, err := layout.CreateArchive(file)
	must(t, err)
	whole.pushTo(t, dst, "zstd", manifest.Settings{}, "sample-x86_64-linux", "sample-aarch64-linux")
	if r := verified(t, "oci-archive:"+file, Options{}); !r.OK {
		t.Error(r.Findings)
	}
	for _, comp := range []string{"gzip", "none"} {
		file := filepath.Join(t.TempDir(), "docker.tar")
		dst, err := layout.CreateDockerArchive(file)
		must(t, err)
		small.pushTo(t, dst, comp, manifest.Settings{}, "sample-x86_64-linux")
		r := verified(t, "docker-archive:"+file, Options{})
		if !r.OK {
			t.Error(comp, r.Findings)
		}
		i := slices.IndexFunc(r.Platforms[0].Checks, func(c CheckResult) bool { return c.Check == CheckManifest })
		if i < 0 || r.Platforms[0].Checks[i].Verdict != Without || r.Index != Without {
			t.Errorf("a docker-archive has no manifest: %+v", r)
		}
	}
}

// TestPlatforms checks that only the selected platforms are verified, and that the report names the
// others.
func TestPlatforms(t *testing.T) {
	s := newSample(t, "x86_64-linux", "aarch64-linux")
	s.edit("web-root/index.html", func(items []item, at int) []item { items[at].content[3] ^= 1; return items })
	source := s.layout()
	for name, ok := range map[string]bool{"linux/arm64": true, "linux/amd64": false} {
		p, err := manifest.ParsePlatform(name)
		must(t, err)
		r := verified(t, source, Options{Platforms: append(Options{}.Platforms, p)})
		if r.OK != ok || len(r.Skipped) != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	p, err := manifest.ParsePlatform("linux/riscv64")
	must(t, err)
	if r := verified(t, source, Options{Platforms: append(Options{}.Platforms, p)}); r.OK {
		t.Error("a platform that is not there was verified")
	}
}

// TestFindingsHaveOneOrder checks that the order of the findings does not depend on the order in
// which layers are read.
func TestFindingsHaveOneOrder(t *testing.T) {
	s := newSample(t, "x86_64-linux")
	for _, name := range []string{"bin/busybox", "web-root/index.html", "bin/dash", "bin/bzip2", "bin/hostname", "etc/services"} {
		s.edit(name, func(items []item, at int) []item {
			items[at].content[9] ^= 1
			items[at].field(136, 148, "00000000000")
			return items
		})
	}
	s.configs[0].Architecture = "arm64"
	source := s.layout()
	want := verified(t, source, Options{KeepGoing: true, Jobs: 1}).Findings
	if len(want) < 13 {
		t.Fatalf("%d findings: %v", len(want), want)
	}
	for jobs := range 6 {
		if got := verified(t, source, Options{KeepGoing: true, Jobs: jobs}).Findings; !slices.Equal(got, want) {
			t.Errorf("%d jobs: %v\ninstead of %v", jobs, got, want)
		}
		if got := verified(t, source, Options{Jobs: jobs}).Findings; len(got) != 1 || got[0] != want[0] {
			t.Errorf("%d jobs: %v\ninstead of %v", jobs, got, want[0])
		}
	}
}
