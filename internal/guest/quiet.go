//go:build linux

package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// dropInDir is where units of this boot alone are configured: systemd.unit(5).
const dropInDir = "/run/systemd/system"

const dropInName = "50-nixoci.conf"

// What the engine mounted stays mounted until the container ends. systemd would
// try to unmount it, in vain.
const mountDropIn = `# The container's engine mounted this, and unmounts it.
[Unit]
DefaultDependencies=no
`

// The engine's, or the user's, /etc/machine-id is not systemd's to replace: a
// unit that tries fails, and with it a switch.
const machineIDDropIn = `# /etc/machine-id was mounted by whoever started the container.
[Unit]
ConditionVirtualization=!container
`

// writeDropIns keeps systemd from unmounting what it has not mounted.
func writeDropIns(dir string, ms Mounts) error {
	units := map[string]string{}
	for _, m := range ms {
		if unit, ok := mountUnit(m.Point); ok {
			units[unit] = mountDropIn
		}
		if m.Point == "/etc/machine-id" {
			units["systemd-machine-id-commit.service"] = machineIDDropIn
		}
	}
	for unit, text := range units {
		d := filepath.Join(dir, unit+".d")
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("configure %s: %w", unit, err)
		}
		if err := os.WriteFile(filepath.Join(d, dropInName), []byte(text), 0o644); err != nil {
			return fmt.Errorf("configure %s: %w", unit, err)
		}
	}
	return nil
}

// mountUnit names systemd's unit for a mount point, if it is one that systemd
// unmounts: not /, nor what it takes for the kernel's.
func mountUnit(point string) (unit string, ok bool) {
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if point == dir || strings.HasPrefix(point, dir+"/") {
			return "", false
		}
	}
	name := escapeUnitPath(point) + ".mount"
	const longest = 255 - len(".d") // of a file name; longer ones have no readable unit
	if point == "/" || len(name) > longest {
		return "", false
	}
	return name, true
}

// escapeUnitPath is systemd-escape --path.
func escapeUnitPath(path string) string {
	path = strings.Trim(filepath.Clean(path), "/")
	if path == "" {
		return "-"
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '/':
			b.WriteByte('-')
		case c == '.' && i == 0:
			fmt.Fprintf(&b, `\x%02x`, c)
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == ':', c == '_', c == '.':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}
