//go:build linux

package guest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unsafe"
)

// Engine is what runs the container, as far as it can be told from inside.
type Engine string

const (
	Docker     Engine = "docker"     // version unknown, may be 28 or later
	DockerOld  Engine = "docker-old" // surely before 28
	Podman     Engine = "podman"
	Kubernetes Engine = "kubernetes"
	Nerdctl    Engine = "nerdctl"
	Containerd Engine = "containerd" // ctr, or a CRI without Kubernetes
	LXC        Engine = "lxc"        // LXC, LXD, Incus
	Nspawn     Engine = "systemd-nspawn"
	OCI        Engine = "oci" // any other runtime
)

// detectEngine goes by what is in the container, seen below root, and never by
// $container: the image sets that. oldSeccomp says whether system calls are
// refused that newer engines allow.
func detectEngine(root string, env *bootEnv, ms Mounts, oldSeccomp bool) Engine {
	there := func(files ...string) bool {
		return slices.ContainsFunc(files, func(f string) bool {
			_, err := os.Stat(filepath.Join(root, f))
			return err == nil
		})
	}
	// What is mounted from where: the directories in which engines keep hosts,
	// resolv.conf and layers.
	from := func(text string) bool {
		return slices.ContainsFunc(ms, func(m Mount) bool {
			return strings.Contains(m.Root, text) || m.Point == "/" && strings.Contains(m.Super, text)
		})
	}
	// Kubernetes first: below it is an engine too, with no flags to add.
	if env.get("KUBERNETES_SERVICE_HOST") != "" || from("/kubelet/pods/") ||
		there("/run/secrets/kubernetes.io", "/var/run/secrets/kubernetes.io") {
		return Kubernetes
	}
	manager, _ := os.ReadFile(filepath.Join(root, "/run/host/container-manager")) // nspawn's: systemd.io/CONTAINER_INTERFACE
	switch {
	case strings.TrimSpace(string(manager)) == string(Nspawn):
		return Nspawn
	case there("/run/.containerenv"), from("/overlay-containers/"): // a tmpfs may hide the former
		return Podman
	case there("/.dockerenv"), from("/docker/containers/"):
		if oldSeccomp {
			return DockerOld
		}
		return Docker
	case there("/dev/lxd", "/dev/incus", "/dev/.lxc"), env.get("container") == "lxc",
		slices.ContainsFunc(ms, func(m Mount) bool { return m.Type == "fuse.lxcfs" }):
		return LXC
	case from("/nerdctl/"):
		return Nerdctl
	case from("/io.containerd."):
		return Containerd
	}
	return OCI
}

// systemdName is what systemd calls the engine in $container (systemd(1),
// src/basic/virt.c). Of oci it knows that the name says nothing.
func (e Engine) systemdName() string {
	switch e {
	case Docker, DockerOld:
		return "docker"
	case Podman, Nspawn, LXC:
		return string(e)
	}
	return "oci"
}

// refusesHandles says whether name_to_handle_at(2) is forbidden. Docker's own
// seccomp profile allows it since version 25 (moby #45766): where it does not,
// the engine cannot know options of version 28.
func refusesHandles() bool {
	path := [2]byte{'/'}
	var handle struct{ bytes, kind uint32 } // bytes is 0: the kernel answers EOVERFLOW
	var mountID int32
	const cwd = -100 // AT_FDCWD
	at := cwd
	_, _, errno := syscall.Syscall6(sysNameToHandleAt, uintptr(at), uintptr(unsafe.Pointer(&path[0])),
		uintptr(unsafe.Pointer(&handle)), uintptr(unsafe.Pointer(&mountID)), 0, 0)
	return errno == syscall.EPERM || errno == syscall.ENOSYS
}
