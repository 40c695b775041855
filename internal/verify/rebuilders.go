package verify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/human"
)

// RequiredRebuilders requires that several rebuilders have made the image again, each
// from a closure of its own, and got the same digest.
type RequiredRebuilders struct {
	Known     []Rebuilder
	Count     int           // how many different ones of Known must have made it again
	Unanimous bool          // none of Known may say FAILED
	MaxAge    time.Duration // of what they say; 0: any
}

// Rebuilder is somebody who makes images again, and signs what comes out.
type Rebuilder struct {
	attest.NamedKey
	Verifier string // URI that the summaries must name as the verifier; "": any
}

func (r *RequiredRebuilders) keys() (keys []attest.NamedKey) {
	for _, b := range r.Known {
		keys = append(keys, b.NamedKey)
	}
	return attest.DistinctKeys(keys)
}

// verifierOf returns the verifier that summaries by key must name, "" for any.
func (r *RequiredRebuilders) verifierOf(key attest.NamedKey) string {
	for _, b := range r.Known {
		if b.Verifier != "" && b.Key.ID() == key.Key.ID() {
			return b.Verifier
		}
	}
	return ""
}

// maxClockSkew is how far the clock of a rebuilder may be ahead.
const maxClockSkew = 5 * time.Minute

// RebuilderReport is what one rebuilder says of the image.
type RebuilderReport struct {
	Name     string     `json:"name"`
	Result   string     `json:"result,omitempty"`       // PASSED, FAILED, or "" if nothing that it says counts
	Verifier string     `json:"verifier,omitempty"`     // that its summary names
	Time     *time.Time `json:"timeVerified,omitempty"` // of its summary
	Why      []string   `json:"why,omitempty"`          // why there is no result
}

// String is one part of a sentence about the image.
func (b *RebuilderReport) String() string {
	if b.Result == "" {
		return strings.Join(b.Why, "; ")
	}
	return fmt.Sprintf("%s on %s by %s", b.Result, b.Time.Format(time.RFC3339), b.Verifier)
}

// text is a line about the rebuilder. If this verification compared the image with a
// closure, the line says which rebuilder is wrong.
func (b *RebuilderReport) text(r *Report) (Verdict, string) {
	own := r.ownResult()
	switch {
	case b.Result == attest.Passed && own == Fails:
		return Fails, b.String() + "; but the given closure does not make this image"
	case b.Result == attest.Failed && own == Holds:
		return Fails, b.String() + "; but the given closure makes this image"
	case b.Result == attest.Passed:
		return Holds, b.String()
	case b.Result == attest.Failed:
		return Fails, b.String()
	}
	return Without, b.String()
}

// ownResult is what this verification found when it made the image again: Holds if
// every platform came out the same, Fails if one did not, "" if not all were made.
func (r *Report) ownResult() Verdict {
	own := Holds
	for n := range r.Platforms {
		switch r.Platforms[n].verdict(CheckClosure) {
		case Holds:
		case Fails:
			return Fails
		default:
			own = ""
		}
	}
	return own
}

// Input is an attached document that the result follows from.
type Input struct {
	Repository string        // "": the repository of the image
	Attached   digest.Digest // the manifest that attaches it
	Content    digest.Digest // the document itself
}

func inputOf(d *attest.Attestation) Input { return Input{d.Repository, d.Attached, d.Content} }

// tally has what the known rebuilders say.
type tally struct {
	reports []RebuilderReport
	inputs  []Input // the summaries that count
}

// tally asks what each of the known rebuilders says of the image.
func (a *attachments) tally(want RequiredRebuilders, now time.Time) (t tally) {
	for _, key := range want.keys() {
		said := a.saidBy(key, &want, now)
		t.reports = append(t.reports, said.report(key.Name))
		if said.result != "" {
			t.inputs = append(t.inputs, said.inputs...)
		}
	}
	return t
}

// rebuilderSays is what one rebuilder says of the image, or of one platform.
type rebuilderSays struct {
	result  string // "" for nothing
	summary *attest.Summary
	inputs  []Input
	why     []string // why summaries do not count
}

func (s *rebuilderSays) report(name string) RebuilderReport {
	r := RebuilderReport{Name: name, Result: s.result}
	if s.result == "" {
		r.Why = s.why
		return r
	}
	r.Verifier, r.Time = s.summary.Verifier.ID, &s.summary.TimeVerified
	return r
}

