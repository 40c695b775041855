package layers

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/nixoci/nixoci/internal/inflate"
)

// gzipReader reads the only gzip member of a layer (RFC 1952). It accepts no other header than
// [gzipHeader], and no bytes after the member.
type gzipReader struct {
	deflate *inflate.Reader
	crc     uint32
	size    uint32 // modulo 2^32, as in the trailer
	rest    blockRest
	err     error // error that ReadBlock returns
}

func newGzipReader(r io.Reader) (*gzipReader, error) {
	head := make([]byte, len(gzipHeader))
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, notDecompressed(err)
	}
	if !bytes.Equal(head, gzipHeader) {
		return nil, &FormatError{What: fmt.Sprintf("gzip header is %x, not %x", head, gzipHeader)}
	}
	return &gzipReader{deflate: inflate.NewReader(r)}, nil
}

// notDecompressed returns the error for a stream that cannot be decompressed. It returns
// errors of the source as they are.
func notDecompressed(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, inflate.ErrCorrupt) {
		return undecodable(err)
	}
	return err
}

func (z *gzipReader) BlockSize() int { return inflate.BufferSize }

func (z *gzipReader) ReadBlock(buf []byte) ([]byte, error) {
	if z.err != nil {
		return nil, z.err
	}
	block, err := z.deflate.Next(buf)
	switch {
	case err == nil:
		z.crc = crc32.Update(z.crc, crc32.IEEETable, block)
		z.size += uint32(len(block))
		return block, nil
	case err == io.EOF:
		z.err = z.trailer()
	default:
		z.err = notDecompressed(err)
	}
	return nil, z.err
}

// trailer checks the trailer of the member. It returns io.EOF if everything is right.
func (z *gzipReader) trailer() error {
	rest := afterDeflate{z.deflate}
	var sums [8]byte
	if _, err := io.ReadFull(rest, sums[:]); err != nil {
		return notDecompressed(err)
	}
	if binary.LittleEndian.Uint32(sums[:4]) != z.crc || binary.LittleEndian.Uint32(sums[4:]) != z.size {
		return &FormatError{What: "cannot be decompressed: the checksum or the size at the end is wrong"}
	}
	switch _, err := io.ReadFull(rest, sums[:1]); err {
	case nil:
		return &FormatError{What: "bytes after the end of the gzip stream"}
	case io.EOF:
		return io.EOF
	default:
		return err
	}
}

// afterDeflate reads the bytes after the deflate stream.
type afterDeflate struct{ z *inflate.Reader }

func (a afterDeflate) Read(p []byte) (int, error) { return a.z.After(p) }

func (z *gzipReader) Read(p []byte) (int, error) { return z.rest.read(z, p) }

// Close returns the buffers to the pool. Later reads fail.
func (z *gzipReader) Close() error {
	if z.deflate != nil {
		z.deflate.Close()
		z.deflate, z.err, z.rest = nil, io.ErrClosedPipe, blockRest{}
	}
	return nil
}
