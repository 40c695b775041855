package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/plan"
)

// A benchCase describes one row of the results.
type benchCase struct {
	name  string
	once  bool // true: the case is too slow to repeat
	run   func(*outcome) (sample, error)
	count func(*outcome) (*traffic, error)
}

// latency and bandwidth are those of the slow link.
const (
	latency   = 30 * time.Millisecond
	bandwidth = 100_000_000 // in bits per second

	slowLinkName = "100 Mbit/s, 30 ms: " // names of the cases over the slow link begin with this text
)

// system1 names the system whose updates are measured. debstore makes its variants.
const system1 = "large-x86_64-linux"

// situation describes what exists before a push, and what the push sends.
type situation struct {
	variant string // variant of the system that is pushed
	known   bool   // true: the registry already has the system without a variant
	warm    bool   // true: this machine has pushed the system without a variant
	http    bool   // true: push from a binary cache over http, without a local store
	comp    string
	latency time.Duration
	bits    int64
}

func (l *lab) cases() []benchCase {
	var all []benchCase
	add := func(name string, s situation) {
		all = append(all, benchCase{
			name: name, once: s.bits > 0,
			run:   func(o *outcome) (sample, error) { return l.push(o, s, nil) },
			count: func(o *outcome) (*traffic, error) { return l.count(o, s) },
		})
		if s.latency > 0 || s.bits > 0 {
			all[len(all)-1].count = nil
		}
	}
	for _, comp := range []string{"gzip", "zstd", "none", "gzip:5"} {
		add("store "+comp+" cold", situation{comp: comp})
	}
	for _, comp := range []string{"gzip", "zstd"} {
		add("http "+comp+" cold", situation{comp: comp, http: true})
	}
	for _, from := range []string{"store", "http"} {
		http := from == "http"
		for _, comp := range []string{"gzip", "zstd"} {
			if http && comp == "zstd" {
				continue
			}
			name := from + " " + comp + " "
			add(name+"unchanged, same machine", situation{comp: comp, http: http, known: true, warm: true})
			add(name+"unchanged, fresh machine", situation{comp: comp, http: http, known: true})
			add(name+"configuration, fresh machine", situation{comp: comp, http: http, known: true, variant: "-config"})
			add(name+"one leaf, fresh machine", situation{comp: comp, http: http, known: true, variant: "-leaf"})
			add(name+"update, fresh machine", situation{comp: comp, http: http, known: true, variant: "-v2"})
		}
	}
	add("30 ms: cold", situation{comp: "gzip", latency: latency})
	add("30 ms: unchanged, same machine", situation{comp: "gzip", latency: latency, known: true, warm: true})
	add("30 ms: unchanged, fresh machine", situation{comp: "gzip", latency: latency, known: true})
	add("30 ms: configuration, fresh machine", situation{comp: "gzip", latency: latency, known: true, variant: "-config"})
	add(slowLinkName+"cold", situation{comp: "gzip", latency: latency, bits: bandwidth})
	add(slowLinkName+"unchanged, fresh machine", situation{comp: "gzip", latency: latency, bits: bandwidth, known: true})
	add(slowLinkName+"configuration, fresh machine", situation{comp: "gzip", latency: latency, bits: bandwidth, known: true, variant: "-config"})
	add(slowLinkName+"update, fresh machine", situation{comp: "gzip", latency: latency, bits: bandwidth, known: true, variant: "-v2"})
	return slices.Concat(all, l.verifyCases(), l.peers())
}

// open starts everything that all cases use.
func (l *lab) open() error {
	list, err := os.ReadFile(filepath.Join(l.large, "systems.json"))
	if err == nil {
		err = json.Unmarshal(list, &l.systems)
	}
	if err != nil {
		return fmt.Errorf("the large system: %w", err)
	}
	if l.systems[system1] == "" {
		return fmt.Errorf("the large system: no %s in %s", system1, l.large)
	}
	key, err := os.ReadFile(filepath.Join(l.large, "public-key"))
	if err != nil {
		return err
	}
	l.key = strings.TrimSpace(string(key))
	for _, p := range []*string{&l.nixoci, &l.crane} {
		if *p != "" {
			if *p, err = filepath.Abs(*p); err != nil {
				return err
			}
		}
	}
	l.cache = newCacheServer(filepath.Join(l.large, "cache"))
	return l.startRegistry()
}

// fresh makes a new directory for the cache and the home directory of one run.
func (l *lab) fresh() (string, error) {
	return os.MkdirTemp(l.dir, "home-")
}

// printed holds the fields of nixoci's --json output that the benchmark uses.
type printed struct {
	Layers []struct {
		Recipe string
		Size   int64
		How    string
	}
}

// nixociPush runs nixoci push once, to the registry at addr.
func (l *lab) nixociPush(home, addr, repo string, s situation) (process, error) {
	args := []string{l.nixoci, "push", addr + "/" + repo + ":latest", "--json", "--quiet", "--compression", s.comp}
	if s.http {
		args = append(args, "--from", l.cache.URL, "--trusted-public-key", l.key)
	} else {
		args = append(args, "--from", l.large)
	}
	return l.timed([]string{"HOME=" + home, "XDG_CACHE_HOME=" + home}, append(args, l.systems[system1+s.variant])...)
}

