package human

import (
	"testing"
	"time"
)

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"1 request": Count(1, "request"), "0 requests": Count(0, "request"), "2 entries": Count(2, "entry"), "1 entry": Count(int64(1), "entry"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{-1: "0 B", 0: "0 B", 999: "999 B", 1000: "1.0 kB", 9_900: "9.9 kB", 12_345: "12 kB", 4_200_000: "4.2 MB", 1_400_000_000: "1.4 GB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0.00 s", 20 * time.Millisecond: "0.02 s", 200 * time.Millisecond: "0.2 s", 42 * time.Second: "42 s",
		185 * time.Second: "3 min 5 s", 2*time.Hour + 3*time.Minute: "2 h 3 min"} {
		if got := Duration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
