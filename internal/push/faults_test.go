package push

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/registry/registrytest"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run only this seed of TestSeededFaults or TestLastingFaults")
	seedsFlag = flag.Uint64("seeds", 0, "run so many seeds instead of the usual number")
	firstFlag = flag.Uint64("first-seed", 1, "the first of them")
)

// seeds returns the seeds that a test runs. Unless a flag or -short changes this, it returns n
// seeds.
func seeds(n uint64) []uint64 {
	if *seedFlag != 0 {
		return []uint64{*seedFlag}
	}
	if *seedsFlag != 0 {
		n = *seedsFlag
	} else if testing.Short() {
		n /= 10
	}
	var all []uint64
	for i := range n {
		all = append(all, *firstFlag+i)
	}
	return all
}

// account is a keychain with the account that registrytest accepts.
type account struct{}

func (account) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: registrytest.User, Password: registrytest.Password}), nil
}

// world holds a registry with faults and an image to push there. It lives in a synctest bubble,
// where waiting takes no time.
type world struct {
	t      *testing.T
	reg    *registrytest.Registry
	tokens *registrytest.Tokens
	dial   *registrytest.Pipes
	faults atomic.Pointer[registrytest.Faults] // nil means no faults; a request that the client gave up may still read it
	src    *treeSource
	packer *layers.Packer
	stream bool // upload layers while they are made, even small ones
}

const (
	worldRepo = "org/web"
	worldTag  = "v1"
)

// inWorld runs f in a synctest bubble. Pipes connect the client with the registry.
func inWorld(t *testing.T, tokens bool, f func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, reg: registrytest.New(), src: &treeSource{content: map[closure.StorePath][]byte{}}, packer: layers.NewPacker(1)}
		w.reg.Strict = true
		if tokens {
			w.tokens = registrytest.NewTokens(w.reg, 5*time.Minute)
		}
		pipes, stop := registrytest.Serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			faults := w.faults.Load()
			switch {
			case faults != nil:
				faults.ServeHTTP(rw, r)
			case w.tokens != nil:
				w.tokens.ServeHTTP(rw, r)
			default:
				w.reg.ServeHTTP(rw, r)
			}
		}))
		w.dial = pipes
		defer stop()
		f(w)
	})
}

func (w *world) script(faults []registrytest.Fault) {
	w.faults.Store(registrytest.NewFaults(w.reg, w.tokens, faults))
}

// open returns a client of worldRepo.
func (w *world) open() *registry.Repository {
	w.t.Helper()
	repo, err := name.NewRepository(registrytest.PipeAddr + "/" + worldRepo)
	must(w.t, err)
	r, err := registry.Open(repo, registry.Options{Dial: w.dial.Dial, Keychain: account{}})
	must(w.t, err)
	return r
}

// push pushes images under worldTag, as nixoci push does.
func (w *world) push(images []PlannedSystem, cache *cache.Cache) (Result, error) {
	w.t.Helper()
	r := w.open()
	defer r.Close()
	opts := sampleOptions(cache)
	opts.Tags, opts.Packer = []string{worldTag}, w.packer
	opts.Reuse = []*Remote{NewRemote(r, worldTag)}
	opts.SampleClaims = true
	if w.stream {
		opts.WholeLayers = -1
	}
	return Push(context.WithoutCancel(w.t.Context()), r, images, opts)
}

func (w *world) tag() digest.Digest { return w.reg.Tag(worldRepo, worldTag) }

// faulty holds the scene of one seed: the image that was pushed before, the image to push now, and
// the cache.
type faulty struct {
	w      *world
	before []PlannedSystem // image that was pushed without faults; nil if there is none
	images []PlannedSystem
	cache  *cache.Cache

	old, want digest.Digest // digest under the tag before the push, and after a correct push
}

// prepare makes the scene of a seed. The seed decides whether the registry already has an image,
// whether it is the same image, and what this machine's cache contains.
func (w *world) prepare(seed uint64) *faulty {
	s := &faulty{w: w, cache: cache.Open(w.t.TempDir())}
	s.images = []PlannedSystem{sampleImage(w.t, w.src, "amd64", nil), sampleImage(w.t, w.src, "arm64", nil)}
	w.stream = seed/8%2 == 0
	honest := w.reg
	cache := s.cache // the cache of the machine that pushed before
	switch seed % 8 {
	case 1, 5: // this machine pushed another image
		s.before = []PlannedSystem{sampleImage(w.t, w.src, "amd64", map[string]string{"bash-5.2": "old"})}
	case 2, 7: // another machine pushed another image
		s.before = []PlannedSystem{sampleImage(w.t, w.src, "amd64", map[string]string{"bash-5.2": "old"})}
		cache = nil
	case 3: // this machine pushed the same image
		s.before = s.images
	case 4: // another machine pushed the same image
		s.before, cache = s.images, nil
	}
	scratch := registrytest.New()
	w.reg = scratch
	first, err := w.push(s.images, nil)
	must(w.t, err)
	w.reg, s.want = honest, first.Index.Digest
	if s.before != nil {
		_, err := w.push(s.before, cache)
		must(w.t, err)
		s.old = w.tag()
	}
	return s
}

