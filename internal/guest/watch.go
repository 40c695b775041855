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
	// watchInterval is how often the configuration is checked. Notifications of the
	// kernel are no alternative: they do not cross the file systems that Docker Desktop
	// and Kubernetes mount.
	watchInterval = time.Second
	// watchSettle is how long the files must stay unchanged before a build starts.
	watchSettle = 500 * time.Millisecond
)

// Watch is the program of the unit nixoci-watch: with NIXOCI_WATCH=1 it applies the
// configuration again when a file in its directory changes.
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
		// Once has logged a failure. The next change may repair it.
		_ = a.Once(ctx)
	}}
	w.seen = stamp(w.dir)
	// Changes after nixoci-apply read the configuration and before this line.
	if missed, err := a.missed(); err != nil {
		return err
	} else if missed {
		w.changed()
	}
	return w.run(ctx)
}

// missed waits until no process applies. Then it reports whether the configuration
// differs from the one that was applied or tried last.
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

// boundFiles returns the files in dir that are mounts of their own.
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
	files            []string // files that are mounts of their own
	seen             string   // stamp of the applied files
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

// lookForOrphans logs once for each mounted file that it was replaced on the host. The host's
// directory, which the container cannot see, then has no link to the mounted file any more.
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
