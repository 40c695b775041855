package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// TestInterrupted interrupts a push during an upload. The exit code must be 130, and the push
// must send no manifest and set no tag.
func TestInterrupted(t *testing.T) {
	for _, at := range []string{"POST", "PATCH", "PUT"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			inner := registry.New(registry.Logger(discardLog))
			var mu sync.Mutex
			var manifests []string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == at {
					cancel()
				}
				if r.Method == "PUT" && strings.Contains(r.URL.Path, "/manifests/") {
					mu.Lock()
					manifests = append(manifests, r.URL.Path)
					mu.Unlock()
				}
				inner.ServeHTTP(w, r)
			}))
			defer s.Close()
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			var stdout, stderr bytes.Buffer
			code := run(ctx, samplePush(t, strings.TrimPrefix(s.URL, "http://")+"/web"), nil, &stdout, &stderr)
			if code != exitInterrupted || stdout.Len() > 0 || !strings.Contains(stderr.String(), "interrupted") {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, &stdout, &stderr)
			}
			if len(manifests) > 0 {
				t.Errorf("manifests were put: %s", manifests)
			}
		})
	}
}

// samplePush returns the command line that pushes the sample system.
func samplePush(t *testing.T, ref string, more ...string) []string {
	t.Helper()
	args := append([]string{"push", ref, sampleSystem(t, "sample-x86_64-linux")}, fromSample(t)...)
	return append(args, more...)
}
