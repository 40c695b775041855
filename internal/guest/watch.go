//go:build linux

package guest

import (
	"context"
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
	if err := a.waitForSystemd(ctx); err != nil {
		return err
	}
	a.say("watching %s", a.Config)
	return watch(ctx, a.Config, watchInterval, watchSettle, func() {
		// A failure has been said, and the next change may mend it.
		_ = a.Once(ctx)
	})
}

// watch calls changed after each change in dir, until the context ends.
func watch(ctx context.Context, dir string, interval, settle time.Duration, changed func()) error {
	seen := stamp(dir)
	for {
		if !sleep(ctx, interval) {
			return nil
		}
		now := stamp(dir)
		if now == seen {
			continue
		}
		for {
			if !sleep(ctx, settle) {
				return nil
			}
			again := stamp(dir)
			if again == now {
				break
			}
			now = again
		}
		seen = now
		changed()
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
