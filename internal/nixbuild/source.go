package nixbuild

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/limit"
)

// Origin describes the files that Nix evaluated for an [Argument]. An Origin that is
// not Dirty names the same files on every machine that can reach its URLs.
type Origin struct {
	// The first four fields describe a flake. URL is its locked flake reference,
	// with revision and narHash.
	URL      string
	Revision string // revision of git or Mercurial; "" if there is none
	NarHash  string // in SRI form; "" if Nix does not report it
	Dirty    bool   // the repository has changes that are not committed

	// The next two fields describe a file with a NixOS configuration.
	File       string       // absolute name
	FileDigest closure.Hash // sha256 of the file; it does not cover files that the file imports

	// Nixpkgs is the locked flake reference that replaced the input nixpkgs, or ""
	// if nothing replaced it.
	Nixpkgs string

	// Inputs are the locked inputs of the flake. For a file and the base system,
	// they are the inputs of the flake that nixoci ships.
	Inputs []Input
}

// Input describes a locked input of a flake.
type Input struct {
	Name     string // name of the node in the lock file
	URL      string // locked flake reference
	Revision string
	NarHash  string // SRI
}

// source asks Nix for the current source of a.
func (n *Nix) source(ctx context.Context, a Argument) (*Origin, error) {
	ref, own := n.flake, true
	if a.Flake != "" {
		ref, _, _ = strings.Cut(a.Flake, "#")
		own = false
		if ref == "" {
			ref = "."
		}
	}
	args := append([]string{"--extra-experimental-features", "nix-command flakes", "flake", "metadata", "--json"}, n.overrides()...)
	if own {
		args = append(args, "--no-write-lock-file")
	}
	args = append(args, n.storeArgs()...)
	quiet := *n
	quiet.Progress = nil
	out, err := quiet.run(ctx, "nix", append(args, "--", ref))
	if err != nil {
		return nil, fmt.Errorf("find the source: %w", err)
	}
	s, err := parseMetadata(out)
	if err != nil {
		return nil, fmt.Errorf("find the source: %w", err)
	}
	if n.Nixpkgs == "" {
		s.Nixpkgs = ""
	}
	if own {
		s.URL, s.NarHash = "", "" // do not report the temporary directory of the shipped flake
	}
	if a.File != "" {
		s.File = a.File
		if s.FileDigest, err = hashFile(a.File); err != nil {
			return nil, fmt.Errorf("find the source: %w", err)
		}
	}
	return s, nil
}

// errChanged means that nixoci cannot tell which files Nix has read.
var errChanged = errors.New("the source changed while Nix evaluated it; its provenance is unknown")

// evaluateSource evaluates a, and returns the source that Nix read. If the source
// changes during the evaluation, evaluateSource evaluates once more. The first
// evaluation may itself change the source, because Nix writes a missing lock file.
func (n *Nix) evaluateSource(ctx context.Context, a Argument, systems []string) ([]derivation, *Origin, error) {
	before, err := n.source(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	for range 2 {
		drvs, err := n.evaluate(ctx, a, systems)
		if err != nil {
			return nil, nil, err
		}
		after, err := n.source(ctx, a)
		if err != nil {
			return nil, nil, err
		}
		if reflect.DeepEqual(before, after) {
			return drvs, after, nil
		}
		before = after
	}
	return nil, nil, errChanged
}

// metadata holds the fields that nixoci uses from the output of nix flake metadata
// --json.
type metadata struct {
	Locked attributes `json:"locked"`
	Locks  struct {
		Nodes map[string]struct {
			Locked attributes                 `json:"locked"`
			Inputs map[string]json.RawMessage `json:"inputs"`
		} `json:"nodes"`
		Root string `json:"root"`
	} `json:"locks"`
}

// attributes holds the attributes of a flake reference. Each value is a text, a
// number or a boolean.
type attributes map[string]any

// parseMetadata reads the output of nix flake metadata --json. The output contains
// the lock file, into which the author of the flake can put anything.
func parseMetadata(data []byte) (*Origin, error) {
	if len(data) > limit.FlakeLock {
		return nil, fmt.Errorf("the metadata of the flake has %d bytes, at most %d are read", len(data), limit.FlakeLock)
	}
	var m metadata
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("read what nix flake metadata prints: %w", err)
	}
	if len(m.Locks.Nodes) > limit.FlakeInputs+1 {
		return nil, fmt.Errorf("the flake has %d inputs, at most %d are read", len(m.Locks.Nodes)-1, limit.FlakeInputs)
	}
	s := &Origin{Revision: m.Locked.text("rev"), NarHash: m.Locked.text("narHash")}
	var err error
	if s.URL, err = m.Locked.url(); err != nil {
		return nil, fmt.Errorf("read what nix flake metadata prints: %w", err)
	}
	kind := m.Locked.text("type")
	s.Dirty = s.Revision == "" && (kind == "git" || kind == "hg")
	for _, name := range slices.Sorted(maps.Keys(m.Locks.Nodes)) {
		node := m.Locks.Nodes[name]
		if name == m.Locks.Root || node.Locked == nil {
			continue
		}
		in := Input{Name: name, Revision: node.Locked.text("rev"), NarHash: node.Locked.text("narHash")}
		if in.URL, err = node.Locked.url(); err != nil {
			return nil, fmt.Errorf("read the lock of the input %s: %w", name, err)
		}
		s.Inputs = append(s.Inputs, in)
	}
	var nixpkgs string
	if json.Unmarshal(m.Locks.Nodes[m.Locks.Root].Inputs["nixpkgs"], &nixpkgs) == nil {
		for _, in := range s.Inputs {
			if in.Name == nixpkgs {
				s.Nixpkgs = in.URL
			}
		}
	}
	return s, nil
}

