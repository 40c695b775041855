// Package prune decides which images of a repository are deleted, and deletes
// them.
//
// Registries' own cleaners delete what has no tag, and with it the platforms of
// images that have one. Here nothing is deleted that a kept tag needs: [Read]
// reads every manifest that is reached from a tag, [Inventory.Choose] is a
// function of what was read, and a manifest that cannot be read ends it all
// before anything is deleted. [Cleanup.Run] deletes an index before its platforms,
// and these before what is attached to them, so that an interruption leaves no
// image that lacks a part.
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

	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/task"
)

// requestsAtOnce bounds what is asked of the registry at a time.
const requestsAtOnce = 16

// Inventory is what a repository has, as far as tags lead to it.
type Inventory struct {
	Tags      map[string]digest.Digest     // of images
	Documents map[string]digest.Digest     // tags that say what is attached: sha256-…
	Children  map[digest.Digest][]Child    // of an index
	Attached  map[digest.Digest][]Attached // to a manifest
	Created   map[digest.Digest]time.Time  // as the image says, if it does and the time is no placeholder
	read      map[digest.Digest]bool       // what was asked for
	lost      map[digest.Digest]bool       // of that, what the registry does not have
	mu        sync.Mutex
}

// Child is a manifest that an index lists.
type Child struct {
	Digest   digest.Digest
	Platform string // "" for none
}

// Attached is a document about a manifest.
type Attached struct {
	Digest digest.Digest
	Type   string
}

// placeholder is the last time that is none. Nix sets SOURCE_DATE_EPOCH to the
// first of January 1980 in builds and development shells; other tools set 0 or 1.
// Nobody made an image then, and "older than 30 days" would let all of them go.
var placeholder = time.Date(1980, 1, 2, 0, 0, 0, 0, time.UTC)

// Read reads what repo has.
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
				return nil // it is gone since the list was made
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
	// What a tag names and nobody can read may need anything.
	for _, named := range []map[string]digest.Digest{inv.Tags, inv.Documents} {
		for _, tag := range slices.Sorted(maps.Keys(named)) {
			if inv.lost[named[tag]] {
				return nil, fmt.Errorf("read %s: the registry has the tag and not the manifest %s: %w", repo.Ref(tag), named[tag], oci.ErrNotFound)
			}
		}
	}
	return inv, nil
}

// follow reads a manifest, what it lists, and what is attached, each once.
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
		inv.lost[d] = true // a platform needs nothing; for a tag, Read says it
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
	_ = json.Unmarshal(blob.Data, &doc) // what has no annotations has no time
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

// Rules say what is kept. A tag is deleted when every rule that is given lets it
// go; latest is always kept.
type Rules struct {
	Keep      int           // tags for which fewer others are known to be newer; <0: no such rule
	KeepTags  []string      // globs of path.Match
	OlderThan time.Duration // 0: no such rule
	Now       time.Time
}

// Fate is what becomes of one tag.
type Fate struct {
	Tag    string        `json:"tag"`
	Digest digest.Digest `json:"digest"`
	Delete bool          `json:"delete"`
	Reason string        `json:"reason"`

	// Undated says that a rule keeps the tag because nothing tells how new its
	// image is.
	Undated bool `json:"undated,omitempty"`
}

// Cleanup is what [Cleanup.Run] does, in this order.
type Cleanup struct {
	Tags    []Fate   `json:"tags"`    // all, the newest first
	Deletes []Delete `json:"deletes"` // manifests
	Untags  []string `json:"untags"`  // tags of manifests that other tags keep
}

// Delete is a manifest to delete.
type Delete struct {
	Digest digest.Digest `json:"digest"`
	What   string        `json:"what"`           // index, a platform, what is attached
	Tags   []string      `json:"tags,omitempty"` // that name it, and go with it
}

var version = regexp.MustCompile(`^v?[0-9]`)

// Choose decides. It guesses nothing: of two tags one is newer if both images say
// when they were made, or else if both tags are versions.
func (inv *Inventory) Choose(r Rules) *Cleanup {
	p := &Cleanup{Tags: []Fate{}, Deletes: []Delete{}, Untags: []string{}}
	for tag, d := range inv.Tags {
		p.Tags = append(p.Tags, Fate{Tag: tag, Digest: d})
	}
	slices.SortFunc(p.Tags, func(a, b Fate) int {
		// The newest first, without a time last.
		return cmp.Or(inv.Created[b.Digest].Compare(inv.Created[a.Digest]), registry.CompareTags(b.Tag, a.Tag), strings.Compare(b.Tag, a.Tag))
	})
	for i := range p.Tags {
		f := &p.Tags[i]
		f.Delete, f.Reason = inv.fate(f, p.Tags, &r)
		f.Undated = !f.Delete && strings.HasPrefix(f.Reason, undated)
	}
	p.choose(inv)
	return p
}

// undated begins the reason for a tag that stays because its image is.
const undated = "nothing says how new it is: "

// newer reports whether a is known to be newer than b.
func (inv *Inventory) newer(a, b *Fate) bool {
	madeA, knownA := inv.Created[a.Digest]
	madeB, knownB := inv.Created[b.Digest]
	if knownA && knownB && !madeA.Equal(madeB) {
		return madeA.After(madeB)
	}
	return version.MatchString(a.Tag) && version.MatchString(b.Tag) && registry.CompareTags(a.Tag, b.Tag) > 0
}

// reserved is why a tag stays whatever its age is, "" for no reason.
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

// fate is what becomes of f, one of all.
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
			return false, undated + "its image has no time, and its name is no version"
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

// choose finds the manifests that only deleted tags lead to.
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

// needed are the manifests that tags which stay lead to.
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
	// What a document's tag lists belongs to its subject alone, if that is known;
	// of a subject that nobody has read nobody knows who needs it.
	for tag, d := range inv.Documents {
		if subject := registry.FallbackSubject(tag); needed[subject] || !inv.read[subject] {
			need(d)
		}
	}
	return needed
}

// Run deletes, and tells done of each thing. A tag that names something else by now
// is left, with all that its image has. A registry that deletes no single tag
// keeps those, and Run says so with an error that wraps
// [registry.ErrUnsupported] once all else is done.
func (p *Cleanup) Run(ctx context.Context, repo *registry.Repository, done func(what string)) error {
	for _, f := range p.Tags {
		if !f.Delete {
			continue
		}
		if now, err := repo.Resolve(ctx, f.Tag); err == nil && now.Digest != f.Digest {
			return fmt.Errorf("prune %s: the tag has moved since it was read; nothing more is deleted", repo.Ref(f.Tag))
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

// untag deletes a tag that outlived its manifest: most registries delete it with
// the manifest, some keep it.
func untag(ctx context.Context, repo *registry.Repository, tag string, d digest.Digest) error {
	now, err := repo.Resolve(ctx, tag)
	switch {
	case errors.Is(err, oci.ErrNotFound):
		return nil
	case err != nil:
		return err
	case now.Digest != d:
		return nil // somebody has pushed it again
	}
	return repo.DeleteManifest(ctx, tag)
}

// String is the manifest for people.
func (d *Delete) String() string {
	s := d.What + " " + d.Digest.String()
	if len(d.Tags) > 0 {
		s += " (" + strings.Join(d.Tags, ", ") + ")"
	}
	return s
}
