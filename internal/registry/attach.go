package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/oci"
)

// maxMerges is the largest number of times that EditTag writes one tag while
// other clients write it too.
const maxMerges = 8

// Attachment describes an artifact that is attached to an image or index.
type Attachment struct {
	ocispec.Descriptor
	New bool // false if the artifact was attached before
}

// Attach stores artifacts and attaches them to subject, which is an image or index in the
// repository. If an artifact is attached already, Attach does not send it again. It keeps the
// documents that other clients attached. It returns the attachments in the order of the artifacts.
func (r *Repository) Attach(ctx context.Context, subject ocispec.Descriptor, artifacts []oci.Artifact) ([]Attachment, error) {
	if len(artifacts) == 0 {
		return nil, nil
	}
	attached, err := r.attach(ctx, subject, artifacts)
	if err != nil {
		return nil, r.fail("attach to "+r.Ref(subject.Digest.String()), err)
	}
	return attached, nil
}

func (r *Repository) attach(ctx context.Context, subject ocispec.Descriptor, artifacts []oci.Artifact) ([]Attachment, error) {
	there, supported, err := r.listReferrers(ctx, subject.Digest)
	if err == nil && !supported {
		there, err = r.fallback(ctx, subject.Digest)
	}
	if err != nil {
		return nil, err
	}
	var all []Attachment
	var added []ocispec.Descriptor
	listed := supported
	for _, a := range artifacts {
		d, seen, err := r.attachOne(ctx, subject, a, there)
		if err != nil {
			return nil, err
		}
		all = append(all, Attachment{d, !holds(there, d)})
		if !holds(there, d) {
			added, listed = append(added, d), listed && seen
		}
	}
	if len(added) == 0 || listed {
		return all, nil
	}
	if supported { // the registry has a referrers list, but some registries send no OCI-Subject header
		if there, _, err = r.listReferrers(ctx, subject.Digest); err != nil {
			return nil, err
		}
		if holds(there, added...) {
			return all, nil
		}
	}
	return all, r.mergeFallback(ctx, subject.Digest, added)
}

// attachOne stores a in the first form that the registry accepts. If there contains a already,
// attachOne sends nothing. listed reports whether the registry's own list contains a.
func (r *Repository) attachOne(ctx context.Context, subject ocispec.Descriptor, a oci.Artifact, there []ocispec.Descriptor) (d ocispec.Descriptor, listed bool, err error) {
	var manifests []oci.Blob
	var descriptors []ocispec.Descriptor
	for _, config := range configTypes(a) {
		d, m, err := artifactManifest(subject, a, config)
		if err != nil || holds(there, d) {
			return d, true, err
		}
		descriptors, manifests = append(descriptors, d), append(manifests, m)
	}
	for _, b := range []oci.Blob{emptyBlob, oci.NewBlob(a.MediaType, a.Data)} {
		has, err := r.HasBlob(ctx, b.Descriptor)
		if err == nil && !has {
			err = r.PutBlob(ctx, b)
		}
		if err != nil {
			return d, false, err
		}
	}
	var refused error
	for n, m := range manifests {
		listed, err = r.putReferrer(ctx, m)
		if err == nil || !refusesManifest(err) {
			return descriptors[n], listed, err
		}
		if refused == nil {
			refused = err
		}
	}
	return d, false, refused
}

// configTypes returns the media types that an artifact's config may have, the best one first. OCI
// 1.1 recommends the empty config. Some registries recognize an artifact only by the media type of
// its config, and some accept only images.
func configTypes(a oci.Artifact) []string {
	return []string{ocispec.MediaTypeEmptyJSON, a.Type, ocispec.MediaTypeImageConfig}
}

// refusesManifest reports whether err may mean that the registry does not accept manifests of this
// form.
func refusesManifest(err error) bool {
	e, ok := errors.AsType[*ResponseError](err)
	return ok && (e.Status == http.StatusBadRequest || e.Status == http.StatusUnsupportedMediaType || e.Status == http.StatusUnprocessableEntity)
}

func holds(list []ocispec.Descriptor, want ...ocispec.Descriptor) bool {
	for _, w := range want {
		if !slices.ContainsFunc(list, func(d ocispec.Descriptor) bool { return d.Digest == w.Digest }) {
			return false
		}
	}
	return true
}

// putReferrer stores the manifest m under its digest. listed is true if the registry read the
// subject in m and adds m to its own list of referrers.
func (r *Repository) putReferrer(ctx context.Context, m oci.Blob) (listed bool, err error) {
	err = r.retrier.do(ctx, func(ctx context.Context) error {
		resp, err := r.send(ctx, request{
			method: http.MethodPut, url: r.url("manifests", m.Descriptor.Digest.String()),
			header: map[string]string{"Content-Type": m.Descriptor.MediaType},
			body:   m.Data, wait: commitTimeout,
			accept: []int{http.StatusCreated, http.StatusOK, http.StatusAccepted, http.StatusNoContent},
		})
		if err != nil {
			return err
		}
		discard(resp)
		listed = resp.Header.Get("OCI-Subject") != ""
		return sameDigest(resp, m.Descriptor.Digest)
	})
	return listed, err
}

