package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/doctor"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/terminal"
)

func (a *app) doctorCommand() *cobra.Command {
	var f registryFlags
	var write bool
	cmd := &cobra.Command{
		Use:   "doctor IMAGE",
		Short: "Find out what a registry, an account and the network can do",
		Long: `Test what the registry of IMAGE can do, and explain what each result means for
nixoci. doctor checks address, clock, login, scopes, reading, ranges, referrers
and tag lists.

With --write it also uploads a small blob and a manifest without a tag, and
deletes both. This checks the permission to push, mounts, zstd, media types and
deletes.

Exit code 3 means that a push or a pull will fail.`,
		Example: `  nixoci doctor ghcr.io/org/web
  nixoci doctor --write registry.example.org/org/web:latest`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.doctor(cmd.Context(), args[0], write, &f)
		},
	}
	f.add(cmd)
	a.uses(cmd, "json")
	cmd.Flags().BoolVar(&write, "write", false, "also upload a small blob and a manifest, and delete them")
	return cmd
}

func (a *app) doctor(ctx context.Context, arg string, write bool, f *registryFlags) error {
	if err := checkReference(arg); err != nil {
		return err
	}
	ref, err := registry.ParseReference(arg)
	if err != nil {
		return usageError{err}
	}
	o := f.options(a)
	o.ReadOnly, o.Delete = !write, write
	repo, err := registry.Open(ref.Repository, o)
	if err != nil {
		return err
	}
	defer repo.Close()
	checks, err := doctor.Examine(ctx, repo, ref.TagOrDigest(), write)
	if err != nil {
		return err
	}
	if a.json {
		err = a.stdout.JSON(struct {
			Ref    string         `json:"ref"`
			Checks []doctor.Probe `json:"checks"`
		}{ref.String(), checks})
	} else {
		a.printChecks(ref, checks)
		err = a.stdout.Err()
	}
	if err != nil {
		return err
	}
	var bad []string
	for _, c := range checks {
		if c.State == doctor.Bad {
			bad = append(bad, c.Name)
		}
	}
	if len(bad) > 0 {
		return mismatchError{fmt.Errorf("doctor %s: %s", ref, strings.Join(bad, ", "))}
	}
	return nil
}

func (a *app) printChecks(ref registry.Reference, checks []doctor.Probe) {
	marks := map[doctor.State]terminal.Own{doctor.Yes: "✓", doctor.No: "–", doctor.Bad: "✗", doctor.Unknown: "?"}
	a.stdout.Printf("%s\n\n", ref)
	for _, c := range checks {
		a.stdout.Printf("%s %-12s %s\n  %-12s → %s\n", marks[c.State], c.Name, c.Found, "", c.Means)
	}
}
