package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/terminal"
)

// clock shows a time that changes only through the method wait.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func (c *clock) wait(d time.Duration) { c.Time = c.Add(d) }

// testProgress returns the progress of a push of two platforms of 1 GB each. The platforms
// share 200 MB.
func testProgress(width int) (p *progress, c *clock, out *bytes.Buffer, ls []*layers.Layer) {
	out = &bytes.Buffer{}
	c = &clock{time.Unix(1e9, 0)}
	a := &app{stdout: terminal.New(io.Discard), stderr: terminal.New(out), color: "never"}
	if err := a.setup(); err != nil {
		panic(err)
	}
	p = a.newProgress()
	p.live, p.now, p.start = true, c.now, c.now()
	p.width = func() int { return width }
	var sent int64
	p.sent = func() int64 { return sent }
	for i, size := range []int64{200e6, 800e6, 800e6} {
		ls = append(ls, &layers.Layer{Size: size, Comment: fmt.Sprintf("store-%d\x1b[2J", i)})
	}
	p.layers = len(ls)
	p.bars = []*bar{{name: "linux/amd64", total: 1e9}, {name: "linux/arm64", total: 1e9}}
	p.barsOf = map[*layers.Layer][]*bar{ls[0]: p.bars, ls[1]: {p.bars[0]}, ls[2]: {p.bars[1]}}
	c.wait(time.Second)
	p.Done(push.LayerResult{Layer: ls[0], Outcome: push.Reused, ReusedFrom: "local"})
	p.Packing(ls[1], 0)
	c.wait(4 * time.Second)
	p.Packing(ls[1], 400e6)
	p.Packing(ls[2], 0)
	sent = 100e6
	return p, c, out, ls
}

func texts(lines []terminal.Own) string {
	var all []string
	for _, l := range lines {
		all = append(all, string(l))
	}
	return strings.Join(all, "\n")
}

