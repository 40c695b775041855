package plan

import "math"

// merging is what mergeCheapest knows of its bins: the cost of each pair, and
// for each bin the one before it that it costs least to merge with. So a merge
// costs one row of the table and not all of it.
type merging struct {
	*graph
	bins    []*bin
	open    []bool      // may merge
	cost    [][]float64 // of bins x and y < x that are open
	nearest []int       // of x, among those before it that are open; -1 for none
}

// mergeCheapest makes two bins one, again and again the two that it costs
// least, until there are no more than budget. Bins of more than limit bytes
// are left alone; limit is at least one in budget of all bytes, so there are
// always two others.
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

// merged brings the table up to date after b went into a.
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
		m.cost[x][y] = m.joinCost(a.size, a.chance, a.below, b.size, b.chance, b.below)
	}
}

// search finds x's nearest, the first of equals.
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
