package manifest

import (
	"encoding/binary"
	"fmt"
)

// This file writes SQLite database files (https://www.sqlite.org/fileformat2.html). It
// supports only what the Nix database needs: tables and indices that are filled once, in
// order. The bytes are part of the image format. So nixoci writes them itself instead of
// using a library: no release of SQLite can then change a digest.
//
// The pages of a b-tree are filled in the order of the keys: first the leaves, then each
// level above. There are no free pages and no overflow pages.

// The constants of the file format. They affect the bytes of the database.
const (
	sqlitePage    = 4096 // bytes; the default of SQLite, which Nix uses
	sqliteHeader  = 100  // bytes at the start of page 1
	sqliteVersion = 3_040_001

	// sqliteRollback is the journal mode in the header. Nix changes it to write-ahead when it
	// opens the database for writing for the first time. Until then the database can be read
	// on a read-only file system.
	sqliteRollback = 1
	sqliteCounter  = 1 // file change counter, and the number in the field version-valid-for
	sqliteCookie   = 1 // schema cookie: a number that changes with the schema
	sqliteFormat   = 4 // schema format: the newest, which supports all serial types
	sqliteUTF8     = 1

	// maxIndexRecord is the size of the longest index record that does not overflow
	// (fileformat2, 1.6: X for a page of 4096 bytes).
	maxIndexRecord = (sqlitePage-12)*64/255 - 23
	maxTableRecord = sqlitePage - 35
)

// Page types (fileformat2, 1.6).
const (
	interiorIndex = 0x02
	interiorTable = 0x05
	leafIndex     = 0x0a
	leafTable     = 0x0d
)

// sqliteFile is a database file that is being written. Page 1 is written last.
type sqliteFile struct {
	pages  []byte
	schema []schemaRow
}

type schemaRow struct {
	kind, name, table string
	root              uint32 // page number; 0 for triggers
	sql               string // "" for automatic indices
}

// cell is a b-tree cell. In a cell of an interior page, left is the number of the child page
// to the left of the cell.
type cell struct {
	left uint32
	data []byte
}

func newSQLiteFile() *sqliteFile { return &sqliteFile{pages: make([]byte, sqlitePage)} }

// table adds a table. Its rows have the rowids 1, 2, 3 and so on.
func (f *sqliteFile) table(name, sql string, rows int, row func(rowid int64) []any) error {
	cells := make([]cell, rows)
	for i := range cells {
		id := int64(i + 1)
		rec := record(row(id))
		if len(rec) > maxTableRecord {
			return fmt.Errorf("table %s: row %d has %d bytes, more than a page holds", name, id, len(rec))
		}
		data := varint(nil, uint64(len(rec)))
		data = varint(data, uint64(id))
		cells[i].data = append(data, rec...)
	}
	root := f.leaves(leafTable, cells, func(last int) []byte { return varint(nil, uint64(last+1)) })
	f.schema = append(f.schema, schemaRow{"table", name, name, root, sql})
	return nil
}

// index adds an index. entry(i) returns entry number i. The entries must be sorted, and each
// must end in its rowid.
func (f *sqliteFile) index(name, table, sql string, entries int, entry func(i int) []any) error {
	cells := make([]cell, entries)
	for i := range cells {
		rec := record(entry(i))
		if len(rec) > maxIndexRecord {
			return fmt.Errorf("index %s: entry %d has %d bytes, more than a page holds", name, i, len(rec))
		}
		cells[i].data = append(varint(nil, uint64(len(rec))), rec...)
	}
	root := f.leaves(leafIndex, cells, nil)
	f.schema = append(f.schema, schemaRow{"index", name, table, root, sql})
	return nil
}

func (f *sqliteFile) trigger(name, table, sql string) {
	f.schema = append(f.schema, schemaRow{"trigger", name, table, 0, sql})
}

// leaves writes the leaf pages of a tree and all levels above, and returns the number of the
// root page. In a table, all cells stay in the leaves, and key(i) returns the key that
// separates cell i from the next cell. In an index, key is nil, and the separating cells move
// up.
func (f *sqliteFile) leaves(kind byte, cells []cell, key func(last int) []byte) uint32 {
	interior := byte(interiorIndex)
	if key != nil {
		interior = interiorTable
	}
	level, right := f.level(kind, cells, 0, key)
	for len(level) > 0 {
		level, right = f.level(interior, level, right, nil)
	}
	return right
}

// level writes one level of a tree from left to right. It returns the cells of the level
// above, and the number of the last page that it wrote. If up is empty, this page is the
// root.
func (f *sqliteFile) level(kind byte, cells []cell, right uint32, key func(last int) []byte) (up []cell, last uint32) {
	isLeaf := kind == leafIndex || kind == leafTable
	head, pointer := 12, 4
	if isLeaf {
		head, pointer = 8, 0
	}
	start := 0
	for {
		n, free := 0, sqlitePage-head
		for start+n < len(cells) {
			need := 2 + pointer + len(cells[start+n].data)
			if need > free {
				break
			}
			free -= need
			n++
		}
		end := start + n
		if end == len(cells) {
			return up, f.page(kind, cells[start:end], right, 0)
		}
		if key != nil {
			p := f.page(kind, cells[start:end], 0, 0)
			up = append(up, cell{p, key(end - 1)})
			start = end
			continue
		}
		// The cell after this page moves up. The next page must not be empty. So if that cell
		// is the last one, the cell before it moves up instead.
		if end == len(cells)-1 {
			end--
		}
		p := f.page(kind, cells[start:end], cells[end].left, 0)
		up = append(up, cell{p, cells[end].data})
		start = end + 1
	}
}

