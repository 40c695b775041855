package manifest

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/initbin"
	"github.com/nixoci/nixoci/internal/layers"
)

// initLayerKind is the first word of the text from which an init layer's recipe is computed.
const initLayerKind = "nixoci-init"

// initMode contains the permission bits of /sbin/init.
const initMode = 0o555

// MaxInit is the size limit for an init program, in bytes.
const MaxInit = 64 << 20

// Init is a program, a nixoci-init, that becomes /sbin/init in an image.
type Init struct {
	Digest digest.Digest // sha256 of the program
	Size   int64         // bytes of the program
	bytes  func() ([]byte, error)
}

// DefaultInit returns the nixoci-init for platform p, which is embedded in nixoci. It returns
// nil if there is none.
func DefaultInit(p ocispec.Platform) *Init {
	if p.OS != "linux" {
		return nil
	}
	program, ok := initbin.For(p.Architecture)
	if !ok {
		return nil
	}
	return &Init{Digest: digest.Digest(program.Digest), Size: program.Size, bytes: program.Bytes}
}

// NewInit returns an Init with the program data, for an image for platform p. data must be a
// static program, because the image may contain no loader and no library when it starts.
func NewInit(data []byte, p ocispec.Platform) (*Init, error) {
	if err := checkProgram(data, p); err != nil {
		return nil, fmt.Errorf("init: %w", err)
	}
	return InitOf(data), nil
}

// InitOf returns an Init with the program data without checking it. Use [Init.Check] to check
// it.
func InitOf(data []byte) *Init {
	return &Init{Digest: digest.FromBytes(data), Size: int64(len(data)), bytes: func() ([]byte, error) { return data, nil }}
}

// Check returns an error if the program cannot be the init of an image for platform p.
func (i *Init) Check(p ocispec.Platform) error {
	data, err := i.bytes()
	if err != nil {
		return err
	}
	return checkProgram(data, p)
}

// InitLayer describes the first layer of an image. It contains the program as /sbin/init, and
// nothing that depends on the rest of the image.
func InitLayer(i *Init, comp layers.Compression) *layers.Layer {
	return &layers.Layer{
		Recipe:      InitRecipe(i.Digest, comp),
		Size:        i.Size,
		Compression: comp,
		Comment:     InitComment(i.Digest),
		Content: func(_ context.Context, w *layers.TarWriter) error {
			data, err := i.bytes()
			if err != nil {
				return fmt.Errorf("init layer: %w", err)
			}
			return errors.Join(
				w.Symlink("init", defaultInit),
				w.Directory("sbin", 0o755),
				w.File(strings.TrimPrefix(defaultInit, "/"), initMode, int64(len(data)), bytes.NewReader(data)),
			)
		},
	}
}

// InitRecipe returns the recipe of the init layer for the program with this digest.
func InitRecipe(d digest.Digest, comp layers.Compression) layers.Recipe {
	return layers.NewNamedRecipe(comp, initLayerKind, Format2, fmt.Sprintf("program %s\n", d))
}

// InitComment returns the comment of the init layer for the program with this digest.
func InitComment(d digest.Digest) string { return "init layer: nixoci-init " + d.String() }

const initHint = "build one without cgo: CGO_ENABLED=0 GOOS=linux GOARCH=… go build ./cmd/nixoci-init"

// checkProgram returns an error if the program cannot run as the first process of a container
// for platform p.
func checkProgram(data []byte, p ocispec.Platform) error {
	if len(data) > MaxInit {
		return fmt.Errorf("%d bytes, at most %d are allowed", len(data), MaxInit)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return hint.Add(fmt.Errorf("not an ELF program: %w", err), initHint)
	}
	switch {
	case f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN:
		return hint.Add(fmt.Errorf("an ELF file of type %s, not a program", f.Type), initHint)
	case !forPlatform(data, p):
		return fmt.Errorf("a program for %s, %s, not for %s", f.Machine, f.Class, FormatPlatform(p))
	}
	for _, s := range f.Progs {
		if s.Type == elf.PT_INTERP {
			return hint.Add(errors.New("the program is not static: it needs a loader, and the image has none before the system is activated"), initHint)
		}
	}
	if needed, err := f.ImportedLibraries(); err == nil && len(needed) > 0 {
		return hint.Add(fmt.Errorf("the program is not static: it needs %s", strings.Join(needed, ", ")), initHint)
	}
	return nil
}

// forPlatform reports whether data is an ELF file for platform p.
func forPlatform(data []byte, p ocispec.Platform) bool {
	q, ok := closure.ELFPlatform(data)
	return ok && q.OS == p.OS && q.Architecture == p.Architecture
}

// InitChoice describes which program becomes /sbin/init. The zero value means nixoci's own
// program for the image's platform.
type InitChoice struct {
	None  bool // no init layer: /sbin/init is a link to the system's own init program
	Files []InitFile
}

// InitFile is a program that the user chose as /sbin/init.
type InitFile struct {
	Name string // for messages
	Data []byte
}

// For returns the init program for a platform. It returns nil if the image gets no init
// layer.
func (c *InitChoice) For(p ocispec.Platform) (*Init, error) {
	if c.None {
		return nil, nil
	}
	if len(c.Files) == 0 {
		return DefaultInit(p), nil
	}
	for _, f := range c.Files {
		if !forPlatform(f.Data, p) {
			continue
		}
		init, err := NewInit(f.Data, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		return init, nil
	}
	if len(c.Files) == 1 { // with a single file, the error names the platform of this file
		_, err := NewInit(c.Files[0].Data, p)
		return nil, fmt.Errorf("%s: %w", c.Files[0].Name, err)
	}
	return nil, fmt.Errorf("init: none of the files is for %s", FormatPlatform(p))
}
