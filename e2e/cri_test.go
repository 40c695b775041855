//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// containerdConf is the part of containerd's configuration that this machine needs. The test
// appends the runtime of the example. A root user without CAP_SYS_RESOURCE cannot lower an
// oom_score_adj.
const containerdConf = `version = 3

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = %q

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true

# Pods have the node's network, and /etc is read-only.
[plugins."io.containerd.cri.v1.runtime".cni]
  conf_dir = "/run/cni"

[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
`

// runcWrapper removes the resource limits for which the control groups of this machine have
// no controllers.
const runcWrapper = `#!/bin/sh
set -eu
bundle= previous=
for a; do [ "$previous" != --bundle ] || bundle=$a; previous=$a; done
if [ -n "$bundle" ]; then
  jq -c 'del(.linux.resources.cpu, .linux.resources.pids, .linux.resources.memory)' "$bundle/config.json" >"$bundle/config.new"
  mv "$bundle/config.new" "$bundle/config.json"
fi
exec /usr/sbin/runc "$@"
`

// crictl returns a command line of crictl, the CRI client. It starts containerd 2 with the
// runtime of examples/kubernetes.
func crictl(t *testing.T, arguments ...string) []string {
	t.Helper()
	dir := filepath.Join(lab.scratch, "cri")
	program := filepath.Join(dir, "crictl")
	conf := filepath.Join(dir, "crictl.yaml") // without this file, crictl writes warnings to every log
	line := inToday(t, program, "--config", conf, "--runtime-endpoint", "unix:///run/containerd/containerd.sock", "--timeout", "120s")
	today.containerd.Do(func() {
		example, err := os.ReadFile(filepath.Join(examples, "kubernetes", "containerd.toml"))
		if err != nil {
			t.Fatal(err)
		}
		runtime := strings.Replace(string(example), "version = 3\n", "", 1)
		put(t, filepath.Join(dir, "config.toml"), fmt.Sprintf(containerdConf, pauseImage(t))+runtime)
		put(t, conf, "runtime-endpoint: unix:///run/containerd/containerd.sock\n")
		put(t, filepath.Join(dir, "bin", "runc"), runcWrapper)
		command(t, "chmod", "+x", filepath.Join(dir, "bin", "runc"))
		command(t, "cp", tool("crictl"), program)
		start(t, "today-containerd", nil, func() error { _, err := try(append(line, "info")...); return err },
			inToday(t, "env", "PATH="+filepath.Join(dir, "bin")+":/usr/sbin:/usr/bin:/sbin:/bin", "containerd", "--config", filepath.Join(dir, "config.toml"))...)
		today.containerdRuns = true
	})
	if !today.containerdRuns {
		t.Fatal("today's containerd did not start")
	}
	return append(line, arguments...)
}

// pauseImage returns an image for the process that holds the namespaces of a pod. The process
// is Debian's catatonit, which podman uses for the same purpose.
func pauseImage(t *testing.T) string {
	t.Helper()
	dir := scratchDir(t)
	ref := registry(t) + "/pause:latest"
	file, err := filepath.EvalSymlinks("/usr/bin/catatonit")
	if err != nil {
		t.Fatal(err)
	}
	command(t, "cp", file, filepath.Join(dir, "pause"))
	command(t, "tar", "-C", dir, "-cf", filepath.Join(dir, "layer.tar"), "pause")
	command(t, lab.crane, "append", "--insecure", "--oci-empty-base", "--platform", "linux/amd64", "-f", filepath.Join(dir, "layer.tar"), "-t", ref)
	command(t, lab.crane, "mutate", "--insecure", "--set-platform", "linux/amd64", "--entrypoint", "/pause,-P", "-t", ref, ref)
	return ref
}

// A criPod is a pod with one container, described for the CRI.
type criPod struct {
	name, image string
	handler     string // handler of a RuntimeClass; "" means runc
	sysAdmin    bool
	env         map[string]string
	mounts      map[string]string // key: path in the container; value: path on the host
}

// run starts the pod, and removes it at the end of the test.
func (p criPod) run(t *testing.T) box {
	t.Helper()
	dir := scratchDir(t)
	type object = map[string]any
	write := func(name string, o object) string {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, name), string(text))
		return filepath.Join(dir, name)
	}
	metadata := object{"name": p.name, "namespace": "default", "uid": filepath.Base(dir), "attempt": 1}
	// The pod uses the network of the node, because this needs no CNI plugin.
	pod := write("pod.json", object{"metadata": metadata, "log_directory": dir,
		"linux": object{"security_context": object{"namespace_options": object{"network": 2, "pid": 1}}}})
	envs, mounts := []object{}, []object{}
	for k, v := range p.env {
		envs = append(envs, object{"key": k, "value": v})
	}
	for to, from := range p.mounts {
		mounts = append(mounts, object{"container_path": to, "host_path": from})
	}
	security := object{"namespace_options": object{"network": 2, "pid": 1}}
	if p.sysAdmin {
		security["capabilities"] = object{"add_capabilities": []string{"SYS_ADMIN"}}
	}
	container := write("container.json", object{"metadata": object{"name": p.name}, "image": object{"image": p.image},
		"log_path": "log", "envs": envs, "mounts": mounts, "linux": object{"security_context": security}})

	command(t, crictl(t, "pull", p.image)...)
	runp := []string{"runp"}
	if p.handler != "" {
		runp = append(runp, "--runtime", p.handler)
	}
	podID := strings.TrimSpace(command(t, crictl(t, append(runp, pod)...)...))
	t.Cleanup(func() { try(crictl(t, "rmp", "-f", podID)...) })
	b := box{engine: crictl, id: strings.TrimSpace(command(t, crictl(t, "create", podID, container, pod)...)), cri: true}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", b.id, b.log(t))
		}
	})
	b.do(t, "start", b.id)
	return b
}

