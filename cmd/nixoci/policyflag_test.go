package main

import (
	"testing"

	"github.com/nixoci/nixoci/internal/policy"
)

// TestPolicyFlags checks that every flag named in a field of the policy exists.
func TestPolicyFlags(t *testing.T) {
	cmd, _, err := (&app{}).rootCommand().Find([]string{"verify"})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, f := range policy.Fields() {
		if f.Flag == "" {
			continue
		}
		if named++; cmd.Flags().Lookup(f.Flag) == nil {
			t.Errorf("field %s: nixoci verify has no flag --%s", f.Name, f.Flag)
		}
	}
	if named < 4 {
		t.Errorf("%d fields name a flag", named)
	}
}
