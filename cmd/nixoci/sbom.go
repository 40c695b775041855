package main

import (
	"bufio"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/report"
)

func (a *app) sbomCommand() *cobra.Command {
	var f reading
	var meta metaFlags
	var format, createdFlag string
	cmd := &cobra.Command{
		Use:   "sbom [REF|CLOSURE]",
		Short: "Print the software bill of materials of an image or a closure",
		Long: `Print the software bill of materials of an image or a closure. It has one entry
for each store path, with its narHash, its references and its derivation. For an
image, it also lists nixoci-init, and Go's standard library as a part of it.
With --format table, sbom prints a table for people.

With --meta, the document contains licences, homepages, CPEs and maintainers
from nixpkgs, and the CVEs for which nixpkgs applies patches.

The same closure gives the same bytes. The time in the document is --created or
SOURCE_DATE_EPOCH. Without both, it is the time of Nix's store files. sbom never
uses the clock.`,
		Example: `  nixoci sbom ./result --format cyclonedx
  nixoci sbom ghcr.io/org/web --platform linux/arm64`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := report.SBOMMediaType(format); err != nil && format != report.FormatTable {
				return usageError{err}
			}
			t, err := created(createdFlag)
			if err != nil {
				return usageError{err}
			}
			if format == report.FormatOpenVEX && !meta.given() {
				return usageError{hint.Add(errors.New("--format openvex: nixoci finds the patches of a package only if Nix evaluates the configuration"), "add --meta, or --meta-from .#web")}
			}
			if err := meta.check(args, closure.LocalRoot(a.from)); err != nil {
				return err
			}
			c, o, err := a.closureOf(cmd.Context(), args, &f)
			if err != nil {
				return err
			}
			o.Created = t
			if o.Meta, err = a.packageMeta(cmd.Context(), &meta, &f.closure, c, o.System); err != nil {
				return err
			}
			if format == report.FormatTable {
				return report.WriteSBOMTable(a.stdout, c, o)
			}
			w := bufio.NewWriter(a.stdout.Raw())
			if err := report.WriteSBOM(w, c, format, o); err != nil {
				return err
			}
			return w.Flush()
		},
	}
	f.registry.add(cmd)
	f.closure.addTrust(cmd.Flags())
	a.uses(cmd, "from", "platform", "min-speed")
	meta.add(cmd.Flags())
	cmd.Flags().StringVar(&format, "format", report.FormatSPDX, "format of the document: spdx (SPDX 2.3 JSON), spdx3 (SPDX 3.0.1 JSON-LD) or cyclonedx (CycloneDX 1.6 JSON); openvex, for the vulnerabilities that patches fix (needs --meta); or table, for people")
	cmd.Flags().StringVar(&createdFlag, "created", "", "time in the document: RFC 3339, or seconds since 1970 (default $SOURCE_DATE_EPOCH, otherwise 1)")
	return cmd
}

// closureOf returns the closure for the SBOM: the closure of an image's platform, or the
// closure that a CLOSURE argument names. It also returns the options of the SBOM.
func (a *app) closureOf(ctx context.Context, args []string, f *reading) (*closure.Closure, report.SBOMOptions, error) {
	if len(args) == 0 || isClosure(args[0]) {
		if err := a.askForClosure(args, "nixoci sbom"); err != nil {
			return nil, report.SBOMOptions{}, err
		}
		c, err := a.readClosure(ctx, args, f)
		return c.Closure, report.SBOMOptions{System: c.System}, err
	}
	img, err := a.readImage(ctx, args[0], f, report.ReadOptions{Documents: true})
	if err != nil {
		return nil, report.SBOMOptions{}, err
	}
	p, err := img.Only()
	if err != nil {
		return nil, report.SBOMOptions{}, err
	}
	c, err := p.NixClosure()
	return c, p.SBOMOptions(), err
}
