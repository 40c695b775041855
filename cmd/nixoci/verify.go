package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/limit"
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
	cmd.Flags().BoolVar(&f.defaults, "default-settings", false, "refuse an image unless init, entrypoint, command, environment, user, directory, stop signal, ports and volumes are the defaults")
	f.closure.base.addAs(cmd.Flags(), "where to read the image's base image, if it has one: a reference, oci:DIR or oci-archive:FILE; none reads no base image (default: the name in the image)")
	f.init.add(cmd.Flags(), "program that the image must have at /sbin/init, or none if it must have no program; repeat for other platforms")
	cmd.Flags().StringVar(&f.require, "require-signatures", string(verify.RequireNone), "which store paths must have a signature of a trusted key: all, any (at least one) or none; content-addressed paths need no signature")
	cmd.Flags().StringVar(&f.against, "against", "", "binary cache, such as https://cache.nixos.org, whose signatures also count, in addition to the signatures attached to the image")
	f.addSigners(cmd)
	cmd.Flags().BoolVar(&f.keepGoing, "keep-going", false, "report all differences, not only the first")
	return cmd
}

// addSigners adds the flags about signatures of the image and of statements.
func (f *verifyFlags) addSigners(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.keys, "key", nil, "file with a public key that must have signed the image, with nixoci sign or cosign sign; can be repeated: one of the keys must have signed the image. With --attest-result, also the file with the private key that signs the result")
	f.identity.add(cmd)
	f.author.addKeyless(cmd, "file with the certificate authorities, logs and timestamp authorities that count for --identity, in the format of Sigstore's trusted_root.json; with --keyless, also for the new signature")
	cmd.Flags().StringArrayVar(&f.attested, "require-attestation", nil, "type of a statement, such as slsaprovenance1 or spdx, that a --key or --identity must have signed instead of the image; can be repeated: all types are required")
	cmd.Flags().IntVar(&f.rebuilt, "require-rebuilders", 0, "how many of the rebuilders that --rebuilder-key names must have made the image again and signed the result")
	cmd.Flags().StringArrayVar(&f.rebuilder, "rebuilder-key", nil, "file with the public key of a rebuilder; can be repeated: the report shows the result of each rebuilder")
	cmd.Flags().StringArrayVar(&f.elsewhere, "rebuilders-from", nil, "repository where rebuilders attach their results, in addition to the image's; can be repeated")
	f.result.add(cmd)
	f.policy.add(cmd)
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
			Published []publishedSummary `json:"published,omitempty"`
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

// requirements copies the requirements of the flags and of the policy into o.
func (f *verifyFlags) requirements(a *app, o *verify.Options) error {
	if err := f.result.checkAlone(); err != nil {
		return err
	}
	if err := f.policy.load(); err != nil {
		return err
	}
	if err := f.signatures(a, o); err != nil {
		return err
	}
	if err := f.rebuilders(o); err != nil {
		return err
	}
	f.policy.loaded.Require(o)
	return nil
}

// signatures copies the flags about signatures into o.
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
		// verify checks the signatures itself. It uses no cache of narinfo files, because it
		// must check what the binary cache serves now.
		if o.Against, err = closure.OpenBinaryCache(f.against, closure.CacheOptions{NoSignatures: true}); err != nil {
			return usageError{fmt.Errorf("--against: %w", err)}
		}
	}
	signers, err := f.signers(a)
	if err != nil {
		return err
	}
	counting := signers // the signers whose statements count for --require-attestation
	if p := f.policy.loaded; p != nil && len(signers) == 0 {
		counting = p.Signers
	}
	for _, name := range f.attested {
		t, err := attest.PredicateType(name)
		if err != nil {
			return usageError{fmt.Errorf("--require-attestation: %w", err)}
		}
		o.Attestations = append(o.Attestations, verify.RequiredAttestation{Type: t, Signers: counting})
	}
	switch {
	case len(counting) == 0 && len(f.attested) > 0:
		return usagef("--require-attestation: --key or --identity is missing, which names who must have signed the statement")
	case len(signers) > 0 && len(f.attested) == 0:
		o.Signatures = []verify.RequiredSignatures{{Signers: signers, Count: 1}}
	}
	return nil
}

