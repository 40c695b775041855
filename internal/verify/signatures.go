package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/oci"
)

// Required selects which store paths must have a signature by a trusted key. If the name of a path
// is computed from its contents, the path needs no signature.
type Required string

// These are the values of --require-signatures.
const (
	RequireAll  Required = "all"  // every path
	RequireAny  Required = "any"  // at least one path
	RequireNone Required = "none" // no path; but if a signature names a trusted key, it must be right
)

// SignatureSource is a source of store path signatures, such as a binary cache. See
// [closure.BinaryCache.Infos].
type SignatureSource interface {
	Infos(ctx context.Context, paths []closure.StorePath) ([]closure.Info, error)
	String() string
}

// signatureCount holds the result of checking the signatures of one image's store paths.
type signatureCount struct {
	signed, total int
	unsigned      int      // number of store paths without any signature
	strangers     []string // names of keys that have signed paths, but are not trusted
	from          []string // the sources of the signatures
	inputs        []Input  // the attached statements among these sources
}

// maxStrangers is the largest number of untrusted keys that one line names.
const maxStrangers = 3

// String returns the number of signed paths for display, and the reasons why it is not higher.
func (s *signatureCount) String() string {
	text := fmt.Sprintf("%d of %d paths signed by trusted keys, from %s", s.signed, s.total, strings.Join(s.from, ", "))
	if n := s.total - s.signed - s.unsigned; n > 0 {
		named, more := s.strangers, ""
		if extra := len(named) - maxStrangers; extra > 0 {
			named, more = named[:maxStrangers], fmt.Sprintf(" and %d more", extra)
		}
		text += fmt.Sprintf("; %d only by keys that are not trusted: %s%s", n, strings.Join(named, ", "), more)
	}
	if s.unsigned > 0 {
		text += fmt.Sprintf("; %d not signed", s.unsigned)
	}
	return text
}

// checkSignatures checks the signatures of the store paths. They come from the attached closure
// statements and from Options.Against.
func (v *verification) checkSignatures(ctx context.Context, c *content, cl *closure.Closure, a addresses) (count signatureCount, found []Finding, err error) {
	paths, err := v.signatures(ctx, c.doc, cl, &count)
	if err != nil {
		return count, nil, err
	}
	count.total = len(paths)
	for k := range paths {
		info := &paths[k]
		err := v.o.Keys.Verify(info)
		switch bad := errors.Is(err, closure.ErrBadSignature); {
		case err == nil:
			count.signed++
		case bad, v.o.Require == RequireAll && !a.confirmed[info.Path]:
			found = append(found, Finding{Path: string(info.Path)}.of(CheckSignatures, "%s", withoutPath(err, info.Path)))
		case len(info.Signatures) == 0:
			count.unsigned++
		default:
			for _, s := range info.Signatures {
				name, _, _ := strings.Cut(s, ":")
				count.strangers = append(count.strangers, name)
			}
		}
	}
	slices.Sort(count.strangers)
	count.strangers = slices.Compact(count.strangers)
	if v.o.Require == RequireAny && count.signed == 0 {
		found = append(found, Finding{Path: string(c.system.toplevel)}.of(CheckSignatures,
			"no trusted key has signed any of the %d store paths", count.total))
	}
	return count, found, nil
}

// signatures returns the closure's paths with all signatures for them, and records in count from
// which sources the signatures came. It uses a signature only if narHash, size and references
// match.
func (v *verification) signatures(ctx context.Context, doc *document, cl *closure.Closure, count *signatureCount) (paths []closure.Info, err error) {
	paths = slices.Clone(cl.Paths)
	add := func(stated *closure.Info) {
		n, ok := cl.Index(stated.Path)
		if !ok {
			return
		}
		p := &paths[n]
		if stated.NarHash == p.NarHash && stated.NarSize == p.NarSize && slices.Equal(stated.References, p.References) {
			p.Signatures = union(p.Signatures, stated.Signatures)
		} // if they differ, the signature is for another build of the path
	}
	statements, err := v.statements(ctx, doc)
	if err != nil {
		return nil, err
	}
	for _, s := range statements {
		for k := range s.closure.Paths {
			add(&s.closure.Paths[k])
		}
		count.from = append(count.from, "an attached closure statement")
		count.inputs = append(count.inputs, s.input)
	}
	if v.o.Against == nil {
		return paths, nil
	}
	names := make([]closure.StorePath, len(paths))
	for k := range paths {
		names[k] = paths[k].Path
	}
	infos, err := v.o.Against.Infos(ctx, names)
	if err != nil {
		return nil, err
	}
	for k := range infos {
		add(&infos[k])
	}
	count.from = append(count.from, v.o.Against.String())
	return paths, nil
}

