package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/policy"
	"github.com/nixoci/nixoci/internal/verify"
)

// TestPolicySettings checks that a policy can list each setting that verify reports, and no
// other setting.
func TestPolicySettings(t *testing.T) {
	for _, f := range policy.Fields() {
		if f.Name != "settings.changed" {
			continue
		}
		_, list, _ := strings.Cut(f.Doc, "Allowed values: ")
		named, known := strings.Split(list, ", "), verify.SettingNames()
		slices.Sort(named)
		slices.Sort(known)
		if !slices.Equal(named, known) {
			t.Errorf("a policy names %v, verify reports %v", named, known)
		}
		return
	}
	t.Error("policies have no field settings.changed")
}

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
