// Package doctor tests what a registry, an account and a network can do, and
// explains for each result what nixoci does about it.
package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
)

// State is the result of a check.
type State string

// These are the results of a check.
const (
	Yes     State = "yes"
	No      State = "no"      // the registry cannot do it, but nixoci works without it
	Bad     State = "bad"     // a push or pull will fail
	Unknown State = "unknown" // the check was not made, or the answer does not show the result
)

// Probe describes one check and its result.
type Probe struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Found string `json:"found"`
	Means string `json:"means"` // what the result means for nixoci
}

// maxSkew is the largest accepted difference between the clocks of this machine and the
// registry. Tokens are valid only for minutes.
const maxSkew = time.Minute

// examination holds the state of the checks of one repository.
type examination struct {
	repo        *registry.Repository
	tagOrDigest string
	write       bool
	now         func() time.Time
	checks      []Probe

	image   *manifest.Manifest
	subject digest.Digest // digest of the manifest that tagOrDigest names
}

// Examine checks the registry of repo and reads tagOrDigest. If write is true, it also
// uploads a small blob and a manifest, and deletes both. The error means that no check is
// possible, for example without a network.
func Examine(ctx context.Context, repo *registry.Repository, tagOrDigest string, write bool) ([]Probe, error) {
	e := &examination{repo: repo, tagOrDigest: tagOrDigest, write: write, now: time.Now}
	for _, check := range []func(context.Context) error{e.read, e.ranges, e.referrers, e.tags, e.writes} {
		if err := check(ctx); err != nil {
			return e.checks, err
		}
	}
	return e.checks, nil
}

func (e *examination) add(name string, s State, found, means string) {
	e.checks = append(e.checks, Probe{name, s, found, means})
}

// answered describes an answer of the registry by its status and error code.
func answered(a registry.Answer) string {
	text := fmt.Sprintf("%d %s", a.Status, http.StatusText(a.Status))
	if code := errorCode(a); code != "" {
		text += ", " + code
	}
	return text
}

// errorCode returns the first error code in an answer, or "" if there is none.
func errorCode(a registry.Answer) string {
	var doc struct{ Errors []struct{ Code string } }
	if json.Unmarshal(a.Body, &doc) != nil || len(doc.Errors) == 0 {
		return ""
	}
	return doc.Errors[0].Code
}

var accept = strings.Join([]string{ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, mediatype.DockerList, mediatype.DockerManifest}, ", ")

// read requests the image. It checks the address, the clock, the login and the
// permission to pull.
func (e *examination) read(ctx context.Context) error {
	a, err := e.repo.Ask(ctx, registry.Question{Method: http.MethodGet, Path: []string{"manifests", e.tagOrDigest}, Header: map[string]string{"Accept": accept}})
	if err != nil {
		return err
	}
	access := e.repo.Access()
	means := "every address that the registry names must be https, too"
	if access.Scheme == "http" {
		means = "nothing is encrypted: only for loopback addresses, or with --insecure"
	}
	e.add("address", Yes, fmt.Sprintf("%s, answers in %s", access.Scheme, a.Took.Round(time.Millisecond)), means)
	e.clock(a.Header)
	switch {
	case access.Named:
		e.add("login", Yes, access.Login+", with credentials", "nixoci sends the credentials only to this registry and its token server")
	default:
		means := "many registries limit anonymous reading and refuse an anonymous push: run nixoci login HOST, or try a push with --write"
		if e.write {
			means = "the check push shows whether this is enough; if not, run nixoci login HOST"
		}
		e.add("login", No, strings.Replace(access.Login, "none", "no login", 1)+", anonymous", means)
	}
	if len(access.Scopes) > 0 {
		e.add("scopes", Yes, strings.Join(access.Scopes, " "), "nixoci asked for a token with these rights; the registry may grant fewer")
	}
	switch a.Status {
	case http.StatusOK:
		e.add("pull", Yes, e.repo.Ref(e.tagOrDigest)+" is there", "its layers can be reused")
		return e.open(ctx, a)
	case http.StatusNotFound:
		e.add("pull", Unknown, answered(a)+": "+e.repo.Ref(e.tagOrDigest)+" is not there", "the first push sends all layers")
	default:
		e.add("pull", Bad, answered(a), "nothing can be reused, and nobody can verify: check the login and the repository's name")
	}
	return nil
}

func (e *examination) clock(h http.Header) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		e.add("clock", Unknown, "the registry's answer contains no time", "nothing to do")
		return
	}
	skew := e.now().Sub(date).Round(time.Second)
	if skew.Abs() > maxSkew {
		e.add("clock", Bad, "this machine's clock differs from the registry's by "+skew.String(), "tokens can seem expired, and signatures can have a wrong time: set the clock")
		return
	}
	e.add("clock", Yes, "it differs from the registry's by less than "+maxSkew.String(), "nothing to do")
}

