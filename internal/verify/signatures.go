package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/oci"
)

// Required says which store paths must have a signature of a trusted key. A path
// that is named after its contents needs none.
type Required string

// The values of --require-signatures.
const (
	RequireAll  Required = "all"  // every path
	RequireAny  Required = "any"  // one path at least
	RequireNone Required = "none" // signatures are counted, and must be right where a trusted key is named
)

// Known tells what a binary cache says now: see [closure.Cache.Known].
type Known interface {
	Known(ctx context.Context, paths []closure.StorePath) ([]closure.Info, error)
	String() string
}

// signed is what came out for one image.
type signed struct {
	signed, addressed, total int
	from                     []string // where signatures came from
}

// checkAddresses checks that each content-addressed path is at the path that its
// content gives.
func (i *image) checkAddresses() error {
	i.addressed = map[closure.StorePath]bool{}
	for n, c := range i.layers {
		for k := range c.paths {
			p := &c.paths[k]
			info := i.closure.Info(p.path)
			if info == nil || p.broken || p.narHash != info.NarHash {
				continue // said
			}
			ok, err := closure.CheckAddress(info, p.contents)
			if err != nil {
				f := Finding{Check: CheckAddresses, Layer: n + 1, Digest: i.m.Layers[n].Digest, Path: string(p.path), What: withoutPath(err, p.path)}
				if err := i.after.add(f); err != nil {
					return err
				}
			}
			i.addressed[p.path] = ok
			if info.CA != "" {
				i.withAddress++
			}
		}
	}
	return nil
}

// checkSignatures verifies the signatures of the attached closure statements,
// and those that o.Against gives now.
func (i *image) checkSignatures(ctx context.Context) error {
	if i.v.o.Keys == nil {
		return nil
	}
	c, err := i.signatures(ctx)
	if err != nil {
		return err
	}
	s := &i.signed
	s.total = len(c.Paths)
	for k := range c.Paths {
		info := &c.Paths[k]
		err := i.v.o.Keys.Verify(info)
		switch {
		case err == nil:
			s.signed++
			continue
		case i.addressed[info.Path] && !errors.Is(err, closure.ErrBadSignature):
			s.addressed++
			continue
		case i.v.o.Require != RequireAll && !errors.Is(err, closure.ErrBadSignature):
			continue
		}
		if err := i.after.add(Finding{Check: CheckSignatures, Path: string(info.Path), What: withoutPath(err, info.Path)}); err != nil {
			return err
		}
	}
	i.done(CheckSignatures)
	if i.v.o.Require == RequireAny && s.signed == 0 {
		return i.after.add(Finding{Check: CheckSignatures, Path: string(i.toplevel),
			What: fmt.Sprintf("no trusted key has signed any of the %d store paths", s.total)})
	}
	return nil
}

// signatures is the image's closure with the signatures that somebody has. Only
// those of the same narHash, size and references are taken.
func (i *image) signatures(ctx context.Context) (*closure.Closure, error) {
	all := i.closure
	add := func(stated *closure.Closure, from string) error {
		before := make([][]string, len(all.Paths))
		for k := range all.Paths {
			before[k] = all.Paths[k].Signatures
		}
		c, err := attest.Complete(all, stated)
		if err != nil {
			return err
		}
		for k := range c.Paths { // each path is in its place: the order is the path's
			p := &c.Paths[k]
			p.Signatures = slices.Concat(before[k], p.Signatures)
			slices.Sort(p.Signatures)
			p.Signatures = slices.Compact(p.Signatures)
		}
		all, i.signed.from = c, append(i.signed.from, from)
		return nil
	}
	statements, err := i.statements(ctx)
	if err != nil {
		return nil, err
	}
	for _, stated := range statements {
		if err := add(stated, "an attached closure statement"); err != nil {
			return nil, err
		}
	}
	if i.v.o.Against == nil {
		return all, nil
	}
	paths := make([]closure.StorePath, len(all.Paths))
	for k := range all.Paths {
		paths[k] = all.Paths[k].Path
	}
	infos, err := i.v.o.Against.Known(ctx, paths)
	if err != nil {
		return nil, err
	}
	// What the cache has need not be a closure: only our own paths count.
	for k := range infos {
		own := *i.closure.Info(infos[k].Path)
		if infos[k].NarHash != own.NarHash || infos[k].NarSize != own.NarSize || !slices.Equal(infos[k].References, own.References) {
			continue // another build of the path; its signature says nothing of this one
		}
		if at, ok := all.Index(own.Path); ok {
			p := &all.Paths[at]
			p.Signatures = slices.Concat(p.Signatures, infos[k].Signatures)
			slices.Sort(p.Signatures)
			p.Signatures = slices.Compact(p.Signatures)
		}
	}
	i.signed.from = append(i.signed.from, i.v.o.Against.String())
	return all, nil
}

// statements are the closure statements that are attached to the manifest. One
// that cannot be read proves nothing, and is left out.
func (i *image) statements(ctx context.Context) (all []*closure.Closure, err error) {
	r, ok := i.v.src.(oci.Referrers)
	if !ok || i.v.noManifest {
		return nil, nil
	}
	subject := i.blob.Descriptor.Digest
	list, err := r.Referrers(ctx, subject)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(d ocispec.Descriptor) bool { return d.ArtifactType != attest.ClosureType })
	for _, d := range list {
		doc, err := oci.GetArtifact(ctx, i.v.src, subject, d)
		if _, bad := contentFinding(err); bad {
			continue
		} else if err != nil {
			return nil, err
		}
		if stated, _, err := attest.ParseClosure(doc.Data); err == nil {
			all = append(all, stated)
		}
	}
	return all, nil
}

// checkKey verifies that o.Key has signed what the reference names.
func (v *verifier) checkKey(ctx context.Context) error {
	if v.o.Key == nil || v.blob.Descriptor.Digest == "" {
		return nil
	}
	d := v.blob.Descriptor.Digest
	sigs, err := attest.Verify(ctx, v.src, d, v.o.Key)
	switch {
	case errors.Is(err, attest.ErrUnsigned), errors.Is(err, attest.ErrNoMatch):
		return v.top.add(Finding{Check: CheckSignedBy, Digest: d, What: err.Error()})
	case err != nil:
		if what, ok := contentFinding(err); ok {
			return v.top.add(Finding{Check: CheckSignedBy, Digest: d, What: "signature: " + what})
		}
		return err
	}
	v.report.Signed = len(sigs) > 0
	return nil
}

// withoutPath is what err says of p, which the finding names already.
func withoutPath(err error, p closure.StorePath) string {
	s := err.Error()
	if len(s) > len(p)+2 && s[:len(p)+2] == string(p)+": " {
		return s[len(p)+2:]
	}
	return s
}
