package manifest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/oci"
)

// rootLayerKind is the first word of the text from which the layer's recipe is computed.
// applicationVersion is the version of the rules for applications: docs/format.md, section 8.
const (
	rootLayerKind      = "nixoci-root"
	applicationVersion = 1
)

// applicationInfoVersion is the version of the content of ImageFile in an application's
// image.
const applicationInfoVersion = 2

// NewApplication returns a System for app, from which an image can be made. The roots of app
// must be in c.
func NewApplication(src closure.Source, c *closure.Closure, app *application.Application) *System {
	sys := &System{Format: CurrentFormat, Platform: app.Platform, Toplevel: app.Roots[0], Closure: c, Source: src, App: app}
	if info := c.Info(sys.Toplevel); info != nil {
		sys.NarHash = info.NarHash
	}
	return sys
}

// hasFiles reports whether the image contains a files layer.
func (sys *System) hasFiles() bool { return sys.App != nil && sys.App.HasFiles() }

// ApplicationInfo is the content of [ImageFile] in an application's image. It contains the
// user's choices. It also lists the closure, because the image may have no Nix database.
type ApplicationInfo struct {
	Version int `json:"version"` // applicationInfoVersion
	application.Choices
	Start   string            `json:"start,omitempty"` // the program that the application starts
	Base    *BaseInfo         `json:"base,omitempty"`
	Closure []ApplicationPath `json:"closure"` // sorted by path
}

// ApplicationPath is one store path of an application's closure.
type ApplicationPath struct {
	Path       closure.StorePath   `json:"path"`
	NarHash    string              `json:"narHash"` // SRI
	NarSize    int64               `json:"narSize"`
	References []closure.StorePath `json:"references,omitempty"` // sorted
	CA         string              `json:"ca,omitempty"`
}

// applicationInfo returns the content of the ImageFile of sys.
func (sys *System) applicationInfo() ([]byte, error) {
	info := ApplicationInfo{Version: applicationInfoVersion, Choices: sys.App.Choices, Start: sys.App.Start}
	if sys.Base != nil {
		info.Base = &sys.Base.BaseInfo
	}
	for i := range sys.Closure.Paths {
		p := &sys.Closure.Paths[i]
		info.Closure = append(info.Closure, ApplicationPath{p.Path, p.NarHash.SRI(), p.NarSize, p.References, p.CA})
	}
	data, err := oci.Marshal(info)
	return append(data, '\n'), err
}

// MaxImageFile is the size limit for an ImageFile in bytes. It is enough for 100,000 store
// paths.
const MaxImageFile = 64 << 20

