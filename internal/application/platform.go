package application

import (
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
)

// maxInterpreters limits the number of files that runsOn reads for one program, if
// the interpreter of a script is itself a script. The kernel has such a limit, too.
const maxInterpreters = 5

// runsOn returns the platform of a program. If the program is a script, runsOn
// returns the platform of the interpreter in the first line.
func (r *Reader) runsOn(at place) (ocispec.Platform, bool, error) {
	for range maxInterpreters {
		if p, ok := closure.ELFPlatform(at.head); ok {
			return p, true, nil
		}
		line, script := strings.CutPrefix(string(at.head), "#!")
		if !script {
			break
		}
		line, _, _ = strings.Cut(line, "\n")
		words := strings.Fields(line)
		if len(words) == 0 {
			break
		}
		store, name, ok := splitStorePath(words[0])
		if !ok {
			break
		}
		next, err := r.find(store, name)
		if err != nil {
			return ocispec.Platform{}, false, ignoreMissing(err)
		}
		at = next
	}
	return ocispec.Platform{}, false, nil
}

// Platform returns the platform for which a root was built. This is the platform of
// the root's programs, or else of the ELF files in the root's closure. Platform
// returns false if this closure has only data and scripts.
func (r *Reader) Platform(root closure.StorePath) (ocispec.Platform, bool, error) {
	f := found{}
	names, err := r.programs(root)
	if err != nil {
		return ocispec.Platform{}, false, err
	}
	for _, name := range names {
		at, err := r.find(root, binDir+"/"+name)
		if err != nil {
			return ocispec.Platform{}, false, err
		}
		p, ok, err := r.runsOn(at)
		if err != nil {
			return ocispec.Platform{}, false, err
		}
		if ok {
			f.add(p, at.String())
		}
	}
	if len(f) == 0 {
		part, err := r.closure.Subset(root)
		if err != nil {
			return ocispec.Platform{}, false, err
		}
		for i := range part.Paths {
			if err := r.elfFiles(part.Paths[i].Path, &f); err != nil {
				return ocispec.Platform{}, false, err
			}
		}
	}
	switch len(f) {
	case 0:
		return ocispec.Platform{}, false, nil
	case 1:
		return f[0].platform, true, nil
	}
	return ocispec.Platform{}, false, hint.Add(fmt.Errorf("%s: its programs are for several platforms: %s", root, f),
		"say which one the image is for: SYSTEM="+string(root))
}

// elfFiles adds the platforms of all ELF files in one store path.
func (r *Reader) elfFiles(p closure.StorePath, f *found) error {
	t, err := r.tree(p)
	if err != nil {
		return err
	}
	var names []string
	for name, e := range t.entries {
		if _, ok := closure.ELFPlatform(e.head); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		platform, _ := closure.ELFPlatform(t.entries[name].head)
		f.add(platform, string(p)+"/"+name)
	}
	return nil
}

// found lists platforms, and for each platform the first file that was built for it.
type found []struct {
	platform ocispec.Platform
	file     string
}

func (f *found) add(p ocispec.Platform, file string) {
	for _, have := range *f {
		if have.platform.Architecture == p.Architecture {
			return
		}
	}
	*f = append(*f, struct {
		platform ocispec.Platform
		file     string
	}{p, file})
}

func (f found) String() string {
	var all []string
	for _, p := range f {
		all = append(all, fmt.Sprintf("%s/%s (%s)", p.platform.OS, p.platform.Architecture, p.file))
	}
	return strings.Join(all, ", ")
}
