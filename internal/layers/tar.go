package layers

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// The canonical tar stream of format version 1 has USTAR headers. It has PAX records only for
// values that USTAR cannot store. Every constant here is part of the format. This package
// does not use the writer of archive/tar, because a new version of Go may write other
// headers.
const (
	tarBlock    = 512
	tarMtime    = 1            // seconds; Nix sets this time on every store file
	tarMaxSize  = 1<<33 - 1    // 11 octal digits
	tarNameLen  = 100          // name and linkname fields
	tarPrefLen  = 155          // prefix field
	tarEnd      = 2 * tarBlock // two zero blocks
	paxDir      = "PaxHeaders.0"
	typeRegular = '0'
	typeSymlink = '2'
	typeDir     = '5'
	typePax     = 'x'
)

// Permission bits of the entries of a store path. Nix sets the same bits when it unpacks a
// NAR.
const (
	modeStoreDir  = 0o755 // for nix and nix/store
	modeDirectory = 0o555
	modeFile      = 0o444
	modeExec      = 0o555
	modeSymlink   = 0o777
)

// TarWriter writes the canonical tar stream of format version 1. Names have no slash at the
// start or the end ("nix/store"). Callers must write parents before their children. The mtime
// is always 1. The owner is 0:0, unless [TarWriter.Own] sets another owner for an
// application's own files.
type TarWriter struct {
	buf   []byte // the block being filled
	flush func(full []byte) (empty []byte, err error)
	size  int64
	head  [tarBlock]byte
	nars  closure.NARSink // hashes the NARs of store paths; if nil, walk checks the hashes

	uid, gid int64 // owner of the next entries
}

// Own sets the owner and the group of the following entries. Both are 0 by default. They must
// be between 0 and 2097151.
func (w *TarWriter) Own(uid, gid int64) { w.uid, w.gid = uid, gid }

// NewTarWriter returns a writer that writes the uncompressed stream to w. [TarWriter.Close]
// ends the stream.
func NewTarWriter(w io.Writer) *TarWriter {
	return &TarWriter{buf: make([]byte, 0, 64<<10), flush: func(full []byte) ([]byte, error) {
		_, err := w.Write(full)
		return full[:0], err
	}}
}

// Directory writes a directory. mode is its permission bits.
func (w *TarWriter) Directory(name string, mode int64) error {
	return w.header(typeDir, name+"/", "", mode, 0)
}

// Symlink writes a symbolic link.
func (w *TarWriter) Symlink(name, target string) error {
	return w.header(typeSymlink, name, target, modeSymlink, 0)
}

// File writes a regular file with exactly size bytes of content. It returns an error if
// content is shorter or longer.
func (w *TarWriter) File(name string, mode, size int64, content io.Reader) error {
	if err := w.header(typeRegular, name, "", mode, size); err != nil {
		return err
	}
	for left := size; left > 0; {
		if len(w.buf) == cap(w.buf) {
			if err := w.next(); err != nil {
				return err
			}
		}
		space := w.buf[len(w.buf):min(int64(cap(w.buf)), int64(len(w.buf))+left)]
		// Call Read once: if it reads less than requested, the loop continues.
		n, err := content.Read(space)
		w.buf = w.buf[:len(w.buf)+n]
		w.size += int64(n)
		left -= int64(n)
		if left > 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("write %s to layer: %w", name, err)
		}
	}
	var probe [1]byte
	switch n, err := io.ReadFull(content, probe[:]); {
	case n > 0:
		return fmt.Errorf("write %s to layer: content is longer than its %d bytes", name, size)
	case err != nil && err != io.EOF:
		return fmt.Errorf("write %s to layer: %w", name, err)
	}
	return w.pad(size)
}

// Close ends the stream. It does not close the underlying writer.
func (w *TarWriter) Close() error {
	if err := w.zeros(tarEnd); err != nil {
		return err
	}
	if len(w.buf) == 0 {
		return nil
	}
	return w.next()
}

