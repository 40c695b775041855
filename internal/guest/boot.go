//go:build linux

package guest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	if os.Getpid() != 1 {
		return &ExitError{ExitConfig, errors.New("nixoci-init has to be the container's first process: leave out docker run --init, init: true and a shared PID namespace")}
	}
	env := newBootEnv(os.Environ())
	sys, err := FindSystem(args[0], env.get("NIXOCI_BOOT") == "base")
	if err != nil {
		return &ExitError{ExitSoftware, err}
	}
	problems, err := Prepare()
	if err != nil {
		return &ExitError{ExitSoftware, fmt.Errorf("prepare container: %w", err)}
	}
	if len(problems) > 0 {
		if err := WriteAdvice(os.Stdout, problems, env.get("container")); err != nil {
			return err
		}
		return &ExitError{Code: ExitConfig}
	}
	self, err := os.Executable()
	if err != nil {
		return &ExitError{ExitSoftware, fmt.Errorf("find own file: %w", err)}
	}
	made, err := ensureConsole(self)
	if err != nil {
		// The system runs without a console too, only nobody sees its log.
		fmt.Println("nixoci: no console, the log will stay empty:", err)
	}
	if made {
		env.setDefault("SYSTEMD_COLORS", "0") // a log is not a terminal
	}
	env.setDefault("container", detectEngine())
	if err := saveEnvironment(runtimeDir, env); err != nil {
		fmt.Println("nixoci: apply will not see the container's environment:", err)
	}
	// Images since format version 2 bring this root along.
	if image := imageToplevel(); image != "" {
		if err := holdImage(gcRoots, image); err != nil {
			fmt.Println("nixoci:", err)
		}
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
	argv := append([]string{sys.Init}, kernelArgs(args[1:], sys.managerSettings())...)
	err = syscall.Exec(sys.Init, argv, env.list())
	return &ExitError{ExitSoftware, fmt.Errorf("execute %s: %w", sys.Init, err)}
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
)

// kernelArgs adds to the user's arguments what they leave open. settings are
// the keys that the system's own system.conf sets; the command line would win
// over them.
func kernelArgs(args, settings []string) []string {
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
	return all
}

// isTrue is parse_boolean() of systemd, and an argument without a value.
func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "", "1", "yes", "y", "true", "t", "on":
		return true
	}
	return false
}

// detectEngine names what runs the container where the image's or engine's
// environment does not. systemd only wants to know that there is one.
func detectEngine() string {
	for file, name := range map[string]string{"/run/.containerenv": "podman", "/.dockerenv": "docker"} {
		if _, err := os.Stat(file); err == nil {
			return name
		}
	}
	return "oci"
}
