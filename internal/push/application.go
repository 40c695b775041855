package push

import (
	"context"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
)

// knownRoot is the cache entry for the root of a closure. It records whether the root is an
// application. A NixOS system whose facts are in the cache needs no such entry.
type knownRoot struct {
	Application bool              `json:"application"`
	Platform    *ocispec.Platform `json:"platform,omitempty"`
}

// NamedAsSystem reports whether the path p has the name that NixOS gives a toplevel.
func NamedAsSystem(p closure.StorePath) bool { return strings.HasPrefix(p.Name(), "nixos-system-") }

// IsApplication reports whether info's path is the root of an application and not of a NixOS
// system. r must be able to read the path. If this machine's cache or a signed image has the
// answer, IsApplication opens no store file.
func (j *Job) IsApplication(ctx context.Context, r *application.Reader, info *closure.Info) (bool, error) {
	if _, ok := j.knownFacts(ctx, info); ok {
		return false, nil
	}
	// Read a path with this name as a toplevel, even if its files are wrong. The reader of
	// toplevels then reports the fault.
	if NamedAsSystem(info.Path) {
		return false, nil
	}
	key := "root " + factsKey(info)
	var known knownRoot
	if j.Cache.Get(folderSystems, key, &known) {
		return known.Application, nil
	}
	system, err := r.IsSystem(info.Path)
	if err != nil {
		return false, err
	}
	_ = j.Cache.Put(folderSystems, key, knownRoot{Application: !system}) // if this write fails, the next push only takes longer
	return !system, nil
}

// RootPlatform finds the platform of root's closure c from the files. If no file shows a platform,
// it returns nil. If this machine's cache has the answer, RootPlatform reads no file.
func (j *Job) RootPlatform(r *application.Reader, c *closure.Closure, root closure.StorePath) (*ocispec.Platform, error) {
	key, err := application.Key(c, application.Choices{Roots: []closure.StorePath{root}}, application.StartSettings{}, nil)
	if err != nil {
		return nil, err
	}
	key += " platform"
	var known knownRoot
	if j.Cache.Get(folderSystems, key, &known) {
		return known.Platform, nil
	}
	p, ok, err := r.Platform(root)
	if err != nil {
		return nil, err
	}
	known.Application = true
	if ok {
		known.Platform = &p
	}
	_ = j.Cache.Put(folderSystems, key, known)
	return known.Platform, nil
}

// Application returns the application of c with the job's settings. It reads the application from
// this machine's cache, or makes it from the closure's files.
func (j *Job) Application(ctx context.Context, r *application.Reader, c *closure.Closure, choices application.Choices, platform *ocispec.Platform) (*application.Application, error) {
	settings := application.StartSettings{Entrypoint: j.Settings.Entrypoint, User: j.Settings.User, Based: j.Base != nil}
	if choices.NoEntrypoint {
		settings.Entrypoint = j.Settings.Cmd
	}
	if j.Base != nil && len(choices.Users) > 0 {
		users, err := j.Base.users(ctx, j.Cache, *platform)
		if err != nil {
			return nil, err
		}
		settings.BaseUsers = users
	}
	key, err := application.Key(c, choices, settings, platform)
	if err != nil {
		return nil, err
	}
	app := &application.Application{}
	if j.Cache.Get(folderSystems, key, app) {
		return app, nil
	}
	if app, err = r.New(choices, settings, platform); err != nil {
		return nil, err
	}
	_ = j.Cache.Put(folderSystems, key, app)
	return app, nil
}