// header writes the header of one entry. If USTAR cannot store a value, header writes a PAX
// header first.
func (w *TarWriter) header(typ byte, name, target string, mode, size int64) error {
	if err := checkName(name, target); err != nil {
		return err
	}
	var pax []byte
	prefix, base, fits := splitName(name)
	if !fits {
		pax = appendPax(pax, "path", name)
		prefix, base = "", truncate(name)
	}
	link := target
	if len(link) > tarNameLen || !isASCII(link) {
		pax = appendPax(pax, "linkpath", target)
		link = truncate(target)
	}
	fieldSize := size
	if size > tarMaxSize {
		pax = appendPax(pax, "size", strconv.FormatInt(size, 10))
		fieldSize = 0
	}
	if pax != nil {
		paxName := truncate(path.Join(paxDir, path.Base(name)))
		if err := w.block(typePax, "", paxName, "", 0o644, int64(len(pax))); err != nil {
			return err
		}
		if err := w.write(pax); err != nil {
			return err
		}
		if err := w.pad(int64(len(pax))); err != nil {
			return err
		}
	}
	return w.block(typ, prefix, base, link, mode, fieldSize)
}

// block writes one 512-byte USTAR header (POSIX.1-1988, "ustar Interchange
// Format").
func (w *TarWriter) block(typ byte, prefix, name, link string, mode, size int64) error {
	h := &w.head
	clear(h[:])
	copy(h[0:100], name)
	octal(h[100:108], mode)
	if typ != typePax {
		octal(h[108:116], w.uid)
		octal(h[116:124], w.gid)
	} else {
		octal(h[108:116], 0)
		octal(h[116:124], 0)
	}
	octal(h[124:136], size)
	octal(h[136:148], tarMtime)
	copy(h[148:156], "        ")
	h[156] = typ
	copy(h[157:257], link)
	copy(h[257:265], "ustar\x0000")
	copy(h[345:500], prefix)
	var sum int64
	for _, b := range h {
		sum += int64(b)
	}
	octal(h[148:155], sum) // six digits and a NUL; the field already ends in a space
	return w.write(h[:])
}

// octal fills field with v in octal, with leading zeros and a final NUL.
func octal(field []byte, v int64) {
	for i := len(field) - 2; i >= 0; i-- {
		field[i] = byte('0' + v&7)
		v >>= 3
	}
	field[len(field)-1] = 0
}

// splitName splits name into the prefix field and the name field of USTAR. It uses the last
// slash at which both parts fit.
func splitName(name string) (prefix, base string, ok bool) {
	if !isASCII(name) {
		return "", "", false
	}
	if len(name) <= tarNameLen {
		return "", name, true
	}
	end := min(len(name)-1, tarPrefLen+1) // a slash at the end of a directory's name does not count
	i := strings.LastIndexByte(name[:end], '/')
	if i <= 0 || len(name)-i-1 > tarNameLen {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

// appendPax appends one record, "LENGTH KEY=VALUE\n". LENGTH includes its own digits.
func appendPax(b []byte, key, value string) []byte {
	const fixed = 3 // space, =, newline
	size := len(key) + len(value) + fixed
	size += len(strconv.Itoa(size))
	record := fmt.Sprintf("%d %s=%s\n", size, key, value)
	if len(record) != size { // the length itself got one more digit
		record = fmt.Sprintf("%d %s=%s\n", len(record), key, value)
	}
	return append(b, record...)
}

func truncate(s string) string {
	b := make([]byte, 0, tarNameLen)
	for i := 0; i < len(s) && len(b) < tarNameLen; i++ {
		if s[i] < 0x80 {
			b = append(b, s[i])
		}
	}
	return strings.TrimRight(string(b), "/")
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func checkName(name, target string) error {
	if name == "" || name[0] == '/' || strings.IndexByte(name, 0) >= 0 || strings.IndexByte(target, 0) >= 0 {
		return fmt.Errorf("write %q to layer: not a name that a tar entry can have", name)
	}
	return nil
}

func (w *TarWriter) pad(size int64) error {
	return w.zeros(int(-size & (tarBlock - 1)))
}

func (w *TarWriter) zeros(n int) error {
	var zero [tarEnd]byte
	return w.write(zero[:n])
}

func (w *TarWriter) write(b []byte) error {
	for len(b) > 0 {
		if len(w.buf) == cap(w.buf) {
			if err := w.next(); err != nil {
				return err
			}
		}
		n := copy(w.buf[len(w.buf):cap(w.buf)], b)
		w.buf = w.buf[:len(w.buf)+n]
		w.size += int64(n)
		b = b[n:]
	}
	return nil
}

func (w *TarWriter) next() error {
	buf, err := w.flush(w.buf)
	w.buf = buf
	return err
}
