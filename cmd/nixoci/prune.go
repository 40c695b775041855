package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/prune"
	"github.com/nixoci/nixoci/internal/registry"
)

// pruneFlags holds the flags of the command prune.
type pruneFlags struct {
	registry  registryFlags
	keep      int
	keepTags  []string
	olderThan string
	dryRun    bool
}

func (a *app) pruneCommand() *cobra.Command {
	var f pruneFlags
	cmd := &cobra.Command{
		Use:   "prune REPOSITORY",
		Short: "Delete old images of a repository, and nothing that a kept one needs",
		Long: `Delete old tags of a repository, with the platforms and the attached documents that
only they need. prune deletes nothing that a kept tag needs, directly or
through an index. If it cannot read a manifest, it deletes nothing at all.

If you give --keep and --older-than, nixoci deletes a tag only if both rules allow
it. Tags that match a --keep-tag stay. The tag latest always stays.

nixoci does not guess which tag is newer. If both images have a creation time
(push --created), it compares the times. Otherwise, if both tags are versions,
it compares the versions. A tag such as sha-4f2a9c stays if its image has no
creation time.

The registry's garbage collector frees the space. The registries of GitHub and
Docker Hub refuse deletes: use their web interface.`,
		Example: `  nixoci prune ghcr.io/org/web --keep 10 --keep-tag 'v*' --dry-run
  nixoci prune registry.example.org/web --older-than 30d --keep 3`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("keep") {
				f.keep = -1
			} else if f.keep < 1 {
				return usagef("--keep %d: less than one", f.keep)
			}
			return a.prune(cmd.Context(), args[0], &f)
		},
	}
	f.registry.add(cmd)
	a.uses(cmd, "json")
	fl := cmd.Flags()
	fl.IntVar(&f.keep, "keep", 0, "keep the newest N tags")
	fl.StringArrayVar(&f.keepTags, "keep-tag", nil, "keep the tags that match this glob; can be repeated")
	fl.StringVar(&f.olderThan, "older-than", "", "delete only images that are older, such as 30d or 12h")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print what prune would delete, and delete nothing")
	return cmd
}

// parseAge parses an age: a number of days or hours, or a duration with Go's units.
func parseAge(s string) (time.Duration, error) {
	if d, ok := human.ParseAge(s); ok {
		return d, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, usagef("--older-than %q: not an age such as 30d or 12h", s)
	}
	return d, nil
}

func (a *app) prune(ctx context.Context, arg string, f *pruneFlags) error {
	if err := checkReference(arg); err != nil {
		return err
	}
	ref, err := registry.ParseReference(arg)
	if err != nil {
		return usageError{err}
	}
	if ref.Digest != "" || strings.LastIndex(arg, ":") > strings.LastIndex(arg, "/") {
		return usageError{hint.Add(fmt.Errorf("prune %s: this is one image, not a repository", arg), "give the name without tag and digest")}
	}
	rules := prune.Rules{Keep: f.keep, KeepTags: f.keepTags, Now: time.Now()}
	if f.olderThan != "" {
		if rules.OlderThan, err = parseAge(f.olderThan); err != nil {
			return err
		}
	}
	if rules.Keep < 0 && rules.OlderThan == 0 {
		return usageError{hint.Add(errors.New("prune: no rule says what to delete"), "give --keep, --older-than, or both")}
	}
	for _, glob := range f.keepTags {
		if _, err := path.Match(glob, ""); err != nil {
			return usagef("--keep-tag %q: %w", glob, err)
		}
	}
	o := f.registry.options(a)
	o.ReadOnly, o.Delete = f.dryRun, !f.dryRun
	repo, err := registry.Open(ref.Repository, o)
	if err != nil {
		return err
	}
	defer repo.Close()
	inventory, err := prune.Read(ctx, repo)
	if err != nil {
		return fmt.Errorf("nothing is deleted: %w", err)
	}
	plan := inventory.Choose(rules)
	var done []string
	if !f.dryRun {
		err = plan.Run(ctx, repo, func(what string) { done = append(done, what) })
		if errors.Is(err, registry.ErrUnsupported) {
			err = hint.Add(err, "ask whoever runs the registry to allow deletes, or use its own interface")
		}
		if err != nil {
			return fmt.Errorf("%w (%d of %d deleted)", err, len(done), len(plan.Deletes)+len(plan.Untags))
		}
	}
	if a.json {
		return a.stdout.JSON(struct {
			*prune.Cleanup
			DryRun  bool     `json:"dryRun"`
			Deleted []string `json:"deleted"`
		}{plan, f.dryRun, done})
	}
	a.printPrune(plan, f.dryRun, len(done))
	return a.stdout.Err()
}

func (a *app) printPrune(p *prune.Cleanup, dryRun bool, done int) {
	var rows [][]string
	kept := 0
	for _, t := range p.Tags {
		what := "delete"
		if !t.Delete {
			what = "keep"
			kept++
		}
		rows = append(rows, []string{what, t.Tag, t.Reason})
	}
	a.stdout.Table("", rows)
	if len(p.Deletes) > 0 {
		a.stdout.Printf("\nmanifests that only these need:\n")
	}
	for _, d := range p.Deletes {
		a.stdout.Printf("  %s\n", d.String())
	}
	a.printUndated(p.Tags)
	if dryRun {
		a.stdout.Printf("\n%d of %s would be kept, and %s deleted\n", kept, human.Count(len(p.Tags), "tag"), human.Count(len(p.Deletes), "manifest"))
		return
	}
	a.stdout.Printf("\n%d of %s kept; %d of %s deleted\n", kept, human.Count(len(p.Tags), "tag"), done, human.Count(len(p.Deletes)+len(p.Untags), "manifest"))
}

// printUndated explains what the user can do about tags that are kept because their age is
// unknown.
func (a *app) printUndated(tags []prune.Fate) {
	n := 0
	for _, t := range tags {
		if t.Undated {
			n++
		}
	}
	switch n {
	case 0:
		return
	case 1:
		a.stdout.Printf("\n1 tag stays only because nothing says how new it is. Delete it by hand if nobody needs it.\n")
	default:
		a.stdout.Printf("\n%d tags stay only because nothing says how new they are. If nobody needs one of these tags, delete the tag by hand.\n", n)
	}
	a.stdout.Printf("If you push with --created, for instance with the time of the commit, prune can compare tags.\n")
}
