package main

import (
	"context"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/systems"
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
	keys      []string
	identity  identityFlags
	author    authorFlags // the field key is not used, because the field keys holds --key
	attested  []string
	rebuilt   int
	rebuilder []string
	elsewhere []string
	result    resultFlags
	policy    policyFlag
}

func (a *app) verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify REF [CLOSURE...]",
		Short: "Check that an image is what it claims to be",
		Long: `Check that an image is what it claims to be. verify trusts neither the image nor
the registry nor whoever pushed it.

verify checks every digest, the canonical form of every layer, the narHash of
every store path, and the Nix database. It makes the init layer, system layer,
config, manifest and index again and compares them. The report says whether this
nixoci knows the program at /sbin/init. If not, it shows the program's digest.

With CLOSURE, verify also assembles the image again from the closure, with the
plan and the settings of the image. Both images must be the same.

verify proves consistency, not origin: a completely forged image passes too. To
prove the origin, there are several ways:

  CLOSURE               compare with your own closure
  --require-signatures  require signatures of the store paths, which come from
                        the closure statement that push --attest attaches, or
                        from the binary cache that --against names
  --key, --identity     require a signature of the image, or of the statements
                        about it that --require-attestation names
  --policy              require what a policy file lists

--require-rebuilders N requires that N other people or machines have made the
image again and signed the result. --rebuilder-key names their keys. To sign such
a result yourself, verify with CLOSURE, --attest-result, and your private --key
or --keyless.

verify lists the documents that are attached to the image, who has signed them,
and whether verify has checked the signatures.

REF is a reference, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE.
If the image is not what it claims to be, verify prints the first difference and
exits with code 3.`,
		Example: `  nixoci verify ghcr.io/org/web:1.2
  nixoci verify --keep-going oci:./web
  nixoci verify ghcr.io/org/web:1.2 ./result
  nixoci verify ghcr.io/org/web:1.2 --identity 'https://github.com/org/web/*' --trust-root trusted_root.json
  nixoci verify ghcr.io/org/web:1.2 .#web --attest-result --key mine.key
  nixoci verify ghcr.io/org/web:1.2 --require-rebuilders 2 --rebuilder-key anna.pub --rebuilder-key ben.pub
  nixoci verify ghcr.io/org/web:1.2 --against https://cache.nixos.org --trusted-public-key org-1:… --require-signatures all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			closures, err := f.closure.spec.apply(cmd.Flags(), args[1:], nil, &f.closure)
			if err != nil {
				return err
			}
			return a.verify(cmd.Context(), args[0], closures, &f)
		},
	}
	f.registry.add(cmd)
	f.closure.addTrust(cmd.Flags())
	f.closure.spec.add(cmd.Flags())
	a.uses(cmd, "from", "platform", "jobs", "min-speed", "json")
	cmd.Flags().BoolVar(&f.defaults, "default-settings", false, "refuse an image unless init, entrypoint, command, environment, user, working directory, stop signal, ports and volumes are the defaults")
	f.closure.base.addAs(cmd.Flags(), "where to read the image's base image, if it has one: a reference, oci:DIR or oci-archive:FILE; none reads no base image (default: the name in the image)")
	f.init.add(cmd.Flags(), "program that the image must have at /sbin/init, or none if it must have no program; repeat for other platforms")
	cmd.Flags().StringVar(&f.require, "require-signatures", string(verify.RequireNone), "which store paths must have a signature of a trusted key: all, any (at least one) or none; content-addressed paths need no signature")
	cmd.Flags().StringVar(&f.against, "against", "", "binary cache, such as https://cache.nixos.org, whose signatures also count, in addition to the signatures attached to the image")
	f.addSigners(cmd)
	cmd.Flags().BoolVar(&f.keepGoing, "keep-going", false, "report all differences, not only the first")
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
	if err := f.requirements(a, &o); err != nil {
		return err
	}
	if err := f.result.check(ref, closures, a.log); err != nil {
		return err
	}
	if o.Closures, err = a.expected(ctx, closures, &f.closure); err != nil {
		return err
	}
	if o.OpenBase, err = a.openBaseOf(&f.closure.base, &f.registry); err != nil {
		return err
	}
	closeElsewhere, err := a.openElsewhere(f, &o)
	defer closeElsewhere()
	if err != nil {
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
	published, failed := a.publish(ctx, ref, report, f)
	a.done = failed == nil
	if a.json {
		err = a.stdout.JSON(struct {
			*verify.Report
			Published []attachedVerificationSummary `json:"published,omitempty"`
		}{report, published})
	} else if !a.quiet {
		err = report.WriteText(a.stdout, a.coloredOn(a.stdout.Raw()))
	}
	if failed != nil && !report.OK {
		a.stderr.Printf("%s %v\n", a.paint(red, "nixoci:"), failed) // the exit code and the last error come from the mismatch, so this error is printed here
		failed = nil
	}
	if err = errors.Join(failed, err); err != nil || report.OK {
		return err
	}
	lines := report.Lines()
	if len(lines) == 1 {
		return mismatchError{errors.New(lines[0])}
	}
	for _, line := range lines {
		a.stderr.Printf("%s %s\n", a.paint(red, "nixoci:"), line)
	}
	return mismatchError{fmt.Errorf("%s is not what it claims to be: %d findings", ref, len(report.Findings))}
}

// expected reads the CLOSURE arguments, if there are any. It uses no cached facts: it reads
// the files of each toplevel again.
func (a *app) expected(ctx context.Context, args []string, f *closureFlags) ([]*manifest.System, error) {
	if len(args) == 0 {
		return nil, nil
	}
	resolved, err := a.closures(ctx, args, f)
	if err != nil {
		return nil, err
	}
	platforms, err := a.parsePlatforms()
	if err != nil {
		return nil, err
	}
	var reader systems.Reader
	contents, err := reader.Contents(ctx, resolved, platforms)
	if err != nil {
		return nil, err
	}
	return reader.Expected(ctx, contents)
}

// openElsewhere opens the other repositories to which rebuilders attach their results.
func (a *app) openElsewhere(f *verifyFlags, o *verify.Options) (closeAll func(), err error) {
	options := f.registry.options(a)
	options.ReadOnly = true
	var opened []*registry.Repository
	closeAll = func() {
		for _, repo := range opened {
			repo.Close()
		}
	}
	for _, name := range f.elsewhere {
		repo, err := a.openRepository(name, options)
		if err != nil {
			return closeAll, err
		}
		opened = append(opened, repo)
		o.Elsewhere = append(o.Elsewhere, verify.Elsewhere{Name: repo.Name(), Reader: repo})
	}
	return closeAll, nil
}

// verifyProgress shows the progress of a verification. With --verbose, it also prints a line
// for each layer.
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
	p.log.Debugf("%s layer %s, %s", done, d.Digest, human.Bytes(d.Size))
}
