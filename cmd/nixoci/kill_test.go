package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/registry/registrytest"
)

// killer runs nixoci with a separate cache and separate directories, and kills it.
type killer struct {
	t     *testing.T
	dir   string // contains all that nixoci may write
	flags []string
	top   map[string]string
}

func newKiller(t *testing.T) *killer {
	_, key, systems := sampleSystems(t)
	cache, err := plainCache()
	if err != nil {
		t.Fatal(err)
	}
	k := &killer{t: t, dir: t.TempDir(), top: systems,
		flags: []string{"--quiet", "--compression", "none", "--from", "file://" + cache, "--trusted-public-key", key}}
	for _, d := range []string{"cache", "tmp", "out"} {
		if err := os.Mkdir(filepath.Join(k.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func (k *killer) command(args ...string) *exec.Cmd {
	k.t.Helper()
	program, err := exec.LookPath("nixoci") // testscript.Main has put this program on the PATH
	if err != nil {
		k.t.Fatal(err)
	}
	cmd := exec.Command(program, append(args, k.flags...)...)
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(k.dir, "cache"), "TMPDIR="+filepath.Join(k.dir, "tmp"), "DOCKER_CONFIG="+filepath.Join(k.dir, "docker"))
	return cmd
}

var printedDigest = regexp.MustCompile(`@(sha256:[0-9a-f]{64})\s*$`)

// ok runs nixoci and returns the digest that it prints. If nixoci fails, the test fails.
func (k *killer) ok(args ...string) digest.Digest {
	k.t.Helper()
	cmd := k.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		k.t.Fatalf("nixoci %s: %v\n%s", args, err, &stderr)
	}
	m := printedDigest.FindStringSubmatch(stdout.String())
	if m == nil {
		k.t.Fatalf("nixoci %s printed %q", args, &stdout)
	}
	return digest.Digest(m[1])
}

// swept checks that the run after a killed run has removed all temporary files. moment
// describes when the program was killed.
func (k *killer) swept(moment any) {
	k.t.Helper()
	err := filepath.WalkDir(k.dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && (atomicfile.IsTemp(d.Name()) || strings.HasPrefix(d.Name(), ".tmp-")) {
			k.t.Errorf("killed %v: %s is still there", moment, strings.TrimPrefix(name, k.dir))
		}
		return err
	})
	if err != nil {
		k.t.Fatal(err)
	}
}

var killsFlag = flag.Int("kills", 0, "kill the program so many times in each of TestKilledPush, TestKilledBuild/oci and TestKilledBuild/oci-archive")

// kills returns how many times each of the tests below kills the program.
func kills() int {
	if *killsFlag > 0 {
		return *killsFlag
	}
	if testing.Short() {
		return 3
	}
	return 20
}

// TestKilledPush kills a push at each of its requests, one after another. After each kill,
// the tag must name the old or the new image, and that image must be complete. The next push
// must succeed and remove temporary files.
func TestKilledPush(t *testing.T) {
	t.Parallel()
	k := newKiller(t)
	reg := registrytest.New()
	reg.Strict = true
	var at, seen atomic.Int64 // at: number of the request at which to kill, 0 for none; seen: number of requests so far
	var process atomic.Pointer[os.Process]
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := seen.Add(1); n == at.Load() {
			process.Load().Signal(syscall.SIGKILL)
			if n%2 == 0 { // in every second run, the registry still executes the last request of the killed program
				reg.ServeHTTP(httptest.NewRecorder(), r)
			}
			panic(http.ErrAbortHandler)
		}
		reg.ServeHTTP(w, r)
	}))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	old := k.ok("push", host+"/model:v1", k.top["sample-x86_64-linux"])
	seen.Store(0)
	want := k.ok("push", host+"/model:v1", k.top["sample-x86_64-linux-update"])
	requests := int(seen.Load())
	if requests < 10 {
		t.Fatalf("a push took %d requests", requests)
	}
	for i := range kills() {
		moment := 1 + i*requests/kills()
		repo := fmt.Sprintf("killed-%d", i)
		if err := os.RemoveAll(filepath.Join(k.dir, "cache")); err != nil {
			t.Fatal(err)
		}
		at.Store(0)
		if got := k.ok("push", host+"/"+repo+":v1", k.top["sample-x86_64-linux"]); got != old {
			t.Fatalf("the first image is %s, not %s", got, old)
		}
		cmd := k.command("push", host+"/"+repo+":v1", k.top["sample-x86_64-linux-update"])
		process.Store(nil)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		process.Store(cmd.Process)
		seen.Store(0)
		at.Store(int64(moment))
		cmd.Wait()
		at.Store(0)
		if now := reg.Tag(repo, "v1"); now != old && now != want {
			t.Errorf("killed at request %d: the tag names %q", moment, now)
		}
		if err := reg.Check(repo, "v1"); err != nil {
			t.Errorf("killed at request %d: %v", moment, err)
		}
		if got := k.ok("push", host+"/"+repo+":v1", k.top["sample-x86_64-linux-update"]); got != want || reg.Tag(repo, "v1") != want {
			t.Errorf("killed at request %d: the next push gives %s, not %s", moment, got, want)
		}
		k.swept(fmt.Sprintf("at request %d", moment))
	}
}

