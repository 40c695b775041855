//go:build linux

package guest

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// The flags that a container needs, as docker run and compose write them. The
// documentation and the examples use the same flags: TestDocumentedFlags checks this.
const (
	// FlagRun mounts a tmpfs on /run that allows programs and set-user-ID bits, because
	// /run/wrappers contains sudo. A --tmpfs of Docker allows neither by default.
	FlagRun = "--tmpfs " + runTmpfs
	// FlagCgroup makes the container's own control groups writable. Docker has this
	// option since version 28.
	FlagCgroup = "--security-opt " + writableCgroups
	// FlagHostCgroup is for engines without FlagCgroup.
	FlagHostCgroup = flagHostNamespace + " -v " + hostCgroup

	flagHostNamespace = "--cgroupns host"

	runTmpfs        = "/run:exec,suid"
	writableCgroups = "writable-cgroups=true"
	hostCgroup      = "/sys/fs/cgroup:/sys/fs/cgroup:rw"
)

// missing lists what the user has to add to solve all problems.
type missing struct {
	tmpfs  []string // directories, as --tmpfs takes them
	cgroup bool     // the control groups are not writable
	host   bool     // the control groups belong to the host, but the cgroup namespace does not
}

func (m missing) some() bool { return len(m.tmpfs) > 0 || m.cgroup || m.host }

