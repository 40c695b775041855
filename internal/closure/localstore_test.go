package closure

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/hint/hinttest"
	"github.com/nixoci/nixoci/internal/nar"
	"github.com/nixoci/nixoci/internal/nar/nartest"
)

const rowA = "/nix/store/00000000000000000000000000000000-a"

// insertA is the SQL statement that adds rowA to a database.
const insertA = `insert into ValidPaths (path, hash, registrationTime, narSize)
	values ('` + rowA + `', 'sha256:0000000000000000000000000000000000000000000000000000000000000000', 1, 112)`

func execSQL(t testing.TB, dsn string, statements ...string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return db
}

func list(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestLocalStoreDatabaseStates checks every state in which a writer can leave the
// database. LocalStore must read the last transaction, and create no file in the
// directory of the database.
func TestLocalStoreDatabaseStates(t *testing.T) {
	tests := map[string]func(t *testing.T, db string){
		"writer is there": func(t *testing.T, db string) {
			execSQL(t, db, "pragma wal_autocheckpoint = 0", insertA)
		},
		"writer is in a transaction": func(t *testing.T, db string) {
			execSQL(t, db, "pragma wal_autocheckpoint = 0", insertA, "begin immediate",
				strings.ReplaceAll(insertA, "-a'", "-b'"))
		},
		"writer has left": func(t *testing.T, db string) {
			execSQL(t, db, insertA).Close()
		},
		"writer died": func(t *testing.T, db string) {
			w := execSQL(t, db, "pragma wal_autocheckpoint = 0", insertA)
			wal, shm := readFile(t, db+"-wal"), readFile(t, db+"-shm")
			whole := readFile(t, db)
			w.Close()
			writeFile(t, db, whole)
			writeFile(t, db+"-wal", wal)
			writeFile(t, db+"-shm", shm)
		},
		"copied without -shm": func(t *testing.T, db string) {
			w := execSQL(t, db, "pragma wal_autocheckpoint = 0", insertA)
			wal, whole := readFile(t, db+"-wal"), readFile(t, db)
			w.Close()
			writeFile(t, db, whole)
			writeFile(t, db+"-wal", wal)
		},
		"no WAL mode": func(t *testing.T, db string) {
			execSQL(t, db, "pragma journal_mode = delete", insertA).Close()
		},
		"no WAL mode, writer died": func(t *testing.T, db string) {
			w := execSQL(t, db, "pragma journal_mode = delete", insertA, "pragma cache_size = 1", "begin",
				"delete from ValidPaths where path = '"+rowA+"'", "update ValidPaths set narSize = 1",
				`with recursive n(i) as (select 1 union select i + 1 from n where i < 2000)
				insert into ValidPaths (path, hash, registrationTime) select '/nix/store/' || i, 'sha256:', 1 from n`)
			// SQLite's cache is smaller than the transaction. So SQLite has already
			// written a part of the transaction to the file.
			journal, whole := readFile(t, db+"-journal"), readFile(t, db)
			w.Close()
			if whole == readFile(t, db) {
				t.Fatal("nothing to roll back")
			}
			writeFile(t, db, whole)
			writeFile(t, db+"-journal", journal)
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, "nix/var/nix/db")
			db := filepath.Join(dir, "db.sqlite")
			writeFile(t, db, readFile(t, "testdata/db.sqlite"))
			writeFile(t, filepath.Join(dir, "schema"), "10\n")
			prepare(t, db)
			before := list(t, dir)
			s, err := OpenLocal(root)
			if err != nil {
				t.Fatal(err)
			}
			c, err := s.Closure(t.Context(), []StorePath{rowA, sampleTop(t)})
			if err != nil {
				t.Fatal(err)
			}
			if c.Info(rowA) == nil || len(c.Paths) != 8 {
				t.Errorf("%d paths", len(c.Paths))
			}
			if _, err := s.Closure(t.Context(), []StorePath{StorePath(strings.TrimSuffix(rowA, "a") + "b")}); !errors.Is(err, ErrNotInStore) {
				t.Errorf("a path of a transaction that did not end: %v", err)
			}
			if after := list(t, dir); !slices.Equal(before, after) {
				t.Errorf("before %q, after %q", before, after)
			}
		})
	}
}

