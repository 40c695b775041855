package plan

import "math"

// merging is the state of mergeCheapest. It stores the cost of each pair of bins, and the
// cheapest partner of each bin among the bins before it. So a merge updates one row and one
// column of the table, not the whole table.
type merging struct {
	*graph
	bins    []*bin
	open    []bool      // whether the bin may still merge
	cost    [][]float64 // cost[x][y] for y < x, if both are open
	nearest []int       // of each bin x: the cheapest open partner before x; -1 for none
}

// mergeCheapest merges the two bins that are cheapest to merge, and repeats this until there
// are at most budget bins. It does not merge bins of more than limit bytes. limit must be at
// least 1/budget of all bytes. Then there are always two bins that can merge.
func (g *graph) mergeCheapest(bins []*bin, budget int, limit float64) []*bin {
	if len(bins) <= budget {
		return bins
	}
	m := &merging{
		graph: g, bins: bins,
		open: make([]bool, len(bins)), cost: make([][]float64, len(bins)), nearest: make([]int, len(bins)),
	}
	for x, b := range bins {
		m.open[x] = b.size <= limit
		m.cost[x] = make([]float64, x)
		for y := range x {
			m.price(x, y)
		}
		m.search(x)
	}
	gone := make([]bool, len(bins))
	for left := len(bins); left > budget; left-- {
		b := -1
		for x, y := range m.nearest {
			if y >= 0 && m.open[x] && (b < 0 || m.cost[x][y] < m.cost[b][m.nearest[b]]) {
				b = x
			}
		}
		a := m.nearest[b]
		for _, i := range bins[b].members {
			g.put(bins[a], i)
		}
		g.settle(bins[a])
		gone[b], m.open[b] = true, false
		m.open[a] = bins[a].size <= limit
		m.merged(a, b)
	}
	kept := make([]*bin, 0, budget)
	for x, b := range bins {
		if !gone[x] {
			kept = append(kept, b)
		}
	}
	return kept
}

// merged updates the table after b was merged into a.
func (m *merging) merged(a, b int) {
	for y := range a {
		m.price(a, y)
	}
	m.search(a)
	for x := a + 1; x < len(m.bins); x++ {
		if !m.open[x] {
			continue
		}
		m.price(x, a)
		switch y := m.nearest[x]; {
		case y == a || y == b:
			m.search(x)
		case m.open[a] && (y < 0 || m.cost[x][a] < m.cost[x][y] || m.cost[x][a] == m.cost[x][y] && a < y):
			m.nearest[x] = a
		}
	}
}

func (m *merging) price(x, y int) {
	if a, b := m.bins[y], m.bins[x]; m.open[x] && m.open[y] {
		m.cost[x][y] = m.joinCost(a, b)
	}
}

// search finds the cheapest partner of x. If several partners cost the same, it uses the
// first one.
func (m *merging) search(x int) {
	m.nearest[x] = -1
	if !m.open[x] {
		return
	}
	least := math.Inf(1)
	for y, cost := range m.cost[x] {
		if m.open[y] && cost < least {
			m.nearest[x], least = y, cost
		}
	}
}
