package manifest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
)

// systemLayerKind is the first word of the text from which the layer's recipe is computed.
const systemLayerKind = "nixoci-system"

// skeleton is the root file system without the closure's paths. It contains the directories
// on which a runtime mounts, and those that NixOS's activation needs. All of it affects
// bytes. Stage 2 and activation create the rest (/bin/sh, /usr/bin/env, /var/empty, files in
// /etc, …) with their own modes.
var skeleton = []entry{
	{name: "bin", mode: 0o755},
	{name: "dev", mode: 0o755},
	{name: "etc", mode: 0o755}, // runtimes mount hosts, hostname and resolv.conf here
	{name: "home", mode: 0o755},
	{name: "nix", mode: 0o755},
	{name: "nix/var", mode: 0o755},
	{name: "nix/var/nix", mode: 0o755},
	{name: "nix/var/nix/db", mode: 0o755},
	{name: "nix/var/nix/gcroots", mode: 0o755},
	{name: "nix/var/nix/gcroots/auto", mode: 0o755},
	// NixOS's activation and stage 2 create these two links. The image already contains them,
	// so that a garbage collection before or during activation keeps the system.
	{name: "nix/var/nix/gcroots/booted-system", link: "/run/booted-system"},
	{name: "nix/var/nix/gcroots/current-system", link: "/run/current-system"},
	// Nix creates this link only if Nix itself creates the directory gcroots.
	{name: "nix/var/nix/gcroots/profiles", link: "/nix/var/nix/profiles"},
	{name: "nix/var/nix/profiles", mode: 0o755},
	{name: "nix/var/nix/profiles/per-user", mode: 0o755},
	{name: "nix/var/nix/profiles/per-user/root", mode: 0o755},
	{name: "nix/var/nix/profiles/system", link: "system-1-link"},
	{name: "nix/var/nix/temproots", mode: 0o755},
	{name: "proc", mode: 0o555}, // the mode of a mounted /proc
	{name: "root", mode: 0o700},
	{name: "run", mode: 0o755},
	{name: "sbin", mode: 0o755},
	{name: "sys", mode: 0o555},
	{name: "tmp", mode: 0o1777},
	{name: "usr", mode: 0o755},
	{name: "usr/bin", mode: 0o755},
	{name: "var", mode: 0o755},
	{name: "var/cache", mode: 0o755},
	{name: "var/lib", mode: 0o755},
	{name: "var/log", mode: 0o755},
	{name: "var/tmp", mode: 0o1777},
}

// entry is a directory, a symlink (if link is not "") or a file (if data is not nil).
type entry struct {
	name string
	mode int64
	link string
	data []byte
}

// SystemLayer describes the last layer of sys's image. It contains the root skeleton, the
// system profile, garbage collection roots, the Nix database, and the file that names the
// toplevel. If there is no init layer, it also contains the links to the init program. The
// layer depends only on the content of the closure, on sys.Toplevel and on its init program.
// SystemLayer reads no store file.
func SystemLayer(sys *System, comp layers.Compression) (*layers.Layer, error) {
	if sys.NarHash == (closure.Hash{}) {
		return nil, fmt.Errorf("system layer of %s: %w", sys.Toplevel, errNoNarHash)
	}
	if sys.Own == "" {
		return nil, errors.New("system layer: no init")
	}
	content := systemLayerContent(sys)
	return &layers.Layer{
		Recipe:      layers.NewNamedRecipe(comp, systemLayerKind, sys.format(), content),
		Size:        databaseSize(sys.Closure),
		Compression: comp,
		Comment:     fmt.Sprintf("system layer: init of %s, Nix database of %d paths", sys.Toplevel.Name(), len(sys.Closure.Paths)),
		Content: func(ctx context.Context, w *layers.TarWriter) error {
			return writeSystemLayer(ctx, w, sys)
		},
	}, nil
}

