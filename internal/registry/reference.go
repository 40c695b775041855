package registry

import (
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/hint"
)

// Reference is the name of an image in a registry: a repository and a tag or a digest.
type Reference struct {
	Repository name.Repository
	Tag        string        // "latest" if the text has neither tag nor digest
	Digest     digest.Digest // "" if the text has none
}

// ParseReference reads [HOST[:PORT]/]NAME[:TAG][@DIGEST] with Docker's defaults.
func ParseReference(s string) (Reference, error) {
	ref, err := name.ParseReference(s)
	if err != nil {
		return Reference{}, hint.Add(fmt.Errorf("parse image reference %q: %w", s, err),
			"a reference is HOST/NAME:TAG, such as ghcr.io/owner/system:latest")
	}
	r := Reference{Repository: ref.Context()}
	switch ref := ref.(type) {
	case name.Digest:
		r.Digest = digest.Digest(ref.DigestStr())
		if err := r.Digest.Validate(); err != nil {
			return Reference{}, fmt.Errorf("parse image reference %q: %w", s, err)
		}
	case name.Tag:
		r.Tag = ref.TagStr()
	}
	return r, nil
}

// TagOrDigest returns the digest, or the tag if there is no digest. [Repository.Resolve] accepts
// both.
func (r Reference) TagOrDigest() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}

func (r Reference) String() string {
	if r.Digest != "" {
		return r.Repository.Name() + "@" + r.Digest.String()
	}
	return r.Repository.Name() + ":" + r.Tag
}
