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

// RequiredRebuilders requires that several rebuilders have made the image again. Each of them must
// have used a closure of its own and got the same digest.
type RequiredRebuilders struct {
	Known     []Rebuilder
	Count     int           // how many members of Known must have made the image again
	Unanimous bool          // no member of Known may report FAILED
	MaxAge    time.Duration // largest age of their summaries; 0 allows any age
	Policy    bool          // true if the policy requires the rebuilders, false if only a flag does
}

// Rebuilder is a person or machine that makes images again and signs the results.
type Rebuilder struct {
	attest.Signer
	Verifier string // URI that the summaries must name as the verifier; "" allows any
}

func (r *RequiredRebuilders) signers() (all []attest.Signer) {
	for _, b := range r.Known {
		all = append(all, b.Signer)
	}
	return attest.DistinctSigners(all)
}

// verifierOf returns the verifier that summaries by key must name. If any verifier is allowed, it
// returns "".
func (r *RequiredRebuilders) verifierOf(key attest.Signer) string {
	for _, b := range r.Known {
		if b.Verifier != "" && b.ID() == key.ID() {
			return b.Verifier
		}
	}
	return ""
}

// maxClockSkew is the time by which the clock of a rebuilder may be ahead of this machine's clock.
const maxClockSkew = 5 * time.Minute

// RebuilderReport is the part of the report about one rebuilder.
type RebuilderReport struct {
	Name     string     `json:"name"`
	Result   string     `json:"result,omitempty"`       // PASSED or FAILED; "" if none of the rebuilder's summaries is accepted
	Verifier string     `json:"verifier,omitempty"`     // verifier that the accepted summary names
	Time     *time.Time `json:"timeVerified,omitempty"` // time in the accepted summary
	Notes    []string   `json:"notes,omitempty"`        // remarks on the accepted summary
	Why      []string   `json:"why,omitempty"`          // reasons why other summaries are not accepted, or why there is no result

	key string // ID of the key
}

// String returns the rebuilder's result, or the reasons why there is none.
func (b *RebuilderReport) String() string {
	const most = 3
	why := b.Why
	if more := len(why) - most; more > 0 {
		why = append(why[:most:most], fmt.Sprintf("and %d more", more))
	}
	if b.Result == "" {
		return strings.Join(why, "; ")
	}
	text := fmt.Sprintf("%s on %s by %s", b.Result, b.Time.Format(time.RFC3339), b.Verifier)
	for _, n := range b.Notes {
		text += "; " + n
	}
	if len(why) > 0 {
		text += "; does not count: " + strings.Join(why, "; ")
	}
	return text
}

// text returns the report's line about the rebuilder, and the verdict. If this verification
// compared the image with a closure, the line says whether the rebuilder's result is wrong.
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

// ownResult returns the result of this verification's comparison with the closures. If every
// platform is equal to its closure, the result is Holds. If a platform differs, it is Fails. If a
// platform was not compared, it is "".
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

// Input names an attached document on which the result depends.
type Input struct {
	Repository string        // "" means the repository of the image
	Attached   digest.Digest // digest of the manifest that attaches it
	Content    digest.Digest // digest of the document itself
}

func inputOf(d *attest.Attestation) Input { return Input{d.Repository, d.Attached, d.Content} }

// tally holds the results of the known rebuilders.
type tally struct {
	reports []RebuilderReport
	inputs  []Input // the summaries from which the results come
}

// tally collects the result of each known rebuilder.
func (a *attachments) tally(want RequiredRebuilders, now time.Time) (t tally) {
	for _, key := range want.signers() {
		result := a.resultOf(key, &want, now)
		t.reports = append(t.reports, result.report(key))
		if result.result != "" {
			t.inputs = append(t.inputs, result.inputs...)
		}
	}
	return t
}

// rebuilderResult holds the result of one rebuilder, for the image or for one platform.
type rebuilderResult struct {
	result  string // "" if there is no result
	summary *attest.VerificationSummary
	notes   []string
	inputs  []Input
	why     []string // reasons why summaries of the rebuilder are not accepted
}

func (s *rebuilderResult) report(key attest.Signer) RebuilderReport {
	r := RebuilderReport{Name: key.Name, Result: s.result, Why: s.why, key: key.ID()}
	if s.result != "" {
		r.Verifier, r.Time, r.Notes = s.summary.Verifier.ID, &s.summary.TimeVerified, s.notes
	}
	return r
}

// resultOf returns the result that the owner of key reports for the whole image. The result is FAILED
// if the summary of the image or of one platform is FAILED. It is PASSED if the summary of the
// image, or the summary of each platform, is PASSED. A summary about the index also covers each
// platform.
func (a *attachments) resultOf(key attest.Signer, want *RequiredRebuilders, now time.Time) (all rebuilderResult) {
	parts := a.all[1:]
	if len(parts) == 0 {
		parts = a.all
	}
	complete := true // whether the rebuilder has a result for each platform
	for n := range parts {
		part := newest(key, want, now, &a.all[0], &parts[n])
		for _, in := range part.inputs {
			if !slices.Contains(all.inputs, in) {
				all.inputs = append(all.inputs, in)
			}
		}
		all.why = append(all.why, part.why...)
		complete = complete && part.result != ""
		switch {
		case part.result == "" && parts[n].platform != "" && len(part.why) == 0:
			all.why = append(all.why, "no verification summary of "+parts[n].platform)
		case part.result == "" && len(part.why) == 0:
			all.why = append(all.why, "no verification summary")
		case part.result == "":
		case all.summary == nil, part.result == attest.Failed && all.result != attest.Failed:
			all.result, all.summary, all.notes = part.result, part.summary, part.notes
		}
	}
	slices.Sort(all.why)
	all.why = slices.Compact(all.why)
	if !complete && all.result == attest.Passed {
		all.result = ""
	}
	return all
}

