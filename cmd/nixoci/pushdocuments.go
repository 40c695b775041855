package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nixbuild"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/report"
)

// These are values of --attest. The formats of the command sbom are also values of
// --attest.
const (
	attestClosure    = "closure"
	attestSBOM       = "sbom" // an SBOM in the default format of the command sbom
	attestProvenance = "provenance"
	attestVEX        = "vex"
)

// pushDocuments describes the documents that a push attaches to its image.
type pushDocuments struct {
	attest.Documents
	sbomFormats []string
	created     *time.Time // time in the bills of materials
}

// documents returns the documents that a push must attach, according to its flags.
func (a *app) documents(f *pushFlags, opts *push.Options, closures []string, in *closureFlags) (*pushDocuments, error) {
	d, err := documentsToAttach(f.attest, opts)
	if err != nil {
		return nil, err
	}
	if err := checkMeta(f, closures, closure.LocalRoot(a.from)); err != nil {
		return nil, err
	}
	if d.Author, err = a.attestAuthor(f); err != nil {
		return nil, err
	}
	if d.Provenance {
		in.sources = true
		a.describeBuild(&d.Build, f.builder)
		d.Build.Rebuild = f.rebuild.command(&opts.Settings)
		if d.Author != nil && d.Build.Builder == "" {
			a.log.Warn("the provenance is signed, but names no builder: --builder-id URI names it; without, the provenance is good for SLSA build level 1 only")
		}
	}
	return d, nil
}

// checkMeta returns an error, before anything is pushed, if --meta is given but no document
// would contain the metadata.
func checkMeta(f *pushFlags, closures []string, root string) error {
	switch {
	case !f.meta.given():
		if slices.Contains(f.attest, attestVEX) {
			return usageError{hint.Add(errors.New("--attest vex: nixoci finds the patches of a package only if Nix evaluates the configuration"), "add --meta, or --meta-from .#web")}
		}
		return nil
	case !slices.ContainsFunc(f.attest, func(k string) bool { return k != attestClosure && k != attestProvenance }):
		return usageError{hint.Add(errors.New("--meta has no effect, because --attest names neither a bill of materials nor vex"), "add --attest sbom, or --attest vex")}
	}
	return f.meta.check(closures, root)
}

// describeBuild adds to b the facts that only the building machine knows.
func (a *app) describeBuild(b *attest.Build, builder string) {
	platform := attest.PlatformOf(os.Getenv)
	b.Builder, b.Checkout = cmp.Or(builder, platform.Builder), platform.Checkout
	b.Built = a.built // the run adds to it what it builds
	var err error
	if b.Program, err = programDigest(); err != nil {
		a.log.Warnf("the provenance does not have nixoci's own digest: %v", err)
	}
}

// programDigest returns the digest of the running program's file. It reads the file only once.
var programDigest = sync.OnceValues(func() (digest.Digest, error) {
	name, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digest.FromReader(f)
})

// attestAuthor returns who signs the documents of a push, or nil if nobody signs them.
func (a *app) attestAuthor(f *pushFlags) (attest.Author, error) {
	if err := f.author.check(""); err != nil {
		return nil, err
	}
	if f.author.given() && len(f.attest) == 0 {
		flag := "--key"
		if f.author.keyless != "" {
			flag = "--keyless"
		}
		return nil, usageError{hint.Add(fmt.Errorf("%s: it signs the documents of --attest, but --attest is not given", flag), "to sign the image itself: nixoci sign")}
	}
	return a.author(&f.author, &f.registry)
}

// attach attaches the documents to the pushed image. meta contains the metadata of packages, by
// toplevel.
func (a *app) attach(ctx context.Context, repo *registry.Repository, result *push.Result, images []push.PlannedSystem, meta map[closure.StorePath]nixbuild.PackageMeta, d *pushDocuments) error {
	if !d.Closure && !d.Provenance && len(d.sbomFormats) == 0 {
		return nil
	}
	attacher, err := attest.NewAttacher(ctx, repo, result.Index.Digest, d.Documents)
	if err != nil {
		return err
	}
	for _, image := range images {
		sys := image.System
		sboms, err := report.SBOMs(sys, d.sbomFormats, report.SBOMOptions{Created: d.created, Meta: meta[sys.Toplevel]})
		if err != nil {
			return err
		}
		if err := attacher.ToPlatform(ctx, sys, sboms); err != nil {
			return err
		}
	}
	if err := attacher.ToIndex(ctx); err != nil {
		return err
	}
	if !a.quiet {
		a.stderr.Printf("%s\n", attachedText(attacher.Added, attacher.Known))
	}
	return nil
}

// attachedText describes what a push has attached, and what was attached before.
func attachedText(added, known attest.Counts) string {
	text := func(c attest.Counts) string {
		var parts []string
		if c.Documents > 0 {
			parts = append(parts, human.Count(c.Documents, "document"))
		}
		if c.Statements > 0 {
			parts = append(parts, human.Count(c.Statements, "signed statement"))
		}
		return strings.Join(parts, " and ")
	}
	const to = "attached to the image's index and platforms: "
	none := attest.Counts{}
	switch {
	case added == none && known == none: // only a document of --attest vex can be left out
		return "attached nothing: no patch of the packages is named after a CVE"
	case known == none:
		return to + text(added)
	case added == none:
		return "already " + to + text(known)
	}
	return to + text(added) + "; already attached: " + text(known)
}

// documentsToAttach returns the documents that --attest names. opts contains the build
// settings for the provenance.
func documentsToAttach(kinds []string, opts *push.Options) (*pushDocuments, error) {
	d := &pushDocuments{created: opts.Settings.Created}
	d.Build = attest.Build{Version: version, Format: manifest.CurrentFormat,
		Compression: opts.Compression.String(), Settings: attest.BuildSettings(&opts.Settings)}
	for _, k := range kinds {
		switch k {
		case attestClosure:
			d.Closure = true
		case attestProvenance:
			d.Provenance = true
		case attestSBOM, report.FormatSPDX, report.FormatSPDX3, report.FormatCycloneDX, attestVEX:
			switch k {
			case attestSBOM:
				k = report.FormatSPDX
			case attestVEX:
				k = report.FormatOpenVEX
			}
			if !slices.Contains(d.sbomFormats, k) {
				d.sbomFormats = append(d.sbomFormats, k)
			}
		default:
			return nil, usageError{hint.Add(fmt.Errorf("--attest %q: unknown", k), "closure, sbom (or spdx, spdx3, cyclonedx), vex, provenance")}
		}
	}
	return d, nil
}
