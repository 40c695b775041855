package layers

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nixoci/nixoci/internal/closure"
)

// DefaultMaxLayers leaves room for the user: overlay drivers take about 127.
const DefaultMaxLayers = 100

// Group is the paths of one layer.
type Group struct {
	Name   string              // given by the user, or ""
	Reason string              // why the paths are together, for people
	Paths  []closure.StorePath // sorted
	Size   int64               // sum of the NarSizes in bytes
}

// Plan says which path lands in which layer. Groups[0] is the lowest layer.
type Plan struct {
	Strategy string
	Groups   []Group
}

// PlanOptions are what a plan depends on beside the closure.
type PlanOptions struct {
	MaxLayers int // ≤0: DefaultMaxLayers; the system layer is not counted
}

// NewPlan groups the paths of c. It is a function of the graph, the names and
// the sizes alone.
func NewPlan(c *closure.Closure, o PlanOptions) (*Plan, error) {
	if o.MaxLayers <= 0 {
		o.MaxLayers = DefaultMaxLayers
	}
	if len(c.Paths) == 0 {
		return nil, fmt.Errorf("plan: the closure is empty")
	}
	infos := slices.Clone(c.Paths)
	slices.SortFunc(infos, func(a, b closure.Info) int {
		return cmp.Or(cmp.Compare(b.NarSize, a.NarSize), cmp.Compare(a.Path.Name(), b.Path.Name()), cmp.Compare(a.Path, b.Path))
	})
	p := &Plan{Strategy: "size"}
	for i, info := range infos {
		if i < o.MaxLayers {
			p.Groups = append(p.Groups, Group{Reason: "big"})
		}
		g := &p.Groups[len(p.Groups)-1]
		g.Paths = append(g.Paths, info.Path)
		g.Size += info.NarSize
	}
	for i := range p.Groups {
		slices.Sort(p.Groups[i].Paths)
	}
	return p, nil
}
