package systems

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
)

// facts returns the facts about a toplevel. If they are not recorded, facts reads them from the files
// of the toplevel.
func (r *Reader) facts(ctx context.Context, in *Resolved) (manifest.Facts, error) {
	info := in.Closure.Info(in.Toplevel)
	if info != nil {
		if f, ok := r.recordedFacts(ctx, info); ok {
			return f, nil
		}
	}
	f, err := manifest.ReadFacts(ctx, in.Source, in.Closure, in.Toplevel)
	if err != nil {
		return manifest.Facts{}, err
	}
	_ = r.Cache.Put(cache.FolderSystems, factsKey(info), f) // if this write fails, the next run only takes longer
	return f, nil
}

// recordedFacts looks for the facts about a toplevel in this machine's cache, and then in
// r.Signed. Facts decide which program the container starts, so recordedFacts uses no unsigned
// image.
func (r *Reader) recordedFacts(ctx context.Context, info *closure.Info) (f manifest.Facts, ok bool) {
	if r.Cache.Get(cache.FolderSystems, factsKey(info), &f) {
		return f, true
	}
	if r.Signed == nil {
		return manifest.Facts{}, false
	}
	return r.Signed(ctx, info)
}

func factsKey(info *closure.Info) string { return string(info.Path) + " " + info.NarHash.Hex() }

// recordedRoot is the cache entry for the root of a closure. It records whether the root is an
// application. A NixOS system whose facts are in the cache needs no such entry.
type recordedRoot struct {
	Application bool              `json:"application"`
	Platform    *ocispec.Platform `json:"platform,omitempty"`
}

// isApplication reports whether info's path is the root of an application and not of a NixOS
// system. files must be able to read the path.
func (r *Reader) isApplication(ctx context.Context, files *application.Reader, info *closure.Info) (bool, error) {
	if _, ok := r.recordedFacts(ctx, info); ok {
		return false, nil
	}
	// Read a path with this name as a toplevel, even if its files are wrong. The reader of
	// toplevels then reports the fault.
	if info.Path.NamedAsSystem() {
		return false, nil
	}
	key := "root " + factsKey(info)
	var recorded recordedRoot
	if r.Cache.Get(cache.FolderSystems, key, &recorded) {
		return recorded.Application, nil
	}
	system, err := files.IsSystem(info.Path)
	if err != nil {
		return false, err
	}
	_ = r.Cache.Put(cache.FolderSystems, key, recordedRoot{Application: !system}) // if this write fails, the next run only takes longer
	return !system, nil
}

// platform returns the platform of an application, from the argument or from the files. If neither
// names a platform, it returns nil.
func (r *Reader) platform(c *Content) (*ocispec.Platform, error) {
	if c.System != "" {
		p, err := manifest.ParsePlatform(c.System)
		return &p, err
	}
	key, err := application.Key(c.Closure, application.Choices{Roots: []closure.StorePath{c.Toplevel}}, application.StartSettings{}, nil)
	if err != nil {
		return nil, err
	}
	key += " platform"
	var recorded recordedRoot
	if r.Cache.Get(cache.FolderSystems, key, &recorded) {
		return recorded.Platform, nil
	}
	p, ok, err := c.files.Platform(c.Toplevel)
	if err != nil {
		return nil, err
	}
	recorded.Application = true
	if ok {
		recorded.Platform = &p
	}
	_ = r.Cache.Put(cache.FolderSystems, key, recorded)
	return recorded.Platform, nil
}

// application returns the application in c, with the settings of r.
func (r *Reader) application(ctx context.Context, c *Content, choices application.Choices) (*application.Application, error) {
	settings := application.StartSettings{Entrypoint: r.Settings.Entrypoint, User: r.Settings.User, Based: r.Base != nil}
	if choices.NoEntrypoint {
		settings.Entrypoint = r.Settings.Cmd
	}
	if r.Base != nil && len(choices.Users) > 0 {
		users, err := r.Base.users(ctx, r.Cache, *c.Platform)
		if err != nil {
			return nil, err
		}
		settings.BaseUsers = users
	}
	choices.Roots, choices.Program = c.Roots, c.Program
	key, err := application.Key(c.Closure, choices, settings, c.Platform)
	if err != nil {
		return nil, err
	}
	app := &application.Application{}
	if r.Cache.Get(cache.FolderSystems, key, app) {
		return app, nil
	}
	if app, err = c.files.New(choices, settings, c.Platform); err != nil {
		return nil, err
	}
	_ = r.Cache.Put(cache.FolderSystems, key, app)
	return app, nil
}
