package policy

import (
	"cmp"
	"encoding/hex"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/verify"
)

// Require adds the requirements of the policy to o. o already contains the requirements of the
// flags: a policy adds requirements, and removes none. If l is nil, there is no policy.
func (l *Loaded) Require(o *verify.Options) {
	if l == nil {
		return
	}
	p := &l.Policy
	if n := p.Signatures.Image; n > 0 {
		o.Signatures = append(o.Signatures, verify.RequiredSignatures{Signers: l.Signers, Count: n, Policy: true})
	}
	for _, a := range l.Attestations {
		o.Attestations = append(o.Attestations, verify.RequiredAttestation{Type: a.Type, Signers: l.Signers, MaxAge: a.MaxAge, Policy: true})
	}
	if len(l.Rebuilders) > 0 {
		r := &p.Rebuilders
		o.Rebuilders = append(o.Rebuilders, verify.RequiredRebuilders{Known: l.Rebuilders, Count: r.Required, Unanimous: r.Unanimous, MaxAge: l.RebuilderAge, Policy: true})
	}
	if paths := verify.Required(p.Signatures.StorePaths); rank(paths) > 0 && rank(paths) >= rank(o.Require) {
		o.Require, o.Policy = paths, true
	}
	if l.Trusted != nil {
		o.Keys = l.Trusted
	}
	s := &p.Settings
	o.Allowed = verify.Allowed{Settings: s.Changed, Compression: s.Compression, BaseImages: s.BaseImages, KnownInit: s.KnownInit}
}

// KnownRebuilders returns the rebuilders that the policy lists. If l is nil, it returns none.
func (l *Loaded) KnownRebuilders() []verify.Rebuilder {
	if l == nil {
		return nil
	}
	return l.Rebuilders
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

// Resource describes the policy for a verification summary. If l is nil, it returns nil.
func (l *Loaded) Resource() (*attest.Resource, error) {
	if l == nil {
		return nil, nil
	}
	sum, err := hex.DecodeString(l.Digest.Encoded())
	if err != nil {
		return nil, err
	}
	r := attest.NewResource(cmp.Or(l.Policy.URI, attest.HashURI(sum)), l.Digest)
	return &r, nil
}
