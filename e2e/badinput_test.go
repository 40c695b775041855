//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// absent checks that a failed push left no tag and no manifest behind.
func absent(t *testing.T, repository string) {
	t.Helper()
	if got := tagDigest(t, repository, "v1"); got != "" {
		t.Errorf("%s: the tag is there: %s", repository, got)
	}
	revisions := filepath.Join(lab.memory, "registry/docker/registry/v2/repositories", repository, "_manifests/revisions")
	if entries, err := os.ReadDir(filepath.Join(revisions, "sha256")); err == nil && len(entries) > 0 {
		t.Errorf("%s: %d manifests are there", repository, len(entries))
	}
}

// overlaid returns a store that is an overlay on the large store. A test may damage the
// overlay; the large store does not change.
func overlaid(t *testing.T) string {
	t.Helper()
	dir := scratchDir(t)
	root := filepath.Join(dir, "root")
	for _, d := range []string{"upper", "work", "root/nix"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	opts := "lowerdir=" + lab.large + "/nix,upperdir=" + dir + "/upper,workdir=" + dir + "/work"
	command(t, "mount", "-t", "overlay", "-o", opts, "none", root+"/nix")
	t.Cleanup(func() { command(t, "umount", "-l", root+"/nix") })
	return root
}

// TestCorruptedStore changes one bit in one of 22,000 files. nixoci must find the damage.
func TestCorruptedStore(t *testing.T) {
	root := overlaid(t)
	graph := loadGraph(t, "large-x86_64-linux")
	i := slices.IndexFunc(graph, func(p storePath) bool { return strings.Contains(p.Path, "-openssl-3") })
	if i < 0 {
		t.Fatal("no openssl in the closure")
	}
	file := filepath.Join(root, graph[i].Path, "usr/bin/openssl")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.Chmod(file, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o755); err != nil {
		t.Fatal(err)
	}
	o := run{}.nixoci(t, args("push", registry(t)+"/corrupted:v1", "--from", root, toplevels(""))...)
	o.fails(t, 1, graph[i].Path, "narHash")
	got, _, err := narHash(filepath.Join(root, graph[i].Path))
	if err != nil {
		t.Fatal(err)
	}
	for _, sum := range []string{got, hexHash(t, graph[i].NarHash)} {
		if !mentions(o.stderr, sum) {
			t.Errorf("the message has no %s:\n%s", sum, o.stderr)
		}
	}
	absent(t, "corrupted")
	report(t, "one flipped bit: %s", message(o.stderr))
}

// mentions reports whether s contains a sha256, in hexadecimal or in SRI form.
func mentions(s, hexadecimal string) bool {
	b, err := hex.DecodeString(hexadecimal)
	return err == nil && (strings.Contains(s, hexadecimal) || strings.Contains(s, "sha256-"+base64.StdEncoding.EncodeToString(b)))
}

// message returns the last line that nixoci printed, not counting hints.
func message(stderr string) string {
	for _, line := range slices.Backward(strings.Split(strings.TrimSpace(stderr), "\n")) {
		if !strings.HasPrefix(line, "hint:") {
			return line
		}
	}
	return ""
}

// TestVanishedPath deletes a store path from the disk, but not from the database.
func TestVanishedPath(t *testing.T) {
	root := overlaid(t)
	graph := loadGraph(t, "large-x86_64-linux")
	i := slices.IndexFunc(graph, func(p storePath) bool { return strings.Contains(p.Path, "-jq-1") })
	if i < 0 {
		t.Fatal("no jq in the closure")
	}
	command(t, "rm", "-rf", filepath.Join(root, graph[i].Path))
	o := run{}.nixoci(t, args("push", registry(t)+"/vanished:v1", "--from", root, toplevels(""))...)
	o.fails(t, 1, graph[i].Path)
	absent(t, "vanished")
	report(t, "%s", message(o.stderr))
}

// TestUntrustedCache checks that nixoci rejects a binary cache with valid signatures by a key
// that is not trusted.
func TestUntrustedCache(t *testing.T) {
	for name, flags := range map[string][]string{
		"no-key":    nil,
		"other-key": {"--trusted-public-key", "nixoci-testdata-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="},
	} {
		o := run{}.nixoci(t, args("push", registry(t)+"/"+name+":v1", "--from", "file://"+binaryCache(), flags, toplevels(""))...)
		o.fails(t, 1, "/nix/store/", "sign")
		absent(t, name)
		report(t, "%s: %s", name, message(o.stderr))
	}
}

// TestTruncatedNar cuts a NAR of the cache in the middle.
func TestTruncatedNar(t *testing.T) {
	dir := filepath.Join(scratchDir(t), "cache")
	command(t, "cp", "-rs", binaryCache(), dir)
	graph := loadGraph(t, "large-x86_64-linux")
	i := slices.IndexFunc(graph, func(p storePath) bool { return strings.Contains(p.Path, "-git-2") })
	if i < 0 {
		t.Fatal("no git in the closure")
	}
	hash, _, _ := strings.Cut(filepath.Base(graph[i].Path), "-")
	narinfo, err := os.ReadFile(filepath.Join(dir, hash+".narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(narinfo)) {
		url, ok := strings.CutPrefix(strings.TrimSpace(line), "URL: ")
		if !ok {
			continue
		}
		nar := filepath.Join(dir, url)
		b, err := os.ReadFile(nar)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(nar); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(nar, b[:len(b)/2], 0o644); err != nil {
			t.Fatal(err)
		}
		o := run{}.nixoci(t, args("push", registry(t)+"/truncated:v1", "--from", "file://"+dir, "--trusted-public-key", lab.key, toplevels(""))...)
		o.fails(t, 1, filepath.Base(graph[i].Path))
		absent(t, "truncated")
		report(t, "%s", message(o.stderr))
		return
	}
	t.Fatal("no URL in the narinfo")
}

// TestFullDisk checks that nixoci reports a full disk. It writes an image of 500 MB to a disk
// that is full after 64 MB.
func TestFullDisk(t *testing.T) {
	dir := scratchDir(t)
	command(t, "mount", "-t", "tmpfs", "-o", "size=64m", "none", dir)
	t.Cleanup(func() { command(t, "umount", "-l", dir) })
	for _, dest := range []string{"oci:" + dir + "/layout", "oci-archive:" + dir + "/image.tar"} {
		o := run{}.nixoci(t, args("build", "-o", dest, fromStore(), toplevels(""))...)
		o.fails(t, 1, "no space left on device")
		left, err := filesBelow(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) > 0 {
			t.Errorf("build -o %s left %s", dest, strings.Join(left, " "))
			command(t, "find", dir, "-mindepth", "1", "-delete")
		}
		report(t, "build -o %s: %s", strings.Replace(dest, dir, "", 1), message(o.stderr))
	}
	// The archive goes to a standard output that is always full.
	o := run{prefix: []string{"sh", "-c", `"$@" >/dev/full`, "sh"}}.nixoci(t, args("build", "-o", "-", fromStore(), toplevels(""))...)
	o.fails(t, 1, "no space left on device")
}

func filesBelow(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != dir {
			files = append(files, strings.TrimPrefix(path, dir))
		}
		return err
	})
	return files, err
}

