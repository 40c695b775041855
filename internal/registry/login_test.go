package registry

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry/registrytest"
)

// basicRegistry starts a server that requires user and secret for every request.
func basicRegistry(t *testing.T, user, secret string) (host string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != secret {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			registrytest.Refuse(w, 401, "UNAUTHORIZED", "authentication required")
		}
	}))
	t.Cleanup(s.Close)
	u, _ := url.Parse(s.URL)
	return u.Host
}

// home gives the test its own home directory. If config is not "", it becomes
// Docker's config file.
func home(t *testing.T, config string) (path string) {
	t.Helper()
	dir := t.TempDir()
	for _, v := range []string{"DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"} {
		t.Setenv(v, "")
	}
	t.Setenv("HOME", dir)
	path = filepath.Join(dir, ".docker", "config.json")
	t.Setenv("DOCKER_CONFIG", filepath.Dir(path)) // without this variable, docker/cli would use the home directory that it found first
	if config != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func found(t *testing.T, host string) authn.AuthConfig {
	t.Helper()
	reg, err := name.NewRegistry(host)
	if err != nil {
		t.Fatal(err)
	}
	var all []authn.AuthConfig
	for _, k := range []authn.Keychain{fileKeychain{}, authn.DefaultKeychain} {
		a, err := k.Resolve(reg)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := a.Authorization()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, *cfg)
	}
	if all[0] != all[1] {
		t.Errorf("nixoci finds %q, others %q", all[0].Username, all[1].Username)
	}
	return all[0]
}

func TestLogin(t *testing.T) {
	host := basicRegistry(t, "ann", "s3cret")
	path := home(t, `{"auths":{"other.example":{"auth":"eDp5","email":"x@y"}},"future":{"b":1.50,"a":[]}}`)

	_, err := Login(t.Context(), host, "ann", "wrong-s3cret", Options{})
	if err == nil || !strings.Contains(err.Error(), "401 Unauthorized") || hint.Of(err) == "" {
		t.Errorf("a wrong password: %v", err)
	}
	if strings.Contains(err.Error()+hint.Of(err), "wrong-s3cret") {
		t.Errorf("the error tells the password: %v", err)
	}
	if cfg := found(t, host); cfg.Username != "" {
		t.Errorf("a wrong password was kept")
	}
	where, err := Login(t.Context(), host, "ann", "s3cret", Options{})
	if err != nil || where != path {
		t.Fatalf("Login = %q, %v", where, err)
	}
	if cfg := found(t, host); cfg.Username != "ann" || cfg.Password != "s3cret" {
		t.Errorf("the keychain finds %q", cfg.Username)
	}
	data, _ := os.ReadFile(path)
	for _, want := range []string{`"email": "x@y"`, `1.50`, `"auth": "eDp5"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the file has lost %s:\n%s", want, data)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
	if err := Logout(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	if cfg := found(t, host); cfg.Username != "" {
		t.Error("still logged in")
	}
	if err := Logout(t.Context(), host); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("a second logout: %v", err)
	}
}

// TestLoginHelper checks Login and Logout with a shell script as the credential helper.
func TestLoginHelper(t *testing.T) {
	host := basicRegistry(t, "ann", "s3cret")
	bin, keep := t.TempDir(), filepath.Join(t.TempDir(), "kept")
	script := "#!/bin/sh\ncase $1 in store) cat > " + keep + ";; get) read key; if [ -e " + keep + " ]; then cat " + keep +
		"; else echo 'credentials not found in native keychain'; exit 1; fi;; erase) rm " + keep + ";; esac\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]string{
		"credsStore":  `{"credsStore":"test"}`,
		"credHelpers": `{"credsStore":"missing","credHelpers":{"` + host + `":"test"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := home(t, config)
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			if _, err := Login(t.Context(), host, "ann", "s3cret", Options{}); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(keep)
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ ServerURL, Username, Secret string }
			if err := json.Unmarshal(data, &got); err != nil || got.ServerURL != host || got.Username != "ann" || got.Secret != "s3cret" {
				t.Errorf("the helper got %s", data)
			}
			if data, _ := os.ReadFile(path); strings.Contains(string(data), `"auth":`) {
				t.Errorf("the file has it too: %s", data)
			}
			if cfg := found(t, host); cfg.Username != "ann" || cfg.Password != "s3cret" {
				t.Errorf("the keychain finds %q", cfg.Username)
			}
			if err := Logout(t.Context(), host); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(keep); err == nil {
				t.Error("the helper still has it")
			}
		})
	}
	t.Run("helper is missing", func(t *testing.T) {
		path := home(t, `{"credsStore":"missing"}`)
		if _, err := Login(t.Context(), host, "ann", "s3cret", Options{}); err == nil || !strings.Contains(err.Error(), "docker-credential-missing") {
			t.Errorf("error %v", err)
		}
		if data, _ := os.ReadFile(path); string(data) != `{"credsStore":"missing"}` {
			t.Errorf("the file was changed: %s", data)
		}
	})
}

func TestLoginFiles(t *testing.T) {
	host := basicRegistry(t, "ann", "s3cret")
	t.Run("none before", func(t *testing.T) {
		path := home(t, "")
		t.Setenv("DOCKER_CONFIG", "")
		if where, err := Login(t.Context(), host, "ann", "s3cret", Options{}); err != nil || where != path {
			t.Fatalf("Login = %q, %v", where, err)
		}
		if fi, err := os.Stat(filepath.Dir(path)); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("mode %v, %v", fi.Mode(), err)
		}
	})
	t.Run("DOCKER_CONFIG, and a link", func(t *testing.T) {
		real := filepath.Join(filepath.Dir(home(t, `{}`)), "config.json")
		dir := t.TempDir()
		t.Setenv("DOCKER_CONFIG", dir)
		if err := os.Symlink(real, filepath.Join(dir, "config.json")); err != nil {
			t.Fatal(err)
		}
		if where, err := Login(t.Context(), host, "ann", "s3cret", Options{}); err != nil || where != real {
			t.Fatalf("Login = %q, %v", where, err)
		}
		if fi, err := os.Lstat(filepath.Join(dir, "config.json")); err != nil || fi.Mode()&os.ModeSymlink == 0 {
			t.Errorf("the link was replaced: %v, %v", fi.Mode(), err)
		}
	})
	t.Run("podman's", func(t *testing.T) {
		home(t, "")
		auth := filepath.Join(t.TempDir(), "auth.json")
		if err := os.WriteFile(auth, []byte(`{"auths":{"other.example":{"auth":"eDp5"}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("REGISTRY_AUTH_FILE", auth)
		if where, err := Login(t.Context(), host, "ann", "s3cret", Options{}); err != nil || where != auth {
			t.Fatalf("Login = %q, %v", where, err)
		}
		if found(t, host).Username != "ann" || found(t, "other.example").Username != "x" {
			t.Error("not both are found")
		}
	})
	t.Run("broken", func(t *testing.T) {
		path := home(t, `{"auths":`)
		if _, err := Login(t.Context(), host, "ann", "s3cret", Options{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v", err)
		}
		if data, _ := os.ReadFile(path); string(data) != `{"auths":` {
			t.Errorf("the file was changed: %s", data)
		}
	})
	t.Run("not a host", func(t *testing.T) {
		for _, host := range []string{"", "ghcr.io/owner", "ann@ghcr.io"} {
			if _, err := Login(t.Context(), host, "ann", "s3cret", Options{}); err == nil || hint.Of(err) == "" {
				t.Errorf("%q: %v", host, err)
			}
		}
	})
}
