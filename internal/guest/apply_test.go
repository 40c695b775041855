//go:build linux

package guest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var t0 = time.Unix(1, 0)

// container is a directory with the files that apply finds in a running container. Its
// Nix is a script with answers that each test sets: the tests check what apply does with
// the answers.
type container struct {
	*Applier
	root string
	log  bytes.Buffer
}

func newContainer(t *testing.T) *container {
	t.Helper()
	root := t.TempDir()
	c := &container{root: root}
	c.Applier = &Applier{
		Config:  root + "/config",
		Base:    root + "/base.json",
		State:   root + "/state",
		Run:     root + "/run",
		Profile: root + "/profile",
		Current: root + "/current-system",
		Roots:   root + "/gcroots",
		Started: func(context.Context) error { return nil },
		Env:     []string{"PATH=" + os.Getenv("PATH"), "ROOT=" + root},
		Log:     &c.log,
	}
	write(t, c.Base, fmt.Sprintf(`{"version":1,"system":"x86_64-linux","nixpkgs":%q,"module":%q,"nix":%q}`,
		root+"/nixpkgs", root+"/module", root+"/nix"))
	write(t, root+"/nix/bin/nix-instantiate", `#!/bin/sh
echo "$@" >>$ROOT/evaluations
ln -sfn /nix/store/aaa-nixos-system.drv $ROOT/gcroots/nixoci-apply/evaluated
. $ROOT/evaluate
`)
	write(t, root+"/evaluate", "")
	write(t, root+"/nix/bin/nix-store", `#!/bin/sh
case $1 in --read-log) cat $ROOT/log; exit;; esac
echo "$@" >>$ROOT/builds
echo "building '/nix/store/aaa-nginx.conf.drv'..." >&2
. $ROOT/build >$ROOT/built
ln -sfn $(cat $ROOT/built) $ROOT/gcroots/nixoci-apply/built
`)
	write(t, root+"/nixpkgs/default.nix", "")
	write(t, root+"/module/apply.nix", "")
	write(t, root+"/nix/bin/nix-env", `#!/bin/sh
ln -sfn "$4" "$2"
`)
	c.system(t, "base")
	link(t, root+"/base", c.Current)
	link(t, root+"/base", c.Profile)
	c.system(t, "web")
	write(t, root+"/build", "echo $ROOT/web\n")
	write(t, root+"/config/configuration.nix", "{ }")
	return c
}

// system makes a toplevel to which apply can switch.
func (c *container) system(t *testing.T, name string) {
	t.Helper()
	top := toplevel(t, c.root+"/"+name, "#!/bin/sh\n")
	write(t, top+"/bin/switch-to-configuration", "#!/bin/sh\necho switched to "+name+"\nln -sfn "+top+" $ROOT/current-system\n")
}

func (c *container) current(t *testing.T) string {
	t.Helper()
	target, err := os.Readlink(c.Current)
	if err != nil {
		t.Fatal(err)
	}
	booted, err := os.Readlink(c.Profile)
	if err != nil || booted != target {
		t.Errorf("running %s, but the profile is %s (%v)", target, booted, err)
	}
	return filepath.Base(target)
}

func (c *container) builds() int {
	data, _ := os.ReadFile(c.root + "/builds")
	return bytes.Count(data, []byte("\n"))
}

func (c *container) lastStatus(t *testing.T) Status {
	t.Helper()
	var s Status
	if ok, err := readJSON(filepath.Join(c.Run, statusFile), &s); !ok || err != nil {
		t.Fatal(ok, err)
	}
	return s
}

func TestApplyBuildsOnce(t *testing.T) {
	c := newContainer(t)
	if err := c.Once(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, c.log.String())
	}
	if got := c.current(t); got != "web" {
		t.Errorf("running %s", got)
	}
	for _, want := range []string{"building '/nix/store/aaa-nginx.conf.drv'...", "switched to web", "is applied"} {
		if !strings.Contains(c.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, c.log.String())
		}
	}
	if s := c.lastStatus(t); s.Phase != PhaseIdle || s.Outcome != OutcomeApplied {
		t.Errorf("status %+v", s)
	}
	if err := c.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := c.builds(); n != 1 {
		t.Errorf("%d builds of the same configuration", n)
	}
	if s := c.lastStatus(t); s.Outcome != OutcomeUnchanged {
		t.Errorf("status %+v", s)
	}

	// After a boot into the base, apply switches to the earlier result without a build.
	os.Remove(c.Current)
	link(t, c.root+"/base", c.Current)
	if err := c.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.builds() != 1 || c.current(t) != "web" {
		t.Errorf("%d builds, running %s", c.builds(), c.current(t))
	}

	// A changed configuration is built again.
	write(t, c.root+"/config/configuration.nix", "{ a = 1; }")
	c.system(t, "web2")
	write(t, c.root+"/build", "echo $ROOT/web2\n")
	if err := c.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.builds() != 2 || c.current(t) != "web2" {
		t.Errorf("%d builds, running %s", c.builds(), c.current(t))
	}
}

