package layers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
)

// AnnotationPaths is an annotation of a layer's descriptor. With it the image records its
// plan. The value lists the sorted base names of the layer's store paths, separated by
// spaces. 5,000 paths take about 300 kB of a manifest's 4 MiB.
const AnnotationPaths = "io.nixoci.layer.paths"

// recordPaths returns the value of AnnotationPaths.
func recordPaths(paths []closure.StorePath) string {
	bases := make([]string, len(paths))
	for i, p := range paths {
		bases[i] = p.Base()
	}
	slices.Sort(bases)
	return strings.Join(bases, " ")
}

// RecordedPaths parses the value of AnnotationPaths. The result is sorted.
func RecordedPaths(annotation string) ([]closure.StorePath, error) {
	var paths []closure.StorePath
	for base := range strings.FieldsSeq(annotation) {
		p, err := closure.ParseStoreBase(base)
		if err != nil {
			return nil, fmt.Errorf("read recorded plan: %w", err)
		}
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths, nil
}
