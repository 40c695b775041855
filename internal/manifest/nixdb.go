package manifest

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nixoci/nixoci/internal/closure"
)

// NixSchema is the content of the file nix/var/nix/db/schema (nix, local-store.hh,
// nixSchemaVersion). Like Nix, nixoci writes no newline after it.
const NixSchema = "10"

// registrationTime is the registration time of every path. Like the mtime of store files, it
// is 1, so that it does not depend on the clock. 0 would mean "not known" to Nix, which would
// then use the current time.
const registrationTime = 1

// The statements of the schema, as SQLite stores them. The text from the name of the table or
// index on is that of src/libstore/schema.sql in nix. The statements affect bytes.
const (
	sqlValidPaths = `CREATE TABLE ValidPaths (
    id               integer primary key autoincrement not null,
    path             text unique not null,
    hash             text not null, -- base16 representation
    registrationTime integer not null,
    deriver          text,
    narSize          integer,
    ultimate         integer, -- null implies "false"
    sigs             text, -- space-separated
    ca               text -- if not null, an assertion that the path is content-addressed; see ValidPathInfo
)`
	sqlSequence = `CREATE TABLE sqlite_sequence(name,seq)`
	sqlRefs     = `CREATE TABLE Refs (
    referrer  integer not null,
    reference integer not null,
    primary key (referrer, reference),
    foreign key (referrer) references ValidPaths(id) on delete cascade,
    foreign key (reference) references ValidPaths(id) on delete restrict
)`
	sqlIndexReference = `CREATE INDEX IndexReference on Refs(reference)`
	sqlDeleteSelfRefs = `CREATE TRIGGER DeleteSelfRefs before delete on ValidPaths
  begin
    delete from Refs where referrer = old.id and reference = old.id;
  end`
	sqlDerivationOutputs = `CREATE TABLE DerivationOutputs (
    drv  integer not null,
    id   text not null, -- symbolic output id, usually "out"
    path text not null,
    primary key (drv, id),
    foreign key (drv) references ValidPaths(id) on delete cascade
)`
	sqlIndexDerivationOutputs = `CREATE INDEX IndexDerivationOutputs on DerivationOutputs(path)`
)

// databaseRef is a row of the table Refs.
type databaseRef struct{ from, to int64 }

func databaseRefs(c *closure.Closure) ([]databaseRef, error) {
	var refs []databaseRef
	for i := range c.Paths {
		for _, r := range c.Paths[i].References {
			to, ok := c.Index(r)
			if !ok {
				return nil, fmt.Errorf("%s refers to %s: %w", c.Paths[i].Path, r, closure.ErrMissingReference)
			}
			refs = append(refs, databaseRef{int64(i + 1), int64(to + 1)})
		}
	}
	slices.SortFunc(refs, func(a, b databaseRef) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	return refs, nil
}

// WriteNixDatabase makes a Nix database, schema 10, that contains exactly the paths of c. It
// depends only on their paths, narHashes, narSizes, references and content addresses. It does
// not record who built or signed a path. Ids are in the order of the store paths.
//
// A path has no signature and is not marked as "ultimate". It is valid inside the container,
// but other stores need not trust it without a signature. The table DerivationOutputs is
// empty even if c contains derivations, because WriteNixDatabase does not read them. Nix
// reads derivations itself when it builds them.
func WriteNixDatabase(c *closure.Closure) ([]byte, error) {
	refs, err := databaseRefs(c)
	if err != nil {
		return nil, fmt.Errorf("nix database: %w", err)
	}
	byTarget := make([]int, len(refs)) // indices into refs, sorted by the target
	for i := range byTarget {
		byTarget[i] = i
	}
	slices.SortFunc(byTarget, func(a, b int) int { return cmp.Or(cmp.Compare(refs[a].to, refs[b].to), cmp.Compare(a, b)) })

	f := newSQLiteFile()
	// Add the tables and indices in the order of Nix's schema.
	for _, add := range []func() error{
		func() error {
			return f.table("ValidPaths", sqlValidPaths, len(c.Paths), func(id int64) []any {
				p := &c.Paths[id-1]
				var ca any
				if p.CA != "" {
					ca = p.CA
				}
				// SQLite stores the id as the rowid, outside the record, so the record
				// contains nil.
				return []any{nil, string(p.Path), p.NarHash.Hex(), int64(registrationTime), nil, p.NarSize, nil, nil, ca}
			})
		},
		func() error {
			return f.index("sqlite_autoindex_ValidPaths_1", "ValidPaths", "", len(c.Paths), func(i int) []any {
				return []any{string(c.Paths[i].Path), int64(i + 1)}
			})
		},
		func() error {
			return f.table("sqlite_sequence", sqlSequence, 1, func(int64) []any { return []any{"ValidPaths", int64(len(c.Paths))} })
		},
		func() error {
			return f.table("Refs", sqlRefs, len(refs), func(id int64) []any { return []any{refs[id-1].from, refs[id-1].to} })
		},
		func() error {
			return f.index("sqlite_autoindex_Refs_1", "Refs", "", len(refs), func(i int) []any {
				return []any{refs[i].from, refs[i].to, int64(i + 1)}
			})
		},
		func() error {
			return f.index("IndexReference", "Refs", sqlIndexReference, len(refs), func(i int) []any {
				return []any{refs[byTarget[i]].to, int64(byTarget[i] + 1)}
			})
		},
		func() error { f.trigger("DeleteSelfRefs", "ValidPaths", sqlDeleteSelfRefs); return nil },
		func() error { return f.table("DerivationOutputs", sqlDerivationOutputs, 0, nil) },
		func() error { return f.index("sqlite_autoindex_DerivationOutputs_1", "DerivationOutputs", "", 0, nil) },
		func() error {
			return f.index("IndexDerivationOutputs", "DerivationOutputs", sqlIndexDerivationOutputs, 0, nil)
		},
	} {
		if err := add(); err != nil {
			return nil, fmt.Errorf("nix database: %w", err)
		}
	}
	data, err := f.finish()
	if err != nil {
		return nil, fmt.Errorf("nix database: %w", err)
	}
	return data, nil
}
