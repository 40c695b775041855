//go:build linux

package guest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/golden"
)

var (
	problemRun    = Problem{What: "/run is not a tmpfs, and mounting one is not allowed (operation not permitted)", Tmpfs: "/run"}
	problemEtc    = Problem{What: "/etc is read-only", Tmpfs: "/etc"}
	problemCgroup = Problem{What: errCgroupReadOnly.Error(), Cgroup: true}
	problemHost   = Problem{What: errCgroupForeign.Error(), Host: true}
)

// TestWriteAdvice compares the advice with a golden file for each engine.
func TestWriteAdvice(t *testing.T) {
	cases := []struct {
		title    string
		problems []Problem
	}{
		{"nothing was given", []Problem{problemRun, problemCgroup}},
		{"only /run is missing", []Problem{problemRun}},
		{"only the control groups are missing", []Problem{problemCgroup}},
		{"read-only", []Problem{problemRun, problemEtc, problemCgroup}},
		{"the host's control groups in another namespace", []Problem{problemHost}},
	}
	for _, engine := range []Engine{Docker, DockerOld, Podman, Kubernetes, Nerdctl, Containerd, LXC, Nspawn, OCI} {
		t.Run(string(engine), func(t *testing.T) {
			var b strings.Builder
			for _, c := range cases {
				b.WriteString("==== " + c.title + "\n")
				if err := WriteAdvice(&b, c.problems, engine); err != nil {
					t.Fatal(err)
				}
			}
			golden.Check(t, "advice/"+string(engine)+".txt", []byte(b.String()))
		})
	}
}

// A problem that no flag solves has its own advice, the same for every engine.
func TestWriteAdviceWithoutFlags(t *testing.T) {
	var b strings.Builder
	if err := WriteAdvice(&b, []Problem{{What: errCgroupV1.Error(), Advice: "Boot the host otherwise."}}, Docker); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); !strings.HasSuffix(s, "\nBoot the host otherwise.\n") || strings.Contains(s, "Add") {
		t.Errorf("got:\n%s", s)
	}
}

func TestDetectEngine(t *testing.T) {
	for _, tc := range []struct {
		name   string
		files  string // in the container
		env    string
		mounts string
		old    bool
		want   Engine
	}{
		{name: "docker", files: "/.dockerenv", env: "container=docker", want: Docker},
		{name: "old docker", files: "/.dockerenv", old: true, want: DockerOld},
		{name: "docker by its mounts", mounts: "2 1 254:1 /var/lib/docker/containers/7d34/hosts /etc/hosts rw - ext4 /dev/vda rw", want: Docker},
		{name: "podman under the image's name", files: "/run/.containerenv", env: "container=docker", old: true, want: Podman},
		{name: "podman with a tmpfs on /run", mounts: "2 1 254:1 /var/lib/containers/storage/overlay-containers/7d34/userdata/hosts /etc/hosts rw - ext4 /dev/vda rw", want: Podman},
		{name: "kubernetes by its environment", env: "KUBERNETES_SERVICE_HOST=10.0.0.1", want: Kubernetes},
		{name: "kubernetes without service links", mounts: "2 1 254:1 /var/lib/kubelet/pods/7d34/etc-hosts /etc/hosts rw - ext4 /dev/vda rw", want: Kubernetes},
		{name: "kubernetes on docker", files: "/.dockerenv /var/run/secrets/kubernetes.io/serviceaccount/token", want: Kubernetes},
		{name: "nerdctl", mounts: "2 1 254:1 /var/lib/nerdctl/1935db59/containers/default/7d34/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda rw", want: Nerdctl},
		{name: "containerd", mounts: "1 0 0:58 / / rw - overlay overlay rw,lowerdir=/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/9/fs", want: Containerd},
		{name: "containerd's store below docker", files: "/.dockerenv", mounts: "1 0 0:58 / / rw - overlay overlay rw,lowerdir=/var/lib/docker/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/9/fs", want: Docker},
		{name: "incus", files: "/dev/incus/sock", env: "container=docker", want: LXC},
		{name: "lxcfs", mounts: "2 1 0:40 /proc/uptime /proc/uptime rw - fuse.lxcfs lxcfs rw", want: LXC},
		{name: "lxc", env: "container=lxc", want: LXC},
		{name: "nspawn", files: "/run/host/container-manager=systemd-nspawn", env: "container=docker", want: Nspawn},
		{name: "runc", env: "container=docker", mounts: "1 0 254:1 /bundle / rw - ext4 /dev/vda rw", want: OCI},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			for _, f := range strings.Fields(tc.files) {
				name, content, _ := strings.Cut(f, "=")
				write(t, root+name, content+"\n")
			}
			mounts := tc.mounts
			if mounts != "" {
				mounts += "\n"
			}
			if got := detectEngine(root, newBootEnv([]string{tc.env}), parseMounts(t, mounts), tc.old); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// TestDocumentedFlags checks that the documentation and the examples show the same flags
// as the advice.
func TestDocumentedFlags(t *testing.T) {
	// written lists the notations in which a reader may copy a flag.
	written := []struct {
		what string
		find *regexp.Regexp
		want string // the first group of find must be equal to this
	}{
		{"--tmpfs /run", regexp.MustCompile(`--tmpfs[ =](/run(?::[a-z,]+)?)(?:[^/a-z:]|$)`), runTmpfs},
		{"tmpfs: [/run]", regexp.MustCompile(`tmpfs: *\["?(/run[^"\],]*(?:,[a-z]+)*)"?[\],]`), runTmpfs},
		{"Tmpfs=/run", regexp.MustCompile(`Tmpfs=(/run\S*)`), runTmpfs},
		{"the host's control groups", regexp.MustCompile(`(/sys/fs/cgroup:[^\s"'` + "`" + `\]]+)`), hostCgroup},
		{"writable control groups", regexp.MustCompile(`(writable-cgroups[=:][^\s"'` + "`" + `\]]*)`), writableCgroups},
		{"--cgroupns", regexp.MustCompile(`(--cgroupns[ =]host)`), flagHostNamespace},
		{"no tmpfs on /tmp", regexp.MustCompile(`(--tmpfs /tmp|tmpfs: \[[^]]*/tmp)`), ""},
	}
	files := []string{"../../README.md"}
	for _, dir := range []string{"../../docs", "../../examples"} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			// Leave out docker-nixos's own file, which is unchanged on purpose, and
			// troubleshooting.md, which also shows wrong flags.
			if err == nil && d.Type().IsRegular() && filepath.Ext(path) != ".json" &&
				!strings.Contains(path, "docker-nixos") && filepath.Base(path) != "troubleshooting.md" {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	found := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range written {
			for _, m := range w.find.FindAllStringSubmatch(string(text), -1) {
				found[w.what]++
				if m[1] != w.want {
					t.Errorf("%s has %q, not %q", file, m[1], w.want)
				}
			}
		}
	}
	for _, w := range written {
		if w.want != "" && w.what != "Tmpfs=/run" && found[w.what] == 0 {
			t.Errorf("%s is nowhere in the documentation", w.what)
		}
	}
}
