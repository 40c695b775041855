package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/manifest"
)

// Report holds the result of a verification.
type Report struct {
	Ref            string                 `json:"ref"`
	Digest         digest.Digest          `json:"digest"`
	MediaType      string                 `json:"mediaType"`
	OK             bool                   `json:"ok"`
	Platforms      []PlatformReport       `json:"platforms"`
	Skipped        []string               `json:"skipped,omitempty"` // platforms that the user did not select
	Index          Verdict                `json:"index"`
	Signed         bool                   `json:"signed,omitempty"`   // whether at least one of the given signers has signed the image
	SignedBy       []string               `json:"signedBy,omitempty"` // names of these signers
	ClaimedSigners []attest.ClaimedSigner `json:"claims,omitempty"`   // signatures that were not checked, because the user gave no key

	Attached   []AttachedDocument `json:"attached,omitempty"`
	Rebuilders []RebuilderReport  `json:"rebuilders,omitempty"` // one element for each required rebuilder

	Origin   []string  `json:"origin,omitempty"` // proofs of the image's origin; if there are none, the image is only consistent
	Findings []Finding `json:"findings"`

	all       []Finding // all findings, even if Findings contains only the first
	keysGiven bool
	attested  []attestedBy
	inputs    []Input
	top       ocispec.Descriptor
}

// PlatformReport is the part of the report about one platform.
type PlatformReport struct {
	Platform string        `json:"platform"`
	Digest   digest.Digest `json:"digest"` // digest of the platform's manifest
	Made     bool          `json:"madeByNixoci"`
	Toplevel string        `json:"toplevel,omitempty"`
	NarHash  string        `json:"narHash,omitempty"` // narHash of the toplevel
	Layers   int           `json:"layers"`
	Size     int64         `json:"size"`               // size of the blobs in bytes
	Paths    int           `json:"paths"`              // number of store paths with the right narHash
	NarSize  int64         `json:"narSize"`            // size of the NARs of these paths in bytes
	Signed   int           `json:"signed"`             // number of store paths that a trusted key has signed
	ByAddr   int           `json:"addressed"`          // number of store paths whose name was confirmed by their contents
	Format   int           `json:"format,omitempty"`   // version of the image format
	Base     *BaseReport   `json:"base,omitempty"`     // the base image, whose layers nixoci did not make
	Init     digest.Digest `json:"init,omitempty"`     // digest of the program at /sbin/init; "" if /sbin/init is not a file
	Settings []Setting     `json:"settings,omitempty"` // settings that differ from the default
	Checks   []CheckResult `json:"checks"`

	manifest ocispec.Descriptor
}

// BaseReport is the part of the report about a platform's base image.
type BaseReport struct {
	manifest.BaseInfo
	Size int64 `json:"size"` // size of the base image's blobs in bytes
}

// CheckResult holds the result of one check.
type CheckResult struct {
	Check   Check   `json:"check"`
	Verdict Verdict `json:"result"`
	Detail  string  `json:"detail,omitempty"` // for display
}

// Verdict is the outcome of a check.
type Verdict string

// A check has one of these outcomes.
const (
	Holds   Verdict = "ok"
	Fails   Verdict = "failed"
	Skipped Verdict = "not checked"    // an earlier finding made the check impossible or unnecessary
	Without Verdict = "does not apply" // the check has nothing to compare in this image
	Unknown Verdict = "unknown"        // neither right nor wrong, so the reader must decide
)

// report makes the report from the results of all stages.
func (v *verification) report(ref string, r *results) *Report {
	report := &Report{
		Ref: ref, Digest: r.docs.top.Descriptor.Digest, MediaType: r.docs.top.Descriptor.MediaType,
		Skipped: r.docs.skipped, Signed: len(r.key.signedBy) > 0, SignedBy: attest.SignerNames(r.key.signedBy), ClaimedSigners: r.key.claimed, Attached: r.attached.documents(), Index: r.indexResult(), Findings: r.findings(),
	}
	if report.Findings == nil {
		report.Findings = []Finding{}
	}
	report.all = report.Findings
	if !v.o.KeepGoing && len(report.Findings) > 1 {
		report.Findings = report.Findings[:1]
	}
	report.OK = len(report.Findings) == 0
	for n := range r.docs.images {
		report.Platforms = append(report.Platforms, v.platformReport(r.image(n)))
	}
	report.keysGiven = len(v.known) > 0
	if r.attached != nil {
		report.attested, report.Rebuilders, report.inputs = r.attached.attested, r.attached.rebuilt, r.attached.inputs
	}
	for _, c := range r.checks {
		if v.o.Require == RequireAll || v.o.Require == RequireAny {
			report.inputs = append(report.inputs, c.signatures.inputs...)
		}
	}
	report.top = r.docs.top.Descriptor
	report.Origin = report.origin()
	return report
}

