package main

import (
	"cmp"
	"encoding/hex"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/policy"
	"github.com/nixoci/nixoci/internal/verify"
)

// policyFlag holds the file with the requirements for verify. Flags can add requirements, but
// they cannot remove a requirement of the policy.
type policyFlag struct {
	file string

	loaded *policy.Loaded // policy that was read; nil if there is none
}

func (f *policyFlag) add(cmd *cobra.Command) {
	cmd.Flags().Var(&onceValue{text: &f.file}, "policy", "file that lists what is required of the image: keys, signatures, statements, rebuilders, settings; flags can only require more")
}

// load reads the policy, if one is given.
func (f *policyFlag) load() (err error) {
	if f.file == "" {
		return nil
	}
	if f.loaded, err = policy.Load(f.file); err != nil {
		return usageError{err} // wrong usage, because a policy replaces flags
	}
	return nil
}

// apply adds the requirements of the policy to o. o already contains the requirements of the
// flags.
func (f *policyFlag) apply(o *verify.Options) {
	p := f.loaded
	if p == nil {
		return
	}
	if n := p.Policy.Signatures.Image; n > 0 {
		o.Signatures = append(o.Signatures, verify.RequiredSignatures{Signers: p.Signers, Count: n, Policy: true})
	}
	for _, a := range p.Attestations {
		o.Attestations = append(o.Attestations, verify.RequiredAttestation{Type: a.Type, Signers: p.Signers, MaxAge: a.MaxAge, Policy: true})
	}
	if known := f.rebuilders(); len(known) > 0 {
		r := &p.Policy.Rebuilders
		o.Rebuilders = append(o.Rebuilders, verify.RequiredRebuilders{Known: known, Count: r.Required, Unanimous: r.Unanimous, MaxAge: p.RebuilderAge, Policy: true})
	}
	if paths := verify.Required(p.Policy.Signatures.StorePaths); rank(paths) > 0 && rank(paths) >= rank(o.Require) {
		o.Require, o.Policy = paths, true
	}
	if p.Trusted != nil {
		o.Keys = p.Trusted
	}
	s := &p.Policy.Settings
	o.Allowed = verify.Allowed{Settings: s.Changed, Compression: s.Compression, BaseImages: s.BaseImages, KnownInit: s.KnownInit}
}

// rebuilders returns the rebuilders that the policy lists.
func (f *policyFlag) rebuilders() (known []verify.Rebuilder) {
	if f.loaded == nil {
		return nil
	}
	for _, b := range f.loaded.Rebuilders {
		known = append(known, verify.Rebuilder{Signer: b.Signer, Verifier: b.Verifier})
	}
	return known
}

// rank sorts the values of --require-signatures: a value that requires more has a higher
// rank.
func rank(r verify.Required) int {
	switch r {
	case verify.RequireAll:
		return 2
	case verify.RequireAny:
		return 1
	}
	return 0
}

// resource describes the policy for a verification summary. Without a policy, it returns the
// name for the checks that verify always makes.
func (f *policyFlag) resource() (attest.Resource, error) {
	if f.loaded == nil {
		return attest.Resource{URI: attest.RebuildPolicy}, nil
	}
	sum, err := hex.DecodeString(f.loaded.Digest.Encoded())
	if err != nil {
		return attest.Resource{}, err
	}
	return attest.NewResource(cmp.Or(f.loaded.Policy.URI, attest.HashURI(sum)), f.loaded.Digest), nil
}
