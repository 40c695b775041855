package closure

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	_ "modernc.org/sqlite" // the SQLite driver in pure Go, so that nixoci needs no cgo

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/limit"
)

// database is a read-only connection to a Nix database.
type database struct{ *sql.DB }

// withDatabase calls f with the database in file. f reads a consistent state, even
// if other processes write to the database. withDatabase creates no file in the
// directory of the database. By default, SQLite creates a -shm file there when it
// reads a database in WAL mode. An unprivileged user may not create this file, and
// root should not.
//
//   - If there is a -shm file, a writer has created the file. SQLite shares the file
//     with the writer.
//   - If there is only a -wal file, a crash or a copy left the file. f gets a private
//     copy of the database.
//   - If there is neither file, SQLite reads the database as immutable. If the
//     database changes meanwhile, withDatabase calls f again.
//   - If the database is not in WAL mode, SQLite uses a read lock.
func withDatabase(ctx context.Context, file string, f func(*database) error) error {
	const attempts = 5
	var err error
	for range attempts {
		before := stateOf(file)
		switch {
		case !before.walMode:
			err = openDatabase(ctx, file, "mode=ro", f)
			if err == nil || !before.journal {
				return err
			}
			// A writer may have died and left its journal. SQLite must first roll this
			// journal back, so use a copy.
			err = withCopy(ctx, file, "-journal", f)
		case before.shm:
			err = openDatabase(ctx, file, "mode=ro&readonly_shm=1", f)
			if err == nil {
				return nil
			}
		case before.wal > 0:
			err = withCopy(ctx, file, "-wal", f)
		default:
			err = openDatabase(ctx, file, "mode=ro&immutable=1", f)
		}
		if stateOf(file) == before {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err == nil {
		err = errors.New("it keeps changing")
	}
	return fmt.Errorf("read %s: %w", file, err)
}

// checkDatabaseFiles checks that all files that SQLite may open are regular.
// SQLite would wait for ever on a named pipe.
func checkDatabaseFiles(file string) error {
	for _, suffix := range []string{"", "-wal", "-journal", "-shm"} {
		f, err := limit.OpenFile(file + suffix)
		switch {
		case err == nil:
			f.Close()
		case suffix != "" && !errors.Is(err, limit.ErrSpecial): // SQLite does not need this file
		default:
			return err
		}
	}
	return nil
}

// databaseState describes the files of a database. withDatabase uses it to decide how
// to open the database. It changes when a process writes to the database.
type databaseState struct {
	walMode bool
	shm     bool
	journal bool
	wal     int64 // bytes of the -wal file
	size    int64
	mtime   int64
}

func stateOf(file string) databaseState {
	var s databaseState
	if f, err := limit.OpenFile(file); err == nil {
		// In SQLite's file format, the read version at offset 19 is 2 in WAL
		// mode.
		var b [1]byte
		if _, err := f.ReadAt(b[:], 19); err == nil {
			s.walMode = b[0] == 2
		}
		if st, err := f.Stat(); err == nil {
			s.size, s.mtime = st.Size(), st.ModTime().UnixNano()
		}
		f.Close()
	}
	if st, err := os.Stat(file + "-wal"); err == nil {
		s.wal = st.Size()
	}
	if st, err := os.Stat(file + "-journal"); err == nil {
		s.journal = st.Size() > 0
	}
	_, err := os.Stat(file + "-shm")
	s.shm = err == nil
	return s
}

func openDatabase(ctx context.Context, file, options string, f func(*database) error) error {
	dsn := "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + options + "&_pragma=busy_timeout(10000)"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return fmt.Errorf("open %s: %w", file, err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if err := f(&database{db}); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}

// withCopy copies two files, the database file and file+suffix, to a temporary
// directory. It calls f with the copied database.
func withCopy(ctx context.Context, file, suffix string, f func(*database) error) error {
	dir, remove, err := atomicfile.TempDir(os.TempDir())
	if err != nil {
		return fmt.Errorf("copy %s: %w", file, err)
	}
	defer remove()
	to := filepath.Join(dir, "db.sqlite")
	for _, s := range []string{"", suffix} {
		if err := copyFile(to+s, file+s); err != nil {
			return fmt.Errorf("copy %s: %w", file, err)
		}
	}
	return openDatabase(ctx, to, "mode=rw", f)
}

func copyFile(to, from string) error {
	r, err := limit.OpenFile(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, r); err != nil {
		w.Close()
		return err
	}
	return w.Close()
}

// closureQuery returns one row for each path that is reachable from the roots. The
// parameter is a JSON array of the roots. The references of a path are one list of
// ids in its row, because a row for each reference would take more time.
const closureQuery = `
WITH RECURSIVE reached(id) AS (
	SELECT id FROM ValidPaths WHERE path IN (SELECT value FROM json_each(?))
	UNION
	SELECT reference FROM Refs JOIN reached ON referrer = reached.id
)
SELECT reached.id, path, hash, narSize, deriver, sigs, ca,
	(SELECT group_concat(reference) FROM Refs WHERE referrer = reached.id)
FROM reached LEFT JOIN ValidPaths USING (id)`

// maxRowText limits the bytes in the text columns of all rows, without the
// references. A path and its hash have about 200 bytes.
const maxRowText = limit.PathText + 300*limit.Paths

// pathRow holds an unchecked row of the database. Any column may contain any value.
type pathRow struct {
	id                      int64
	path, hash              sql.NullString
	narSize                 sql.NullInt64
	deriver, sigs, ca, refs sql.NullString
}

// closure returns the closure of roots, in any order. It leaves out roots that the
// database does not contain.
func (db *database) closure(ctx context.Context, roots []StorePath) ([]Info, error) {
	arg, err := json.Marshal(roots)
	if err != nil {
		return nil, err
	}
	return db.query(ctx, closureQuery, string(arg))
}

// query runs a query that returns the same columns as closureQuery. It returns the
// infos from the rows.
func (db *database) query(ctx context.Context, query string, args ...any) ([]Info, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []pathRow
	var references, text int
	for rows.Next() {
		var r pathRow
		if err := rows.Scan(&r.id, &r.path, &r.hash, &r.narSize, &r.deriver, &r.sigs, &r.ca, &r.refs); err != nil {
			return nil, err
		}
		references += strings.Count(r.refs.String, ",")
		text += len(r.path.String) + len(r.hash.String) + len(r.deriver.String) + len(r.sigs.String) + len(r.ca.String)
		switch all = append(all, r); {
		case len(all) > limit.Paths:
			return nil, errTooManyPaths
		case references > limit.References:
			return nil, fmt.Errorf("the closure has more than %d references", limit.References)
		case text > maxRowText:
			return nil, fmt.Errorf("the closure's signatures, derivers and content addresses have more than %d bytes", maxRowText)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return infosOf(all)
}

// infosOf checks the rows and replaces the ids of references with paths.
func infosOf(rows []pathRow) ([]Info, error) {
	infos := make([]Info, len(rows))
	var m meter
	byID := make(map[int64]StorePath, len(rows))
	for i := range rows {
		r, info := &rows[i], &infos[i]
		if !r.path.Valid {
			return nil, fmt.Errorf("a reference names the path with the id %d, which does not exist", r.id)
		}
		var err error
		if info.Path, err = ParseStorePath(r.path.String); err != nil {
			return nil, err
		}
		byID[r.id] = info.Path
		if info.NarHash, err = ParseHash(r.hash.String); err != nil {
			return nil, fmt.Errorf("%s: narHash: %w", info.Path, err)
		}
		if info.NarSize = r.narSize.Int64; info.NarSize <= 0 {
			return nil, fmt.Errorf("%s: narSize is %d", info.Path, info.NarSize)
		}
		info.CA = r.ca.String
		info.Signatures = strings.Fields(r.sigs.String)
		if r.deriver.String != "" {
			deriver, err := ParseStorePath(r.deriver.String)
			if err != nil {
				return nil, fmt.Errorf("%s: deriver: %w", info.Path, err)
			}
			info.Deriver = deriver.Base()
		}
	}
	for i := range rows {
		if rows[i].refs.String == "" {
			continue
		}
		ids := strings.Split(rows[i].refs.String, ",")
		refs := make([]StorePath, len(ids))
		for j, s := range ids {
			id, err := strconv.ParseInt(s, 10, 64)
			ref, ok := byID[id]
			if err != nil || !ok {
				return nil, fmt.Errorf("%s refers to a path with the id %q: %w", infos[i].Path, s, ErrMissingReference)
			}
			refs[j] = ref
		}
		slices.Sort(refs)
		infos[i].References = refs
	}
	for i := range infos {
		if err := m.add(&infos[i]); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

const allQuery = `
SELECT id, path, hash, narSize, deriver, sigs, ca,
	(SELECT group_concat(reference) FROM Refs WHERE referrer = ValidPaths.id)
FROM ValidPaths`

// ReadDatabase returns all paths of a Nix database with schema 10, in any order. No
// other process may write to the file meanwhile. The file may come from an untrusted
// source: ReadDatabase returns an error for anything that Nix would not write.
func ReadDatabase(ctx context.Context, file string) ([]Info, error) {
	var infos []Info
	err := openDatabase(ctx, file, "mode=ro&immutable=1", func(db *database) error {
		// Reject views with these names, because a query on a view could run for ever.
		var tables int
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('ValidPaths', 'Refs')`).Scan(&tables); err != nil {
			return err
		}
		if tables != 2 {
			return errors.New("it has no tables ValidPaths and Refs")
		}
		var dangling int
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM Refs WHERE referrer NOT IN (SELECT id FROM ValidPaths)`).Scan(&dangling); err != nil {
			return err
		}
		if dangling > 0 {
			return fmt.Errorf("%d references belong to paths that the database does not have", dangling)
		}
		var err error
		infos, err = db.query(ctx, allQuery)
		return err
	})
	return infos, err
}
