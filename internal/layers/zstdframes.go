package layers

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// frameReader reads the zstd frames of format version 1, one complete frame at a time. It
// refuses other frames: skippable frames, which may contain anything (RFC 8878, 3.1.2), and
// frames with another header than a Packer writes.
type frameReader struct {
	r          io.Reader
	buf        []byte // compressed data
	start, end int    // buf[start:end] was read from r but not decompressed yet
	short      bool   // the last frame was not a full block, so it must be the last one
	rest       blockRest
	err        error // error that ReadBlock returns
	failed     error // error that r returned
}

const (
	zstdMagic      = 0xfd2fb528
	zstdBlockHead  = 3
	zstdMinFrame   = 4 + 1 + 1 + zstdBlockHead
	zstdFrameSize  = zstdBlockSize + 64<<10 // size limit of a frame: data that does not compress is stored in parts of 128 KiB
	decoderSurplus = 16                     // with room for some bytes after the content, the decoder can use its fast path
)

// frameBuffers contains buffers. Each has room for a complete frame and for data that is read
// beyond the frame.
var frameBuffers = sync.Pool{New: func() any { return make([]byte, zstdFrameSize+decompressBuff) }}

// frameDecoder is the decoder for all frames. It keeps no state between frames.
var frameDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(zstdBlockSize), zstd.WithDecoderMaxWindow(zstdWindowSize))
})

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: r, buf: frameBuffers.Get().([]byte)}
}

func (f *frameReader) BlockSize() int { return zstdBlockSize + decoderSurplus }

func (f *frameReader) ReadBlock(buf []byte) ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	block, err := f.next(buf)
	f.err = err
	return block, err
}

func (f *frameReader) Read(p []byte) (int, error) { return f.rest.read(f, p) }

// Close returns the buffer to the pool. Later reads fail.
func (f *frameReader) Close() error {
	if f.buf != nil {
		//lint:ignore SA6002 two words for two megabytes
		frameBuffers.Put(f.buf)
		f.buf, f.err, f.rest = nil, io.ErrClosedPipe, blockRest{}
	}
	return nil
}

func (f *frameReader) next(buf []byte) ([]byte, error) {
	if len(f.buf)-f.start < zstdFrameSize { // move the few bytes that were read beyond the last frame to the start
		f.end = copy(f.buf, f.buf[f.start:f.end])
		f.start = 0
	}
	if err := f.need(1); err != nil {
		return nil, err // io.EOF is right here: the stream may end after a frame
	}
	size, length, err := f.frame()
	if err != nil {
		return nil, err
	}
	if f.short {
		return nil, &FormatError{What: "a zstd frame is not full, and it is not the last one"}
	}
	f.short = size < zstdBlockSize
	z, err := frameDecoder()
	if err != nil {
		return nil, err
	}
	block, err := z.DecodeAll(f.buf[f.start:f.start+length], buf[:0])
	if err != nil {
		return nil, undecodable(err)
	}
	f.start += length
	return block, nil
}

func undecodable(err error) *FormatError {
	return &FormatError{What: fmt.Sprintf("cannot be decompressed: %v", err)}
}

// frame reads until the buffer contains a complete frame. length is the number of bytes of
// the frame, and size is the number of bytes of its content.
func (f *frameReader) frame() (size, length int, err error) {
	if err := f.need(zstdMinFrame); err != nil {
		return 0, 0, err
	}
	head := f.buf[f.start:f.end]
	if magic := binary.LittleEndian.Uint32(head); magic != zstdMagic {
		return 0, 0, &FormatError{What: fmt.Sprintf("cannot be decompressed: a frame begins with %08x, not with zstd's magic number", magic)}
	}
	// The header of a valid frame has one segment, the size in as few bytes as possible, no
	// checksum and no dictionary.
	switch head[4] {
	case 0x20:
		size, length = int(head[5]), 6
	case 0x60:
		size, length = int(binary.LittleEndian.Uint16(head[5:]))+256, 7
	case 0xa0:
		if n := binary.LittleEndian.Uint32(head[5:]); n >= 1<<16+256 && n <= zstdBlockSize {
			size, length = int(n), 9
		}
	}
	if size == 0 {
		return 0, 0, &FormatError{What: fmt.Sprintf("zstd frame header is %x: not one of a block", head[4:9])}
	}
	for last := false; !last; {
		if err := f.need(length + zstdBlockHead); err != nil {
			return 0, 0, err
		}
		head := f.buf[f.start+length:]
		h := uint32(head[0]) | uint32(head[1])<<8 | uint32(head[2])<<16
		last = h&1 != 0
		length += zstdBlockHead
		if h>>1&3 == 1 { // a block that repeats one byte
			length++
		} else {
			length += int(h >> 3)
		}
		if length > zstdFrameSize-zstdBlockHead {
			return 0, 0, &FormatError{What: "a zstd frame is longer than what a block can need"}
		}
	}
	return size, length, f.need(length)
}

// need reads until the buffer contains n unused bytes. n must be at most zstdFrameSize. need
// returns io.EOF if the stream ends and no unused byte is left.
func (f *frameReader) need(n int) error {
	for f.end-f.start < n {
		switch {
		case f.failed == io.EOF && f.end > f.start:
			return undecodable(io.ErrUnexpectedEOF)
		case f.failed != nil:
			return f.failed
		}
		var m int
		m, f.failed = f.r.Read(f.buf[f.end:min(len(f.buf), f.end+decompressBuff)])
		f.end += m
	}
	return nil
}
