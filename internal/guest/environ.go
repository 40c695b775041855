//go:build linux

package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// runtimeDir holds what this boot has to remember. It is on a tmpfs.
const runtimeDir = "/run/nixoci"

// bootEnv is an environment in its order.
type bootEnv struct{ vars []string }

func newBootEnv(vars []string) *bootEnv { return &bootEnv{append([]string(nil), vars...)} }

func (e *bootEnv) list() []string { return e.vars }

func (e *bootEnv) get(name string) string {
	for _, v := range e.vars {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// setDefault sets a variable that is not set or empty.
func (e *bootEnv) setDefault(name, value string) {
	for i, v := range e.vars {
		if got, ok := strings.CutPrefix(v, name+"="); ok {
			if got == "" {
				e.vars[i] = name + "=" + value
			}
			return
		}
	}
	e.vars = append(e.vars, name+"="+value)
}

// set sets a variable whatever it was.
func (e *bootEnv) set(name, value string) {
	e.vars = slices.DeleteFunc(e.vars, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	e.vars = append(e.vars, name+"="+value)
}

// plainConsole says that the console is a log and not a terminal. podman sets
// TERM=xterm also without a terminal, and systemd 262 then asks it for its size.
func (e *bootEnv) plainConsole() {
	e.setDefault("SYSTEMD_COLORS", "0")
	e.set("TERM", "dumb")
}

// kept are the variables that the build of a configuration may want to see.
// systemd does not pass PID 1's environment on to units.
func kept(name string) bool {
	switch strings.ToLower(name) {
	case "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy":
		return true
	}
	return strings.HasPrefix(name, "NIXOCI_") || name == "NIX_CONFIG" || name == "NIX_SSL_CERT_FILE"
}

const (
	environmentFile = "environment.json" // for apply, what [kept] names
	unitEnvironment = "environment"      // for units: EnvironmentFile=/run/nixoci/environment
)

// ownVariables are PID 1's and the engine's. A unit has its own PATH, and would
// lose it.
var ownVariables = []string{
	"PATH", "HOME", "TERM", "HOSTNAME", "PWD", "OLDPWD", "SHLVL", "_", "container", "container_uuid",
	"SYSTEMD_COLORS", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
}

// saveEnvironment writes what the container was started with, for units and for
// apply: systemd does not pass PID 1's environment on. Only root reads it: a
// password or an access token may be among it. left names the variables that no
// unit can have.
func saveEnvironment(dir string, env *bootEnv) (left []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("save environment: %w", err)
	}
	keep := []string{}
	var file strings.Builder
	for _, v := range env.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok || slices.Contains(ownVariables, name) {
			continue
		}
		if kept(name) {
			keep = append(keep, v)
		}
		if !validVariable(name, value) {
			left = append(left, fmt.Sprintf("%q", name))
			continue
		}
		file.WriteString(name + "=" + quoteVariable(value) + "\n")
	}
	data, err := json.Marshal(keep)
	if err != nil {
		return nil, fmt.Errorf("save environment: %w", err)
	}
	for name, content := range map[string][]byte{environmentFile: data, unitEnvironment: []byte(file.String())} {
		if err := writePrivate(filepath.Join(dir, name), content); err != nil {
			return nil, fmt.Errorf("save environment: %w", err)
		}
	}
	return left, nil
}

// writePrivate writes a file that never was readable by others.
func writePrivate(file string, content []byte) error {
	if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(file, content, 0o600)
}

// validVariable says whether systemd takes a variable: env_name_is_valid() and
// env_value_is_valid() of src/basic/env-util.c. One that it does not take would
// cost a line in the log of each unit, or the whole file.
func validVariable(name, value string) bool {
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	return utf8.ValidString(value) && !strings.ContainsFunc(value, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' || r == 0x7f
	})
}

// quoteVariable writes a value so that systemd's parser reads it back:
// parse_env_file_internal() of src/basic/env-file.c. Line ends stand for
// themselves between double quotes.
func quoteVariable(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`).Replace(value) + `"`
}

// loadEnvironment returns the saved variables, none when PID 1 was not Boot.
func loadEnvironment(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, environmentFile))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load environment: %w", err)
	}
	var vars []string
	if err := json.Unmarshal(data, &vars); err != nil {
		return nil, fmt.Errorf("load environment: %w", err)
	}
	return vars, nil
}
