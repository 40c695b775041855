package verify

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
)

func TestClosure(t *testing.T) {
	source := newSample(t, "x86_64-linux", "aarch64-linux").layout()
	both := []string{"sample-x86_64-linux", "sample-aarch64-linux"}
	for _, names := range [][]string{both, both[:1], both[1:]} {
		r := verified(t, source, Options{Closures: small.given(t, names...)})
		if !r.OK {
			t.Errorf("%v: %v", names, r.Findings)
		}
		compared := 0
		for _, p := range r.Platforms {
			for _, c := range p.Checks {
				if c.Check == CheckClosure && c.Verdict == Holds {
					compared++
				}
			}
		}
		if compared != len(names) {
			t.Errorf("%v: %d platforms were compared", names, compared)
		}
	}
}

func TestClosureForms(t *testing.T) {
	set := manifest.Settings{Entrypoint: []string{"/bin/sh"}, Env: []string{"A=b"}, Annotations: map[string]string{"c": "d"}}
	for _, comp := range []string{"zstd:1", "none"} {
		dir := small.layoutOf(t, comp, set, "sample-x86_64-linux")
		if r := verified(t, "oci:"+dir, Options{Closures: small.given(t, "sample-x86_64-linux")}); !r.OK {
			t.Error(comp, r.Findings)
		}
	}
}

func TestClosureDiffers(t *testing.T) {
	const inLargeFile = "far into a large file"
	page := func(f func(it *item)) func(*sample) {
		return func(s *sample) {
			s.edit("web-root/index.html", func(items []item, at int) []item { f(&items[at]); return items })
		}
	}
	for n, tt := range []struct {
		name   string
		change func(s *sample)
		want   string
	}{
		{"byte", page(func(it *item) { it.content[3] ^= 1 }), webRoot + "/index.html: contents differ at byte 3"},
		{"shorter", page(func(it *item) { it.content = it.content[:7]; it.setSize() }), "index.html: size is 7, not"},
		{"mode", page(func(it *item) { it.field(100, 108, "0000555") }), "index.html: mode is 0555, not 0444"},
		{"time", page(func(it *item) { it.field(136, 148, "00000000000") }), "index.html: mtime is 0, not 1"},
		{"kind", page(func(it *item) {
			it.head[156] = '2'
			it.content = nil
			it.field(157, 257, "x")
			it.setSize()
			it.field(100, 108, "0000777")
		}),
			"index.html: a symlink, not a file"},
		{"missing", func(s *sample) { s.edit("web-root/index.html", remove) }, "index.html: a file is missing"},
		{"extra", func(s *sample) {
			s.edit("web-root/index.html", func(items []item, at int) []item {
				return insert(items, at+1, entry('0', webRoot+"/more.html", 0o444, "more"))
			})
		}, "more.html: an extra file"},
		{"target", func(s *sample) {
			s.edit("bin/domainname", func(items []item, at int) []item { items[at].field(157, 257, "evil"); return items })
		}, `bin/domainname: target is "evil", not "hostname"`},
		{inLargeFile, func(s *sample) {
			s.edit("bin/busybox", func(items []item, at int) []item { items[at].content[1_234_567] ^= 1; return items })
		}, "bin/busybox: contents differ at byte 1234567"},
		{"path missing", func(s *sample) { s.edit("-passwd", remove) }, "-passwd: the closure contains this path, but no layer does"},
		{"compressed otherwise", func(s *sample) { s.setTar(0, 3, s.tarOf(0, 3)) }, "the tar is right, but not the blob: compressed with gzip:"},
		{"truncated blob", func(s *sample) {
			d := s.manifests[0].Layers[2].Digest
			s.changed[d] = bytes.Clone(s.blob(d)[:100])
		}, "it has 100 bytes instead of"},
		{"system layer", func(s *sample) {
			s.edit(imageRoot, func(items []item, at int) []item { items[at].field(157, 257, "/evil"); return items })
		}, imageRoot + `: target is "/evil"`},
		{"history", func(s *sample) { s.configs[0].History[0].CreatedBy = "x" }, "config: history[0].created_by"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			compression := layers.None
			if strings.Contains(tt.want, "compressed") {
				compression = layers.Gzip
			}
			st := small
			if tt.name == inLargeFile {
				st = whole
			}
			s := newSampleOf(t, st, compression, "x86_64-linux")
			tt.change(s)
			source := s.layout()
			o := Options{Closures: st.given(t, "sample-x86_64-linux")}
			r := verified(t, source, o)
			want := strings.ReplaceAll(tt.want, webRoot, "/"+webRoot)
			if r.OK || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].String(), want) {
				t.Errorf("%v\nno %q", r.Findings, want)
			}
			if n%4 != 0 {
				return
			}
			o.KeepGoing = true
			if all := verified(t, source, o); !slices.Contains(all.Findings, r.Findings[0]) {
				t.Errorf("%v\nis not among %v", r.Findings, all.Findings)
			}
		})
	}
}

// TestClosureOfAnotherVersion checks that the image of a system does not match the closure of the
// system's update.
func TestClosureOfAnotherVersion(t *testing.T) {
	source := newSample(t, "x86_64-linux").layout()
	r := verified(t, source, Options{KeepGoing: true, Closures: small.given(t, "sample-x86_64-linux-update")})
	extra, missing := 0, 0
	for _, f := range r.Findings {
		switch f.What {
		case "the closure does not contain this path":
			extra++
		case "the closure contains this path, but no layer does":
			missing++
		}
	}
	if r.OK || extra != 8 || missing != 8 {
		t.Errorf("%d extra, %d missing: %v", extra, missing, r.Findings)
	}
	r = verified(t, source, Options{Closures: small.given(t, "sample-aarch64-linux")})
	if r.OK || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].String(), "the image has no platform linux/arm64") {
		t.Error(r.Findings)
	}
}

// TestForged checks an image made from a forged store. The image is consistent, so only a
// comparison with the closure can show that it is wrong.
func TestForged(t *testing.T) {
	source := "oci:" + small.layoutOf(t, "none", manifest.Settings{}, "sample-x86_64-linux-update")
	if r := verified(t, source, Options{}); !r.OK {
		t.Error(r.Findings)
	}
	if r := verified(t, source, Options{Closures: small.given(t, "sample-x86_64-linux")}); r.OK {
		t.Error("the update passes for what it updates")
	}
}
