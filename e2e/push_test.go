//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	peakLimit = 200 << 20 // most memory of a cold push, in bytes
	busyShare = 1.7       // processor time divided by wall time must be at least this, on two processors
)

var (
	largeOnce  sync.Once
	largeImage string // digest of the index of the large system
)

// large returns the reference and the digest of the large system's image for both platforms.
// The first call pushes the image from the local store with gzip.
func large(t *testing.T) (ref, digest string) {
	t.Helper()
	ref = registry(t) + "/large:v1"
	largeOnce.Do(func() {
		// The test reads the files into memory first, so that this push has the same
		// conditions as later pushes. Otherwise this push would wait for the disk, and the
		// measurement would show idle processors that nixoci cannot avoid.
		for _, p := range platforms {
			for _, path := range loadGraph(t, "large-"+p.nix) {
				command(t, "find", filepath.Join(lab.large, path.Path), "-type", "f", "-exec", "cksum", "{}", "+")
			}
		}
		o := run{cache: largeCache()}.ok(t, args("push", ref, fromStore(), "--compression", "gzip", toplevels(""))...)
		largeImage = o.digest(t)
		measured(t, "cold push, local store, gzip", o)
	})
	if largeImage == "" {
		t.Fatal("the large system was not pushed")
	}
	return ref, largeImage
}

// largeCache returns the cache directory that the push in the function large used.
func largeCache() string { return filepath.Join(lab.scratch, "large-cache") }

var (
	zstdOnce sync.Once
	zstdDone bool
)

// largeZstd does the same as large, with zstd.
func largeZstd(t *testing.T) (ref string) {
	t.Helper()
	ref = registry(t) + "/zstd:v1"
	zstdOnce.Do(func() {
		measured(t, "cold push, local store, zstd", run{}.ok(t, args("push", ref, fromStore(), "--compression", "zstd", toplevels(""))...))
		zstdDone = true
	})
	if !zstdDone {
		t.Fatal("the large system was not pushed with zstd")
	}
	return ref
}

// measured reports the memory and the processor time of a cold push, and checks that they are
// within the limits.
func measured(t *testing.T, what string, o outcome) {
	t.Helper()
	share := o.cpu.Seconds() / o.wall.Seconds()
	report(t, "%s: %.1f s wall, %.1f s cpu (%.2f), peak %d MiB, machine idle %.0f %%", what, o.wall.Seconds(), o.cpu.Seconds(), share, o.peak>>20, o.idle*100)
	if o.peak > peakLimit {
		t.Errorf("%s: peak memory %d MiB, more than %d", what, o.peak>>20, peakLimit>>20)
	}
	// If other programs use the machine, nixoci cannot use both processors. So the test fails
	// only if nixoci was slow although a processor was idle.
	if runtime.NumCPU() > 1 && share < busyShare && o.idle > 1-busyShare/2 {
		t.Errorf("%s: processor time %.2f of wall time, less than %.1f, while %.0f %% of the machine was idle", what, share, busyShare, o.idle*100)
	}
}

// TestPushFromEverySource checks that every source gives the same digest. It also measures
// memory and processor time.
func TestPushFromEverySource(t *testing.T) {
	_, digest := large(t)

	largeZstd(t)

	file := run{}.ok(t, args("push", registry(t)+"/from-file:v1", "--compression", "gzip",
		"--from", "file://"+binaryCache(), "--trusted-public-key", lab.key, toplevels(""))...)
	measured(t, "cold push, file:// cache, gzip", file)
	if got := file.digest(t); got != digest {
		t.Errorf("from a file cache %s, from the store %s", got, digest)
	}

	web := httptest.NewServer(http.FileServer(http.Dir(binaryCache())))
	defer web.Close()
	http := run{}.ok(t, args("push", registry(t)+"/from-http:v1", "--compression", "gzip",
		"--from", web.URL, "--trusted-public-key", lab.key, toplevels(""))...)
	measured(t, "cold push, http:// cache, gzip", http)
	if got := http.digest(t); got != digest {
		t.Errorf("from an http cache %s, from the store %s", got, digest)
	}

	var graphs []string
	for _, p := range platforms {
		graphs = append(graphs, p.nix+"="+graphFile("large-"+p.nix))
	}
	// Only the source of the graph differs, so nixoci does not have to make layers again.
	graph := run{cache: largeCache()}.ok(t, args("push", registry(t)+"/large:from-graph", fromStore(), "--compression", "gzip", graphs)...)
	if got := graph.digest(t); got != digest {
		t.Errorf("from a graph file %s, from the store's database %s", got, digest)
	}
}

