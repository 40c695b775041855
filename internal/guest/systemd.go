//go:build linux

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// systemctl returns the path of the running system's systemctl: every NixOS toplevel
// links its systemd.
func systemctl() string {
	const own = "/run/current-system/systemd/bin/systemctl"
	if _, err := os.Stat(own); err == nil {
		return own
	}
	return "systemctl"
}

// systemState returns the answer of systemctl is-system-running: initializing, starting,
// running, degraded, maintenance, stopping, offline or unknown. With wait it waits until
// systemd has started.
func systemState(ctx context.Context, wait bool) (string, error) {
	args := []string{"is-system-running"}
	if wait {
		args = append(args, "--wait")
	}
	out, err := exec.CommandContext(ctx, systemctl(), args...).Output()
	state := strings.TrimSpace(string(out))
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || state == "") {
		return "", fmt.Errorf("ask systemd for its state: %w", err)
	}
	return state, nil // the exit code only repeats the state
}

// waitForSystemd waits until systemd has started, even if units failed.
func waitForSystemd(ctx context.Context) error {
	_, err := systemState(ctx, true)
	return err
}

// failedUnits returns the failed units, which make systemd's state "degraded".
func failedUnits(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, systemctl(), "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager").Output()
	if err != nil {
		return nil
	}
	var units []string
	for _, line := range strings.Split(string(out), "\n") {
		if fields := strings.Fields(line); len(fields) > 0 {
			units = append(units, fields[0])
		}
	}
	return units
}

// notifyReady tells systemd that a unit of Type=notify has started: sd_notify(3).
func notifyReady() error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer syscall.Close(fd)
	// A leading @ means the abstract namespace; package syscall handles it.
	if err := syscall.Sendto(fd, []byte("READY=1"), syscall.MSG_NOSIGNAL, &syscall.SockaddrUnix{Name: name}); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
