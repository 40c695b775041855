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
	// imageRoot holds the image's own system. Images since format version 2
	// bring it along.
	imageRoot = "nixoci-image"
	// applyRoots are for what apply has evaluated and built and not yet
	// switched to: nix.gc.automatic may start at any moment.
	applyRoots = "nixoci-apply"
)

// holdImage keeps nix-collect-garbage -d from deleting the system that the
// image was made for: NIXOCI_BOOT=base boots it, and what is applied later
// shares its store paths.
func holdImage(roots, toplevel string) error {
	if !isThere(toplevel) {
		return nil // a volume hides the image's store: there is nothing to hold
	}
	err := setRoot(filepath.Join(roots, imageRoot), toplevel)
	if errors.Is(err, syscall.EROFS) {
		return nil // nothing can be deleted then
	}
	if err != nil {
		return fmt.Errorf("hold the image's system against garbage collection: %w", err)
	}
	return nil
}

// setRoot makes a direct root: a link in Nix's directory of roots, which counts
// as soon as what it names is a valid path.
func setRoot(root, path string) error {
	if now, err := os.Readlink(root); err == nil && now == path {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return err
	}
	temp := root + ".new"
	os.Remove(temp) // of somebody who was killed
	if err := os.Symlink(path, temp); err != nil {
		return err
	}
	return os.Rename(temp, root)
}

// imageToplevel is the system that the image was made for, "" if nothing says.
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
