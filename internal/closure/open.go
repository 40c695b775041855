package closure

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Open returns the source for the values of --from. Each value is the URL of a
// binary cache, a directory with a nix-cache-info, or a directory that contains
// nix/store. Without a value, Open returns the machine's own store. If there are
// several values, each path comes from the first source that contains it.
func Open(from []string, o CacheOptions) (Source, error) {
	if len(from) == 0 {
		return OpenLocal("/")
	}
	sources := make([]Source, len(from))
	for i, f := range from {
		var err error
		switch {
		case strings.Contains(f, "://"):
			sources[i], err = OpenBinaryCache(f, o)
		case isFileCache(f):
			var abs string
			if abs, err = filepath.Abs(f); err == nil {
				sources[i], err = OpenBinaryCache((&url.URL{Scheme: "file", Path: abs}).String(), o)
			}
		default:
			sources[i], err = OpenLocal(f)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(sources) == 1 {
		return sources[0], nil
	}
	return Multi(sources...)
}

func isFileCache(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, cacheInfoFile))
	return err == nil
}

// IsLocal reports whether Open(from) reads files directly from this machine's disks.
// From such a source, a second read of a path costs almost nothing.
func IsLocal(from []string) bool {
	for _, f := range from {
		if strings.Contains(f, "://") || isFileCache(f) {
			return false
		}
	}
	return true
}

// LocalRoot returns the root directory for [nixbuild.Resolve]: the first local store
// in from, or "/".
func LocalRoot(from []string) string {
	for _, f := range from {
		if !strings.Contains(f, "://") && !isFileCache(f) {
			return f
		}
	}
	return "/"
}
