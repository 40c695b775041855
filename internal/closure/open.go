package closure

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Open returns the source that --from names: the URL of a binary cache, a
// directory with a nix-cache-info, or a directory with a store below it. With
// none it is the machine's own store. Several are asked in order, path by path.
func Open(from []string, o CacheOptions) (Source, error) {
	if len(from) == 0 {
		return OpenLocal("/")
	}
	sources := make([]Source, len(from))
	for i, f := range from {
		var err error
		switch {
		case strings.Contains(f, "://"):
			sources[i], err = OpenCache(f, o)
		case isFileCache(f):
			var abs string
			if abs, err = filepath.Abs(f); err == nil {
				sources[i], err = OpenCache((&url.URL{Scheme: "file", Path: abs}).String(), o)
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

// IsLocal reports whether Open(from) reads files of this machine's disks as they
// are, so that reading a path again costs next to nothing.
func IsLocal(from []string) bool {
	for _, f := range from {
		if strings.Contains(f, "://") || isFileCache(f) {
			return false
		}
	}
	return true
}

// LocalRoot is where symlinks lead, for [nixbuild.Resolve], with these --from: the first
// that is a local store, else "/".
func LocalRoot(from []string) string {
	for _, f := range from {
		if !strings.Contains(f, "://") && !isFileCache(f) {
			return f
		}
	}
	return "/"
}
