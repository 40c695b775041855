package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/registry"
)

// pushFlags holds the flags of the command push.
type pushFlags struct {
	registry  registryFlags
	tags      []string
	mountFrom []string
	reuse     reuseFlags
	join      bool
	attest    []string
	author    authorFlags
	builder   string
	summary   string
	rebuild   *rebuilder
	meta      metaFlags
}

func (a *app) pushCommand() *cobra.Command {
	var f pushFlags
	var img imageFlags
	var in closureFlags
	cmd := &cobra.Command{
		Use:   "push REF [CLOSURE...]",
		Short: "Assemble an image and push it to a registry",
		Long: `Assemble an image of one or several platforms and push it to a registry. push
prints only REF@digest on stdout.

Each layer has an ID computed from its inputs. If the registry already has a
layer with that ID, nixoci does not make the layer again. nixoci moves the tags
last, when the whole image is in the registry.`,
		Example: `  nixoci push ghcr.io/org/web ./result
  nixoci push ghcr.io/org/web:1.2 --tag latest x86_64-linux=./result aarch64-linux=./result-arm
  nixoci push ghcr.io/org/web .#web --platform linux/amd64,linux/arm64
  nixoci push ghcr.io/org/hello nixpkgs#hello
  nixoci push ghcr.io/org/web --from https://cache.nixos.org /nix/store/…-nixos-system-web-26.05`,
		RunE: func(cmd *cobra.Command, args []string) error {
			closures, err := in.spec.apply(cmd.Flags(), args[1:], &img, &in)
			if err != nil {
				return err
			}
			f.rebuild = newRebuilder(cmd.Flags(), a, &in)
			return a.push(cmd.Context(), args[0], closures, &f, &img, &in)
		},
	}
	fl := cmd.Flags()
	f.registry.add(cmd)
	fl.StringArrayVarP(&f.tags, "tag", "t", nil, "another tag for the same image; can be repeated")
	fl.StringArrayVar(&f.mountFrom, "mount-from", nil, "another repository of the same registry to mount layers from; can be repeated")
	f.reuse.add(fl)
	fl.BoolVar(&f.join, "join", false, "keep the other platforms of the index that REF names now")
	fl.StringSliceVar(&f.attest, "attest", nil, "documents to attach to the image: closure, sbom (or spdx, spdx3, cyclonedx), vex, provenance")
	fl.StringVar(&f.author.key, "key", "", "file with a private key: also attach a signed statement of each document that --attest names")
	f.author.addKeyless(cmd, checksSignature)
	fl.StringVar(&f.builder, "builder-id", "", "URI that names the builder in the provenance (default: the platform, if it is a runner of GitHub or GitLab, otherwise "+attest.DefaultBuilder+")")
	fl.StringVar(&f.summary, "summary", "", "append a markdown report of the changes to this file, for a reviewer; none turns it off (default $GITHUB_STEP_SUMMARY, otherwise none)")
	f.meta.add(fl)
	img.add(fl)
	in.add(fl, &f.registry)
	in.base.add(fl)
	in.spec.add(fl)
	a.uses(cmd, "from", "platform", "jobs", "min-speed", "json")
	return cmd
}

func (a *app) push(ctx context.Context, refArg string, closures []string, f *pushFlags, img *imageFlags, in *closureFlags) error {
	start := time.Now()
	ref, tags, err := pushReference(refArg, f.tags)
	if err != nil {
		return err
	}
	opts, err := a.newOptions(img)
	if err != nil {
		return err
	}
	documents, err := a.documents(f, &opts, closures, in)
	if err != nil {
		return err
	}
	remote := f.registry.options(a)
	remote.MountFrom = f.mountFrom
	repo, err := registry.Open(ref.Repository, remote)
	if err != nil {
		return err
	}
	defer repo.Close()
	opts.Tags, opts.Join = tags, f.join
	opts.SampleClaims = closure.IsLocal(a.from)
	if err := a.setReuse(&opts, repo, ref, f, in.planFlags.from); err != nil {
		return err
	}
	base, baseSource, err := a.openBase(&in.base, &f.registry)
	if err != nil {
		return err
	}
	defer baseSource.Close()
	baseSource.mountInto(repo)
	systems, err := a.systems(ctx, closures, in, img, a.systemReader(&opts, base))
	if err != nil {
		return err
	}
	previous, err := a.previousIn(ctx, repo, &opts, &in.planFlags)
	if err != nil {
		return err
	}
	images, err := a.plan(ctx, systems, &in.planFlags, previous)
	if err != nil {
		return err
	}
	meta, err := a.packageMetaOf(ctx, images, &f.meta, in)
	if err != nil {
		return err
	}
	review := a.newReview(ctx, f, &opts, repo)
	result, err := a.pushImages(ctx, repo, images, opts)
	if err != nil {
		return err
	}
	if err := a.attach(ctx, repo, &result, images, meta, documents); err != nil {
		return err
	}
	stats := repo.Stats()
	a.printOutcome(result, "the registry", a.spent(start, &stats))
	if err := a.printResult(ref.Repository.Name()+":"+ref.Tag, result, &stats); err != nil {
		return err
	}
	return review.write(ctx, repo, ref, &result, &stats)
}

// previousIn returns the image in repo that the push replaces, for --plan-from auto.
func (a *app) previousIn(ctx context.Context, repo *registry.Repository, opts *push.Options, f *planFlags) (*previousImage, error) {
	flag, err := f.autoFlag()
	if err != nil || flag == "" {
		return &previousImage{}, err
	}
	plans, name, err := opts.PredecessorPlans(ctx, repo, f.history)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return &previousImage{name, plans}, nil
}

// pushReference parses refArg and checks the tags in more. It returns each tag once.
func pushReference(refArg string, more []string) (ref registry.Reference, tags []string, err error) {
	if err := checkPushReference("nixoci push", refArg); err != nil {
		return ref, nil, err
	}
	if ref, err = registry.ParseReference(refArg); err != nil {
		return ref, nil, usageError{err}
	}
	if ref.Digest != "" {
		return ref, nil, usageError{hint.Add(fmt.Errorf("push to %s: you cannot choose the digest of an image", ref), "give a tag, or none for latest")}
	}
	tags = []string{ref.Tag}
	for _, t := range more {
		if _, err := registry.ParseReference(ref.Repository.Name() + ":" + t); err != nil {
			return ref, nil, usagef("--tag %q: %w", t, err)
		}
		if !slices.Contains(tags, t) {
			tags = append(tags, t)
		}
	}
	return ref, tags, nil
}

// newOptions returns the options of a push or build, as far as the image's flags decide them.
func (a *app) newOptions(img *imageFlags) (push.Options, error) {
	comp, settings, err := img.settings()
	if err != nil {
		return push.Options{}, err
	}
	return push.Options{
		Compression: comp,
		Settings:    settings,
		Packer:      layers.NewPacker(a.jobs),
		Cache:       a.cache,
		Settle:      joinSettle,
		Warn:        func(err error) { a.log.Warn(err) },
	}, nil
}

// pushImages puts the images into dst and shows the progress.
func (a *app) pushImages(ctx context.Context, dst oci.Destination, images []push.PlannedSystem, opts push.Options) (push.Result, error) {
	p := a.newProgress()
	defer p.end()
	opts.Progress = p
	if repo, ok := dst.(*registry.Repository); ok {
		p.keeps = true // after an interruption, the finished layers stay in the registry and their digests stay in the cache
		p.sent = func() int64 { return repo.Stats().BytesSent }
	}
	return push.Push(ctx, dst, images, opts)
}