// memory returns a directory on a tmpfs, like an emptyDir of medium Memory. In the root file
// system of today's engines, /run is a tmpfs.
func memory(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("/run", filepath.Base(scratchDir(t)))
	command(t, inToday(t, "mkdir", dir)...)
	t.Cleanup(func() { try(inToday(t, "rm", "-rf", dir)...) })
	return dir
}

func TestTodayContainerd(t *testing.T) {
	image := guestImage(t, "")
	for _, tc := range []struct {
		name string
		pod  criPod
	}{
		{"with a capability", criPod{sysAdmin: true}},
		{"with writable control groups", criPod{handler: "systemd", mounts: map[string]string{"/run": memory(t), "/run/lock": memory(t)}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.pod.name, tc.pod.image = "web", image
			b := tc.pod.run(t)
			report(t, "running after %.2f s", b.runs(t).Seconds())
			b.says(t, "Startup finished")
			b.stops(t)
		})
	}
	t.Run("with nothing", func(t *testing.T) {
		b := criPod{name: "web", image: image}.run(t)
		b.ends(t)
		if code := b.exitCode(t); code != "78" {
			t.Errorf("exit code %s, want 78", code)
		}
		b.says(t, "this container cannot boot the way it was started")
	})
}

// A kubeObject has the fields that the tests use from the files of
// examples/kubernetes.
type kubeObject struct {
	Kind     string
	Metadata struct{ Name string }
	Handler  string            // used only by a RuntimeClass
	Data     map[string]string // used only by a ConfigMap
	Spec     struct {          // used only by a Pod
		RuntimeClassName string `yaml:"runtimeClassName"`
		Containers       []struct {
			Name, Image     string
			SecurityContext struct {
				Privileged   bool
				Capabilities struct{ Add []string }
			} `yaml:"securityContext"`
			Env []struct {
				Name, Value string
			}
			VolumeMounts []struct {
				Name      string
				MountPath string `yaml:"mountPath"`
			} `yaml:"volumeMounts"`
			ReadinessProbe struct {
				Exec struct{ Command []string }
			} `yaml:"readinessProbe"`
		}
		Volumes []struct {
			Name      string
			ConfigMap *struct{ Name string }   `yaml:"configMap"`
			EmptyDir  *struct{ Medium string } `yaml:"emptyDir"`
		}
	}
}

// exampleRuntimeClass does with the file what a kubelet does, as far as a pod with one
// container needs it.
func exampleRuntimeClass(t *testing.T, file string) { examplePod(t, file, false) }

// examplePod does the same as exampleRuntimeClass. If sysAdmin is true, the pod gets the
// capability SYS_ADMIN.
func examplePod(t *testing.T, file string, sysAdmin bool) {
	f, err := os.Open(filepath.Join(examples, file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	handlers, configs := map[string]string{}, map[string]string{}
	var pods []kubeObject
	for d := yaml.NewDecoder(f); ; {
		var m kubeObject
		if err := d.Decode(&m); err != nil {
			break // end of the file
		}
		switch m.Kind {
		case "RuntimeClass":
			handlers[m.Metadata.Name] = m.Handler
		case "ConfigMap":
			dir := scratchDir(t)
			for name, text := range m.Data {
				put(t, filepath.Join(dir, name), text)
			}
			configs[m.Metadata.Name] = dir
		case "Pod":
			pods = append(pods, m)
		}
	}
	if len(pods) != 1 || len(pods[0].Spec.Containers) != 1 {
		t.Fatalf("%s: %d pods, want one with one container", file, len(pods))
	}
	spec := pods[0].Spec
	c := spec.Containers[0]
	p := criPod{name: c.Name, image: guestImage(t, ""), handler: handlers[spec.RuntimeClassName], env: map[string]string{}, mounts: map[string]string{}}
	if c.Image != exampleImage {
		t.Errorf("the image is %s, not %s", c.Image, exampleImage)
	}
	if c.SecurityContext.Privileged {
		t.Error("the pod is privileged")
	}
	p.sysAdmin = strings.Join(c.SecurityContext.Capabilities.Add, " ") == "SYS_ADMIN"
	if p.sysAdmin != sysAdmin || p.sysAdmin == (p.handler != "") {
		t.Errorf("capabilities %q, handler %q", c.SecurityContext.Capabilities.Add, p.handler)
	}
	for _, e := range c.Env {
		p.env[e.Name] = e.Value
	}
	volumes := map[string]string{}
	for _, v := range spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			volumes[v.Name] = configs[v.ConfigMap.Name]
		case v.EmptyDir != nil && v.EmptyDir.Medium == "Memory":
			volumes[v.Name] = memory(t)
		case v.EmptyDir != nil:
			volumes[v.Name] = scratchDir(t)
		}
	}
	for _, m := range c.VolumeMounts {
		if volumes[m.Name] == "" {
			t.Fatalf("no volume %s", m.Name)
		}
		p.mounts[m.MountPath] = volumes[m.Name]
	}
	if p.handler != "" { // needed only by Debian 12's systemd
		p.mounts["/run/lock"] = memory(t)
	}
	b := p.run(t)
	b.says(t, "/config/configuration.nix is applied")
	put(t, filepath.Join(p.mounts["/web"], "index.html"), "a page of the pod\n")
	b.serves(t, "a page of the pod")
	b.runs(t)
	eventually(t, "the readiness probe succeeds", func() bool {
		_, err := b.exec(t, c.ReadinessProbe.Exec.Command...)
		return err == nil
	})
	start := time.Now()
	b.stops(t)
	report(t, "stopped %.2f s after crictl stop", time.Since(start).Seconds())
}
