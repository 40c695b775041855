//go:build linux

package guest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Exit codes of a container that does not boot, as in sysexits.h.
const (
	ExitConfig   = 78 // EX_CONFIG: a mount or flag of the container is missing or wrong
	ExitSoftware = 70 // EX_SOFTWARE: a fault of the image
)

// ExitError ends the program with Code. If Err is nil, the reason was printed before.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// Boot does the work of PID 1. It returns only if it cannot start the system. args are
// the program's arguments, with its name first.
func Boot(args []string) error {
	if os.Getpid() != pid1 {
		return &ExitError{ExitConfig, errors.New("nixoci-init has to be the container's first process: leave out docker run --init, init: true and a shared PID namespace")}
	}
	env := newBootEnv(os.Environ())
	ms, err := ReadMounts()
	if err != nil {
		return &ExitError{ExitSoftware, fmt.Errorf("read mounts: %w", err)}
	}
	sys, notes, err := FindSystem(imageLayout(), ms, env.get("NIXOCI_BOOT") == "base")
	if err != nil {
		return asExit(err)
	}
	engine := detectEngine("/", env, ms, refusesHandles())
	problems, ms, err := Prepare(ms)
	if err != nil {
		return &ExitError{ExitSoftware, fmt.Errorf("prepare container: %w", err)}
	}
	if len(problems) > 0 {
		if err := WriteAdvice(os.Stdout, problems, engine); err != nil {
			return err
		}
		return &ExitError{Code: ExitConfig}
	}
	notes = append(notes, liftRestrictions(ms, engine)...)
	shareMounts()
	self, err := os.Executable()
	if err != nil {
		return &ExitError{ExitSoftware, fmt.Errorf("find own file: %w", err)}
	}
	made, err := ensureConsole(self)
	if err != nil {
		// The system runs without a console too, but then its log is empty.
		notes = append(notes, fmt.Sprintf("no console, the log will stay empty: %v", err))
	}
	if made {
		env.plainConsole()
	}
	notes = append(notes, settle(sys, env, ms, engine, args[1:])...)
	for _, note := range notes {
		fmt.Println("nixoci:", note)
	}
	if sys.Prepare != "" {
		cmd := exec.Command(sys.Prepare)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Env = append(env.list(), "IN_NIXOS_SYSTEMD_STAGE1=true")
		if err := cmd.Run(); err != nil {
			return &ExitError{ExitSoftware, fmt.Errorf("run %s: %w", sys.Prepare, err)}
		}
	}
	fmt.Printf("nixoci: starting %s, %s\n", sys.name(), sys.Toplevel)
	var masked []string
	if made {
		masked = append(masked, "console-getty.service")
	}
	argv := append([]string{sys.Init}, kernelArgs(args[1:], sys.managerSettings(), masked)...)
	err = syscall.Exec(sys.Init, argv, env.list())
	return &ExitError{ExitSoftware, fmt.Errorf("execute %s: %w", sys.Init, err)}
}

// settle prepares files for systemd and its units, and changes systemd's
// environment. A failure here must not stop the boot: settle returns it as a note
// for the log.
func settle(sys System, env *bootEnv, ms Mounts, engine Engine, args []string) (notes []string) {
	try := func(consequence string, err error) {
		if err != nil {
			notes = append(notes, fmt.Sprintf("%s: %v", consequence, err))
		}
	}
	left, err := saveEnvironment(runtimeDir, env)
	try("units and apply will not see the container's environment", err)
	if len(left) > 0 {
		notes = append(notes, fmt.Sprintf("units cannot be given %s: systemd takes names of letters, digits and _, and values without control characters", strings.Join(left, ", ")))
	}
	// Images of format version 2 and later already contain this root.
	if image := imageToplevel(); image != "" {
		try("garbage collection may delete the image's own system", holdImage(gcRoots, image))
	}
	if !hasArgument(args, "systemd.machine_id") {
		try("every start will be a first boot", ensureMachineID(machineIDPlaces(ms), env))
	}
	try("the log will be in UTC", setTimeZone("/etc/localtime", filepath.Join(sys.Toplevel, "etc/zoneinfo"), env.get("TZ"), ms))
	setCredentials(env, secretsDir)
	try("the shutdown will complain of mounts", writeUnits(unitDir, ms))
	switch env.get("container") {
	case "", "docker", "oci": // set by the image or the engine
		env.set("container", engine.systemdName())
	}
	return notes
}

// asExit returns err as an *ExitError. If err has no exit code, the code is ExitSoftware.
func asExit(err error) error {
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit
	}
	return &ExitError{ExitSoftware, err}
}

// Settings that systemd gets unless the user sets them. In a container systemd reads
// PID 1's arguments as the kernel command line (proc_cmdline(),
// src/basic/proc-cmdline.c).
const (
	// The journal, which has the output of every unit, also goes to the console.
	argForward = "systemd.journald.forward_to_console"
	// On first boot systemd must not ask questions: nobody can answer them.
	argFirstBoot = "systemd.firstboot"
	// systemd also logs the status lines that it shows ("[  OK  ] Started …"). If the
	// journal goes to the console, they would appear there twice.
	argStatus = "systemd.show_status"
	// If systemd logs to the console, it shows status lines there and does not log them.
	argTarget = "systemd.log_target"
	// Units that must not start, one argument each. console-getty is one: a login prompt
	// is useless in a log, and newer versions write escape sequences. Never mask a mount:
	// units with PrivateTmp= require tmp.mount and would fail.
	argMask = "systemd.mask"
)

// kernelArgs adds defaults for the arguments that the user did not give. settings are the
// keys that the system's own system.conf sets: kernelArgs leaves them alone, because the
// command line would override them. masked are units that must not start.
func kernelArgs(args, settings, masked []string) []string {
	given := map[string]string{}
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		given[strings.ReplaceAll(name, "-", "_")] = value // systemd treats - and _ the same
	}
	all := args[:len(args):len(args)]
	setDefault := func(name, value string) {
		if _, ok := given[name]; !ok {
			all = append(all, name+"="+value)
		}
	}
	setDefault(argForward, "1")
	setDefault(argFirstBoot, "off")
	_, forwardGiven := given[argForward]
	_, targetGiven := given[argTarget]
	if !targetGiven && (!forwardGiven || isTrue(given[argForward])) &&
		!slices.Contains(settings, "ShowStatus") && !slices.Contains(settings, "LogTarget") {
		setDefault(argStatus, "no")
	}
	for _, unit := range masked {
		all = append(all, argMask+"="+unit)
	}
	return all
}

// hasArgument reports whether args contain name, with or without a value.
func hasArgument(args []string, name string) bool {
	return slices.ContainsFunc(args, func(a string) bool {
		given, _, _ := strings.Cut(a, "=")
		return strings.ReplaceAll(given, "-", "_") == name
	})
}

// isTrue works like systemd's parse_boolean(). An empty value is true too.
func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "", "1", "yes", "y", "true", "t", "on":
		return true
	}
	return false
}
