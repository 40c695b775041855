package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
)

// withHelper installs a shell script as docker-credential-test on the PATH, and names this helper
// in Docker's config file.
func withHelper(t *testing.T, script string) {
	t.Helper()
	home(t, `{"credsStore":"test"}`)
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func resolve(t *testing.T, ctx context.Context, repo string) (authn.AuthConfig, error) {
	t.Helper()
	r, err := name.NewRepository(repo)
	if err != nil {
		t.Fatal(err)
	}
	a, err := authn.Resolve(ctx, fileKeychain{}, r)
	if err != nil {
		return authn.AuthConfig{}, err
	}
	cfg, err := a.Authorization()
	if err != nil {
		t.Fatal(err)
	}
	return *cfg, nil
}

// TestHelperTime checks that nixoci stops a helper that never answers, even if a child process
// keeps the helper's output open.
func TestHelperTime(t *testing.T) {
	defer func(d, pipe time.Duration) { helperTime, helperPipe = d, pipe }(helperTime, helperPipe)
	helperPipe = 100 * time.Millisecond
	for name, script := range map[string]string{"waits": "exec sleep 1000", "has a child": "sleep 5 & wait", "ignores signals": "trap '' TERM INT PIPE; while :; do sleep 1; done"} {
		helperTime = 100 * time.Millisecond
		withHelper(t, script)
		start := time.Now()
		_, err := resolve(t, t.Context(), "registry.example/web")
		if err == nil || !strings.Contains(err.Error(), "docker-credential-test get: no answer for 100ms") || hint.Of(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
		// Login and Logout use the helper too.
		host := basicRegistry(t, "ann", "s3cret")
		if _, err := Login(t.Context(), host, "ann", "s3cret", Options{}); err == nil || !strings.Contains(err.Error(), "docker-credential-test store: no answer for") {
			t.Errorf("%s: login: %v", name, err)
		}
		if err := Logout(t.Context(), host); err == nil || !strings.Contains(err.Error(), "docker-credential-test erase: no answer for") {
			t.Errorf("%s: logout: %v", name, err)
		}
	}
	helperTime = limit.HelperTime
	withHelper(t, "exec sleep 1000")
	boom := errors.New("boom")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(boom)
	if _, err := resolve(t, ctx, "registry.example/web"); !errors.Is(err, boom) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestHelperOutput checks helpers that print just below, at and just above the limit, and a helper
// that prints without end.
func TestHelperOutput(t *testing.T) {
	const empty = len(`{"Username":"ann","Secret":""}`)
	for size, ok := range map[int]bool{limit.HelperOutput - 1: true, limit.HelperOutput: true, limit.HelperOutput + 1: false} {
		file := filepath.Join(t.TempDir(), "answer")
		secret := strings.Repeat("s", size-empty)
		if err := os.WriteFile(file, []byte(`{"Username":"ann","Secret":"`+secret+`"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		withHelper(t, "exec cat "+file)
		cfg, err := resolve(t, t.Context(), "registry.example/web")
		if (err == nil) != ok || ok && cfg.Password != secret {
			t.Errorf("%d bytes: a password of %d bytes, %v", size, len(cfg.Password), err)
		}
	}
	withHelper(t, "trap '' PIPE; while :; do echo yes yes yes yes yes yes yes yes yes yes yes yes yes; done")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := resolve(t, t.Context(), "registry.example/web")
	runtime.ReadMemStats(&after)
	var large *limit.Error
	if !errors.As(err, &large) || len(err.Error()) > 200 {
		t.Errorf("without end: %v", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 8*limit.HelperOutput {
		t.Errorf("%d bytes were allocated", n)
	}
}

// TestKeychain checks the order: credentials for a repository come before credentials for its
// registry, and DOCKER_AUTH_CONFIG comes before a helper. If a helper has no credentials, this must
// not be an error.
func TestKeychain(t *testing.T) {
	withHelper(t, `read key; case $key in
registry.example/web) echo '{"Username":"of-repository","Secret":"x"}';;
registry.example) echo '{"Username":"of-registry","Secret":"x"}';;
token.example) echo '{"Username":"<token>","Secret":"identity"}';;
broken.example) echo 'no JSON';;
failing.example) echo 'the keyring is locked'; exit 1;;
*) echo 'credentials not found in native keychain'; exit 1;; esac`)
	for repo, want := range map[string]authn.AuthConfig{
		"registry.example/web":   {Username: "of-repository", Password: "x"},
		"registry.example/other": {Username: "of-registry", Password: "x"},
		"token.example/web":      {IdentityToken: "identity"},
		"none.example/web":       {},
	} {
		got, err := resolve(t, t.Context(), repo)
		if err != nil || got.Username != want.Username || got.Password != want.Password || got.IdentityToken != want.IdentityToken {
			t.Errorf("%s: %q, %v", repo, got.Username, err)
		}
	}
	for repo, want := range map[string]string{"failing.example/web": "the keyring is locked", "broken.example/web": "docker-credential-test get: "} {
		if _, err := resolve(t, t.Context(), repo); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", repo, err)
		}
	}
	t.Setenv("DOCKER_AUTH_CONFIG", `{"auths":{"registry.example":{"auth":"`+base64.StdEncoding.EncodeToString([]byte("env:x"))+`"}}}`)
	if got, err := resolve(t, t.Context(), "registry.example/other"); err != nil || got.Username != "env" {
		t.Errorf("DOCKER_AUTH_CONFIG: %q, %v", got.Username, err)
	}
}

// TestDockerConfigSize checks config files just below, at and just above the
// limit.
func TestDockerConfigSize(t *testing.T) {
	for size, ok := range map[int]bool{limit.DockerConfig - 1: true, limit.DockerConfig: true, limit.DockerConfig + 1: false} {
		text := `{"auths":{"registry.example":{"auth":"YW5uOng="}}}`
		home(t, text+strings.Repeat(" ", size-len(text)))
		if got, err := resolve(t, t.Context(), "registry.example/web"); (err == nil) != ok || ok && got.Username != "ann" {
			t.Errorf("%d bytes: %q, %v", size, got.Username, err)
		}
	}
}
