package main

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/spec"
)

// notInSpecification lists the flags for which a specification has no field. These flags set
// where store paths come from, how to build and compare them, and which nixoci-init to use.
var notInSpecification = []string{"from", "history", "init", "jobs", "nixpkgs", "plan", "plan-from", "platform", "spec"}

// TestSpecificationHasAllFlags checks that a specification has a field for each
// flag that describes the image, and that each field has a flag.
func TestSpecificationHasAllFlags(t *testing.T) {
	build, _, err := (&app{}).rootCommand().Find([]string{"build"})
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for _, f := range spec.Fields() {
		if f.Flag != "" && f.Flag != "CLOSURE" {
			fields = append(fields, f.Flag)
			if build.Flags().Lookup(f.Flag) == nil {
				t.Errorf("field %s: nixoci build has no flag --%s", f.Name, f.Flag)
			}
		}
	}
	build.Flags().VisitAll(func(f *pflag.Flag) {
		switch infoOf(build, f.Name).group {
		case groupImage, groupApplication, groupLayers:
			if !slices.Contains(fields, f.Name) && !slices.Contains(notInSpecification, f.Name) {
				t.Errorf("no field of the specification says what --%s says", f.Name)
			}
		}
	})
}
