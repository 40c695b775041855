//go:build linux

package guest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// fingerprintVersion changes if the same inputs must be built again.
const fingerprintVersion = "nixoci-apply-1"

// Fingerprint identifies all inputs of a build: the base (the content of
// base.json), the name of the configuration, and the content of every file
// in dir. It follows links, because Kubernetes mounts its files through
// them. Times, owners and modes do not change it. Only the executable bit
// does.
func Fingerprint(base []byte, name, dir string) (string, error) {
	h := sha256.New()
	field(h, []byte(fingerprintVersion))
	field(h, base)
	field(h, []byte(name))
	if err := hashTree(h, dir, ".", 0); err != nil {
		return "", fmt.Errorf("read configuration: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// field hashes the length of p, then p, so that different sequences of fields have different hashes.
func field(h hash.Hash, p []byte) {
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(p)))
	h.Write(n[:])
	h.Write(p)
}

// ignored reports whether a file is not part of a configuration: Git's own files, and the
// result links of builds.
func ignored(name string) bool {
	return name == ".git" || name == "result" || strings.HasPrefix(name, "result-")
}

// maxDepth ends the walk if links lead back up.
const maxDepth = 32

func hashTree(h hash.Hash, root, rel string, depth int) error {
	path := filepath.Join(root, rel)
	if depth > maxDepth {
		return fmt.Errorf("%s: more than %d directories deep", path, maxDepth)
	}
	info, err := os.Stat(path)
	if os.IsNotExist(err) {
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		field(h, []byte("link "+rel))
		field(h, []byte(target))
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		entries, err := os.ReadDir(path) // sorted by name
		if err != nil {
			return err
		}
		field(h, []byte("directory "+rel))
		for _, e := range entries {
			// Kubernetes keeps the files in ..data, beside links to them.
			if ignored(e.Name()) || strings.HasPrefix(e.Name(), "..") {
				continue
			}
			if err := hashTree(h, root, filepath.Join(rel, e.Name()), depth+1); err != nil {
				return err
			}
		}
	case info.Mode().IsRegular():
		kind := "file "
		if info.Mode()&0o111 != 0 {
			kind = "executable "
		}
		field(h, []byte(kind+rel))
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		field(h, sum.Sum(nil))
	default:
		// Nix cannot read sockets and devices either: hash only the fact that one is there.
		field(h, []byte("special "+rel))
	}
	return nil
}

// stamp hashes names, sizes, times and modes in dir. It is cheaper than a fingerprint: it
// shows that somebody wrote to dir, but it does not identify the content.
func stamp(dir string) string {
	var b bytes.Buffer
	filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		info, statErr := os.Stat(path) // through links
		if err != nil || statErr != nil {
			fmt.Fprintf(&b, "%s gone\n", path)
			return nil
		}
		if info.IsDir() && ignored(info.Name()) {
			return filepath.SkipDir
		}
		fmt.Fprintf(&b, "%s %d %d %v\n", path, info.Size(), info.ModTime().UnixNano(), info.Mode())
		return nil
	})
	sum := sha256.Sum256(b.Bytes())
	return string(sum[:])
}
