package nixbuild

import (
	"crypto/sha256"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/nar"
)

// writeFlake writes src, the tree of a flake, to dir. It returns a Nix
// expression for the tree, and a flake reference to the tree. Both contain the
// tree's narHash. So the flake is locked, as pure evaluation requires, and the
// flake's store path does not depend on dir.
func writeFlake(src fs.FS, dir string) (expression, reference string, err error) {
	if err := os.CopyFS(dir, src); err != nil {
		return "", "", err
	}
	narHash, err := hashTree(dir)
	if err != nil {
		return "", "", err
	}
	// Nix uses the latest time of a file as the flake's lastModified. So all files
	// get the same fixed time.
	second := []unix.Timespec{{Sec: 1}, {Sec: 1}}
	err = filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, name, second, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return "", "", err
	}
	expression = "(builtins.fetchTree { type = \"path\"; path = " + nixString(dir) + "; narHash = " + nixString(narHash.SRI()) + "; }).outPath"
	reference = "path:" + (&url.URL{Path: dir}).EscapedPath() + "?" + url.Values{"narHash": {narHash.SRI()}}.Encode()
	return expression, reference, nil
}

// hashTree returns the narHash of a directory that writeFlake wrote.
func hashTree(dir string) (closure.Hash, error) {
	sum := sha256.New()
	w := nar.NewWriter(sum)
	// WalkDir visits files in NAR order: they are sorted by name, and each directory
	// comes before its entries.
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, file)
		switch {
		case err != nil:
			return err
		case name == ".":
			return w.Directory("")
		case d.IsDir():
			return w.Directory(name)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(file)
			if err != nil {
				return err
			}
			return w.Symlink(name, target)
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return err
		}
		return w.File(name, false, st.Size(), f)
	})
	if err == nil {
		err = w.Close()
	}
	return closure.Hash(sum.Sum(nil)), err
}
