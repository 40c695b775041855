package main

import (
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/nixoci/nixoci/internal/closure"
)

// node describes one store path of a graph that can be updated.
type node struct {
	id   int    // identity of the node; it stays the same when the node changes
	rev  int    // version of the node; the store hash depends on it
	name string // name of the store path
	size int64  // size in bytes
	refs []int  // ids of the nodes to which this node refers
}

// graph is a closure that can be updated. Its nodes are in dependency order: a node comes
// after its references.
type graph struct {
	nodes []node
	at    map[int]int      // index in nodes, by id
	real  *closure.Closure // closure with the real store hashes; nil for a generated graph
}

// newGraph sorts nodes into dependency order.
func newGraph(nodes []node) *graph {
	g := &graph{at: make(map[int]int, len(nodes))}
	byID := map[int]node{}
	for _, n := range nodes {
		byID[n.id] = n
	}
	var visit func(id int)
	visit = func(id int) {
		if _, ok := g.at[id]; ok {
			return
		}
		for _, r := range byID[id].refs {
			if r != id {
				visit(r)
			}
		}
		g.at[id] = len(g.nodes)
		g.nodes = append(g.nodes, byID[id])
	}
	for _, n := range nodes {
		visit(n.id)
	}
	return g
}

const nixBase32 = "0123456789abcdfghijklmnpqrsvwxyz"

func (n node) path() closure.StorePath {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %s", n.id, n.rev, n.name))
	h := make([]byte, 32)
	for i := range h {
		h[i] = nixBase32[sum[i]&31]
	}
	return closure.StorePath(closure.StoreDir + "/" + string(h) + "-" + n.name)
}

// closure converts the graph to a closure of store paths.
func (g *graph) closure() *closure.Closure {
	paths := make(map[int]closure.StorePath, len(g.nodes))
	for _, n := range g.nodes {
		paths[n.id] = n.path()
	}
	infos := make([]closure.Info, len(g.nodes))
	for i, n := range g.nodes {
		info := closure.Info{Path: paths[n.id], NarSize: n.size}
		for _, r := range n.refs {
			info.References = append(info.References, paths[r])
		}
		infos[i] = info
	}
	c, err := closure.New(nil, infos)
	if err != nil {
		panic(err)
	}
	return c
}

func (g *graph) bytes() (total int64) {
	for _, n := range g.nodes {
		total += n.size
	}
	return total
}

//go:embed graphs
var graphs embed.FS

// load reads the graph of a real system that is part of this program.
func load(name string) (*graph, error) {
	f, err := graphs.Open("graphs/" + name + ".json.gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("graph %s: %w", name, err)
	}
	return decode(name, z)
}

// open reads the graph in a file that nix path-info --json --recursive has printed.
func open(file string) (*graph, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return decode(file, f)
}

// row describes one store path in the output of nix path-info --json.
type row struct {
	Path       closure.StorePath
	NarSize    int64
	References []closure.StorePath
}

// decode reads an array of rows, as old versions of Nix print it, or an object with a row for
// each store path.
func decode(name string, r io.Reader) (*graph, error) {
	var all json.RawMessage
	if err := json.NewDecoder(r).Decode(&all); err != nil {
		return nil, fmt.Errorf("graph %s: %w", name, err)
	}
	var rows []row
	if err := json.Unmarshal(all, &rows); err != nil {
		byPath := map[closure.StorePath]row{}
		if json.Unmarshal(all, &byPath) != nil {
			return nil, fmt.Errorf("graph %s: %w", name, err)
		}
		for _, p := range slices.Sorted(maps.Keys(byPath)) {
			r := byPath[p]
			r.Path = p
			rows = append(rows, r)
		}
	}
	id := map[closure.StorePath]int{}
	for i, r := range rows {
		if _, err := closure.ParseStorePath(string(r.Path)); err != nil {
			return nil, fmt.Errorf("graph %s: %w", name, err)
		}
		id[r.Path] = i
	}
	nodes := make([]node, len(rows))
	var infos []closure.Info
	for i, r := range rows {
		nodes[i] = node{id: i, name: r.Path.Name(), size: r.NarSize}
		for _, ref := range r.References {
			nodes[i].refs = append(nodes[i].refs, id[ref])
		}
		slices.Sort(nodes[i].refs)
		infos = append(infos, closure.Info{Path: r.Path, NarSize: r.NarSize, References: r.References})
	}
	real, err := closure.New(nil, infos)
	if err != nil {
		return nil, fmt.Errorf("graph %s: %w", name, err)
	}
	g := newGraph(nodes)
	g.real = real
	return g, nil
}
