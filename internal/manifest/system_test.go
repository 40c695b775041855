package manifest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/closure/closuretest"
	"github.com/nixoci/nixoci/internal/hint"
)

type tree = closuretest.Tree

// newStore returns a store of trees, and a closure in which top refers to all other paths.
func newStore(t testing.TB, top string, trees map[string]tree) (*closuretest.Store, *closure.Closure) {
	t.Helper()
	src := &closuretest.Store{}
	var infos []closure.Info
	for name, tr := range trees {
		i := src.Add(t, storePath(t, name), tr)
		if name == top {
			for other := range trees {
				i.References = append(i.References, storePath(t, other))
			}
		}
		infos = append(infos, i)
	}
	c, err := closure.New(nil, infos)
	if err != nil {
		t.Fatal(err)
	}
	return src, c
}

// nixos returns a typical NixOS toplevel with changes applied. "" removes an entry.
func nixos(changes tree) tree {
	t := tree{
		"init": "x #! /nix/store/bash/bin/bash\nsystemConfig=…\n", "activate": "x #!", "system": "f x86_64-linux",
		"nixos-version": "f 26.05.20260522.1a2b3c4", "etc": "-> /nix/store/etc/etc", "sw": "-> /nix/store/sw", "systemd": "-> /nix/store/systemd",
		"bin/switch-to-configuration": "x #!", "kernel-params": "f ",
	}
	for k, v := range changes {
		t[k] = v
		if v == "" {
			delete(t, k)
		}
	}
	return t
}

const elfFile = "x \x7fELF\x02\x01\x01"

