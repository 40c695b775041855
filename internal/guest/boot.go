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

// Exit codes of a container that does not boot, from sysexits.h.
const (
	ExitConfig   = 78 // EX_CONFIG: started without what it needs
	ExitSoftware = 70 // EX_SOFTWARE: the image is at fault
)

// ExitError ends the program with Code. Err, if any, has been said already.
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

// Boot is PID 1. It returns only when the system cannot be started; args are
// the arguments of the program with its name.
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
		// The system runs without a console too, only nobody sees its log.
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

// settle makes what systemd and its units find in the container, and changes
// the environment of systemd. Nothing here keeps a system from starting: what
// fails is a note for the log.
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
	// Images since format version 2 bring this root along.
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
	case "", "docker", "oci": // the image's own, or the engine's
		env.set("container", engine.systemdName())
	}
	return notes
}

// asExit is err with the exit code that it asks for.
func asExit(err error) error {
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit
	}
	return &ExitError{ExitSoftware, err}
}

// What systemd is told unless the user decides himself. It reads PID 1's
// arguments as the kernel command line when it runs in a container
// (proc_cmdline(), src/basic/proc-cmdline.c).
const (
	// The journal, and with it every unit's output, goes to the console.
	argForward = "systemd.journald.forward_to_console"
	// Nobody answers questions there.
	argFirstBoot = "systemd.firstboot"
	// What systemd shows of its units' starts and stops, "[  OK  ] Started …",
	// it logs too. Where the journal goes to the console, once is enough.
	argStatus = "systemd.show_status"
	// Where systemd logs; on the console it shows the status and does not log it.
	argTarget = "systemd.log_target"
	// What is not to be started, once for each unit: console-getty, since a
	// login prompt in a log is of no use and newer ones write escape sequences.
	// Never a mount: units with PrivateTmp= require tmp.mount, and would fail.
	argMask = "systemd.mask"
)

// kernelArgs adds to the user's arguments what they leave open. settings are
// the keys that the system's own system.conf sets; the command line would win
// over them. masked are units.
func kernelArgs(args, settings, masked []string) []string {
	given := map[string]string{}
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		given[strings.ReplaceAll(name, "-", "_")] = value // the two are the same to systemd
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

// hasArgument says whether args have name, with a value or without.
func hasArgument(args []string, name string) bool {
	return slices.ContainsFunc(args, func(a string) bool {
		given, _, _ := strings.Cut(a, "=")
		return strings.ReplaceAll(given, "-", "_") == name
	})
}

// isTrue is parse_boolean() of systemd, and an argument without a value.
func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "", "1", "yes", "y", "true", "t", "on":
		return true
	}
	return false
}
