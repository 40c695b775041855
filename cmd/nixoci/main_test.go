package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/engine/enginetest"
	"github.com/nixoci/nixoci/internal/manifest"
)

// programs maps names to main functions. The test binary can run as each of these programs.
var programs = map[string]func(){"nixoci": mainWithSmallInit, workerName: work, "docker": enginetest.Main, "podman": enginetest.Main}

func TestMain(m *testing.M) {
	// In tests, nixoci waits only a little before it tries again, in this process and in the
	// programs that it starts.
	retrySchedule.Delay = func(int) time.Duration { return 10 * time.Millisecond }
	joinSettle = 10 * time.Millisecond // scripts join one platform after the other
	testscript.Main(tests{m}, programs)
}

// mainWithSmallInit is the main function of nixoci. In an environment with [smallInitVariable],
// the images get a small init program.
func mainWithSmallInit() {
	if os.Getenv(smallInitVariable) != "" {
		useSmallInit()
	}
	main()
}

// systemsIn returns the public key and the toplevels of the systems in a directory that
// testdata/README.md describes. Its second argument is the first part of the systems' names.
func systemsIn(t *testing.T, dir, name string) (key string, systems map[string]string) {
	t.Helper()
	key = strings.TrimSpace(string(mustRead(t, filepath.Join(dir, "public-key"))))
	if err := json.Unmarshal(mustRead(t, filepath.Join(dir, "systems.json")), &systems); err != nil || systems[name+"-x86_64-linux"] == "" {
		t.Fatalf("systems.json in %s: %v, %v", dir, systems, err)
	}
	return key, systems
}

// sampleSystems returns the directory of the sample systems, the public key for their
// signatures, and their toplevels by name.
func sampleSystems(t *testing.T) (dir, key string, systems map[string]string) {
	t.Helper()
	dir, err := filepath.Abs("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	key, systems = systemsIn(t, dir, "sample")
	return dir, key, systems
}

// scriptSystems returns the variables $CACHE, $KEY, $AMD, $ARM, $AMD2, $ARM2 and $AMDJSON of
// scripts. The key of the result is "small" or "sample", the name of the systems.
func scriptSystems(t *testing.T) map[string]map[string]string {
	t.Helper()
	sample, _, _ := sampleSystems(t)
	small := filepath.Join(sample, "small")
	cache, err := plainCache()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]string{}
	for name, dirs := range map[string]struct{ systems, cache string }{
		"small":  {small, filepath.Join(small, "cache")},
		"sample": {sample, cache},
	} {
		key, systems := systemsIn(t, dirs.systems, name)
		all[name] = map[string]string{
			"CACHE":   "file://" + dirs.cache,
			"KEY":     key,
			"AMD":     systems[name+"-x86_64-linux"],
			"ARM":     systems[name+"-aarch64-linux"],
			"AMD2":    systems[name+"-x86_64-linux-update"],
			"ARM2":    systems[name+"-aarch64-linux-update"],
			"AMDJSON": filepath.Join(dirs.systems, name+"-x86_64-linux.json"),
		}
	}
	return all
}

