package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/verify"
)

type verifyFlags struct {
	registry  registryFlags
	keepGoing bool
}

func (a *app) verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify REF",
		Short: "Check that an image is what it claims to be",
		Long: `Check that an image is what it claims to be, without believing the image, the
registry or whoever pushed it: every digest, every layer's canonical form, every
store path's narHash, the Nix database, and the system layer, config, manifest
and index, which are made again and compared.

REF is a reference, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE.
Exit code 3 and the first difference if the image is not what it claims to be.`,
		Example: `  nixoci verify ghcr.io/org/web:1.2
  nixoci verify --keep-going oci:./web`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.verify(cmd.Context(), args[0], &f)
		},
	}
	f.registry.add(cmd)
	cmd.Flags().BoolVar(&f.keepGoing, "keep-going", false, "look for all differences, not the first alone")
	return cmd
}

func (a *app) verify(ctx context.Context, ref string, f *verifyFlags) error {
	o := verify.Options{KeepGoing: f.keepGoing, Jobs: a.jobs}
	var err error
	if o.Platforms, err = a.parsePlatforms(); err != nil {
		return err
	}
	src, err := push.OpenSource(ref, f.registry.options())
	if err != nil {
		return err
	}
	defer src.Close()
	report, err := verify.Image(ctx, src, o)
	if err != nil {
		return err
	}
	a.done = true
	if a.json {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(report)
	} else if !a.quiet {
		err = report.WriteText(a.stdout)
	}
	if err != nil || report.OK {
		return err
	}
	for _, found := range report.Findings[1:] {
		fmt.Fprintln(a.stderr, a.paint(red, "nixoci:"), found)
	}
	return mismatchError{errors.New(report.Findings[0].String())}
}
