//lint:file-ignore SA1019 See provenance.go.

package attest

import (
	"encoding/base64"
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"

	"github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/common"
	slsa "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/nixbuild"
)

// Checkout describes the commit that a build platform, such as GitHub, checked out.
type Checkout struct {
	URI      string // for example "git+https://github.com/org/web@refs/heads/main"
	Revision string
}

// sourceList collects the sources and derivations of several systems.
type sourceList struct {
	dirty       bool // whether a source has uncommitted changes
	sources     []*nixbuild.Origin
	derivations []closure.StorePath
}

// add adds the sources and derivations of the roots of s. It returns the sources in the form that
// externalParameters contain, one for each root that has a source. builds is [Build.Built].
func (l *sourceList) add(s *BuiltSystem, builds map[closure.StorePath]*nixbuild.Built) (stated []map[string]any) {
	for _, root := range s.Roots {
		built := builds[root]
		if built == nil || built.Source == nil {
			if root == s.Toplevel.Path && s.Toplevel.Deriver != "" {
				l.derivation(closure.StorePath(closure.StoreDir + "/" + s.Toplevel.Deriver))
			}
			continue
		}
		l.derivation(built.Derivation)
		src := built.Source
		if !slices.Contains(l.sources, src) {
			l.sources = append(l.sources, src)
		}
		m := map[string]any{}
		switch {
		case src.File != "":
			m["file"] = src.File
		case src.URL != "":
			m["flake"] = src.URL + "#" + built.Attribute
		default:
			m["nixoci"] = built.Attribute
		}
		if src.Nixpkgs != "" {
			m["nixpkgs"] = src.Nixpkgs
		}
		if src.Dirty {
			m["dirty"], l.dirty = true, true
		}
		stated = append(stated, m)
	}
	return stated
}

func (l *sourceList) derivation(drv closure.StorePath) {
	if drv != "" && !slices.Contains(l.derivations, drv) {
		l.derivations = append(l.derivations, drv)
	}
}

// dependencies lists the derivations, the sources and their inputs, without duplicates. A
// derivation needs no digest: the hash in its path is computed from its content. checkout is listed
// only if its commit is the revision of a source.
func (l *sourceList) dependencies(checkout *Checkout) (deps []slsa.ResourceDescriptor) {
	for _, drv := range l.derivations {
		deps = append(deps, slsa.ResourceDescriptor{URI: "nix:" + string(drv), Name: drv.Name()})
	}
	add := func(d slsa.ResourceDescriptor) {
		same := func(o slsa.ResourceDescriptor) bool { return o.URI == d.URI && o.Name == d.Name }
		if !slices.ContainsFunc(deps, same) {
			deps = append(deps, d)
		}
	}
	for _, s := range l.sources {
		switch {
		case s.File != "":
			add(slsa.ResourceDescriptor{URI: "file:" + s.File, Name: filepath.Base(s.File),
				Digest: common.DigestSet{"sha256": strings.TrimPrefix(s.FileDigest.Hex(), "sha256:")}})
		case s.URL != "":
			d := treeDescriptor("source", s.URL, s.Revision, s.NarHash)
			if s.Dirty {
				d.Annotations = map[string]any{"dirty": true}
			}
			add(d)
			if checkout != nil && !s.Dirty && s.Revision == checkout.Revision {
				add(slsa.ResourceDescriptor{URI: checkout.URI, Name: "repository", Digest: common.DigestSet{"gitCommit": s.Revision}})
			}
		}
		for _, in := range s.Inputs {
			add(treeDescriptor("input "+in.Name, in.URL, in.Revision, in.NarHash))
		}
	}
	return deps
}

// treeDescriptor describes a locked flake reference. Its sha256 is the hash of the source tree's
// NAR, as for store paths.
func treeDescriptor(name, url, revision, narHash string) slsa.ResourceDescriptor {
	d := slsa.ResourceDescriptor{URI: url, Name: name}
	set := common.DigestSet{}
	if revision != "" {
		set["gitCommit"] = revision
	}
	if b64, ok := strings.CutPrefix(narHash, "sha256-"); ok {
		if sum, err := base64.StdEncoding.DecodeString(b64); err == nil {
			set["sha256"], d.MediaType = hex.EncodeToString(sum), narType
		}
	}
	if len(set) > 0 {
		d.Digest = set
	}
	return d
}
