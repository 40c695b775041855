package closure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/nar"
)

// LocalStore is a Source that reads a Nix store in a file system. It reads the graph
// from the database below nix/var/nix/db, and the trees from nix/store. It needs no
// Nix and writes nothing. Nix may write to the store at the same time.
type LocalStore struct {
	root string // the directory that contains /nix
	*storeTree
}

// schemaVersion is the version of the database schema in Nix since 2.0, and in Lix.
const schemaVersion = "10"

// ErrNotInStore is wrapped by errors about store paths that a source does not
// contain.
var ErrNotInStore = errors.New("no such store path")

// OpenLocal opens the store below root. For example, "/" is the machine's own
// store, and "/mnt" is the store in /mnt/nix/store.
func OpenLocal(root string) (*LocalStore, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s := &LocalStore{root: root, storeTree: newStoreTree(filepath.Join(root, StoreDir))}
	if err := checkDatabaseFiles(s.database()); err != nil {
		err = fmt.Errorf("open store %s: no Nix database: %w", root, err)
		if errors.Is(err, fs.ErrNotExist) {
			err = hint.Add(err, "name the directory that has nix/store and nix/var/nix/db with --from, or a binary cache")
		}
		return nil, err
	}
	schemaFile := filepath.Join(filepath.Dir(s.database()), "schema")
	schema, err := limit.ReadFile(schemaFile, 64)
	if err != nil {
		return nil, fmt.Errorf("open store %s: schema of the Nix database: %w", root, err)
	}
	if v := strings.TrimSpace(string(schema)); v != schemaVersion {
		return nil, hint.Add(fmt.Errorf("open store %s: the Nix database has schema %q, and nixoci supports only %s", root, v, schemaVersion),
			"a newer nixoci may know it; a graph file made by `nix path-info --json -r` works with any Nix")
	}
	return s, nil
}

// Root returns the directory that contains nix/store.
func (s *LocalStore) Root() string { return s.root }

func (s *LocalStore) database() string { return filepath.Join(s.root, "nix/var/nix/db/db.sqlite") }

// Closure reads only the database. It opens no file of the store.
func (s *LocalStore) Closure(ctx context.Context, roots []StorePath) (*Closure, error) {
	infos, err := s.Infos(ctx, roots)
	if err != nil {
		return nil, err
	}
	have := make(map[StorePath]bool, len(infos))
	for i := range infos {
		have[infos[i].Path] = true
	}
	for _, r := range roots {
		if !have[r] {
			return nil, hint.Add(fmt.Errorf("store %s: %s: %w", s.root, r, ErrNotInStore),
				"get it first: `nix-store --realise "+string(r)+"`, or name where it is with --from")
		}
	}
	c, err := New(roots, infos)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", s.root, err)
	}
	return c, nil
}

// Tree reads the files of one store path.
func (s *LocalStore) Tree(ctx context.Context, info *Info, v nar.Visitor) error {
	return s.walk(ctx, info.Path, v)
}

// Lookup implements [FileSource].
func (s *LocalStore) Lookup(_ context.Context, info *Info, name string) (Entry, error) {
	return s.lookup(info.Path, name)
}

// ReadFile implements [FileSource]. It reads only the file name, so it cannot check
// the narHash.
func (s *LocalStore) ReadFile(_ context.Context, info *Info, name string, limit int64) ([]byte, error) {
	return s.readFile(info, name, limit)
}

func (s *LocalStore) mismatchHint(p StorePath) string {
	if s.root == "/" {
		return "the store is damaged; repair it: `nix-store --repair-path " + string(p) + "`"
	}
	return "the store is damaged; find all of it: `nix-store --verify --check-contents --store " + s.root + "`"
}

func (s *LocalStore) String() string { return "store " + s.root }

// Infos implements finderSource.
func (s *LocalStore) Infos(ctx context.Context, paths []StorePath) (infos []Info, err error) {
	err = withDatabase(ctx, s.database(), func(db *database) (err error) {
		infos, err = db.closure(ctx, paths)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", s.root, err)
	}
	return infos, nil
}