// TestSecondPushIsFiveHeads checks that a push of an existing image sends only five requests.
func TestSecondPushIsFiveHeads(t *testing.T) {
	_, want := large(t)
	target, err := url.Parse("http://" + registry(t))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var requests []string
	proxy := httputil.NewSingleHostReverseProxy(target)
	counting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		requests = append(requests, r.Method+" "+r.URL.Path)
		mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	defer counting.Close()
	ref := strings.TrimPrefix(counting.URL, "http://") + "/large:v1"
	second := run{cache: largeCache()}.ok(t, args("push", ref, fromStore(), "--compression", "gzip", toplevels(""))...)
	if got := second.digest(t); got != want {
		t.Errorf("second push: %s, first: %s", got, want)
	}
	report(t, "second push: %d requests, %.2f s", len(requests), second.wall.Seconds())
	// One request is for the tag, one for the manifest of each platform, and two are for
	// random layers.
	if len(requests) != 5 || slices.ContainsFunc(requests, func(r string) bool { return !strings.HasPrefix(r, "HEAD ") }) {
		t.Errorf("second push: %d requests: %s", len(requests), strings.Join(requests, ", "))
	}
}

func TestSkopeo(t *testing.T) {
	t.Parallel()
	ref, digest := large(t)
	raw := command(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+ref)
	var index struct {
		Manifests []struct {
			Digest   string
			Platform struct{ OS, Architecture string }
		}
	}
	if err := json.Unmarshal([]byte(raw), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != len(platforms) {
		t.Fatalf("index has %d manifests: %s", len(index.Manifests), raw)
	}
	for _, p := range platforms {
		var got struct{ Digest, Architecture, Os string }
		out := command(t, "skopeo", "--override-arch", p.arch, "inspect", "--tls-verify=false", "docker://"+ref)
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		if got.Architecture != p.arch || got.Os != "linux" || got.Digest != digest {
			t.Errorf("skopeo inspect for %s: %+v", p.arch, got)
		}
	}
	copied := registry(t) + "/copied:v1"
	command(t, "skopeo", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+ref, "docker://"+copied)
	if got := tagDigest(t, "copied", "v1"); got != digest {
		t.Errorf("skopeo copy --all: digest %s, not %s", got, digest)
	}
	report(t, "inspect of both platforms, copy --all keeps %s", digest[:19])
}

func TestCraneValidate(t *testing.T) {
	t.Parallel()
	ref, digest := large(t)
	out := command(t, lab.crane, "validate", "--insecure", "--remote", ref) // for an index, crane checks every manifest and blob in it
	if !strings.Contains(out, "PASS") {
		t.Errorf("crane validate: %s", out)
	}
	if got := strings.TrimSpace(command(t, lab.crane, "digest", "--insecure", ref)); got != digest {
		t.Errorf("crane digest: %s, nixoci printed %s", got, digest)
	}
	report(t, "crane validate --remote passes for the index and what it lists")
}

// inImage runs a script with programs of the amd64 image. engine is the command line before
// the name of the image.
func inImage(t *testing.T, engine []string, image, script string) string {
	t.Helper()
	line := append(append([]string{}, engine...), "--entrypoint", lab.systems["large-x86_64-linux"]+"/sw/bin/bash", image, "-ec", script)
	return command(t, line...)
}

func TestDocker(t *testing.T) {
	t.Parallel()
	ref, _ := large(t)
	for _, p := range platforms {
		docker(t, "pull", "-q", "--platform", "linux/"+p.arch, ref)
		got := strings.TrimSpace(docker(t, "image", "inspect", "-f", "{{.Os}}/{{.Architecture}} {{join .Config.Entrypoint \" \"}} {{.Config.StopSignal}}", ref))
		if want := "linux/" + p.arch + " /sbin/init SIGRTMIN+3"; got != want {
			t.Errorf("docker pull of %s: %s, want %s", p.arch, got, want)
		}
	}
	docker(t, "pull", "-q", "--platform", "linux/amd64", ref)
	engine := dockerLine(t, "run", "--rm", "--network", "none")
	out := inImage(t, engine, ref, `cat /nix/var/nix/profiles/system/nixos-version; readlink -f /nix/var/nix/profiles/system; readlink -f /sbin/init`)
	top := lab.systems["large-x86_64-linux"]
	if want := "24.05.20240531.debian12" + top + "\n/sbin/init\n"; out != want {
		t.Errorf("docker run prints %q, want %q", out, want)
	}

	// The test runs Nix in the container, with the database that nixoci wrote.
	const nix = "export HOME=/root USER=root NIX_REMOTE=local; mkdir -p /root; " +
		"nix=$(dirname $(readlink -f /run/current-system/sw/bin/nix 2>/dev/null || readlink -f /nix/var/nix/profiles/system/sw/bin/nix)); "
	verify, err := exec.Command(engine[0], append(engine[1:], "--entrypoint", top+"/sw/bin/bash", ref, "-ec",
		nix+`"$nix/nix-store" --option build-users-group "" --verify --check-contents 2>&1; echo "exit $?"`)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, verify)
	}
	for _, bad := range []string{"modified", "disappeared", "not valid", "error"} {
		if strings.Contains(string(verify), bad) {
			t.Errorf("nix-store --verify --check-contents:\n%s", verify)
			break
		}
	}
	info := inImage(t, engine, ref, nix+`"$nix/nix" --extra-experimental-features nix-command --option build-users-group "" path-info -rS /nix/var/nix/profiles/system`)
	lines := strings.Split(strings.TrimSpace(info), "\n")
	graph := loadGraph(t, "large-x86_64-linux")
	if len(lines) != len(graph) {
		t.Errorf("nix path-info -r in the container: %d paths, the closure has %d", len(lines), len(graph))
	}
	var total int64
	for _, p := range graph {
		total += p.NarSize
	}
	if want := fmt.Sprint(total); !strings.Contains(info, want) {
		t.Errorf("nix path-info -S in the container: no closure of %s bytes in\n%s", want, info)
	}
	report(t, "docker pull of both, run, nix-store --verify --check-contents and path-info -rS of %d paths", len(lines))
}

