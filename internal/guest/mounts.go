//go:build linux

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// need is a directory that systemd needs as a tmpfs.
type need struct {
	path     string
	options  string
	required bool // if false, a failure to mount is no problem
}

// needs are in the order in which they are mounted. Debian's systemd does not start
// without /run/lock. NixOS's systemd does not use it. Modes and sizes are those of
// systemd (src/shared/mount-setup.c).
var needs = []need{
	{"/run", "mode=0755,size=20%,nr_inodes=800k", true},
	{"/run/lock", "mode=1777,size=5m", false},
}

// writables are the directories to which NixOS's activation writes. With docker run
// --read-only the user has to mount them. nixoci does not: a tmpfs over /var would hide
// the image's files there.
var writables = []string{"/etc", "/var", "/bin", "/usr", "/root"}

// Problem is one reason why the container cannot boot as it was started.
type Problem struct {
	What   string // explanation for the user
	Tmpfs  string // the directory that needs a tmpfs
	Cgroup bool   // the control groups must be made writable
	Host   bool   // only the cgroup namespace is wrong
	Advice string // what to do, if no flag helps
}

// Prepare mounts what systemd needs, if the container may mount. It returns the problems
// that are left, and all mounts as they are now.
func Prepare(ms Mounts) ([]Problem, Mounts, error) {
	var problems []Problem
	var err error
	for _, n := range needs {
		if _, mounted := ms.At(n.path); mounted {
			continue
		}
		if err := mountTmpfs(n, ms.Below(n.path)); err != nil && n.required {
			problems = append(problems, Problem{
				What:  fmt.Sprintf("%s is not a tmpfs, and mounting one is not allowed (%v)", n.path, err),
				Tmpfs: n.path,
			})
		}
		if ms, err = ReadMounts(); err != nil {
			return nil, nil, fmt.Errorf("read mounts: %w", err)
		}
	}
	for _, dir := range writables {
		if readOnly(dir) || errors.Is(syscall.Access(dir, 0), syscall.ENOENT) && readOnly("/") {
			problems = append(problems, Problem{What: dir + " is read-only", Tmpfs: dir})
		}
	}
	switch err := prepareCgroup(ms); {
	case err == nil:
	case errors.Is(err, errCgroupForeign):
		problems = append(problems, Problem{What: err.Error(), Host: true})
	case errors.Is(err, errCgroupV1):
		problems = append(problems, Problem{What: err.Error(),
			Advice: "Boot the host with control groups of version 2 (kernel parameter systemd.unified_cgroup_hierarchy=1)."})
	case errors.Is(err, errCgroupReadOnly), errors.Is(err, errCgroupMissing):
		problems = append(problems, Problem{What: err.Error(), Cgroup: true})
	default:
		return nil, nil, err
	}
	return problems, ms, nil
}

// shareMounts makes new mounts visible in the mount namespaces of units. Outside
// containers systemd does this itself. In a container it leaves it to the engine
// (mount_setup() of src/shared/mount-setup.c). Without it, units with User= cannot read
// the files of LoadCredential=, which are such mounts. An error is ignored: without
// CAP_SYS_ADMIN systemd works without mounts.
func shareMounts() {
	_ = syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, "")
}

// restrictions are the mount options that harm programs: noexec stops them, and
// nosuid takes their setuid bit away.
var restrictions = []struct {
	path  string
	flags map[string]uintptr
	harm  string // what does not work
	tmpfs string // argument of --tmpfs that helps, "" if it should be left out
}{
	{"/run", map[string]uintptr{"noexec": syscall.MS_NOEXEC, "nosuid": syscall.MS_NOSUID},
		"sudo, su and all other programs of /run/wrappers do not work", runTmpfs},
	{"/tmp", map[string]uintptr{"noexec": syscall.MS_NOEXEC},
		"builds that start programs there fail", ""},
}

// liftRestrictions removes noexec and nosuid that the engine set, if the container may
// remount. It returns a line for the log for each mount that keeps them.
func liftRestrictions(ms Mounts, engine Engine) []string {
	var notes []string
	for _, r := range restrictions {
		m, ok := ms.At(r.path)
		if !ok {
			continue
		}
		var found []string
		var keep uintptr
		for _, o := range strings.Split(m.Options, ",") {
			if _, bad := r.flags[o]; bad {
				found = append(found, o)
			} else {
				keep |= mountFlags[o]
			}
		}
		if len(found) == 0 || syscall.Mount("", r.path, "", syscall.MS_REMOUNT|syscall.MS_BIND|keep, "") == nil {
			continue
		}
		slices.Sort(found)
		note := fmt.Sprintf("%s is mounted %s: %s", r.path, strings.Join(found, " and "), r.harm)
		switch flag := runFlag(engine); {
		case r.tmpfs == "" && flag != "":
			note += ". Leave out --tmpfs " + r.path
		case r.tmpfs != "" && flag != "":
			note += ". Start the container with " + flag
		}
		notes = append(notes, note)
	}
	return notes
}

// mountFlags maps options of /proc/self/mountinfo to the flags that a remount must repeat.
var mountFlags = map[string]uintptr{
	"ro": syscall.MS_RDONLY, "nodev": syscall.MS_NODEV, "noexec": syscall.MS_NOEXEC, "nosuid": syscall.MS_NOSUID,
	"noatime": syscall.MS_NOATIME, "nodiratime": syscall.MS_NODIRATIME, "relatime": syscall.MS_RELATIME,
}

// readOnly uses access(2), which ignores modes for root but reports a read-only file
// system.
func readOnly(dir string) bool {
	const wOK = 2
	return errors.Is(syscall.Access(dir, wOK), syscall.EROFS)
}

// mountTmpfs mounts a tmpfs, and moves the mounts below it into it, for instance Docker's
// /run/secrets.
func mountTmpfs(n need, below []string) error {
	// Unlike systemd, do not set MS_NOSUID: the setuid programs of /run/wrappers may be in it.
	const flags = syscall.MS_NODEV
	if len(below) == 0 {
		if err := os.MkdirAll(n.path, 0o755); err != nil {
			return unwrapPath(err)
		}
		return syscall.Mount("tmpfs", n.path, "tmpfs", flags, n.options)
	}
	// /dev is the one directory that is certainly writable.
	stage, err := os.MkdirTemp("/dev", "nixoci-")
	if err != nil {
		return unwrapPath(err)
	}
	defer os.Remove(stage)
	if err := syscall.Mount("tmpfs", stage, "tmpfs", flags, n.options); err != nil {
		return err
	}
	for _, point := range below {
		if err := carry(point, filepath.Join(stage, point[len(n.path):])); err != nil {
			return errors.Join(err, syscall.Unmount(stage, syscall.MNT_DETACH))
		}
	}
	if err := syscall.Mount(stage, n.path, "", syscall.MS_MOVE, ""); err != nil {
		return errors.Join(err, syscall.Unmount(stage, syscall.MNT_DETACH))
	}
	return nil
}

// carry bind-mounts the path from at the path to.
func carry(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(to, 0o755)
	} else {
		err = os.WriteFile(to, nil, 0o644)
	}
	if err != nil {
		return err
	}
	return syscall.Mount(from, to, "", syscall.MS_BIND, "")
}

// unwrapPath returns the cause of an os error. The caller's message has the path.
func unwrapPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
