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

// unitDir holds unit files that are valid for this boot only: systemd.unit(5).
const unitDir = "/run/systemd/system"

const dropInName = "50-nixoci.conf"

// The engine's mounts stay until the container ends. systemd would try to unmount them,
// and fail.
const mountDropIn = `# The container's engine mounted this, and unmounts it.
[Unit]
DefaultDependencies=no
`

// A drop-in alone is not enough. If a unit needs the directory (RequiresMountsFor=),
// systemd loads the mount unit before it reads the mounts. Then it finds no unit file,
// and never reads the drop-in. So there is a unit file too. systemd takes the real What=
// from /proc/self/mountinfo.
const mountFile = mountDropIn + `
[Mount]
What=none
Where=%s
`

// The files of LoadCredential= are mounts that come and go with their unit. systemd
// before version 253 tries to unmount them again at its shutdown. A drop-in with this
// name applies to all of them.
const credentialMounts = "run-credentials-.mount"

const credentialDropIn = `# The unit that has these credentials unmounts them.
[Unit]
DefaultDependencies=no
`

// systemd must not replace an /etc/machine-id that the engine or the user mounted: the
// unit that tries it fails, and a switch then fails too.
const machineIDDropIn = `# /etc/machine-id was mounted by whoever started the container.
[Unit]
ConditionVirtualization=!container
`

// writeUnits writes unit files that keep systemd from unmounting the engine's mounts.
func writeUnits(dir string, ms Mounts) error {
	files := map[string]string{filepath.Join(credentialMounts+".d", dropInName): credentialDropIn}
	for _, m := range ms {
		if unit, ok := mountUnit(m.Point); ok {
			files[filepath.Join(unit+".d", dropInName)] = mountDropIn
			// systemd mounts these itself: it refuses a unit file for them, and logs that.
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

// writeNew writes a file only if it does not exist: an existing one is the user's.
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

// mountUnit returns the name of systemd's unit for a mount point. ok is false if systemd
// does not unmount it: /, and everything below /proc, /sys and /dev.
func mountUnit(point string) (unit string, ok bool) {
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if point == dir || strings.HasPrefix(point, dir+"/") {
			return "", false
		}
	}
	name := escapeUnitPath(point) + ".mount"
	const longest = 255 - len(".d") // the limit for file names; a longer name cannot have a unit file
	if point == "/" || len(name) > longest || strings.ContainsFunc(point, unicode.IsControl) {
		return "", false
	}
	return name, true
}

// escapeUnitPath works like systemd-escape --path.
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
