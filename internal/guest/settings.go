//go:build linux

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// secretsDir is where engines put secrets, one file each.
const secretsDir = "/run/secrets"

// setCredentials makes the engine's secrets available as systemd credentials: a unit with
// LoadCredential=NAME gets the file NAME, with the mode and owner of a credential
// (systemd.exec(5)). systemd reads the directory again for each unit that starts, so a
// secret may change or be added later.
func setCredentials(env *bootEnv, dir string) {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		env.setDefault("CREDENTIALS_DIRECTORY", dir)
	}
}

// setTimeZone makes $TZ the time zone of all units. If the configuration sets
// time.timeZone, activation overwrites it. localtime is the link that the C library
// reads. zones is the directory of the system's time zones.
func setTimeZone(localtime, zones, tz string, ms Mounts) error {
	tz = strings.TrimPrefix(tz, ":")
	if tz == "" {
		return nil
	}
	if _, mounted := ms.At(localtime); mounted {
		return nil // mounted by the engine, as podman run --tz does, or by the user
	}
	info, err := os.Lstat(localtime)
	switch {
	case err == nil && info.Mode()&os.ModeSymlink == 0:
		return nil // a file that somebody put there
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
	// timedatectl reads the name of the time zone from the path below zoneinfo.
	if err := os.Symlink("/etc/zoneinfo/"+tz, next); err != nil {
		return fmt.Errorf("set time zone %q: %w", tz, err)
	}
	if err := os.Rename(next, localtime); err != nil {
		return fmt.Errorf("set time zone %q: %w", tz, err)
	}
	return nil
}
