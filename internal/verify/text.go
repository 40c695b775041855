package verify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/terminal"
)

// NoOrigin is the last line of the report if nothing proves the image's origin.
const NoOrigin = "consistent; origin not checked: " + howToProve

const howToProve = "give --key, --identity, --policy, --require-rebuilders, --require-signatures all or a CLOSURE"

// WriteText writes the report as text. It writes some lines for each platform, which users can
// paste into a release. The last line is the verdict.
func (r *Report) WriteText(p *terminal.Printer, colors bool) error {
	p.Printf("%s\n", r.Ref)
	if r.Digest != "" && !strings.Contains(r.Ref, string(r.Digest)) {
		p.Printf("%s\n", r.Digest)
	}
	for _, pr := range r.Platforms {
		p.Printf("\n%s  %s\n", pr.Platform, pr.Digest)
		if pr.Toplevel != "" {
			p.Printf("  %s\n", pr.Toplevel)
			p.Printf("  %s, %s, %s in %s\n", human.Count(pr.Paths, "store path"), human.Count(pr.Layers, "layer"), human.Bytes(pr.NarSize), human.Bytes(pr.Size))
			if b := pr.Base; b != nil {
				p.Printf("  on top of %s of %s, which nixoci has not made\n", human.Count(b.Count, "layer"), b.BaseInfo)
			}
		} else if !pr.Made {
			p.Printf("  made by another tool\n")
		}
		by := "at the push"
		if pr.Base != nil {
			by += ", or by the base image"
		}
		for _, s := range pr.Settings {
			p.Printf("  set %s: %s %s\n", by, s.Name, s.Value)
		}
		for _, c := range pr.Checks {
			p.Printf("  %s %-11s %s\n", mark(c.Verdict, colors), c.Check, text(c))
		}
	}
	p.Printf("\n")
	if r.Index != Without {
		p.Printf("%s index: %s\n", mark(r.Index, colors), map[Verdict]string{Holds: "made again, it is the same", Fails: "failed", Skipped: "not checked"}[r.Index])
	}
	r.writeSigned(p, colors)
	for _, s := range r.Skipped {
		p.Printf("%s %s: not asked for, not checked\n", mark(Skipped, colors), s)
	}
	if !r.OK {
		p.Printf("%s ", mark(Fails, colors))
	}
	p.Printf("%s\n", r.verdict())
	return p.Err()
}

// verdict returns the last line of the report, which explains the exit code.
func (r *Report) verdict() string {
	switch {
	case !r.OK:
		return "failed: " + reason(r.Findings)
	case len(r.Origin) > 0:
		but := ""
		if slices.ContainsFunc(r.Platforms, func(p PlatformReport) bool { return p.Base != nil }) {
			but = "; this does not cover the base image"
		}
		return "verified: " + strings.Join(r.Origin, ", and ") + but
	}
	if failed := r.rebuildersThat(attest.Failed); len(failed) > 0 {
		report := "report"
		if len(failed) == 1 {
			report = "reports"
		}
		return fmt.Sprintf("consistent; origin not proved: %s %s FAILED; %s", strings.Join(failed, " and "), report, howToProve)
	}
	if made, not := r.made(); len(made) > 0 {
		return fmt.Sprintf("consistent; origin proved for %s (the given closure); not for %s: no closure given", strings.Join(made, ", "), strings.Join(not, ", "))
	}
	if signed, of := r.signatures(); of > 0 {
		return fmt.Sprintf("consistent; origin not proved: trusted keys have signed %d of %s; %s", signed, human.Count(of, "store path"), howToProve)
	}
	return NoOrigin
}

// made returns the platforms for which a given closure makes the image, and the other platforms.
func (r *Report) made() (made, not []string) {
	for n := range r.Platforms {
		if p := &r.Platforms[n]; p.verdict(CheckClosure) == Holds {
			made = append(made, p.Platform)
		} else {
			not = append(not, p.Platform)
		}
	}
	return made, not
}

// signatures returns the number of store paths that trusted keys have signed, and the number of all
// store paths. It includes only platforms that have paths without such a signature.
func (r *Report) signatures() (signed, of int) {
	for _, p := range r.Platforms {
		if slices.ContainsFunc(p.Checks, func(c CheckResult) bool { return c.Check == CheckSignatures && c.Verdict == Unknown }) {
			signed, of = signed+p.Signed, of+p.Paths
		}
	}
	return signed, of
}

// writeSigned writes the signers of the image, the attached documents and the rebuilders' results.
func (r *Report) writeSigned(p *terminal.Printer, colors bool) {
	if r.Signed {
		p.Printf("%s signed by %s\n", mark(Holds, colors), strings.Join(r.SignedBy, ", "))
	}
	for _, c := range r.ClaimedSigners {
		who := "a key"
		if c.Signer != "" {
			who = c.Signer
		}
		if c.Repository != "" {
			who += ", as " + c.Repository
		}
		p.Printf("%s signed by %s; not checked: give %s\n", mark(Unknown, colors), who, attest.FlagFor(c.Signer))
	}
	for _, d := range r.Attached {
		result, text := d.text(r.keysGiven)
		p.Printf("%s attached: %s\n", mark(result, colors), text)
	}
	for _, b := range r.Rebuilders {
		result, text := b.text(r)
		p.Printf("%s rebuilder %s: %s\n", mark(result, colors), b.Name, text)
	}
}

// Lines returns the findings, one on each line. If store paths lack a signature for the same
// reason, they share one line, because there may be hundreds. If the policy refuses layers for the
// same reason, these layers share one line too.
func (r *Report) Lines() (lines []string) {
	same := func(a, b Finding) bool {
		return a.Check == b.Check && (a.Check == CheckSignatures || a.Check == CheckPolicy && a.Layer > 0 && b.Layer > 0) && a.Platform == b.Platform && a.What == b.What
	}
	for n, f := range r.Findings {
		if slices.ContainsFunc(r.Findings[:n], func(before Finding) bool { return same(before, f) }) {
			continue
		}
		more := 0
		for _, after := range r.Findings[n+1:] {
			if same(f, after) {
				more++
			}
		}
		line := f.String()
		if more > 0 {
			others := "other store path"
			if f.Check == CheckPolicy {
				others = "other layer"
			}
			line += "; the same for " + human.Count(more, others)
		}
		lines = append(lines, line)
	}
	return lines
}

func text(c CheckResult) string {
	switch {
	case c.Detail != "" && c.Verdict == Without:
		return "does not apply: " + c.Detail
	case c.Detail != "":
		return c.Detail
	case c.Verdict == Holds:
		return ""
	}
	return string(c.Verdict)
}

// mark returns the sign that stands for a result, in its color.
func mark(r Verdict, colors bool) terminal.Own {
	sign, color := terminal.Own("–"), terminal.Own("2")
	switch r {
	case Holds:
		sign, color = "✓", "32"
	case Fails:
		sign, color = "✗", "31"
	case Unknown:
		sign, color = "?", "33"
	}
	if !colors {
		return sign
	}
	return "\x1b[" + color + "m" + sign + "\x1b[0m"
}
