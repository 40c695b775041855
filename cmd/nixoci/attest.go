package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/report"
)

type attestFlags struct {
	registry  registryFlags
	kind      string
	predicate string
	author    authorFlags
	created   string
}

func (a *app) attestCommand() *cobra.Command {
	var f attestFlags
	cmd := &cobra.Command{
		Use:   "attest REF --type TYPE --key FILE|--keyless=SERVICES",
		Short: "Attach a signed statement to an image in a registry",
		Long: `Attach a signed statement to an image in a registry, and print REF@digest. The
image does not change. cosign verify-attestation --new-bundle-format and nixoci
verify --key check the statement.

nixoci makes three types itself, one statement for each platform: closure, spdx
and cyclonedx. For all other types, --predicate names a JSON file. The statement
is then about the image that REF names. With --platform, it is about the
manifest of that platform.

TYPE is a name of cosign's (slsaprovenance1, spdxjson, cyclonedx, vuln, openvex,
link) or the URI of a predicate type. --key and --keyless are the same as for
nixoci sign.`,
		Example: `  nixoci attest ghcr.io/org/web:1.2 --type spdx --key cosign.key
  nixoci attest ghcr.io/org/web:1.2 --type openvex --predicate vex.json --key cosign.key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.kind == "" {
				return usageError{hint.Add(errors.New("attest: --type is missing"), "closure, spdx, cyclonedx, or any other with --predicate FILE")}
			}
			if err := f.author.check("attest"); err != nil {
				return err
			}
			return a.attestImage(cmd.Context(), args[0], &f)
		},
	}
	f.registry.add(cmd)
	a.uses(cmd, "platform", "json")
	cmd.Flags().StringVar(&f.kind, "type", "", "type of the statement: closure, spdx or cyclonedx; with --predicate, another name or a URI")
	cmd.Flags().StringVar(&f.predicate, "predicate", "", "JSON file with the content of the statement")
	cmd.Flags().StringVar(&f.author.key, "key", "", "file with the private key")
	f.author.addKeyless(cmd, checksSignature)
	cmd.Flags().StringVar(&f.created, "created", "", "time in a bill of materials: RFC 3339, or seconds since 1970 (default $SOURCE_DATE_EPOCH, otherwise 1)")
	return cmd
}

// attestation holds a document, and the descriptor of the manifest that the document
// describes.
type attestation struct {
	about ocispec.Descriptor
	doc   oci.Artifact
}

// attestImage attaches a signed statement to the image that arg names.
func (a *app) attestImage(ctx context.Context, arg string, f *attestFlags) error {
	predicateType, err := attest.PredicateType(f.kind)
	if err != nil {
		return usageError{hint.Add(fmt.Errorf("--type: %w", err), "closure, spdx, cyclonedx, slsaprovenance1, vuln, openvex, link, or a URI")}
	}
	if err := checkReference(arg); err != nil {
		return err
	}
	ref, err := registry.ParseReference(arg)
	if err != nil {
		return usageError{err}
	}
	author, err := a.author(&f.author, &f.registry)
	if err != nil {
		return err
	}
	repo, err := registry.Open(ref.Repository, f.registry.options(a))
	if err != nil {
		return err
	}
	defer repo.Close()
	img, err := a.readImage(ctx, arg, &reading{registry: f.registry}, report.ReadOptions{Documents: true})
	if err != nil {
		return err
	}
	all, err := a.attestations(img, repo.Name(), predicateType, f)
	if err != nil {
		return err
	}
	type attached struct {
		Subject       string `json:"subject"`
		Digest        string `json:"digest"` // digest of the attached manifest
		PredicateType string `json:"predicateType"`
	}
	var result []attached
	for _, at := range all {
		sealed, err := attest.SealDocument(ctx, repo.Name(), at.about.Digest, at.doc, author)
		if err != nil {
			return err
		}
		made, err := repo.Attach(ctx, at.about, []oci.Artifact{sealed})
		if err != nil {
			return err
		}
		result = append(result, attached{at.about.Digest.String(), made[0].Digest.String(), predicateType})
	}
	a.done = true
	if a.json {
		return a.stdout.JSON(map[string]any{"ref": ref.String(), "attached": result})
	}
	a.stdout.Printf("%s@%s\n", repo.Name(), img.Descriptor.Digest)
	return a.stdout.Err()
}

// attestations returns the documents that f requests for img, which is in the repository name.
func (a *app) attestations(img *report.Image, name, predicateType string, f *attestFlags) (all []attestation, err error) {
	if f.predicate != "" {
		data, err := limit.ReadNamed(f.predicate, limit.Bundle)
		if err != nil {
			return nil, fmt.Errorf("read predicate: %w", err)
		}
		if err := attest.CheckPredicate(predicateType, data); err != nil {
			return nil, fmt.Errorf("read predicate: %s: %w", f.predicate, err)
		}
		about := []ocispec.Descriptor{img.Descriptor}
		if len(a.platforms) > 0 {
			about = nil
			for _, p := range img.Platforms {
				about = append(about, p.Descriptor)
			}
		}
		for _, d := range about {
			doc, err := attest.StatementDocument(name, d.Digest, predicateType, data)
			if err != nil {
				return nil, err
			}
			all = append(all, attestation{d, doc})
		}
		return all, nil
	}
	t, err := created(f.created)
	if err != nil {
		return nil, usageError{err}
	}
	for _, p := range img.Platforms {
		c, err := p.NixClosure()
		if err != nil {
			return nil, err
		}
		doc, err := document(c, p, predicateType, t)
		if err != nil {
			return nil, err
		}
		all = append(all, attestation{p.Descriptor, doc})
	}
	return all, nil
}

// document makes a document with this predicate type from the closure of an image.
func document(c *closure.Closure, p *report.ImagePlatform, predicateType string, created *time.Time) (oci.Artifact, error) {
	o := p.SBOMOptions()
	o.Created = created
	switch predicateType {
	case attest.ClosurePredicate:
		return attest.ClosureDocument(c, p.System())
	case attest.SPDXPredicate:
		return report.SBOM(c, report.FormatSPDX, o)
	case attest.CycloneDXPredicate:
		return report.SBOM(c, report.FormatCycloneDX, o)
	}
	return oci.Artifact{}, usageError{hint.Add(fmt.Errorf("attest: nixoci does not make %s itself", predicateType), "give its content with --predicate FILE")}
}