func TestApplyWithoutConfiguration(t *testing.T) {
	c := newContainer(t)
	os.RemoveAll(c.Config)
	if err := c.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := c.lastStatus(t); s.Outcome != OutcomeNone || c.builds() != 0 {
		t.Errorf("status %+v, %d builds", s, c.builds())
	}
}

func TestApplyKeepsRunningWhenTheBuildFails(t *testing.T) {
	c := newContainer(t)
	write(t, c.root+"/build", `printf "error: syntax error, unexpected '}', expecting ';'\n\n       at /config/configuration.nix:3:1:\n\n            2|   a = 1\n            3| }\n" >&2; exit 1`)
	err := c.Once(t.Context())
	const reason = "syntax error, unexpected '}', expecting ';' at /config/configuration.nix:3:1"
	if err == nil || !strings.Contains(err.Error(), reason) {
		t.Errorf("got %v", err)
	}
	if got := c.current(t); got != "base" {
		t.Errorf("running %s", got)
	}
	if s := c.lastStatus(t); s.Outcome != OutcomeFailed || !strings.Contains(s.Reason, reason) {
		t.Errorf("status %+v", s)
	}
	if !strings.Contains(c.log.String(), "FAILED") || !strings.Contains(c.log.String(), "keeps running") {
		t.Errorf("log:\n%s", c.log.String())
	}
	// After a failure, the next apply builds again.
	write(t, c.root+"/build", "echo $ROOT/web\n")
	if err := c.Once(t.Context()); err != nil || c.current(t) != "web" {
		t.Errorf("got %v", err)
	}
}

func TestApplyGoesBackWhenTheSwitchFails(t *testing.T) {
	c := newContainer(t)
	write(t, c.root+"/web/bin/switch-to-configuration", "#!/bin/sh\nln -sfn $ROOT/web $ROOT/current-system\necho 'warning: the following units failed: nginx.service'\nexit 4\n")
	if err := c.Once(t.Context()); err == nil || !strings.Contains(err.Error(), "exit status 4: warning: the following units failed: nginx.service") {
		t.Errorf("got %v", err)
	}
	if got := c.current(t); got != "base" {
		t.Errorf("running %s", got)
	}
	if !strings.Contains(c.log.String(), "going back") {
		t.Errorf("log:\n%s", c.log.String())
	}
	if ok, _ := readJSON(filepath.Join(c.State, stateFile), &State{}); ok {
		t.Error("what failed was noted as applied")
	}
}

