//go:build linux

package guest

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestFindSystem(t *testing.T) {
	const base, web = "/nix/store/aaa-nixos-system", "/nix/store/bbb-nixos-system"
	onRoot := Mounts{{Point: "/"}}
	for _, tc := range []struct {
		name    string
		image   string   // content of the image's file
		systems []string // systems in the store
		profile string
		init    string // target of the link /sbin/init
		volume  bool   // the store is on a volume
		base    bool
		want    string
		note    string // text that the log must contain
		code    int    // exit code of the error
		says    string // text that the error must contain
	}{
		{name: "the image's own", image: base, systems: []string{base}, profile: base, want: base},
		{name: "what was applied", image: base, systems: []string{base, web}, profile: web, want: web},
		{name: "base is asked for", image: base, systems: []string{base, web}, profile: web, base: true, want: base},
		{name: "the profile is gone", image: base, systems: []string{base}, want: base, note: "names no system"},
		{name: "what was applied was deleted", image: base, systems: []string{base}, profile: web, want: base, note: "names no system"},
		{name: "a volume of another image", image: base, systems: []string{web}, profile: web, volume: true, want: web, note: "comes from another image"},
		{name: "base under a volume of another image", image: base, systems: []string{web}, profile: web, volume: true, base: true,
			code: ExitConfig, says: "start without NIXOCI_BOOT=base"},
		{name: "the volume is empty", image: base, volume: true, code: ExitConfig, says: "hides the image's store"},
		{name: "garbage collection took all", image: base, code: ExitSoftware, says: "Make a new container"},
		{name: "the image's system was deleted", image: base, systems: []string{web}, profile: web, want: web},
		{name: "format 1, with the module", systems: []string{base}, profile: base, init: base + "/nixoci-init", base: true, want: base},
		{name: "format 1, /sbin/init is a file", systems: []string{base}, profile: base, want: base},
		{name: "format 1, deleted", init: base + "/nixoci-init", code: ExitSoftware, says: "no NixOS system found"},
		{name: "nothing", code: ExitSoftware, says: "no NixOS system found"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			for _, s := range tc.systems {
				toplevel(t, root+s, "#!/bin/sh\n")
				link(t, "../init-bin/nixoci-init", root+s+"/nixoci-init")
			}
			write(t, root+"/nix/store/init-bin/nixoci-init", "\x7fELF")
			l := layout{Image: root + imageFile, Profile: root + profile, Inits: []string{root + "/sbin/init", root + "/init"}}
			if tc.image != "" {
				write(t, l.Image, `{"version":1,"toplevel":"`+root+tc.image+`","init":"init","digest":"sha256:…"}`)
			}
			if tc.profile != "" {
				link(t, root+tc.profile, l.Profile)
			}
			if tc.init != "" {
				link(t, root+tc.init, root+"/sbin/init")
			} else {
				write(t, root+"/sbin/init", "\x7fELF")
			}
			// The root directory also has an init and an etc.
			link(t, "sbin/init", root+"/init")
			write(t, root+"/etc/hostname", "web\n")
			ms := onRoot
			if tc.volume {
				ms = append(ms[:1:1], Mount{Point: root + "/nix"})
			}
			s, notes, err := FindSystem(l, ms, tc.base)
			if tc.want != "" {
				if want := (System{Toplevel: root + tc.want, Init: root + tc.want + "/init"}); err != nil || s != want {
					t.Errorf("got %+v, %v; want %+v", s, err, want)
				}
				if log := strings.Join(notes, "\n"); (tc.note == "") != (log == "") || !strings.Contains(log, tc.note) {
					t.Errorf("the log has %q, want %q", log, tc.note)
				}
				return
			}
			var exit *ExitError
			if !errors.As(err, &exit) || exit.Code != tc.code || !strings.Contains(err.Error(), tc.says) || !errors.Is(err, ErrNoSystem) {
				t.Errorf("got %v, want code %d and %q", err, tc.code, tc.says)
			}
		})
	}
}

// An image whose file has an unknown version or is damaged boots the system in its
// profile.
func TestFindSystemIgnoresWhatItDoesNotKnow(t *testing.T) {
	for name, image := range map[string]string{"version": `{"version":2,"toplevel":["x"]}`, "relative": `{"version":1,"toplevel":"nix"}`, "broken": `{`} {
		root := t.TempDir()
		l := layout{Image: root + imageFile, Profile: root + profile}
		write(t, l.Image, image)
		top := toplevel(t, root+"/aaa-nixos-system", "#!/bin/sh\n")
		link(t, top, l.Profile)
		s, notes, err := FindSystem(l, nil, false)
		if err != nil || s.Toplevel != top || len(notes) != 1 || !strings.Contains(notes[0], "ignoring") {
			t.Errorf("%s: got %+v, %q, %v", name, s, notes, err)
		}
	}
}

// If systemd runs in stage 1, prepare-root does the activation.
func TestSystemWithoutActivation(t *testing.T) {
	top := toplevel(t, t.TempDir()+"/aaa-nixos-system", "\x7fELF")
	write(t, top+"/prepare-root", "#!/bin/sh\n")
	if err := os.Remove(top + "/activate"); err != nil {
		t.Fatal(err)
	}
	s, err := systemAt(top)
	if err != nil || s.Prepare != top+"/prepare-root" {
		t.Errorf("got %+v, %v", s, err)
	}
}
