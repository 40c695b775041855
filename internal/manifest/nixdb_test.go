package manifest

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/cputime"
)

// graph returns a closure of n paths. Each path refers to at most refs earlier paths. Some
// paths refer to themselves. Names have all lengths that Nix allows.
func graph(t testing.TB, n, refs int) *closure.Closure {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(n), uint64(refs)))
	infos := make([]closure.Info, n)
	for i := range infos {
		name := fmt.Sprintf("p%d", i)
		if i%7 == 3 {
			name += strings.Repeat("x", r.IntN(211-len(name)))
		}
		infos[i] = info(t, name, 1+r.Int64N(1<<uint(1+r.IntN(40))))
		if i%11 == 5 {
			infos[i].CA = "fixed:r:sha256:1l2xhxs4qs5d3xv6yyjwpxdpb0nlgvqg7c3q5ixyp4b9vj4x8y1j"
		}
		for range min(i, r.IntN(refs+1)) {
			infos[i].References = append(infos[i].References, infos[r.IntN(i)].Path)
		}
		if i%3 == 0 {
			infos[i].References = append(infos[i].References, infos[i].Path)
		}
	}
	c, err := closure.New(nil, infos)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func openDatabase(t testing.TB, data []byte) *sql.DB {
	t.Helper()
	file := filepath.Join(t.TempDir(), "db.sqlite")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func rows(t testing.TB, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	statement := prepared(t, db, query)
	defer statement.Close()
	return rowsOf(t, statement, args...)
}

// prepared returns a statement for rowsOf. SQLite parses the statement only once.
func prepared(t testing.TB, db *sql.DB, query string) *sql.Stmt {
	t.Helper()
	statement, err := db.Prepare(query)
	if err != nil {
		t.Fatal(query, err)
	}
	return statement
}

func rowsOf(t testing.TB, statement *sql.Stmt, args ...any) []string {
	t.Helper()
	r, err := statement.Query(args...)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out []string
	for r.Next() {
		var s sql.NullString
		if err := r.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s.String)
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestNixDatabase: SQLite itself must find every row through the indices.
func TestNixDatabase(t *testing.T) {
	for _, size := range []struct{ paths, refs int }{{1, 0}, {2, 1}, {10, 3}, {410, 12}, {600, 590}, {5000, 8}} {
		t.Run(fmt.Sprintf("%d paths", size.paths), func(t *testing.T) {
			c := graph(t, size.paths, size.refs)
			data, err := WriteNixDatabase(c)
			if err != nil {
				t.Fatal(err)
			}
			db := openDatabase(t, data)
			if got := rows(t, db, "pragma integrity_check"); !slices.Equal(got, []string{"ok"}) {
				t.Fatalf("integrity_check: %q", got)
			}
			if got := rows(t, db, "pragma foreign_key_check"); len(got) > 0 {
				t.Fatalf("foreign_key_check: %q", got)
			}
			if got := rows(t, db, "pragma freelist_count"); got[0] != "0" {
				t.Errorf("%s free pages", got[0])
			}
			var want, got []string
			for _, p := range c.Paths {
				var refs []string
				for _, r := range p.References {
					refs = append(refs, string(r))
				}
				want = append(want, fmt.Sprintf("%s %s 1 %d '%s' - - - [%s]", p.Path, p.NarHash.Hex(), p.NarSize, p.CA, strings.Join(refs, " ")))
			}
			// Use the statements of Nix, which search the indices.
			find := prepared(t, db, `select id, path || ' ' || hash || ' ' || registrationTime || ' ' || narSize || ' ''' || ifnull(ca, '') || ''' ' ||
					ifnull(deriver, '-') || ' ' || ifnull(ultimate, '-') || ' ' || ifnull(sigs, '-') from ValidPaths where path = ?`)
			defer find.Close()
			references := prepared(t, db, "select path from Refs join ValidPaths on reference = id where referrer = ?")
			defer references.Close()
			for _, path := range rows(t, db, "select path from ValidPaths order by id") {
				var id int64
				var line string
				if err := find.QueryRow(path).Scan(&id, &line); err != nil {
					t.Fatal(path, err)
				}
				refs := rowsOf(t, references, id)
				slices.Sort(refs)
				got = append(got, line+" ["+strings.Join(refs, " ")+"]")
			}
			if !slices.Equal(got, want) {
				t.Errorf("database holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			for _, p := range []closure.StorePath{c.Paths[0].Path, c.Paths[len(c.Paths)/2].Path, c.Paths[len(c.Paths)-1].Path} {
				referrers := rows(t, db, `select path from Refs join ValidPaths on referrer = id
					where reference = (select id from ValidPaths where path = ?) order by path`, string(p))
				var want []string
				for _, q := range c.Paths {
					if slices.Contains(q.References, p) {
						want = append(want, string(q.Path))
					}
				}
				if !slices.Equal(referrers, want) {
					t.Errorf("referrers of %s: %q, want %q", p, referrers, want)
				}
			}
		})
	}
}

// TestNixDatabaseIsWritable: Nix must be able to write to the database, to register and to
// delete paths.
func TestNixDatabaseIsWritable(t *testing.T) {
	c := graph(t, 410, 12)
	data, err := WriteNixDatabase(c)
	if err != nil {
		t.Fatal(err)
	}
	db := openDatabase(t, data)
	db.SetMaxOpenConns(1)
	for _, q := range []string{
		"pragma foreign_keys = 1",
		"pragma main.journal_mode = wal",
		"insert into ValidPaths (path, hash, registrationTime, narSize) values ('/nix/store/zzzz', 'sha256:00', 5, 5)",
		"insert into Refs (referrer, reference) select max(id), 1 from ValidPaths",
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(q, err)
		}
	}
	if got := rows(t, db, "select id from ValidPaths where path = '/nix/store/zzzz'"); got[0] != "411" {
		t.Errorf("the next id is %s, want 411", got[0])
	}
	// Delete roots first, as the garbage collector does. The trigger must make it possible to
	// delete a path that refers to itself.
	for left := 411; left > 0; {
		res, err := db.Exec(`delete from ValidPaths where id not in (select reference from Refs where referrer <> reference)`)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := res.RowsAffected()
		if n == 0 {
			t.Fatalf("%d paths cannot be deleted", left)
		}
		left -= int(n)
	}
	if got := rows(t, db, "select count(*) from Refs"); got[0] != "0" {
		t.Errorf("%s references are left", got[0])
	}
	if got := rows(t, db, "pragma integrity_check"); got[0] != "ok" {
		t.Errorf("integrity_check: %q", got)
	}
}

// TestNixSchema: the stored schema must be the text that SQLite itself stores when it runs
// Nix's statements in an empty database.
func TestNixSchema(t *testing.T) {
	db := openDatabase(t, nil)
	for _, q := range []string{sqlValidPaths, sqlRefs, sqlIndexReference, sqlDeleteSelfRefs, sqlDerivationOutputs, sqlIndexDerivationOutputs} {
		q := strings.NewReplacer("CREATE TABLE ", "create table if not exists ", "CREATE INDEX ", "create index if not exists ",
			"CREATE TRIGGER ", "create trigger if not exists ").Replace(q)
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	data, err := WriteNixDatabase(graph(t, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	const q = "select type || '|' || name || '|' || tbl_name || '|' || ifnull(sql, '') from sqlite_schema order by rowid"
	got, want := rows(t, openDatabase(t, data), q), rows(t, db, q)
	if !slices.Equal(got, want) {
		t.Errorf("schema is\n%s\nSQLite makes\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRecord(t *testing.T) {
	// The serial types and their sizes: fileformat2, 2.1.
	for v, want := range map[int64]string{
		0: "0208", 1: "0209", 2: "020102", -1: "0201ff", 127: "02017f", 128: "02020080", -129: "0202ff7f", 32768: "0203008000",
		1 << 23: "020400800000", 1 << 31: "0205000080000000", 1 << 47: "02060000800000000000",
	} {
		if got := fmt.Sprintf("%x", record([]any{v})); got != want {
			t.Errorf("record(%d) is %s, want %s", v, got, want)
		}
	}
	long := record([]any{strings.Repeat("x", 300)})
	if got := fmt.Sprintf("%x", long[:3]); got != "038465" {
		t.Errorf("record of 300 bytes starts %s, want 038465", got)
	}
	for v, want := range map[uint64]string{0: "00", 127: "7f", 128: "8100", 16383: "ff7f", 16384: "818000", 1<<32 - 1: "8fffffff7f"} {
		if got := fmt.Sprintf("%x", varint(nil, v)); got != want {
			t.Errorf("varint(%d) is %s, want %s", v, got, want)
		}
	}
}

func TestNixDatabaseRefusesOverflow(t *testing.T) {
	i := info(t, "a", 1)
	i.CA = strings.Repeat("x", maxTableRecord)
	c, err := closure.New(nil, []closure.Info{i})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WriteNixDatabase(c); err == nil || !strings.Contains(err.Error(), "more than a page holds") {
		t.Errorf("a content address of %d bytes: %v", len(i.CA), err)
	}
}

func BenchmarkNixDatabase(b *testing.B) {
	c := graph(b, 410, 12)
	b.ReportAllocs()
	defer cputime.Report(b)()
	for b.Loop() {
		if _, err := WriteNixDatabase(c); err != nil {
			b.Fatal(err)
		}
	}
}