// open parses the manifest in a. If a is an index, open parses the first manifest
// that the index lists.
func (e *examination) open(ctx context.Context, a registry.Answer) error {
	e.subject = digest.FromBytes(a.Body)
	kind, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	data := a.Body
	if index, err := manifest.ParseIndex(data, kind); err == nil {
		if len(index.Manifests) == 0 {
			return nil
		}
		blob, err := e.repo.GetManifest(ctx, index.Manifests[0].Digest.String())
		if errors.Is(err, oci.ErrNotFound) {
			e.add("platforms", Bad, "the registry has lost "+index.Manifests[0].Digest.String(), "the next push puts it back; programs that delete untagged manifests can cause this")
			return nil
		}
		if err != nil {
			return err
		}
		data, kind = blob.Data, blob.Descriptor.MediaType
	}
	if m, err := manifest.ParseManifest(data, kind); err == nil {
		e.image = m
	}
	return nil
}

// ranges requests the last byte of a small blob.
func (e *examination) ranges(ctx context.Context) error {
	const means = "nixoci continues a broken download where it broke"
	if e.image == nil || e.image.Config.Size < 2 {
		e.add("ranges", Unknown, "no image to read", means+", if the registry can send a part of a blob")
		return nil
	}
	a, err := e.repo.Ask(ctx, registry.Question{Method: http.MethodGet, Path: []string{"blobs", e.image.Config.Digest.String()},
		Header: map[string]string{"Range": fmt.Sprintf("bytes=%d-", e.image.Config.Size-1)}})
	switch {
	case err != nil:
		return err
	case a.Status == http.StatusPartialContent && len(a.Body) == 1:
		e.add("ranges", Yes, answered(a), means)
	case a.Status == http.StatusOK || a.Status == http.StatusRequestedRangeNotSatisfiable:
		e.add("ranges", No, "the registry refuses the range that a continued download asks for (from a byte to the end): "+answered(a), "a broken download starts again from its beginning, and nixoci skips the bytes that it already has")
	default:
		e.add("ranges", Bad, answered(a), "the image's config cannot be read: the next push puts it back if it is lost")
	}
	return nil
}

func (e *examination) referrers(ctx context.Context) error {
	subject := e.subject
	if subject == "" {
		subject = digest.FromString("nixoci doctor")
	}
	a, err := e.repo.Ask(ctx, registry.Question{Method: http.MethodGet, Path: []string{"referrers", subject.String()},
		Header: map[string]string{"Accept": ocispec.MediaTypeImageIndex}})
	if err != nil {
		return err
	}
	kind, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	switch {
	case a.Status == http.StatusOK && kind == ocispec.MediaTypeImageIndex:
		e.add("referrers", Yes, "the registry lists the attached documents", "tools find signatures and documents with this list")
	case e.subject == "" && errorCode(a) == "NAME_UNKNOWN":
		e.add("referrers", Unknown, answered(a)+": the repository does not exist yet", "after the first push, nixoci doctor can check whether the registry lists attached documents")
	default:
		e.add("referrers", No, answered(a), "signatures and documents are listed under the tag sha256-…, which nobody must delete")
	}
	return nil
}

func (e *examination) tags(ctx context.Context) error {
	a, err := e.repo.Ask(ctx, registry.Question{Method: http.MethodGet, Path: []string{"tags", "list"}, Query: url.Values{"n": {"10"}}})
	switch {
	case err != nil:
		return err
	case a.Status == http.StatusOK || a.Status == http.StatusNotFound:
		e.add("tag list", Yes, answered(a), "a new tag can reuse the newest image; nixoci prune works")
	default:
		e.add("tag list", No, answered(a), "a new tag reuses only latest and the tags of the push; nixoci prune does not work")
	}
	return nil
}

// writes uploads a blob and a manifest, and deletes them.
func (e *examination) writes(ctx context.Context) error {
	if !e.write {
		e.add("push", Unknown, "not tried", "--write tries a push, mounts, media types, zstd and deletes")
		return nil
	}
	content := []byte("nixoci doctor " + rand.Text() + "\n")
	blob := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerZstd, Digest: digest.FromBytes(content), Size: int64(len(content))}
	a, err := e.upload(ctx, blob.Digest, content)
	if err != nil {
		return err
	}
	if a.Status != http.StatusCreated {
		e.add("push", Bad, answered(a), "a push fails: the account needs permission to push, or the repository must be created first")
		return nil
	}
	e.add("push", Yes, "a blob of "+strconv.Itoa(len(content))+" bytes was uploaded", "nixoci sends a layer while it makes the layer")
	if err := e.mount(ctx, blob.Digest); err != nil {
		return err
	}
	left, err := e.manifest(ctx, blob)
	if err != nil {
		return err
	}
	return e.deletes(ctx, left, blob.Digest)
}

