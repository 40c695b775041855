//go:build linux

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// imageFile names the system that the image was made from. It is outside /nix, where a
// volume could hide it, and outside /etc, /var and /usr, which may be a tmpfs.
const imageFile = "/.nixoci.json"

// Image is the content of [imageFile]. Unknown keys are ignored.
type Image struct {
	Version  int    `json:"version"`
	Toplevel string `json:"toplevel"`       // store path
	Init     string `json:"init,omitempty"` // program to execute, below Toplevel; "" means init
}

const imageVersion = 1

// layout names the files in which PID 1 looks for a system.
type layout struct {
	Image   string   // imageFile
	Profile string   // names the last system that was switched to
	Inits   []string // links into the toplevel, for images without imageFile
}

func imageLayout() layout {
	return layout{Image: imageFile, Profile: profile, Inits: []string{"/sbin/init", "/init"}}
}

// readImage returns nil if the file is missing, damaged or of another version. In the
// last two cases it also returns an error, but the boot goes on.
func (l layout) readImage() (*Image, error) {
	var i Image
	there, err := readJSON(l.Image, &i)
	if err != nil || !there {
		return nil, err
	}
	if i.Version != imageVersion {
		return nil, fmt.Errorf("%s has version %d, this nixoci-init reads %d", l.Image, i.Version, imageVersion)
	}
	if !filepath.IsAbs(i.Toplevel) {
		return nil, fmt.Errorf("%s: toplevel %q is not an absolute path", l.Image, i.Toplevel)
	}
	return &i, nil
}

// imageSystem returns the system that the image was made from.
func (l layout) imageSystem(i *Image) (System, error) {
	if i != nil {
		return systemWithInit(i.Toplevel, i.Init)
	}
	for _, init := range l.Inits {
		for _, link := range linkChain(init) {
			if s, err := systemAt(filepath.Dir(link)); err == nil {
				return s, nil
			}
		}
	}
	return System{}, fmt.Errorf("%s does not lead to one", strings.Join(l.Inits, " or "))
}

// ErrNoSystem means that the image contains no system that can boot.
var ErrNoSystem = errors.New("no NixOS system found")

// FindSystem returns the system to boot. With base that is the image's own system.
// Otherwise it is the system that the profile names, or the image's own if that fails.
// notes are lines for the log that explain the choice.
func FindSystem(l layout, ms Mounts, base bool) (s System, notes []string, err error) {
	image, err := l.readImage()
	if err != nil {
		notes = append(notes, fmt.Sprintf("ignoring what the image says of itself: %v", err))
	}
	own, ownErr := l.imageSystem(image)
	if base {
		if ownErr == nil {
			return own, notes, nil
		}
		return System{}, notes, noSystem(image, ms, true, ownErr)
	}
	s, err = systemAt(l.Profile)
	switch {
	case err == nil && ownErr != nil && image != nil:
		if point := volume(ms, image.Toplevel); point != "" {
			notes = append(notes, fmt.Sprintf(
				"the volume on %s comes from another image: starting its system, not this image's (%s).\n"+
					"nixoci: to start this image's system, leave the volume out or give the container a new one", point, image.Toplevel))
		}
		return s, notes, nil
	case err == nil:
		return s, notes, nil
	case ownErr == nil:
		if image != nil { // without imageFile, a missing profile is normal
			notes = append(notes, fmt.Sprintf("%s names no system (%v): starting the image's own", l.Profile, err))
		}
		return own, notes, nil
	}
	return System{}, notes, noSystem(image, ms, false, err, ownErr)
}

// noSystem explains why there is no system, and what to do about it.
func noSystem(image *Image, ms Mounts, base bool, causes ...error) error {
	var tried []string
	for _, c := range causes {
		tried = append(tried, c.Error())
	}
	err := fmt.Errorf("%w: %s", ErrNoSystem, strings.Join(tried, "; "))
	store := "/nix/store"
	if image != nil {
		store = image.Toplevel
	}
	point := volume(ms, store)
	switch {
	case point != "" && base:
		return &ExitError{ExitConfig, fmt.Errorf("%w\nnixoci: hint: the volume on %s comes from another image. Leave it out, give the container a new one, or start without NIXOCI_BOOT=base", err, point)}
	case point != "":
		return &ExitError{ExitConfig, fmt.Errorf("%w\nnixoci: hint: the volume on %s hides the image's store. Leave it out, or use a new named volume, which Docker and podman fill from the image: a directory of the host or an emptyDir stays empty", err, point)}
	case image != nil:
		return &ExitError{ExitSoftware, fmt.Errorf("%w\nnixoci: hint: the system was deleted from this container's store. Make a new container from the image", err)}
	}
	return &ExitError{ExitSoftware, err}
}

// volume returns the mount point of the volume that holds path, "" if path is on the
// image's own file system.
func volume(ms Mounts, path string) string {
	m, ok := ms.Holding(path)
	if !ok || m.Point == "/" {
		return ""
	}
	return m.Point
}

// linkChain returns path and each path that it links to, step by step. The last one is
// nixoci-init's own file. The one before it is $toplevel/nixoci-init.
func linkChain(path string) []string {
	const deepest = 40 // the kernel's limit too
	var chain []string
	for range deepest {
		chain = append(chain, path)
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return chain
}
