package push

import (
	"slices"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/plan"
)

// TestPlan checks that the layers of a base image leave fewer layers for store paths, and that the
// planner knows which path is the application.
func TestPlan(t *testing.T) {
	sys := sampleImage(t, &treeSource{content: map[closure.StorePath][]byte{}}, "amd64", nil).System
	glibc := sys.Closure.Paths[slices.IndexFunc(sys.Closure.Paths, func(i closure.Info) bool { return strings.HasPrefix(i.Path.Name(), "glibc") })].Path
	planner := &plan.Planner{Options: plan.Options{MaxLayers: 4, Strategy: plan.StrategyCost}}
	planned := func(sys *manifest.System) [][]closure.StorePath {
		t.Helper()
		all, err := Plan(planner, []*manifest.System{sys})
		must(t, err)
		var groups [][]closure.StorePath
		for _, g := range all[0].Plan.Groups {
			groups = append(groups, g.Paths)
		}
		return groups
	}
	if got := planned(sys); len(got) != 4 {
		t.Errorf("without a base image: %d layers", len(got))
	}
	base := &manifest.Base{BaseInfo: manifest.BaseInfo{Name: "docker.io/library/debian:12", Count: 2}}
	if got := planned(sys.On(base)); len(got) != 2 {
		t.Errorf("above a base image with two layers: %d layers", len(got))
	}
	// An application changes with every update. So the planner must put it into the layer of the
	// paths that change with every update.
	together := func(groups [][]closure.StorePath) bool {
		return slices.ContainsFunc(groups, func(paths []closure.StorePath) bool {
			return slices.Contains(paths, sys.Toplevel) && slices.Contains(paths, glibc)
		})
	}
	app := *sys
	app.App = &application.Application{Choices: application.Choices{Roots: []closure.StorePath{glibc}}}
	if together(planned(sys)) || !together(planned(&app)) {
		t.Errorf("layers of the system: %v; of the application glibc: %v", planned(sys), planned(&app))
	}
	base.Count = 4
	if _, err := Plan(planner, []*manifest.System{sys.On(base)}); err == nil || !strings.Contains(err.Error(), "debian:12") || !strings.Contains(hint.Of(err), "--max-layers") {
		t.Errorf("a base image that leaves no layer: %v", err)
	}
	base.Count = plan.LayerLimit
	if _, err := Plan(planner, []*manifest.System{sys.On(base)}); err == nil || strings.Contains(hint.Of(err), "--max-layers") {
		t.Errorf("a base image with as many layers as are possible: %v", err)
	}
	if planner.Options.MaxLayers != 4 {
		t.Error("Plan has changed the planner")
	}
}
