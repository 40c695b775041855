package systems

import (
	"context"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
)

// Content describes the content of an image for one platform: the closure of a NixOS system, or the
// closure of one or more applications.
type Content struct {
	Resolved
	Roots    []closure.StorePath // the applications, in the order of the arguments; nil for a NixOS system
	Platform *ocispec.Platform   // the platform of the applications; nil for a NixOS system

	files *application.Reader
}

// IsApplication reports whether c contains applications and not a NixOS system.
func (c *Content) IsApplication() bool { return c.Roots != nil }

// Configuration returns the path that changes with every update, for a planner. For an application,
// this is the path of the first application. For a NixOS system, Configuration returns an empty
// slice, because the planner recognizes such paths by their names.
func (c *Content) Configuration() []closure.StorePath { return c.Roots[:min(1, len(c.Roots))] }

// PlatformName returns the platform of c, such as linux/amd64. It returns "" if the system of c is
// unknown.
func (c *Content) PlatformName() string {
	p, err := closure.ParseSystem(c.System)
	if err != nil {
		return ""
	}
	return manifest.FormatPlatform(p)
}

// Contents separates applications from NixOS systems, and joins all applications for one platform.
// The platform of an application can be unknown, for example if its files are only data. Such an
// application becomes part of the image for every platform. stated lists the platforms that the user
// has named. If the platforms of all applications are unknown, Contents uses stated.
func (r *Reader) Contents(ctx context.Context, resolved []Resolved, stated []ocispec.Platform) ([]Content, error) {
	var all []Content
	var parts, everywhere []Content // applications with a known platform, and applications without one
	for _, in := range resolved {
		if in.Toplevel == "" { // a graph with several roots
			all = append(all, Content{Resolved: in})
			continue
		}
		c := Content{Resolved: in, files: application.NewReader(ctx, in.Source, in.Closure)}
		if len(parts)+len(everywhere) > 0 { // an earlier reader may already have read some files
			c.files = slices.Concat(parts, everywhere)[0].files.Of(in.Source, in.Closure)
		}
		is, err := r.isApplication(ctx, c.files, in.Closure.Info(in.Toplevel))
		if err != nil {
			return nil, fmt.Errorf("closure %s: %w", in.Arg, err)
		}
		if !is {
			all = append(all, c)
			continue
		}
		c.Roots = []closure.StorePath{in.Toplevel}
		if c.Platform, err = r.platform(&c); err != nil {
			return nil, fmt.Errorf("closure %s: %w", in.Arg, err)
		}
		if c.Platform == nil {
			everywhere = append(everywhere, c)
		} else {
			parts = append(parts, c)
		}
	}
	platforms, err := applicationPlatforms(parts, everywhere, stated)
	if err != nil {
		return nil, err
	}
	for _, p := range platforms {
		var same []Content
		for _, c := range inOrder(resolved, parts, everywhere) {
			if c.Platform == nil || manifest.SamePlatform(*c.Platform, p) {
				same = append(same, c)
			}
		}
		joined, err := join(same, p)
		if err != nil {
			return nil, err
		}
		all = append(all, joined)
	}
	return all, nil
}

// inOrder joins lists and sorts the contents in the order of their arguments.
func inOrder(resolved []Resolved, lists ...[]Content) (all []Content) {
	for _, in := range resolved {
		for _, c := range slices.Concat(lists...) {
			if c.Arg == in.Arg && c.Toplevel == in.Toplevel {
				all = append(all, c)
				break
			}
		}
	}
	return all
}

// applicationPlatforms returns each platform of the applications once. If the platforms of all
// applications are unknown, it returns stated.
func applicationPlatforms(parts, everywhere []Content, stated []ocispec.Platform) (all []ocispec.Platform, err error) {
	for _, c := range parts {
		if !slices.ContainsFunc(all, func(p ocispec.Platform) bool { return manifest.SamePlatform(p, *c.Platform) }) {
			all = append(all, *c.Platform)
		}
	}
	switch {
	case len(all) > 0 || len(everywhere) == 0:
		return all, nil
	case len(stated) > 0:
		return stated, nil
	}
	return nil, fmt.Errorf("closure %s: %w", everywhere[0].Arg, application.ErrNoPlatform(everywhere[0].Roots))
}

// join makes one content of several applications for the same platform.
func join(same []Content, p ocispec.Platform) (Content, error) {
	c := same[0]
	c.Platform = &p
	var parts []closure.Part
	var args []string
	c.Roots = nil
	for _, other := range same {
		parts = append(parts, closure.Part{Closure: other.Closure, Source: other.Source})
		args = append(args, other.Arg)
		if !slices.Contains(c.Roots, other.Toplevel) {
			c.Roots = append(c.Roots, other.Toplevel)
		}
		if c.Program == "" {
			c.Program = other.Program
		}
	}
	c.Arg = strings.Join(args, " ")
	var err error
	if c.Closure, c.Source, err = closure.Union(parts...); err != nil {
		return c, err
	}
	c.files = c.files.Of(c.Source, c.Closure)
	return c, nil
}

// Look does the same as Contents, for commands that make no image. It also sets the field System of
// each content. If it cannot read the files of the closures, it uses only their graphs, and passes
// the error to r.Debug.
func (r *Reader) Look(ctx context.Context, resolved []Resolved, stated []ocispec.Platform) []Content {
	all, err := r.Contents(ctx, resolved, stated)
	if err != nil {
		r.debug(fmt.Errorf("continuing without the closures' files: %w", err))
		all = nil
		for _, in := range resolved {
			c := Content{Resolved: in}
			if in.Toplevel != "" && !in.Toplevel.NamedAsSystem() {
				c.Roots = []closure.StorePath{in.Toplevel}
			}
			all = append(all, c)
		}
	}
	for i := range all {
		c := &all[i]
		switch {
		case c.Platform != nil:
			c.System, _ = closure.NixSystem(*c.Platform)
		case c.Toplevel != "" && !c.IsApplication():
			if facts, err := r.facts(ctx, &c.Resolved); err == nil {
				c.System = facts.System
			} else {
				r.debug(fmt.Errorf("continuing without the closure's system: %w", err))
			}
		}
	}
	return all
}
