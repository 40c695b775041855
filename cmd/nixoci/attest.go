package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/report"
)

// What --attest takes.
const (
	attestClosure    = "closure"
	attestSBOM       = "sbom" // in the format that the sbom command has by default
	attestProvenance = "provenance"
)

// attestations are the documents that a push attaches.
type attestations struct {
	closure, provenance bool
	sboms               []string // formats
	builder             string   // of the provenance
}

func parseAttest(kinds []string, builder string) (w attestations, err error) {
	w.builder = builder
	for _, k := range kinds {
		switch k {
		case attestClosure:
			w.closure = true
		case attestProvenance:
			w.provenance = true
		case attestSBOM, report.FormatSPDX, report.FormatCycloneDX:
			if k == attestSBOM {
				k = report.FormatSPDX
			}
			if !slices.Contains(w.sboms, k) {
				w.sboms = append(w.sboms, k)
			}
		default:
			return w, usageError{hint.Add(fmt.Errorf("--attest %q: unknown", k), "closure, sbom (or spdx, cyclonedx), provenance")}
		}
	}
	return w, nil
}

func (w *attestations) none() bool { return !w.closure && !w.provenance && len(w.sboms) == 0 }

// attach attaches what w wants to the image that a push has made. Closure,
// bills of materials and provenance are said of each platform's manifest, which
// stays what it is when another platform joins the index. The index gets a
// provenance of its own where all of it is from this push.
func (a *app) attach(ctx context.Context, repo *registry.Repository, index ocispec.Descriptor, images []push.PlannedSystem, job *push.Job, w attestations) error {
	if w.none() {
		return nil
	}
	top, err := repo.GetManifest(ctx, index.Digest.String())
	if err != nil {
		return err
	}
	parsed, err := manifest.ParseIndex(top.Data, top.Descriptor.MediaType)
	if err != nil {
		return err
	}
	build := attest.Build{Builder: w.builder, Version: version, Format: manifest.CurrentFormat,
		Compression: job.Compression.String(), Settings: settingsMap(&job.Settings)}
	var all []attest.BuiltSystem
	documents := 0
	attach := func(to ocispec.Descriptor, docs ...oci.Artifact) error {
		_, err := repo.Attach(ctx, to, docs)
		documents += len(docs)
		return err
	}
	for _, image := range images {
		d := parsed.Find(image.System.Platform)
		if d == nil {
			return fmt.Errorf("attach to %s: the index has no manifest for %s", index.Digest, manifest.FormatPlatform(image.System.Platform))
		}
		docs, built, err := w.documents(image.System, job.Settings.Created)
		if err != nil {
			return err
		}
		all = append(all, built)
		if w.provenance {
			b := build
			b.Systems, b.Recipe = []attest.BuiltSystem{built}, d.Annotations[manifest.AnnotationImage]
			doc, err := provenance(repo.Name(), d.Digest, b)
			if err != nil {
				return err
			}
			docs = append(docs, doc)
		}
		if err := attach(*d, docs...); err != nil {
			return err
		}
	}
	if w.provenance && len(parsed.Manifests) == len(images) {
		build.Systems, build.Recipe = all, parsed.Annotations[manifest.AnnotationImage]
		doc, err := provenance(repo.Name(), top.Descriptor.Digest, build)
		if err != nil {
			return err
		}
		if err := attach(top.Descriptor, doc); err != nil {
			return err
		}
	}
	if !a.quiet {
		a.stderr.Printf("attached to the image: %s\n", human.Count(documents, "document"))
	}
	return nil
}

// documents are the statement and the bills of materials of one system.
func (w *attestations) documents(sys *manifest.System, created *time.Time) (docs []oci.Artifact, built attest.BuiltSystem, err error) {
	system, _ := closure.System(sys.Platform)
	built = attest.BuiltSystem{Platform: manifest.FormatPlatform(sys.Platform), System: system, Toplevel: *sys.Closure.Info(sys.Toplevel)}
	if sys.Init != nil {
		built.Init = sys.Init.Digest
	}
	if w.closure {
		data, err := attest.Closure(sys.Closure, system)
		if err != nil {
			return nil, built, err
		}
		built.Closure = digest.FromBytes(data)
		docs = append(docs, oci.Artifact{Type: attest.ClosureType, MediaType: attest.ClosureType, Data: data})
	}
	for _, format := range w.sboms {
		mt, err := report.SBOMMediaType(format)
		if err != nil {
			return nil, built, err
		}
		var b bytes.Buffer
		if err := report.WriteSBOM(&b, sys.Closure, format, report.SBOMOptions{Created: created, System: system, Init: built.Init.String()}); err != nil {
			return nil, built, err
		}
		docs = append(docs, oci.Artifact{Type: mt, MediaType: mt, Data: b.Bytes()})
	}
	return docs, built, nil
}

func provenance(name string, subject digest.Digest, b attest.Build) (oci.Artifact, error) {
	data, err := attest.Provenance(name, subject, b)
	return oci.Artifact{Type: attest.StatementType, MediaType: attest.StatementType, Data: data,
		Annotations: map[string]string{attest.PredicateTypeKey: attest.ProvenanceType}}, err
}

// settingsMap is what the user set of an image, by the names of the flags.
func settingsMap(s *manifest.Settings) map[string]any {
	m := map[string]any{}
	list := func(name string, v []string) {
		if len(v) > 0 {
			m[name] = v
		}
	}
	text := func(name, v string) {
		if v != "" {
			m[name] = v
		}
	}
	list("env", s.Env)
	list("entrypoint", s.Entrypoint)
	list("cmd", s.Cmd)
	list("port", s.Ports)
	list("volume", s.Volumes)
	text("user", s.User)
	text("workdir", s.WorkingDir)
	text("stop-signal", s.StopSignal)
	if len(s.Labels) > 0 {
		m["label"] = s.Labels
	}
	if len(s.Annotations) > 0 {
		m["annotation"] = s.Annotations
	}
	if s.Created != nil {
		m["created"] = s.Created.UTC().Format(time.RFC3339)
	}
	if s.Docker {
		m["format"] = "docker"
	}
	return m
}