// If a switch is not possible while the container runs, apply asks for a restart and does
// not go back. The profile then names the new system, so the next start boots it.
func TestApplyLeavesToARestartWhatCannotBeSwitched(t *testing.T) {
	for name, script := range map[string]string{
		"systemd":    "exit 100\n",
		"inhibitors": "echo 'There are changes to critical components of the system:'\necho 'dbus-implementation : dbus -> broker'\necho 'Pre-switch checks failed' >&2\nexit 1\n",
	} {
		c := newContainer(t)
		write(t, c.root+"/web/bin/switch-to-configuration", "#!/bin/sh\n"+script)
		if err := c.Once(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(c.log.String(), "restart the container") || strings.Contains(c.log.String(), "going back") {
			t.Errorf("%s: log:\n%s", name, c.log.String())
		}
	}
}

func TestApplyRefusesWhatIsNoSystem(t *testing.T) {
	c := newContainer(t)
	write(t, c.root+"/build", "echo $ROOT/module\n")
	if err := c.Once(t.Context()); err == nil || c.current(t) != "base" {
		t.Errorf("got %v", err)
	}
}

func TestApplyEndsTheContainer(t *testing.T) {
	c := newContainer(t)
	bin := c.root + "/bin"
	write(t, bin+"/systemctl", "#!/bin/sh\necho \"$@\" >$ROOT/systemctl\n")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	c.Env = append(c.Env, "NIXOCI_ON_FAILURE=exit")
	write(t, c.root+"/build", "exit 1")
	if err := c.Once(t.Context()); err == nil {
		t.Error("no error")
	}
	if got, _ := os.ReadFile(c.root + "/systemctl"); string(got) != "exit 1\n" {
		t.Errorf("systemctl %q", got)
	}
}

func TestApplyStopsWithItsUnit(t *testing.T) {
	c := newContainer(t)
	write(t, c.root+"/build", "exec sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := c.Once(ctx); err == nil || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	if s := c.lastStatus(t); s.Outcome == OutcomeFailed {
		t.Errorf("a stop counts as a failure: %+v", s)
	}
}

func TestFind(t *testing.T) {
	c := newContainer(t)
	f, err := c.Find()
	if err != nil || f.Flake || f.File != c.Config+"/configuration.nix" {
		t.Errorf("got %+v, %v", f, err)
	}
	write(t, c.Config+"/flake.nix", "{ }")
	f, err = c.Find()
	if err != nil || !f.Flake || f.Name != "default" {
		t.Errorf("got %+v, %v", f, err)
	}
	c.Env = append(c.Env, "NIXOCI_CONFIGURATION=web")
	if f, err = c.Find(); err != nil || f.Name != "web" {
		t.Errorf("got %+v, %v", f, err)
	}
	os.Remove(c.Config + "/flake.nix")
	os.Mkdir(c.Config+"/flake.nix", 0o755)
	if _, err = c.Find(); err == nil || !strings.Contains(err.Error(), "exist on the host") {
		t.Errorf("a directory in its place: %v", err)
	}
}

func TestApplySaysWhatItFoundInstead(t *testing.T) {
	c := newContainer(t)
	os.Rename(c.Config+"/configuration.nix", c.Config+"/nginx.nix")
	write(t, c.Config+"/web/index.html", "")
	if err := c.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("looked for %[1]s/flake.nix and %[1]s/configuration.nix, found nginx.nix, web/; mount nginx.nix as %[1]s/configuration.nix", c.Config)
	if !strings.Contains(c.log.String(), want) {
		t.Errorf("the log lacks %q:\n%s", want, c.log.String())
	}
	os.RemoveAll(c.Config)
	os.Mkdir(c.Config, 0o755)
	if err := c.Once(t.Context()); err != nil || !strings.Contains(c.log.String(), "the directory is empty") {
		t.Errorf("%v:\n%s", err, c.log.String())
	}
}

// The reason of a failed build names the derivation and the end of its log, even if Nix
// did not repeat the log in its error.
func TestApplyNamesWhatFailed(t *testing.T) {
	c := newContainer(t)
	write(t, c.root+"/log", "read the log\nnginx: unknown directive\n")
	write(t, c.root+"/build", `echo "error: builder for '/nix/store/aaa-nginx.conf.drv' failed with exit code 1" >&2
echo "error: 1 dependencies of derivation '/nix/store/bbb-nixos-system.drv' failed to build" >&2; exit 100`)
	err := c.Once(t.Context())
	const want = "building nginx.conf.drv: failed with exit code 1: nginx: unknown directive\nthe end of its log:\n> read the log\n> nginx: unknown directive"
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasPrefix(c.lastStatus(t).Reason, want) {
		t.Errorf("got %v, %+v", err, c.lastStatus(t))
	}
	if !strings.Contains(c.log.String(), "FAILED: "+want) {
		t.Errorf("log:\n%s", c.log.String())
	}
}

// apply builds before systemd has started, but switches only afterwards.
func TestApplySwitchesWhenSystemdHasStarted(t *testing.T) {
	c := newContainer(t)
	started, building := make(chan struct{}), make(chan struct{})
	c.Started = func(ctx context.Context) error {
		close(building)
		<-started
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- c.Once(t.Context()) }()
	<-building
	if c.builds() != 1 || c.current(t) != "base" || c.lastStatus(t).Phase != PhaseWaiting {
		t.Errorf("%d builds, running %s, %+v", c.builds(), c.current(t), c.lastStatus(t))
	}
	// nix.gc.automatic may start now: the built system must have a gc root.
	if held, _ := os.Readlink(c.Roots + "/nixoci-apply/built"); held != c.root+"/web" {
		t.Errorf("a gc root holds %q", held)
	}
	close(started)
	if err := <-done; err != nil || c.current(t) != "web" {
		t.Errorf("%v, running %s", err, c.current(t))
	}
	if isThere(c.Roots + "/nixoci-apply") {
		t.Error("the roots are left behind")
	}
}

// A volume on /nix from another image hides this image's nixpkgs. apply must explain it.
func TestApplyMissesTheImagesStore(t *testing.T) {
	c := newContainer(t)
	os.RemoveAll(c.root + "/nixpkgs")
	err := c.Once(t.Context())
	if err == nil || !strings.Contains(err.Error(), "lacks nixpkgs") || !strings.Contains(err.Error(), "hint: leave that volume out") || c.builds() != 0 {
		t.Errorf("got %v", err)
	}
}

// apply evaluates a flake first, then builds the derivation.
func TestApplyFlake(t *testing.T) {
	c := newContainer(t)
	write(t, c.Config+"/flake.nix", "{ }")
	c.Env = append(c.Env, `NIXOCI_CONFIGURATION=web"${x}`)
	write(t, c.root+"/nix/bin/nix", "#!/bin/sh\nprintf '%s\\n' \"$@\" >$ROOT/eval\necho /nix/store/aaa-nixos-system.drv\n")
	if err := c.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.current(t) != "web" {
		t.Errorf("running %s", c.current(t))
	}
	eval, _ := os.ReadFile(c.root + "/eval")
	for _, want := range []string{`name = "web\"\${x}";`, "\npath:" + c.Config + "#nixosConfigurations\n", "\n--no-write-lock-file\n"} {
		if !strings.Contains(string(eval), want) {
			t.Errorf("nix was not given %q:\n%s", want, eval)
		}
	}
	if build, _ := os.ReadFile(c.root + "/builds"); !strings.HasPrefix(string(build), "--realise /nix/store/aaa-nixos-system.drv ") {
		t.Errorf("nix-store %s", build)
	}
}

func TestWeigh(t *testing.T) {
	applied := Status{Phase: PhaseIdle, Outcome: OutcomeApplied}
	for _, tc := range []struct {
		name    string
		state   string
		failed  []string
		status  Status
		there   bool
		verdict string // "" means healthy
		settled bool
	}{
		{name: "booting", state: "starting", status: Status{}},
		{name: "no apply in the image", state: "running", status: Status{}, settled: true},
		{name: "first build", state: "running", status: Status{Phase: PhaseBuilding}, there: true},
		{name: "applied", state: "running", status: applied, there: true, settled: true},
		{name: "building again", state: "running", status: Status{Phase: PhaseBuilding, Outcome: OutcomeApplied}, there: true, settled: true},
		{name: "failed", state: "degraded", failed: []string{"nixoci-apply.service"}, status: Status{Outcome: OutcomeFailed, Reason: "syntax error"}, there: true,
			verdict: "the configuration was not applied: syntax error", settled: true},
		{name: "degraded", state: "degraded", failed: []string{"a.service", "b.service"}, status: applied, there: true, verdict: "systemd is degraded, failed: a.service b.service", settled: true},
		{name: "stopping", state: "stopping", status: applied, there: true, verdict: "systemd is stopping", settled: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			verdict, settled := weigh(tc.state, tc.failed, tc.status, tc.there)
			got := ""
			if verdict != nil {
				got = verdict.Error()
			}
			if got != tc.verdict || settled != tc.settled {
				t.Errorf("got %q, %v; want %q, %v", got, settled, tc.verdict, tc.settled)
			}
		})
	}
}