// text returns an attribute as text for a URL, or "" if it is missing.
func (a attributes) text(name string) string {
	switch v := a[name].(type) {
	case string:
		return v
	case bool:
		if v {
			return "1"
		}
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// described lists the attributes that only describe a locked tree. Nix can compute
// them again, so a flake reference does not need them.
var described = []string{"revCount", "dirtyRev", "dirtyShortRev", "__final"}

// url returns the attributes as a flake reference (nix3-flake(1), "Flake
// references"). For a git repository, Nix derives lastModified from the revision.
// For a directory or tarball, the reference must contain lastModified.
func (a attributes) url() (string, error) {
	kind := a.text("type")
	var base string
	query := url.Values{}
	drop := append(slices.Clone(described), "type")
	need := func(names ...string) error {
		for _, n := range names {
			if a.text(n) == "" {
				return fmt.Errorf("a reference of type %q has no %s", kind, n)
			}
		}
		drop = append(drop, names...)
		return nil
	}
	var err error
	switch kind {
	case "github", "gitlab", "sourcehut":
		err = need("owner", "repo")
		base = kind + ":" + url.PathEscape(a.text("owner")) + "/" + url.PathEscape(a.text("repo"))
		if rev := a.text("rev"); rev != "" {
			base += "/" + url.PathEscape(rev)
			drop = append(drop, "rev", "ref")
		}
		drop = append(drop, "lastModified")
	case "git", "hg":
		err = need("url")
		base = kind + "+" + a.text("url")
		drop = append(drop, "lastModified")
	case "tarball", "file":
		err = need("url")
		if base = a.text("url"); !strings.HasPrefix(base, kind+"+") {
			base = kind + "+" + base
		}
	case "path":
		err = need("path")
		base = "path:" + (&url.URL{Path: a.text("path")}).EscapedPath()
	default:
		err = fmt.Errorf("a locked reference has the type %q, which is unknown", kind)
	}
	if err == nil && strings.ContainsFunc(base, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' }) {
		err = fmt.Errorf("the address %q is no URL", base)
	}
	if err != nil {
		return "", err
	}
	for name := range a {
		if v := a.text(name); v != "" && !slices.Contains(drop, name) {
			query.Set(name, v)
		}
	}
	if len(query) == 0 {
		return base, nil
	}
	separator := "?"
	if strings.Contains(base, "?") {
		separator = "&"
	}
	return base + separator + query.Encode(), nil
}

// hashFile returns the sha256 of a file.
func hashFile(name string) (closure.Hash, error) {
	f, err := os.Open(name)
	if err != nil {
		return closure.Hash{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return closure.Hash{}, err
	}
	return closure.Hash(h.Sum(nil)), nil
}
