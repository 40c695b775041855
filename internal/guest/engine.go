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

// Engine is the program that runs the container, as far as it can be recognised from inside.
type Engine string

const (
	Docker     Engine = "docker"     // unknown version, maybe 28 or later
	DockerOld  Engine = "docker-old" // certainly older than 28
	Podman     Engine = "podman"
	Kubernetes Engine = "kubernetes"
	Nerdctl    Engine = "nerdctl"
	Containerd Engine = "containerd" // ctr, or a CRI without Kubernetes
	LXC        Engine = "lxc"        // LXC, LXD, Incus
	Nspawn     Engine = "systemd-nspawn"
	OCI        Engine = "oci" // any other runtime
)

// detectEngine recognises the engine by files below root, mounts and variables. It does
// not trust container=docker, which the image itself sets. oldSeccomp means that the
// engine refuses system calls that newer engines allow.
func detectEngine(root string, env *bootEnv, ms Mounts, oldSeccomp bool) Engine {
	there := func(files ...string) bool {
		return slices.ContainsFunc(files, func(f string) bool {
			_, err := os.Stat(filepath.Join(root, f))
			return err == nil
		})
	}
	// from reports whether a mount comes from a directory with this text in its path:
	// engines keep hosts, resolv.conf and layers in directories of their own.
	from := func(text string) bool {
		return slices.ContainsFunc(ms, func(m Mount) bool {
			return strings.Contains(m.Root, text) || m.Point == "/" && strings.Contains(m.Super, text)
		})
	}
	// Kubernetes first: it uses one of the engines below, but flags cannot be added there.
	if env.get("KUBERNETES_SERVICE_HOST") != "" || from("/kubelet/pods/") ||
		there("/run/secrets/kubernetes.io", "/var/run/secrets/kubernetes.io") {
		return Kubernetes
	}
	manager, _ := os.ReadFile(filepath.Join(root, "/run/host/container-manager")) // nspawn only: systemd.io/CONTAINER_INTERFACE
	switch {
	case strings.TrimSpace(string(manager)) == string(Nspawn):
		return Nspawn
	case there("/run/.containerenv"), from("/overlay-containers/"): // a tmpfs on /run may hide the file
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

// systemdName is systemd's name for the engine in $container (systemd(1),
// src/basic/virt.c). oci means a container of an unnamed engine.
func (e Engine) systemdName() string {
	switch e {
	case Docker, DockerOld:
		return "docker"
	case Podman, Nspawn, LXC:
		return string(e)
	}
	return "oci"
}

// refusesHandles reports whether the engine forbids name_to_handle_at(2). Docker's
// seccomp profile allows it since version 25 (moby #45766). So if it is forbidden, Docker
// is older and does not have the options of version 28.
func refusesHandles() bool {
	path := [2]byte{'/'}
	var handle struct{ bytes, kind uint32 } // with bytes = 0 the kernel answers EOVERFLOW
	var mountID int32
	const cwd = -100 // AT_FDCWD
	at := cwd
	_, _, errno := syscall.Syscall6(sysNameToHandleAt, uintptr(at), uintptr(unsafe.Pointer(&path[0])),
		uintptr(unsafe.Pointer(&handle)), uintptr(unsafe.Pointer(&mountID)), 0, 0)
	return errno == syscall.EPERM || errno == syscall.ENOSYS
}
