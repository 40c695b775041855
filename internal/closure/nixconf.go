package closure

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/nixoci/nixoci/internal/limit"
)

// NixConfigKeys returns the public keys that Nix on this machine trusts. It
// reads trusted-public-keys and extra-trusted-public-keys from the system's
// nix.conf, the user's nix.conf and NIX_CONFIG, in the same order as Nix. If
// trusted-public-keys is not set, NixConfigKeys uses [DefaultPublicKey] instead. It
// ignores a file that is missing or not readable.
func NixConfigKeys() ([]string, error) {
	c := nixConfig{keys: []string{DefaultPublicKey}}
	for _, file := range nixConfFiles() {
		if err := c.file(file, 0); err != nil {
			return nil, err
		}
	}
	if err := c.parse(os.Getenv("NIX_CONFIG"), ".", 0); err != nil {
		return nil, fmt.Errorf("NIX_CONFIG: %w", err)
	}
	all := append(c.keys, c.extra...)
	slices.Sort(all)
	return slices.Compact(all), nil
}

// nixConfFiles returns the files that Nix reads (Nix manual, "nix.conf"), sorted by
// priority. The file with the lowest priority comes first.
func nixConfFiles() []string {
	dir := os.Getenv("NIX_CONF_DIR")
	if dir == "" {
		dir = "/etc/nix"
	}
	files := []string{filepath.Join(dir, "nix.conf")}
	if user, ok := os.LookupEnv("NIX_USER_CONF_FILES"); ok {
		list := filepath.SplitList(user)
		slices.Reverse(list)
		return append(files, list...)
	}
	var dirs []string
	if home, err := os.UserConfigDir(); err == nil {
		if xdg := os.Getenv("XDG_CONFIG_HOME"); xdg != "" {
			home = xdg
		} else if h, err := os.UserHomeDir(); err == nil {
			home = filepath.Join(h, ".config") // Nix uses this directory on macOS, too
		}
		dirs = append(dirs, home)
	}
	xdg := os.Getenv("XDG_CONFIG_DIRS")
	if xdg == "" {
		xdg = "/etc/xdg"
	}
	dirs = append(dirs, filepath.SplitList(xdg)...)
	slices.Reverse(dirs)
	for _, d := range dirs {
		files = append(files, filepath.Join(d, "nix", "nix.conf"))
	}
	return files
}

type nixConfig struct{ keys, extra []string }

func (c *nixConfig) file(file string, depth int) error {
	if file == os.DevNull {
		return nil // NIX_USER_CONF_FILES=/dev/null means that there are no user settings
	}
	data, err := limit.ReadFile(file, limit.NixConf)
	// With NIX_CONF_DIR=/dev/null, opening nix.conf returns ENOTDIR.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read nix.conf: %w", err)
	}
	if err := c.parse(string(data), filepath.Dir(file), depth); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// parse reads settings. A later setting replaces an earlier setting of the same name.
// A setting that begins with extra- adds keys.
func (c *nixConfig) parse(text, dir string, depth int) error {
	if depth > limit.NixConfDeep {
		return errors.New("include is too deep")
	}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 2 && (words[0] == "include" || words[0] == "!include") {
			file := words[1]
			if !filepath.IsAbs(file) {
				file = filepath.Join(dir, file)
			}
			if err := c.file(file, depth+1); err != nil {
				return err
			}
			continue
		}
		if len(words) < 2 || words[1] != "=" {
			continue // not a setting with a value
		}
		switch words[0] {
		case "trusted-public-keys", "binary-cache-public-keys":
			c.keys, c.extra = words[2:], nil
		case "extra-trusted-public-keys", "extra-binary-cache-public-keys":
			c.extra = append(c.extra, words[2:]...)
		}
	}
	return nil
}