func TestReadSystem(t *testing.T) {
	other := storePath(t, "other")
	for _, tt := range []struct {
		name   string
		top    tree
		other  tree
		stated string
		want   string // "platform init guest version"
		err    string
		hint   string
	}{
		{name: "stage 2", want: "linux/amd64 init false 26.05.20260522.1a2b3c4"},
		{name: "stated", stated: "x86_64-linux", want: "linux/amd64 init false 26.05.20260522.1a2b3c4"},
		{name: "stated as a platform", stated: "linux/amd64", want: "linux/amd64 init false 26.05.20260522.1a2b3c4"},
		{name: "arm64", top: tree{"system": "f aarch64-linux"}, want: "linux/arm64 init false 26.05.20260522.1a2b3c4"},
		{name: "guest", top: tree{"nixoci-init": "-> /nix/store/g/bin/nixoci-init"}, want: "linux/amd64 nixoci-init true 26.05.20260522.1a2b3c4"},
		{name: "no version", top: tree{"nixos-version": ""}, want: "linux/amd64 init false "},
		{name: "version with newline inside", top: tree{"nixos-version": "f a\nb"}, want: "linux/amd64 init false "},
		{name: "newline after the system", top: tree{"system": "f x86_64-linux\n"}, want: "linux/amd64 init false 26.05.20260522.1a2b3c4"},
		{name: "init is a link", top: tree{"init": "-> " + string(other) + "/bin/init"}, other: tree{"bin": "-> libexec", "libexec/init": "-> ../real", "real": "x #!/bin/sh"}, want: "linux/amd64 init false 26.05.20260522.1a2b3c4"},
		{name: "init is a store path", top: tree{"init": "-> ../" + other.Base()}, other: tree{"": "x #!/bin/sh"}, want: "linux/amd64 init false 26.05.20260522.1a2b3c4"},
		{name: "own init", top: tree{"init": elfFile, "systemd": ""}, want: "linux/amd64 init false 26.05.20260522.1a2b3c4"},
		{name: "nixos-init for containers", top: tree{"init": elfFile, "nixos-init.json": "-> /nix/store/x"}, want: "linux/amd64 init false 26.05.20260522.1a2b3c4"},

		{name: "systemd stage 1", top: tree{"init": elfFile, "prepare-root": "x #!"}, err: "its init is systemd itself", hint: "boot.isContainer = true"},
		{name: "systemd stage 1 with guest", top: tree{"init": elfFile, "prepare-root": "x #!", "nixoci-init": elfFile}, err: "its init is systemd itself", hint: "boot.initrd.systemd.enable = false"},
		{name: "systemd stage 1 with nixos-init", top: tree{"init": elfFile}, err: "its init is systemd itself", hint: "boot.isContainer = true"},
		{name: "systemd stage 1 by a link", top: tree{"init": "-> " + string(other) + "/s"}, other: tree{"s": elfFile}, err: "its init is systemd itself", hint: "boot.isContainer"},
		{name: "contradiction", stated: "aarch64-linux", err: "was built for x86_64-linux, not for aarch64-linux as stated", hint: "leave out aarch64-linux="},
		{name: "stated unknown", stated: "pdp11-linux", err: `"pdp11-linux": unknown`, hint: "x86_64-linux"},
		{name: "unknown system", top: tree{"system": "f pdp11-linux"}, err: `"pdp11-linux": unknown`, hint: "x86_64-linux"},
		{name: "a Mac's", top: tree{"system": "f aarch64-darwin"}, err: `"aarch64-darwin": unknown`, hint: "build the configuration for aarch64-linux"},
		{name: "no system", top: tree{"system": ""}, err: "not a NixOS system: its toplevel has no file named \"system\"", hint: "config.system.build.toplevel"},
		{name: "system is binary", top: tree{"system": "f \x00\x01"}, err: "does not name one", hint: "config.system.build.toplevel"},
		{name: "system is a directory", top: tree{"system": "", "system/x": "f x"}, err: "does not name one"},
		{name: "no init", top: tree{"init": ""}, err: "not a NixOS system: it has no init", hint: "config.system.build.toplevel"},
		{name: "init is not executable", top: tree{"init": "f #!/bin/sh"}, err: "its init is not a program"},
		{name: "init links out of the store", top: tree{"init": "-> /bin/init"}, err: "not in the store"},
		{name: "init links out of the closure", top: tree{"init": "-> " + string(storePath(t, "elsewhere")) + "/init"}, err: "not in the closure"},
		{name: "init links to nothing", top: tree{"init": "-> " + string(other) + "/none"}, other: tree{"a": "f a"}, err: "file does not exist"},
		{name: "init links to itself", top: tree{"init": "-> init"}, err: "too many symlinks"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.other
			if o == nil {
				o = tree{"": "f x"}
			}
			src, c := newStore(t, toplevelName, map[string]tree{toplevelName: nixos(tt.top), "other": o})
			sys, err := ReadSystem(context.Background(), src, c, storePath(t, toplevelName), tt.stated)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), toplevelName) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got error %q, want %q in one line that names the toplevel", err, tt.err)
				}
				if !strings.Contains(hint.Of(err), tt.hint) {
					t.Errorf("hint is %q, want %q", hint.Of(err), tt.hint)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%s %s %v %s", FormatPlatform(sys.Platform), sys.Own, sys.Guest, sys.Version); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestFactsNeedNoStore: a System made from stored facts must be equal to the System made from
// the store. NewSystem must open no store file, and the recipe of the system layer must not
// need one either.
func TestFactsNeedNoStore(t *testing.T) {
	src, c := newStore(t, toplevelName, map[string]tree{toplevelName: nixos(tree{"nixoci-init": elfFile}), "other": {"": "f x"}})
	top := storePath(t, toplevelName)
	facts, err := ReadFacts(context.Background(), src, c, top)
	if err != nil {
		t.Fatal(err)
	}
	if src.Reads != 1 {
		t.Errorf("reading the facts walks %d trees, want the toplevel's alone", src.Reads)
	}
	kept, err := json.Marshal(facts)
	if err != nil {
		t.Fatal(err)
	}
	var again Facts
	if err := json.Unmarshal(kept, &again); err != nil || again != facts {
		t.Fatalf("facts %+v come back as %+v, %v", facts, again, err)
	}
	sys, err := NewSystem(src, c, top, "", again)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := SystemLayer(sys, gzip5); err != nil {
		t.Fatal(err)
	}
	if src.Reads != 1 {
		t.Errorf("the store was read again")
	}
}

// TestFactsFromIndex: a machine that has not read the toplevel can use the facts in the
// index, but only if they have the form that nixoci writes.
func TestFactsFromIndex(t *testing.T) {
	img := mustImage(t, "aarch64-linux", Settings{})
	b, err := NewIndex([]*PlatformImage{img}, Settings{})
	if err != nil {
		t.Fatal(err)
	}
	top := img.System.Closure.Info(img.System.Toplevel)
	changed := *top
	changed.NarHash[0]++
	for _, tt := range []struct {
		name string
		info *closure.Info
		edit func(map[string]string)
		want bool
	}{
		{"as written", top, func(map[string]string) {}, true},
		{"another narHash", &changed, func(map[string]string) {}, false},
		{"another path", img.System.Closure.Info(storePath(t, "bash-5.2")), func(map[string]string) {}, false},
		{"none", top, func(a map[string]string) { delete(a, AnnotationFacts) }, false},
		{"no JSON", top, func(a map[string]string) { a[AnnotationFacts] = "{" }, false},
		{"another system", top, func(a map[string]string) { a[AnnotationFacts] = `{"system":"x86_64-linux","init":"script"}` }, false},
		{"unknown init", top, func(a map[string]string) { a[AnnotationFacts] = `{"system":"aarch64-linux","init":"x"}` }, false},
		{"no version", top, func(a map[string]string) {
			a[AnnotationFacts] = `{"system":"aarch64-linux","init":"script","version":"a b"}`
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, err := ParseIndex(b.Data, "")
			if err != nil {
				t.Fatal(err)
			}
			tt.edit(x.Manifests[0].Annotations)
			f, ok := x.Facts(tt.info)
			if ok != tt.want || ok && f != img.System.Facts {
				t.Errorf("facts %+v, %v, want %v", f, ok, tt.want)
			}
		})
	}
}

func TestReadSystemChecksHash(t *testing.T) {
	src, c := newStore(t, toplevelName, map[string]tree{toplevelName: nixos(nil)})
	top := storePath(t, toplevelName)
	src.Trees[top]["system"] = "f aarch64-linuX"[:len("f x86_64-linux")]
	_, err := ReadSystem(context.Background(), src, c, top, "")
	var mismatch *closure.HashMismatchError
	if !errors.As(err, &mismatch) {
		t.Errorf("a changed system file: %v", err)
	}
}

func TestOtherRoot(t *testing.T) {
	c, err := closure.New(nil, []closure.Info{info(t, "a", 1), info(t, "b", 1)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewSystem(nil, c, storePath(t, "a"), "", Facts{System: "x86_64-linux", Init: initScript})
	if err == nil || !strings.Contains(err.Error(), string(storePath(t, "b"))) {
		t.Errorf("a second root: %v", err)
	}
}

// TestSystemLayerDependsOnContentOnly: the database must not depend on who built or signed a
// path, or on the order of a source's lists.
func TestSystemLayerDependsOnContentOnly(t *testing.T) {
	sys := smallSystem(t, "x86_64-linux")
	want := packSystem(t, sys)
	infos := slices.Clone(sys.Closure.Paths)
	slices.SortFunc(infos, func(a, b closure.Info) int { return cmp.Compare(a.NarSize, b.NarSize) })
	for i := range infos {
		infos[i].Deriver, infos[i].Signatures = "x.drv", []string{"k:sig"}
		infos[i].References = slices.Clone(infos[i].References)
		slices.Reverse(infos[i].References)
	}
	c, err := closure.New([]closure.StorePath{sys.Toplevel}, infos)
	if err != nil {
		t.Fatal(err)
	}
	other := *sys
	other.Closure = c
	if got := packSystem(t, &other); !bytes.Equal(got, want) {
		t.Error("the system layer depends on more than content")
	}
	a, err := SystemLayer(sys, gzip5)
	if err != nil {
		t.Fatal(err)
	}
	b, err := SystemLayer(&other, gzip5)
	if err != nil {
		t.Fatal(err)
	}
	if a.Recipe != b.Recipe {
		t.Error("the system layer's recipe depends on more than content")
	}
}

func TestSystemLayerRecipe(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]func(*System, *closure.Info){
		"nothing":     func(*System, *closure.Info) {},
		"init":        func(s *System, _ *closure.Info) { s.Init = fakeInit("another") },
		"no init":     func(s *System, _ *closure.Info) { s.Init = nil },
		"own init":    func(s *System, _ *closure.Info) { s.Init, s.Own = nil, guestInit },
		"format":      func(s *System, _ *closure.Info) { s.Format = Format1 },
		"narHash":     func(_ *System, i *closure.Info) { i.NarHash[31]++ },
		"narSize":     func(_ *System, i *closure.Info) { i.NarSize++ },
		"ca":          func(_ *System, i *closure.Info) { i.CA = "text:sha256:x" },
		"a reference": func(_ *System, i *closure.Info) { i.References = nil },
	} {
		sys := smallSystem(t, "x86_64-linux")
		change(sys, sys.Closure.Info(storePath(t, "bash-5.2")))
		l, err := SystemLayer(sys, gzip5)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[l.Recipe.String()]; ok {
			t.Errorf("%s and %s give one recipe", name, other)
		}
		seen[l.Recipe.String()] = name
	}
}
