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

// initName is what starts a container, and a file of the init layer.
const initName = "sbin/init"

// maxInitEntries bounds the init layer, which has three.
const maxInitEntries = 1000

// readInitLayer reads an init layer and keeps the program. What else is wrong in
// it shows when it is made again.
func readInitLayer(ctx context.Context, src oci.Source, j layerJob, one bool) (*layerContent, error) {
	return readLayer(ctx, src, j, one, func(t *tarStream, c *layerContent) error {
		tar := layers.NewTarReader(t, func(e *layers.FormatError) error {
			return c.findings.add(Finding{Check: CheckFormat, Path: e.Entry, What: e.What})
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
				return c.findings.addf(CheckInit, "more than %d entries", maxInitEntries)
			}
			if e.Name != initName || e.Kind != closure.KindFile || c.program != nil {
				continue
			}
			if e.Size > manifest.MaxInit {
				return c.findings.add(Finding{Check: CheckInit, Path: e.Name, What: fmt.Sprintf("%d bytes, at most %d are read", e.Size, manifest.MaxInit)})
			}
			if c.program, err = io.ReadAll(tar); err != nil {
				return err
			}
		}
	})
}

// checkInit finds out what the program at /sbin/init is, and whether it is the
// one that it should be.
func (i *image) checkInit() error {
	if i.hasInit {
		if err := i.readInit(); err != nil || i.init == nil {
			return err
		}
		i.result.Init = i.init.Digest
	}
	found := func(format string, args ...any) error {
		return i.after.add(Finding{Check: CheckInit, Path: initName, What: fmt.Sprintf(format, args...)})
	}
	own := manifest.DefaultInit(i.cfg.Platform)
	if wanted := i.v.o.Init; wanted != nil {
		want, err := wanted.For(i.cfg.Platform)
		switch {
		case err != nil:
			return found("%v", err)
		case want == nil && i.init != nil:
			return found("a program, sha256 %s, where none should be", i.init.Digest.Encoded())
		case want != nil && i.init == nil:
			return found("no program, where %s should be", want.Digest)
		case want != nil && want.Digest != i.init.Digest:
			return found("it is %s, not %s", i.init.Digest, want.Digest)
		}
		return nil
	}
	if i.v.o.DefaultSettings && i.format >= manifest.Format2 && own != nil {
		switch {
		case i.init == nil:
			return found("a link to the system's own init, not the default")
		case i.init.Digest != own.Digest:
			return found("not one of this nixoci's, %s, and so not the default", i.init.Digest)
		}
	}
	return nil
}

// readInit takes the program of the first layer for the image's.
func (i *image) readInit() error {
	c := i.layers[0]
	at := Finding{Check: CheckInit, Layer: 1, Digest: i.m.Layers[0].Digest, Path: initName}
	if c.program == nil {
		if c.damaged {
			return nil // and that was said
		}
		at.What = "it is not there, or not a file"
		return i.after.add(at)
	}
	init := manifest.InitOf(c.program)
	said := i.m.Annotations[manifest.AnnotationInit]
	if !i.v.noManifest && said != init.Digest.String() {
		at.What = fmt.Sprintf("it is %s, the manifest says %s", init.Digest, said)
		if err := i.after.add(at); err != nil {
			return err
		}
	}
	i.init = init
	return nil
}

// checkProgram: the program runs on the image's platform, and needs nothing.
func (i *image) checkProgram() error {
	if i.init == nil {
		return nil
	}
	if err := i.init.Check(i.sys.Platform); err != nil {
		return i.after.add(Finding{Check: CheckInit, Layer: 1, Digest: i.m.Layers[0].Digest, Path: initName, What: err.Error()})
	}
	return nil
}

// initResult says which program /sbin/init is, where nothing is wrong with it.
func (i *image) initResult() (Result, string) {
	wanted := i.v.o.Init != nil
	switch {
	case i.init == nil:
		return Without, "/sbin/init links to the system's own init"
	case wanted:
		return Holds, fmt.Sprintf("nixoci-init is the one that was given, %s", i.init.Digest)
	}
	if p, ok := initbin.Lookup(i.init.Digest.String()); ok {
		return Holds, fmt.Sprintf("nixoci-init %s of this nixoci, %s", p.Version, p.Digest)
	}
	return Unknown, fmt.Sprintf("not one of this nixoci's, %s", i.init.Digest)
}
