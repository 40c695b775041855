package closure

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

func TestCacheInfoSize(t *testing.T) {
	top := numbered(0, 0)
	narinfo := all(t, narinfoWith(top, 1, 0))
	limittest.Around(t, limit.CacheInfo, "more than 65536 bytes", func(n int) error {
		c := directCache(t, CacheOptions{NoSignatures: true}, func(r *http.Request) (*http.Response, error) {
			body := narinfo
			if strings.HasSuffix(r.URL.Path, cacheInfoFile) {
				body = padded("StoreDir: /nix/store\n", n)
			}
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1, Request: r}, nil
		})
		_, err := c.Closure(t.Context(), []StorePath{top})
		return err
	})
}

// padded returns text, followed by a comment. The result has n bytes.
func padded(text string, n int) string {
	return text + "#" + strings.Repeat("x", n-len(text)-2) + "\n"
}

// zstdOf returns a zstd file that contains n zeros in one segment. Decompression
// needs a window of n bytes.
func zstdOf(n int) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0}, uint32(n)) // header for one segment, with the size in four bytes
	const block = 128 << 10
	for n > 0 {
		size := min(n, block)
		n -= size
		head := uint32(size)<<3 | 1<<1 // header of a block that repeats one byte
		if n == 0 {
			head |= 1 // mark the last block
		}
		b = append(b, byte(head), byte(head>>8), byte(head>>16), 0)
	}
	return b
}

func TestWindowSize(t *testing.T) {
	limittest.Around(t, limit.Window, "more than 67108864", func(n int) error {
		d, err := newZstd(t.Context(), bytes.NewReader(zstdOf(n)))
		if err != nil {
			return err
		}
		defer d.Close()
		got, err := io.Copy(io.Discard, d)
		if err == nil && got != int64(n) {
			err = fmt.Errorf("%d bytes", got)
		}
		return err
	})
}

func TestNixConfSize(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nix.conf")
	limittest.Around(t, limit.NixConf, "more than 1048576 bytes", func(n int) error {
		writeText(t, file, padded("trusted-public-keys = a:b\n", n))
		c := &nixConfig{}
		err := c.file(file, 0)
		if err == nil && len(c.keys) != 1 {
			err = fmt.Errorf("keys %q", c.keys)
		}
		return err
	})
}

func TestNixConfDeep(t *testing.T) {
	dir := t.TempDir()
	limittest.Around(t, limit.NixConfDeep, "include is too deep", func(n int) error {
		for i := range n {
			writeText(t, filepath.Join(dir, fmt.Sprint(i)), fmt.Sprintf("include %d\n", i+1))
		}
		writeText(t, filepath.Join(dir, fmt.Sprint(n)), "trusted-public-keys = a:b\n")
		c := &nixConfig{}
		err := c.file(filepath.Join(dir, "0"), 0)
		if err == nil && len(c.keys) != 1 {
			err = fmt.Errorf("keys %q", c.keys)
		}
		return err
	})
}

func TestNetrcSize(t *testing.T) {
	file := filepath.Join(t.TempDir(), "netrc")
	t.Setenv("NETRC", file)
	limittest.Around(t, limit.Netrc, "more than 1048576 bytes", func(n int) error {
		writeText(t, file, padded("machine cache.example login a password b\n", n))
		u, err := netrcUser("cache.example")
		if err == nil && u.String() != "a:b" {
			err = fmt.Errorf("user %v", u)
		}
		return err
	})
}

func writeText(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