// upload uploads a blob with POST and PUT. It returns the last answer, which shows whether
// the upload succeeded.
func (e *examination) upload(ctx context.Context, d digest.Digest, content []byte) (registry.Answer, error) {
	a, err := e.repo.Ask(ctx, registry.Question{Method: http.MethodPost, Path: []string{"blobs", "uploads", ""}})
	if err != nil || a.Status != http.StatusAccepted || a.Location == nil {
		return a, err
	}
	return e.repo.Ask(ctx, registry.Question{Method: http.MethodPut, At: a.Location, Query: url.Values{"digest": {d.String()}}, Body: content,
		Header: map[string]string{"Content-Type": "application/octet-stream"}})
}

// mount mounts a blob of the repository into the repository itself, because this needs no
// other permission.
func (e *examination) mount(ctx context.Context, d digest.Digest) error {
	_, own, _ := strings.Cut(e.repo.Name(), "/")
	a, err := e.repo.Ask(ctx, registry.Question{Method: http.MethodPost, Path: []string{"blobs", "uploads", ""}, Query: url.Values{"mount": {d.String()}, "from": {own}}})
	if err != nil {
		return err
	}
	if a.Status == http.StatusCreated {
		e.add("mount", Yes, answered(a), "--mount-from can take layers from another repository of the registry")
		return nil
	}
	if a.Status == http.StatusAccepted && a.Location != nil { // the registry started an upload instead of mounting the blob
		if _, err := e.repo.Ask(ctx, registry.Question{Method: http.MethodDelete, At: a.Location}); err != nil {
			return err
		}
	}
	e.add("mount", No, answered(a), "nixoci uploads layers that other repositories already have")
	return nil
}

// manifest uploads an OCI image with a zstd layer, without a tag. It returns the manifests
// that must be deleted later.
func (e *examination) manifest(ctx context.Context, layer ocispec.Descriptor) (left []digest.Digest, err error) {
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + digest.FromBytes(nil).String() + `"]}}`)
	c := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	if a, err := e.upload(ctx, c.Digest, config); err != nil || a.Status != http.StatusCreated {
		return nil, err
	}
	put := func(v any, kind string) (registry.Answer, digest.Digest, error) {
		var b bytes.Buffer
		if err := json.NewEncoder(&b).Encode(v); err != nil {
			return registry.Answer{}, "", err
		}
		d := digest.FromBytes(b.Bytes())
		a, err := e.repo.Ask(ctx, registry.Question{Method: http.MethodPut, Path: []string{"manifests", d.String()}, Body: b.Bytes(), Header: map[string]string{"Content-Type": kind}})
		if err == nil && a.Status == http.StatusCreated {
			left = append([]digest.Digest{d}, left...) // left lists an index first, because it must be deleted before its manifests
		}
		return a, d, err
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: c, Layers: []ocispec.Descriptor{layer}}
	a, zstd, err := put(m, ocispec.MediaTypeImageManifest)
	if err != nil {
		return left, err
	}
	if a.Status != http.StatusCreated {
		e.add("zstd", No, answered(a), "use --compression gzip; if the registry refuses this too, add --format docker")
		return left, nil
	}
	e.add("zstd", Yes, "the registry accepts an OCI manifest with a zstd layer", "--compression zstd works; Docker before 23 cannot pull such an image")
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{
		{MediaType: ocispec.MediaTypeImageManifest, Digest: zstd, Size: sizeOf(m), Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}}}}
	a, _, err = put(index, ocispec.MediaTypeImageIndex)
	if err != nil {
		return left, err
	}
	if a.Status == http.StatusCreated {
		e.add("media types", Yes, "the registry accepts OCI manifests and indexes", "the default, --format oci, works")
	} else {
		e.add("media types", Bad, answered(a)+" for an OCI index", "use --format docker")
	}
	return left, nil
}

func sizeOf(v any) int64 {
	var b bytes.Buffer
	_ = json.NewEncoder(&b).Encode(v) // encoding cannot fail, because v was encoded before
	return int64(b.Len())
}

// deletes deletes everything that the examination uploaded.
func (e *examination) deletes(ctx context.Context, manifests []digest.Digest, blob digest.Digest) error {
	var kept []string
	var first error
	for _, d := range manifests {
		if err := e.repo.DeleteManifest(ctx, d.String()); err != nil {
			kept, first = append(kept, d.String()), err
		}
	}
	if len(kept) > 0 {
		e.add("delete", No, first.Error(), "nixoci prune does not work; these small manifests without a tag stay in the registry: "+strings.Join(kept, ", "))
	} else if len(manifests) > 0 {
		e.add("delete", Yes, "the registry deletes manifests", "nixoci prune works")
	}
	if err := e.repo.DeleteBlob(ctx, blob); err != nil {
		e.add("delete blobs", No, err.Error(), "the registry's garbage collector deletes blobs that no manifest lists")
	} else {
		e.add("delete blobs", Yes, "the registry deletes blobs", "nixoci does not need this: it leaves blobs to the registry's garbage collector")
	}
	return ctx.Err()
}
