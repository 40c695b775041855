//go:build linux

package guest

import (
	"slices"
	"strings"
	"testing"
)

// The user's own arguments win. If they keep the journal off the console, systemd must
// show its status lines.
func TestKernelArgs(t *testing.T) {
	const forward, off, once = "systemd.journald.forward_to_console=1", "systemd.firstboot=off", "systemd.show_status=no"
	for _, tc := range []struct{ args, settings, added string }{
		{"", "", forward + " " + off + " " + once},
		{"quiet", "RebootWatchdogSec", forward + " " + off + " " + once},
		{"systemd.journald.forward_to_console=0", "", off},
		{"systemd.journald.forward-to-console=no systemd.firstboot", "", ""},
		{"systemd.journald.forward_to_console", "", off + " " + once},
		{"systemd.show_status=1", "", forward + " " + off},
		{"systemd.show-status", "", forward + " " + off},
		{"systemd.log_target=console", "", forward + " " + off},
		{"", "LogLevel ShowStatus", forward + " " + off},
		{"", "LogTarget", forward + " " + off},
	} {
		want := append(strings.Fields(tc.args+" "+tc.added), "systemd.mask=console-getty.service")
		if got := kernelArgs(strings.Fields(tc.args), strings.Fields(tc.settings), []string{"console-getty.service"}); !slices.Equal(got, want) {
			t.Errorf("%q with %q set: got %q, want %q", tc.args, tc.settings, got, want)
		}
	}
}

func TestHasArgument(t *testing.T) {
	for arg, want := range map[string]bool{"systemd.machine_id=x": true, "systemd.machine-id": true, "systemd.machine_idx": false, "quiet": false} {
		if got := hasArgument([]string{"a", arg}, "systemd.machine_id"); got != want {
			t.Errorf("%s: got %v", arg, got)
		}
	}
}

func TestSystemSaysItsNameAndSettings(t *testing.T) {
	s := System{Toplevel: toplevel(t, t.TempDir(), "#!/bin/sh\n")}
	if got := s.name(); got != "NixOS" {
		t.Errorf("without a name: got %q", got)
	}
	if got := s.managerSettings(); len(got) != 0 {
		t.Errorf("without a file: got %q", got)
	}
	write(t, s.Toplevel+"/etc/os-release", "ID=nixos\nPRETTY_NAME=\"NixOS 26.05 (Yarara)\"\n")
	write(t, s.Toplevel+"/etc/systemd/system.conf", "[Manager]\n# LogTarget=console\nShowStatus = yes\n")
	write(t, s.Toplevel+"/etc/systemd/system.conf.d/more.conf", "[Manager]\nLogLevel=debug\n;LogColor=no")
	if got := s.name(); got != "NixOS 26.05 (Yarara)" {
		t.Errorf("got %q", got)
	}
	if got := s.managerSettings(); !slices.Equal(got, []string{"LogLevel", "ShowStatus"}) {
		t.Errorf("got %q", got)
	}
}
