// Command bench measures nixoci with a real system and a real registry. It compares nixoci
// with the limits of the machine and with other tools. It writes docs/benchmarks.json and a
// page made from this file. bench/run.sh prepares what bench needs.
//
// The repetitions of different cases are interleaved, and each result is the median of the
// repetitions. Bytes and requests are the same on any machine. A proxy counts them in
// separate runs. Times come from runs without the proxy. With each time, bench records the
// processor time that other processes used during the run.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// config holds the command-line flags.
type config struct {
	large   string // root directory of the large system's store
	scratch string // directory on tmpfs for the registry's storage and for caches
	nixoci  string
	crane   string
	n2c     string // directory with nix2container and bench/nix2container; "" for none
	reps    int
	only    string // measure only cases with names that contain this text
	times   string // results file that already contains the counts, so that nothing is counted again
}

func main() {
	do := run
	if len(os.Args) > 2 && os.Args[1] == supervise {
		runtime.LockOSThread() // the kernel kills a program when the thread that started the program ends
		do = func() error { return runSupervised(os.Args[2:]) }
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var c config
	flag.StringVar(&c.large, "large", "", "root of the store with the large system (debstore large)")
	flag.StringVar(&c.scratch, "scratch", "/dev/shm", "directory on tmpfs for the registry and caches")
	flag.StringVar(&c.nixoci, "nixoci", "bin/nixoci", "the program to measure")
	flag.StringVar(&c.crane, "crane", "", "crane, to measure too")
	flag.StringVar(&c.n2c, "nix2container", "", "directory with nix2container and bench/nix2container, to measure too; /nix must be the large system's")
	flag.IntVar(&c.reps, "reps", 3, "repetitions")
	flag.StringVar(&c.only, "only", "", "measure only what has this in its name, and write no page")
	flag.StringVar(&c.times, "times-only", "", "measure times only, and take what was counted from this file of results")
	out := flag.String("o", "docs/benchmarks.json", "file for the results")
	page := flag.String("page", "docs/benchmarks.md", "page to make of them")
	readme := flag.String("readme", "README.md", "file with a table to renew from them")
	render := flag.Bool("render", false, "measure nothing, make the page anew")
	flag.Parse()
	if *render {
		data, err := os.ReadFile(*out)
		if err != nil {
			return err
		}
		var r results
		if err := json.Unmarshal(data, &r); err != nil {
			return err
		}
		return r.write(*page, *readme)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r, err := c.measure(ctx)
	if err != nil {
		return err
	}
	if c.only != "" {
		fmt.Print(r.page())
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(*out, append(data, '\n'), 0o644), r.write(*page, *readme))
}

// write writes the page and the table of the README.
func (r *results) write(page, readme string) error {
	if err := os.WriteFile(page, []byte(r.page()), 0o644); err != nil {
		return err
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	renewed, err := r.renewTable(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", readme, err)
	}
	return os.WriteFile(readme, []byte(renewed), 0o644)
}

// results holds the content of docs/benchmarks.json.
type results struct {
	Machine machine                `json:"machine"`
	System  system                 `json:"system"`
	Limit   limit                  `json:"limit"`
	Verify  map[string]verifyLimit `json:"verify,omitempty"` // the limit of verify, by compression
	Cases   map[string]*outcome    `json:"cases"`
}

// system describes the NixOS system that is pushed.
type system struct {
	Paths   int   `json:"paths"`
	NarSize int64 `json:"narSize"`
}

// outcome holds the result of a case: its runs, and the counts from one run.
type outcome struct {
	Runs    []sample `json:"runs"`
	Image   int64    `json:"image,omitempty"` // total bytes of the layers
	Layers  int      `json:"layers,omitempty"`
	Made    int64    `json:"made,omitempty"` // bytes of the layers that the push made
	Counted *traffic `json:"counted,omitempty"`

	made []string // recipes of the layers that the push made
}

// traffic holds the traffic that the proxy counted. For a binary cache, it also holds the
// traffic of the cache's server.
type traffic struct {
	Requests   int64 `json:"requests"`
	Sent       int64 `json:"sent"`
	Received   int64 `json:"received"`
	Cache      int64 `json:"cacheRequests,omitempty"`
	Narinfos   int64 `json:"narinfos,omitempty"`   // bytes of narinfo files
	Nars       int64 `json:"nars,omitempty"`       // bytes of NARs
	NarsNeeded int64 `json:"narsNeeded,omitempty"` // bytes of the NARs in the layers that the push made
}

// measure runs all cases and returns the results.
func (c *config) measure(ctx context.Context) (*results, error) {
	dir, err := os.MkdirTemp(c.scratch, "nixoci-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	lab := &lab{config: c, dir: dir, ctx: ctx}
	if err := lab.open(); err != nil {
		return nil, err
	}
	defer lab.close()
	r := &results{Machine: readMachine(), Cases: map[string]*outcome{}}
	if r.System, err = lab.describe(); err != nil {
		return nil, err
	}
	if c.only == "" || strings.Contains("limit", c.only) {
		if r.Limit, err = lab.limit(); err != nil {
			return nil, err
		}
	}
	var cases []benchCase
	for _, k := range lab.cases() {
		if strings.Contains(k.name, c.only) {
			cases = append(cases, k)
			r.Cases[k.name] = &outcome{}
		}
	}
	for rep := range c.reps {
		for _, k := range cases {
			if k.once && rep > 0 {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			s, err := k.run(r.Cases[k.name])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.name, err)
			}
			fmt.Fprintf(os.Stderr, "%-40s %s\n", k.name, s)
			r.Cases[k.name].Runs = append(r.Cases[k.name].Runs, s)
		}
	}
	if err := lab.verifyLimits(r); err != nil {
		return nil, err
	}
	if c.times != "" {
		return r, r.keepCounted(c.times)
	}
	for _, k := range cases {
		if k.count == nil {
			continue
		}
		if r.Cases[k.name].Counted, err = k.count(r.Cases[k.name]); err != nil {
			return nil, fmt.Errorf("%s, counted: %w", k.name, err)
		}
		fmt.Fprintf(os.Stderr, "%-40s %+v\n", k.name, *r.Cases[k.name].Counted)
	}
	r.Machine.LoadAfter = loadAverage()
	return r, nil
}

// keepCounted copies the counts from another results file. Counts are the same on any
// machine.
func (r *results) keepCounted(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var old results
	if err := json.Unmarshal(data, &old); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for name, o := range r.Cases {
		if before := old.Cases[name]; before != nil && before.Image == o.Image {
			o.Counted = before.Counted
		}
	}
	r.Machine.LoadAfter = loadAverage()
	return nil
}

// median returns the median of f over the runs, or 0 if there are no runs.
func (o *outcome) median(f func(sample) float64) float64 {
	if o == nil || len(o.Runs) == 0 {
		return 0
	}
	var v []float64
	for _, s := range o.Runs {
		v = append(v, f(s))
	}
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func fileExists(elem ...string) bool {
	_, err := os.Stat(filepath.Join(elem...))
	return err == nil
}
