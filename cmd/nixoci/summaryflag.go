package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/report"
)

// summaryNone is the value of --summary for no report.
const summaryNone = "none"

// review writes the markdown report of --summary, for people who review the change. It is not a
// verification summary, which attestresult.go attaches.
type review struct {
	a    *app
	file string // file to which the report is appended; "" for no report

	// asked is true if the user named the file with --summary. In this case, a failure to
	// write the file is an error. If the name of the file comes from the environment of CI, a
	// failure must not make the push fail.
	asked bool

	before digest.Digest // digest of the index that the tag named before the push; "" if there was none
	name   string        // name that the report uses for that earlier image
}

// newReview finds the image that the push will replace. It must run before the
// push, because then the tag still names the old image.
func (a *app) newReview(ctx context.Context, f *pushFlags, opts *push.Options, repo *registry.Repository) *review {
	r := &review{a: a, file: f.summary, asked: f.summary != ""}
	if !r.asked {
		r.file = os.Getenv("GITHUB_STEP_SUMMARY")
	}
	if r.file == summaryNone {
		r.file = ""
	}
	if r.file == "" {
		return r
	}
	there, err := opts.Predecessor(ctx, repo)
	if err != nil {
		a.log.Warnf("summary: no comparison with the earlier image: %v", err)
	}
	if there != nil {
		if top, err := there.Index(ctx); err == nil {
			r.before, r.name = top.Blob.Descriptor.Digest, there.String()
		}
	}
	return r
}

// write appends the report to the file.
func (r *review) write(ctx context.Context, repo *registry.Repository, ref registry.Reference, result *push.Result, stats *registry.Stats) error {
	if r.file == "" {
		return nil
	}
	var b strings.Builder
	err := r.markdown(ctx, &b, repo, ref, result, stats)
	if err == nil {
		err = appendFile(r.file, b.String())
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("the push is complete, but its summary is not: %w", err)
	if r.asked {
		return err
	}
	r.a.log.Warn(err)
	return nil
}

func (r *review) markdown(ctx context.Context, b *strings.Builder, repo *registry.Repository, ref registry.Reference, result *push.Result, stats *registry.Stats) error {
	pushed := report.Pushed{Ref: ref.Repository.Name() + ":" + ref.Tag, Digest: result.Index.Digest.String(), Sent: stats.BytesSent, Requests: stats.Requests}
	for _, l := range result.Layers {
		pushed.Layers++
		if l.Outcome == push.Made {
			pushed.Made++
		}
	}
	if err := pushed.WriteMarkdown(b); err != nil {
		return err
	}
	after, err := r.read(ctx, repo, pushed.Ref, result.Index.Digest)
	if err != nil {
		return err
	}
	if r.before == "" {
		return after.WriteMarkdown(b)
	}
	before, err := r.read(ctx, repo, r.name, r.before)
	if err != nil {
		return err
	}
	d, err := report.Compare(report.SideOfImage(before), report.SideOfImage(after))
	if err != nil {
		return err
	}
	return d.WriteMarkdown(b)
}

// read reads the image with the digest d. name is the name of the image in the report.
func (r *review) read(ctx context.Context, repo *registry.Repository, name string, d digest.Digest) (*report.Image, error) {
	o := report.ReadOptions{Warn: func(err error) { r.a.log.Warn(err) }}
	return report.ReadImage(ctx, &oci.OpenedImage{Reader: withoutReferrers{repo}, Name: name, TagOrDigest: d.String()}, o)
}

// withoutReferrers hides the referrers of a reader, because it has only the methods of
// [oci.Reader]. So the reports do not ask for attached documents.
type withoutReferrers struct{ oci.Reader }

func appendFile(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
