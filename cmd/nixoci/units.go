package main

import (
	"fmt"
	"strings"
	"time"
)

// count is n of something, in the singular for one.
func count[N ~int | ~int64](n N, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "entry"):
		what = strings.TrimSuffix(what, "y") + "ies"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// humanBytes is n in units of 1000, as registries and disks count.
func humanBytes(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, suffix := float64(n), ""
	for _, s := range []string{"kB", "MB", "GB", "TB"} {
		f, suffix = f/unit, s
		if f < unit {
			break
		}
	}
	if f < 10 {
		return fmt.Sprintf("%.1f %s", f, suffix)
	}
	return fmt.Sprintf("%.0f %s", f, suffix)
}

// humanTime is d with as many digits as a person cares for.
func humanTime(d time.Duration) string {
	seconds := d.Seconds()
	switch {
	case seconds < 0.1:
		return fmt.Sprintf("%.2f s", seconds)
	case seconds < 10:
		return fmt.Sprintf("%.1f s", seconds)
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", seconds)
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(seconds)%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}
