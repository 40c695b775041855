package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A pkg describes one derivation: a Debian package, or several packages that depend on each
// other in a circle. packages.nix reads it as JSON.
type pkg struct {
	Key     string   `json:"key"`  // name in the Deps of other packages: the first of the derivation's Debian packages
	Name    string   `json:"name"` // name and version, as in the store path
	Debs    []debRef `json:"debs"`
	Deps    []string `json:"deps"`    // keys of the packages on which this one depends
	Keep    []string `json:"keep"`    // tar patterns of the files to unpack; empty: all files
	Rebuild string   `json:"rebuild"` // suffix of a binary rebuild: "+b1"
	Libc    bool     `json:"libc"`    // the package is libc or a dependency of libc: its programs get no dynamic linker
	aliases []string
}

type debRef struct {
	File   string `json:"file"` // name of the file under /nix/debs
	Sha256 string `json:"sha256"`
}

var notInName = regexp.MustCompile(`[^0-9A-Za-z+._?=-]`)

// storeName returns name-version without characters that a store path cannot contain.
func storeName(name, version string) string {
	if _, v, ok := strings.Cut(version, ":"); ok {
		version = v // cut off the epoch
	}
	return notInName.ReplaceAllString(name+"-"+version, ".")
}

// derivations turns packages into derivations without cycles. If none of the alternatives of
// a dependency is in debs, it ignores this dependency: apt or the caller has left it out on
// purpose. The packages of a circle become one derivation. The derivation gets the shortest
// of their names, but names in wanted have priority: ruby, not libruby3.1.
func derivations(debsDir string, debs []deb, wanted []string) ([]pkg, error) {
	slices.SortFunc(debs, func(a, b deb) int { return strings.Compare(a.name, b.name) })
	edges := dependencies(debs)
	component, members := components(edges)
	pkgs := make([]pkg, len(members))
	for c, m := range members {
		slices.Sort(m)
		p := &pkgs[c]
		lead := slices.MinFunc(m, func(a, b int) int {
			return cmp.Or(
				-cmp.Compare(count(wanted, debs[a].name), count(wanted, debs[b].name)),
				cmp.Compare(len(debs[a].name), len(debs[b].name)),
				cmp.Compare(a, b))
		})
		p.Key, p.Name = debs[lead].name, storeName(debs[lead].name, debs[lead].version)
		p.Keep = []string{}
		for _, i := range m {
			sum, err := fileSum(filepath.Join(debsDir, debs[i].file))
			if err != nil {
				return nil, err
			}
			p.Debs = append(p.Debs, debRef{debs[i].file, sum})
			p.aliases = append(p.aliases, debs[i].name)
		}
	}
	for c, m := range members {
		deps := []string{}
		for _, i := range m {
			for _, j := range edges[i] {
				if component[j] != c {
					deps = append(deps, pkgs[component[j]].Key)
				}
			}
		}
		slices.Sort(deps)
		pkgs[c].Deps = slices.Compact(deps)
	}
	slices.SortFunc(pkgs, func(a, b pkg) int { return strings.Compare(a.Key, b.Key) })
	markLibc(pkgs, "libc6")
	return pkgs, nil
}

// dependencies returns, for each package, the indexes in debs of its
// dependencies.
func dependencies(debs []deb) [][]int {
	place := map[string]int{}
	for i, d := range debs {
		for _, p := range d.provides {
			if _, ok := place[p]; !ok {
				place[p] = i
			}
		}
	}
	for i, d := range debs {
		place[d.name] = i // a real package has priority over packages that only provide the name
	}
	edges := make([][]int, len(debs))
	for i, d := range debs {
		for _, alternatives := range d.depends {
			k := slices.IndexFunc(alternatives, func(name string) bool { _, ok := place[name]; return ok })
			if k < 0 {
				continue
			}
			if j := place[alternatives[k]]; j != i {
				edges[i] = append(edges[i], j)
			}
		}
	}
	return edges
}

// markLibc marks the package key and all of its dependencies as parts of libc.
func markLibc(pkgs []pkg, key string) {
	for i := range pkgs {
		if pkgs[i].Key == key && !pkgs[i].Libc {
			pkgs[i].Libc = true
			for _, d := range pkgs[i].Deps {
				markLibc(pkgs, d)
			}
		}
	}
}

// count returns how often s is in list.
func count(list []string, s string) int {
	n := 0
	for _, e := range list {
		if e == s {
			n++
		}
	}
	return n
}

// components returns the strongly connected component of each node, and the nodes of each
// component. It uses Tarjan's algorithm.
func components(edges [][]int) (of []int, members [][]int) {
	of = make([]int, len(edges))
	order := make([]int, len(edges)) // 0 means: the node was not visited yet
	low := make([]int, len(edges))
	onStack := make([]bool, len(edges))
	var stack []int
	seen := 0
	var visit func(v int)
	visit = func(v int) {
		seen++
		order[v], low[v] = seen, seen
		stack, onStack[v] = append(stack, v), true
		for _, w := range edges[v] {
			if order[w] == 0 {
				visit(w)
				low[v] = min(low[v], low[w])
			} else if onStack[w] {
				low[v] = min(low[v], order[w])
			}
		}
		if low[v] != order[v] {
			return
		}
		var m []int
		for {
			w := stack[len(stack)-1]
			stack, onStack[w] = stack[:len(stack)-1], false
			of[w] = len(members)
			m = append(m, w)
			if w == v {
				break
			}
		}
		members = append(members, m)
	}
	for v := range edges {
		if order[v] == 0 {
			visit(v)
		}
	}
	return of, members
}

func fileSum(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
