package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/verify"
)

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
		return usagef("--require-rebuilders %d: less than 0", f.rebuilt)
	case f.rebuilt > known && len(keys) == 0:
		return usagef("--require-rebuilders %d: the number of known rebuilders is only %d: name the keys of other rebuilders with --rebuilder-key", f.rebuilt, known)
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
