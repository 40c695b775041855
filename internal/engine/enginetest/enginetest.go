// Package enginetest contains a program that replaces docker and podman in tests.
package enginetest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// DirVariable is the environment variable with the engine's directory. The directory contains
// the layers of the engine (blobs), a file for each name of an image with the digest of its
// config (names), a line for each command (log), and the archive that was loaded (loaded). If
// the directory contains a file named remote, the engine behaves like an engine on another
// machine.
const DirVariable = "NIXOCI_TEST_ENGINE"

// Main runs one command of docker or podman.
func Main() {
	if err := run(os.Getenv(DirVariable), os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "Error response from engine: %v\n", err)
		os.Exit(1)
	}
}

func run(dir string, args []string) error {
	for _, sub := range []string{"blobs", "names"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o777); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintln(log, strings.Join(args, " "))
	last := args[len(args)-1]
	switch args[0] {
	case "version", "info":
		fmt.Println("linux/" + runtime.GOARCH)
		return nil
	case "pull":
		if _, err := os.Stat(filepath.Join(dir, "remote")); err == nil {
			return fmt.Errorf("Get https://%s: connection refused", last) //nolint:staticcheck // as Docker writes it
		}
		platform := "linux/" + runtime.GOARCH
		if i := slices.Index(args, "--platform"); i > 0 {
			platform = args[i+1]
		}
		return pull(dir, last, platform, log)
	case "tag":
		id, err := os.ReadFile(nameFile(dir, args[1]))
		if err != nil {
			return fmt.Errorf("no such image: %s", args[1])
		}
		return os.WriteFile(nameFile(dir, args[2]), id, 0o666)
	case "rmi":
		return os.Remove(nameFile(dir, last))
	case "load":
		file, err := os.Create(filepath.Join(dir, "loaded"))
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(file, os.Stdin)
		return err
	}
	return fmt.Errorf("unknown command: %s", args[0])
}

func nameFile(dir, name string) string {
	return filepath.Join(dir, "names", strings.NewReplacer("/", "_", ":", "_", "@", "_").Replace(name))
}

// pull downloads the layers that the engine lacks.
func pull(dir, from, platform string, log io.Writer) error {
	ref, err := name.NewDigest(from)
	if err != nil {
		return err
	}
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		return err
	}
	image, err := remote.Image(ref, remote.WithPlatform(*p))
	if err != nil {
		return err
	}
	all, err := image.Layers()
	if err != nil {
		return err
	}
	for _, l := range all {
		d, err := l.Digest()
		if err != nil {
			return err
		}
		file := filepath.Join(dir, "blobs", d.Hex)
		if _, err := os.Stat(file); err == nil {
			continue
		}
		data, err := read(l)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, data, 0o666); err != nil {
			return err
		}
		fmt.Fprintln(log, "  layer", d)
	}
	id, err := image.ConfigName()
	if err != nil {
		return err
	}
	return os.WriteFile(nameFile(dir, from), []byte(id.String()), 0o666)
}

func read(l v1.Layer) ([]byte, error) {
	rc, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}