// interruptWhen sends SIGINT, as Ctrl-C does, when moment is closed. A fixed delay would not
// work: on a busy machine the program may not have started yet.
func interruptWhen(moment <-chan struct{}) func(*os.Process) {
	return func(p *os.Process) {
		go func() {
			<-moment
			p.Signal(syscall.SIGINT)
		}()
	}
}

// A gate is a proxy before the registry. It holds one request, which the function pick
// chooses, until the client disconnects.
type gate struct {
	host string
	kept chan struct{} // closed when the gate holds the request
	at   time.Time     // time at which the gate got that request
}

func newGate(t *testing.T, pick func(*http.Request) bool) *gate {
	t.Helper()
	g := &gate{kept: make(chan struct{})}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: registry(t)})
			r.Out.Host = r.In.Host
		},
		ErrorLog: log.New(io.Discard, "", 0), // do not log clients that disconnected
	}
	var mu sync.Mutex
	done := false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		keep := !done && pick(r)
		done = done || keep
		mu.Unlock()
		if !keep {
			proxy.ServeHTTP(w, r)
			return
		}
		io.Copy(io.Discard, r.Body) // the server notices a disconnect only after the end of the body
		g.at = time.Now()
		close(g.kept)
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	g.host = strings.TrimPrefix(s.URL, "http://")
	return g
}