func TestOpenLocalErrors(t *testing.T) {
	_, err := OpenLocal(t.TempDir())
	hinttest.Error(t, err, fs.ErrNotExist, "no Nix database")
	hinttest.Hint(t, err, "--from")

	root := t.TempDir()
	writeFile(t, filepath.Join(root, "nix/var/nix/db/db.sqlite"), readFile(t, "testdata/db.sqlite"))
	_, err = OpenLocal(root)
	hinttest.Error(t, err, fs.ErrNotExist, "schema")
	for _, schema := range []string{"11", "9", "", "ten"} {
		writeFile(t, filepath.Join(root, "nix/var/nix/db/schema"), schema)
		_, err = OpenLocal(root)
		hinttest.Error(t, err, nil, "nixoci supports only 10")
		hinttest.Hint(t, err, "path-info")
	}
	writeFile(t, filepath.Join(root, "nix/var/nix/db/schema"), strings.Repeat("1", 100))
	_, err = OpenLocal(root)
	hinttest.Error(t, err, nil, "more than 64 bytes")
}

func TestLocalStoreBadRows(t *testing.T) {
	tests := map[string]struct {
		sql  string
		want string
	}{
		"path":               {"update ValidPaths set path = '/foo' || path where path like '%-a'", "not below"},
		"path hash short":    {"update ValidPaths set path = '/nix/store/abc-a' where path like '%-a'", "hash has 3 characters"},
		"path hash letter":   {"update ValidPaths set path = '/nix/store/e0000000000000000000000000000000-a' where path like '%-a'", "base-32"},
		"path name":          {"update ValidPaths set path = path || '/x' where path like '%-a'", "forbidden character"},
		"path number":        {"update ValidPaths set path = 7 where path like '%-a'", "not below"},
		"hash":               {"update ValidPaths set hash = 'sha256:zz' where path like '%-a'", "narHash"},
		"hash of another":    {"update ValidPaths set hash = 'sha512:00' where path like '%-a'", "not a sha256"},
		"narSize null":       {"update ValidPaths set narSize = null where path like '%-a'", "narSize is 0"},
		"narSize negative":   {"update ValidPaths set narSize = -1 where path like '%-a'", "narSize is -1"},
		"narSize text":       {"update ValidPaths set narSize = 'many' where path like '%-a'", "narSize"},
		"deriver":            {"update ValidPaths set deriver = 'x.drv' where path like '%-a'", "deriver"},
		"reference to none":  {"pragma foreign_keys = off; insert into Refs select id, 4711 from ValidPaths where path like '%-a'", "4711"},
		"cycle":              {"insert into Refs select a.id, b.id from ValidPaths a, ValidPaths b where a.path like '%-a' and b.path like '%-b'", "cycle"},
		"no table":           {"drop table Refs", "no such table"},
		"columns are absent": {"alter table ValidPaths rename column narSize to size", "no such column"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			db := filepath.Join(root, "nix/var/nix/db/db.sqlite")
			writeFile(t, db, readFile(t, "testdata/db.sqlite"))
			writeFile(t, filepath.Join(filepath.Dir(db), "schema"), "10")
			execSQL(t, db, tt.sql).Close()
			s, err := OpenLocal(root)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Closure(t.Context(), []StorePath{sampleTop(t)})
			hinttest.Error(t, err, nil, tt.want)
			hinttest.Error(t, err, nil, root)
		})
	}
	t.Run("no database but bytes", func(t *testing.T) {
		root := t.TempDir()
		writeFile(t, filepath.Join(root, "nix/var/nix/db/db.sqlite"), strings.Repeat("nonsense", 1000))
		writeFile(t, filepath.Join(root, "nix/var/nix/db/schema"), "10")
		s, err := OpenLocal(root)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Closure(t.Context(), []StorePath{sampleTop(t)})
		hinttest.Error(t, err, nil, "not a database")
	})
}

