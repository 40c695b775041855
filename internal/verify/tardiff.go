package verify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
)

// differentTars reports the differences between got, which comes from an image, and want, which was
// made again. It reports missing, extra and changed entries, and the position of the first
// difference in their contents. Both tars have the same order, so differentTars reads each only
// once. If owners is true, entries may have owners. If report returns an error, differentTars
// stops.
func differentTars(got, want io.Reader, owners bool, report func(entry, what string) error) error {
	d := &tarDiff{report: report}
	d.got.tar = layers.NewTarReader(got, func(e *layers.FormatError) error { return report(e.Entry, e.What) })
	d.want.tar = layers.NewTarReader(want, nil)
	if owners {
		d.got.tar.AllowOwners()
		d.want.tar.AllowOwners()
	}
	if err := errors.Join(d.got.next(), d.want.next()); err != nil {
		return err
	}
	for d.got.entry != nil || d.want.entry != nil {
		if err := d.step(); err != nil {
			return err
		}
	}
	return nil
}

type tarDiff struct {
	got, want tarSide
	report    func(entry, what string) error
	a, b      []byte // buffers for comparing contents
}

// tarSide is the state of one of the two tars.
type tarSide struct {
	tar   *layers.TarReader
	entry *layers.TarEntry // the current entry; nil at the end of the tar
}

func (s *tarSide) next() error {
	e, err := s.tar.Next()
	if err == io.EOF {
		s.entry = nil
		return nil
	}
	s.entry = e
	return err
}

// treeOrder compares names in the order of a walk that sorts the entries of each
// directory.
func treeOrder(a, b string) int {
	return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

func (d *tarDiff) step() error {
	g, w := d.got.entry, d.want.entry
	switch {
	case w == nil || g != nil && treeOrder(g.Name, w.Name) < 0:
		if err := d.report(g.Name, fmt.Sprintf("an extra %s", g.Kind)); err != nil {
			return err
		}
		return d.got.next()
	case g == nil || treeOrder(g.Name, w.Name) > 0:
		if err := d.report(w.Name, fmt.Sprintf("a %s is missing", w.Kind)); err != nil {
			return err
		}
		return d.want.next()
	}
	if what, err := d.different(g, w); err != nil {
		return err
	} else if what != "" {
		if err := d.report(g.Name, what); err != nil {
			return err
		}
	}
	return errors.Join(d.got.next(), d.want.next())
}

// different returns a text about the difference between two entries with the same name. If they are
// equal, it returns "".
func (d *tarDiff) different(g, w *layers.TarEntry) (string, error) {
	switch {
	case g.Kind != w.Kind:
		return fmt.Sprintf("a %s, not a %s", g.Kind, w.Kind), nil
	case g.Mode != w.Mode:
		return fmt.Sprintf("mode is %04o, not %04o", g.Mode, w.Mode), nil
	case g.UID != w.UID || g.GID != w.GID:
		return fmt.Sprintf("owner is %d:%d, not %d:%d", g.UID, g.GID, w.UID, w.GID), nil
	case g.Target != w.Target:
		return fmt.Sprintf("target is %q, not %q", g.Target, w.Target), nil
	case g.Kind != closure.KindFile:
		return "", nil
	}
	at, err := d.contents()
	switch {
	case err != nil:
		return "", err
	case g.Size != w.Size && at == min(g.Size, w.Size):
		return fmt.Sprintf("size is %d, not %d bytes", g.Size, w.Size), nil
	case g.Size != w.Size:
		return fmt.Sprintf("size is %d, not %d bytes, and contents differ from byte %d on", g.Size, w.Size, at), nil
	case at < g.Size:
		return fmt.Sprintf("contents differ at byte %d", at), nil
	}
	return "", nil
}

// contents returns the number of bytes that are equal at the start of both files.
func (d *tarDiff) contents() (int64, error) {
	const block = 64 << 10
	if d.a == nil {
		d.a, d.b = make([]byte, block), make([]byte, block)
	}
	var at int64
	for {
		n, err := readFull(d.got.tar, d.a)
		if err != nil {
			return 0, err
		}
		m, err := readFull(d.want.tar, d.b)
		if err != nil {
			return 0, err
		}
		a, b := d.a[:n], d.b[:m]
		if !bytes.Equal(a, b) {
			for i := 0; i < min(n, m) && a[i] == b[i]; i++ {
				at++
			}
			return at, nil
		}
		at += int64(n)
		if n < len(d.a) {
			return at, nil
		}
	}
}

// readFull reads like io.ReadFull, but returns no error at the end of r.
func readFull(r io.Reader, p []byte) (int, error) {
	n, err := io.ReadFull(r, p)
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}
