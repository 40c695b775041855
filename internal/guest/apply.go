//go:build linux

package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Applier builds the configuration that is mounted into the container and switches to it.
// Its fields name the files and directories that it uses.
type Applier struct {
	Config  string    // directory of configuration.nix or flake.nix
	Base    string    // base.json
	State   string    // directory of state.json, beside the store
	Run     string    // directory of status.json; a restart empties it
	Profile string    // the system profile
	Current string    // link to the running system
	Image   string    // the system that the image was made from, "" if unknown
	Roots   string    // Nix's directory of gc roots
	Cache   *cache    // keeps builds for the next container; nil without a volume
	Env     []string  // for Nix and the switch
	Log     io.Writer // messages for the user
	// Started waits until systemd has finished starting.
	Started func(context.Context) error

	tried string // fingerprint of the configuration that apply tried last
}

// NewApplier returns the applier of a running container.
func NewApplier() (*Applier, error) {
	saved, err := loadEnvironment(runtimeDir)
	if err != nil {
		return nil, err
	}
	// Variables of the unit win over variables of the container.
	env := newBootEnv(os.Environ())
	for _, v := range saved {
		name, value, _ := strings.Cut(v, "=")
		env.setDefault(name, value)
	}
	env.setDefault("HOME", "/root")
	env.setDefault("PATH", "/run/current-system/sw/bin")
	ms, err := ReadMounts()
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return &Applier{
		Config:  "/config",
		Base:    baseFile,
		State:   stateDir,
		Run:     runtimeDir,
		Profile: profile,
		Current: "/run/current-system",
		Image:   imageToplevel(),
		Roots:   gcRoots,
		Cache:   openCache(cacheDir, "/nix/store", ms),
		Started: waitForSystemd,
		Env:     env.list(),
		Log:     os.Stdout,
	}, nil
}

func (a *Applier) get(name string) string { return newBootEnv(a.Env).get(name) }

// Apply is the program of the unit nixoci-apply.
func Apply(ctx context.Context) error {
	a, err := NewApplier()
	if err != nil {
		return err
	}
	// The unit counts as started only after notifyReady. The status is written before, so
	// the health check never misses a running build.
	if err := a.status(PhaseBuilding, "", ""); err != nil {
		return err
	}
	if err := notifyReady(); err != nil {
		return err
	}
	if err := a.Once(ctx); err != nil {
		return &ExitError{Code: 1} // a.Once has printed the error
	}
	return nil
}

// Once applies the configuration once. If that fails and the user set
// NIXOCI_ON_FAILURE=exit, it ends the container.
func (a *Applier) Once(ctx context.Context) error {
	unlock, err := a.lock()
	if err != nil {
		return err
	}
	defer unlock()
	outcome, err := a.apply(ctx)
	if err == nil {
		return a.status(PhaseIdle, outcome, "")
	}
	if ctx.Err() != nil {
		return ctx.Err() // the container stops
	}
	a.say("FAILED: %v", err)
	err = errors.Join(err, a.status(PhaseIdle, OutcomeFailed, clip(err.Error(), maxReason)))
	if a.get("NIXOCI_ON_FAILURE") == "exit" {
		a.say("ending the container, as NIXOCI_ON_FAILURE=exit says")
		// In a container systemctl exit sets the exit code of PID 1: systemctl(1).
		return errors.Join(err, a.command(ctx, systemctl(), "exit", "1").Run())
	}
	running, _ := os.Readlink(a.Current)
	a.say("the container keeps running %s", running)
	return err
}

// Found describes the mounted configuration.
type Found struct {
	Flake bool
	File  string // configuration.nix or flake.nix
	Name  string // name of the configuration in the flake
}

// Find returns the mounted configuration, nil if there is none. A flake comes first: a
// configuration.nix beside it is one of its modules.
func (a *Applier) Find() (*Found, error) {
	for _, f := range []Found{
		{Flake: true, File: filepath.Join(a.Config, "flake.nix"), Name: a.configurationName()},
		{File: filepath.Join(a.Config, "configuration.nix")},
	} {
		info, err := os.Stat(f.File)
		switch {
		case os.IsNotExist(err):
		case err != nil:
			return nil, fmt.Errorf("look for the configuration: %w", err)
		case info.IsDir():
			// If the host does not have the file to bind, Docker makes a directory instead.
			return nil, fmt.Errorf("%s is a directory: does the file that was mounted there exist on the host?", f.File)
		default:
			return &f, nil
		}
	}
	return nil, nil
}