// verdict describes the result of a push with faults.
type verdict struct {
	err   error
	took  time.Duration
	wrong string // the rule that the push violated; "" if it violated none
}

// run pushes with faults, and then checks the registry.
func (s *faulty) run() verdict {
	start := time.Now()
	result, err := s.w.push(s.images, s.cache)
	v := verdict{err: err, took: time.Since(start)}
	now := s.w.tag()
	switch {
	case v.took > limit.Operation:
		v.wrong = fmt.Sprintf("it took %s", v.took)
	case err == nil && now != s.want:
		v.wrong = fmt.Sprintf("success, and the tag names %q, not %s", now, s.want)
	case err == nil && result.Index.Digest != s.want:
		v.wrong = fmt.Sprintf("success with %s, not %s", result.Index.Digest, s.want)
	case now != s.want && now != s.old:
		v.wrong = fmt.Sprintf("an error, and the tag names %q, before %q", now, s.old)
	case now != "":
		if err := s.w.reg.Check(worldRepo, worldTag); err != nil {
			v.wrong = fmt.Sprintf("the tag's image is not whole: %v", err)
		}
	}
	return v
}

// again pushes once more without faults. This push must repair all damage.
func (s *faulty) again() error {
	s.w.faults.Store(nil)
	if _, err := s.w.push(s.images, s.cache); err != nil {
		return err
	}
	if now := s.w.tag(); now != s.want {
		return fmt.Errorf("the tag names %s", now)
	}
	return s.w.reg.Check(worldRepo, worldTag)
}

// report prints the failure of a seed, and the command that runs this seed alone.
func (s *faulty) report(t *testing.T, test string, seed uint64, v verdict) {
	t.Helper()
	t.Errorf("seed %d: %s\nerror: %v\nscript: %v\nhappened:\n\t%s\nalone: go test ./internal/push -run '^%s$' -seed %d",
		seed, v.wrong, v.err, s.w.faults.Load().Script, strings.Join(s.w.faults.Load().Fired(), "\n\t"), test, seed)
}

// TestSeededFaults pushes to a registry that makes one to four faults, each once. The tag must
// always name the old or the new image, and this image must be complete. No push may take longer
// than limit.Operation, and nearly all must succeed.
func TestSeededFaults(t *testing.T) {
	all := seeds(300)
	var failed []string
	fired := 0
	var longest time.Duration
	for _, seed := range all {
		inWorld(t, seed%3 == 0, func(w *world) {
			s := w.prepare(seed)
			w.script(registrytest.Seeded(seed, registrytest.PushClasses))
			v := s.run()
			fired, longest = fired+len(w.faults.Load().Fired()), max(longest, v.took)
			if v.err != nil {
				failed = append(failed, fmt.Sprintf("seed %d: %v (%v)", seed, v.err, w.faults.Load().Script))
			}
			if v.wrong != "" {
				s.report(t, "TestSeededFaults", seed, v)
			}
			if err := s.again(); err != nil {
				t.Errorf("seed %d: pushed again, without faults: %v", seed, err)
			}
		})
	}
	t.Logf("%d pushes, %d faults, the longest took %s, %d errors:\n%s", len(all), fired, longest, len(failed), strings.Join(failed, "\n"))
	if len(failed)*20 > len(all) {
		t.Errorf("%d of %d pushes failed although another attempt would have helped", len(failed), len(all))
	}
	if fired < len(all)/2 {
		t.Errorf("only %d faults happened in %d pushes", fired, len(all))
	}
}

// TestLastingFaults pushes to a registry with a fault that never ends. The push may fail, but it
// must fail in time and with an error. The tag must name the old or the new image.
func TestLastingFaults(t *testing.T) {
	for _, seed := range seeds(100) {
		inWorld(t, seed%3 == 0, func(w *world) {
			s := w.prepare(seed)
			w.script(registrytest.Lasting(seed, registrytest.PushClasses))
			v := s.run()
			lies := []registrytest.FaultKind{registrytest.Corrupt, registrytest.Truncate, registrytest.Forget}
			if v.wrong != "" && w.faults.Load().Script[0].On == registrytest.PutTag && slices.Contains(lies, w.faults.Load().Script[0].Kind) && v.err != nil && strings.Contains(v.err.Error(), "the tag") {
				v.wrong = "" // the push cannot repair this damage, and its error says so
			}
			if v.wrong != "" {
				s.report(t, "TestLastingFaults", seed, v)
			}
			if err := s.again(); err != nil {
				t.Errorf("seed %d: pushed again, without faults: %v", seed, err)
			}
		})
	}
}
