package closure

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/nixoci/nixoci/internal/cputime"
	"github.com/nixoci/nixoci/internal/nar"
)

// devNull is a Visitor that reads contents into one large buffer, in the same way as
// the code that writes layers.
type devNull struct{ buf []byte }

func (*devNull) Directory(string) error       { return nil }
func (*devNull) Symlink(string, string) error { return nil }

func (d *devNull) File(_ string, _ bool, _ int64, content io.Reader) error {
	for {
		if _, err := content.Read(d.buf); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// benchStore makes a store with two paths. The first has 2,000 files of 16 KiB. The
// second is a file of 64 MiB.
func benchStore(b *testing.B) (*storeTree, []Info) {
	dir := b.TempDir()
	t := newStoreTree(dir)
	text := string(make([]byte, 16<<10))
	for i := range 2000 {
		writeFile(b, filepath.Join(dir, StorePath(rowA).Base(), fmt.Sprint(i/100), fmt.Sprint(i)), text)
	}
	big := StorePath("/nix/store/11111111111111111111111111111111-b")
	writeFile(b, filepath.Join(dir, big.Base()), string(make([]byte, 64<<20)))
	infos := []Info{{Path: rowA}, {Path: big}}
	for i := range infos {
		h := sha256.New()
		n := &countWriter{w: h}
		w := nar.NewWriter(n)
		if err := errors.Join(t.walk(b.Context(), infos[i].Path, w), w.Close()); err != nil {
			b.Fatal(err)
		}
		infos[i].NarHash, infos[i].NarSize = Hash(h.Sum(nil)), n.n
	}
	return t, infos
}

func BenchmarkWalk(b *testing.B) {
	t, infos := benchStore(b)
	g := &GraphFile{storeTree: t}
	for i, name := range []string{"small files", "large file"} {
		v := &devNull{make([]byte, 256<<10)}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			defer cputime.Report(b)()
			for b.Loop() {
				if err := Walk(b.Context(), g, &infos[i], v); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(infos[i].NarSize)
		})
		b.Run(name+" unhashed", func(b *testing.B) {
			defer cputime.Report(b)()
			for b.Loop() {
				if err := g.Tree(b.Context(), &infos[i], v); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(infos[i].NarSize)
		})
	}
}

// BenchmarkLocalClosure measures LocalStore.Closure for a small and a large system.
// The large system has 5,000 paths with 10 references each.
func BenchmarkLocalClosure(b *testing.B) {
	for _, n := range []int{400, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			root := b.TempDir()
			db := filepath.Join(root, "nix/var/nix/db/db.sqlite")
			writeFile(b, db, readFile(b, "testdata/db.sqlite"))
			writeFile(b, filepath.Join(filepath.Dir(db), "schema"), "10")
			execSQL(b, db, "delete from Refs", "delete from ValidPaths", fmt.Sprintf(`
				with recursive n(i) as (select 1 union all select i + 1 from n where i < %d)
				insert into ValidPaths (id, path, hash, registrationTime, narSize, deriver)
				select i, '/nix/store/' || printf('%%032d', i) || '-p', 'sha256:' || printf('%%064d', i), 1, 112, '/nix/store/' || printf('%%032d', i) || '-p.drv' from n`, n), `
				insert into Refs select a.id, b.id from ValidPaths a, ValidPaths b
				where b.id < a.id and (b.id > a.id - 6 or b.id = a.id / 2 or b.id = a.id / 3 or b.id = a.id / 5 or b.id = a.id / 7)`).Close()
			top := StorePath(fmt.Sprintf("/nix/store/%032d-p", n))
			defer cputime.Report(b)()
			for b.Loop() {
				s, err := OpenLocal(root)
				if err != nil {
					b.Fatal(err)
				}
				c, err := s.Closure(b.Context(), []StorePath{top})
				if err != nil || len(c.Paths) != n {
					b.Fatal(len(c.Paths), err)
				}
			}
		})
	}
}

func BenchmarkReadNAR(b *testing.B) {
	t, infos := benchStore(b)
	for i, name := range []string{"small files", "large file"} {
		var buf bytes.Buffer
		w := nar.NewWriter(&buf)
		if err := errors.Join(t.walk(b.Context(), infos[i].Path, w), w.Close()); err != nil {
			b.Fatal(err)
		}
		v := &devNull{make([]byte, 256<<10)}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(buf.Len()))
			defer cputime.Report(b)()
			for b.Loop() {
				if err := nar.Read(bytes.NewReader(buf.Bytes()), v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.w.Write(p)
}
