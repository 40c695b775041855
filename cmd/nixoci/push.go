package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nixbuild"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/retry"
)

// registryFlags holds the flags for the connection to a registry.
type registryFlags struct {
	insecure bool
	caFile   string
}

func (r *registryFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&r.insecure, "insecure", false, "allow plain http and untrusted certificates; plain http to loopback addresses is always allowed")
	cmd.Flags().StringVar(&r.caFile, "ca-file", "", "PEM file with certificate authorities to trust in addition to the system's")
}

func (r *registryFlags) options(a *app) registry.Options {
	return registry.Options{Insecure: r.insecure, MinSpeed: a.leastSpeed(), CAFile: r.caFile, UserAgent: "nixoci/" + version, Retry: retryPolicy}
}

// retryPolicy decides how often a request is tried again, and how long nixoci waits before.
// Tests set shorter waits.
var retryPolicy retry.Policy

// pushFlags holds the flags of the command push.
type pushFlags struct {
	registry  registryFlags
	tags      []string
	mountFrom []string
	reuse     string
	reuseFrom []string
	reuseKey  string
	check     string
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
	fl.StringVar(&f.reuse, "reuse", "registry,local", "where to look up layers that were built before: registry, local, both or none")
	fl.StringArrayVar(&f.reuseFrom, "reuse-from", nil, "another image whose layers may be reused, in addition to the image that REF names now; can be repeated")
	fl.StringVar(&f.reuseKey, "reuse-key", "", "file with a public key: reuse layers only from registry images that this key has signed")
	fl.StringVar(&f.check, "reuse-check", "0%", "share of the reused layers to make again and compare, such as 5%; if a layer differs, the push fails")
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

// These values of --reuse stand for both sources, or for no source.
const (
	reuseBoth = "both"
	reuseNone = "none"
)

// reuse is the parsed value of --reuse: the sources in which nixoci looks for layers that
// were made before.
type reuse struct{ local, registry bool }

func parseReuse(s string) (r reuse, err error) {
	switch s {
	case reuseNone:
		return r, nil
	case reuseBoth:
		return reuse{local: true, registry: true}, nil
	}
	for _, who := range strings.Split(s, ",") {
		switch who {
		case "local":
			r.local = true
		case "registry":
			r.registry = true
		default:
			return r, usageError{hint.Add(fmt.Errorf("--reuse %q: not registry, local, both or none", s), didYouMean(who, "registry", "local", reuseBoth, reuseNone))}
		}
	}
	return r, nil
}

func (a *app) push(ctx context.Context, refArg string, closures []string, f *pushFlags, img *imageFlags, in *closureFlags) error {
	start := time.Now()
	ref, tags, err := pushReference(refArg, f.tags)
	if err != nil {
		return err
	}
	believe, err := parseReuse(f.reuse)
	if err != nil {
		return err
	}
	share, err := parseShare(f.check)
	if err != nil {
		return err
	}
	job, err := a.job(img)
	if err != nil {
		return err
	}
	documents, err := a.documents(ctx, f, &job, closures, in)
	if err != nil {
		return err
	}
	job.ReuseCheck, job.SampleClaims = share, closure.IsLocal(a.from)
	opts := f.registry.options(a)
	opts.MountFrom = f.mountFrom
	repo, err := registry.Open(ref.Repository, opts)
	if err != nil {
		return err
	}
	defer repo.Close()
	job.Tags, job.Join = tags, f.join
	if !believe.local {
		job.Cache = job.Cache.WriteOnly()
	}
	if believe.registry {
		if err := a.reuseFrom(&job, repo, ref, f, in.planFlags.from); err != nil {
			return err
		}
	}
	base, baseSource, err := a.openBase(&in.base, &f.registry)
	if err != nil {
		return err
	}
	if job.Base = base; base != nil {
		defer baseSource.Close()
		baseSource.mountInto(repo)
	}
	in.planFlags.auto = func(ctx context.Context) ([]plan.Known, string, error) { return predecessorPlans(ctx, &job, repo) }
	images, err := a.imagesToPush(ctx, closures, f, in, job, img)
	if err != nil {
		return err
	}
	review := a.newReview(ctx, f, &job, repo)
	result, err := a.run(ctx, repo, images, job)
	if err != nil {
		return err
	}
	if err := a.attach(ctx, repo, &result, images, documents); err != nil {
		return err
	}
	stats := repo.Stats()
	a.summary(result, "the registry", a.spent(start, &stats))
	if err := a.printResult(ref.Repository.Name()+":"+ref.Tag, result, &stats); err != nil {
		return err
	}
	return review.write(ctx, repo, ref, &result, &stats)
}

// imagesToPush returns the images to push. It also asks Nix for the metadata of their
// packages, because an evaluation that fails must fail before anything is pushed.
func (a *app) imagesToPush(ctx context.Context, closures []string, f *pushFlags, in *closureFlags, job push.Job, img *imageFlags) ([]push.PlannedSystem, error) {
	images, err := a.images(ctx, closures, in, job, img)
	for _, image := range images {
		if err == nil {
			_, err = a.metaOf(ctx, &f.meta, closures, in, image.System)
		}
	}
	return images, err
}

// predecessorPlans returns the plans and the name of the image that a push will
// replace.
func predecessorPlans(ctx context.Context, job *push.Job, repo *registry.Repository) ([]plan.Known, string, error) {
	r, err := job.Predecessor(ctx, repo)
	if err != nil || r == nil {
		return nil, "", err
	}
	known, err := r.Plans(ctx)
	return known, r.String(), err
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

// reuseFrom adds to job the images from which it may reuse layers. These are the images that
// the pushed tags and the tag latest name now, and the images of --reuse-from and
// --plan-from. If none of them exists, the job uses the newest image of the repository.
func (a *app) reuseFrom(job *push.Job, repo *registry.Repository, ref registry.Reference, f *pushFlags, planFrom []string) error {
	job.ReuseNamed(repo)
	for _, from := range f.reuseFrom {
		r, err := a.openRemote(from, repo, ref, &f.registry)
		if err != nil {
			return err
		}
		job.AddReuse(r)
	}
	for _, from := range planFrom {
		if r, err := registry.ParseReference(from); err == nil && r.Repository.Name() == ref.Repository.Name() {
			job.AddReuse(push.NewRemote(repo, r.TagOrDigest()))
		}
	}
	key, err := readPublicKey(f.reuseKey)
	if err != nil {
		return fmt.Errorf("--reuse-key: %w", err)
	}
	for _, r := range job.Reuse {
		requireSignature(r, key)
	}
	job.ReuseElse = func(ctx context.Context) ([]*push.Remote, error) {
		newest, err := push.Newest(ctx, repo)
		for _, r := range newest {
			requireSignature(r, key)
		}
		return newest, err
	}
	return nil
}

// documents returns the documents that a push must attach, according to its flags.
func (a *app) documents(ctx context.Context, f *pushFlags, job *push.Job, closures []string, in *closureFlags) (*attest.Documents, error) {
	d, err := documentsToAttach(f.attest, job, func(sys *manifest.System) (map[closure.StorePath]*nixbuild.Meta, error) {
		return a.metaOf(ctx, &f.meta, closures, in, sys)
	})
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
		a.sources = true
		a.describeBuild(&d.Build, f.builder)
		d.Build.Rebuild = f.rebuild.command(&job.Settings)
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
			return usageError{hint.Add(errors.New("--attest vex: only an evaluation tells which patches a package has"), "add --meta, or --meta-from .#web")}
		}
		return nil
	case !slices.ContainsFunc(f.attest, func(k string) bool { return k != attestClosure && k != attestProvenance }):
		return usageError{hint.Add(errors.New("--meta: no bill of materials is attached"), "add --attest sbom, or --attest vex")}
	}
	_, err := f.meta.target(closures, root)
	return err
}