func TestLocalStoreNotThere(t *testing.T) {
	s := sampleStore(t)
	_, err := s.Closure(t.Context(), []StorePath{sampleTop(t), rowA})
	hinttest.Error(t, err, ErrNotInStore, rowA)
	hinttest.Hint(t, err, "--realise")

	// A path is in the database, but not in the file system.
	c, err := s.Closure(t.Context(), []StorePath{sampleTop(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.Root(), string(sampleTop(t)))); err != nil {
		t.Fatal(err)
	}
	hinttest.Error(t, Walk(t.Context(), s, c.Info(sampleTop(t)), &nartest.Recorder{}), fs.ErrNotExist, string(sampleTop(t)))
}

func sampleTree(t testing.TB, s *LocalStore) *Info {
	t.Helper()
	c, err := s.Closure(t.Context(), []StorePath{sampleTop(t)})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(c.Paths, func(i Info) bool { return i.Path.Name() == "tree" })
	return &c.Paths[i]
}

// TestWalkDamage checks that Walk reports an error after a change of anything that a
// NAR records.
func TestWalkDamage(t *testing.T) {
	change := func(f func(tree string) error) func(*testing.T, string) {
		return func(t *testing.T, tree string) {
			if err := f(tree); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := map[string]struct {
		damage func(*testing.T, string)
		is     error
		want   string
	}{
		"one bit": {func(t *testing.T, tree string) {
			b := []byte(readFile(t, tree+"/large"))
			b[len(b)/2] ^= 1
			os.Remove(tree + "/large")
			writeFile(t, tree+"/large", string(b))
		}, nil, "narHash is sha256-"},
		"executable":     {change(func(tree string) error { return os.Chmod(tree+"/a.txt", 0o555) }), nil, "narHash is"},
		"not executable": {change(func(tree string) error { return os.Chmod(tree+"/run", 0o444) }), nil, "narHash is"},
		"a file is gone": {change(func(tree string) error { return os.Remove(tree + "/zero") }), nil, "narHash is"},
		"a file is new":  {change(func(tree string) error { return os.WriteFile(tree+"/new", nil, 0o444) }), nil, "narSize is at least"},
		"a file grew":    {change(func(tree string) error { return os.Truncate(tree+"/large", 1<<20) }), nil, "narSize is at least"},
		"a file shrank":  {change(func(tree string) error { return os.Truncate(tree+"/large", 10) }), nil, "narHash is"},
		"another symlink": {change(func(tree string) error {
			return errors.Join(os.Remove(tree+"/link"), os.Symlink("a/b/y", tree+"/link"))
		}), nil, "narHash is"},
		"a named pipe": {change(func(tree string) error { return syscall.Mkfifo(tree+"/pipe", 0o444) }), nar.ErrMalformed, "/pipe: malformed NAR: a named pipe"},
		"a socket": {change(func(tree string) error {
			// The name of a socket must be short. So create the socket with a
			// relative name.
			old, err := os.Getwd()
			if err != nil {
				return err
			}
			defer os.Chdir(old)
			if err := os.Chdir(tree); err != nil {
				return err
			}
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: "s"})
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			return l.Close()
		}), nar.ErrMalformed, "/s: malformed NAR: a socket"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := sampleStore(t)
			tree := sampleTree(t, s)
			dir := filepath.Join(s.Root(), string(tree.Path))
			// Make the files writable, because they are read-only in a store.
			for _, f := range []string{"large", "a.txt", "run"} {
				os.Chmod(filepath.Join(dir, f), map[bool]fs.FileMode{true: 0o755, false: 0o644}[f == "run"])
			}
			tt.damage(t, dir)
			err := Walk(t.Context(), s, tree, &nartest.Recorder{})
			hinttest.Error(t, err, tt.is, tt.want)
			hinttest.Error(t, err, nil, string(tree.Path))
			if _, ok := errors.AsType[*HashMismatchError](err); ok {
				hinttest.Error(t, err, nil, tree.NarHash.SRI())
				hinttest.Hint(t, err, "--verify")
			}
		})
	}
}

// TestWalkLeavesHostBehind checks that modes, owners and times of files do not
// change the NAR.
func TestWalkLeavesHostBehind(t *testing.T) {
	s := sampleStore(t)
	tree := sampleTree(t, s)
	dir := filepath.Join(s.Root(), string(tree.Path))
	for name, mode := range map[string]fs.FileMode{"": 0o700, "a": 0o1777, "run": 0o700, "a.txt": 0o600, "large": 0o6644} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(dir + "/a-b"); err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.Root()+"/linked", "2\n")
	if err := os.Link(s.Root()+"/linked", dir+"/a-b"); err != nil {
		t.Fatal(err)
	}
	if err := Walk(t.Context(), s, tree, &nartest.Recorder{}); err != nil {
		t.Error(err)
	}
}