// mergeFallback adds descriptors to the list of referrers under the fallback tag.
func (r *Repository) mergeFallback(ctx context.Context, subject digest.Digest, added []ocispec.Descriptor) error {
	return r.editTag(ctx, FallbackTag(subject), func(old *oci.Blob) (*oci.Blob, error) {
		var there []ocispec.Descriptor
		if old != nil {
			var err error
			if there, err = parseFallback(*old); err != nil {
				return nil, err
			}
		}
		if holds(there, added...) {
			return nil, nil
		}
		b, err := jsonBlob(ocispec.MediaTypeImageIndex, ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2},
			MediaType: ocispec.MediaTypeImageIndex,
			Manifests: oci.SortReferrers(append(slices.Clone(there), added...)),
		})
		return &b, err
	})
}

// EditTag reads the manifest that tag names, passes it to edit, and puts the manifest that edit
// returns under the tag. If the tag does not exist, old is nil. edit returns nil to change nothing.
//
// Registries have no conditional write. So EditTag reads the tag again after each write and calls
// edit with the manifest that it read, until edit returns nil. If another client writes the tag
// between these steps, neither change is lost.
func (r *Repository) EditTag(ctx context.Context, tag string, edit func(old *oci.Blob) (*oci.Blob, error)) error {
	return r.fail("change tag "+r.Ref(tag), r.editTag(ctx, tag, edit))
}

func (r *Repository) editTag(ctx context.Context, tag string, edit func(old *oci.Blob) (*oci.Blob, error)) error {
	for n := 1; ; n++ {
		var old *oci.Blob
		switch b, err := r.GetManifest(ctx, tag); {
		case err == nil:
			old = &b
		case !errors.Is(err, oci.ErrNotFound):
			return err
		}
		b, err := edit(old)
		if err != nil || b == nil {
			return err
		}
		if len(b.Data) > oci.MaxManifest {
			return fmt.Errorf("the new manifest has %d bytes, registries accept at most %d", len(b.Data), oci.MaxManifest)
		}
		if n > maxMerges {
			return errors.New("other writers keep changing it")
		}
		if n > 1 {
			if err := r.retrier.schedule.Wait(ctx, n-1); err != nil {
				return err
			}
		}
		if err := r.putChecked(ctx, *b, tag, false); err != nil { // the next round of the loop reads the tag again
			return err
		}
	}
}

// emptyBlob is the config of a manifest that is not an image (image-spec 1.1,
// "Guidance for an Empty Descriptor").
var emptyBlob = oci.Blob{Descriptor: ocispec.DescriptorEmptyJSON, Data: ocispec.DescriptorEmptyJSON.Data}

// artifactManifest returns the manifest that attaches a to subject. The manifest's config has the
// media type config. It also returns the descriptor of the manifest, with the fields that lists of
// referrers contain.
func artifactManifest(subject ocispec.Descriptor, a oci.Artifact, config string) (ocispec.Descriptor, oci.Blob, error) {
	if len(a.Data) > oci.MaxArtifact {
		return ocispec.Descriptor{}, oci.Blob{}, fmt.Errorf("%s has %d bytes, at most %d are allowed", a.Type, len(a.Data), oci.MaxArtifact)
	}
	m := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: a.Type,
		Config:       ocispec.Descriptor{MediaType: config, Digest: emptyBlob.Descriptor.Digest, Size: emptyBlob.Descriptor.Size},
		Layers:       []ocispec.Descriptor{oci.NewBlob(a.MediaType, a.Data).Descriptor},
		// Copy only these three fields of the subject. With the other fields of an index entry, the
		// manifest of the same document would have another digest.
		Subject:     &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		Annotations: maps.Clone(a.Annotations),
	}
	b, err := jsonBlob(ocispec.MediaTypeImageManifest, m)
	if err != nil {
		return ocispec.Descriptor{}, oci.Blob{}, err
	}
	d := b.Descriptor
	d.ArtifactType, d.Annotations = a.Type, maps.Clone(a.Annotations)
	return d, b, nil
}

// jsonBlob returns the JSON of v as a blob. Unlike [oci.JSONBlob], it escapes HTML: with another form, a
// document that is attached already would be attached a second time.
func jsonBlob(mediaType string, v any) (oci.Blob, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return oci.Blob{}, fmt.Errorf("write %s: %w", mediaType, err)
	}
	return oci.NewBlob(mediaType, data), nil
}
