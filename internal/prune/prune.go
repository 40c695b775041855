// Package prune decides which images of a repository to delete, and deletes them.
//
// The cleaning tools of registries delete every manifest without a tag. This breaks
// multi-platform images, because their platforms have no tags. This package deletes nothing
// that a kept tag needs. [Read] reads every manifest that can be reached from a tag, and
// fails if it cannot read one. [Inventory.Choose] decides from this data alone.
//
// [Cleanup.Run] first deletes an index, then the manifests of its platforms, and last the
// documents attached to them. So an interruption leaves no image of which a part is missing.
package prune

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/task"
)

// requestsAtOnce limits the concurrent requests to the registry.
const requestsAtOnce = 16

// Inventory describes all content of a repository that can be reached from a tag.
type Inventory struct {
	Tags      map[string]digest.Digest     // digests of images, by tag
	Documents map[string]digest.Digest     // digests of lists of attached documents, by fallback tag, such as sha256-…
	Children  map[digest.Digest][]Child    // manifests that an index lists
	Attached  map[digest.Digest][]Attached // documents attached to a manifest
	Created   map[digest.Digest]time.Time  // creation times of images; missing times and placeholders are left out
	read      map[digest.Digest]bool       // manifests that were requested
	lost      map[digest.Digest]bool       // requested manifests that the registry does not have
	mu        sync.Mutex
}

// Child describes a manifest that an index lists.
type Child struct {
	Digest   digest.Digest
	Platform string // "" if the index gives no platform
}

// Attached describes a document attached to a manifest.
type Attached struct {
	Digest digest.Digest
	Type   string
}

// placeholder separates real creation times from placeholders, which are earlier. Nix sets
// SOURCE_DATE_EPOCH to the first of January 1980 in builds and development shells; other
// tools use 0 or 1. No image was really made at these times, and the rule "older than 30
// days" would delete all such images.
var placeholder = time.Date(1980, 1, 2, 0, 0, 0, 0, time.UTC)

