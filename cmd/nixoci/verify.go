package main

import (
	"context"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/verify"
)

type verifyFlags struct {
	registry  registryFlags
	closure   closureFlags
	keepGoing bool
	defaults  bool
	init      initFlag
	require   string
	against   string
	key       string
}

func (a *app) verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify REF [CLOSURE...]",
		Short: "Check that an image is what it claims to be",
		Long: `Check that an image is what it claims to be, without believing the image, the
registry or whoever pushed it: every digest, every layer's canonical form, every
store path's narHash, the Nix database, and the init layer, system layer, config,
manifest and index, which are made again and compared. The program at /sbin/init
is known to nixoci, or named by its digest.

With CLOSURE the image is also assembled again from there, with the plan and the
settings that it has, and must come out the same.

An image whose every path was forged is one in itself. Against that there are the
CLOSURE, the signatures of store paths (--require-signatures, from the closure
statement that push --attest attaches, or --against a binary cache), and a
signature of the image (--key).

REF is a reference, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE.
Exit code 3 and the first difference if the image is not what it claims to be.`,
		Example: `  nixoci verify ghcr.io/org/web:1.2
  nixoci verify --keep-going oci:./web
  nixoci verify ghcr.io/org/web:1.2 ./result
  nixoci verify ghcr.io/org/web:1.2 --against https://cache.nixos.org --trusted-public-key org-1:… --require-signatures all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.verify(cmd.Context(), args[0], args[1:], &f)
		},
	}
	f.registry.add(cmd)
	f.closure.addTrust(cmd.Flags())
	a.uses(cmd, "from", "platform", "jobs", "min-speed", "json")
	cmd.Flags().BoolVar(&f.defaults, "default-settings", false, "refuse an image pushed with another init, entrypoint, command, environment, user, directory, stop signal, ports or volumes than the default")
	f.init.add(cmd.Flags(), "program that the image must have as /sbin/init, repeated for further platforms; or none: no program may be there")
	cmd.Flags().StringVar(&f.require, "require-signatures", string(verify.RequireNone), "store paths that a trusted key must have signed: all, any (one at least), or none; a path named after its contents needs no signature")
	cmd.Flags().StringVar(&f.against, "against", "", "binary cache whose signatures count beside those attached to the image, such as https://cache.nixos.org")
	cmd.Flags().StringVar(&f.key, "key", "", "file of a public key that must have signed the image itself, as nixoci sign and cosign sign")
	cmd.Flags().BoolVar(&f.keepGoing, "keep-going", false, "look for all differences, not the first alone")
	return cmd
}

func (a *app) verify(ctx context.Context, ref string, closures []string, f *verifyFlags) error {
	o := verify.Options{KeepGoing: f.keepGoing, DefaultSettings: f.defaults, Jobs: a.jobs}
	var err error
	if o.Platforms, err = a.parsePlatforms(); err != nil {
		return err
	}
	if len(f.init.values) > 0 {
		if o.Init, err = f.init.choice(); err != nil {
			return err
		}
	}
	if err := f.signatures(a, &o); err != nil {
		return err
	}
	if o.Closures, err = a.systems(ctx, closures, &f.closure); err != nil {
		return err
	}
	src, err := a.openImage(ref, &reading{registry: f.registry})
	if err != nil {
		return err
	}
	defer src.Close()
	p := newVerifyProgress(a)
	p.begin()
	o.Progress = p
	report, err := verify.Image(ctx, src, o)
	p.end()
	if err != nil {
		return err
	}
	a.done = true
	if a.json {
		err = a.stdout.JSON(report)
	} else if !a.quiet {
		err = report.WriteText(a.stdout)
	}
	if err != nil || report.OK {
		return err
	}
	last := len(report.Findings) - 1
	for _, found := range report.Findings[:last] {
		a.stderr.Printf("%s %s\n", a.paint(red, "nixoci:"), found)
	}
	return mismatchError{errors.New(report.Findings[last].String())}
}

// systems reads the CLOSURE arguments, of which there may be none. Nobody is
// believed: what a toplevel is, its files say.
func (a *app) systems(ctx context.Context, args []string, f *closureFlags) ([]*manifest.System, error) {
	if len(args) == 0 {
		return nil, nil
	}
	inputs, err := a.inputs(ctx, args, f)
	if err != nil {
		return nil, err
	}
	var systems []*manifest.System
	for _, in := range inputs {
		sys, err := manifest.ReadSystem(ctx, in.source, in.closure, in.toplevel, in.system)
		if err != nil {
			return nil, fmt.Errorf("closure %s: %w", in.arg, err)
		}
		systems = append(systems, sys)
	}
	return systems, manifest.CheckPlatforms(systems)
}

// signatures puts what the flags say of signatures into o.
func (f *verifyFlags) signatures(a *app, o *verify.Options) (err error) {
	switch o.Require = verify.Required(f.require); o.Require {
	case verify.RequireAll, verify.RequireAny, verify.RequireNone:
	default:
		return usagef("--require-signatures %q: not all, any or none", f.require)
	}
	if o.Keys, err = a.trustedKeys(&f.closure); err != nil {
		return err
	}
	if f.against != "" {
		// Signatures are looked at here, and what the cache says now is what counts.
		if o.Against, err = closure.OpenCache(f.against, closure.CacheOptions{NoSignatures: true}); err != nil {
			return usageError{fmt.Errorf("--against: %w", err)}
		}
	}
	o.Key, err = readPublicKey(f.key)
	return err
}

// verifyProgress shows a verification, and with --verbose each layer.
type verifyProgress struct {
	*progress
	log *logrus.Logger
}

func newVerifyProgress(a *app) verifyProgress {
	p := verifyProgress{a.newProgress(), a.log}
	p.bars = []*bar{{}}
	return p
}

// More implements verify.Progress.
func (p verifyProgress) More(layers int, bytes int64) {
	p.mu.Lock()
	p.layers += layers
	p.bars[0].total += bytes
	p.mu.Unlock()
}

// Did implements verify.Progress.
func (p verifyProgress) Did(bytes int64) {
	p.mu.Lock()
	p.went(bytes, p.bars)
	p.mu.Unlock()
}

// Layer implements verify.Progress.
func (p verifyProgress) Layer(d ocispec.Descriptor, done string) {
	p.mu.Lock()
	p.finished++
	p.mu.Unlock()
	p.log.Debugf("%s layer %s, %s", done, d.Digest, humanBytes(d.Size))
}