// union returns the sorted union of two lists of signatures.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// attachedClosure holds an attached closure statement.
type attachedClosure struct {
	closure *closure.Closure
	input   Input
}

// statements returns the closure statements that are attached to the manifest. It skips statements
// that it cannot read, because they prove nothing.
func (v *verification) statements(ctx context.Context, doc *document) (all []attachedClosure, err error) {
	r, ok := v.src.(oci.Referrers)
	if !ok || v.noManifest {
		return nil, nil
	}
	subject := doc.blob.Descriptor.Digest
	list, err := r.Referrers(ctx, subject)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(d ocispec.Descriptor) bool { return d.ArtifactType != attest.ClosureType })
	for _, d := range list {
		doc, err := oci.GetArtifact(ctx, v.src, subject, d)
		if _, bad := contentFinding(err); bad {
			continue
		} else if err != nil {
			return nil, err
		}
		if stated, _, err := attest.ParseClosure(doc.Data); err == nil {
			all = append(all, attachedClosure{stated, Input{Attached: d.Digest, Content: digest.FromBytes(doc.Data)}})
		}
	}
	return all, nil
}

// keyCheck holds the result of checking the signatures of the image.
type keyCheck struct {
	signedBy []attest.Signer        // the given signers who have signed the image
	claimed  []attest.ClaimedSigner // signatures that were not checked, because the user gave no key
	findings []Finding
}

// checkKey finds out which of the given signers have signed the manifest or index that the reference
// names. It compares them with Options.Signatures.
func (v *verification) checkKey(ctx context.Context, docs *documents) (k keyCheck, err error) {
	d := docs.top.Descriptor.Digest
	switch {
	case v.noManifest && len(v.o.Signatures) > 0:
		return keyCheck{findings: []Finding{Finding{}.of(CheckSignedBy, "no signature: a docker-archive has none")}}, nil
	case v.noManifest || d == "":
		return k, nil
	}
	if len(v.signers) == 0 {
		k.claimed, err = attest.ClaimedSigners(ctx, v.src, d)
		if _, bad := contentFinding(err); bad {
			err = nil // ignore the error, because the user did not ask for signatures
		}
		return k, err
	}
	found, err := attest.Verify(ctx, v.src, d, v.signers...)
	what, bad := contentFinding(err)
	if err != nil && !bad && !errors.Is(err, attest.ErrUnsigned) && !errors.Is(err, attest.ErrNoMatch) {
		return k, err
	}
	for _, s := range found {
		k.signedBy = append(k.signedBy, s.Signer)
	}
	k.signedBy = attest.DistinctSigners(k.signedBy)
	for _, required := range v.o.Signatures {
		by := attest.CommonSigners(k.signedBy, required.Signers)
		if len(by) >= required.Count {
			continue
		}
		why := required.missing(by)
		switch {
		case bad:
			why = "signature: " + what
		case errors.Is(err, attest.ErrUnsigned):
			why = "no signature"
		}
		if e, ok := errors.AsType[*attest.NoMatchError](err); ok {
			why += inBrackets(e.Why)
		}
		k.findings = append(k.findings, requiredBy(required.Policy, []Finding{Finding{Digest: d}.of(CheckSignedBy, "%s", why)})...)
	}
	return k, nil
}

// missing returns a text about the missing signatures. by lists the signers who have signed the image.
func (r *RequiredSignatures) missing(by []attest.Signer) string {
	names := strings.Join(attest.SignerNames(r.Signers), ", ")
	switch {
	case len(r.Signers) == 1:
		return "no signature by " + names
	case len(by) == 0:
		return "no signature by any of " + names
	}
	return fmt.Sprintf("only %s signed the image, and %d of %s must have signed it", has(attest.SignerNames(by)), r.Count, names)
}

// has returns "a has" or "a and b have", with names in place of a and b.
func has(names []string) string {
	if len(names) == 1 {
		return names[0] + " has"
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " have"
}
