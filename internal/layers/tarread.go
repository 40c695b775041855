package layers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// TarEntry is one entry of a canonical tar stream.
type TarEntry struct {
	Kind   closure.Kind
	Name   string // no leading and no trailing slash
	Target string // target of a symlink
	Mode   int64  // permission bits
	Size   int64  // size of a file in bytes

	UID, GID int64 // 0 unless [TarReader.AllowOwners] was called
}

// FormatError describes a difference between a tar stream and the output of [TarWriter].
type FormatError struct {
	Entry string // name in the entry's header; "" if the problem is in the stream itself
	What  string
}

func (e *FormatError) Error() string {
	if e.Entry == "" {
		return "tar: " + e.What
	}
	return fmt.Sprintf("tar entry %q: %s", e.Entry, e.What)
}

// maxPax is the size limit of a PAX header. Two paths of length PATH_MAX and a size fit.
const maxPax = 64 << 10

// TarReader reads the tar stream of format version 1 and accepts no other. It parses each
// header, writes the header again from the parsed fields, and compares the bytes. So each
// tree with a given order has exactly one valid stream. The caller must check modes and the
// order of entries.
type TarReader struct {
	r         io.Reader
	lender    Lender // r, if r is a Lender; otherwise nil
	report    func(*FormatError) error
	canonical TarWriter // writes headers again into its buffer
	head      [tarBlock]byte
	paxHead   [tarBlock]byte // the block before head, if it is a PAX header
	padding   [tarBlock]byte // buffer for the padding after a content
	entry     TarEntry
	owners    bool
	left      int64 // bytes of the entry's content that were not read yet
	pad       int64 // bytes of padding after the content
	err       error
}

// Lender is a reader that can also give access to its data without copying. Lend returns at
// most max bytes of the stream. If the error is nil, it returns at least one byte. The bytes
// are valid until the next call.
type Lender interface {
	io.Reader
	Lend(max int64) ([]byte, error)
}

// NewTarReader returns a TarReader of r. r should be buffered. The TarReader calls report for
// everything that is not canonical. If report returns nil and the stream can still be
// understood, reading continues. If report is nil, the first problem is an error.
func NewTarReader(r io.Reader, report func(*FormatError) error) *TarReader {
	if report == nil {
		report = func(e *FormatError) error { return e }
	}
	t := &TarReader{r: r, report: report}
	t.lender, _ = r.(Lender)
	t.canonical.flush = func(full []byte) ([]byte, error) { // grow the buffer, because it must contain a whole header
		return append(make([]byte, 0, 2*cap(full)), full...), nil
	}
	t.canonical.buf = make([]byte, 0, 2*tarBlock)
	return t
}

// AllowOwners makes the reader accept entries with any owner. The files layer of an
// application has such entries.
func (t *TarReader) AllowOwners() { t.owners = true }

// Next reads the header of the next entry. After the last entry it checks the end of the
// stream and returns io.EOF. The entry is valid until the next call.
func (t *TarReader) Next() (*TarEntry, error) {
	if t.err == nil {
		t.err = t.next()
	}
	if t.err != nil {
		return nil, t.err
	}
	return &t.entry, nil
}

