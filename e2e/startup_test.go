//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// startup holds how long each part of a start took, from docker run to the first answer of
// the web server.
type startup struct {
	engine     time.Duration // time before the first process of the container
	init       time.Duration // time of nixoci-init, until it starts the init of the system
	activation time.Duration // time of stage 2 with the activation script
	units      time.Duration // time of systemd, until the first answer
	trivial    time.Duration // time of docker run with a program that ends at once, in the same image
}

// ours returns the part of the time that nixoci and NixOS need.
func (s startup) ours() time.Duration { return s.init + s.activation + s.units }

func (s startup) String() string {
	return fmt.Sprintf("engine %.2f s (a container with one short program: %.2f s), nixoci-init %.3f s, stage 2 and activation %.2f s, systemd and units %.2f s: nixoci and NixOS %.2f s",
		s.engine.Seconds(), s.trivial.Seconds(), s.init.Seconds(), s.activation.Seconds(), s.units.Seconds(), s.ours().Seconds())
}

// imageBin is a directory with the programs of the system in the image. It exists even before
// the system has booted.
const imageBin = "/nix/var/nix/profiles/system/sw/bin/"

// measureStartup starts a container of the image, and waits until the container serves page.
// The times of the parts come from lines in the log of the container.
func measureStartup(t *testing.T, image, page string, flags ...string) (box, startup) {
	t.Helper()
	var s startup
	for range 2 { // the first run only reads the files of the image from the disk
		begin := time.Now()
		docker(t, "run", "--rm", "--network", "none", "--entrypoint", imageBin+"true", image)
		s.trivial = time.Since(begin)
	}

	begin := time.Now()
	b := dockerRun(t, image, flags...)
	served := b.servedAt(t, page)

	started, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(b.do(t, "inspect", "-f", "{{.State.StartedAt}}", b.id)))
	if err != nil {
		t.Fatal(err)
	}
	log := b.do(t, "logs", "-t", b.id)
	at := func(text string) time.Time {
		t.Helper()
		for line := range strings.Lines(log) {
			stamp, rest, _ := strings.Cut(line, " ")
			if strings.Contains(rest, text) {
				when, err := time.Parse(time.RFC3339Nano, stamp)
				if err != nil {
					t.Fatal(err)
				}
				return when
			}
		}
		t.Fatalf("the log does not say %q", text)
		return time.Time{}
	}
	initDone, activated := at("nixoci: starting "), at("starting systemd...")
	s.engine, s.init = started.Sub(begin), initDone.Sub(started)
	s.activation, s.units = activated.Sub(initDone), served.Sub(activated)
	return b, s
}

// servedAt waits until the container serves page, and returns the time of the first answer.
// The requests come from a loop in the container, because each docker exec takes a tenth of a
// second.
func (b box) servedAt(t *testing.T, page string) time.Time {
	t.Helper()
	loop := fmt.Sprintf("until case $(%[1]scurl -s http://127.0.0.1/) in *%[2]q*) ;; *) false ;; esac; do %[1]ssleep 0.02; done; %[1]sdate +%%s.%%N", imageBin, page)
	type answer struct {
		out string
		err error
	}
	done := make(chan answer, 1)
	go func() {
		out, err := b.exec(t, imageBin+"bash", "-c", loop)
		done <- answer{out, err}
	}()
	select {
	case a := <-done:
		var s, ns int64
		if _, err := fmt.Sscanf(a.out, "%d.%d", &s, &ns); err != nil || a.err != nil {
			t.Fatalf("serve %q: %q, %v", page, a.out, a.err)
		}
		return time.Unix(s, ns)
	case <-time.After(patience):
		t.Fatalf("serve %q: not after %v", page, patience)
		return time.Time{}
	}
}

// slowUnits logs what systemd-analyze reports about the units that took longest. It prints at
// most this many lines of each list.
func (b box) slowUnits(t *testing.T, most int) {
	t.Helper()
	for _, args := range [][]string{{"time"}, {"critical-chain", "multi-user.target"}, {"blame"}} {
		out, err := b.exec(t, append([]string{imageBin + "systemd-analyze", "--no-pager"}, args...)...)
		if err != nil {
			t.Logf("systemd-analyze %v: %v %s", args, err, out)
			continue
		}
		lines := strings.Split(out, "\n")
		t.Logf("systemd-analyze %s:\n%s", args[0], strings.Join(lines[:min(len(lines), most)], "\n"))
	}
}