// nothingFound describes a mounted directory without a configuration: which files nixoci
// looked for, and which files are there.
func nothingFound(dir string, entries []os.DirEntry) string {
	const most = 10
	var names, modules []string
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, "..") {
			continue // made by Kubernetes
		}
		if strings.HasSuffix(name, ".nix") {
			modules = append(modules, name)
		}
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	there := "the directory is empty"
	if len(names) > most {
		names = append(names[:most], "…")
	}
	if len(names) > 0 {
		there = "found " + strings.Join(names, ", ")
	}
	text := fmt.Sprintf("no configuration: looked for %[1]s/flake.nix and %[1]s/configuration.nix, %s", dir, there)
	if len(modules) == 1 {
		text += fmt.Sprintf("; mount %s as %s/configuration.nix to apply it", modules[0], dir)
	}
	return text
}

func (a *Applier) configurationName() string {
	if name := a.get("NIXOCI_CONFIGURATION"); name != "" {
		return name
	}
	return "default"
}

func (a *Applier) apply(ctx context.Context) (outcome string, err error) {
	found, err := a.Find()
	if err != nil {
		return "", err
	}
	if found == nil {
		if entries, err := os.ReadDir(a.Config); err == nil {
			a.say("%s", nothingFound(a.Config, entries))
		}
		return OutcomeNone, nil
	}
	base, print, err := a.inputs(found)
	if err != nil {
		return "", err
	}
	a.tried = print
	var last State
	known, err := readJSON(filepath.Join(a.State, stateFile), &last)
	if err != nil {
		a.say("forgetting what was applied last: %v", err)
		known = false
	}
	running, err := os.Readlink(a.Current)
	if err != nil {
		return "", fmt.Errorf("find the running system: %w", err)
	}

	toplevel := ""
	if known && last.Fingerprint == print && isThere(last.Toplevel) {
		toplevel = last.Toplevel
	}
	if toplevel != "" && toplevel == running {
		a.say("%s is unchanged and running", found.File)
		a.keep(ctx, base, last)
		return OutcomeUnchanged, nil
	}
	defer os.RemoveAll(filepath.Join(a.Roots, applyRoots))
	if toplevel == "" {
		if toplevel, err = a.obtain(ctx, base, found, print); err != nil {
			return "", err
		}
	}
	if toplevel != running {
		if err := a.switchOnceStarted(ctx, base, running, toplevel); err != nil {
			return "", err
		}
	}
	state := State{Fingerprint: print, Toplevel: toplevel, Time: time.Now().UTC()}
	if err := writeJSON(filepath.Join(a.State, stateFile), state); err != nil {
		return "", fmt.Errorf("remember what was applied: %w", err)
	}
	a.say("%s is applied", found.File)
	if err := a.status(PhaseKeeping, OutcomeApplied, ""); err != nil {
		return "", err
	}
	a.keep(ctx, base, state)
	return OutcomeApplied, nil
}

// obtain returns the toplevel of a configuration, from the cache or from a build.
func (a *Applier) obtain(ctx context.Context, base Base, found *Found, fingerprint string) (toplevel string, err error) {
	if err := a.status(PhaseBuilding, "", ""); err != nil {
		return "", err
	}
	if toplevel, err = a.restoreSystem(ctx, base, fingerprint); err != nil || toplevel != "" {
		return toplevel, err
	}
	return a.build(ctx, base, found)
}

// switchOnceStarted makes toplevel the running system, after systemd has started. A switch
// waits for starting targets, and a target may wait for this unit: that would be a deadlock.
func (a *Applier) switchOnceStarted(ctx context.Context, base Base, running, toplevel string) error {
	if err := a.status(PhaseWaiting, "", ""); err != nil {
		return err
	}
	if err := a.Started(ctx); err != nil {
		return err
	}
	if err := a.status(PhaseSwitching, "", ""); err != nil {
		return err
	}
	return a.switchTo(ctx, base, running, toplevel)
}

