//go:build linux

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// unitDir is where units of this boot alone are configured: systemd.unit(5).
const unitDir = "/run/systemd/system"

const dropInName = "50-nixoci.conf"

// What the engine mounted stays mounted until the container ends. systemd would
// try to unmount it, in vain.
const mountDropIn = `# The container's engine mounted this, and unmounts it.
[Unit]
DefaultDependencies=no
`

// A drop-in alone does not do. Where a unit needs the directory
// (RequiresMountsFor=), systemd loads the mount before it reads what is mounted,
// does not find it, and never reads the drop-in. systemd takes What= from
// /proc/self/mountinfo.
const mountFile = mountDropIn + `
[Mount]
What=none
Where=%s
`

// The files of LoadCredential= are mounts that come and go with their unit.
// Before version 253 systemd unmounts them once more when it stops. A drop-in of
// this name is for all of them.
const credentialMounts = "run-credentials-.mount"

const credentialDropIn = `# The unit that has these credentials unmounts them.
[Unit]
DefaultDependencies=no
`

// The engine's, or the user's, /etc/machine-id is not systemd's to replace: a
// unit that tries fails, and with it a switch.
const machineIDDropIn = `# /etc/machine-id was mounted by whoever started the container.
[Unit]
ConditionVirtualization=!container
`

// writeUnits keeps systemd from unmounting what it has not mounted.
func writeUnits(dir string, ms Mounts) error {
	files := map[string]string{filepath.Join(credentialMounts+".d", dropInName): credentialDropIn}
	for _, m := range ms {
		if unit, ok := mountUnit(m.Point); ok {
			files[filepath.Join(unit+".d", dropInName)] = mountDropIn
			// systemd refuses a unit file for what it mounts itself, and complains of it.
			if !slices.ContainsFunc(needs, func(n need) bool { return n.path == m.Point }) {
				files[unit] = fmt.Sprintf(mountFile, strings.ReplaceAll(m.Point, "%", "%%"))
			}
		}
		if m.Point == "/etc/machine-id" {
			files[filepath.Join("systemd-machine-id-commit.service.d", dropInName)] = machineIDDropIn
		}
	}
	for name, text := range files {
		if err := writeNew(filepath.Join(dir, name), text); err != nil {
			return fmt.Errorf("configure %s: %w", name, err)
		}
	}
	return nil
}

// writeNew writes a file and leaves one alone that is there: the user's.
func writeNew(file, text string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
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
	if point == "/" || len(name) > longest || strings.ContainsFunc(point, unicode.IsControl) {
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
