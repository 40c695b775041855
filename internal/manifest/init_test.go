package manifest

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/initbin"
	"github.com/nixoci/nixoci/internal/layers"
)

func platform(arch string) ocispec.Platform {
	return ocispec.Platform{OS: "linux", Architecture: arch}
}

// program returns the embedded nixoci-init for an architecture.
func program(t testing.TB, arch string) []byte {
	t.Helper()
	p, ok := initbin.For(arch)
	if !ok {
		t.Fatalf("no program for %s", arch)
	}
	data, err := p.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDefaultInit(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		own := DefaultInit(platform(arch))
		if own == nil {
			t.Fatalf("none for %s", arch)
		}
		given, err := NewInit(program(t, arch), platform(arch))
		if err != nil {
			t.Fatal(err)
		}
		if own.Digest != given.Digest || own.Size != given.Size || own.Size == 0 {
			t.Errorf("%s: %s of %d bytes, given as a file %s of %d", arch, own.Digest, own.Size, given.Digest, given.Size)
		}
		none := layers.Compression{Algorithm: layers.None}
		if a, b := packLayer(t, InitLayer(own, none)), packLayer(t, InitLayer(given, none)); !bytes.Equal(a, b) || InitLayer(own, none).Recipe != InitLayer(given, none).Recipe {
			t.Errorf("%s: the layer differs when the program comes from a file", arch)
		}
	}
	if DefaultInit(platform("riscv64")) != nil || DefaultInit(ocispec.Platform{OS: "darwin", Architecture: "arm64"}) != nil {
		t.Error("there is an init for what nobody has compiled one for")
	}
}

func TestInitThatCannotRun(t *testing.T) {
	good := program(t, "amd64")
	object := bytes.Clone(good)
	binary.LittleEndian.PutUint16(object[16:], 1) // ET_REL
	dynamic := bytes.Clone(good)
	// Change the type of the first program header to PT_INTERP.
	binary.LittleEndian.PutUint32(dynamic[binary.LittleEndian.Uint64(good[32:]):], 3)
	for _, tt := range []struct {
		name string
		data []byte
		arch string
		want string
	}{
		{"a script", []byte("#!/bin/sh\n"), "amd64", "not an ELF program"},
		{"nothing", nil, "amd64", "not an ELF program"},
		{"cut off", good[:1000], "amd64", ""},
		{"another machine", good, "arm64", "a program for EM_X86_64"},
		{"an object file", object, "amd64", "not a program"},
		{"with a loader", dynamic, "amd64", "not static"},
		{"too large", make([]byte, MaxInit+1), "amd64", "at most"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewInit(tt.data, platform(tt.arch)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestInitChoice(t *testing.T) {
	amd, arm := program(t, "amd64"), program(t, "arm64")
	file := func(data []byte) InitFile { return InitFile{"--init x", data} }
	for _, tt := range []struct {
		name   string
		choice InitChoice
		arch   string
		want   digest.Digest
		err    string
	}{
		{name: "default", arch: "arm64", want: digest.FromBytes(arm)},
		{name: "default without a program", arch: "riscv64"},
		{name: "none", choice: InitChoice{None: true}, arch: "amd64"},
		{name: "a file", choice: InitChoice{Files: []InitFile{file(amd)}}, arch: "amd64", want: digest.FromBytes(amd)},
		{name: "the file of the platform", choice: InitChoice{Files: []InitFile{file(amd), file(arm)}}, arch: "arm64", want: digest.FromBytes(arm)},
		{name: "the only file is another's", choice: InitChoice{Files: []InitFile{file(amd)}}, arch: "arm64", err: "not for linux/arm64"},
		{name: "no file", choice: InitChoice{Files: []InitFile{file(amd), file(arm)}}, arch: "riscv64", err: "none of the files"},
		{name: "not a program", choice: InitChoice{Files: []InitFile{file([]byte("x"))}}, arch: "amd64", err: "--init x: init: not an ELF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.choice.For(platform(tt.arch))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error is %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" && got != nil || tt.want != "" && (got == nil || got.Digest != tt.want) {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}

func TestImageInfo(t *testing.T) {
	sys := smallSystem(t, "x86_64-linux")
	data, err := sys.imageInfo()
	if err != nil {
		t.Fatal(err)
	}
	info, err := ParseImageInfo(data)
	if err != nil || info.Toplevel != string(sys.Toplevel) || info.Program != sys.Init.Digest || info.Init != "init" {
		t.Errorf("%s is read as %+v, %v", data, info, err)
	}
	for _, bad := range []string{"", "{", `{"version":2}`, `{"version":1,"nixociInit":"sha256:12"}`} {
		if _, err := ParseImageInfo([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