// Read reads the content of the entry.
func (t *TarReader) Read(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	if t.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > t.left {
		p = p[:t.left]
	}
	n, err := t.r.Read(p)
	t.left -= int64(n)
	if err == io.EOF && t.left > 0 {
		t.err = t.cut("content ends early")
		return n, t.err
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// WriteTo writes the rest of the entry's content, which was not read yet, to w.
func (t *TarReader) WriteTo(w io.Writer) (int64, error) {
	if t.lender == nil {
		return io.Copy(w, struct{ io.Reader }{t})
	}
	var n int64
	for t.err == nil && t.left > 0 {
		b, err := t.lender.Lend(t.left)
		if err == io.EOF {
			t.err = t.cut("content ends early")
			return n, t.err
		}
		if err != nil {
			return n, err
		}
		t.left -= int64(len(b))
		m, err := w.Write(b)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, t.err
}

// cut reports that the stream ends too early or cannot be understood. Reading cannot continue
// after that.
func (t *TarReader) cut(what string) error {
	e := &FormatError{t.entry.Name, what}
	if err := t.report(e); err != nil {
		return err
	}
	return e
}

func (t *TarReader) deviates(entry, format string, args ...any) error {
	return t.report(&FormatError{entry, fmt.Sprintf(format, args...)})
}

func (t *TarReader) next() error {
	if err := t.skip(); err != nil {
		return err
	}
	for {
		if err := t.readBlock(t.head[:]); err != nil {
			return err
		}
		if t.head == [tarBlock]byte{} {
			return t.end()
		}
		ok, err := t.header()
		if ok || err != nil {
			return err
		}
		if err := t.skip(); err != nil {
			return err
		}
	}
}

// skip reads the rest of the entry's content, and its padding.
func (t *TarReader) skip() error {
	if t.left > 0 {
		n, err := io.CopyN(io.Discard, t.r, t.left)
		t.left -= n
		if err == io.EOF {
			return t.cut("content ends early")
		}
		if err != nil {
			return err
		}
	}
	if t.pad == 0 {
		return nil
	}
	pad := t.padding[:t.pad]
	t.pad = 0
	if err := t.readBlock(pad); err != nil {
		return err
	}
	if !isZero(pad) {
		return t.deviates(t.entry.Name, "padding after the content is not zero")
	}
	return nil
}

func (t *TarReader) readBlock(b []byte) error {
	_, err := io.ReadFull(t.r, b)
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return t.cut("stream ends early")
	}
	return err
}

// end checks that one more zero block follows, and that the stream then ends.
func (t *TarReader) end() error {
	t.entry = TarEntry{}
	if err := t.readBlock(t.head[:]); err != nil {
		return err
	}
	if !isZero(t.head[:]) {
		if err := t.deviates("", "a single zero block, followed by other data"); err != nil {
			return err
		}
	}
	n, err := io.Copy(io.Discard, t.r)
	if err != nil {
		return err
	}
	if n > 0 {
		if err := t.deviates("", "%d bytes after the end", n); err != nil {
			return err
		}
	}
	return io.EOF
}

// header reads the rest of the header. Its first block is already in t.head. ok is false if a
// layer cannot contain an entry of this type. The caller must then skip the entry.
func (t *TarReader) header() (ok bool, err error) {
	t.entry = TarEntry{}
	var pax []byte // the PAX records and their padding
	if t.head[156] == typePax {
		t.paxHead = t.head
		size, err := t.number(t.head[124:136])
		if err != nil || size > maxPax {
			return false, t.cut(fmt.Sprintf("PAX header of %q bytes", fieldText(t.head[124:136])))
		}
		pax = make([]byte, size+(-size&(tarBlock-1)))
		if err := t.readBlock(pax); err != nil {
			return false, err
		}
		if err := t.readBlock(t.head[:]); err != nil {
			return false, err
		}
		pax = pax[:size:len(pax)]
	}
	h := &t.head
	name := fieldText(h[0:100])
	if prefix := fieldText(h[345:500]); prefix != "" {
		name = prefix + "/" + name
	}
	e := &t.entry
	e.Name, e.Target = name, fieldText(h[157:257])
	var bad error
	if e.Size, bad = t.number(h[124:136]); bad != nil || !t.checksum() {
		return false, t.cut("header is damaged: its size or checksum is invalid")
	}
	foreign := t.paxRecords(pax, e)
	e.Mode, bad = t.number(h[100:108])
	if bad != nil {
		foreign = append(foreign, fmt.Sprintf("mode is %q", h[100:108]))
	}
	if t.owners {
		foreign = append(foreign, t.owner(e)...)
	}
	typ := h[156]
	switch typ {
	case typeRegular:
		e.Kind = closure.KindFile
		t.left, t.pad = e.Size, -e.Size&(tarBlock-1)
	case typeDir:
		e.Kind = closure.KindDirectory
		e.Name = strings.TrimSuffix(e.Name, "/")
	case typeSymlink:
		e.Kind = closure.KindSymlink
	case '1', '3', '4', '6': // these types have no content, even if the size is not 0
		return false, t.deviates(e.Name, "it is a %s", typeName(typ))
	default:
		t.left, t.pad = e.Size, -e.Size&(tarBlock-1)
		return false, t.deviates(e.Name, "it is a %s", typeName(typ))
	}
	if what := badName(e.Name); what != "" {
		return false, t.deviates(e.Name, "%s", what)
	}
	for _, f := range foreign {
		if err := t.deviates(e.Name, "%s", f); err != nil {
			return false, err
		}
	}
	if len(foreign) > 0 {
		return true, nil
	}
	return true, t.compare(typ, pax)
}

// owner reads the entry's owner from the header. It returns a text for each invalid field.
func (t *TarReader) owner(e *TarEntry) (foreign []string) {
	for _, f := range []struct {
		what  string
		field []byte
		value *int64
	}{{"uid", t.head[108:116], &e.UID}, {"gid", t.head[116:124], &e.GID}} {
		var err error
		if *f.value, err = t.number(f.field); err != nil {
			foreign = append(foreign, fmt.Sprintf("%s is %q", f.what, f.field))
		}
	}
	return foreign
}

// compare writes the entry's header again and reports the first difference.
func (t *TarReader) compare(typ byte, pax []byte) error {
	e := &t.entry
	t.canonical.buf = t.canonical.buf[:0]
	t.canonical.Own(e.UID, e.GID)
	var err error
	switch e.Kind {
	case closure.KindDirectory:
		err = t.canonical.Directory(e.Name, e.Mode)
	case closure.KindSymlink:
		err = t.canonical.header(typ, e.Name, e.Target, e.Mode, 0)
	default:
		err = t.canonical.header(typ, e.Name, "", e.Mode, e.Size)
	}
	if err != nil {
		return t.deviates(e.Name, "%v", err)
	}
	want := t.canonical.buf
	got := t.head[:]
	if pax != nil {
		if len(want) == tarBlock {
			return t.deviates(e.Name, "a PAX header where USTAR can say it")
		}
		if what := differentField(t.paxHead[:], want[:tarBlock]); what != "" {
			return t.deviates(e.Name, "PAX header: %s", what)
		}
		body := pax[:cap(pax)]
		if !bytes.Equal(body, want[tarBlock:len(want)-tarBlock]) {
			return t.deviates(e.Name, "PAX records are %q, not %q", trimNUL(body), trimNUL(want[tarBlock:len(want)-tarBlock]))
		}
		want = want[len(want)-tarBlock:]
	} else if len(want) != tarBlock {
		return t.deviates(e.Name, "no PAX header, which its name, target or size needs")
	}
	if what := differentField(got, want); what != "" {
		return t.deviates(e.Name, "%s", what)
	}
	return nil
}

// paxRecords sets fields of e from PAX records. It returns a text for each invalid or unknown
// record.
func (t *TarReader) paxRecords(pax []byte, e *TarEntry) (foreign []string) {
	for len(pax) > 0 {
		digits, _, ok := bytes.Cut(pax, []byte(" "))
		n, err := strconv.Atoi(string(digits))
		if !ok || err != nil || n <= len(digits)+1 || n > len(pax) || pax[n-1] != '\n' {
			return append(foreign, "PAX records are damaged")
		}
		key, value, ok := strings.Cut(string(pax[len(digits)+1:n-1]), "=")
		pax = pax[n:]
		switch {
		case !ok:
			foreign = append(foreign, "PAX records are damaged")
		case key == "path":
			e.Name = value
		case key == "linkpath":
			e.Target = value
		case key == "size":
			size, err := strconv.ParseInt(value, 10, 64)
			if err != nil || size < 0 {
				foreign = append(foreign, fmt.Sprintf("PAX size is %q", value))
				continue
			}
			e.Size = size
		default:
			foreign = append(foreign, fmt.Sprintf("PAX record %s=%q", key, value))
		}
	}
	return foreign
}

// number parses an octal field. It also accepts the spaces and NULs that other tools write.
func (t *TarReader) number(field []byte) (int64, error) {
	s := strings.Trim(string(field), " \x00")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 8, 64)
	if err == nil && n < 0 {
		err = strconv.ErrRange
	}
	return n, err
}

func (t *TarReader) checksum() bool {
	want, err := t.number(t.head[148:156])
	var sum int64
	for i, b := range t.head {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int64(b)
	}
	return err == nil && sum == want
}

// tarFields lists the fields of a USTAR header, in the order in which differences are
// reported. The checksum comes last, because it differs whenever another field differs.
var tarFields = []struct {
	name     string
	from, to int
	base     int // base for the number in messages; 0 means text
}{
	{"name", 0, 100, 0},
	{"prefix", 345, 500, 0},
	{"type", 156, 157, 0},
	{"mode", 100, 108, 8},
	{"owner", 108, 116, 10},
	{"group", 116, 124, 10},
	{"size", 124, 136, 10},
	{"mtime", 136, 148, 10},
	{"target", 157, 257, 0},
	{"magic", 257, 265, 0},
	{"owner name", 265, 297, 0},
	{"group name", 297, 329, 0},
	{"device number", 329, 345, 0},
	{"padding", 500, 512, 0},
	{"checksum", 148, 156, 0},
}

// differentField describes the first field that differs.
func differentField(got, want []byte) string {
	if bytes.Equal(got, want) {
		return ""
	}
	for _, f := range tarFields {
		g, w := got[f.from:f.to], want[f.from:f.to]
		if bytes.Equal(g, w) {
			continue
		}
		if f.base != 0 {
			gn, gerr := strconv.ParseInt(strings.Trim(string(g), " \x00"), 8, 64)
			wn, _ := strconv.ParseInt(fieldText(w), 8, 64)
			if gerr == nil && gn != wn {
				if f.base == 8 {
					return fmt.Sprintf("%s is %04o, not %04o", f.name, gn, wn)
				}
				return fmt.Sprintf("%s is %d, not %d", f.name, gn, wn)
			}
		}
		return fmt.Sprintf("%s is %q, not %q", f.name, trimNUL(g), trimNUL(w))
	}
	return "header differs"
}

func badName(name string) string {
	switch {
	case name == "":
		return "an entry without a name"
	case name[0] == '/':
		return "its name is absolute"
	case path.Clean(name) != name || name == "." || name == ".." || strings.HasPrefix(name, "../"):
		return "its name is not in its shortest form"
	}
	return ""
}

func typeName(typ byte) string {
	switch typ {
	case '1':
		return "hard link"
	case '3':
		return "character device"
	case '4':
		return "block device"
	case '6':
		return "named pipe"
	case 'g':
		return "global PAX header"
	case 'L', 'K':
		return "GNU long name"
	case 'S':
		return "sparse file"
	case 0:
		return "file of the old format"
	}
	return fmt.Sprintf("entry of type %q", typ)
}

// fieldText returns the text of a field up to its first NUL.
func fieldText(field []byte) string {
	if i := bytes.IndexByte(field, 0); i >= 0 {
		field = field[:i]
	}
	return string(field)
}

// trimNUL removes the NULs at the end of a field.
func trimNUL(field []byte) []byte { return bytes.TrimRight(field, "\x00") }

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
