package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

// Names of temporary files and directories have this form. The process that made a file holds
// a lock on it, and the kernel releases the lock when the process dies. So a file without a
// lock can be removed.
const tempPrefix = ".nixoci-"

var tempName = regexp.MustCompile(`^\.nixoci-[A-Z2-7]{26}$`)

func newTempName(dir string) string { return filepath.Join(dir, tempPrefix+rand.Text()) }

// IsTemp reports whether name is the name of a temporary file or directory of this
// package.
func IsTemp(name string) bool { return tempName.MatchString(name) }

// TempDir makes a private directory in parent, after a [Sweep] of parent. The function remove
// deletes the directory with its content.
func TempDir(parent string) (dir string, remove func() error, err error) {
	Sweep(parent)
	for range 100 { // a sweep can remove the directory before it is locked
		dir = newTempName(parent)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return "", nil, err
		}
		f, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, err
		}
		if own(f, dir) {
			return dir, func() error {
				err := os.RemoveAll(dir)
				return errors.Join(err, f.Close())
			}, nil
		}
		f.Close()
	}
	return "", nil, fmt.Errorf("make a temporary directory in %s: other processes keep removing it", parent)
}

// own locks a new file or directory, and reports whether it still exists. If the file system
// has no locks, own only checks that the file exists, because then no process sweeps.
func own(f *os.File, name string) bool {
	if err := flock(f); errors.Is(err, syscall.EWOULDBLOCK) {
		return false // another process is sweeping the file
	}
	now, err := os.Lstat(name)
	if err != nil {
		return false
	}
	was, err := f.Stat()
	return err == nil && os.SameFile(now, was)
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// Sweep removes the temporary files and directories in dir that killed processes have left.
// It ignores errors, because a file that stays only wastes space.
func Sweep(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if IsTemp(e.Name()) && (e.IsDir() || e.Type().IsRegular()) {
			sweep(filepath.Join(dir, e.Name()))
		}
	}
}

func sweep(name string) {
	// With O_NOFOLLOW, open fails if the file was replaced by a link. This can happen in a
	// directory that all users can write to.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || int(sys.Uid) != os.Getuid() {
		return
	}
	if flock(f) == nil {
		os.RemoveAll(name)
	}
}
