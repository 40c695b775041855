package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/registry"
)

// spent describes how long a push took and how much it sent. s is nil if no registry was
// used.
func (a *app) spent(start time.Time, s *registry.Stats) string {
	took := human.Duration(time.Since(start))
	switch {
	case s == nil:
		return "in " + took
	case a.verbose:
		return fmt.Sprintf("sent %s with %s in %s", human.Bytes(s.BytesSent), human.Count(s.Requests, "request"), took)
	}
	return fmt.Sprintf("sent %s in %s", human.Bytes(s.BytesSent), took)
}

// printOutcome prints on stderr what a push or build has put into the destination. spent describes
// how long it took.
func (a *app) printOutcome(r push.Result, destination, spent string) {
	a.done = true
	if a.quiet {
		return
	}
	if r.Unchanged {
		a.stderr.Printf("unchanged: %s has this image already; %s\n", destination, spent)
		return
	}
	var made, checked int
	var size, tar int64
	from := map[string]int{}
	for _, l := range r.Layers {
		size += l.Packed.Size
		tar += l.Packed.UncompressedSize
		if l.Outcome == push.Made {
			made++
		} else {
			from[l.ReusedFrom]++
		}
		if l.Checked {
			checked++
		}
	}
	how := fmt.Sprintf("%d made", made)
	if len(from) == 0 {
		how += ", 0 reused"
	}
	for i, n := range slices.Sorted(maps.Keys(from)) {
		if i == 0 {
			how += fmt.Sprintf(", %d reused from %s", from[n], n)
		} else {
			how += fmt.Sprintf(" and %d from %s", from[n], n)
		}
	}
	if checked > 0 {
		how += fmt.Sprintf(" (%d of them checked: made again, they are the same)", checked)
	}
	how += baseOutcomes(r.Base)
	a.stderr.Printf("%s: %s in %s, %s compressed: %s; %s\n", platformList(r.Platforms), human.Bytes(tar), human.Count(len(r.Layers), "layer"), human.Bytes(size), how, spent)
}

// baseOutcomes describes how many layers of a base image were copied, mounted or already
// present.
func baseOutcomes(base []push.BaseResult) string {
	if len(base) == 0 {
		return ""
	}
	n := map[push.Outcome]int{}
	for _, l := range base {
		n[l.Outcome]++
	}
	var parts []string
	for _, how := range []push.Outcome{push.Copied, push.Mounted, push.Present} {
		if n[how] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[how], how))
		}
	}
	return "; above " + human.Count(len(base), "layer") + " of the base image: " + strings.Join(parts, ", ")
}

// platformList returns the platforms of an index, in the order of the index.
func platformList(manifests []ocispec.Descriptor) string {
	var platforms []string
	for _, d := range manifests {
		if d.Platform != nil {
			platforms = append(platforms, manifest.FormatPlatform(*d.Platform))
		}
	}
	return strings.Join(platforms, " ")
}

// printed describes the output of push and build with --json.
type printed struct {
	Ref       string         `json:"ref"`
	Digest    string         `json:"digest"`
	Unchanged bool           `json:"unchanged"`
	Platforms []printedImage `json:"platforms,omitempty"`
	Layers    []printedLayer `json:"layers,omitempty"`
	Base      []printedBase  `json:"baseLayers,omitempty"`
	Requests  *int64         `json:"requests,omitempty"`
	Sent      *int64         `json:"sent,omitempty"`
	Received  *int64         `json:"received,omitempty"`
	Retries   *int64         `json:"retries,omitempty"`
}

type printedImage struct {
	Platform string `json:"platform"`
	Digest   string `json:"digest"`
}

// printedBase describes a layer of a base image in this output.
type printedBase struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
	How    string `json:"how"`
}

type printedLayer struct {
	Recipe  string `json:"recipe"`
	DiffID  string `json:"diffID"`
	Digest  string `json:"digest"`
	Size    int64  `json:"size"`
	TarSize int64  `json:"tarSize"`
	Paths   int    `json:"paths"`
	How     string `json:"how"`
	From    string `json:"from,omitempty"`
	Checked bool   `json:"checked,omitempty"`
}

func (a *app) printResult(ref string, r push.Result, s *registry.Stats) error {
	if !a.json {
		a.stdout.Printf("%s@%s\n", ref, r.Index.Digest)
		return a.stdout.Err()
	}
	p := printed{Ref: ref, Digest: r.Index.Digest.String(), Unchanged: r.Unchanged}
	for _, d := range r.Platforms {
		if d.Platform != nil {
			p.Platforms = append(p.Platforms, printedImage{manifest.FormatPlatform(*d.Platform), d.Digest.String()})
		}
	}
	for _, l := range r.Layers {
		p.Layers = append(p.Layers, printedLayer{
			Recipe: l.Layer.Recipe.String(), DiffID: l.Packed.DiffID.String(), Digest: l.Packed.Digest.String(),
			Size: l.Packed.Size, TarSize: l.Packed.UncompressedSize, Paths: len(l.Layer.Paths), How: string(l.Outcome), From: l.ReusedFrom, Checked: l.Checked,
		})
	}
	for _, l := range r.Base {
		p.Base = append(p.Base, printedBase{l.Digest.String(), l.Size, string(l.Outcome)})
	}
	if s != nil {
		p.Requests, p.Sent, p.Received, p.Retries = &s.Requests, &s.BytesSent, &s.BytesReceived, &s.Retries
	}
	return a.stdout.JSON(p)
}