// TestInterruptedPush checks that Ctrl-C during a push leaves an existing tag
// unchanged.
func TestInterruptedPush(t *testing.T) {
	ref := registry(t) + "/interrupted:v1"
	before := run{}.ok(t, args("push", ref, "--from", "file://"+smallCache(t), "--no-require-signatures", smallToplevels(t))...).digest(t)
	uploads := 0
	for _, m := range []struct {
		name string
		pick func(*http.Request) bool
	}{
		{"at the first request", func(*http.Request) bool { return true }},
		{"among the layers", func(r *http.Request) bool {
			if r.Method == http.MethodPost {
				uploads++
			}
			return uploads == 10
		}},
		{"at the first manifest", func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/")
		}},
	} {
		g := newGate(t, m.pick)
		o := run{signal: interruptWhen(g.kept)}.nixoci(t, args("push", g.host+"/interrupted:v1", fromStore(), "--compression", "gzip:1", toplevels(""))...)
		ended := time.Now()
		select {
		case <-g.kept:
		default:
			t.Fatalf("%s: the push asked for no such thing; exit code %d\n%s", m.name, o.code, o.end())
		}
		o.fails(t, 130)
		if got := tagDigest(t, "interrupted", "v1"); got != before {
			t.Errorf("after Ctrl-C %s the tag is %q, was %q", m.name, got, before)
		}
		took := ended.Sub(g.at)
		if took > patience {
			t.Errorf("Ctrl-C %s took %v", m.name, took)
		}
		report(t, "Ctrl-C %s: exit 130 within %.1f s, tag unmoved", m.name, took.Seconds())
	}
	// The program writes its files into dir or below it.
	dir := scratchDir(t)
	begun := make(chan struct{})
	go func() {
		for t.Context().Err() == nil {
			if files, err := filesBelow(dir); err == nil && len(files) > 0 {
				close(begun)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	o := run{signal: interruptWhen(begun)}.nixoci(t, args("build", "-o", "oci:"+dir+"/layout", fromStore(), toplevels(""))...)
	o.fails(t, 130)
	if left, err := filesBelow(dir); err != nil || len(left) > 0 {
		t.Errorf("build, interrupted, left %v (%v)", left, err)
	}
}

// smallCache returns the binary cache of the sample in testdata/.
func smallCache(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../testdata/cache")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func smallToplevels(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../testdata/systems.json")
	if err != nil {
		t.Fatal(err)
	}
	var systems map[string]string
	if err := json.Unmarshal(b, &systems); err != nil {
		t.Fatal(err)
	}
	return []string{systems["sample-x86_64-linux"], systems["sample-aarch64-linux"]}
}

// TestBadRegistries pushes to a registry that does not exist, and to a registry that answers
// every request with an error.
func TestBadRegistries(t *testing.T) {
	small := args("--from", "file://"+smallCache(t), "--no-require-signatures", smallToplevels(t))

	o := run{timeout: 3 * time.Minute}.nixoci(t, args("push", fmt.Sprintf("127.0.0.1:%d/nobody:v1", freePort(t)), small)...)
	o.fails(t, 1, "connection refused")
	report(t, "not there: %s", message(o.stderr))

	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	defer failing.Close()
	o = run{timeout: 3 * time.Minute}.nixoci(t, args("push", strings.TrimPrefix(failing.URL, "http://")+"/broken:v1", small)...)
	o.fails(t, 1, "500")
	report(t, "answers 500 (gave up after %.0f s): %s", o.wall.Seconds(), message(o.stderr))

	denying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			w.WriteHeader(404)
			return
		}
		w.WriteHeader(403)
		w.Write([]byte(`{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`))
	}))
	defer denying.Close()
	o = run{timeout: time.Minute}.nixoci(t, args("push", strings.TrimPrefix(denying.URL, "http://")+"/denied:v1", small)...)
	o.fails(t, 1, "denied", "hint:")
	report(t, "no permission: %s", message(o.stderr))
}

// TestHangingRegistry pushes to a registry that accepts the connection and
// never answers.
func TestHangingRegistry(t *testing.T) {
	t.Parallel() // this test waits for minutes
	small := args("--from", "file://"+smallCache(t), "--no-require-signatures", smallToplevels(t))
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	called := make(chan struct{})
	go func() {
		var open []net.Conn // without a reference, the garbage collector would close a connection
		for {
			conn, err := silent.Accept()
			if err != nil {
				for _, c := range open {
					c.Close()
				}
				return
			}
			if open = append(open, conn); len(open) == 1 {
				close(called)
			}
		}
	}()
	ref := silent.Addr().String() + "/silent:v1"
	// Without Ctrl-C the push ends with an error, too, but with another exit code.
	o := run{signal: interruptWhen(called)}.nixoci(t, args("push", ref, small)...)
	o.fails(t, 130)
	report(t, "hangs: Ctrl-C ends it %.1f s after the start", o.wall.Seconds())
	o = run{timeout: 8 * time.Minute}.nixoci(t, args("push", ref, small)...)
	o.fails(t, 1, silent.Addr().String())
	if o.wall > 3*time.Minute {
		t.Errorf("it gave up after %v", o.wall)
	}
	report(t, "hangs (gave up after %.0f s): %s", o.wall.Seconds(), message(o.stderr))
}

// TestRegistryDiesAndComesBack stops the registry during a push and starts it again. The push
// must continue. docker-registry keeps the blobs that were completely uploaded.
func TestRegistryDiesAndComesBack(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	conf := filepath.Join(scratchDir(t), "registry.yml")
	if err := os.WriteFile(conf, fmt.Appendf(nil, registryConf, filepath.Join(lab.memory, "mortal"), addr), 0o644); err != nil {
		t.Fatal(err)
	}
	serve := func() *exec.Cmd {
		cmd := exec.Command("docker-registry", "serve", conf)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if answers("http://"+addr+"/v2/") == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		return cmd
	}
	first := serve()
	second := make(chan *exec.Cmd, 1)
	o := run{signal: func(*os.Process) {
		go func() {
			time.Sleep(3 * time.Second)
			first.Process.Kill()
			first.Wait()
			time.Sleep(time.Second)
			second <- serve()
		}()
	}}.nixoci(t, args("push", addr+"/mortal:v1", fromStore(), "--compression", "gzip:1", toplevels("")[:1])...)
	cmd := <-second
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	if o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	if out := command(t, lab.crane, "validate", "--insecure", "--remote", addr+"/mortal:v1"); !strings.Contains(out, "PASS") {
		t.Errorf("crane validate: %s", out)
	}
	report(t, "a registry that was killed for a second: push succeeds, crane validate passes")
}
