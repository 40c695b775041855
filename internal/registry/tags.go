package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/retry"
)

// maxTagList is the largest size of one page of tags. A page of 1,000 tags with 128 bytes each is
// about a tenth of this size.
const maxTagList = 1 << 20 // bytes

// Tags lists the repository's tags in the registry's order. If the repository does not exist, the
// list is empty. If there are more than limit.Tags tags, Tags returns an error.
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	var all []string
	next := r.tagList()
	for range limit.TagPages {
		tags, following, err := r.tagPage(ctx, next)
		if err != nil {
			return nil, err
		}
		if all = append(all, tags...); len(all) > limit.Tags {
			return nil, r.fail("list tags of "+r.repo.Name(), fmt.Errorf("more than %d tags", limit.Tags))
		}
		if next = following; next == nil {
			return all, nil
		}
	}
	return nil, r.fail("list tags of "+r.repo.Name(), fmt.Errorf("more than %d pages", limit.TagPages))
}

// NewestTags returns at most n tags of the repository, the newest first. It compares the names of
// the tags: 1.10 is newer than 1.9, and 2026-02 is newer than 2026-01. It reads only one page of
// the registry's list. It leaves out tags that belong to another manifest, such as signatures.
func (r *Repository) NewestTags(ctx context.Context, n int) ([]string, error) {
	tags, _, err := r.tagPage(ctx, r.tagList())
	if err != nil {
		return nil, err
	}
	tags = slices.DeleteFunc(tags, func(t string) bool { return strings.HasPrefix(t, "sha256-") })
	slices.SortFunc(tags, func(a, b string) int { return oci.CompareTags(b, a) })
	return tags[:min(n, len(tags))], nil
}

// tagList returns the address of the first page of tags.
func (r *Repository) tagList() *url.URL {
	u := r.url("tags", "list")
	u.RawQuery = url.Values{"n": {"1000"}}.Encode()
	return u
}

// tagPage reads the page at u. next is the address of the following page. After the last page it is
// nil.
func (r *Repository) tagPage(ctx context.Context, u *url.URL) (tags []string, next *url.URL, err error) {
	var page struct {
		Tags []string `json:"tags"`
	}
	err = r.retrier.do(ctx, func(ctx context.Context) error {
		resp, err := r.send(ctx, request{method: http.MethodGet, url: u, accept: []int{http.StatusOK, http.StatusNotFound}})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusNotFound {
			return nil
		}
		next = nextPage(u, resp.Header.Get("Link"))
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxTagList+1))
		if err != nil {
			return err
		}
		if len(data) > maxTagList {
			return retry.Never(fmt.Errorf("the answer has more than %d bytes", maxTagList))
		}
		if err := json.Unmarshal(data, &page); err != nil {
			return retry.Never(fmt.Errorf("parse the answer: %w", err))
		}
		return nil
	})
	if err != nil {
		return nil, nil, r.fail("list tags of "+r.repo.Name(), err)
	}
	return page.Tags, next, nil
}
