package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Verified lists the manifests and indexes that one verification summary is about.
type Verified struct {
	AttachTo ocispec.Descriptor // the manifest or index to which the summary is attached; also the first of Subjects
	Subjects []digest.Digest
}

// Rebuilt returns the subjects that this verification made again from the given closures. If each
// platform was made again, there is one element: the index with its manifests. Otherwise there is
// one element for each manifest that was made again. If there is none, the error contains the
// reason.
func (r *Report) Rebuilt() (all []Verified, err error) {
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

// Refutation lists the manifests and indexes that a summary of a failed verification is about.
type Refutation struct {
	Verified
	Rebuild bool // true if the image itself is wrong; false if it only does not meet the user's policy
}

// Refuted returns the subjects of a failed verification. These are the manifest or index that the
// reference names, and the manifests of the platforms with a finding. policy reports whether the
// user has a policy. If not, only findings about the image itself are used. If so, and there are no
// such findings, findings about the policy's requirements are used.
func (r *Report) Refuted(policy bool) (f Refutation, err error) {
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

// Inputs returns the attached documents on which the result depends, without duplicates.
func (r *Report) Inputs() (all []Input) {
	for _, i := range r.inputs {
		if !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	return all
}
