// Command renew builds nixoci-init for every architecture and writes the programs to
// internal/initbin. With -check it writes nothing, and compares the new programs with those
// in internal/initbin. With -overlay DIR it writes the programs to DIR, and also a file
// DIR/overlay.json for go build -overlay. With this option, the end-to-end tests build a
// nixoci that contains the current source of nixoci-init.
//
// The bytes depend only on cmd/nixoci-init, internal/guest, go.mod and the toolchain that
// go.mod names.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/nixoci/nixoci/internal/initbin"
)

// architectures lists the architectures for which nixoci contains a nixoci-init.
var architectures = []string{"amd64", "arm64"}

func main() {
	check := flag.Bool("check", false, "write nothing, and fail where a program is not what its source makes")
	overlay := flag.String("overlay", "", "write to this directory, with a file overlay.json for go build")
	flag.Parse()
	if err := run(*check, *overlay); err != nil {
		fmt.Fprintln(os.Stderr, "renew nixoci-init:", err)
		os.Exit(1)
	}
}

func run(check bool, overlay string) error {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the module: %w", err)
	}
	module := strings.TrimSpace(string(out))
	toolchain, err := pinned(filepath.Join(module, "go.mod"))
	if err != nil {
		return err
	}
	built := map[string][]byte{}
	changed := false
	for _, arch := range architectures {
		if built[arch], err = build(module, toolchain, arch); err != nil {
			return err
		}
		have, _ := initbin.For(arch)
		same := have.Digest == digest(built[arch]) && have.Go == toolchain
		changed = changed || !same
		fmt.Printf("nixoci-init %s: %d bytes, %s, %s", arch, len(built[arch]), digest(built[arch]), toolchain)
		switch {
		case same:
			fmt.Println(": as in the repository")
		case check:
			fmt.Printf(": the repository has %s\n", have.Digest)
		default:
			fmt.Println(": new")
		}
	}
	pkg := filepath.Join(module, "internal/initbin")
	if overlay != "" {
		return writeOverlay(pkg, overlay, toolchain, built)
	}
	if !changed {
		for _, arch := range architectures { // Bytes also checks that the compressed files are undamaged
			p, _ := initbin.For(arch)
			if _, err := p.Bytes(); err != nil {
				return err
			}
		}
		return nil
	}
	if check {
		return errors.New("the programs in internal/initbin are not what the source makes: run make init and commit what it writes")
	}
	return write(pkg, toolchain, built)
}

// writeOverlay writes to dir the files that the function write would write to the package.
func writeOverlay(pkg, dir, toolchain string, built map[string][]byte) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := write(dir, toolchain, built); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	replace := map[string]string{}
	for _, f := range files {
		replace[filepath.Join(pkg, f.Name())] = filepath.Join(dir, f.Name())
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "overlay.json"), data, 0o644)
}

// pinned returns the toolchain that go.mod names.
func pinned(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "toolchain "); ok {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s has no toolchain line", file)
}

// build compiles nixoci-init. It sets every variable that affects the compiler, so that
// the environment does not change the bytes.
func build(module, toolchain, arch string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "nixoci-init-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "nixoci-init")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-pgo=off", "-mod=readonly",
		"-ldflags=-s -w -buildid=", "-o", file, "./cmd/nixoci-init")
	cmd.Dir = module
	cmd.Env = append(os.Environ(),
		"GOTOOLCHAIN="+toolchain, "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0",
		"CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("build for %s: %w", arch, err)
	}
	return os.ReadFile(file)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// write replaces the programs in the package, and the list of programs in programs.go.
func write(dir, toolchain string, built map[string][]byte) error {
	old, _ := initbin.For(architectures[0])
	last, _ := strconv.Atoi(old.Version) // 0 if there is no program yet
	var b bytes.Buffer
	b.WriteString("// Code generated by make init; DO NOT EDIT.\n\npackage initbin\n\nvar programs = []Program{\n")
	for _, arch := range architectures {
		p := initbin.Program{Architecture: arch, Version: strconv.Itoa(last + 1), Digest: digest(built[arch]), Size: int64(len(built[arch])), Go: toolchain}
		fmt.Fprintf(&b, "{Architecture: %q, Version: %q, Digest: %q, Size: %d, Go: %q},\n", p.Architecture, p.Version, p.Digest, p.Size, p.Go)
		compressed, err := compress(built[arch])
		if err != nil {
			return fmt.Errorf("compress for %s: %w", arch, err)
		}
		if err := os.WriteFile(filepath.Join(dir, p.File()), compressed, 0o644); err != nil {
			return err
		}
	}
	b.WriteString("}\n")
	source, err := format.Source(b.Bytes())
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "programs.go"), source, 0o644)
}

// compress runs the program zstd if it is installed, because its result is a tenth smaller.
// Otherwise it uses a library. Nothing depends on the compressed bytes.
func compress(data []byte) ([]byte, error) {
	if name, err := exec.LookPath("zstd"); err == nil {
		cmd := exec.Command(name, "--compress", "--stdout", "--quiet", "--ultra", "-22", fmt.Sprintf("--stream-size=%d", len(data)))
		cmd.Stdin, cmd.Stderr = bytes.NewReader(data), os.Stderr
		return cmd.Output()
	}
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return nil, err
	}
	return w.EncodeAll(data, nil), nil
}
