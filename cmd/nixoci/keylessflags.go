package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/registry"
)

// authorFlags holds the flags that select who signs: the owner of a key, or the owner of a
// certificate.
type authorFlags struct {
	key       string // file with a private key
	keyless   string // services that make a certificate
	token     string // file with an identity token
	trustRoot string
}

// addKeyless adds the flags for signing with a certificate. trustRoot is the help text of the flag
// --trust-root.
func (f *authorFlags) addKeyless(cmd *cobra.Command, trustRoot string) {
	fl := cmd.Flags()
	fl.StringVar(&f.keyless, "keyless", "", "sign with a certificate for this CI job or person instead of a key. SERVICES is a file with a signing config of Sigstore, or fulcio=URL,rekor=URL,timestamp=URL")
	fl.StringVar(&f.token, "identity-token", "", "file with the OIDC token for --keyless (default $"+keyless.TokenVariable+", otherwise the token of GitHub Actions)")
	fl.StringVar(&f.trustRoot, "trust-root", "", trustRoot)
}

// checksSignature is the help text of --trust-root in commands that only sign.
const checksSignature = "with --keyless: check each new signature with this trust root before it is attached"

// given reports whether the user has set a flag that asks for signatures.
func (f *authorFlags) given() bool { return f.key != "" || f.keyless != "" }

// check returns an error if the flags do not fit together. command is the name of a command that
// must sign, or "" if signing is optional.
func (f *authorFlags) check(command string) error {
	switch {
	case f.key != "" && f.keyless != "":
		return usagef("--key and --keyless: only one of them can sign")
	case f.token != "" && f.keyless == "":
		return usagef("--identity-token: it needs --keyless, which is not given")
	case command != "" && !f.given():
		return usageError{hint.Add(fmt.Errorf("%s: --key is missing", command), "make a key pair with cosign generate-key-pair, then use --key cosign.key; or sign with a certificate: --keyless")}
	}
	return nil
}

// author returns the author who signs for the flags f. If no flag asks for signatures, it returns
// nil.
func (a *app) author(f *authorFlags, r *registryFlags) (attest.Author, error) {
	switch {
	case f.keyless != "":
		return a.keylessAuthor(f, r)
	case f.key != "":
		return a.privateKey(f.key)
	}
	return nil, nil
}

// keylessAuthor returns an author who signs with a certificate. keylessAuthor itself sends no
// request.
func (a *app) keylessAuthor(f *authorFlags, r *registryFlags) (*keyless.Signer, error) {
	o := keyless.Options{Retry: retrySchedule, Insecure: r.insecure}
	var err error
	if keyless.IsServiceList(f.keyless) {
		o.Services, err = keyless.ParseServices(f.keyless)
	} else {
		o.Services, err = keyless.ReadSigningConfig(f.keyless, time.Now())
	}
	if err != nil {
		return nil, usageError{fmt.Errorf("--keyless: %w", err)}
	}
	if o.TrustRoot, err = readTrustRoot(f.trustRoot); err != nil {
		return nil, err
	}
	if o.Token, err = keyless.FindToken(f.token, os.Getenv); err != nil {
		return nil, fmt.Errorf("--keyless: %w", err)
	}
	if o.Transport, err = registry.NewTransport(r.options(a)); err != nil {
		return nil, err
	}
	s, err := keyless.New(o)
	if err != nil {
		return nil, usageError{fmt.Errorf("--keyless: %w", err)}
	}
	return s, nil
}

// readTrustRoot reads the file that --trust-root names. If file is "", it returns nil.
func readTrustRoot(file string) (*keyless.TrustRoot, error) {
	if file == "" {
		return nil, nil
	}
	t, err := keyless.ReadTrustRoot(file)
	if err != nil {
		return nil, fmt.Errorf("--trust-root: %w", err)
	}
	return t, nil
}

// identityFlags holds the flags that name the people and CI jobs whose signatures count.
type identityFlags struct {
	identities []string
	issuer     string
}

func (f *identityFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.identities, "identity", nil, "person or CI job whose signatures count, like those of --key: an address or a URI. A * stands for any part of the path, as in https://github.com/org/web/*. Needs --trust-root, or a policy with a trust root; can be repeated")
	cmd.Flags().StringVar(&f.issuer, "issuer", "", "URL of the provider that must have checked --identity (default: if the identity is a workflow of github.com or gitlab.com, the provider of this platform)")
}

// signers returns a signer for each identity. own is the trust root of --trust-root. If own is nil,
// signers uses the trust root of the policy.
func (f *identityFlags) signers(own, policy *keyless.TrustRoot) (all []attest.Signer, err error) {
	root := cmp.Or(own, policy)
	switch {
	case len(f.identities) == 0 && f.issuer != "":
		return nil, usagef("--issuer: --identity is missing, which names the person or CI job that must have signed")
	case len(f.identities) > 0 && root == nil:
		return nil, usageError{hint.Add(errors.New("--identity: --trust-root is missing, the file with the authorities whose certificates count"),
			"cosign trusted-root create writes this file; docs/keyless.md has the command for the public Sigstore")}
	}
	for _, subject := range f.identities {
		id, err := keyless.NewIdentity(subject, f.issuer)
		if err != nil {
			return nil, usageError{fmt.Errorf("--identity: %w", err)}
		}
		all = append(all, attest.Signer{Name: subject, Identity: &attest.Identity{Identity: id, Root: root}})
	}
	return all, nil
}