type fileFunc struct {
	nartest.Recorder
	file func(name string, content io.Reader) error
}

func (f *fileFunc) File(name string, _ bool, _ int64, content io.Reader) error {
	return f.file(name, content)
}

// TestWalkRace checks that Walk returns an error with the name of a file if the file
// changes during the walk.
func TestWalkRace(t *testing.T) {
	for name, tt := range map[string]struct {
		size int64
		want string
	}{"grows": {1 << 20, "grew while it was read"}, "shrinks": {100, "shrank while it was read"}} {
		t.Run(name, func(t *testing.T) {
			s := sampleStore(t)
			tree := sampleTree(t, s)
			large := filepath.Join(s.Root(), string(tree.Path), "large")
			os.Chmod(large, 0o644)
			err := Walk(t.Context(), s, tree, &fileFunc{file: func(name string, content io.Reader) error {
				if name == "large" {
					if err := os.Truncate(large, tt.size); err != nil {
						return err
					}
				}
				_, err := io.Copy(io.Discard, content)
				return err
			}})
			hinttest.Error(t, err, nil, tt.want)
			hinttest.Error(t, err, nil, "/large")
			if name == "shrinks" {
				hinttest.Error(t, err, io.ErrUnexpectedEOF, "")
			}
		})
	}
}

func TestWalkStops(t *testing.T) {
	s := sampleStore(t)
	tree := sampleTree(t, s)
	boom := errors.New("boom")
	if err := Walk(t.Context(), s, tree, &fileFunc{file: func(string, io.Reader) error { return boom }}); err != boom {
		t.Errorf("the visitor's error: %v", err)
	}
	hinttest.Error(t, Walk(t.Context(), s, tree, &fileFunc{file: func(string, io.Reader) error { return nil }}), nil, "unread")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := Walk(ctx, s, tree, &fileFunc{file: func(string, io.Reader) error { cancel(boom); return nil }})
	if err == nil {
		t.Error("no error after cancel")
	}
	if err := Walk(ctx, s, tree, &nartest.Recorder{}); !errors.Is(err, boom) {
		t.Errorf("after cancel: %v", err)
	}
}

func TestCaseHack(t *testing.T) {
	dir := t.TempDir()
	p := StorePath(rowA)
	for _, name := range []string{"Foo", "foo~nix~case~hack~1", "zoo", "bar"} {
		writeFile(t, filepath.Join(dir, p.Base(), name), name)
	}
	tree := newStoreTree(dir)
	tree.caseHack = true
	var r nartest.Recorder
	if err := tree.walk(t.Context(), p, &r); err != nil {
		t.Fatal(err)
	}
	want := []string{`d ""`, `f "Foo" "Foo"`, `f "bar" "bar"`, `f "foo" "foo~nix~case~hack~1"`, `f "zoo" "zoo"`}
	if !slices.Equal(r.Lines, want) {
		t.Errorf("got %q, want %q", r.Lines, want)
	}
	writeFile(t, filepath.Join(dir, p.Base(), "foo~nix~case~hack~2"), "")
	hinttest.Error(t, tree.walk(t.Context(), p, &r), nar.ErrMalformed, "same name")
	tree.caseHack = false
	if err := tree.walk(t.Context(), p, &r); err != nil {
		t.Error(err)
	}
}

func FuzzInfosOf(f *testing.F) {
	f.Add(int64(1), rowA, "sha256:0000000000000000000000000000000000000000000000000000000000000000", int64(112), "", "k:sig", "", "1,1")
	f.Add(int64(1), rowA, "sha256:", int64(-1), "/nix/store/x", " ", "fixed:", "1,,9223372036854775808")
	f.Fuzz(func(t *testing.T, id int64, path, hash string, size int64, deriver, sigs, ca, refs string) {
		text := func(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }
		infos, err := infosOf([]pathRow{{id, text(path), text(hash), sql.NullInt64{Int64: size, Valid: true}, text(deriver), text(sigs), text(ca), text(refs)}})
		if err != nil {
			return
		}
		i := infos[0]
		if again, err := ParseStorePath(string(i.Path)); err != nil || again != i.Path || i.NarSize <= 0 {
			t.Errorf("%v: %v", i, err)
		}
		if _, err := New(nil, infos); err != nil {
			t.Error(err)
		}
	})
}

func hintOf(err error) string { return hint.Of(err) }