// WriteAdvice explains to the user what is missing and exactly what to add, in the terms
// of the engine.
func WriteAdvice(w io.Writer, problems []Problem, engine Engine) error {
	var need missing
	var b strings.Builder
	b.WriteString("nixoci: this container cannot boot the way it was started:\n")
	for _, p := range problems {
		fmt.Fprintf(&b, "  - %s\n", p.What)
		switch {
		case p.Tmpfs == "/run":
			need.tmpfs = append(need.tmpfs, runTmpfs)
		case p.Tmpfs != "":
			need.tmpfs = append(need.tmpfs, p.Tmpfs)
		}
		need.cgroup = need.cgroup || p.Cgroup
		need.host = need.host || p.Host
	}
	for _, p := range problems {
		if p.Advice != "" {
			fmt.Fprintf(&b, "\n%s\n", p.Advice)
		}
	}
	if need.some() {
		said := false
		for _, a := range advices[engine] {
			text := a.text(need)
			if text == "" {
				continue // this way of starting a container needs nothing more
			}
			title := a.title
			if a.since != "" && need.cgroup {
				title += " (" + a.since + ")"
			}
			fmt.Fprintf(&b, "\n%s:\n\n%s", title, indentAdvice(text))
			said = true
		}
		if !said { // the only fault is the host's control groups, and this engine never mounts them
			b.WriteString("\nLeave out the mount of the host's /sys/fs/cgroup.\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// advice is one way to add what is missing.
type advice struct {
	title string
	since string               // first version whose flags make control groups writable
	text  func(missing) string // the lines to add, "" if there are none
}

var advices = map[Engine][]advice{
	Docker: {
		{"Add to docker run", "Docker 28 or later", flags(FlagCgroup)},
		{"or to the service in the compose file", "", compose(true)},
		{"With an older Docker, add to docker run", "", ifCgroup(flags(FlagHostCgroup))},
		{"or to the service in the compose file", "", ifCgroup(compose(false))},
	},
	DockerOld: {
		{"Add to docker run", "", flags(FlagHostCgroup)},
		{"or to the service in the compose file", "", compose(false)},
	},
	Podman: {
		{"Add to podman run", "", podmanFlags},
		{"or to the [Container] section of the quadlet", "", quadlet},
	},
	Nerdctl: {
		{"Add to nerdctl run", "nerdctl 2.1 or later", flags(FlagCgroup)},
		{"or to the service in the compose file", "", compose(true)},
	},
	Kubernetes: {
		{"Add to the container in the pod", "", kubernetesCapability},
		{"Or, without a capability, add to the pod", "", kubernetesRuntime},
		{"where the runtime class belongs to a runtime of containerd with", "containerd 2.1 or later", ifCgroup(lines("cgroup_writable = true"))},
		{"or, with CRI-O, the pod has the annotation", "", ifCgroup(lines(`io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw: "true"`))},
	},
	Containerd: {
		{"Add to nerdctl run", "nerdctl 2.1 or later", flags(FlagCgroup)},
		{"With a CRI, add to the runtime in containerd's configuration", "containerd 2.1 or later", ifCgroup(lines("cgroup_writable = true"))},
		{"and to the container's mounts", "", ociTmpfs},
		{"Or give the container the capability", "", ifCgroupOrRun(lines("CAP_SYS_ADMIN"))},
	},
	LXC: {
		{"Add to the container's configuration in LXC", "", lxc},
		{"In LXD or Incus, set for the instance", "", ifCgroupOrRun(lines("security.nesting=true"))},
	},
	Nspawn: {
		{"Start the container with", "", ifCgroupOrRun(lines("systemd-nspawn --boot --directory=DIR"))},
		{"and add", "", nspawnTmpfs},
	},
	OCI: {
		{"Add to the runtime's config.json, in mounts", "", ociTmpfs},
		{"Mount the control groups without ro, in a cgroup namespace of the container's own", "", ifCgroup(lines(
			`{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw", "nosuid", "noexec", "nodev"]}`))},
		{"Or give the container the capability", "", ifCgroupOrRun(lines("CAP_SYS_ADMIN"))},
	},
}

// flags returns a function that writes all flags in one line for docker run. cgroup is
// the flag that makes control groups writable.
func flags(cgroup string) func(missing) string {
	return func(m missing) string {
		var f []string
		for _, dir := range m.tmpfs {
			f = append(f, "--tmpfs "+dir)
		}
		switch {
		case m.cgroup:
			f = append(f, cgroup)
		case m.host:
			f = append(f, flagHostNamespace)
		}
		return strings.Join(f, " ")
	}
}

func compose(own bool) func(missing) string {
	return func(m missing) string {
		var b strings.Builder
		if len(m.tmpfs) > 0 {
			b.WriteString("tmpfs:\n")
			for _, dir := range m.tmpfs {
				fmt.Fprintf(&b, "  - %s\n", dir)
			}
		}
		switch {
		case m.cgroup && own:
			b.WriteString("security_opt:\n  - " + writableCgroups + "\n")
		case m.cgroup:
			b.WriteString("cgroup: host\nvolumes:\n  - " + hostCgroup + "\n")
		case m.host:
			b.WriteString("cgroup: host\n")
		}
		return b.String()
	}
}

// podmanFlags returns the flags for podman run. With --systemd=always podman mounts
// everything that systemd needs, but it mounts /run with nosuid.
func podmanFlags(m missing) string {
	f := []string{"--systemd=always"}
	for _, dir := range m.tmpfs {
		f = append(f, "--tmpfs "+dir)
	}
	if m.host {
		f = append(f, "--cgroupns=private, and leave out -v "+hostCgroup)
	}
	return strings.Join(f, " ")
}

func quadlet(m missing) string {
	if m.host {
		return ""
	}
	var b strings.Builder
	b.WriteString("PodmanArgs=--systemd=always\n")
	for _, dir := range m.tmpfs {
		b.WriteString("Tmpfs=" + dir + "\n")
	}
	return b.String()
}

func kubernetesCapability(m missing) string {
	if !m.cgroup && !m.runMissing() {
		return kubernetesVolumes(m.tmpfs)
	}
	rest := slices.DeleteFunc(slices.Clone(m.tmpfs), func(dir string) bool { return dir == runTmpfs })
	return "securityContext:\n  capabilities:\n    add: [SYS_ADMIN]\n  appArmorProfile: {type: Unconfined} # where the node has AppArmor\n" + kubernetesVolumes(rest)
}

func kubernetesRuntime(m missing) string {
	if !m.cgroup && !m.runMissing() {
		return ""
	}
	var b strings.Builder
	if m.cgroup {
		b.WriteString("runtimeClassName: NAME\n")
	}
	b.WriteString(kubernetesVolumes(m.tmpfs))
	return b.String()
}

// kubernetesVolumes mounts an emptyDir of medium Memory for each directory. This is a
// tmpfs from which programs can be started.
func kubernetesVolumes(tmpfs []string) string {
	if len(tmpfs) == 0 {
		return ""
	}
	var volumes, mounts strings.Builder
	for _, t := range tmpfs {
		dir, _, _ := strings.Cut(t, ":")
		name := strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-")
		fmt.Fprintf(&volumes, "  - {name: %s, emptyDir: {medium: Memory}}\n", name)
		fmt.Fprintf(&mounts, "      - {name: %s, mountPath: %s}\n", name, dir)
	}
	return "volumes:\n" + volumes.String() + "containers:\n  - volumeMounts:\n" + mounts.String()
}

func ociTmpfs(m missing) string {
	var b strings.Builder
	for _, t := range m.tmpfs {
		dir, _, _ := strings.Cut(t, ":")
		fmt.Fprintf(&b, `{"destination": %q, "type": "tmpfs", "source": "tmpfs", "options": ["nodev", "mode=755"]}`+"\n", dir)
	}
	return b.String()
}

func lxc(m missing) string {
	var b strings.Builder
	if m.cgroup || m.host {
		b.WriteString("lxc.mount.auto = cgroup:rw:force\n")
	}
	for _, t := range m.tmpfs {
		dir, _, _ := strings.Cut(t, ":")
		fmt.Fprintf(&b, "lxc.mount.entry = tmpfs %s tmpfs nodev,mode=755,create=dir 0 0\n", strings.TrimPrefix(dir, "/"))
	}
	return b.String()
}

func nspawnTmpfs(m missing) string {
	var f []string
	for _, t := range m.tmpfs {
		if t != runTmpfs { // systemd-nspawn --boot mounts /run
			f = append(f, "--tmpfs="+t)
		}
	}
	return strings.Join(f, " ")
}

func (m missing) runMissing() bool { return slices.Contains(m.tmpfs, runTmpfs) }

func lines(l ...string) func(missing) string {
	return func(missing) string { return strings.Join(l, "\n") }
}

func ifCgroup(f func(missing) string) func(missing) string {
	return when(func(m missing) bool { return m.cgroup }, f)
}

func ifCgroupOrRun(f func(missing) string) func(missing) string {
	return when(func(m missing) bool { return m.cgroup || m.runMissing() }, f)
}

func when(is func(missing) bool, f func(missing) string) func(missing) string {
	return func(m missing) string {
		if !is(m) {
			return ""
		}
		return f(m)
	}
}

func indentAdvice(text string) string {
	var b strings.Builder
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		b.WriteString("  " + line + "\n")
	}
	return b.String()
}

// runFlag returns the engine's flag for /run, "" if the engine has none.
func runFlag(engine Engine) string {
	switch engine {
	case Docker, DockerOld, Podman, Nerdctl:
		return FlagRun + ` (in a compose file: tmpfs: ["` + runTmpfs + `"])`
	}
	return ""
}