// page appends a page and returns its number. offset is the position of the page's header. It
// is 0 except on page 1.
func (f *sqliteFile) page(kind byte, cells []cell, right uint32, offset int) uint32 {
	f.pages = append(f.pages, make([]byte, sqlitePage)...)
	fillPage(f.pages[len(f.pages)-sqlitePage:], kind, cells, right, offset)
	return uint32(len(f.pages) / sqlitePage)
}

func fillPage(page []byte, kind byte, cells []cell, right uint32, offset int) {
	isLeaf := kind == leafIndex || kind == leafTable
	pointers := offset + 12
	if isLeaf {
		pointers = offset + 8
	}
	content := len(page)
	for i, c := range cells {
		content -= len(c.data)
		if !isLeaf {
			content -= 4
		}
		at := page[content:]
		if !isLeaf {
			binary.BigEndian.PutUint32(at, c.left)
			at = at[4:]
		}
		copy(at, c.data)
		binary.BigEndian.PutUint16(page[pointers+2*i:], uint16(content))
	}
	page[offset] = kind
	binary.BigEndian.PutUint16(page[offset+3:], uint16(len(cells)))
	binary.BigEndian.PutUint16(page[offset+5:], uint16(content))
	if !isLeaf {
		binary.BigEndian.PutUint32(page[offset+8:], right)
	}
}

// finish writes page 1 and returns the file.
func (f *sqliteFile) finish() ([]byte, error) {
	var cells []cell
	size := sqliteHeader + 8
	for i, r := range f.schema {
		var sql any
		if r.sql != "" {
			sql = r.sql
		}
		rec := record([]any{r.kind, r.name, r.table, int64(r.root), sql})
		data := varint(nil, uint64(len(rec)))
		data = varint(data, uint64(i+1))
		data = append(data, rec...)
		cells = append(cells, cell{data: data})
		size += 2 + len(data)
	}
	if size > sqlitePage {
		return nil, fmt.Errorf("schema has %d bytes, more than page 1 holds", size)
	}
	page := f.pages[:sqlitePage]
	fillPage(page, leafTable, cells, 0, sqliteHeader)
	copy(page, "SQLite format 3\x00")
	be := binary.BigEndian
	be.PutUint16(page[16:], sqlitePage)
	page[18], page[19] = sqliteRollback, sqliteRollback
	page[21], page[22], page[23] = 64, 32, 32 // payload fractions, which the file format fixes
	be.PutUint32(page[24:], sqliteCounter)
	be.PutUint32(page[28:], uint32(len(f.pages)/sqlitePage))
	be.PutUint32(page[40:], sqliteCookie)
	be.PutUint32(page[44:], sqliteFormat)
	be.PutUint32(page[56:], sqliteUTF8)
	be.PutUint32(page[92:], sqliteCounter)
	be.PutUint32(page[96:], sqliteVersion)
	return f.pages, nil
}

// record encodes values (nil, int64 or string) in SQLite's record format with
// the shortest serial types (fileformat2, 2.1).
func record(values []any) []byte {
	var types, body []byte
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			types = append(types, 0)
		case int64:
			t, width := serialInt(v)
			types = append(types, t)
			for i := width - 1; i >= 0; i-- {
				body = append(body, byte(v>>(8*i)))
			}
		case string:
			types = varint(types, uint64(2*len(v)+13))
			body = append(body, v...)
		default:
			panic(fmt.Sprintf("record: %T", v))
		}
	}
	// The header's size includes the size field. From 128 bytes on, this field takes two
	// bytes.
	size := len(types) + 1
	if size > 127 {
		size++
	}
	out := make([]byte, 0, size+len(body))
	out = varint(out, uint64(size))
	out = append(out, types...)
	return append(out, body...)
}

// serialInt returns the serial type of v and the number of bytes of its value.
func serialInt(v int64) (serial byte, width int) {
	switch {
	case v == 0:
		return 8, 0
	case v == 1:
		return 9, 0
	}
	for i, w := range []int{1, 2, 3, 4, 6, 8} {
		if shift := 8*w - 1; w == 8 || v>>shift == 0 || v>>shift == -1 {
			return byte(i + 1), w
		}
	}
	panic("unreachable")
}

// varint appends v as SQLite's variable-length integer: big-endian, seven bits per byte. No
// number here requires the form with nine bytes.
func varint(dst []byte, v uint64) []byte {
	var b [10]byte
	i := len(b) - 1
	b[i] = byte(v & 0x7f)
	for v >>= 7; v > 0; v >>= 7 {
		i--
		b[i] = byte(v&0x7f) | 0x80
	}
	return append(dst, b[i:]...)
}
