package verify

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
)

// Verified lists the manifests and indexes that one verification summary is about.
type Verified struct {
	AttachTo ocispec.Descriptor // the manifest or index to which the summary is attached; also the first of Subjects
	Subjects []digest.Digest
}

// VerificationSummary returns a verification summary of r, without verifier and time, and the
// subjects of the summary. image is the repository of the image. policy describes the user's
// policy; it is nil if there is none. If the verification failed only because of requirements that
// no summary can name, the error wraps [ErrNotRefuted].
func (r *Report) VerificationSummary(image string, policy *attest.Resource) (attest.VerificationSummary, []Verified, error) {
	rebuild := attest.Resource{URI: attest.RebuildPolicy} // stands for the checks that verify always makes
	s := attest.VerificationSummary{ResourceURI: attest.ImageURI(image), Policy: rebuild, Result: attest.Passed, Levels: []string{attest.LevelRebuilt}}
	if policy != nil {
		s.Policy = *policy
	}
	for _, in := range r.inputDocuments() {
		uri := attest.AttachedURI(cmp.Or(in.Repository, image), in.Attached)
		s.InputAttestations = append(s.InputAttestations, attest.NewResource(uri, in.Content))
	}
	if r.OK {
		all, err := r.remadeSubjects()
		return s, all, err
	}
	s.Result, s.Levels = attest.Failed, []string{attest.Failed}
	refuted, err := r.refutedSubjects(policy != nil)
	if refuted.Rebuild {
		s.Policy = rebuild // readers must see that the rebuild failed, and not only a requirement of the policy
	}
	return s, []Verified{refuted.Verified}, err
}

// remadeSubjects returns the subjects that this verification made again from the given closures. If
// each platform was made again, there is one element: the index with its manifests. Otherwise there
// is one element for each manifest that was made again. If there is none, the error contains the
// reason.
func (r *Report) remadeSubjects() (all []Verified, err error) {
	if !r.OK {
		return nil, errors.New("the verification failed")
	}
	var why []string
	whole := Verified{AttachTo: r.top, Subjects: []digest.Digest{r.top.Digest}}
	for n := range r.Platforms {
		p := &r.Platforms[n]
		if reason := p.notRebuilt(); reason != "" {
			why = append(why, p.Platform+": "+reason)
			continue
		}
		all = append(all, Verified{AttachTo: p.manifest, Subjects: []digest.Digest{p.Digest}})
		if p.Digest != r.top.Digest {
			whole.Subjects = append(whole.Subjects, p.Digest)
		}
	}
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("nothing of the image was made again (%s)", strings.Join(why, "; "))
	case len(why) == 0 && r.Index == Holds:
		return []Verified{whole}, nil
	}
	return all, nil
}

// ErrNotRefuted means that the verification failed only because of requirements that are not in the
// policy of the summary, such as the requirements of flags.
var ErrNotRefuted = errors.New("the rebuild did not fail")

// refutation lists the manifests and indexes that a summary of a failed verification is about.
type refutation struct {
	Verified
	Rebuild bool // true if the image itself is wrong; false if it only does not meet the user's policy
}

// refutedSubjects returns the subjects of a failed verification. These are the manifest or index
// that the reference names, and the manifests of the platforms with a finding. policy reports
// whether the user has a policy. If not, only findings about the image itself are used. If so, and
// there are no such findings, findings about the policy's requirements are used.
func (r *Report) refutedSubjects(policy bool) (f refutation, err error) {
	if r.OK || r.top.Digest == "" {
		return f, errors.New("there is no image of which the verification failed")
	}
	is := func(s source) func(Finding) bool { return func(f Finding) bool { return f.source == s } }
	counts := is(ofImage)
	f.Rebuild = slices.ContainsFunc(r.all, counts)
	if !f.Rebuild {
		if counts = is(ofPolicy); !policy || !slices.ContainsFunc(r.all, counts) {
			return f, ErrNotRefuted
		}
	}
	f.Verified = Verified{AttachTo: r.top, Subjects: []digest.Digest{r.top.Digest}}
	for n := range r.Platforms {
		p := &r.Platforms[n]
		found := slices.ContainsFunc(r.all, func(f Finding) bool { return counts(f) && f.Platform == p.Platform })
		if found && p.Digest != "" && p.Digest != r.top.Digest {
			f.Subjects = append(f.Subjects, p.Digest)
		}
	}
	return f, nil
}

// notRebuilt returns the reason why the image of a platform was not made again. If it was made
// again, notRebuilt returns "". The closure contains neither the program at /sbin/init nor the base
// image, so other checks must have confirmed these two.
func (p *PlatformReport) notRebuilt() string {
	switch {
	case p.verdict(CheckClosure) == Without:
		return "no closure was given for this platform"
	case p.verdict(CheckClosure) != Holds:
		return "it was not compared with the closure"
	case p.verdict(CheckInit) == Unknown:
		return "the program at /sbin/init is not a known nixoci-init; name it with --init"
	case p.verdict(CheckBase) == Unknown:
		return "the base image could not be compared with its origin"
	}
	return ""
}

// inputDocuments returns the attached documents on which the result depends, without duplicates.
func (r *Report) inputDocuments() (all []Input) {
	for _, i := range r.inputs {
		if !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	return all
}