// inputs reads base.json and computes the fingerprint of all inputs of the build.
func (a *Applier) inputs(found *Found) (base Base, fingerprint string, err error) {
	raw, err := os.ReadFile(a.Base)
	if err != nil {
		return base, "", fmt.Errorf("read what the image was made from: %w", err)
	}
	if _, err := readJSON(a.Base, &base); err != nil {
		return base, "", err
	}
	if base.Version != baseVersion {
		return base, "", fmt.Errorf("%s has version %d, this nixoci-init reads %d", a.Base, base.Version, baseVersion)
	}
	for what, path := range map[string]string{"nixpkgs": base.Nixpkgs, "the container module": base.Module, "Nix": base.Nix} {
		if !isThere(path) {
			return base, "", fmt.Errorf("the store lacks %s of this image, %s: a volume on /nix that comes from another image hides it\nhint: leave that volume out; a volume on %s keeps what was built", what, path, cacheDir)
		}
	}
	fingerprint, err = Fingerprint(raw, found.Name, a.Config)
	return base, fingerprint, err
}

// build builds the configuration and returns its toplevel. Nix's output goes to the log
// as it comes: one line per derivation, and errors with file and line.
func (a *Applier) build(ctx context.Context, base Base, found *Found) (string, error) {
	a.say("building %s", found.File)
	start := time.Now()
	evaluated := filepath.Join(a.Roots, applyRoots, "evaluated")
	var drv string
	var err error
	if found.Flake {
		if drv, err = a.nix(ctx, base, found, "nix", flakeArgs(base, a.Base, a.Config, found.Name)...); err == nil {
			err = setRoot(evaluated, drv)
		}
	} else {
		drv, err = a.nixLink(ctx, base, found, evaluated, "nix-instantiate", filepath.Join(base.Module, "apply.nix"),
			"--argstr", "base", a.Base, "--argstr", "configuration", found.File)
	}
	if err != nil {
		return "", err
	}
	seconds := time.Since(start).Seconds()
	a.restoreOutputs(ctx, base, drv)
	toplevel, err := a.nixLink(ctx, base, found, filepath.Join(a.Roots, applyRoots, "built"), "nix-store", "--realise", drv)
	if err != nil {
		return "", err
	}
	if _, err := systemAt(toplevel); err != nil {
		return "", fmt.Errorf("build %s: %w", found.File, err)
	}
	a.say("built %s in %.1f s, %.1f s of them for the evaluation", toplevel, time.Since(start).Seconds(), seconds)
	return toplevel, nil
}

const registryFile = "/etc/nix/registry.json"

// flakeArgs returns arguments for nix that evaluate a flake to a derivation. nix eval
// completes an incomplete lock file in memory; builtins.getFlake refuses one.
func flakeArgs(base Base, baseFile, dir, name string) []string {
	args := []string{"eval", "--extra-experimental-features", "nix-command flakes", "--impure", "--raw", "--no-write-lock-file"}
	// In the image's flake registry, "nixpkgs" is the pinned one. The global registry changes from day
	// to day, and Nix would have to download it first.
	if _, err := os.Stat(registryFile); err == nil {
		args = append(args, "--option", "flake-registry", registryFile)
	}
	apply := fmt.Sprintf("configurations: (import %s/apply.nix { base = %s; name = %s; inherit configurations; }).drvPath",
		base.Module, nixString(baseFile), nixString(name))
	return append(args, "--apply", apply, "path:"+dir+"#nixosConfigurations")
}

// nixString writes s as a string of the Nix language.
func nixString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `${`, `\${`).Replace(s) + `"`
}

// nix runs one of Nix's programs and returns the line that it prints.
func (a *Applier) nix(ctx context.Context, base Base, found *Found, program string, args ...string) (string, error) {
	var out bytes.Buffer
	tail := &tailWriter{}
	cmd := a.command(ctx, filepath.Join(base.Nix, "bin", program), args...)
	cmd.Env = append(cmd.Env, "NIX_PATH=nixpkgs="+base.Nixpkgs)
	cmd.Stdout = &out
	cmd.Stderr = io.MultiWriter(a.Log, tail)
	if err := cmd.Run(); err != nil {
		readLog := func(drv string) string {
			log, err := a.store(base).run(ctx, []string{drv}, "--read-log")
			if err != nil {
				return "" // Nix may have written no log
			}
			return strings.Join(log, "\n")
		}
		if reason := reason(string(tail.buf), a.Config, readLog); reason != "" {
			if strings.HasPrefix(reason, "building ") {
				return "", errors.New(reason)
			}
			return "", fmt.Errorf("build %s: %s", found.File, reason)
		}
		return "", fmt.Errorf("build %s: %w", found.File, err)
	}
	return strings.TrimSpace(out.String()), nil
}

