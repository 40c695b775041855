package oci

import (
	"slices"
	"testing"
)

func TestCompareVersions(t *testing.T) {
	want := []string{"", "1.2", "1.9", "1.10", "1.10-rc1", "2026-01-31", "2026-02-01", "latest", "v1.9", "v1.10", "v1.10.1"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, CompareTags)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
