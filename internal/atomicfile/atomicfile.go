package atomicfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nixoci/nixoci/internal/retry"
)

// Lock waits until no other process holds the lock on dir, and then takes the lock. The
// kernel releases a lock when the process that holds it dies.
func Lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { f.Close() }, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if err := retry.Sleep(ctx, 10*time.Millisecond); err != nil {
			f.Close()
			return nil, err
		}
	}
}

// Commit syncs a temporary file to the disk and then renames it to path. The file stays
// locked until then.
func Commit(tmp *os.File, path string) error {
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return tmp.Close()
}

// Create makes a temporary file for Commit. Unlike os.CreateTemp, it leaves the file's mode
// to the umask, because other users will read the file.
func Create(dir string) (*os.File, error) { return create(dir, 0o666) }

func create(dir string, mode os.FileMode) (*os.File, error) {
	for range 100 { // a sweep can remove the file before it is locked
		name := newTempName(dir)
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return nil, err
		}
		if own(f, name) {
			return f, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("make a temporary file in %s: other processes keep removing it", dir)
}

// Write writes a small file. The file appears complete or not at all.
func Write(path string, data []byte) error { return write(path, data, 0o666) }

// WritePrivate works like Write, but only the owner may read the file.
func WritePrivate(path string, data []byte) error { return write(path, data, 0o600) }

func write(path string, data []byte, mode os.FileMode) error {
	tmp, err := create(filepath.Dir(path), mode)
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err == nil {
		err = Commit(tmp, path)
	}
	if err != nil {
		tmp.Close()
		os.Remove(tmp.Name())
	}
	return err
}

// WriteCached works like Write, for an entry of a cache. It first writes to tempDir, which
// must be on the same file system as path. It does not sync. After a crash of the machine the
// content of the file may be missing, so readers must check the content.
func WriteCached(tempDir, path string, data []byte) error {
	tmp, err := Create(tempDir)
	if err != nil {
		return err
	}
	defer tmp.Close()
	if _, err = tmp.Write(data); err == nil {
		err = os.Rename(tmp.Name(), path) // rename before Close, because Close releases the lock
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

// SyncDir syncs a directory, so that new names in it survive a crash. Some file systems
// cannot do this.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
