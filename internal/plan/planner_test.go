package plan

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/closure"
)

// TestPlannerChooses: of several known plans, the planner must use the one for the closure's
// platform. If there is none, it must use the plan with most of the closure's paths.
func TestPlannerChooses(t *testing.T) {
	a, b, c := storePath(1, "a"), storePath(2, "b"), storePath(3, "c")
	graph, err := closure.New([]closure.StorePath{a}, []closure.Info{
		{Path: a, NarSize: 1000, References: []closure.StorePath{b, c}}, {Path: b, NarSize: 1000}, {Path: c, NarSize: 1000},
	})
	if err != nil {
		t.Fatal(err)
	}
	of := func(paths ...closure.StorePath) *File {
		return (&Plan{Strategy: StrategyCost, Groups: []Group{{Paths: paths}}}).File()
	}
	knowsOne := Recorded{File: of(a), Manifest: "sha256:one"}
	knowsTwo := Recorded{File: of(a, b), Manifest: "sha256:two"}
	amd64 := Recorded{Platform: "linux/amd64", File: of(a), Manifest: "sha256:amd64"}
	onlyArm64 := Recorded{Platform: "linux/arm64", OnlyPlatform: true, File: of(a, b), Manifest: "sha256:arm64"}
	same := Recorded{File: of(a, b, c), Manifest: "sha256:same", Continues: "sha256:before"}
	for _, tt := range []struct {
		name      string
		from      []Recorded
		platform  string
		continues digest.Digest
	}{
		{name: "nothing is known", platform: "linux/amd64"},
		{name: "most of the paths", from: []Recorded{knowsOne, knowsTwo}, platform: "linux/amd64", continues: "sha256:two"},
		{name: "the first of equals", from: []Recorded{knowsTwo, {File: of(b, c), Manifest: "sha256:late"}}, continues: "sha256:two"},
		{name: "the platform before the paths", from: []Recorded{knowsTwo, amd64}, platform: "linux/amd64", continues: "sha256:amd64"},
		{name: "no other platform's", from: []Recorded{onlyArm64}, platform: "linux/amd64"},
		{name: "the same layers continue what that plan continues", from: []Recorded{same}, continues: "sha256:before"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Planner{Options: Options{MaxLayers: 1}, From: tt.from}
			if tt.continues != "sha256:before" {
				p.Options.MaxLayers = 3
			}
			made, continues, err := p.Plan(graph, tt.platform)
			if err != nil {
				t.Fatal(err)
			}
			if continues != tt.continues {
				t.Errorf("continues %q, want %q; layers: %v", continues, tt.continues, made.Groups)
			}
		})
	}
}