func TestWatchMissesNothing(t *testing.T) {
	c := newContainer(t)
	missed := func() bool {
		t.Helper()
		m, err := c.missed()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if missed() {
		t.Error("missed what nixoci-apply has not looked at yet")
	}
	if err := c.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if missed() {
		t.Error("missed what was applied")
	}
	write(t, c.Config+"/configuration.nix", "{ a = 1; }")
	if !missed() {
		t.Error("a change after the last apply is not seen")
	}
}

// If a file itself is a mount and an editor replaces it on the host, the container still
// sees the old file. watch must report that, once.
func TestWatchTellsOrphans(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir+"/configuration.nix", "{ }")
	open, err := os.Open(file) // keeps the inode, as a mount does
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	held := fmt.Sprintf("/proc/self/fd/%d", open.Fd())
	ms := Mounts{{Point: held}, {Point: dir}, {Point: dir + "/configuration.nix"}}
	if got := boundFiles(ms, dir); len(got) != 1 || got[0] != file {
		t.Errorf("bound files %q", got)
	}
	var said []string
	w := watcher{dir: dir, files: []string{held}, say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	w.lookForOrphans()
	if len(said) != 0 {
		t.Errorf("said %q", said)
	}
	if err := os.Rename(write(t, dir+"/new", "{ a = 1; }"), file); err != nil {
		t.Fatal(err)
	}
	w.lookForOrphans()
	w.lookForOrphans()
	if len(said) != 1 || !strings.Contains(said[0], "was replaced outside the container") {
		t.Errorf("said %q", said)
	}
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/configuration.nix", "{ }")
	var changes atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	seen := stamp(dir)
	go func() {
		w := watcher{dir: dir, interval: 5 * time.Millisecond, settle: 5 * time.Millisecond, seen: seen, changed: func() { changes.Add(1) }}
		done <- w.run(ctx)
	}()
	eventually := func(want int32) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); changes.Load() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d changes were seen, want %d", changes.Load(), want)
			}
		}
	}
	time.Sleep(30 * time.Millisecond)
	eventually(0)
	write(t, dir+"/configuration.nix", "{ a = 1; }")
	eventually(1)
	os.Remove(dir + "/configuration.nix")
	eventually(2)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
