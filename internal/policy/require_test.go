package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/verify"
)

// TestSettings checks that a policy can list each setting that verify reports, and no
// other setting.
func TestSettings(t *testing.T) {
	for _, f := range Fields() {
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

// TestRequire checks that a policy adds to the requirements of the flags and removes none.
func TestRequire(t *testing.T) {
	ben := verify.Rebuilder{Verifier: "https://ben.example"}
	flags := verify.RequiredSignatures{Signers: []attest.Signer{{Name: "flag"}}, Count: 1}
	for _, tt := range []struct {
		flag, policy, want verify.Required
		byPolicy           bool
	}{
		{verify.RequireNone, verify.RequireAny, verify.RequireAny, true},
		{verify.RequireAny, verify.RequireAll, verify.RequireAll, true},
		{verify.RequireAll, verify.RequireAll, verify.RequireAll, true},
		{verify.RequireAll, verify.RequireAny, verify.RequireAll, false},
		{verify.RequireAny, "", verify.RequireAny, false},
		{verify.RequireNone, verify.RequireNone, verify.RequireNone, false},
	} {
		l := &Loaded{Signers: []attest.Signer{{Name: "anna"}}, Rebuilders: []verify.Rebuilder{ben}}
		l.Policy.Signatures = Signatures{Image: 1, StorePaths: string(tt.policy)}
		l.Policy.Rebuilders.Required = 1
		o := verify.Options{Require: tt.flag, Signatures: []verify.RequiredSignatures{flags}}
		l.Require(&o)
		if o.Require != tt.want || o.Policy != tt.byPolicy {
			t.Errorf("flag %q, policy %q: %q, by the policy: %t", tt.flag, tt.policy, o.Require, o.Policy)
		}
		if len(o.Signatures) != 2 || o.Signatures[0].Signers[0].Name != "flag" || o.Signatures[1].Signers[0].Name != "anna" || !o.Signatures[1].Policy {
			t.Errorf("signatures %+v", o.Signatures)
		}
		if len(o.Rebuilders) != 1 || o.Rebuilders[0].Count != 1 || !slices.Equal(o.Rebuilders[0].Known, []verify.Rebuilder{ben}) {
			t.Errorf("rebuilders %+v", o.Rebuilders)
		}
	}
	var none *Loaded
	o := verify.Options{Require: verify.RequireAll}
	if none.Require(&o); o.Require != verify.RequireAll || none.KnownRebuilders() != nil {
		t.Errorf("without a policy: %+v", o)
	}
	if r, err := none.Resource(); err != nil || r != nil {
		t.Errorf("without a policy: %+v, %v", r, err)
	}
}
