package verify

import (
	"context"
	"fmt"
	"io"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/initbin"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
)

// initName is the name of the program that starts a container, in the init layer.
const initName = "sbin/init"

// maxInitEntries is the largest number of entries in an init layer. Normally an init layer has
// three.
const maxInitEntries = 1000

// readInitLayer reads an init layer and keeps its program. Later the layer is made again, and this
// finds all other faults.
func readInitLayer(ctx context.Context, src oci.Reader, todo layerToRead) (*layerContent, error) {
	return readLayer(ctx, src, todo, func(t *tarStream, c *layerContent, found *collector) error {
		tar := layers.NewTarReader(t, func(e *layers.FormatError) error {
			return found.add(Finding{Path: e.Entry}.of(CheckFormat, "%s", e.What))
		})
		for n := 0; ; n++ {
			e, err := tar.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if n == maxInitEntries {
				return found.addf(CheckInit, "more than %d entries", maxInitEntries)
			}
			if e.Name != initName || e.Kind != closure.KindFile || c.program != nil {
				continue
			}
			if e.Size > manifest.MaxInit {
				return found.add(Finding{Path: e.Name}.of(CheckInit, "%d bytes, at most %d are read", e.Size, manifest.MaxInit))
			}
			if c.program, err = io.ReadAll(tar); err != nil {
				return err
			}
		}
	})
}

// initPlace returns the place of the program in the first layer, for findings.
func (d *document) initPlace() Finding {
	f := d.place(0)
	f.Path = initName
	return f
}

// findInit returns the program in the first layer. If there is no program, or if it is not a file,
// findInit returns nil.
func findInit(c *content) (*manifest.Init, []Finding) {
	if !c.form.hasInit {
		return nil, nil
	}
	l := c.layers[0]
	if l.program == nil {
		if l.damaged {
			return nil, nil // a finding reports the damage
		}
		return nil, []Finding{c.doc.initPlace().of(CheckInit, "it is missing, or not a file")}
	}
	init := manifest.InitOf(l.program)
	recorded := c.doc.manifest.Annotations[manifest.AnnotationInit]
	if !c.doc.noManifest && recorded != init.Digest.String() {
		return init, []Finding{c.doc.initPlace().of(CheckInit, "it is %s, but the manifest records %s", init.Digest, recorded)}
	}
	return init, nil
}

// checkInit checks that the program at /sbin/init is the expected one.
func (v *verification) checkInit(c *content, init *manifest.Init) []Finding {
	found := func(format string, args ...any) []Finding {
		return []Finding{Finding{Path: initName}.of(CheckInit, format, args...)}
	}
	if v.o.Init != nil {
		want, err := v.o.Init.For(c.doc.config.Platform)
		switch {
		case err != nil:
			return found("%v", err)
		case want == nil && init != nil:
			return found("it is the program %s, but should be a link to the system's own init", init.Digest)
		case want != nil && init == nil:
			return found("it is not a nixoci-init, but should be %s", want.Digest)
		case want != nil && want.Digest != init.Digest:
			return found("it is %s, but should be %s", init.Digest, want.Digest)
		}
		return nil
	}
	own := manifest.DefaultInit(c.doc.config.Platform)
	if v.o.DefaultSettings && !c.form.application && c.form.version >= manifest.Format2 && own != nil {
		switch {
		case init == nil:
			return requiredBy(false, found("it is a link to the system's own init, not the default nixoci-init"))
		case init.Digest != own.Digest:
			return requiredBy(false, found("it is %s, not the default nixoci-init %s", init.Digest, own.Digest))
		}
	}
	return nil
}

// checkProgram checks that the program runs on the system's platform and needs no other file.
func checkProgram(doc *document, init *manifest.Init, sys *manifest.System) []Finding {
	if init == nil {
		return nil
	}
	if err := init.Check(sys.Platform); err != nil {
		return []Finding{doc.initPlace().of(CheckInit, "%v", err)}
	}
	return nil
}

// describeInit returns the verdict about /sbin/init and the report's line, for an image without a
// finding about /sbin/init. given reports whether the user named the expected program.
func describeInit(init *manifest.Init, given bool) (Verdict, string) {
	switch {
	case init == nil:
		return Without, "/sbin/init links to the system's own init"
	case given:
		return Holds, fmt.Sprintf("the given nixoci-init, %s", init.Digest)
	}
	if p, ok := initbin.Lookup(init.Digest.String()); ok {
		return Holds, fmt.Sprintf("nixoci-init %s of this nixoci, %s", p.Version, p.Digest)
	}
	return Unknown, fmt.Sprintf("not a known nixoci-init, %s", init.Digest)
}
