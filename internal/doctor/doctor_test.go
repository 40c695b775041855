package doctor

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/nixoci/nixoci/internal/registry"
)

// examine checks a test registry and returns the results by name. The function change may
// answer a request instead of the registry.
func examine(t *testing.T, write bool, change func(w http.ResponseWriter, r *http.Request) bool) (map[string]Probe, error) {
	t.Helper()
	backend := ggcr.New(ggcr.WithReferrersSupport(true), ggcr.Logger(log.New(io.Discard, "", 0)))
	ready := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ready || change == nil || !change(w, r) {
			backend.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	ref, err := name.NewTag(host + "/org/web:latest")
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(10, 1)
	if err == nil {
		err = remote.Write(ref, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	ready = true
	repo, err := registry.Open(ref.Repository, registry.Options{Delete: write, ReadOnly: !write})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { repo.Close() })
	checks, err := Examine(t.Context(), repo, "latest", write)
	all := map[string]Probe{}
	for _, c := range checks {
		if c.Means == "" || c.Found == "" {
			t.Errorf("%+v says nothing", c)
		}
		all[c.Name] = c
	}
	return all, err
}

func states(t *testing.T, got map[string]Probe, want map[string]State) {
	t.Helper()
	for name, s := range want {
		if got[name].State != s {
			t.Errorf("%s: %+v, want %s", name, got[name], s)
		}
	}
}

func TestExamine(t *testing.T) {
	got, err := examine(t, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	states(t, got, map[string]State{"address": Yes, "clock": Yes, "login": No, "pull": Yes, "referrers": Yes, "tag list": Yes, "push": Yes, "zstd": Yes, "media types": Yes, "delete": Yes})
}

func TestReadOnly(t *testing.T) {
	wrote := false
	got, err := examine(t, false, func(_ http.ResponseWriter, r *http.Request) bool {
		wrote = wrote || r.Method != http.MethodGet && r.Method != http.MethodHead
		return false
	})
	if err != nil || wrote {
		t.Fatalf("wrote %t, %v", wrote, err)
	}
	states(t, got, map[string]State{"push": Unknown, "pull": Yes})
}

// TestRefusals checks that doctor reports what a registry refuses, and that it then continues
// with the other checks.
func TestRefusals(t *testing.T) {
	answer := func(status int) func(http.ResponseWriter) bool {
		return func(w http.ResponseWriter) bool { w.WriteHeader(status); return true }
	}
	for _, tt := range []struct {
		name   string
		change func(w http.ResponseWriter, r *http.Request) bool
		want   map[string]State
	}{
		{"push", func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPost && answer(http.StatusForbidden)(w)
		}, map[string]State{"push": Bad}},
		{"pull", func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodGet && answer(http.StatusForbidden)(w)
		}, map[string]State{"pull": Bad, "ranges": Unknown, "tag list": No, "referrers": No}},
		{"empty repository", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || r.URL.Path == "/v2/" {
				return false
			}
			w.WriteHeader(http.StatusNotFound)
			w.Write([]byte(`{"errors":[{"code":"NAME_UNKNOWN"}]}`))
			return true
		}, map[string]State{"pull": Unknown, "referrers": Unknown, "push": Yes}},
		{"referrers", func(w http.ResponseWriter, r *http.Request) bool {
			return strings.Contains(r.URL.Path, "/referrers/") && answer(http.StatusNotFound)(w)
		}, map[string]State{"pull": Yes, "referrers": No}},
		{"delete", func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodDelete && answer(http.StatusMethodNotAllowed)(w)
		}, map[string]State{"push": Yes, "delete": No, "delete blobs": No}},
		{"zstd", func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") && answer(http.StatusBadRequest)(w)
		}, map[string]State{"zstd": No}},
		{"clock", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			return false
		}, map[string]State{"clock": Bad, "pull": Yes}},
		{"ranges", func(w http.ResponseWriter, r *http.Request) bool { r.Header.Del("Range"); return false }, map[string]State{"ranges": No}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := examine(t, true, tt.change)
			if err != nil {
				t.Fatal(err)
			}
			states(t, got, tt.want)
		})
	}
}
