package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/task"
)

// unreachedError means that the engine did not connect to the address where nixoci serves the
// image.
type unreachedError struct{ error }

// pull serves the image until the engine has pulled it. Then it gives the image its names.
func (e *Engine) pull(ctx context.Context) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return &unreachedError{err}
	}
	// Other users of this machine can connect, but they do not know the name of the
	// repository.
	secret := make([]byte, 16)
	_, _ = rand.Read(secret) // rand.Read never fails
	repository := "nixoci/" + hex.EncodeToString(secret)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &server{engine: e, repository: repository, failed: cancel}
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // Docker tries https first
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	task.Go(func() { _ = srv.Serve(listener) }) // Serve returns at Close
	defer srv.Close()

	from := listener.Addr().String() + "/" + repository + "@" + e.top.String()
	if err := e.run(ctx, nil, nil, e.pullLine(from)...); err != nil {
		if ctx.Err() == nil && !s.asked.Load() {
			return &unreachedError{err}
		}
		return err
	}
	err = e.tag(ctx, from)
	// Remove the name with the address even if the user has pressed Ctrl-C.
	return errors.Join(err, e.run(context.WithoutCancel(ctx), nil, nil, "rmi", from))
}

// tag gives the pulled image its names.
func (e *Engine) tag(ctx context.Context, from string) error {
	for _, name := range e.names {
		if err := e.run(ctx, nil, nil, "tag", from, name); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) pullLine(from string) []string {
	line := []string{"pull", "--quiet"}
	if e.program == Podman {
		line = append(line, "--tls-verify=false")
	}
	if e.Platform != "" {
		line = append(line, "--platform", e.Platform)
	}
	return append(line, from)
}

// load gives the engine an archive that contains all layers.
func (e *Engine) load(ctx context.Context) error {
	r, w := io.Pipe()
	defer r.Close()
	task.Go(func() { w.CloseWithError(e.archive(ctx, w)) })
	return e.run(ctx, r, nil, "load", "--quiet")
}

// archive writes an archive that every version of the engine can load.
func (e *Engine) archive(ctx context.Context, w io.Writer) error {
	pipe, err := layout.PipeArchive(w)
	if err != nil {
		return err
	}
	defer pipe.Close()
	for _, d := range e.order {
		if _, err := pipe.PutLayer(ctx, nil, func(ctx context.Context, w io.Writer) (layers.Packed, error) { return e.layers[d].write(ctx, w) }); err != nil {
			return err
		}
	}
	for _, b := range e.blobs {
		if err := pipe.PutBlob(ctx, b); err != nil {
			return err
		}
	}
	for _, b := range e.manifests {
		if err := pipe.PutManifest(ctx, b, ""); err != nil {
			return err
		}
	}
	for _, name := range e.names {
		if err := pipe.PutManifest(ctx, e.manifests[e.top], name); err != nil {
			return err
		}
	}
	return pipe.Commit(ctx)
}

// lookup finds the engine's program.
func (e *Engine) lookup() (string, error) {
	program, err := exec.LookPath(e.command)
	if err != nil {
		return "", hint.Add(fmt.Errorf("load into %s: %w", e.program, err), "write a file that can be loaded elsewhere: -o oci-archive:FILE")
	}
	return program, nil
}

// grace is how long the engine's program may run after an interrupt before it is killed.
const grace = 5 * time.Second

// run runs the engine's program. If the program fails, the error contains its messages.
func (e *Engine) run(ctx context.Context, stdin io.Reader, stdout io.Writer, args ...string) error {
	program, err := e.lookup()
	if err != nil {
		return err
	}
	defer e.ran(time.Now())
	output := &tail{}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, output
	cmd.WaitDelay = grace
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		return nil
	}
	err = fmt.Errorf("%s %s: %w", e.command, args[0], err)
	if text := strings.TrimSpace(string(output.text)); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// OwnPlatform asks the engine for the platform of its machine.
func (e *Engine) OwnPlatform(ctx context.Context) (string, error) {
	args := []string{"version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"}
	if e.program == Podman {
		args = []string{"info", "--format", "{{.Host.OS}}/{{.Host.Arch}}"}
	}
	var out bytes.Buffer
	err := e.run(ctx, nil, &out, args...)
	return strings.TrimSpace(out.String()), err
}

// tail keeps the last bytes that were written to it.
type tail struct{ text []byte }

const tailSize = 2000 // bytes; an error of an engine has one or two lines

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if len(t.text) > tailSize {
		t.text = append([]byte(nil), t.text[len(t.text)-tailSize:]...)
	}
	return len(p), nil
}

// server is the part of a registry that a pull needs
// (https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pull).
type server struct {
	engine     *Engine
	repository string
	asked      atomic.Bool // a client that knows the repository has sent a request
	failed     func(error)
}

func (s *server) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	defer task.Guard()
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	if q.Method != http.MethodGet && q.Method != http.MethodHead {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	rest, ours := strings.CutPrefix(q.URL.Path, "/v2/"+s.repository+"/")
	switch {
	case strings.TrimSuffix(q.URL.Path, "/") == "/v2":
		return
	case !ours:
		http.NotFound(w, q)
		return
	}
	s.asked.Store(true)
	kind, base := path.Split(rest)
	d := digest.Digest(base)
	switch kind {
	case "manifests/":
		if b, ok := s.engine.manifests[d]; ok {
			reply(w, b.Descriptor.MediaType, d, b.Data)
			return
		}
	case "blobs/":
		if b, ok := s.engine.blobs[d]; ok {
			reply(w, "application/octet-stream", d, b.Data)
			return
		}
		if l, ok := s.engine.layers[d]; ok {
			s.layer(w, q, l)
			return
		}
	}
	http.NotFound(w, q)
}

func reply(w http.ResponseWriter, mediaType string, d digest.Digest, data []byte) {
	head(w, mediaType, d, int64(len(data)))
	_, _ = w.Write(data) // an error means that the client is gone
}

func head(w http.ResponseWriter, mediaType string, d digest.Digest, size int64) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
}

// layer sends a layer. If the layer cannot be made, the engine would ask for it again and
// again. So layer then ends the pull.
func (s *server) layer(w http.ResponseWriter, q *http.Request, l *layer) {
	head(w, "application/octet-stream", l.Digest, l.Size)
	if q.Method == http.MethodHead {
		return
	}
	s.engine.sent(l)
	if l.data == nil {
		s.engine.makes(1)
		defer s.engine.makes(-1)
	}
	out := &response{w: w, size: l.Size}
	if _, err := l.write(q.Context(), out); err != nil {
		if out.err == nil && q.Context().Err() == nil {
			s.failed(err)
		}
		// The server closes the connection, since bytes are missing.
		return
	}
	_, _ = w.Write(out.last) // an error means that the client is gone
}

// response records whether writing to the engine failed. It holds back the last byte of a
// layer, so that the engine never gets a whole layer that has another digest than the
// recorded one. Otherwise the engine could end with an error of its own before nixoci has
// compared the digests.
type response struct {
	w    io.Writer
	size int64  // number of bytes of the layer that were not yet written
	last []byte // the last byte; bytes after it are dropped, and then the digest differs
	err  error
}

func (r *response) Write(p []byte) (int, error) {
	now := min(int64(len(p)), max(r.size-1, 0))
	n, err := r.w.Write(p[:now])
	r.size -= int64(n)
	if err != nil {
		r.err = errors.Join(r.err, err)
		return n, err
	}
	if rest := p[now:]; len(rest) > 0 && len(r.last) == 0 {
		r.last = []byte{rest[0]}
	}
	return len(p), nil
}