// origin returns texts about the proofs of the image's origin. Each proof must hold for every
// platform.
func (r *Report) origin() (proofs []string) {
	if !r.OK || len(r.Platforms) == 0 {
		return nil
	}
	if r.Signed {
		proofs = append(proofs, has(r.SignedBy)+" signed the image")
	}
	proofs = append(proofs, r.attestedText()...)
	proofs = append(proofs, r.rebuiltText()...)
	all := func(check Check) bool {
		return !slices.ContainsFunc(r.Platforms, func(p PlatformReport) bool { return p.verdict(check) != Holds })
	}
	if all(CheckClosure) {
		proofs = append(proofs, "the given closure makes it")
	}
	if all(CheckSignatures) {
		proofs = append(proofs, "trusted keys have signed its store paths")
	}
	return proofs
}

// verdict returns the outcome of a check. If the check was not made, it returns "".
func (p *PlatformReport) verdict(check Check) Verdict {
	for _, c := range p.Checks {
		if c.Check == check {
			return c.Verdict
		}
	}
	return ""
}

// attestedText returns texts about the statements that the given keys have signed. Statements by
// the same keys share one sentence.
func (r *Report) attestedText() (proofs []string) {
	types := map[string][]string{}
	var order []string
	for _, a := range r.attested {
		who := has(attest.SignerNames(a.signers))
		if types[who] == nil {
			order = append(order, who)
		}
		if !slices.Contains(types[who], a.predicateType) {
			types[who] = append(types[who], a.predicateType)
		}
	}
	for _, who := range order {
		proofs = append(proofs, who+" attested "+strings.Join(types[who], " and "))
	}
	return proofs
}

// reason returns the text of the first finding, and the number of other findings.
func reason(found []Finding) string {
	text := found[0].String()
	if more := len(found) - 1; more == 1 {
		text += " (and another finding)"
	} else if more > 1 {
		text += fmt.Sprintf(" (and %d other findings)", more)
	}
	return text
}

// onItsLine returns found without the platform in its first finding. The report prints this finding
// below the platform's name, so the line need not repeat the platform.
func onItsLine(found []Finding) []Finding {
	found = slices.Clone(found)
	found[0].Platform = ""
	return found
}

func (r *results) indexResult() Verdict {
	switch {
	case len(r.docs.findings) > 0 || len(r.index.findings) > 0:
		return Fails
	case r.docs.index == nil, !slices.ContainsFunc(r.docs.images, (*document).ours):
		return Without
	case !r.index.completed:
		return Skipped
	}
	return Holds
}

func (v *verification) platformReport(r imageResults) PlatformReport {
	checks := r.checks
	if checks == nil {
		checks = v.newChecks(r.doc)
	}
	p := PlatformReport{
		Platform: r.doc.platform, Digest: r.doc.blob.Descriptor.Digest, Made: r.doc.made, Format: r.form().version,
		Paths: checks.paths.paths, NarSize: checks.paths.narSize,
		Signed: checks.signatures.signed, ByAddr: len(checks.addresses.confirmed),
	}
	if m := r.doc.manifest; m != nil {
		p.Layers, p.Size = len(m.Layers), m.Config.Size
		for _, d := range m.Layers {
			p.Size += d.Size
		}
	}
	p.manifest = r.doc.blob.Descriptor
	if cl := checks.closure; cl != nil {
		p.Toplevel, p.NarHash = string(r.system.toplevel), cl.Info(r.system.toplevel).NarHash.SRI()
	}
	if r.content != nil {
		p.Base = r.content.baseReport()
	}
	if checks.init != nil {
		p.Init = checks.init.Digest
	}
	if checks.remade != nil {
		p.Settings = checks.remade.chosen
	}
	p.Checks = v.checkResults(r, checks, &p)
	return p
}

// noSignatures returns the reason why no signatures of store paths were found.
func (v *verification) noSignatures() string {
	if len(v.o.Closures) > 0 {
		return "no closure statement is attached; the comparison with your closure needs no signatures"
	}
	return "no closure statement is attached (push --attest closure), and no binary cache is given (--against)"
}

