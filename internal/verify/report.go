package verify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/terminal"
)

// Report is what was found.
type Report struct {
	Ref       string           `json:"ref"`
	Digest    digest.Digest    `json:"digest"`
	MediaType string           `json:"mediaType"`
	OK        bool             `json:"ok"`
	Platforms []PlatformReport `json:"platforms"`
	Skipped   []string         `json:"skipped,omitempty"` // platforms that were not asked for
	Index     Result           `json:"index"`
	Signed    bool             `json:"signed,omitempty"` // by the key that was given
	Findings  []Finding        `json:"findings"`
}

// PlatformReport is one platform of it.
type PlatformReport struct {
	Platform string        `json:"platform"`
	Digest   digest.Digest `json:"digest"` // of its manifest
	Made     bool          `json:"madeByNixoci"`
	Toplevel string        `json:"toplevel,omitempty"`
	NarHash  string        `json:"narHash,omitempty"` // of the toplevel
	Layers   int           `json:"layers"`
	Size     int64         `json:"size"`               // bytes of its blobs
	Paths    int           `json:"paths"`              // store paths whose narHash is right
	NarSize  int64         `json:"narSize"`            // bytes of their NARs
	Signed   int           `json:"signed"`             // store paths that a trusted key has signed
	ByAddr   int           `json:"addressed"`          // store paths that are named after their contents
	Format   int           `json:"format,omitempty"`   // version of the image format
	Init     digest.Digest `json:"init,omitempty"`     // of the program at /sbin/init, where that is a file
	Settings []Setting     `json:"settings,omitempty"` // other than the default
	Checks   []CheckResult `json:"checks"`
}

// CheckResult is how one check went.
type CheckResult struct {
	Check  Check  `json:"check"`
	Result Result `json:"result"`
	Detail string `json:"detail,omitempty"` // for people
}

// Result of a check.
type Result string

// The results.
const (
	Holds   Result = "ok"
	Fails   Result = "failed"
	Skipped Result = "not checked"    // because of a finding before it
	Without Result = "does not apply" // the image, or the format, has nothing of the kind
	Unknown Result = "unknown"        // neither right nor wrong: for the reader to judge
)

// finish puts the findings in order and says of each check how it went.
func (v *verifier) finish() {
	r := v.report
	r.Findings = []Finding{}
	for _, i := range v.images {
		r.Findings = append(r.Findings, i.findings()...)
	}
	r.Findings = append(r.Findings, v.top.all...)
	if !v.o.KeepGoing && len(r.Findings) > 1 {
		r.Findings = r.Findings[:1]
	}
	r.OK = len(r.Findings) == 0
	r.Index = v.indexResult()
	for _, i := range v.images {
		r.Platforms = append(r.Platforms, i.report())
	}
}

func (v *verifier) indexResult() Result {
	switch {
	case len(v.top.all) > 0:
		return Fails
	case v.index == nil, len(v.nixoci()) == 0:
		return Without
	case !v.checkedIndex:
		return Skipped
	}
	return Holds
}

// findings are all of the image's, from the outside in.
func (i *image) findings() []Finding {
	all := slices.Concat(i.compared.all, i.top.all, i.after.all)
	if i.system != nil {
		all = append(all, i.system.findings.all...)
	}
	return append(all, i.claims.all...)
}

func (i *image) report() PlatformReport {
	r := i.result
	r.Made, r.Format = i.made, i.format
	if i.m != nil {
		r.Layers = len(i.m.Layers)
		r.Size = i.m.Config.Size
		for _, d := range i.m.Layers {
			r.Size += d.Size
		}
	}
	failed := map[Check]bool{}
	for _, f := range i.findings() {
		failed[f.Check] = true
	}
	add := func(c Check, format string, args ...any) {
		res := CheckResult{Check: c, Result: Holds}
		switch {
		case failed[c]:
			res.Result = Fails
		case !i.checked[c]:
			res.Result = Skipped
		default:
			res.Detail = fmt.Sprintf(format, args...)
		}
		r.Checks = append(r.Checks, res)
	}
	if !i.made {
		r.Checks = i.foreign
		if r.Checks == nil {
			r.Checks = []CheckResult{}
		}
		return r
	}
	add(CheckDigests, "%d blobs have the digests and sizes that are said of them", r.Layers+1)
	add(CheckFormat, "%d layers are in the canonical form of image format %d", r.Layers, i.format)
	add(CheckPaths, "the layers hold the %d store paths of the Nix database, and nothing else", len(i.infos))
	add(CheckNarHashes, "%d narHashes, of %d bytes", r.Paths, r.NarSize)
	add(CheckReferences, "closed under references, all of it reachable from the toplevel")
	if i.withAddress > 0 || failed[CheckAddresses] {
		for _, ok := range i.addressed {
			if ok {
				r.ByAddr++
			}
		}
		others := ""
		if r.ByAddr < i.withAddress {
			others = "; the others refer to themselves or have no sha256, and need a signature"
		}
		add(CheckAddresses, "%d of %d content-addressed paths are where their content puts them%s", r.ByAddr, i.withAddress, others)
	}
	if i.format >= manifest.Format2 || failed[CheckInit] {
		add(CheckInit, "")
		if last := &r.Checks[len(r.Checks)-1]; last.Result == Holds {
			last.Result, last.Detail = i.initResult()
		}
	}
	add(CheckSystem, "the system layer with its Nix database, made again, is the same")
	add(CheckPlatform, "the system is for %s", r.Platform)
	add(CheckConfig, "the config, made again, is the same")
	if i.v.noManifest {
		r.Checks = append(r.Checks, CheckResult{CheckManifest, Without, "a docker-archive has none"})
	} else {
		add(CheckManifest, "the manifest, made again, is the same")
	}
	if i.v.o.Keys != nil {
		r.Signed = i.signed.signed
		switch {
		case i.checked[CheckSignatures] && len(i.signed.from) == 0 && !failed[CheckSignatures]:
			r.Checks = append(r.Checks, CheckResult{CheckSignatures, Without, "no closure statement is attached, and no --against is given"})
		default:
			add(CheckSignatures, "%d of %d paths signed by trusted keys, from %s", i.signed.signed, i.signed.total, strings.Join(i.signed.from, ", "))
		}
	}
	if len(i.v.o.Closures) > 0 {
		switch {
		case i.given == nil:
			r.Checks = append(r.Checks, CheckResult{CheckClosure, Without, "no closure was given for it"})
		default:
			add(CheckClosure, "made from the given closure, it is the same")
		}
	}
	return r
}

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