// saidBy is what the owner of key says of the image: FAILED if it says so of the image
// or of a platform, PASSED if it says so of the image or of each platform. A summary
// about the index is about each platform.
func (a *attachments) saidBy(key attest.NamedKey, want *RequiredRebuilders, now time.Time) (all rebuilderSays) {
	parts := a.all[1:]
	if len(parts) == 0 {
		parts = a.all
	}
	for n := range parts {
		part := newest(key, want, now, &a.all[0], &parts[n])
		for _, in := range part.inputs {
			if !slices.Contains(all.inputs, in) {
				all.inputs = append(all.inputs, in)
			}
		}
		switch {
		case part.result == "" && parts[n].platform != "" && len(part.why) == 0:
			all.why = append(all.why, "no verification summary of "+parts[n].platform)
		case part.result == "" && len(part.why) == 0:
			all.why = append(all.why, "no verification summary")
		case part.result == "":
			all.why = append(all.why, part.why...)
		case all.summary == nil, part.result == attest.Failed && all.result != attest.Failed:
			all.result, all.summary = part.result, part.summary
		}
	}
	slices.Sort(all.why)
	all.why = slices.Compact(all.why)
	if len(all.why) > 0 && all.result == attest.Passed {
		all.result = "" // not of each platform
	}
	return all
}

// newest returns the newest summary by key that counts, among what is attached to the
// index and to a manifest of it. Of two summaries of the same time, FAILED counts.
func newest(key attest.NamedKey, want *RequiredRebuilders, now time.Time, to ...*attachedTo) (best rebuilderSays) {
	for n, s := range to {
		if n > 0 && s == to[0] {
			continue // the reference names no index
		}
		for k := range s.documents {
			d := &s.documents[k]
			if d.PredicateType != attest.SummaryType || len(attest.CommonKeys(d.SignedBy, []attest.NamedKey{key})) == 0 {
				continue
			}
			summary, why := counts(d, want.verifierOf(key), want.MaxAge, now)
			if why != "" {
				best.why = append(best.why, shortDigest(d.Attached)+": "+why)
				continue
			}
			newer := best.summary == nil
			if !newer {
				c := cmp.Compare(summary.TimeVerified.Unix(), best.summary.TimeVerified.Unix())
				newer = c > 0 || c == 0 && summary.Result == attest.Failed
			}
			if newer {
				best.summary, best.result, best.inputs = summary, summary.Result, []Input{inputOf(d)}
			}
		}
	}
	return best
}

// counts reads a summary that a known rebuilder has signed, or says why it does not
// count. A summary that says FAILED counts whatever its age is.
func counts(d *attest.Attestation, verifier string, maxAge time.Duration, now time.Time) (s *attest.Summary, why string) {
	if d.Refused != "" {
		return nil, d.Refused
	}
	s, err := d.Summary()
	if err != nil {
		return nil, err.Error()
	}
	old := notOfAge(s.TimeVerified, maxAge, now)
	switch {
	case verifier != "" && s.Verifier.ID != verifier:
		return nil, fmt.Sprintf("the verifier is %s, not %s", s.Verifier.ID, verifier)
	case s.Result == attest.Failed:
		if future := notOfAge(s.TimeVerified, 0, now); future != "" {
			return nil, future
		}
		return s, ""
	case !s.Rebuilt():
		return nil, fmt.Sprintf("it says %s, but not that the image was made again (no level %s)", s.Result, attest.LevelRebuilt)
	case old != "":
		return nil, old
	}
	return s, ""
}

// ageText is an age for people, in days if it is long.
func ageText(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day && d%day == 0 {
		return human.Count(int(d/day), "day")
	}
	return human.Duration(d)
}

// findings compares what the rebuilders say with what is required of the image d.
func (t *tally) findings(want RequiredRebuilders, d digest.Digest) (found []Finding) {
	var passed, others []string
	failed := false
	for n := range t.reports {
		b := &t.reports[n]
		switch b.Result {
		case attest.Passed:
			passed = append(passed, b.Name)
			continue
		case attest.Failed:
			failed = true
		}
		others = append(others, b.Name+": "+b.String())
	}
	switch {
	case len(passed) < want.Count:
		made := "no rebuilder has"
		if len(passed) > 0 {
			made = "only " + has(passed)
		}
		what := fmt.Sprintf("%s made it again, %d must have (%s)", made, want.Count, strings.Join(others, "; "))
		found = append(found, Finding{Digest: d}.of(CheckRebuilders, "%s", what))
	case want.Unanimous && failed:
		found = append(found, Finding{Digest: d}.of(CheckRebuilders, "the rebuilders do not agree (%s)", strings.Join(others, "; ")))
	}
	return found
}

// rebuiltText says which rebuilders have made the image again, and which say
// otherwise.
func (r *Report) rebuiltText() (proofs []string) {
	var passed, failed []string
	for _, b := range r.Rebuilders {
		switch b.Result {
		case attest.Passed:
			passed = append(passed, b.Name)
		case attest.Failed:
			failed = append(failed, b.Name)
		}
	}
	if len(passed) == 0 {
		return nil
	}
	text := has(passed) + " made it again"
	if len(failed) > 0 {
		text += " (" + strings.Join(failed, ", ") + ": FAILED)"
	}
	return []string{text}
}
