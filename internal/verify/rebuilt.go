package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Verified is the subject of one verification summary.
type Verified struct {
	AttachTo ocispec.Descriptor // the first of the subjects
	Subjects []digest.Digest
}

// Rebuilt returns what this verification made again from the given closures. If each
// platform was made again, that is the index with its manifests. Otherwise it is each
// manifest that was made again. If there is none, the error gives the reason.
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

// ErrNotRefuted means that the verification failed only because of requirements that the
// summary's policy does not have, such as those of flags.
var ErrNotRefuted = errors.New("the rebuild did not fail")

// Refutation is the subject of a summary of a failed verification.
type Refutation struct {
	Verified
	Rebuild bool // the image itself is wrong; otherwise only the policy of the user is not met
}

// Refuted returns the subjects of a failed verification: what the reference names, and
// the platforms with a finding. Without a policy of the user, only findings about
// the image itself count. With one, its requirements count too.
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

// notRebuilt returns the reason why the image of a platform was not made again, "" if
// it was. The closure contains neither the program at /sbin/init nor the base image, so
// something else must confirm them.
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

// Inputs returns the attached documents that were required and count, each once.
func (r *Report) Inputs() (all []Input) {
	for _, i := range r.inputs {
		if !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	return all
}
