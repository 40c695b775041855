package verify

import (
	"fmt"
	"strings"

	"github.com/nixoci/nixoci/internal/terminal"
)

// WriteText writes the report for people: some lines for each platform that can
// be pasted into a release, then the findings.
func (r *Report) WriteText(p *terminal.Printer) error {
	p.Printf("%s\n", r.Ref)
	if r.Digest != "" && !strings.Contains(r.Ref, string(r.Digest)) {
		p.Printf("%s\n", r.Digest)
	}
	for _, pr := range r.Platforms {
		p.Printf("\n%s  %s\n", pr.Platform, pr.Digest)
		if pr.Toplevel != "" {
			p.Printf("  %s\n", pr.Toplevel)
			p.Printf("  %d store paths, %d layers, %s in %s\n", pr.Paths, pr.Layers, humanBytes(pr.NarSize), humanBytes(pr.Size))
		} else if !pr.Made {
			p.Printf("  made by another tool\n")
		}
		for _, s := range pr.Settings {
			p.Printf("  set by whoever pushed it: %s %s\n", s.Name, s.Value)
		}
		for _, c := range pr.Checks {
			p.Printf("  %s %-11s %s\n", mark(c.Result), c.Check, text(c))
		}
	}
	p.Printf("\n")
	if r.Index != Without {
		p.Printf("%s index: %s\n", mark(r.Index), map[Result]string{Holds: "made again, it is the same", Fails: "failed", Skipped: "not checked"}[r.Index])
	}
	if r.Signed {
		p.Printf("✓ signed by the key that was given\n")
	}
	for _, s := range r.Skipped {
		p.Printf("– %s: not asked for, not checked\n", s)
	}
	if r.OK {
		p.Printf("verified\n")
	}
	return p.Err()
}

func text(c CheckResult) string {
	switch {
	case c.Detail != "" && c.Result == Without:
		return "does not apply: " + c.Detail
	case c.Detail != "":
		return c.Detail
	case c.Result == Holds:
		return ""
	}
	return string(c.Result)
}

func mark(r Result) string {
	switch r {
	case Holds:
		return "✓"
	case Fails:
		return "✗"
	case Unknown:
		return "?"
	}
	return "–"
}

// humanBytes is n in units of 1000.
func humanBytes(n int64) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if f < 1000 {
			break
		}
		f, unit = f/1000, u
	}
	if unit == "B" || f >= 10 {
		return fmt.Sprintf("%.0f %s", f, unit)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
