//go:build linux

package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// watchInterval is how often the configuration is looked at. Notifications
	// of the kernel would not do: they do not cross the file systems that
	// Docker Desktop and Kubernetes mount.
	watchInterval = time.Second
	// watchSettle is how long it must not change before it is built.
	watchSettle = 500 * time.Millisecond
)

// Watch is the unit nixoci-watch: with NIXOCI_WATCH=1 it applies the
// configuration again when something in its directory changes.
func Watch(ctx context.Context) error {
	a, err := NewApplier()
	if err != nil {
		return err
	}
	if a.get("NIXOCI_WATCH") != "1" {
		return nil
	}
	ms, err := ReadMounts()
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	a.say("watching %s", a.Config)
	files := boundFiles(ms, a.Config)
	for _, f := range files {
		a.say("%s is mounted as a single file: if an editor replaces it, this container keeps the old one and sees no change. Mount its directory on %s instead", f, a.Config)
	}
	w := watcher{dir: a.Config, interval: watchInterval, settle: watchSettle, files: files, say: a.say, changed: func() {
		// A failure has been said, and the next change may mend it.
		_ = a.Once(ctx)
	}}
	w.seen = stamp(w.dir)
	// What changed after nixoci-apply had read it, and before this.
	if missed, err := a.missed(); err != nil {
		return err
	} else if missed {
		w.changed()
	}
	return w.run(ctx)
}

// missed waits until nobody applies, and says whether the configuration is
// another one by now than what was applied, or tried.
func (a *Applier) missed() (bool, error) {
	unlock, err := a.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	var last Status
	if there, err := readJSON(filepath.Join(a.Run, statusFile), &last); err != nil || !there || last.Fingerprint == "" {
		return false, err
	}
	found, err := a.Find()
	if err != nil || found == nil {
		return false, nil
	}
	_, now, err := a.inputs(found)
	return err == nil && now != last.Fingerprint, nil
}

// boundFiles are the files in dir that are mounts of their own.
func boundFiles(ms Mounts, dir string) []string {
	var files []string
	for _, point := range ms.Below(dir) {
		if info, err := os.Stat(point); err == nil && info.Mode().IsRegular() {
			files = append(files, point)
		}
	}
	return files
}

// A watcher calls changed after each change in dir, until the context ends.
type watcher struct {
	dir              string
	interval, settle time.Duration
	files            []string // mounts of their own
	seen             string   // stamp of what was applied
	changed          func()
	say              func(format string, args ...any)
}

func (w *watcher) run(ctx context.Context) error {
	for {
		if !sleep(ctx, w.interval) {
			return nil
		}
		w.lookForOrphans()
		now := stamp(w.dir)
		if now == w.seen {
			continue
		}
		for {
			if !sleep(ctx, w.settle) {
				return nil
			}
			again := stamp(w.dir)
			if again == now {
				break
			}
			now = again
		}
		w.seen = now
		w.changed()
	}
}

// lookForOrphans says once of each mounted file that it was replaced: its
// directory, which the container cannot see, then has no link to it any more.
func (w *watcher) lookForOrphans() {
	var bound []string
	for _, f := range w.files {
		var st syscall.Stat_t
		if err := syscall.Stat(f, &st); err == nil && st.Nlink == 0 {
			w.say("%s was replaced outside the container, which still sees the old file: restart the container to apply the new one, and mount the directory on %s to have changes seen", f, w.dir)
			continue
		}
		bound = append(bound, f)
	}
	w.files = bound
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
