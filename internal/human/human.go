// Package human formats numbers, sizes, durations and digests for people. It also reads ages that people write.
package human

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Bytes formats n bytes in units of 1000, as registries and disks do: "4.2 MB". Negative
// sizes give "0 B".
func Bytes(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

// Digest shortens a digest to its algorithm and 12 digits: "sha256:2dd5d2df8c19".
func Digest(d string) string {
	algorithm, digits, ok := strings.Cut(d, ":")
	if !ok || len(digits) < 12 {
		return d
	}
	return algorithm + ":" + digits[:12]
}

// Count formats a number with a noun: "1 layer", "3 layers".
func Count[N ~int | ~int64](n N, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "entry"):
		what = strings.TrimSuffix(what, "y") + "ies"
	case strings.HasSuffix(what, "Hash"):
		what += "es"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Duration formats d with few digits: "0.2 s", "3 min 5 s".
func Duration(d time.Duration) string {
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

const day = 24 * time.Hour

// Age formats an age. If it is at least two whole days, the text is in days: "30 days".
func Age(d time.Duration) string {
	if d >= 2*day && d%day == 0 {
		return Count(int(d/day), "day")
	}
	return Duration(d)
}

// ageForm limits the number of digits, so that no age overflows.
var ageForm = regexp.MustCompile(`^([0-9]{1,5})([dh])$`)

// ParseAge parses a number of days or hours, such as 30d or 12h. For any other text, and for 0, ok is
// false.
func ParseAge(s string) (d time.Duration, ok bool) {
	parts := ageForm.FindStringSubmatch(s)
	if parts == nil {
		return 0, false
	}
	n, err := strconv.Atoi(parts[1])
	unit := time.Hour
	if parts[2] == "d" {
		unit = day
	}
	return time.Duration(n) * unit, err == nil && n > 0
}
