package attest

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/oci"
)

// ClosureType is the artifact type and the media type of a closure statement.
const ClosureType = "application/vnd.nixoci.closure.v1+json"

// closureStatement records a closure as its source described it when the image was made. Unlike an
// image, it may contain signatures and derivers, which depend on who built the paths. The array
// Closure has the format of Nix's exportReferencesGraph, so tools for this format can read a
// statement.
type closureStatement struct {
	MediaType string              `json:"mediaType"`
	StoreDir  string              `json:"storeDir"`
	System    string              `json:"system,omitempty"` // Nix's name of the platform, such as "x86_64-linux"
	Roots     []closure.StorePath `json:"roots"`
	Closure   []statedPath        `json:"closure"` // sorted by path
}

type statedPath struct {
	Path       closure.StorePath   `json:"path"`
	NarHash    string              `json:"narHash"` // in SRI format
	NarSize    int64               `json:"narSize"` // in bytes
	References []closure.StorePath `json:"references"`
	CA         string              `json:"ca,omitempty"`
	Deriver    string              `json:"deriver,omitempty"` // a store path
	Signatures []string            `json:"signatures,omitempty"`
}

// Closure writes the closure statement of c. system is Nix's name of the platform. If the platform
// is unknown, system is "".
func Closure(c *closure.Closure, system string) ([]byte, error) {
	s := closureStatement{MediaType: ClosureType, StoreDir: closure.StoreDir, System: system, Roots: c.Roots, Closure: []statedPath{}}
	for i := range c.Paths {
		p := &c.Paths[i]
		sp := statedPath{Path: p.Path, NarHash: p.NarHash.SRI(), NarSize: p.NarSize, References: p.References, CA: p.CA}
		if sp.References == nil {
			sp.References = []closure.StorePath{}
		}
		if p.Deriver != "" {
			sp.Deriver = closure.StoreDir + "/" + p.Deriver
		}
		sp.Signatures = slices.Clone(p.Signatures)
		slices.Sort(sp.Signatures)
		sp.Signatures = slices.Compact(sp.Signatures)
		s.Closure = append(s.Closure, sp)
	}
	data, err := oci.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("write closure statement: %w", err)
	}
	return data, nil
}

// ParseClosure reads a closure statement. Anybody can attach such a statement. Only its signatures
// prove something, after they were checked with trusted keys.
func ParseClosure(data []byte) (c *closure.Closure, system string, err error) {
	fail := func(err error) (*closure.Closure, string, error) {
		return nil, "", fmt.Errorf("read closure statement: %w", err)
	}
	var head struct {
		MediaType string   `json:"mediaType"`
		System    string   `json:"system"`
		Roots     []string `json:"roots"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fail(err)
	}
	if head.MediaType != ClosureType {
		return fail(fmt.Errorf("media type is %q, not %s", head.MediaType, ClosureType))
	}
	infos, err := closure.ParseGraph(data)
	if err != nil {
		return fail(err)
	}
	var roots []closure.StorePath
	for _, r := range head.Roots {
		p, err := closure.ParseStorePath(r)
		if err != nil {
			return fail(fmt.Errorf("roots: %w", err))
		}
		roots = append(roots, p)
	}
	if c, err = closure.New(roots, infos); err != nil {
		return fail(err)
	}
	return c, head.System, nil
}

// Complete returns c with the derivers and signatures from stated. It copies these only for paths
// with equal narHash, size and references.
func Complete(c, stated *closure.Closure) (*closure.Closure, error) {
	infos := slices.Clone(c.Paths)
	for i := range infos {
		p := &infos[i]
		if s := stated.Info(p.Path); s != nil && s.NarHash == p.NarHash && s.NarSize == p.NarSize && slices.Equal(s.References, p.References) {
			p.Deriver, p.Signatures = s.Deriver, s.Signatures
		}
	}
	return closure.New(c.Roots, infos)
}