func TestProgressLines(t *testing.T) {
	p, c, _, ls := testProgress(80)
	want := strings.Join([]string{
		"linux/amd64  ━━━━━━━━━━━━━━━━━━━━━━━━━──────────────────  60%  600 MB of 1.0 GB",
		"linux/arm64  ━━━━━━━━───────────────────────────────────  20%  200 MB of 1.0 GB",
		"5.0 s; 100 MB/s, 12 s left; read 400 MB, reused 200 MB, sent 100 MB",
		`1 of 3 layers; now store-1\x1b[2J; store-2\x1b[2J`,
	}, "\n")
	if got := texts(p.lines(c.now(), 80)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got, want := p.line(c.now()), " 40% of 2.0 GB in 5.0 s: 1 of 3 layers, 2 in work; read 400 MB, reused 200 MB, sent 100 MB; 100 MB/s, 12 s left"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, width := range []int{1, 10, 30, 45, 80, 200} {
		for _, l := range p.lines(c.now(), width) {
			if n := len([]rune(string(l))); n >= max(2, width) {
				t.Errorf("%d columns: %d in %q", width, n, l)
			}
		}
	}
	c.wait(4 * time.Second)
	p.Packing(ls[1], 400e6)
	p.Done(push.LayerResult{Layer: ls[1], Outcome: push.Made, Packed: layers.Packed{Digest: "sha256:0123456789abcdef", Size: 300e6}})
	if got := texts(p.lines(c.now(), 80)); !strings.Contains(got, "100%  1.0 GB of 1.0 GB") || !strings.Contains(got, "made 300 MB") || !strings.Contains(got, "2 of 3 layers; now store-2") {
		t.Errorf("%s", got)
	}
}

// TestProgressTooEarly checks that no speed and no remaining time are shown before the first
// byte is read.
func TestProgressTooEarly(t *testing.T) {
	a, _ := testApp()
	p := a.newProgress()
	p.bars = []*bar{{}}
	if got := texts(p.lines(p.start, 40)); strings.Contains(got, "left") || strings.Contains(got, "NaN") || !strings.Contains(got, "0 B of 0 B") {
		t.Errorf("%s", got)
	}
	if got := p.line(p.start); strings.Contains(got, "/s") || strings.Contains(got, "NaN") {
		t.Errorf("%s", got)
	}
}

// TestProgressDraws checks that a warning appears above the progress lines, and that the
// method end removes all progress lines.
func TestProgressDraws(t *testing.T) {
	p, _, out, _ := testProgress(60)
	p.show()
	p.above(func() { p.w.Printf("warning: slow\n") })
	p.show()
	p.end()
	p.end()
	if got := screen(out.String()); got != "warning: slow" {
		t.Errorf("the screen shows %q", got)
	}
	if n := strings.Count(out.String(), "linux/amd64"); n != 3 {
		t.Errorf("drawn %d times", n)
	}
}

// screen returns what a terminal shows after text was printed. It handles the escape
// sequences that draw uses.
func screen(text string) string {
	lines, row := []string{""}, 0
	for text != "" {
		if m := regexp.MustCompile(`^\x1b\[(\d*)([AKJm])`).FindStringSubmatch(text); m != nil {
			switch m[2] {
			case "A":
				var n int
				fmt.Sscan(m[1], &n)
				row -= n
			case "J":
				lines = append(lines[:row:row], "")
			}
			text = text[len(m[0]):]
			continue
		}
		switch text[0] {
		case '\r':
			lines[row] = ""
		case '\n':
			if row++; row == len(lines) {
				lines = append(lines, "")
			}
		default:
			lines[row] += text[:1]
		}
		text = text[1:]
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// TestProgressLog checks the output without a terminal: one line for each interval,
// and a line for each layer only with --verbose.
func TestProgressLog(t *testing.T) {
	for _, verbose := range []bool{false, true} {
		p, c, out, ls := testProgress(80)
		p.live, p.verbose = false, verbose
		p.show()
		c.wait(lineEvery)
		p.Done(push.LayerResult{Layer: ls[1], Outcome: push.Made, Packed: layers.Packed{Digest: "sha256:0123456789abcdef", Size: 1}})
		p.show()
		p.end()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		want := 2
		if verbose {
			want = 3
		}
		if len(lines) != want || !strings.HasPrefix(lines[0], "40% of 2.0 GB in 5.0 s:") || strings.Contains(out.String(), "\r") {
			t.Errorf("verbose %v:\n%s", verbose, out)
		}
	}
}

func TestKept(t *testing.T) {
	var none *progress
	if none.kept() != "" {
		t.Error("a command without progress keeps something")
	}
	p, _, _, _ := testProgress(80)
	if p.kept() != "" {
		t.Error("a build keeps something")
	}
	p.keeps = true
	if got := p.kept(); got != "1 layer of 3 finished and kept; the same command goes on from there" {
		t.Errorf("%q", got)
	}
}

// TestTerminal runs a build with a real terminal as stderr. At the end of the build, the
// progress lines must be gone. A build that would write an image to a terminal must fail.
func TestTerminal(t *testing.T) {
	master, slave := openTerminal(t)
	done := make(chan string)
	go func() {
		// A read fails with EIO when the last slave is closed.
		data, err := io.ReadAll(master)
		if err != nil && !errors.Is(err, unix.EIO) {
			data = append(data, err.Error()...)
		}
		done <- string(data)
	}()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	args := append([]string{"build", "-o", "oci:" + t.TempDir() + "/web:1"}, samplePush(t, "x")[2:]...)
	var stdout bytes.Buffer
	code := run(t.Context(), args, nil, &stdout, slave)
	image := append([]string{"build", "-o", "-"}, samplePush(t, "x")[2:]...)
	refused := run(t.Context(), image, nil, slave, slave)
	slave.Close()
	text := <-done
	if code != exitOK || refused != exitUsage {
		t.Fatalf("exit codes %d and %d: %s", code, refused, text)
	}
	got := screen(strings.ReplaceAll(text, "\r\n", "\n"))
	if !strings.HasPrefix(got, "linux/amd64: ") || !strings.Contains(got, "an image cannot be written to a terminal") || strings.Contains(got, "━") {
		t.Errorf("the screen shows:\n%s", got)
	}
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return master, slave
}
