//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/mediatype"
)

// freePort returns a port of the loopback interface that is not in use now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// registryConf configures docker-registry to store its blobs on a tmpfs. So the disk does not
// affect measurements of a push.
const registryConf = `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http:
  addr: %s
`

var (
	registryOnce sync.Once
	registryAddr string
)

// registry returns the address of Debian's docker-registry. The first call
// starts it.
func registry(t *testing.T) string {
	t.Helper()
	registryOnce.Do(func() {
		addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		conf := filepath.Join(lab.scratch, "registry.yml")
		if err := os.WriteFile(conf, fmt.Appendf(nil, registryConf, filepath.Join(lab.memory, "registry"), addr), 0o644); err != nil {
			t.Fatal(err)
		}
		start(t, "registry", nil, func() error { return answers("http://" + addr + "/v2/") }, "docker-registry", "serve", conf)
		registryAddr = addr
	})
	if registryAddr == "" {
		t.Fatal("the registry did not start")
	}
	return registryAddr
}

func answers(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// tagDigest returns the digest of repository:tag in the registry, or "" if
// there is no such tag.
func tagDigest(t *testing.T, repository, tag string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, "http://"+registry(t)+"/v2/"+repository+"/manifests/"+tag, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", ocispec.MediaTypeImageIndex+", "+mediatype.DockerList)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
		return ""
	case http.StatusOK:
		return resp.Header.Get("Docker-Content-Digest")
	}
	t.Fatalf("HEAD %s:%s: %s", repository, tag, resp.Status)
	return ""
}

var (
	dockerOnce sync.Once
	dockerSock string
)

// docker runs the program docker as a client of the dockerd that these tests started.
func docker(t *testing.T, arguments ...string) string {
	t.Helper()
	return command(t, dockerLine(t, arguments...)...)
}

func dockerLine(t *testing.T, arguments ...string) []string {
	t.Helper()
	dockerOnce.Do(func() {
		dir := filepath.Join(lab.scratch, "docker")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		host := "unix://" + filepath.Join(dir, "docker.sock")
		start(t, "dockerd", nil, func() error { _, err := try("docker", "-H", host, "version"); return err },
			"dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=overlay2",
			"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
			"-H", host, "--pidfile", filepath.Join(dir, "pid"), "--insecure-registry", registry(t))
		dockerSock = host
	})
	if dockerSock == "" {
		t.Fatal("dockerd did not start")
	}
	return append([]string{"docker", "-H", dockerSock}, arguments...)
}

// podman runs podman with a storage that only these tests use. arguments must contain all
// flags of the subcommand.
func podman(t *testing.T, arguments ...string) string {
	t.Helper()
	return command(t, podmanLine(t, arguments...)...)
}

func podmanLine(t *testing.T, arguments ...string) []string {
	t.Helper()
	dir := filepath.Join(lab.scratch, "podman")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	return append([]string{
		"podman", "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
		"--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", runc,
	}, arguments...)
}

// podmanLimits holds the flags of podman run that are necessary for a root user without
// CAP_SYS_RESOURCE.
var podmanLimits = strings.Fields("--pids-limit=-1 --ulimit nofile=1024:2048 --ulimit nproc=4096:4096 --network none")

const runc = "/usr/sbin/runc"

// An engine runs containers. line returns a command line of the engine. machine holds flags
// of run that only this machine needs: it has no network for containers, and root may not
// raise some limits.
type engine struct {
	name    string
	line    func(*testing.T, ...string) []string
	machine []string
}

var (
	docker20 = engine{"docker 20", dockerLine, strings.Fields("--network none --tmpfs /run/lock")}
	podman43 = engine{"podman 4", podmanLine, podmanLimits}
	docker28 = engine{"docker 28", todayDocker, strings.Fields("--network none --tmpfs /run/lock")}
	podman5  = engine{"podman 5", todayPodman, strings.Fields("--network none --pids-limit=0")}
)

// podmanStore is locked while podman 4 pulls or removes an image. Images of many tests share
// layers, and podman 4 fails to pull a layer while another process removes the same layer.
var podmanStore sync.Mutex

// has pulls the image, so that the engine has the same image as the registry.
func (e engine) has(t *testing.T, image string) {
	t.Helper()
	var flags []string
	if strings.HasPrefix(e.name, "podman") {
		flags = append(flags, "--tls-verify=false")
	}
	if e.name == podman43.name {
		podmanStore.Lock()
		defer podmanStore.Unlock()
		podmanLine(t) // this call writes the policy
		flags = append(flags, "--signature-policy", filepath.Join(lab.scratch, "podman", "policy.json"))
	}
	command(t, e.line(t, args("pull", "-q", flags, image)...)...)
}

// remove removes an image that no container uses.
func (e engine) remove(t *testing.T, image string) {
	t.Helper()
	if e.name == podman43.name {
		podmanStore.Lock()
		defer podmanStore.Unlock()
	}
	command(t, e.line(t, "rmi", "-f", image)...)
}

// run starts a container of the image that is now in the registry, and removes it at the end
// of the test.
func (e engine) run(t *testing.T, image string, flags ...string) box {
	t.Helper()
	e.has(t, image)
	return startBox(t, e.line, image, args(e.machine, flags))
}
