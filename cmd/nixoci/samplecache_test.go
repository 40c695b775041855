package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/nar"
)

// plainCache copies the binary cache of testdata/ without compression. Many commands read this
// cache, and with compression they would spend most of their time decoding xz. The tests of
// internal/closure cover compression.
var plainCache = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nixoci-plain-cache-")
	if err != nil {
		return "", err
	}
	plainCacheDir = dir
	return dir, writePlainCache(dir, "../../testdata/cache", "../../testdata/public-key")
})

// plainCacheDir is the directory of plainCache, which [tests.Run] removes.
var plainCacheDir string

// gcPercent is higher than Go's default, because garbage collection takes less time if it
// starts later.
const gcPercent = 400

// tests runs all tests of the package.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	debug.SetGCPercent(gcPercent)
	defer func() { os.RemoveAll(plainCacheDir) }()
	return t.m.Run()
}

func writePlainCache(dir, from, keyFile string) error {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	keys, err := closure.NewTrustedKeys(strings.TrimSpace(string(key)))
	if err != nil {
		return err
	}
	if from, err = filepath.Abs(from); err != nil {
		return err
	}
	src, err := closure.OpenBinaryCache("file://"+from, closure.CacheOptions{Keys: keys})
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "nar"), 0o755); err != nil {
		return err
	}
	about, err := os.ReadFile(filepath.Join(from, "nix-cache-info"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "nix-cache-info"), about, 0o644); err != nil {
		return err
	}
	infos, err := filepath.Glob(filepath.Join(from, "*.narinfo"))
	if err != nil || len(infos) == 0 {
		return fmt.Errorf("no narinfo in %s: %v", from, err)
	}
	for _, name := range infos {
		if err := writePlainPath(dir, name, src); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// writePlainPath writes the uncompressed NAR of a path, and a narinfo for this NAR. narinfo
// is the name of the original narinfo file.
func writePlainPath(dir, narinfo string, src closure.Source) error {
	data, err := os.ReadFile(narinfo)
	if err != nil {
		return err
	}
	n, err := closure.ParseNarinfo(data)
	if err != nil {
		return err
	}
	base := strings.TrimSuffix(filepath.Base(narinfo), ".narinfo")
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		switch field, _, _ := strings.Cut(line, ":"); field {
		case "URL":
			line = "URL: nar/" + base + ".nar\n"
		case "Compression":
			line = "Compression: none\n"
		case "FileHash", "FileSize":
			line = ""
		}
		text.WriteString(line)
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(narinfo)), []byte(text.String()), 0o644); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "nar", base+".nar"))
	if err != nil {
		return err
	}
	defer f.Close()
	ctx := context.Background()
	c, err := src.Closure(ctx, []closure.StorePath{n.Path})
	if err != nil {
		return err
	}
	w := nar.NewWriter(f)
	if err := closure.Walk(ctx, src, c.Info(n.Path), w); err != nil {
		return err
	}
	return w.Close()
}
