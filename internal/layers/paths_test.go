package layers

import (
	"slices"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
)

func TestRecordedPaths(t *testing.T) {
	var paths []closure.StorePath
	for _, c := range "3d0b1" {
		paths = append(paths, closure.StorePath(closure.StoreDir+"/"+strings.Repeat(string(c), 32)+"-x"))
	}
	got, err := RecordedPaths(recordPaths(paths))
	slices.Sort(paths)
	if err != nil || !slices.Equal(got, paths) {
		t.Errorf("%v, %v, want %v", got, err, paths)
	}
	if _, err := RecordedPaths("x"); err == nil {
		t.Error("x is read as a store path")
	}
}
