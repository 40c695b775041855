//go:build linux

package guest

import (
	"fmt"
	"io"
	"strings"
)

// WriteAdvice explains to a person what is missing and what exactly to add,
// for docker run, compose and podman. engine is the value of $container.
func WriteAdvice(w io.Writer, problems []Problem, engine string) error {
	var tmpfs []string
	var cgroup, host bool
	var b strings.Builder
	b.WriteString("nixoci: this container cannot boot the way it was started:\n")
	for _, p := range problems {
		fmt.Fprintf(&b, "  - %s\n", p.What)
		switch {
		case p.Tmpfs == "/run":
			tmpfs = append(tmpfs, "/run", "/run/lock", "/tmp")
		case p.Tmpfs != "":
			tmpfs = append(tmpfs, p.Tmpfs)
		}
		cgroup = cgroup || p.Cgroup
		host = host || p.Cgroup || p.Host
	}
	for _, p := range problems {
		if p.Advice != "" {
			fmt.Fprintf(&b, "\n%s\n", p.Advice)
		}
	}
	if len(tmpfs) > 0 || host {
		b.WriteString("\nAdd to docker run:\n\n")
		b.WriteString("  " + dockerFlags(tmpfs, cgroup, host) + "\n")
		b.WriteString("\nor to the service in the compose file:\n\n")
		if len(tmpfs) > 0 {
			b.WriteString("  tmpfs:\n")
			for _, dir := range tmpfs {
				fmt.Fprintf(&b, "    - %s\n", dir)
			}
		}
		if host {
			b.WriteString("  cgroup: host\n")
		}
		if cgroup {
			b.WriteString("  volumes:\n    - /sys/fs/cgroup:/sys/fs/cgroup:rw\n")
		}
		if engine == "podman" {
			b.WriteString("\npodman does all of this by itself with --systemd=always.\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func dockerFlags(tmpfs []string, cgroup, host bool) string {
	var flags []string
	for _, dir := range tmpfs {
		flags = append(flags, "--tmpfs "+dir)
	}
	if host {
		flags = append(flags, "--cgroupns=host")
	}
	if cgroup {
		flags = append(flags, "--volume /sys/fs/cgroup:/sys/fs/cgroup:rw")
	}
	return strings.Join(flags, " ")
}