// describeBuild adds to b the facts that only the building machine knows.
func (a *app) describeBuild(b *attest.Build, builder string) {
	platform := attest.PlatformOf(os.Getenv)
	b.Builder, b.Checkout = cmp.Or(builder, platform.Builder), platform.Checkout
	b.Sources = func(root closure.StorePath) *nixbuild.Built { return a.built[root] }
	var err error
	if b.Program, err = programDigest(); err != nil {
		a.log.Warnf("the provenance does not have nixoci's own digest: %v", err)
	}
}

// programDigest returns the digest of the running program's file.
func programDigest() (digest.Digest, error) {
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
}

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

// readPublicKey reads the key in file. It returns nil if file is empty.
func readPublicKey(file string) (*attest.PublicKey, error) {
	if file == "" {
		return nil, nil
	}
	data, err := limit.ReadNamed(file, limit.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	key, err := attest.ParsePublicKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// requireSignature makes r accept only images with a signature by key. If key is nil, it does
// nothing.
func requireSignature(r *push.Remote, key *attest.PublicKey) {
	if key == nil {
		return
	}
	r.RequireSignature(func(ctx context.Context, src oci.Reader, d ocispec.Descriptor) error {
		_, err := attest.Verify(ctx, src, d.Digest, attest.Signer{Key: key})
		return err
	})
}

// parseShare parses a percentage. The sign "%" may be missing.
func parseShare(s string) (float64, error) {
	percent, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(percent >= 0 && percent <= 100) {
		return 0, usagef("--reuse-check %q: not between 0%% and 100%%", s)
	}
	return percent / 100, nil
}

// openRemote opens the image that reference names. If the image is in the repository to which
// nixoci pushes, openRemote uses repo.
func (a *app) openRemote(reference string, repo *registry.Repository, of registry.Reference, f *registryFlags) (*push.Remote, error) {
	if err := checkReference(reference); err != nil {
		return nil, fmt.Errorf("--reuse-from: %w", err)
	}
	ref, err := registry.ParseReference(reference)
	if err != nil {
		return nil, usagef("--reuse-from: %w", err)
	}
	if ref.Repository.Name() == of.Repository.Name() {
		return push.NewRemote(repo, ref.TagOrDigest()), nil
	}
	o := f.options(a)
	o.ReadOnly = true
	other, err := registry.Open(ref.Repository, o)
	if err != nil {
		return nil, err
	}
	return push.NewRemote(other, ref.TagOrDigest()), nil
}

// attach attaches the documents to the pushed image.
func (a *app) attach(ctx context.Context, repo *registry.Repository, result *push.Result, images []push.PlannedSystem, documents *attest.Documents) error {
	if documents.None() {
		return nil
	}
	var systems []*manifest.System
	for _, image := range images {
		systems = append(systems, image.System)
	}
	n, err := attest.Attach(ctx, repo, result.Index.Digest, systems, documents)
	if err != nil {
		return err
	}
	if !a.quiet {
		signed := ""
		if documents.Author != nil {
			signed = ", each also signed"
		}
		a.stderr.Printf("attached to the image's index and platforms: %s%s\n", human.Count(n, "document"), signed)
	}
	return nil
}

// job makes the job for an image from its flags.
func (a *app) job(img *imageFlags) (push.Job, error) {
	comp, settings, err := img.settings()
	if err != nil {
		return push.Job{}, err
	}
	return push.Job{
		Compression: comp,
		Settings:    settings,
		Packer:      layers.NewPacker(a.jobs),
		Cache:       a.cache,
		Warn:        func(err error) { a.log.Warn(err) },
	}, nil
}

// run pushes the images and shows the progress.
func (a *app) run(ctx context.Context, dst oci.Destination, images []push.PlannedSystem, job push.Job) (push.Result, error) {
	p := a.newProgress()
	defer p.end()
	job.Progress = p
	if repo, ok := dst.(*registry.Repository); ok {
		p.keeps = true // after an interruption, the finished layers stay in the registry and their digests stay in the cache
		p.sent = func() int64 { return repo.Stats().BytesSent }
	}
	return push.Push(ctx, dst, images, job)
}

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

// summary prints on stderr what a push or build has put into the destination. spent describes
// how long it took.
func (a *app) summary(r push.Result, destination, spent string) {
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
	how += baseSummary(r.Base)
	a.stderr.Printf("%s: %s in %s, %s compressed: %s; %s\n", platformList(r.Platforms), human.Bytes(tar), human.Count(len(r.Layers), "layer"), human.Bytes(size), how, spent)
}

// baseSummary describes how many layers of a base image were copied, mounted or already
// present.
func baseSummary(base []push.BaseResult) string {
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

// printed is the output of push and build with --json.
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
