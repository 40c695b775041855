package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/task"
)

// tagsPerImage limits how many tags ReadHistory reads: n images allow n × tagsPerImage tags. A
// release often has three tags, such as 1, 1.2 and 1.2.3.
const tagsPerImage = 4

// tagsAtOnce limits concurrent requests for tags, because the answer to each can take up to 4 MiB of
// memory.
const tagsAtOnce = 8

// ReadHistory sets the field History of each element of recorded. It reads the store paths of the
// images before the image of this element. Including the image of the element, it uses at most n
// images of a platform. The image before an image X is the image whose plan X continues
// ([manifest.AnnotationPlanFrom]). If X continues no plan, or if src has lost that image, the image
// before X is the one with the newest tag that ReadHistory has not used yet.
//
// Anybody who can write to the repository can forge a history. A forged history makes the new
// layers less efficient but never incorrect.
func ReadHistory(ctx context.Context, src oci.Reader, recorded []plan.Recorded, n int) error {
	h := &historyReader{src: src, recorded: recorded, images: n}
	for i := range recorded {
		if err := h.follow(ctx, &recorded[i]); err != nil {
			return err
		}
	}
	return nil
}

// historyReader reads the images of a repository or layout.
type historyReader struct {
	src      oci.Reader
	recorded []plan.Recorded
	images   int // largest number of images of a platform

	tagged []map[string]digest.Digest // for each tag, the newest first: the manifests of its image, by platform
	listed bool                       // whether tagged was filled

	mu    sync.Mutex
	reads int   // manifests and indexes that were requested
	size  int64 // bytes of manifests that were read
	paths int   // store paths that were read
}

// follow reads the images before the image of k, and stores their store paths in k.History.
func (h *historyReader) follow(ctx context.Context, k *plan.Recorded) error {
	if k.Manifest == "" {
		return nil // the plan comes from a file
	}
	used := map[digest.Digest]bool{k.Manifest: true}
	next, tag := k.Continues, 0
	for len(k.History) < h.images-1 {
		if next == "" || used[next] {
			if err := h.readTags(ctx); err != nil {
				return err
			}
			for next = ""; tag < len(h.tagged) && (next == "" || used[next]); tag++ {
				next = h.tagged[tag][k.Platform]
			}
			if next == "" || used[next] {
				return nil
			}
		}
		used[next] = true
		var paths []closure.StorePath
		var err error
		if paths, next, err = h.read(ctx, next); err != nil {
			return err
		}
		if len(paths) > 0 {
			k.History = append(k.History, paths)
		}
	}
	return nil
}

// read returns the store paths in the image with this manifest, and the digest of the manifest
// whose plan it continues. If the manifest is missing, or if nixoci did not make it, read
// returns nothing.
func (h *historyReader) read(ctx context.Context, d digest.Digest) ([]closure.StorePath, digest.Digest, error) {
	if d.Validate() != nil {
		return nil, "", nil
	}
	blob, err := h.get(ctx, d.String())
	if err != nil || blob == nil {
		return nil, "", err
	}
	m, err := manifest.ParseManifest(blob.Data, blob.Descriptor.MediaType)
	if err != nil {
		return nil, "", nil //nolint:nilerr // another tool made this image
	}
	all := recordedPlan(m).Paths()
	if h.paths += len(all); h.paths > limit.HistoryPaths {
		return nil, "", historyTooLarge("the images list more than %d store paths", limit.HistoryPaths)
	}
	return all, digest.Digest(m.Annotations[manifest.AnnotationPlanFrom]), nil
}

// get reads a manifest or an index. If it is missing, get returns nil.
func (h *historyReader) get(ctx context.Context, tagOrDigest string) (*oci.Blob, error) {
	h.mu.Lock()
	h.reads++
	tooMany := h.reads > limit.HistoryReads
	h.mu.Unlock()
	if tooMany {
		return nil, historyTooLarge("more than %d requests", limit.HistoryReads)
	}
	blob, err := h.src.GetManifest(ctx, tagOrDigest)
	if errors.Is(err, oci.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.size += int64(len(blob.Data)); h.size > limit.HistorySize {
		return nil, historyTooLarge("the manifests have more than %d bytes", limit.HistorySize)
	}
	return &blob, nil
}

func historyTooLarge(format string, args ...any) error {
	return hint.Add(fmt.Errorf("read the history: "+format, args...), "use a smaller --history")
}

// readTags fills h.tagged, unless it is filled already. It ignores images of other tools.
func (h *historyReader) readTags(ctx context.Context) error {
	lister, ok := h.src.(oci.TagLister)
	if h.listed || !ok {
		return nil
	}
	h.listed = true
	tags, err := lister.NewestTags(ctx, tagsPerImage*h.images)
	if err != nil {
		return err
	}
	h.tagged = make([]map[string]digest.Digest, len(tags))
	group, ctx := task.WithContext(ctx)
	group.SetLimit(tagsAtOnce)
	for i, tag := range tags {
		group.Go(func() error {
			blob, err := h.get(ctx, tag)
			if err != nil || blob == nil {
				return err
			}
			index, err := manifest.ParseIndex(blob.Data, blob.Descriptor.MediaType)
			if err == nil {
				h.tagged[i] = h.manifestsOf(index)
			}
			return nil //nolint:nilerr // another tool made this image
		})
	}
	return group.Wait()
}

// manifestsOf returns the digests of the manifests in index, by platform. It returns only manifests
// that nixoci made, and only those for the platforms of h.recorded.
func (h *historyReader) manifestsOf(index *manifest.Index) map[string]digest.Digest {
	of := map[string]digest.Digest{}
	for _, d := range index.Manifests {
		if d.Annotations[manifest.AnnotationImage] == "" || d.Platform == nil {
			continue
		}
		platform := manifest.FormatPlatform(*d.Platform)
		if slices.ContainsFunc(h.recorded, func(k plan.Recorded) bool { return k.Platform == platform }) {
			of[platform] = d.Digest
		}
	}
	return of
}
