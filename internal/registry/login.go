package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
)

// Login checks a user's password or token with the registry at host. It stores the password or
// token in the credential helper that Docker's config file names. If the file names no helper,
// Login stores it in the file. [Open] finds it in either place. where is the path of the config
// file.
func Login(ctx context.Context, host, user, secret string, o Options) (where string, err error) {
	reg, err := parseHost(host)
	if err != nil {
		return "", err
	}
	if user == "" || secret == "" {
		return "", fmt.Errorf("log in to %s: user and password must not be empty", reg.RegistryStr())
	}
	if strings.Contains(user, ":") {
		return "", fmt.Errorf("log in to %s: a user name cannot contain a colon", reg.RegistryStr())
	}
	if err := checkLogin(ctx, reg, user, secret, o); err != nil {
		return "", fmt.Errorf("log in to %s: %w", reg.RegistryStr(), err)
	}
	where, err = editConfig(ctx, func(c *dockerConfig) error {
		key := authKey(reg)
		if h := c.helper(key); h != "" {
			err := helper(h).run(ctx, credentials.ActionStore, func(p client.ProgramFunc) error {
				return client.Store(p, &credentials.Credentials{ServerURL: key, Username: user, Secret: secret})
			})
			if err != nil {
				return err
			}
			c.auths[key] = json.RawMessage("{}") // docker login does the same
			return nil
		}
		auth, err := json.Marshal(map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))})
		c.auths[key] = auth
		return err
	})
	if err != nil {
		return "", fmt.Errorf("store the credentials for %s: %w", reg.RegistryStr(), err)
	}
	return where, nil
}

// Logout deletes the credentials that Login or docker login stored for host. If nothing is stored,
// it returns an error that wraps [oci.ErrNotFound].
func Logout(ctx context.Context, host string) error {
	reg, err := parseHost(host)
	if err != nil {
		return err
	}
	_, err = editConfig(ctx, func(c *dockerConfig) error {
		key := authKey(reg)
		_, found := c.auths[key]
		delete(c.auths, key)
		if h := c.helper(key); h != "" {
			err := helper(h).run(ctx, credentials.ActionErase, func(p client.ProgramFunc) error { return client.Erase(p, key) })
			switch {
			case err == nil:
				found = true
			case !strings.Contains(err.Error(), credentials.NewErrCredentialsNotFound().Error()):
				return err
			}
		}
		if !found {
			return oci.ErrNotFound
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove the credentials for %s: %w", reg.RegistryStr(), err)
	}
	return nil
}

func parseHost(host string) (name.Registry, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://"), "/")
	reg, err := name.NewRegistry(bare, name.StrictValidation)
	if err != nil || strings.ContainsAny(bare, "/@") {
		return reg, hint.Add(fmt.Errorf("parse registry %q: not a host name", host), "name the registry alone, such as ghcr.io")
	}
	return reg, nil
}

// authKey returns the key under which Docker's files store a registry's
// credentials.
func authKey(reg name.Registry) string {
	if reg.RegistryStr() == name.DefaultRegistry {
		return authn.DefaultAuthKey
	}
	return reg.RegistryStr()
}

type staticKeychain authn.AuthConfig

func (k staticKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig(k)), nil
}

// checkLogin requests the root of the registry's API. The request succeeds only if the registry
// accepts the user.
func checkLogin(ctx context.Context, reg name.Registry, user, secret string, o Options) error {
	o.Keychain = staticKeychain{Username: user, Password: secret}
	c := new(counters)
	w, err := newWire(o, c)
	if err != nil {
		return err
	}
	defer w.close()
	auth := newAuthenticator(reg, reg, o, w, nil)
	httpClient := &http.Client{Transport: auth, CheckRedirect: auth.checkRedirect}
	u := url.URL{Scheme: "https", Host: reg.RegistryStr(), Path: "/v2/"}
	err = (&retrier{counters: c}).do(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer time.AfterFunc(answerTimeout, func() { cancel(errNoAnswer) }).Stop()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return err
		}
		resp, err := httpClient.Do(req)
		if err != nil {
			if context.Cause(ctx) == errNoAnswer {
				return errNoAnswer
			}
			return redactError(err)
		}
		if resp.StatusCode != http.StatusOK {
			return responseError(resp)
		}
		discard(resp)
		return nil
	})
	if s := status(err); s == http.StatusUnauthorized || s == http.StatusForbidden {
		return hint.Add(err, "the registry does not accept this user and password; many want a token in place of the password")
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return hint.Add(err, "the registry speaks plain http: add --insecure if the password may go over the network unprotected")
	}
	return err
}

// dockerConfig holds the content of Docker's config.json. It keeps fields that nixoci does not use.
// The package of docker/cli would drop these fields.
type dockerConfig struct {
	fields      map[string]json.RawMessage
	auths       map[string]json.RawMessage
	credsStore  string
	credHelpers map[string]string
}

// helper returns the name of the credential helper for key. If there is no helper, it returns "".
func (c *dockerConfig) helper(key string) string {
	if h, ok := c.credHelpers[key]; ok {
		return h // "" means that this registry has no helper
	}
	return c.credsStore
}

// configPath returns the path of the file that stores credentials. This is Docker's file. If only
// podman's file exists, configPath returns the path of podman's file.
func configPath() (string, error) {
	dir := os.Getenv("DOCKER_CONFIG")
	home, err := os.UserHomeDir()
	if dir == "" {
		if err != nil {
			return "", fmt.Errorf("find Docker's config file: %w", err)
		}
		dir = filepath.Join(home, ".docker")
	}
	docker := filepath.Join(dir, "config.json")
	config := os.Getenv("XDG_CONFIG_HOME")
	if config == "" && home != "" {
		config = filepath.Join(home, ".config")
	}
	candidates := []string{docker, os.Getenv("REGISTRY_AUTH_FILE")}
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), config} {
		if dir != "" {
			candidates = append(candidates, filepath.Join(dir, "containers", "auth.json"))
		}
	}
	for _, path := range candidates {
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
			return path, nil
		}
	}
	return docker, nil
}

// editConfig changes the config file under a lock. The file changes completely or not at all. Only
// the file's owner may read it afterwards.
func editConfig(ctx context.Context, edit func(*dockerConfig) error) (path string, err error) {
	path, err = configPath()
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	unlock, err := atomicfile.Lock(ctx, dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	c := &dockerConfig{fields: map[string]json.RawMessage{}, auths: map[string]json.RawMessage{}}
	data, err := limit.ReadFile(path, limit.DockerConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &c.fields); err != nil {
			return "", fmt.Errorf("read %s: %w", path, err)
		}
	}
	for key, v := range map[string]any{"auths": &c.auths, "credsStore": &c.credsStore, "credHelpers": &c.credHelpers} {
		if raw, ok := c.fields[key]; ok {
			if err := json.Unmarshal(raw, v); err != nil {
				return "", fmt.Errorf("read %s: field %s: %w", path, key, err)
			}
		}
	}
	if c.fields == nil { // the file contained null
		c.fields = map[string]json.RawMessage{}
	}
	if c.auths == nil { // the field was null
		c.auths = map[string]json.RawMessage{}
	}
	if err := edit(c); err != nil {
		return "", err
	}
	if c.fields["auths"], err = json.Marshal(c.auths); err != nil {
		return "", err
	}
	if data, err = json.MarshalIndent(c.fields, "", "\t"); err != nil {
		return "", err
	}
	if err := atomicfile.WritePrivate(path, append(data, '\n')); err != nil {
		return "", err
	}
	return path, nil
}
