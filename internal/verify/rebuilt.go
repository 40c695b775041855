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

// Refuted returns the subjects of a failed verification: what the reference names, and
// the platforms with a finding.
func (r *Report) Refuted() (Verified, error) {
	if r.OK || r.top.Digest == "" {
		return Verified{}, errors.New("there is no image of which the verification failed")
	}
	v := Verified{AttachTo: r.top, Subjects: []digest.Digest{r.top.Digest}}
	for n := range r.Platforms {
		p := &r.Platforms[n]
		found := slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Platform == p.Platform })
		if found && p.Digest != "" && p.Digest != r.top.Digest {
			v.Subjects = append(v.Subjects, p.Digest)
		}
	}
	return v, nil
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
