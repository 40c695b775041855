package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/push"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/report"
)

// reading holds the flags of commands that read images and closures.
type reading struct {
	registry registryFlags
	closure  closureFlags
}

// fileImage matches the name of a layout or archive, that is, of an image outside a
// registry.
var fileImage = regexp.MustCompile(`^(oci|oci-archive|docker-archive):`)

var statedSystem = regexp.MustCompile(`^[A-Za-z0-9_]+-[A-Za-z0-9_]+=`)

// isClosure reports whether arg is a CLOSURE, for commands that accept a CLOSURE or a REF. A
// CLOSURE is an existing file, a path, a flake output, or has the form SYSTEM=CLOSURE.
// Everything else names an image.
func isClosure(arg string) bool {
	if fileImage.MatchString(arg) {
		return false
	}
	if filepath.IsAbs(arg) || strings.HasPrefix(arg, "./") || strings.HasPrefix(arg, "../") || strings.Contains(arg, "#") || statedSystem.MatchString(arg) {
		return true
	}
	_, err := os.Lstat(arg)
	return err == nil
}

// openImage opens the image that arg names, for reading.
func (a *app) openImage(arg string, f *reading) (*oci.OpenedImage, error) {
	o := f.registry.options(a)
	o.ReadOnly = true
	if !fileImage.MatchString(arg) {
		if err := checkReference(arg); err != nil {
			return nil, err
		}
		if _, err := registry.ParseReference(arg); err != nil {
			return nil, usageError{err}
		}
	}
	if layout.IsImage(arg) {
		return layout.OpenImage(arg)
	}
	return registry.OpenImage(arg, o)
}

// readImage opens and reads the image that arg names.
func (a *app) readImage(ctx context.Context, arg string, f *reading, o report.ReadOptions) (*report.Image, error) {
	var err error
	if o.Platforms, err = a.parsePlatforms(); err != nil {
		return nil, err
	}
	o.Reading = func(layers int, size int64) {
		a.log.Infof("reading %s (%s) to find their store paths", human.Count(layers, "layer"), human.Bytes(size))
	}
	o.Warn = func(err error) { a.log.Warn(err) }
	src, err := a.openImage(arg, f)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	return report.ReadImage(ctx, src, o)
}

func (a *app) parsePlatforms() ([]ocispec.Platform, error) {
	var all []ocispec.Platform
	for _, name := range a.platforms {
		p, err := manifest.ParsePlatform(name)
		if err != nil {
			return nil, usageError{fmt.Errorf("--platform: %w", err)}
		}
		all = append(all, p)
	}
	return all, nil
}

// readClosure resolves the single CLOSURE argument and finds its system. The system is "" if
// neither the argument nor the files contain it.
func (a *app) readClosure(ctx context.Context, args []string, f *reading) (subject, error) {
	inputs, err := a.inputs(ctx, args, &f.closure)
	if err != nil {
		return subject{}, err
	}
	subjects := a.lookAt(ctx, inputs)
	if len(subjects) != 1 {
		return subject{}, usagef("found %d closures here: name one", len(subjects))
	}
	return subjects[0], nil
}

// lookAt does the same as [app.subjects], for commands that make no image. If it cannot read
// the files of a closure, it uses only the graph.
func (a *app) lookAt(ctx context.Context, inputs []input) []subject {
	all, err := a.subjects(ctx, inputs, &push.Job{Cache: a.cache})
	if err != nil {
		a.log.Debugf("continuing without what the closures' files say: %v", err)
		all = nil
		for _, in := range inputs {
			s := subject{input: in}
			if in.toplevel != "" && !push.NamedAsSystem(in.toplevel) {
				s.roots = []closure.StorePath{in.toplevel}
			}
			all = append(all, s)
		}
	}
	for i := range all {
		s := &all[i]
		switch {
		case s.platform != nil:
			s.system, _ = closure.NixSystem(*s.platform)
		case s.toplevel != "" && !s.isApplication():
			s.system = a.systemOf(ctx, s.input)
		}
	}
	return all
}

// configuration returns the paths of s that change with every update. For an application,
// this is the application itself.
func (s *subject) configuration() []closure.StorePath {
	return s.roots[:min(1, len(s.roots))]
}

// systemOf returns the name that Nix uses for the platform of a closure.
func (a *app) systemOf(ctx context.Context, in input) string {
	job := push.Job{Cache: a.cache}
	facts, err := job.Facts(ctx, in.source, in.closure, in.toplevel)
	if err != nil {
		a.log.Debugf("continuing without the closure's system: %v", err)
		return in.system
	}
	return facts.System
}

// platformOf returns the OCI platform of a Nix system, or "" if system is empty or
// unknown.
func platformOf(system string) string {
	if p, err := closure.ParseSystem(system); err == nil {
		return manifest.FormatPlatform(p)
	}
	return ""
}
