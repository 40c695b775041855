package main

import (
	"fmt"
	"sort"

	"github.com/nixoci/nixoci/internal/closure"
)

func diag(old [][]closure.StorePath, oldC *closure.Closure, now [][]closure.StorePath, nowC *closure.Closure) {
	was := map[closure.StorePath]int{}
	for i, ps := range old {
		for _, p := range ps {
			was[p] = i
		}
	}
	have := layerKeys(old)
	type row struct {
		n int64
		s string
	}
	var rows []row
	for _, ps := range now {
		if have[layerKey(ps)] {
			continue
		}
		var un, ch int64
		from := map[int]int{}
		newName := ""
		var big closure.StorePath
		var bs int64
		for _, p := range ps {
			sz := nowC.Info(p).NarSize
			if sz > bs {
				bs, big = sz, p
			}
			if i, ok := was[p]; ok {
				un += sz
				from[i]++
			} else {
				ch += sz
				newName += " " + p.Name()
			}
		}
		if un < 1e6 {
			continue
		}
		left := ""
		for i := range from {
			if from[i] < len(ps)/2 {
				left += fmt.Sprintf(" +%d from %d", from[i], i)
				continue
			}
			for _, p := range old[i] {
				found := false
				for _, q := range ps {
					if q == p {
						found = true
					}
				}
				if !found {
					if nowC.Info(p) == nil {
						left += " gone:" + p.Name()
					} else {
						left += " left:" + p.Name()
					}
				}
			}
		}
		rows = append(rows, row{un, fmt.Sprintf("   %6.1f MB unchanged %6.1f new, %d paths, big %s %.1f; from %v; new:%s; %s", float64(un)/1e6, float64(ch)/1e6, len(ps), big.Name(), float64(bs)/1e6, from, newName, left)})
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].n > rows[j].n })
	fmt.Println("update:")
	for i, r := range rows {
		if i < 12 {
			if len(r.s) > 400 {
				r.s = r.s[:400]
			}
			fmt.Println(r.s)
		}
	}
}
