package manifest

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
)

// filesLayerKind is the first word of the text from which the layer's recipe is computed.
const filesLayerKind = "nixoci-files"

// FilesLayer describes the layer with the files that the user chose for an application. This
// layer is below the root layer. FilesLayer reads no store file.
func FilesLayer(sys *System, comp layers.Compression) *layers.Layer {
	placed := sys.App.Placed
	size := int64(0)
	for _, p := range placed {
		size += int64(len(p.Content))
	}
	return &layers.Layer{
		Recipe:      layers.NewNamedRecipe(comp, filesLayerKind, applicationVersion, filesLayerContent(placed)),
		Size:        size,
		Compression: comp,
		Comment:     "files layer: " + sys.Toplevel.Name(),
		Owners:      true,
		Content: func(ctx context.Context, w *layers.TarWriter) error {
			for _, p := range placed {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err := writePlaced(w, p); err != nil {
					return fmt.Errorf("files layer of %s: %w", sys.Toplevel, err)
				}
			}
			return nil
		},
	}
}

func writePlaced(w *layers.TarWriter, p application.Placed) error {
	w.Own(p.UID, p.GID)
	switch p.Kind {
	case closure.KindDirectory:
		return w.Directory(p.Name, p.Mode)
	case closure.KindSymlink:
		return w.Symlink(p.Name, p.Target)
	}
	return w.File(p.Name, p.Mode, int64(len(p.Content)), bytes.NewReader(p.Content))
}

// filesLayerContent returns the text from which the recipe is computed, with a line for each
// entry:
//
//	directory 0755 1000 1000 - "/var/lib/app"
//	file 0644 0 0 sha256:… "/etc/app.conf"
//	symlink 0777 0 0 "app.conf" "/etc/link"
func filesLayerContent(placed []application.Placed) string {
	var b strings.Builder
	for _, p := range placed {
		what := "-"
		switch p.Kind {
		case closure.KindFile:
			what = digest.FromBytes(p.Content).String()
		case closure.KindSymlink:
			what = fmt.Sprintf("%q", p.Target)
		}
		fmt.Fprintf(&b, "%s %04o %d %d %s %q\n", p.Kind, p.Mode, p.UID, p.GID, what, "/"+p.Name)
	}
	return b.String()
}
