//go:build e2e

package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/plan"
)

// toll is a proxy before the registry that counts requests and bytes.
type toll struct {
	host string
	sent atomic.Int64 // bytes of request bodies

	mu       sync.Mutex
	requests []string
}

func newToll(t *testing.T) *toll {
	t.Helper()
	g := &toll{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: registry(t)})
		r.Out.Host = r.In.Host // with this host name, upload sessions also use the proxy
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.requests = append(g.requests, r.Method+" "+r.URL.Path)
		g.mu.Unlock()
		if r.Body != nil {
			r.Body = tolled{r.Body, &g.sent}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	g.host = strings.TrimPrefix(s.URL, "http://")
	return g
}

type tolled struct {
	io.ReadCloser
	n *atomic.Int64
}

func (r tolled) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n.Add(int64(n))
	return n, err
}

// published copies the large system to another repository. No other test changes the tag in
// that repository.
func published(t *testing.T, repository string) {
	t.Helper()
	ref, digest := large(t)
	command(t, lab.crane, "copy", "--insecure", ref, registry(t)+"/"+repository+":v1")
	if got := tagDigest(t, repository, "v1"); got != digest {
		t.Fatalf("the copy is %s, not %s", got, digest)
	}
}

// pushResult holds the fields of the output of --json that the tests use.
type pushResult struct {
	Unchanged bool
	Layers    []struct {
		Recipe, How string
		Size        int64
	}
}

func (o outcome) result(t *testing.T) (r pushResult, image, made int64) {
	t.Helper()
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
		t.Fatalf("%v\n%s", err, o.stdout)
	}
	for _, l := range r.Layers {
		image += l.Size
		if l.How == "made" {
			made += l.Size
		}
	}
	return r, image, made
}

// TestUnchangedOnAFreshMachine pushes an unchanged image from a machine with an empty cache.
// nixoci may read only the index and the manifest of each platform.
func TestUnchangedOnAFreshMachine(t *testing.T) {
	published(t, "unchanged")
	g := newToll(t)
	o := run{}.ok(t, args("push", g.host+"/unchanged:v1", "--json", fromStore(), toplevels(""))...)
	if r, _, _ := o.result(t); !r.Unchanged {
		t.Error("a second push of the same image does not find the image in the registry")
	}
	// nixoci must need no other requests than those for the index and the manifest of each
	// platform.
	if len(g.requests) > 3 {
		t.Errorf("%d requests: %s", len(g.requests), strings.Join(g.requests, ", "))
	}
	o = run{}.ok(t, args("push", g.host+"/unchanged:v1", fromStore(), toplevels(""))...)
	report(t, "%d requests, %.2f s for both platforms, machine idle %.0f %%", len(g.requests)/2, o.wall.Seconds(), o.idle*100)
}

// TestConfigurationOnAFreshMachine checks that a push after a changed configuration sends
// only the changed layers.
func TestConfigurationOnAFreshMachine(t *testing.T) {
	published(t, "configuration")
	g := newToll(t)
	o := run{}.ok(t, args("push", g.host+"/configuration:v1", "--json", fromStore(), toplevels("-config"))...)
	_, image, made := o.result(t)
	sent := g.sent.Load()
	if made == 0 || float64(sent) > 1.1*float64(made) || float64(sent) > 0.02*float64(image) {
		t.Errorf("sent %d bytes; the layers that were made have %d, the image %d", sent, made, image)
	}
	report(t, "sent %.1f MB of %.1f (%.2f × of what was made), %d requests, %.2f s, machine idle %.0f %%",
		float64(sent)/1e6, float64(image)/1e6, float64(sent)/float64(made), len(g.requests), o.wall.Seconds(), o.idle*100)
}

// TestUpdateFromHTTPOnAFreshMachine pushes an update from a binary cache.
// nixoci must download only the NARs of the layers that it makes.
func TestUpdateFromHTTPOnAFreshMachine(t *testing.T) {
	published(t, "update")
	var mu sync.Mutex
	fetched := map[string]int64{} // number of bytes sent for each NAR
	files := http.FileServer(http.Dir(binaryCache()))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &measuredBody{ResponseWriter: w}
		files.ServeHTTP(c, r)
		if nar, ok := strings.CutPrefix(r.URL.Path, "/nar/"); ok {
			mu.Lock()
			defer mu.Unlock()
			fetched[nar] += c.n
		}
	}))
	defer web.Close()
	o := run{}.ok(t, args("push", registry(t)+"/update:v1", "--json", "--from", web.URL, "--trusted-public-key", lab.key, toplevels("-v2"))...)
	r, image, made := o.result(t)
	var recipes []string
	for _, l := range r.Layers {
		if l.How == "made" {
			recipes = append(recipes, l.Recipe)
		}
	}
	needed := narsOf(t, recipes)
	var total, least int64
	for nar, size := range needed {
		least += size
		if fetched[nar] == 0 {
			t.Errorf("%s of a layer that was made was never fetched", nar)
		}
	}
	for _, n := range fetched {
		total += n
	}
	if least == 0 || float64(total) > 1.05*float64(least) {
		t.Errorf("fetched %d bytes of NARs for layers whose NARs have %d", total, least)
	}
	if made*2 > image+image/5 { // about 40 % of the paths change in the update
		t.Errorf("made %d bytes of %d", made, image)
	}
	report(t, "fetched %d NARs, %.1f MB, %.3f × of those of the %d layers that were made; %.1f of %.1f MB made",
		len(fetched), float64(total)/1e6, float64(total)/float64(least), len(recipes), float64(made)/1e6, float64(image)/1e6)
}

type measuredBody struct {
	http.ResponseWriter
	n int64
}

func (c *measuredBody) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n += int64(n)
	return n, err
}

// narsOf returns the NARs of those layers of the updated systems that have one of the
// recipes. The result maps each NAR to its size in the binary cache.
func narsOf(t *testing.T, recipes []string) map[string]int64 {
	t.Helper()
	src, err := closure.Open([]string{lab.large}, closure.CacheOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nars := map[string]int64{}
	found := map[string]bool{}
	for _, p := range platforms {
		c, err := src.Closure(t.Context(), []closure.StorePath{closure.StorePath(lab.systems["large-"+p.nix+"-v2"])})
		if err != nil {
			t.Fatal(err)
		}
		plan, err := plan.New(c, plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range plan.Groups {
			l, err := layers.Store(c, src, g.Paths, layers.DefaultCompression())
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(recipes, l.Recipe.String()) {
				continue
			}
			found[l.Recipe.String()] = true
			for _, path := range g.Paths {
				data, err := os.ReadFile(filepath.Join(binaryCache(), path.Hash()+".narinfo"))
				if err != nil {
					t.Fatal(err)
				}
				n, err := closure.ParseNarinfo(data)
				if err != nil {
					t.Fatal(err)
				}
				nars[filepath.Base(n.URL)] = n.FileSize
			}
		}
	}
	if other := len(recipes) - len(found); other > len(platforms) { // the system layers contain no NARs
		t.Fatalf("%d layers were made that the plan does not have", other)
	}
	return nars
}