// signers returns the signers that --key and --identity name. With --attest-result, it also sets
// f.result.author.
func (f *verifyFlags) signers(a *app) ([]attest.Signer, error) {
	if err := f.author.check(""); err != nil {
		return nil, err
	}
	if f.author.keyless != "" && !f.result.passed {
		return nil, usagef("--keyless signs the result of --attest-result, but --attest-result is not given")
	}
	keys, err := f.readKeys(a)
	if err != nil {
		return nil, err
	}
	own, err := readTrustRoot(f.author.trustRoot)
	if err != nil {
		return nil, err
	}
	var root *keyless.TrustRoot
	if f.policy.loaded != nil {
		root = f.policy.loaded.TrustRoot
	}
	identities, err := f.identity.signers(own, root)
	if err != nil {
		return nil, err
	}
	switch {
	case f.author.keyless == "":
	case f.result.author != nil:
		return nil, usagef("--key and --keyless: only one of them can sign the result of --attest-result; give public keys with --keyless")
	default:
		if f.result.author, err = a.keylessAuthor(&f.author, &f.registry); err != nil {
			return nil, err
		}
	}
	return attest.DistinctSigners(append(keys, identities...)), nil
}

// rebuilders copies the flags about rebuilders into o.
func (f *verifyFlags) rebuilders(o *verify.Options) error {
	if f.rebuilt == 0 && len(f.rebuilder) == 0 {
		return nil
	}
	var keys []attest.Signer
	for _, file := range f.rebuilder {
		data, err := readKeyFile("--rebuilder-key", file)
		if err != nil {
			return err
		}
		key, err := attest.ParsePublicKey(data)
		if err != nil {
			return fmt.Errorf("--rebuilder-key %s: %w", file, err)
		}
		keys = append(keys, attest.Signer{Name: file, Key: key})
	}
	keys = attest.DistinctSigners(keys)
	required := verify.RequiredRebuilders{Count: f.rebuilt}
	for _, k := range keys {
		required.Known = append(required.Known, verify.Rebuilder{Signer: k})
	}
	if len(keys) == 0 {
		required.Known = f.policy.loaded.KnownRebuilders()
	}
	switch known := len(required.Known); {
	case f.rebuilt < 0:
		return usagef("--require-rebuilders %d: less than none", f.rebuilt)
	case f.rebuilt > known && len(keys) == 0:
		return usagef("--require-rebuilders %d: %s known: name the keys of others with --rebuilder-key", f.rebuilt, human.Count(known, "rebuilder"))
	case f.rebuilt > known:
		is := "are"
		if known == 1 {
			is = "is"
		}
		return usagef("--require-rebuilders %d: only %s %s given, %d are needed: --rebuilder-key names %s", f.rebuilt, human.Count(known, "different key"), is, f.rebuilt, strings.Join(attest.SignerNames(keys), ", "))
	}
	o.Rebuilders = append(o.Rebuilders, required)
	return nil
}

// readKeys reads the files of --key. The name of each key is the name of its file. If two
// files contain the same key, it is counted once. With --attest-result, one of the files must
// contain the private key that signs the result.
func (f *verifyFlags) readKeys(a *app) (keys []attest.Signer, err error) {
	for _, file := range f.keys {
		data, err := readKeyFile("--key", file)
		if err != nil {
			return nil, err
		}
		if f.result.passed && attest.IsPrivateKey(data) {
			if f.result.author != nil {
				return nil, usagef("--key %s: --attest-result signs with one key, and another private key is given", file)
			}
			if f.result.author, err = attest.ParsePrivateKey(data, a.keyPassword); err != nil {
				return nil, fmt.Errorf("--key %s: %w", file, err)
			}
			continue
		}
		key, err := attest.ParsePublicKey(data)
		if err != nil {
			return nil, fmt.Errorf("--key %s: %w", file, err)
		}
		keys = append(keys, attest.Signer{Name: file, Key: key})
	}
	return attest.DistinctSigners(keys), nil
}

func readKeyFile(flag, file string) ([]byte, error) {
	if file == "" {
		return nil, usagef("%s: the file name is empty", flag)
	}
	data, err := limit.ReadNamed(file, limit.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return data, nil
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