// ParseApplicationInfo parses the ImageFile of an application's image. If the file has
// another version, it returns nil. The ImageFile of a NixOS system always has another
// version.
func ParseApplicationInfo(data []byte) (*ApplicationInfo, []closure.Info, error) {
	var version struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(data, &version) != nil || version.Version != applicationInfoVersion {
		return nil, nil, nil
	}
	fail := func(err error) (*ApplicationInfo, []closure.Info, error) {
		return nil, nil, fmt.Errorf("read /%s: %w", ImageFile, err)
	}
	info := &ApplicationInfo{}
	if err := json.Unmarshal(data, info); err != nil {
		return fail(err)
	}
	check := func(paths []closure.StorePath) error {
		for _, p := range paths {
			if _, err := closure.ParseStorePath(string(p)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := check(info.Roots); err != nil {
		return fail(err)
	}
	if err := info.Check(); err != nil {
		return fail(err)
	}
	if b := info.Base; b != nil {
		if err := (&Base{BaseInfo: *b}).check(); err != nil {
			return fail(err)
		}
	}
	infos := make([]closure.Info, len(info.Closure))
	for i, p := range info.Closure {
		if err := check(append([]closure.StorePath{p.Path}, p.References...)); err != nil {
			return fail(err)
		}
		h, err := closure.ParseHash(p.NarHash)
		if err != nil {
			return fail(fmt.Errorf("%s: %w", p.Path, err))
		}
		infos[i] = closure.Info{Path: p.Path, NarHash: h, NarSize: p.NarSize, References: p.References, CA: p.CA}
	}
	return info, infos, nil
}

// applicationSkeleton lists the directories of an application's root file system. It
// affects bytes.
var applicationSkeleton = []entry{
	{name: "dev", mode: 0o755},
	{name: "etc", mode: 0o755}, // runtimes mount hosts, hostname and resolv.conf here
	{name: "proc", mode: 0o555},
	{name: "root", mode: 0o700},
	{name: "run", mode: 0o755},
	{name: "sys", mode: 0o555},
	{name: "tmp", mode: 0o1777},
	{name: "var", mode: 0o755},
	{name: "var/empty", mode: 0o555},
	{name: "var/tmp", mode: 0o1777},
}

// databaseSkeleton lists the directories and links that Nix needs around its database.
var databaseSkeleton = []entry{
	{name: "nix", mode: 0o755},
	{name: "nix/var", mode: 0o755},
	{name: "nix/var/nix", mode: 0o755},
	{name: "nix/var/nix/db", mode: 0o755},
	{name: "nix/var/nix/gcroots", mode: 0o755},
	{name: "nix/var/nix/gcroots/profiles", link: "/nix/var/nix/profiles"},
	{name: "nix/var/nix/profiles", mode: 0o755},
	{name: "nix/var/nix/temproots", mode: 0o755},
}

// LastLayer describes the layer above the layers of store paths: the system layer of a NixOS
// system, or the root layer of an application. It reads no store file.
func LastLayer(sys *System, comp layers.Compression) (*layers.Layer, error) {
	if sys.App == nil {
		return SystemLayer(sys, comp)
	}
	return rootLayer(sys, comp)
}

// rootLayer describes the last layer of an application: the root skeleton, users, links, the
// ImageFile, and a Nix database if the user chose one. The layer depends only on the closure
// and the application.
func rootLayer(sys *System, comp layers.Compression) (*layers.Layer, error) {
	info, err := sys.applicationInfo()
	if err != nil {
		return nil, fmt.Errorf("root layer of %s: %w", sys.Toplevel, err)
	}
	recipe := layers.NewNamedRecipe(comp, rootLayerKind, applicationVersion, rootLayerContent(sys.App, info))
	size := int64(0)
	if sys.App.Database {
		size = databaseSize(sys.Closure)
	}
	entries := rootEntries(sys.App, info, sys.Base != nil)
	for _, e := range entries {
		size += int64(len(e.data))
	}
	return &layers.Layer{
		Recipe:      recipe,
		Size:        size,
		Compression: comp,
		Comment:     "root layer: " + sys.Toplevel.Name(),
		Content: func(ctx context.Context, w *layers.TarWriter) error {
			all := slices.Clone(entries)
			if sys.App.Database {
				db, err := WriteNixDatabase(sys.Closure)
				if err != nil {
					return fmt.Errorf("root layer of %s: %w", sys.Toplevel, err)
				}
				all = append(all, entry{name: "nix/var/nix/db/db.sqlite", mode: 0o644, data: db})
			}
			if err := writeEntries(ctx, w, all); err != nil {
				return fmt.Errorf("root layer of %s: %w", sys.Toplevel, err)
			}
			return nil
		},
	}, nil
}

// rootLayerContent returns the text from which the recipe is computed: info, which is the
// content of the ImageFile, and a line for each link or directory that the closure adds to
// the root.
//
//	{"version":2,"roots":["/nix/store/…-hello"],…}
//	link bin
//	link bin/hello /nix/store/…-hello/bin/hello
func rootLayerContent(app *application.Application, info []byte) string {
	var b strings.Builder
	b.Write(info)
	for _, e := range app.Entries {
		b.WriteString(strings.TrimRight("link "+e.Name+" "+e.Target, " ") + "\n")
	}
	return b.String()
}

// rootEntries returns the entries of the root layer except the database file. info is the
// content of the ImageFile. If based is true, the image has a base, and the layer contains no
// skeleton and no users.
func rootEntries(app *application.Application, info []byte, based bool) []entry {
	entries := []entry{{name: ImageFile, mode: 0o444, data: info}}
	if !based {
		entries = append(entries, applicationSkeleton...)
	}
	if app.Database {
		entries = append(entries, databaseSkeleton...)
		entries = append(entries, entry{name: "nix/var/nix/db/schema", mode: 0o644, data: []byte(NixSchema)})
		for i, root := range app.Roots {
			entries = append(entries, entry{name: fmt.Sprintf("nix/var/nix/gcroots/nixoci-image-%d", i+1), link: string(root)})
		}
	}
	add := func(e entry) {
		if !slices.ContainsFunc(entries, func(have entry) bool { return have.name == e.name }) {
			entries = append(entries, e)
		}
	}
	for _, e := range app.Entries {
		if e.Target != "" { // a link into the closure replaces an entry of nixoci with the same name
			entries = slices.DeleteFunc(entries, func(have entry) bool { return have.name == e.Name })
			add(entry{name: e.Name, link: e.Target})
		} else {
			add(entry{name: e.Name, mode: 0o755})
		}
	}
	if based {
		if app.PasswdFile != nil {
			add(entry{name: "etc/passwd", mode: 0o644, data: app.PasswdFile})
			add(entry{name: "etc/group", mode: 0o644, data: app.GroupFile})
		}
		return entries
	}
	for _, file := range []entry{
		{name: "etc/passwd", data: app.Passwd()},
		{name: "etc/group", data: app.Group()},
		{name: "etc/nsswitch.conf", data: []byte(application.Nsswitch)},
	} {
		file.mode = 0o644
		add(file)
	}
	return entries
}
