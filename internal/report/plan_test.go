package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/terminal"
)

// planClosure returns a closure of four paths: b and c depend on a, and top depends on all
// three. The hashes of c and top depend on rev.
func planClosure(t *testing.T, rev byte) *closure.Closure {
	t.Helper()
	path := func(digit byte, name string) closure.StorePath {
		return closure.StorePath(closure.StoreDir + "/" + strings.Repeat(string(digit), 32) + "-" + name)
	}
	a, b, c, top := path('a', "liba-1.0"), path('b', "bin-2"), path(rev, "c-3"), path(rev+1, "nixos-system-x-26.05")
	cl, err := closure.New(nil, []closure.Info{
		{Path: a, NarSize: 50_000_000, NarHash: closure.Hash{1}, References: []closure.StorePath{a}},
		{Path: b, NarSize: 30_000_000, NarHash: closure.Hash{2}, References: []closure.StorePath{a}},
		{Path: c, NarSize: 20_000_000, NarHash: closure.Hash{rev}, References: []closure.StorePath{a}},
		{Path: top, NarSize: 1000, NarHash: closure.Hash{rev, 1}, References: []closure.StorePath{a, b, c}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func TestCostOfUpdate(t *testing.T) {
	old, now := planClosure(t, '1'), planClosure(t, '3')
	p, err := plan.New(now, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := CostOfUpdate(Have{Name: "old", Closure: old}, now, p, 10)
	if err != nil {
		t.Fatal(err)
	}
	if u.Changed != 20_001_000 || u.Size != 100_001_000 {
		t.Errorf("changed %d of %d", u.Changed, u.Size)
	}
	got := map[string]int64{}
	for _, s := range u.Strategies {
		if s.Size != u.Changed+s.Excess {
			t.Errorf("%s: %d pulled, %d in excess of %d", s.Strategy, s.Size, s.Excess, u.Changed)
		}
		got[s.Strategy] = s.Excess
	}
	for s, want := range map[string]int64{"cost": 0, "size": 0, "one": 80_000_000} {
		if got[s] != want {
			t.Errorf("%s: excess %d, want %d", s, got[s], want)
		}
	}
	// Clients that have everything in one layer must pull all layers of this plan.
	var all []closure.StorePath
	for _, p := range old.Paths {
		all = append(all, p.Path)
	}
	u, err = CostOfUpdate(Have{Name: "old", Closure: old, Layers: [][]closure.StorePath{all}}, now, p, 10)
	if err != nil {
		t.Fatal(err)
	}
	if s := u.Strategies[0]; s.Strategy != "this plan" || s.Excess != 80_000_000 {
		t.Errorf("%+v, want all that did not change", s)
	}
}

func TestPlanText(t *testing.T) {
	c := planClosure(t, '1')
	p, err := plan.New(c, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := ReportPlan("x.json", "", c, p, 10).WriteText(terminal.New(&b), true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"x.json\n4 store paths in 4 layers, 100 MB, strategy cost", "LAYER", "nearly always", "alone", "\nLayer 1:\n  /nix/store/"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