// TestScripts runs the command line as a user would. Each script has its own registry, and
// the small systems of testdata/small/. If a script begins with the command "sample", it has
// the sample systems of testdata/ instead, in an uncompressed binary cache. Images of the
// small systems get a small program as /sbin/init, and images of the sample systems get
// nixoci-init (see [useSmallInit]).
//
//	$REGISTRY  host:port of an empty registry
//	$DENY      a registry that refuses every push
//	$BROKEN    a registry that answers every request with 500
//	$CACHE     URL of the binary cache, signed with $KEY
//	$AMD $ARM  toplevels; $AMD2 and $ARM2 are the same systems after an update
//	$AMDJSON   graph file of $AMD
//	$NIXOCI    directory that contains only nixoci, docker and podman
//
// Here docker and podman are the program of package enginetest. It stores its data in
// $WORK/engine.
//
// A script runs the program in two ways. "exec nixoci" starts a process. "call nixoci" calls
// the function run in a process that exists already, which takes less time (see [workers]).
//
// TestScripts runs beside the tests that kill nixoci. If coverage is measured, it runs alone,
// because calls then change the environment and the directory of this process.
func TestScripts(t *testing.T) {
	if testing.CoverMode() == "" {
		t.Parallel()
	}
	systems := scriptSystems(t)
	free := startWorkers(t)
	dir, err := filepath.Abs("testdata/script") // absolute, because the directory of this process changes
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts found: %v", err)
	}
	slices.SortStableFunc(scripts, func(a, b string) int { return cmp.Compare(fileSize(t, b), fileSize(t, a)) }) // long scripts begin first
	path := os.Getenv("PATH")
	program, err := exec.LookPath("nixoci")
	if err != nil {
		t.Fatal(err)
	}
	variables := map[string][]string{}
	for _, file := range scripts {
		for _, m := range envLine.FindAllStringSubmatch(string(mustRead(t, file)), -1) {
			name := strings.TrimSuffix(filepath.Base(file), ".txtar")
			variables[name] = append(variables[name], m[1])
		}
	}
	testscript.Run(t, testscript.Params{
		Files:               scripts,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, ".cache"))
			env.Setenv("NIX_CONF_DIR", env.WorkDir) // nixoci must trust only the keys that a script names
			env.Setenv(enginetest.DirVariable, filepath.Join(env.WorkDir, "engine"))
			for name, value := range systems["small"] {
				env.Setenv(name, value)
			}
			env.Setenv(smallInitVariable, "1")
			env.Setenv("PATH", path) // not the PATH of this process, which may be that of another script now
			env.Setenv("NIXOCI", filepath.Dir(program))
			for name, h := range map[string]http.Handler{
				"REGISTRY": registry.New(registry.WithReferrersSupport(true), registry.Logger(discardLog)),
				"DENY":     http.HandlerFunc(denyPush),
				"BROKEN":   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }),
			} {
				s := httptest.NewServer(h)
				env.Defer(s.Close)
				env.Setenv(name, strings.TrimPrefix(s.URL, "http://"))
			}
			names := append(namesOf(env.Vars), variables[strings.TrimPrefix(env.T().(testing.TB).Name(), t.Name()+"/")]...)
			env.Values[variableNames{}] = &names
			env.Values[workersKey{}] = free
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"sample": func(ts *testscript.TestScript, neg bool, args []string) {
				for name, value := range systems["sample"] {
					ts.Setenv(name, value)
				}
				ts.Setenv(smallInitVariable, "")
			},
			"call":        cmdCall,
			"exits":       cmdExits,
			"tags":        cmdTags,
			"unpackstore": cmdUnpackStore,
			"flipbit":     cmdFlipBit,
			"edit":        cmdEdit,
			"same":        cmdSame,
			"oneerror":    cmdOneError,
			"signatures":  cmdSignatures,
			"baseimage":   cmdBaseImage,
			"lastlayer":   cmdLastLayer,
			"rebuilds":    cmdRebuilds,
			"sigstore":    cmdSigstore,
			"token":       cmdToken,
		},
	})
}