// form returns the image's form, or the part of it that is known.
func (r imageResults) form() form {
	if r.system != nil {
		return r.system.form
	}
	return r.doc.form
}

// othersNeed returns a text that explains why some content-addressed paths could not be checked,
// and what could confirm them. If all paths were checked, it returns "".
func othersNeed(checked, total int) string {
	if checked == total {
		return ""
	}
	return "; the others refer to themselves or have no sha256, so only a signature can confirm them"
}

// checkResults returns the results of all checks that apply, in their order.
func (v *verification) checkResults(r imageResults, c *checks, p *PlatformReport) []CheckResult {
	if !p.Made {
		return append([]CheckResult{}, c.foreign...)
	}
	failed := map[Check][]Finding{}
	for _, f := range r.findings() {
		failed[f.Check] = append(failed[f.Check], f)
	}
	completed := maps.Clone(c.completed)
	completed[CheckClosure] = r.comparison != nil && r.comparison.completed
	result := func(check Check, holds Verdict, format string, args ...any) CheckResult {
		switch {
		case failed[check] != nil:
			return CheckResult{Check: check, Verdict: Fails, Detail: reason(onItsLine(failed[check]))}
		case !completed[check]:
			return CheckResult{Check: check, Verdict: Skipped}
		}
		return CheckResult{Check: check, Verdict: holds, Detail: fmt.Sprintf(format, args...)}
	}
	words, paths := r.form().words(), 0
	if r.system != nil {
		paths = len(r.system.infos)
	}
	all := []CheckResult{
		result(CheckDigests, Holds, "%d blobs match their digests and sizes", p.Layers+1),
		result(CheckFormat, Holds, "%d layers are in the canonical form of image format %d", p.Layers-r.form().base, p.Format),
		result(CheckPaths, Holds, "the layers hold the %s of %s, and nothing else", human.Count(paths, "store path"), words.list),
		result(CheckNarHashes, Holds, "%s, of %d bytes", human.Count(p.Paths, "narHash"), p.NarSize),
		result(CheckReferences, Holds, "closed under references, all of it reachable from %s", words.roots),
	}
	if c.base != nil || failed[CheckBase] != nil {
		holds, detail := c.base.describe()
		all = append(all, result(CheckBase, holds, "%s", detail))
	}
	if total := c.addresses.total; total > 0 || failed[CheckAddresses] != nil {
		all = append(all, result(CheckAddresses, Holds, "%d of %d content-addressed paths have the name that their content gives%s", p.ByAddr, total, othersNeed(p.ByAddr, total)))
	}
	if p.Format >= manifest.Format2 && !r.form().application || failed[CheckInit] != nil {
		holds, detail := describeInit(c.init, v.o.Init != nil)
		all = append(all, result(CheckInit, holds, "%s", detail))
	}
	all = append(all,
		result(CheckSystem, Holds, "%s, made again, is the same", words.last),
		result(CheckPlatform, Holds, words.platform, p.Platform),
		result(CheckConfig, Holds, "the config, made again, is the same"))
	if v.noManifest {
		all = append(all, CheckResult{Check: CheckManifest, Verdict: Without, Detail: "a docker-archive has no manifest"})
	} else {
		all = append(all, result(CheckManifest, Holds, "the manifest, made again, is the same"))
	}
	if !v.o.Allowed.any() {
		all = append(all, result(CheckPolicy, Holds, "the policy allows what the image records"))
	}
	if v.o.Keys != nil {
		all = append(all, v.signaturesResult(c, len(failed[CheckSignatures]) > 0, result))
	}
	switch {
	case len(v.o.Closures) == 0:
	case r.comparison == nil:
		all = append(all, CheckResult{Check: CheckClosure, Verdict: Without, Detail: "no closure was given for this platform"})
	default:
		all = append(all, result(CheckClosure, Holds, "made from the given closure, it is the same"))
	}
	return all
}

// signaturesResult returns the result of checking the signatures of the store paths.
func (v *verification) signaturesResult(c *checks, failed bool, result func(Check, Verdict, string, ...any) CheckResult) CheckResult {
	s := c.signatures
	if c.completed[CheckSignatures] && len(s.from) == 0 && !failed {
		return CheckResult{Check: CheckSignatures, Verdict: Without, Detail: v.noSignatures()}
	}
	holds := Holds
	if s.signed < s.total && v.o.Require != RequireAll { // with RequireAll, a missing signature would be a finding, unless the path needs none
		holds = Unknown
	}
	return result(CheckSignatures, holds, "%s", s.String())
}
