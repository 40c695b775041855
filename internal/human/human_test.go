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

func TestParseAge(t *testing.T) {
	for s, want := range map[string]time.Duration{"1h": time.Hour, "12h": 12 * time.Hour, "30d": 720 * time.Hour, "99999d": 99999 * 24 * time.Hour,
		"0d": 0, "0h": 0, "-3h": 0, "6m": 0, "1h30m": 0, "30 d": 0, "30": 0, "d": 0, "": 0, "100000d": 0, "99999999999d": 0} {
		if got, ok := ParseAge(s); ok != (want > 0) || ok && got != want {
			t.Errorf("ParseAge(%q) = %s, %t, want %s", s, got, ok, want)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{30 * day: "30 days", 2 * day: "2 days", day: "24 h 0 min", 50 * time.Hour: "50 h 0 min", time.Hour: "1 h 0 min"} {
		if got := Age(d); got != want {
			t.Errorf("Age(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestDigest(t *testing.T) {
	for d, want := range map[string]string{"sha256:2dd5d2df8c19aa": "sha256:2dd5d2df8c19", "sha256:2dd5": "sha256:2dd5", "no digest": "no digest", "": ""} {
		if got := Digest(d); got != want {
			t.Errorf("Digest(%q) = %q, want %q", d, got, want)
		}
	}
}
