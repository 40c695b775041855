package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
)

// fileKeychain finds credentials in the same places as go-containerregistry's DefaultKeychain.
// DefaultKeychain waits forever for a credential helper, and keeps all of the helper's output in
// memory, however large.
type fileKeychain struct{}

// Resolve implements [authn.Keychain].
func (k fileKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext implements [authn.ContextKeychain]. It prefers credentials for the repository to
// credentials for the registry.
func (fileKeychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	path, err := configPath()
	var data []byte
	if err == nil { // without a home directory there is no config file
		data, err = limit.ReadFile(path, limit.DockerConfig)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	file, err := config.LoadFromReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	// Read the helpers from the file and then remove them from it. Otherwise the library would run
	// them without a time limit.
	helpers := dockerConfig{credsStore: file.CredentialsStore, credHelpers: file.CredentialHelpers}
	file.CredentialsStore, file.CredentialHelpers = "", nil
	for _, key := range []string{target.String(), target.RegistryStr()} {
		if key == name.DefaultRegistry {
			key = authn.DefaultAuthKey
		}
		cfg, err := file.GetAuthConfig(key)
		if err != nil {
			return nil, err
		}
		found := authn.AuthConfig{Username: cfg.Username, Password: cfg.Password, Auth: cfg.Auth,
			IdentityToken: cfg.IdentityToken, RegistryToken: cfg.RegistryToken}
		inEnvironment := os.Getenv(configfile.DockerEnvConfigKey) != "" && found != authn.AuthConfig{}
		if h := helpers.helper(key); h != "" && !inEnvironment {
			if found, err = helper(h).get(ctx, key); err != nil {
				return nil, err
			}
		}
		if found != (authn.AuthConfig{}) {
			return authn.FromConfig(found), nil
		}
	}
	return authn.Anonymous, nil
}

// helper is the name of a credential helper without the prefix
// docker-credential-.
type helper string

// program returns the name of the helper's program.
func (h helper) program() string { return "docker-credential-" + string(h) }

// run passes ask a function that starts the helper's program. If ask fails, run returns an error
// that names the helper.
func (h helper) run(ctx context.Context, action string, ask func(client.ProgramFunc) error) error {
	var call *helperCall
	err := ask(func(args ...string) client.Program {
		call = &helperCall{ctx: ctx, program: h.program(), args: args}
		return call
	})
	switch {
	case err == nil:
		return nil
	case call.broken != nil: // the helper's output would not help the user
		return hint.Add(fmt.Errorf("%s %s: %w", h.program(), action, call.broken),
			"run it by hand: echo HOST | "+h.program()+" get")
	}
	return fmt.Errorf("%s %s: %w", h.program(), action, err)
}

// get asks the helper for the credentials for key. If the helper has no credentials for key, get
// returns an empty AuthConfig and no error.
func (h helper) get(ctx context.Context, key string) (authn.AuthConfig, error) {
	var found authn.AuthConfig
	err := h.run(ctx, credentials.ActionGet, func(p client.ProgramFunc) error {
		c, err := client.Get(p, key)
		switch {
		case credentials.IsErrCredentialsNotFound(err):
		case err != nil:
			return err
		case c.Username == "<token>":
			found.IdentityToken = c.Secret
		default:
			found.Username, found.Password = c.Username, c.Secret
		}
		return nil
	})
	return found, err
}

// helperCall describes one run of a helper. The run may take limit.HelperTime and print
// limit.HelperOutput. The helper may ask the user something, so its standard error is nixoci's own.
type helperCall struct {
	ctx     context.Context
	program string
	args    []string
	in      io.Reader
	broken  error // set if the helper took too long or printed too much
}

func (c *helperCall) Input(in io.Reader) { c.in = in }

// These are variables so that tests can shorten them.
var (
	helperTime = limit.HelperTime
	helperPipe = time.Second // a child process of the helper may keep the pipe open for this time
)

func (c *helperCall) Output() ([]byte, error) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	timer := time.AfterFunc(helperTime, func() { cancel(fmt.Errorf("no answer for %s", helperTime)) })
	defer timer.Stop()
	cmd := exec.CommandContext(ctx, c.program, c.args...)
	cmd.WaitDelay = helperPipe
	out := &boundedBuffer{max: limit.HelperOutput, full: cancel}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, out, os.Stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		c.broken = context.Cause(ctx)
		return nil, c.broken
	}
	return out.buf.Bytes(), err
}

// boundedBuffer holds at most max bytes. A write beyond this limit fails and calls full.
type boundedBuffer struct {
	buf  bytes.Buffer // not embedded, because its ReadFrom has no limit
	max  int
	full context.CancelCauseFunc
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > b.max {
		err := &limit.Error{What: "its output", Max: int64(b.max)}
		b.full(err)
		return 0, err
	}
	return b.buf.Write(p)
}
