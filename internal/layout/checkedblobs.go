package layout

import (
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/limit"
)

// Memory stores results of one run for later runs. A nil *cache.Cache stores nothing.
type Memory interface {
	Get(folder, key string, value any) bool
	Put(folder, key string, value any) error
}

// folderBlobs is the folder of Memory in which a Layout stores the [stamp] of each checked
// file.
const folderBlobs = "blobs"

// stamp identifies the state of a file: each write to the file changes its stamp.
type stamp struct {
	Device, Inode uint64
	Size          int64
	Modified      int64 // nanoseconds
	Changed       int64 // change time of the inode, which no program can set to an earlier time
}

func stampOf(name string) (s stamp, err error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(name, &st); err != nil {
		return s, err
	}
	modified, changed := statTimes(&st)
	return stamp{uint64(st.Dev), st.Ino, st.Size, modified, changed}, nil
}

// whole reports whether the file of a blob contains the right bytes. It hashes the file once.
// It does not hash the file if Memory contains the same stamp from an earlier check.
func (l *Layout) whole(d digest.Digest) bool {
	check, _ := l.checked.LoadOrStore(d, sync.OnceValue(func() bool {
		name := l.blobPath(d)
		now, err := stampOf(name)
		if err != nil {
			return false
		}
		var recorded stamp
		if l.Memory != nil && l.Memory.Get(folderBlobs, l.memoryKey(d), &recorded) && recorded == now {
			return true
		}
		if err := hashFile(name, d); err != nil {
			if l.Warn != nil {
				l.Warn(fmt.Errorf("%s: %w; nixoci replaces it", name, err))
			}
			return false
		}
		l.remember(d)
		return true
	}))
	return check.(func() bool)()
}

func hashFile(name string, want digest.Digest) error {
	if want.Algorithm() != digest.SHA256 {
		return fmt.Errorf("blob %s is not named by sha256", want)
	}
	f, err := limit.OpenFile(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := digest.NewDigest(digest.SHA256, h); got != want {
		return fmt.Errorf("the blob is damaged: its bytes have digest %s", got)
	}
	return nil
}

// remember records that the file of a blob was checked and is undamaged.
func (l *Layout) remember(d digest.Digest) {
	if l.Memory == nil {
		return
	}
	if now, err := stampOf(l.blobPath(d)); err == nil {
		l.Memory.Put(folderBlobs, l.memoryKey(d), now) // if Put fails, the next run hashes the file again
	}
}

func (l *Layout) memoryKey(d digest.Digest) string {
	root, err := filepath.Abs(l.root)
	if err != nil {
		root = l.root
	}
	return root + " " + d.String()
}