func fileSize(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

var discardLog = log.New(io.Discard, "", 0)

func denyPush(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.URL.Path == "/v2/" {
		return
	}
	status := http.StatusForbidden
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		status = http.StatusNotFound
	}
	w.WriteHeader(status)
	fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`)
}

// envLine matches a line of a script that sets an environment variable.
var envLine = regexp.MustCompile(`(?m)^(?:\[.*\] )?env ([A-Za-z_]+)=`)

// variableNames is the key under which a script's Env holds a *[]string, the names of all
// environment variables that the script can have.
type variableNames struct{}

// setenv sets an environment variable of a script. Commands must use setenv instead of
// ts.Setenv, so that [callNixoci] finds the variable.
func setenv(ts *testscript.TestScript, name, value string) {
	names := ts.Value(variableNames{}).(*[]string)
	*names = append(*names, name)
	ts.Setenv(name, value)
}

// workersKey is the key under which a script's Env holds the [workers].
type workersKey struct{}

func namesOf(vars []string) (names []string) {
	for _, v := range vars {
		name, _, _ := strings.Cut(v, "=")
		names = append(names, name)
	}
	return names
}

// callNixoci runs nixoci in the environment and directory of the script, and returns its exit
// code. The command has no input.
func callNixoci(ts *testscript.TestScript, args []string) int {
	c := call{Dir: ts.MkAbs("."), Args: args}
	for _, name := range *ts.Value(variableNames{}).(*[]string) {
		if value := ts.Getenv(name); value != "" {
			c.Env = append(c.Env, name+"="+value)
		}
	}
	r, err := ts.Value(workersKey{}).(workers).do(c)
	ts.Check(err)
	ts.Stdout().Write(r.Stdout)
	ts.Stderr().Write(r.Stderr)
	return r.Code
}

// cmdCall runs nixoci in a worker: call nixoci ARG...
func cmdCall(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 || args[0] != "nixoci" {
		ts.Fatalf("usage: call nixoci ARG...")
	}
	code := callNixoci(ts, args[1:])
	if neg != (code != exitOK) {
		ts.Fatalf("exit code %d", code)
	}
}

// cmdExits runs a program and checks its exit code. In scripts, the command has the form
// exits 3 nixoci ARG…
// It runs nixoci in a worker.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	code := 0
	var exit *exec.ExitError
	if args[1] == "nixoci" {
		code = callNixoci(ts, args[2:])
	} else if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if want, _ := strconv.Atoi(args[0]); code != want {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// cmdOneError checks that stderr contains one error and at most one hint. Usage text, a stack
// trace or a repeated line is not allowed.
func cmdOneError(ts *testscript.TestScript, neg bool, args []string) {
	lines := strings.Split(strings.TrimRight(ts.ReadFile("stderr"), "\n"), "\n")
	if !strings.HasPrefix(lines[0], "nixoci: ") {
		ts.Fatalf("stderr does not begin with an error: %q", lines[0])
	}
	for _, l := range lines[1:] {
		if !strings.HasPrefix(l, "hint: ") {
			ts.Fatalf("more than an error and its hint on stderr: %q", l)
		}
	}
	for _, want := range args {
		if !strings.Contains(lines[0], want) {
			ts.Fatalf("the error does not name %q: %s", want, lines[0])
		}
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("stdout has %q", out)
	}
}

// cmdTags checks that a repository has exactly these tags: tags HOST/REPO TAG...
func cmdTags(ts *testscript.TestScript, neg bool, args []string) {
	if got, want := strings.Join(listTags(ts, args[0]), " "), strings.Join(args[1:], " "); got != want {
		ts.Fatalf("tags are %q, want %q", got, want)
	}
}

// listTags returns the tags of a repository. If the repository does not exist, it returns none.
func listTags(ts *testscript.TestScript, repository string) []string {
	host, repo, _ := strings.Cut(repository, "/")
	resp, err := http.Get("http://" + host + "/v2/" + repo + "/tags/list")
	ts.Check(err)
	defer resp.Body.Close()
	var list struct{ Tags []string }
	if resp.StatusCode == http.StatusOK {
		ts.Check(json.NewDecoder(resp.Body).Decode(&list))
	}
	return list.Tags
}

// cmdUnpackStore makes a local store that contains the closure of a toplevel: unpackstore DIR
// TOPLEVEL
func cmdUnpackStore(ts *testscript.TestScript, neg bool, args []string) {
	root := ts.MkAbs(args[0])
	keys, err := closure.NewTrustedKeys(ts.Getenv("KEY"))
	ts.Check(err)
	src, err := closure.OpenBinaryCache(ts.Getenv("CACHE"), closure.CacheOptions{Keys: keys})
	ts.Check(err)
	top, err := closure.ParseStorePath(args[1])
	ts.Check(err)
	ctx := context.Background()
	c, err := src.Closure(ctx, []closure.StorePath{top})
	ts.Check(err)
	for i := range c.Paths {
		ts.Check(closure.Walk(ctx, src, &c.Paths[i], unpacker(filepath.Join(root, string(c.Paths[i].Path)))))
	}
	db, err := manifest.WriteNixDatabase(c)
	ts.Check(err)
	dir := filepath.Join(root, "nix/var/nix/db")
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(os.WriteFile(filepath.Join(dir, "db.sqlite"), db, 0o644))
	ts.Check(os.WriteFile(filepath.Join(dir, "schema"), []byte("10"), 0o644))
}

// unpacker writes a file tree to the directory that it names.
type unpacker string

func (u unpacker) Directory(name string) error {
	return os.MkdirAll(filepath.Join(string(u), name), 0o755)
}

func (u unpacker) Symlink(name, target string) error {
	return os.Symlink(target, u.parent(name))
}

func (u unpacker) File(name string, executable bool, size int64, content io.Reader) error {
	mode := os.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	b, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	return os.WriteFile(u.parent(name), b, mode)
}

func (u unpacker) parent(name string) string {
	file := filepath.Join(string(u), name)
	os.MkdirAll(filepath.Dir(file), 0o755)
	return file
}

// cmdFlipBit changes one bit in the middle of a file. If the argument is a glob pattern, it
// changes the first match.
func cmdFlipBit(ts *testscript.TestScript, neg bool, args []string) {
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("no file matches %s", args[0])
	}
	b, err := os.ReadFile(files[0])
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.WriteFile(files[0], b, 0o644))
}

// cmdEdit replaces text in a file, and fails if the file does not contain it: edit
// FILE OLD NEW
func cmdEdit(ts *testscript.TestScript, neg bool, args []string) {
	file := ts.MkAbs(args[0])
	b, err := os.ReadFile(file)
	ts.Check(err)
	if !bytes.Contains(b, []byte(args[1])) {
		ts.Fatalf("%s does not have %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(file, bytes.ReplaceAll(b, []byte(args[1]), []byte(args[2])), 0o644))
}

// cmdSame checks that two files are equal. It does not print their content.
func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	if a, b := ts.ReadFile(args[0]), ts.ReadFile(args[1]); a != b {
		ts.Fatalf("%s (%d bytes) and %s (%d bytes) differ", args[0], len(a), args[1], len(b))
	}
}