func TestPodman(t *testing.T) {
	t.Parallel()
	podmanStore.Lock()
	defer podmanStore.Unlock()
	ref, _ := large(t)
	for _, p := range platforms {
		podman(t, "pull", "-q", "--tls-verify=false", "--arch", p.arch, ref)
		got := strings.TrimSpace(podman(t, "image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", ref))
		if got != "linux/"+p.arch {
			t.Errorf("podman pull of %s: %s", p.arch, got)
		}
		if p.arch == "amd64" {
			out := inImage(t, podmanLine(t, args("run", "--rm", podmanLimits)...), ref, "cat /nix/var/nix/profiles/system/system")
			if out != p.nix {
				t.Errorf("podman run prints %q", out)
			}
		}
		podman(t, "rmi", "-f", ref)
	}
	report(t, "podman pull of both platforms, run of amd64")
}

// TestPodmanReadsZstd checks that podman can read an image with zstd. Docker reads zstd only
// from version 23 on.
func TestPodmanReadsZstd(t *testing.T) {
	t.Parallel()
	podmanStore.Lock()
	defer podmanStore.Unlock()
	ref, p := largeZstd(t), platforms[0]
	podman(t, "pull", "-q", "--tls-verify=false", "--arch", p.arch, ref)
	out := inImage(t, podmanLine(t, args("run", "--rm", podmanLimits)...), ref, "cat /nix/var/nix/profiles/system/system")
	if out != p.nix {
		t.Errorf("podman run prints %q", out)
	}
	podman(t, "rmi", "-f", ref)
	report(t, "podman pull and run of zstd layers")
}
