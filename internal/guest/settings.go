//go:build linux

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// secretsDir is where engines put secrets, each a file.
const secretsDir = "/run/secrets"

// setCredentials makes the engine's secrets the system's credentials: a unit
// that says LoadCredential=name gets the file name, with the modes and the
// owner of a credential (systemd.exec(5)). systemd reads the directory anew for
// each unit that starts, so that a secret may change or come later.
func setCredentials(env *bootEnv, dir string) {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		env.setDefault("CREDENTIALS_DIRECTORY", dir)
	}
}

// setTimeZone makes $TZ the time zone of all units, unless the configuration
// sets time.timeZone: activation links /etc/localtime then. localtime is what
// the C library reads, zones the system's time zones.
func setTimeZone(localtime, zones, tz string, ms Mounts) error {
	tz = strings.TrimPrefix(tz, ":")
	if tz == "" {
		return nil
	}
	if _, mounted := ms.At(localtime); mounted {
		return nil // by the engine, as podman run --tz does, or by the user
	}
	info, err := os.Lstat(localtime)
	switch {
	case err == nil && info.Mode()&os.ModeSymlink == 0:
		return nil // somebody's own
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("set time zone %q: %w", tz, err)
	}
	if _, err := os.Stat(filepath.Join(zones, tz)); !filepath.IsLocal(tz) || err != nil {
		return fmt.Errorf("TZ=%s: this system has no such time zone", tz)
	}
	next := localtime + ".nixoci"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("set time zone %q: %w", tz, err)
	}
	// The name below zoneinfo is the time zone's, for timedatectl.
	if err := os.Symlink("/etc/zoneinfo/"+tz, next); err != nil {
		return fmt.Errorf("set time zone %q: %w", tz, err)
	}
	if err := os.Rename(next, localtime); err != nil {
		return fmt.Errorf("set time zone %q: %w", tz, err)
	}
	return nil
}
