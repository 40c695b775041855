// Package initbin holds nixoci-init, the program /sbin/init of images.
//
// The bytes of nixoci-init are part of every image, and every machine must make the same
// image. So nixoci does not compile nixoci-init when it makes an image. The repository
// contains the compressed programs, and go install and go build embed them in nixoci.
//
// `make init` builds the programs from cmd/nixoci-init and writes them here. `make
// init-check` builds them again and compares the bytes. So everybody can check that the bytes
// come from this source. The bytes do not depend on the machine, the directory or the version
// of nixoci.
package initbin

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// Program describes one build of nixoci-init.
type Program struct {
	Architecture string // name that Go uses for the architecture: amd64
	Version      string // a number that `make init` raises when the bytes change
	Digest       string // sha256 of the bytes: "sha256:" and 64 hexadecimal digits
	Size         int64  // size in bytes
	Go           string // toolchain that compiled the program: go1.26.8
	content      string // the program itself, if [Replace] has set it
}

// maxSize is the largest accepted size of a program, in bytes.
const maxSize = 64 << 20

//go:embed *.zst
var files embed.FS

// For returns the program for a Linux architecture. The second result is false if there is no
// such program.
func For(architecture string) (Program, bool) {
	for _, p := range programs {
		if p.Architecture == architecture {
			return p, true
		}
	}
	return Program{}, false
}

// Lookup returns the program with this digest. The second result is false if there is no such
// program.
func Lookup(digest string) (Program, bool) {
	for _, p := range programs {
		if p.Digest == digest {
			return p, true
		}
	}
	return Program{}, false
}

// File returns the name of the compressed program in this package.
func (p Program) File() string { return "nixoci-init-" + p.Architecture + ".zst" }

// Replace puts other programs in the place of the embedded programs, until the caller calls
// restore. The key of contents is the name that Go uses for the architecture. Only tests may
// call Replace: for most tests it does not matter which program becomes /sbin/init, and an
// image with a program of a few bytes takes much less time.
func Replace(contents map[string][]byte) (restore func()) {
	embedded := programs
	programs = slices.Clone(embedded)
	for i := range programs {
		p := &programs[i]
		sum := sha256.Sum256(contents[p.Architecture])
		p.content = string(contents[p.Architecture])
		p.Digest, p.Size = "sha256:"+hex.EncodeToString(sum[:]), int64(len(p.content))
	}
	return func() { programs = embedded }
}

// Bytes decompresses the program and checks its digest.
func (p Program) Bytes() ([]byte, error) {
	if p.content != "" {
		return []byte(p.content), nil
	}
	compressed, err := files.ReadFile(p.File())
	if err != nil {
		return nil, fmt.Errorf("nixoci-init for %s: %w", p.Architecture, err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxSize))
	if err != nil {
		return nil, fmt.Errorf("nixoci-init for %s: %w", p.Architecture, err)
	}
	defer d.Close()
	data, err := d.DecodeAll(compressed, nil)
	if err != nil {
		return nil, fmt.Errorf("nixoci-init for %s: %w", p.Architecture, err)
	}
	if sum := sha256.Sum256(data); "sha256:"+hex.EncodeToString(sum[:]) != p.Digest {
		return nil, fmt.Errorf("nixoci-init for %s: the file is not %s: run make init", p.Architecture, p.Digest)
	}
	return data, nil
}
