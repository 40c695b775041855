//go:build linux

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	gcRoots = "/nix/var/nix/gcroots"
	// imageRoot is the root of the image's own system. Images of format version 2 and
	// later already contain it.
	imageRoot = "nixoci-image"
	// applyRoots is the directory of roots for systems that apply has evaluated or built
	// but not switched to yet: nix.gc.automatic may start at any moment.
	applyRoots = "nixoci-apply"
)

// holdImage protects the image's own system from nix-collect-garbage
// -d: NIXOCI_BOOT=base boots it, and applied systems share its store
// paths.
func holdImage(roots, toplevel string) error {
	if !isThere(toplevel) {
		return nil // a volume hides the image's store, so there is no system to protect
	}
	err := setRoot(filepath.Join(roots, imageRoot), toplevel)
	if errors.Is(err, syscall.EROFS) {
		return nil // on a read-only file system nothing can be deleted
	}
	if err != nil {
		return fmt.Errorf("hold the image's system against garbage collection: %w", err)
	}
	return nil
}

// setRoot makes a direct gc root: a link in Nix's directory of roots. It protects path as
// soon as path is valid in the store.
func setRoot(root, path string) error {
	if now, err := os.Readlink(root); err == nil && now == path {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return err
	}
	temp := root + ".new"
	os.Remove(temp) // left over from a process that was killed
	if err := os.Symlink(path, temp); err != nil {
		return err
	}
	return os.Rename(temp, root)
}

// imageToplevel returns the system that the image was made from, "" if it is unknown.
func imageToplevel() string {
	l := imageLayout()
	image, err := l.readImage()
	if err == nil && image != nil {
		return image.Toplevel
	}
	s, err := l.imageSystem(nil)
	if err != nil {
		return ""
	}
	return s.Toplevel
}
