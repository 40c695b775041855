//go:build linux

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const cgroupRoot = "/sys/fs/cgroup"

// What can be wrong with the control groups of the container.
var (
	errCgroupReadOnly = errors.New("/sys/fs/cgroup is read-only: systemd cannot make its control groups")
	errCgroupMissing  = errors.New("there are no control groups at /sys/fs/cgroup")
	// If the host's tree is mounted but the cgroup namespace is the container's, systemd
	// believes that the root of the host's tree is its own, and rearranges it.
	errCgroupForeign = errors.New("/sys/fs/cgroup is the host's, but the container has a cgroup namespace of its own: systemd would take over the host's control groups")
	errCgroupV1      = errors.New("the host has control groups of version 1 only, and systemd's hierarchy is not writable")
)

// Cgroup is the control group below which PID 1 makes its groups.
type Cgroup struct {
	Dir string // the group of this process, below /sys/fs/cgroup
	V1  bool
}

// findCgroup finds the control group of this container from the mounts and the content of
// /proc/self/cgroup.
func findCgroup(ms Mounts, self string) (Cgroup, error) {
	m, ok := ms.At(cgroupRoot)
	if ok && m.Type == "cgroup2" {
		own, found := cgroupPath(self, "0::")
		if !found {
			return Cgroup{}, errCgroupMissing
		}
		// A path that begins with /.. lies outside this cgroup namespace, so the mount or this
		// process belongs to another namespace: cgroup_namespaces(7).
		if strings.HasPrefix(m.Root, "/..") || strings.HasPrefix(own, "/..") {
			return Cgroup{}, errCgroupForeign
		}
		if rel, inside := cutDir(own, m.Root); inside {
			return Cgroup{Dir: filepath.Join(cgroupRoot, rel)}, nil
		}
		return Cgroup{}, errCgroupForeign
	}
	for _, m := range ms { // cgroup v1: one hierarchy per controller
		if m.Type == "cgroup" && hasOption(m.Super, "name=systemd") {
			own, _ := cgroupPath(self, "name=systemd:")
			if rel, inside := cutDir(own, m.Root); inside {
				return Cgroup{Dir: filepath.Join(m.Point, rel), V1: true}, nil
			}
			return Cgroup{Dir: m.Point, V1: true}, nil
		}
	}
	return Cgroup{}, errCgroupMissing
}

// cgroupPath returns the path in the line of /proc/self/cgroup that contains mark.
func cgroupPath(self, mark string) (string, bool) {
	for _, line := range strings.Split(self, "\n") {
		if i := strings.Index(line, mark); i >= 0 && (mark != "0::" || i == 0) {
			return line[i+len(mark):], true
		}
	}
	return "", false
}

// cutDir returns p relative to dir. ok is false if p is not in dir.
func cutDir(p, dir string) (string, bool) {
	if dir == "/" || p == dir {
		return strings.TrimPrefix(p, strings.TrimSuffix(dir, "/")), true
	}
	if rest, ok := strings.CutPrefix(p, dir+"/"); ok {
		return "/" + rest, true
	}
	return "", false
}

func hasOption(options, option string) bool {
	for _, o := range strings.Split(options, ",") {
		if o == option {
			return true
		}
	}
	return false
}

// writable tests whether PID 1 can make control groups: it makes one and removes it. Only
// such a test covers mount flags, ownership in user namespaces and security modules.
// systemd uses the name init.scope itself.
func (c Cgroup) writable() error {
	probe := filepath.Join(c.Dir, "init.scope")
	switch err := os.Mkdir(probe, 0o755); {
	case err == nil:
		return os.Remove(probe)
	case errors.Is(err, os.ErrExist):
		return nil
	default:
		return err
	}
}

// prepareCgroup makes sure that systemd can make control groups. If the mount is
// read-only, it tries to remount it writable.
func prepareCgroup(ms Mounts) error {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return fmt.Errorf("read own control group: %w", err)
	}
	c, err := findCgroup(ms, string(self))
	if errors.Is(err, errCgroupMissing) {
		if syscall.Mount("cgroup2", cgroupRoot, "cgroup2", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "") != nil {
			return err
		}
		if ms, err = ReadMounts(); err != nil {
			return err
		}
		c, err = findCgroup(ms, string(self))
	}
	if err != nil {
		return err
	}
	if c.writable() == nil {
		return nil
	}
	const flags = syscall.MS_REMOUNT | syscall.MS_BIND | syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	if !c.V1 && syscall.Mount("", cgroupRoot, "", flags, "") == nil && c.writable() == nil {
		return nil
	}
	if c.V1 {
		return errCgroupV1
	}
	return errCgroupReadOnly
}