// Read reads the inventory of repo.
func Read(ctx context.Context, repo *registry.Repository) (*Inventory, error) {
	tags, err := repo.Tags(ctx)
	if err != nil {
		return nil, err
	}
	inv := &Inventory{Tags: map[string]digest.Digest{}, Documents: map[string]digest.Digest{}, Children: map[digest.Digest][]Child{},
		Attached: map[digest.Digest][]Attached{}, Created: map[digest.Digest]time.Time{}, read: map[digest.Digest]bool{}, lost: map[digest.Digest]bool{}}
	group, ctx := task.WithContext(ctx)
	group.SetLimit(requestsAtOnce)
	for _, tag := range tags {
		group.Go(func() error {
			d, err := repo.Resolve(ctx, tag)
			if errors.Is(err, oci.ErrNotFound) {
				return nil // the tag was deleted after the list of tags was made
			}
			if err != nil {
				return err
			}
			inv.mu.Lock()
			into := inv.Tags
			if registry.FallbackSubject(tag) != "" {
				into = inv.Documents
			}
			into[tag] = d.Digest
			inv.mu.Unlock()
			return inv.follow(ctx, repo, d.Digest)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	// If the manifest of a tag cannot be read, prune cannot find out what the manifest needs.
	// So it must delete nothing.
	for _, named := range []map[string]digest.Digest{inv.Tags, inv.Documents} {
		for _, tag := range slices.Sorted(maps.Keys(named)) {
			if inv.lost[named[tag]] {
				return nil, fmt.Errorf("read %s: the registry has the tag, but not its manifest %s: %w", repo.Ref(tag), named[tag], oci.ErrNotFound)
			}
		}
	}
	return inv, nil
}

// follow reads a manifest, the manifests that it lists, and the documents attached to it. It
// reads each manifest once.
func (inv *Inventory) follow(ctx context.Context, repo *registry.Repository, d digest.Digest) error {
	inv.mu.Lock()
	if inv.read[d] {
		inv.mu.Unlock()
		return nil
	}
	inv.read[d] = true
	inv.mu.Unlock()
	blob, err := repo.GetManifest(ctx, d.String())
	if errors.Is(err, oci.ErrNotFound) {
		inv.mu.Lock()
		defer inv.mu.Unlock()
		inv.lost[d] = true // a missing platform needs nothing; Read reports a tag whose manifest is missing
		return nil
	}
	if err != nil {
		return err
	}
	attached, err := repo.Referrers(ctx, d)
	if err != nil {
		return err
	}
	var doc struct{ Annotations map[string]string }
	_ = json.Unmarshal(blob.Data, &doc) // if the manifest cannot be parsed, its time is unknown
	index, err := manifest.ParseIndex(blob.Data, blob.Descriptor.MediaType)
	if err != nil && !errors.Is(err, manifest.ErrNotManifest) {
		return fmt.Errorf("read %s: %w", repo.Ref(d.String()), err)
	}
	var children []Child
	if index != nil {
		for _, m := range index.Manifests {
			c := Child{Digest: m.Digest}
			if m.Platform != nil {
				c.Platform = manifest.FormatPlatform(*m.Platform)
			}
			children = append(children, c)
		}
	}
	inv.mu.Lock()
	if t, err := time.Parse(time.RFC3339, doc.Annotations[ocispec.AnnotationCreated]); err == nil && t.After(placeholder) {
		inv.Created[d] = t
	}
	for _, a := range attached {
		inv.Attached[d] = append(inv.Attached[d], Attached{a.Digest, a.ArtifactType})
	}
	inv.Children[d] = children
	inv.mu.Unlock()
	for _, c := range children {
		if err := inv.follow(ctx, repo, c.Digest); err != nil {
			return err
		}
	}
	for _, a := range attached {
		if err := inv.follow(ctx, repo, a.Digest); err != nil {
			return err
		}
	}
	return nil
}

// Rules decide which tags are kept. A tag is deleted only if every given rule allows it. The
// tag latest is always kept.
type Rules struct {
	Keep      int           // keep a tag if fewer than Keep tags are newer; negative: no such rule
	KeepTags  []string      // keep tags that match one of these patterns (see path.Match)
	OlderThan time.Duration // keep tags of images that are younger than this; 0: no such rule
	Now       time.Time
}

// Fate describes the decision about one tag.
type Fate struct {
	Tag    string        `json:"tag"`
	Digest digest.Digest `json:"digest"`
	Delete bool          `json:"delete"`
	Reason string        `json:"reason"`

	// Undated is true if a rule keeps the tag because the age of its image is unknown.
	Undated bool `json:"undated,omitempty"`
}

// Cleanup lists what [Cleanup.Run] does. Run first deletes Untags, then Deletes in their order.
type Cleanup struct {
	Tags    []Fate   `json:"tags"`    // all tags, the newest first
	Deletes []Delete `json:"deletes"` // manifests to delete
	Untags  []string `json:"untags"`  // tags to delete; another kept tag names the same manifest, so the manifest stays
}

// Delete describes a manifest to delete.
type Delete struct {
	Digest digest.Digest `json:"digest"`
	What   string        `json:"what"`           // what the manifest is: an index, a platform or a document
	Tags   []string      `json:"tags,omitempty"` // tags of the manifest; the registry deletes them with it
}

var version = regexp.MustCompile(`^v?[0-9]`)

// Choose decides about each tag. It compares two tags by the creation times of their images.
// If one of these times is missing, it compares the tags as versions, if both are versions.
func (inv *Inventory) Choose(r Rules) *Cleanup {
	p := &Cleanup{Tags: []Fate{}, Deletes: []Delete{}, Untags: []string{}}
	for tag, d := range inv.Tags {
		p.Tags = append(p.Tags, Fate{Tag: tag, Digest: d})
	}
	slices.SortFunc(p.Tags, func(a, b Fate) int {
		// The newest tag comes first. Tags of images without a time come last.
		return cmp.Or(inv.Created[b.Digest].Compare(inv.Created[a.Digest]), oci.CompareTags(b.Tag, a.Tag), strings.Compare(b.Tag, a.Tag))
	})
	for i := range p.Tags {
		f := &p.Tags[i]
		f.Delete, f.Reason = inv.fate(f, p.Tags, &r)
		f.Undated = !f.Delete && strings.HasPrefix(f.Reason, undated)
	}
	p.choose(inv)
	return p
}

// undated begins the reason for keeping a tag of unknown age.
const undated = "nothing says how new it is: "

// newer reports whether a is known to be newer than b.
func (inv *Inventory) newer(a, b *Fate) bool {
	madeA, knownA := inv.Created[a.Digest]
	madeB, knownB := inv.Created[b.Digest]
	if knownA && knownB && !madeA.Equal(madeB) {
		return madeA.After(madeB)
	}
	return version.MatchString(a.Tag) && version.MatchString(b.Tag) && oci.CompareTags(a.Tag, b.Tag) > 0
}

// reserved returns the reason to keep a tag at any age, or "" if there is none.
func (r *Rules) reserved(tag string) string {
	for _, glob := range r.KeepTags {
		if ok, _ := path.Match(glob, tag); ok {
			return "--keep-tag " + glob
		}
	}
	if tag == "latest" {
		return "latest is always kept"
	}
	return ""
}

// fate decides about f, which is one of the tags in all.
func (inv *Inventory) fate(f *Fate, all []Fate, r *Rules) (bool, string) {
	if reason := r.reserved(f.Tag); reason != "" {
		return false, reason
	}
	created, known := inv.Created[f.Digest]
	if r.Keep >= 0 {
		newer := 0
		for i := range all {
			if r.reserved(all[i].Tag) == "" && inv.newer(&all[i], f) {
				newer++
			}
		}
		switch {
		case newer >= r.Keep:
		case !known && !version.MatchString(f.Tag):
			return false, undated + "its image has no time, and its name is not a version"
		default:
			return false, fmt.Sprintf("one of the newest %d", r.Keep)
		}
	}
	if r.OlderThan > 0 {
		switch {
		case !known:
			return false, undated + "its image has no time"
		case r.Now.Sub(created) < r.OlderThan:
			return false, "made " + created.UTC().Format(time.DateOnly)
		}
		return true, "made " + created.UTC().Format(time.DateOnly)
	}
	return true, fmt.Sprintf("older than the newest %d", r.Keep)
}

// choose finds the manifests that can be reached only from deleted tags.
func (p *Cleanup) choose(inv *Inventory) {
	needed := inv.needed(p.Tags)
	gone := map[digest.Digest]bool{}
	remove := func(d digest.Digest, what string, tags []string) {
		if !needed[d] && !gone[d] && inv.read[d] {
			gone[d] = true
			p.Deletes = append(p.Deletes, Delete{Digest: d, What: what, Tags: tags})
		}
	}
	tags := map[digest.Digest][]string{}
	var tops []digest.Digest
	for _, f := range p.Tags {
		switch {
		case !f.Delete:
		case needed[f.Digest]:
			p.Untags = append(p.Untags, f.Tag)
		default:
			if tags[f.Digest] == nil {
				tops = append(tops, f.Digest)
			}
			tags[f.Digest] = append(tags[f.Digest], f.Tag)
		}
	}
	for _, d := range tops {
		remove(d, "image", tags[d])
	}
	var documents []digest.Digest
	var children func(d digest.Digest)
	children = func(d digest.Digest) {
		documents = append(documents, d)
		for _, c := range inv.Children[d] {
			if !gone[c.Digest] {
				remove(c.Digest, cmp.Or(c.Platform, "manifest"), nil)
				children(c.Digest)
			}
		}
	}
	for _, d := range tops {
		children(d)
	}
	for _, d := range documents {
		for _, a := range inv.Attached[d] {
			remove(a.Digest, "attached "+a.Type, nil)
		}
		for _, tag := range []string{"", ".sig", ".att", ".sbom"} {
			tag = registry.FallbackTag(d) + tag
			if list, ok := inv.Documents[tag]; ok && !needed[d] {
				remove(list, "list of what is attached", []string{tag})
			}
		}
	}
}

// needed returns the manifests that can be reached from the kept tags.
func (inv *Inventory) needed(tags []Fate) map[digest.Digest]bool {
	needed := map[digest.Digest]bool{}
	var need func(d digest.Digest)
	need = func(d digest.Digest) {
		if needed[d] {
			return
		}
		needed[d] = true
		for _, c := range inv.Children[d] {
			need(c.Digest)
		}
		for _, a := range inv.Attached[d] {
			need(a.Digest)
		}
	}
	for _, f := range tags {
		if !f.Delete {
			need(f.Digest)
		}
	}
	// A fallback tag belongs to the manifest in its name. If that manifest was not read, it
	// is unknown who needs it, so the fallback tag stays.
	for tag, d := range inv.Documents {
		if subject := registry.FallbackSubject(tag); needed[subject] || !inv.read[subject] {
			need(d)
		}
	}
	return needed
}

// Run deletes, and calls done after each deletion. If a tag has moved since Read, Run deletes
// nothing and returns an error. Some registries cannot delete a single tag. In this case, Run
// finishes everything else and returns an error that wraps [registry.ErrUnsupported].
func (p *Cleanup) Run(ctx context.Context, repo *registry.Repository, done func(what string)) error {
	for _, f := range p.Tags {
		if !f.Delete {
			continue
		}
		if now, err := repo.Resolve(ctx, f.Tag); err == nil && now.Digest != f.Digest {
			return hint.Add(fmt.Errorf("prune %s: the tag has moved since it was read, so nothing is deleted", repo.Ref(f.Tag)), "run prune again")
		} else if err != nil && !errors.Is(err, oci.ErrNotFound) {
			return err
		}
	}
	var kept []string
	for _, tag := range p.Untags {
		err := repo.DeleteManifest(ctx, tag)
		if errors.Is(err, registry.ErrUnsupported) {
			kept = append(kept, tag)
			continue
		}
		if err != nil {
			return err
		}
		done("tag " + tag)
	}
	for _, d := range p.Deletes {
		if err := repo.DeleteManifest(ctx, d.Digest.String()); err != nil {
			return err
		}
		for _, tag := range d.Tags {
			if err := untag(ctx, repo, tag, d.Digest); err != nil {
				return err
			}
		}
		done(d.Digest.String())
	}
	if len(kept) > 0 {
		return fmt.Errorf("delete tags %s, whose images other tags keep: %w", strings.Join(kept, ", "), registry.ErrUnsupported)
	}
	return nil
}

// untag deletes a tag whose manifest is gone. Most registries delete the tag
// together with the manifest, but some keep it.
func untag(ctx context.Context, repo *registry.Repository, tag string, d digest.Digest) error {
	now, err := repo.Resolve(ctx, tag)
	switch {
	case errors.Is(err, oci.ErrNotFound):
		return nil
	case err != nil:
		return err
	case now.Digest != d:
		return nil // somebody pushed the tag again in the meantime
	}
	return repo.DeleteManifest(ctx, tag)
}

// String returns a description of the manifest for people.
func (d *Delete) String() string {
	s := d.What + " " + d.Digest.String()
	if len(d.Tags) > 0 {
		s += " (" + strings.Join(d.Tags, ", ") + ")"
	}
	return s
}
