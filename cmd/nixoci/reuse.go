package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/registry"
)

// reuseFlags holds the flags that decide which layers a push does not make again.
type reuseFlags struct {
	where string
	from  []string
	key   string
	check string
}

func (r *reuseFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&r.where, "reuse", "registry,local", "where to look up layers that were built before: registry, local, both or none")
	fl.StringArrayVar(&r.from, "reuse-from", nil, "another image whose layers may be reused, in addition to the image that REF names now; can be repeated")
	fl.StringVar(&r.key, "reuse-key", "", "file with a public key: reuse layers only from registry images that this key has signed")
	fl.StringVar(&r.check, "reuse-check", "0%", "share of the reused layers to make again and compare, such as 5%; if a layer differs, the push fails")
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

// setReuse sets the fields of opts that the flags decide. These fields say where the push looks for
// layers that were made before, and how many of them it checks.
func (a *app) setReuse(opts *push.Options, repo *registry.Repository, ref registry.Reference, f *pushFlags, planFrom []string) error {
	where, err := parseReuse(f.reuse.where)
	if err != nil {
		return err
	}
	if opts.ReuseCheck, err = parseShare(f.reuse.check); err != nil {
		return err
	}
	if !where.local {
		opts.Cache = opts.Cache.WriteOnly()
	}
	if !where.registry {
		return nil
	}
	return a.reuseImages(opts, repo, ref, f, planFrom)
}

// reuseImages adds to opts the images from which the push may reuse layers. These are the images that
// the pushed tags and the tag latest name now, and the images of --reuse-from and
// --plan-from. If none of them exists, the push uses the newest image of the repository.
func (a *app) reuseImages(opts *push.Options, repo *registry.Repository, ref registry.Reference, f *pushFlags, planFrom []string) error {
	key, err := readPublicKey(f.reuse.key)
	if err != nil {
		return fmt.Errorf("--reuse-key: %w", err)
	}
	opts.Signed = signedBy(key)
	opts.ReuseNamed(repo)
	for _, from := range f.reuse.from {
		r, err := a.openRemote(from, repo, ref, &f.registry)
		if err != nil {
			return err
		}
		opts.AddReuse(r)
	}
	for _, from := range planFrom {
		if r, err := registry.ParseReference(from); err == nil && r.Repository.Name() == ref.Repository.Name() {
			opts.AddReuse(push.NewRemote(repo, r.TagOrDigest()))
		}
	}
	opts.ReuseNewest = repo
	return nil
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

// signedBy returns a check for signatures by key. If key is nil, it returns nil.
func signedBy(key *attest.PublicKey) push.SignatureCheck {
	if key == nil {
		return nil
	}
	return func(ctx context.Context, src oci.Reader, d ocispec.Descriptor) error {
		_, err := attest.Verify(ctx, src, d.Digest, attest.Signer{Key: key})
		return err
	}
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
