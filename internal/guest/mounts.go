//go:build linux

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// need is a directory that systemd wants as a tmpfs.
type need struct {
	path     string
	options  string
	required bool // else only mounted where that is possible
}

// needs are in the order they are mounted in. /run/lock is wanted by Debian's
// systemd, which does not start without it; NixOS's does not look at it. The
// modes and sizes are systemd's own (src/shared/mount-setup.c).
var needs = []need{
	{"/run", "mode=0755,size=20%,nr_inodes=800k", true},
	{"/run/lock", "mode=1777,size=5m", false},
	{"/tmp", "mode=1777", false},
}

// writables are what NixOS's activation writes to. With docker run --read-only
// they have to be mounted by whoever starts the container: a tmpfs over /var
// would hide what the image has there.
var writables = []string{"/etc", "/var", "/bin", "/usr", "/root"}

// Problem is one reason why the container cannot boot as it was started.
type Problem struct {
	What   string // for a person
	Tmpfs  string // the directory that has to be a tmpfs
	Cgroup bool   // the control groups have to be bound in
	Host   bool   // only the cgroup namespace is wrong
	Advice string // where no flag helps
}

// Prepare mounts what is not mounted, where that is allowed, and returns what
// is still missing. What the user mounted is left alone.
func Prepare() ([]Problem, error) {
	ms, err := ReadMounts()
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	var problems []Problem
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
			return nil, fmt.Errorf("read mounts: %w", err)
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
		return nil, err
	}
	return problems, nil
}

// readOnly asks access(2), which for root ignores modes but not a read-only
// file system.
func readOnly(dir string) bool {
	const wOK = 2
	return errors.Is(syscall.Access(dir, wOK), syscall.EROFS)
}

// mountTmpfs mounts a tmpfs and carries over what is mounted below, for
// instance Docker's /run/secrets.
func mountTmpfs(n need, below []string) error {
	const flags = syscall.MS_NOSUID | syscall.MS_NODEV
	if len(below) == 0 {
		if err := os.MkdirAll(n.path, 0o755); err != nil {
			return unwrapPath(err)
		}
		return syscall.Mount("tmpfs", n.path, "tmpfs", flags, n.options)
	}
	// /dev is the one directory that is surely writable.
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

// carry binds what is mounted at from to to.
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

// unwrapPath leaves the reason of an os error: the path is said elsewhere.
func unwrapPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
