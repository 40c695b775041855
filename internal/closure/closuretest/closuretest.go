// Package closuretest provides store paths in memory for tests.
package closuretest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/nar"
)

// StorePath returns the store path with this name. Its hash depends only on the name.
func StorePath(name string) closure.StorePath {
	const digits = "0123456789abcdfghijklmnpqrsvwxyz"
	sum := sha256.Sum256([]byte(name))
	hash := ""
	for _, b := range sum {
		hash += digits[b%32 : b%32+1]
	}
	return closure.StorePath(closure.StoreDir + "/" + hash + "-" + name)
}

// Tree describes the files of a store path. It maps a name to "-> target" for a symlink, to
// "x content" for a program, or to "f content" for a file. The directories are those in the
// names. If the store path is itself a file or a symlink, its name is "".
type Tree map[string]string

// Visit calls v for every entry, in NAR order.
func (t Tree) Visit(v nar.Visitor) error {
	all := Tree{}
	maps.Copy(all, t)
	for name := range t {
		for dir := path.Dir(name); name != "" && dir != "."; dir = path.Dir(dir) {
			all[dir] = "d"
		}
	}
	if _, single := t[""]; !single {
		all[""] = "d"
	}
	// A NAR sorts the names in each directory bytewise, not the complete paths.
	names := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
	for _, name := range names {
		kind, content, _ := strings.Cut(all[name], " ")
		var err error
		switch kind {
		case "d":
			err = v.Directory(name)
		case "->":
			err = v.Symlink(name, content)
		default:
			err = v.File(name, kind == "x", int64(len(content)), strings.NewReader(content))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Store is a [closure.Source] of trees. It counts how often a test reads a tree.
type Store struct {
	Trees map[closure.StorePath]Tree
	Reads int
}

// Add adds the store path p to the store. It returns p's Info, with the narHash and the narSize of
// the tree.
func (s *Store) Add(t testing.TB, p closure.StorePath, tree Tree) closure.Info {
	t.Helper()
	if s.Trees == nil {
		s.Trees = map[closure.StorePath]Tree{}
	}
	s.Trees[p] = tree
	var archive bytes.Buffer
	w := nar.NewWriter(&archive)
	if err := errors.Join(tree.Visit(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return closure.Info{Path: p, NarHash: sha256.Sum256(archive.Bytes()), NarSize: int64(archive.Len())}
}

// Closure implements [closure.Source]. Tests make their closures themselves, so it returns an error.
func (s *Store) Closure(context.Context, []closure.StorePath) (*closure.Closure, error) {
	return nil, errors.New("a test's store does not list closures")
}

// Tree implements [closure.Source].
func (s *Store) Tree(_ context.Context, info *closure.Info, v nar.Visitor) error {
	s.Reads++
	return s.Trees[info.Path].Visit(v)
}