// push prepares s and pushes. If via is not nil, push sends the image to the address that via
// returns.
func (l *lab) push(o *outcome, s situation, via func(addr string) (string, error)) (sample, error) {
	home, err := l.fresh()
	if err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(home)
	repo, err := l.prepare(home, s)
	if err != nil {
		return sample{}, err
	}
	addr := l.addr
	if s.latency > 0 || s.bits > 0 {
		link, err := newSlowLink(l.addr, s.latency, s.bits)
		if err != nil {
			return sample{}, err
		}
		defer link.Close()
		addr = link.Addr()
	}
	if via != nil {
		if addr, err = via(addr); err != nil {
			return sample{}, err
		}
	}
	p, err := l.nixociPush(home, addr, repo, s)
	if err != nil {
		return sample{}, err
	}
	var r printed
	if err := json.Unmarshal(p.stdout, &r); err != nil {
		return sample{}, fmt.Errorf("result of push: %w", err)
	}
	o.Image, o.Made, o.Layers, o.made = 0, 0, len(r.Layers), nil
	for _, layer := range r.Layers {
		o.Image += layer.Size
		if layer.How == "made" {
			o.Made += layer.Size
			o.made = append(o.made, layer.Recipe)
		}
	}
	return p.sample, nil
}

// prepare makes a repository, and a cache in home, as s describes them.
func (l *lab) prepare(home string, s situation) (string, error) {
	l.counter++
	repo := fmt.Sprintf("case-%d", l.counter)
	if !s.known {
		return repo, nil
	}
	base := "base-" + strings.ReplaceAll(s.comp, ":", "")
	before := situation{comp: s.comp}
	if !fileExists(l.repository(base)) {
		warm := filepath.Join(l.dir, "warm-"+base)
		if err := os.Mkdir(warm, 0o755); err != nil {
			return "", err
		}
		if _, err := l.nixociPush(warm, l.addr, base, before); err != nil {
			return "", err
		}
	}
	// A repository consists of links to blobs. A copy of these links is the same as a
	// repository into which somebody has pushed the image.
	if err := os.CopyFS(l.repository(repo), os.DirFS(l.repository(base))); err != nil {
		return "", err
	}
	if !s.warm {
		return repo, nil
	}
	if err := os.CopyFS(home, os.DirFS(filepath.Join(l.dir, "warm-"+base))); err != nil {
		return "", err
	}
	if s.http { // the same machine has already used this binary cache
		if _, err := l.nixociPush(home, l.addr, repo, s); err != nil {
			return "", err
		}
	}
	return repo, nil
}

func (l *lab) repository(name string) string {
	return filepath.Join(l.dir, "registry/docker/registry/v2/repositories", name)
}

// count pushes s once more, through the counting proxy, and returns the traffic.
func (l *lab) count(o *outcome, s situation) (*traffic, error) {
	t, err := l.counted(func(via func(string) (string, error)) error {
		_, err := l.push(o, s, via)
		return err
	})
	if err == nil && s.http {
		t.NarsNeeded, err = l.needed(o, s)
	}
	return t, err
}

// counted calls push with a function that puts the counting proxy before an address. It
// returns the traffic that the proxy and the binary cache counted.
func (l *lab) counted(push func(via func(addr string) (string, error)) error) (*traffic, error) {
	var proxy *countingProxy
	defer func() {
		if proxy != nil {
			proxy.Close()
		}
	}()
	var requests, nars, narinfos int64
	err := push(func(addr string) (string, error) {
		// The traffic before this call belongs to the preparations and is not counted.
		requests, nars, narinfos = l.cache.requests.Load(), l.cache.nars.Load(), l.cache.narinfos.Load()
		proxy = newCountingProxy(addr)
		return strings.TrimPrefix(proxy.URL, "http://"), nil
	})
	if err != nil {
		return nil, err
	}
	if proxy.requests.Load() == 0 {
		return nil, errors.New("no request went through the proxy")
	}
	return &traffic{
		Requests: proxy.requests.Load(), Sent: proxy.sent.Load(), Received: proxy.received.Load(),
		Cache: l.cache.requests.Load() - requests, Nars: l.cache.nars.Load() - nars, Narinfos: l.cache.narinfos.Load() - narinfos,
	}, nil
}

// needed returns the total compressed size of the NARs in the layers that o made.
func (l *lab) needed(o *outcome, s situation) (int64, error) {
	src, err := closure.Open([]string{l.large}, closure.CacheOptions{})
	if err != nil {
		return 0, err
	}
	c, err := src.Closure(l.ctx, []closure.StorePath{closure.StorePath(l.systems[system1+s.variant])})
	if err != nil {
		return 0, err
	}
	plan, err := plan.New(c, plan.Options{})
	if err != nil {
		return 0, err
	}
	comp, err := layers.ParseCompression(s.comp)
	if err != nil {
		return 0, err
	}
	var total int64
	found := 0
	for _, g := range plan.Groups {
		layer, err := layers.Store(c, src, g.Paths, comp)
		if err != nil {
			return 0, err
		}
		if !slices.Contains(o.made, layer.Recipe.String()) {
			continue
		}
		found++
		for _, p := range g.Paths {
			data, err := os.ReadFile(filepath.Join(l.large, "cache", p.Hash()+".narinfo"))
			if err != nil {
				return 0, err
			}
			n, err := closure.ParseNarinfo(data)
			if err != nil {
				return 0, err
			}
			total += n.FileSize
		}
	}
	if missing := len(o.made) - found; missing > 2 { // the system layer and the layer of nixoci-init contain no NARs
		return 0, fmt.Errorf("%d layers were made that the plan does not have", missing)
	}
	return total, nil
}
