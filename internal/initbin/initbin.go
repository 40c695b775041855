// Package initbin holds nixoci-init, the program that images have as /sbin/init.
//
// Its bytes are an input of the image format: the same program gives the same
// image on every machine. So nixoci does not compile nixoci-init when it makes
// an image. The compressed programs stand in the repository, and go install and
// go build put them into nixoci.
//
// `make init` builds the programs from cmd/nixoci-init and writes them here.
// `make init-check` builds them again and compares: everybody can see that the
// bytes come from this source. Nothing of the machine, the directory or the
// version of nixoci is in them.
package initbin

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Program is one nixoci-init.
type Program struct {
	Architecture string // as Go names it: amd64
	Version      string // a number that `make init` raises when the bytes change
	Digest       string // sha256 of the bytes: "sha256:" and 64 hexadecimal digits
	Size         int64  // bytes
	Go           string // toolchain that compiled it: go1.26.8
}

// maxSize bounds a program in bytes.
const maxSize = 64 << 20

//go:embed *.zst
var files embed.FS

// For returns the program for a Linux architecture, and false where there is
// none.
func For(architecture string) (Program, bool) {
	for _, p := range programs {
		if p.Architecture == architecture {
			return p, true
		}
	}
	return Program{}, false
}

// Lookup returns the program that has this digest.
func Lookup(digest string) (Program, bool) {
	for _, p := range programs {
		if p.Digest == digest {
			return p, true
		}
	}
	return Program{}, false
}

// File is the name that p's compressed file has in this package.
func (p Program) File() string { return "nixoci-init-" + p.Architecture + ".zst" }

// Bytes decompresses the program and checks its digest.
func (p Program) Bytes() ([]byte, error) {
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