// nixLink is like nix, for programs that add a gc root for their result.
func (a *Applier) nixLink(ctx context.Context, base Base, found *Found, root, program string, args ...string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return "", fmt.Errorf("hold %s against garbage collection: %w", found.File, err)
	}
	if _, err := a.nix(ctx, base, found, program, append(args, "--add-root", root)...); err != nil {
		return "", err
	}
	path, err := os.Readlink(root)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", found.File, err)
	}
	return path, nil
}

// exitReboot is the exit code of switch-to-configuration when systemd itself changed so
// much that it cannot be replaced while it runs.
const exitReboot = 100

// inhibited is the message of newer versions of switch-to-configuration when they refuse
// to switch. They refuse if a component that system.switch.inhibitors lists changes, for
// instance the message bus. The system is then unchanged.
const inhibited = "There are changes to critical components of the system"

var errInhibited = errors.New("what the running system depends on changes")

// switchTo makes toplevel the running system. If that fails, it switches back to the
// system that was running before.
func (a *Applier) switchTo(ctx context.Context, base Base, running, toplevel string) error {
	a.say("switching to %s", toplevel)
	err := a.activate(ctx, base, toplevel)
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitReboot {
		a.say("systemd has to be replaced: restart the container to finish")
		return nil
	}
	if errors.Is(err, errInhibited) {
		a.say("%v: restart the container to finish", errInhibited)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err = fmt.Errorf("switch to %s: %w", toplevel, err)
	a.say("%v", err)
	a.say("going back to %s", running)
	if back := a.activate(ctx, base, running); back != nil {
		return errors.Join(err, fmt.Errorf("go back to %s: %w", running, back))
	}
	return err
}

// activate sets the system profile, then switches. The profile protects the system from
// garbage collection, and the next start boots it.
func (a *Applier) activate(ctx context.Context, base Base, toplevel string) error {
	set := a.command(ctx, filepath.Join(base.Nix, "bin/nix-env"), "--profile", a.Profile, "--set", toplevel)
	if err := set.Run(); err != nil {
		return fmt.Errorf("set %s: %w", a.Profile, err)
	}
	tail := &tailWriter{}
	cmd := a.command(ctx, filepath.Join(toplevel, "bin/switch-to-configuration"), "switch")
	cmd.Stdout = io.MultiWriter(a.Log, tail)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		if bytes.Contains(tail.buf, []byte(inhibited)) {
			return errInhibited
		}
		return fmt.Errorf("%w: %s", err, tail.last())
	}
	return nil
}

// command ends the program with SIGTERM first, so that Nix can release its locks.
func (a *Applier) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append([]string(nil), a.Env...)
	cmd.Stdout, cmd.Stderr = a.Log, a.Log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func (a *Applier) say(format string, args ...any) {
	fmt.Fprintf(a.Log, format+"\n", args...)
}

// status writes the status file. An empty outcome keeps the outcome of the last run.
func (a *Applier) status(phase, outcome, reason string) error {
	file := filepath.Join(a.Run, statusFile)
	s := Status{Phase: phase, Outcome: outcome, Reason: reason, Since: time.Now().UTC(), Fingerprint: a.tried}
	if outcome == "" {
		var last Status
		if ok, err := readJSON(file, &last); ok && err == nil {
			s.Outcome, s.Reason = last.Outcome, last.Reason
		}
	}
	if err := writeJSON(file, s); err != nil {
		return fmt.Errorf("note the status: %w", err)
	}
	return nil
}

// lock waits until no other process applies a configuration.
func (a *Applier) lock() (unlock func(), err error) {
	if err := os.MkdirAll(a.Run, 0o755); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(a.Run, "apply.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// tailWriter keeps the last 64 KiB of Nix's output.
type tailWriter struct{ buf []byte }

const tailSize = 64 << 10

func (t *tailWriter) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// last returns the last line of the output that is not empty.
func (t *tailWriter) last() string {
	lines := strings.Split(strings.TrimSpace(string(t.buf)), "\n")
	return lines[len(lines)-1]
}