// systemLayerContent returns the text from which the recipe is computed. It contains all
// inputs of the layer except the format version, one per line.
//
//	init sha256:…
//	toplevel /nix/store/…-nixos-system-web
//	path /nix/store/…-a sha256:… 4096 - /nix/store/…-b /nix/store/…-c
//
// The line that begins with init contains the program's digest, or the link's target if
// /sbin/init is a link. A line that begins with path contains the narHash, the narSize, the
// content address or "-", and the references. Paths and references are sorted.
func systemLayerContent(sys *System) string {
	var b strings.Builder
	init := sys.initTarget()
	if sys.Init != nil {
		init = sys.Init.Digest.String()
	}
	fmt.Fprintf(&b, "init %s\ntoplevel %s\n", init, sys.Toplevel)
	for i := range sys.Closure.Paths {
		p := &sys.Closure.Paths[i]
		fmt.Fprintf(&b, "path %s %s %d %s", p.Path, p.NarHash.Hex(), p.NarSize, cmp.Or(p.CA, "-"))
		for _, r := range p.References {
			b.WriteByte(' ')
			b.WriteString(string(r))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// initTarget returns the target of /sbin/init in an image without an init layer.
func (sys *System) initTarget() string { return string(sys.Toplevel) + "/" + sys.Own }

// ImageFile is the name of the file that names the image's own system. The file is outside
// /nix, so that a volume on /nix cannot hide it.
const ImageFile = ".nixoci.json"

// imageFileVersion is the version of the content of ImageFile. nixoci-init ignores a file
// with another version.
const imageFileVersion = 1

// ImageInfo is the content of [ImageFile].
type ImageInfo struct {
	Version  int           `json:"version"`              // imageFileVersion
	Toplevel string        `json:"toplevel"`             // store path
	Init     string        `json:"init"`                 // program that nixoci-init executes at the end, relative to the toplevel
	Program  digest.Digest `json:"nixociInit,omitempty"` // the nixoci-init that is installed as /sbin/init
}

// imageInfo returns the content of the ImageFile of sys.
func (sys *System) imageInfo() ([]byte, error) {
	info := ImageInfo{Version: imageFileVersion, Toplevel: string(sys.Toplevel), Init: systemInit}
	if sys.Init != nil {
		info.Program = sys.Init.Digest
	}
	data, err := oci.Marshal(info)
	return append(data, '\n'), err
}

// ParseImageInfo parses the content of an ImageFile.
func ParseImageInfo(data []byte) (ImageInfo, error) {
	var info ImageInfo
	if err := json.Unmarshal(data, &info); err != nil {
		return ImageInfo{}, fmt.Errorf("read /%s: %w", ImageFile, err)
	}
	if info.Version != imageFileVersion {
		return ImageInfo{}, fmt.Errorf("read /%s: version %d; this nixoci reads version %d", ImageFile, info.Version, imageFileVersion)
	}
	if info.Program != "" {
		if err := checkDigest(info.Program); err != nil {
			return ImageInfo{}, fmt.Errorf("read /%s: %w", ImageFile, err)
		}
	}
	return info, nil
}

// databaseSize estimates the size of the database in bytes. The factors were measured. They
// include index entries.
func databaseSize(c *closure.Closure) int64 {
	var refs int64
	for i := range c.Paths {
		refs += int64(len(c.Paths[i].References))
	}
	return 240*int64(len(c.Paths)) + 32*refs + 10*sqlitePage
}

func writeSystemLayer(ctx context.Context, w *layers.TarWriter, sys *System) error {
	db, err := WriteNixDatabase(sys.Closure)
	if err != nil {
		return fmt.Errorf("system layer of %s: %w", sys.Toplevel, err)
	}
	entries := append(slices.Clone(skeleton),
		entry{name: "nix/var/nix/db/db.sqlite", mode: 0o644, data: db},
		entry{name: "nix/var/nix/db/schema", mode: 0o644, data: []byte(NixSchema)},
		entry{name: "nix/var/nix/profiles/system-1-link", link: string(sys.Toplevel)},
	)
	if sys.Init == nil {
		entries = append(entries,
			entry{name: "init", link: sys.initTarget()},
			entry{name: "sbin/init", link: sys.initTarget()},
		)
	}
	if sys.format() >= Format2 {
		info, err := sys.imageInfo()
		if err != nil {
			return fmt.Errorf("system layer of %s: %w", sys.Toplevel, err)
		}
		entries = append(entries,
			entry{name: ImageFile, mode: 0o444, data: info},
			// When a configuration is applied, the profile points to another system. The
			// image's own system must stay in the store, or the container cannot start again.
			entry{name: "nix/var/nix/gcroots/nixoci-image", link: string(sys.Toplevel)},
		)
	}
	if err := writeEntries(ctx, w, entries); err != nil {
		return fmt.Errorf("system layer of %s: %w", sys.Toplevel, err)
	}
	return nil
}

// writeEntries sorts the entries by name and writes them.
func writeEntries(ctx context.Context, w *layers.TarWriter, entries []entry) (err error) {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case e.link != "":
			err = w.Symlink(e.name, e.link)
		case e.data != nil:
			err = w.File(e.name, e.mode, int64(len(e.data)), bytes.NewReader(e.data))
		default:
			err = w.Directory(e.name, e.mode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
