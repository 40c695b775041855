package push

import (
	"context"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
)

// knownRoot is what the cache keeps of a root that is not known as a NixOS
// system's toplevel.
type knownRoot struct {
	Application bool              `json:"application"`
	Platform    *ocispec.Platform `json:"platform,omitempty"`
}

// NamedAsSystem reports whether a path has the name that NixOS gives a toplevel.
func NamedAsSystem(p closure.StorePath) bool { return strings.HasPrefix(p.Name(), "nixos-system-") }

// IsApplication reports whether info's path, which r can read, is the root of an
// application and no NixOS system. Where this machine's cache or a believed image
// knows it, no store file is opened.
func (j *Job) IsApplication(ctx context.Context, r *application.Reader, info *closure.Info) (bool, error) {
	if _, ok := j.knownFacts(ctx, info); ok {
		return false, nil
	}
	// A toplevel is read by what says what is wrong with it.
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
	_ = j.Cache.Put(folderSystems, key, knownRoot{Application: !system}) // as in Facts
	return !system, nil
}

// RootPlatform is what the files of a root's closure c say; nil where they say
// nothing. What this machine's cache knows is not read again.
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

// Application makes the application of c with the job's settings: from this
// machine's cache, else from the closure's files.
func (j *Job) Application(r *application.Reader, c *closure.Closure, choices application.Choices, platform *ocispec.Platform) (*application.Application, error) {
	settings := application.StartSettings{Entrypoint: j.Settings.Entrypoint, User: j.Settings.User, Based: j.Base != nil}
	if choices.NoEntrypoint {
		settings.Entrypoint = j.Settings.Cmd
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
