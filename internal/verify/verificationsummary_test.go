package verify

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
)

// remadeReport returns the report about an image with two platforms that were made again.
func remadeReport() *Report {
	r := &Report{OK: true, Index: Holds, Digest: rebuiltIndex, top: ocispec.Descriptor{Digest: rebuiltIndex}}
	for platform, d := range map[string]digest.Digest{"linux/amd64": rebuiltAMD, "linux/arm64": rebuiltARM} {
		r.Platforms = append(r.Platforms, PlatformReport{Platform: platform, Digest: d, manifest: ocispec.Descriptor{Digest: d},
			Checks: []CheckResult{{Check: CheckInit, Verdict: Holds}, {Check: CheckBase, Verdict: Holds}, {Check: CheckClosure, Verdict: Holds}}})
	}
	if r.Platforms[0].Platform != "linux/amd64" {
		r.Platforms[0], r.Platforms[1] = r.Platforms[1], r.Platforms[0]
	}
	return r
}

// TestRebuilt checks that a verification summary is only about the manifests that were made again
// from a closure.
func TestRebuilt(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(r *Report)
		want string // the manifest to which the summary is attached, and its subjects; or the error
	}{
		{"everything", func(*Report) {}, "index: index amd arm"},
		{"the index was not compared", func(r *Report) { r.Index = Skipped }, "amd: amd; arm: arm"},
		{"one platform has no closure", func(r *Report) { r.Platforms[0].Checks[2].Verdict = Without }, "arm: arm"},
		{"one platform was not compared", func(r *Report) { r.Platforms[1].Checks[2].Verdict = Skipped }, "amd: amd"},
		{"no platform has a closure", func(r *Report) {
			r.Platforms[0].Checks[2].Verdict, r.Platforms[1].Checks[2].Verdict = Without, Without
		}, "linux/amd64: no closure was given for this platform; linux/arm64: no closure"},
		{"an unknown program at /sbin/init", func(r *Report) { r.Platforms[0].Checks[0].Verdict = Unknown }, "arm: arm"},
		{"unknown programs at /sbin/init", func(r *Report) {
			r.Platforms[0].Checks[0].Verdict, r.Platforms[1].Checks[0].Verdict = Unknown, Unknown
		}, "name it with --init"},
		{"a base image that nobody could read", func(r *Report) { r.Platforms[1].Checks[1].Verdict = Unknown }, "amd: amd"},
		{"the verification failed", func(r *Report) { r.OK = false }, "the verification failed"},
		{"one manifest without an index", func(r *Report) {
			r.Platforms, r.top = r.Platforms[:1], ocispec.Descriptor{Digest: rebuiltAMD}
			r.Index = Without
		}, "amd: amd"},
	} {
		r := remadeReport()
		tt.edit(r)
		all, err := r.remadeSubjects()
		if got := verifiedText(all); err == nil && got != tt.want || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

// TestRefuted checks the subjects of a FAILED summary. A FAILED summary must be published only if
// the image is wrong, or if the image does not meet the policy that the summary names.
func TestRefuted(t *testing.T) {
	r := remadeReport()
	if v, err := r.refutedSubjects(true); err == nil {
		t.Errorf("nothing failed: %v", v)
	}
	image := Finding{Platform: "linux/arm64"}.of(CheckClosure, "contents differ")
	from := func(s source, f Finding) Finding {
		f.source = s
		return f
	}
	policy := from(ofPolicy, Finding{Platform: "linux/amd64"}.of(CheckPolicy, "compression"))
	flag := from(ofFlag, Finding{}.of(CheckRebuilders, "no rebuilder has made the image again"))
	for _, tt := range []struct {
		name    string
		found   []Finding
		policy  bool
		want    string // "" if no summary must be published
		rebuild bool
	}{
		{"the image", []Finding{image}, false, "index: index arm", true},
		{"the image, with a policy", []Finding{policy, image, flag}, true, "index: index arm", true},
		{"the policy", []Finding{flag, policy}, true, "index: index amd", false},
		{"the policy, which is not named", []Finding{policy}, false, "", false},
		{"a flag", []Finding{flag}, false, "", false},
		{"a flag beside the policy", []Finding{flag}, true, "", false},
	} {
		r.OK, r.all, r.Findings = false, tt.found, tt.found[:1]
		v, err := r.refutedSubjects(tt.policy)
		switch got := verifiedText([]Verified{v.Verified}); {
		case tt.want == "" && !errors.Is(err, ErrNotRefuted):
			t.Errorf("%s: %s, %v", tt.name, got, err)
		case tt.want != "" && (err != nil || got != tt.want || v.Rebuild != tt.rebuild):
			t.Errorf("%s: %s, %v, %v", tt.name, got, v.Rebuild, err)
		}
	}
	r.all, r.top.Digest = []Finding{image}, ""
	if v, err := r.refutedSubjects(false); err == nil {
		t.Errorf("nobody could read the image: %v", v)
	}
}

// TestSummary checks which policy a summary names: its reader must see that the rebuild failed, even if
// the user has a policy.
func TestSummary(t *testing.T) {
	policy := &attest.Resource{URI: "https://example.org/policy"}
	image := Finding{Platform: "linux/arm64"}.of(CheckClosure, "contents differ")
	required := Finding{Platform: "linux/amd64"}.of(CheckPolicy, "compression")
	required.source = ofPolicy
	flag := Finding{}.of(CheckRebuilders, "no rebuilder has made the image again")
	flag.source = ofFlag
	for _, tt := range []struct {
		name   string
		found  []Finding
		policy *attest.Resource
		result string // "" if no summary must be published
		uri    string // of the policy in the summary
	}{
		{"passed", nil, nil, attest.Passed, attest.RebuildPolicy},
		{"passed, with a policy", nil, policy, attest.Passed, policy.URI},
		{"wrong image", []Finding{image}, nil, attest.Failed, attest.RebuildPolicy},
		{"wrong image, with a policy", []Finding{image, required}, policy, attest.Failed, attest.RebuildPolicy},
		{"policy", []Finding{required}, policy, attest.Failed, policy.URI},
		{"flag", []Finding{flag}, policy, "", ""},
	} {
		r := remadeReport()
		r.inputs = []Input{{Attached: rebuiltAMD, Content: rebuiltARM}, {Attached: rebuiltAMD, Content: rebuiltARM, Repository: "example.org/other"}}
		r.OK, r.all = len(tt.found) == 0, tt.found
		s, about, err := r.VerificationSummary("example.org/web", tt.policy)
		if tt.result == "" {
			if !errors.Is(err, ErrNotRefuted) {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if err != nil || s.Result != tt.result || s.Policy.URI != tt.uri || len(about) != 1 || s.ResourceURI != attest.ImageURI("example.org/web") {
			t.Errorf("%s: %+v about %v, %v", tt.name, s, about, err)
		}
		if in := s.InputAttestations; len(in) != 2 || in[0].URI != attest.AttachedURI("example.org/web", rebuiltAMD) || in[1].URI != attest.AttachedURI("example.org/other", rebuiltAMD) {
			t.Errorf("%s: inputs %+v", tt.name, in)
		}
	}
}

func verifiedText(all []Verified) string {
	names := map[digest.Digest]string{rebuiltIndex: "index", rebuiltAMD: "amd", rebuiltARM: "arm"}
	var texts []string
	for _, v := range all {
		text := names[v.AttachTo.Digest] + ":"
		for _, d := range v.Subjects {
			text += " " + names[d]
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}