// TestKilledBuild kills a build at moments spread over its whole time. After each kill, the
// layout or archive must be complete or absent. The next build must succeed with the cache
// that the killed build left, and remove temporary files.
func TestKilledBuild(t *testing.T) {
	for kind, check := range map[string]func(path string) error{"oci": checkLayoutDir, "oci-archive": nil} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			k := newKiller(t)
			path := filepath.Join(k.dir, "out", "image")
			args := []string{"build", "-o", kind + ":" + path, k.top["sample-x86_64-linux"]}
			clean := func() {
				for _, d := range []string{"out", "cache"} {
					if err := errorsOf(os.RemoveAll(filepath.Join(k.dir, d)), os.Mkdir(filepath.Join(k.dir, d), 0o700)); err != nil {
						t.Fatal(err)
					}
				}
			}
			start := time.Now()
			want := k.ok(args...)
			whole := time.Since(start)
			var bytesOf []byte
			if kind == "oci-archive" {
				bytesOf = mustRead(t, path)
			}
			for i := range kills() {
				if i%2 == 0 {
					clean() // in the other runs, the files of the killed run are kept
				}
				cmd := k.command(args...)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				moment := whole * time.Duration(i+1) / time.Duration(kills()+1)
				timer := time.AfterFunc(moment, func() { cmd.Process.Kill() })
				cmd.Wait()
				timer.Stop()
				_, err := os.Lstat(path)
				switch {
				case os.IsNotExist(err):
				case err != nil:
					t.Fatal(err)
				case check != nil:
					if err := check(path); err != nil {
						t.Errorf("killed after %v: %v", moment, err)
					}
				case !bytes.Equal(mustRead(t, path), bytesOf):
					t.Errorf("killed after %v: an archive of %d bytes, not %d", moment, len(mustRead(t, path)), len(bytesOf))
				}
				if got := k.ok(args...); got != want {
					t.Errorf("killed after %v: the next build gives %s, not %s", moment, got, want)
				}
				k.swept(moment)
			}
		})
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// checkLayoutDir reports missing or damaged parts of an OCI layout. A directory
// without the file oci-layout is not a layout, so it passes.
func checkLayoutDir(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); os.IsNotExist(err) {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return err
	}
	return checkListed(dir, data)
}

func checkListed(dir string, document []byte) error {
	type listed struct {
		Digest    digest.Digest
		Size      int64
		MediaType string
	}
	var doc struct {
		Manifests, Layers []listed
		Config            *listed
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		return err
	}
	all := append(doc.Manifests, doc.Layers...)
	if doc.Config != nil {
		all = append(all, *doc.Config)
	}
	for _, l := range all {
		data, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", l.Digest.Encoded()))
		if err != nil {
			return err
		}
		if int64(len(data)) != l.Size || digest.FromBytes(data) != l.Digest {
			return fmt.Errorf("blob %s is %s", l.Digest, digest.FromBytes(data))
		}
		if strings.Contains(l.MediaType, "manifest") || strings.Contains(l.MediaType, "index") {
			if err := checkListed(dir, data); err != nil {
				return err
			}
		}
	}
	return nil
}