// newest returns the newest accepted summary by key. It searches the documents that are attached to
// the index and to one of its manifests. If two summaries have the same time, it prefers FAILED. If
// the newest summary is too old, newest returns no result.
func newest(key attest.Signer, want *RequiredRebuilders, now time.Time, to ...*attachedTo) (best rebuilderResult) {
	for n, s := range to {
		if n > 0 && s == to[0] {
			continue // the reference names a manifest, so both elements of to are the same
		}
		for k := range s.documents {
			d := &s.documents[k]
			if d.PredicateType != attest.VerificationSummaryType {
				continue
			}
			var summary *attest.VerificationSummary
			why := d.Refused
			if len(attest.CommonSigners(d.SignedBy, []attest.Signer{key})) > 0 {
				summary, why = counts(d, want.verifierOf(key), now)
			} else if !d.Names(key) {
				continue // the summary is by somebody else
			}
			if summary == nil {
				best.why = append(best.why, human.Digest(d.Attached.String())+": "+why)
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
	switch s := best.summary; {
	case s == nil:
	case s.Result == attest.Failed:
		best.notes = notesOn(s, now)
	case want.MaxAge > 0 && now.Sub(s.TimeVerified) > want.MaxAge:
		why := fmt.Sprintf("its newest statement, %s of %s, is older than %s", s.Result, s.TimeVerified.Format(time.RFC3339), human.Age(want.MaxAge))
		best = rebuilderResult{why: append(best.why, why)}
	}
	return best
}

// notesOn returns remarks on a FAILED summary.
func notesOn(s *attest.VerificationSummary, now time.Time) (notes []string) {
	if s.TimeVerified.Sub(now) > maxClockSkew {
		notes = append(notes, "this time is in the future")
	}
	if s.Policy.URI != attest.RebuildPolicy {
		notes = append(notes, fmt.Sprintf("it does not meet the rebuilder's own policy %s; the rebuild itself may be right", s.Policy.URI))
	}
	return notes
}

// counts reads a summary that a known rebuilder has signed. If the summary is not accepted, s is
// nil and why is the reason. counts does not check the age. It accepts a FAILED summary with a time
// in the future, because otherwise an older PASSED summary would replace it.
func counts(d *attest.Attestation, verifier string, now time.Time) (s *attest.VerificationSummary, why string) {
	if d.Refused != "" {
		return nil, d.Refused
	}
	s, err := d.VerificationSummary()
	if err != nil {
		return nil, err.Error()
	}
	switch {
	case verifier != "" && s.Verifier.ID != verifier:
		return nil, fmt.Sprintf("the verifier is %s, not %s", s.Verifier.ID, verifier)
	case s.Result == attest.Failed:
		return s, ""
	case !s.Rebuilt():
		return nil, fmt.Sprintf("it reports %s, but not that the image was made again (no level %s)", s.Result, attest.LevelRebuilt)
	}
	if future := notOfAge(s.TimeVerified, 0, now); future != "" {
		return nil, future
	}
	return s, ""
}

// findings compares the rebuilders' results with the requirements for the image d.
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
		what := fmt.Sprintf("%s made the image again, but %d must have done so (%s)", made, want.Count, strings.Join(others, "; "))
		found = append(found, Finding{Digest: d}.of(CheckRebuilders, "%s", what))
	case want.Unanimous && failed:
		found = append(found, Finding{Digest: d}.of(CheckRebuilders, "the rebuilders do not agree (%s)", strings.Join(others, "; ")))
	}
	return found
}

// rebuiltText returns a text with the names of the rebuilders that have made the image again, and
// the names of the rebuilders with another result. If nobody has made the image again, rebuiltText
// returns nil.
func (r *Report) rebuiltText() (proofs []string) {
	passed, failed := r.rebuildersThat(attest.Passed), r.rebuildersThat(attest.Failed)
	if len(passed) == 0 {
		return nil
	}
	text := has(passed) + " made the image again"
	if len(failed) > 0 {
		text += " (" + strings.Join(failed, ", ") + ": FAILED)"
	}
	return []string{text}
}

// rebuildersThat returns the names of the rebuilders with this result. If a flag and the policy
// name the same key, this is one rebuilder.
func (r *Report) rebuildersThat(result string) (names []string) {
	at := map[string]int{} // maps a key to its index in names
	for _, b := range r.Rebuilders {
		n, again := at[b.key]
		switch {
		case b.Result != result:
		case !again || b.key == "":
			at[b.key] = len(names)
			names = append(names, b.Name)
		case names[n] != b.Name:
			names[n] += " (also " + b.Name + ")"
		}
	}
	return names
}
