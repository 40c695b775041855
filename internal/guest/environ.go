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

// runtimeDir holds files that are valid for this boot only. It is on a tmpfs.
const runtimeDir = "/run/nixoci"

// bootEnv is an environment that keeps the order of its variables.
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

// setDefault sets a variable if it is missing or empty.
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

// set sets a variable and replaces any old value.
func (e *bootEnv) set(name, value string) {
	e.vars = slices.DeleteFunc(e.vars, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	e.vars = append(e.vars, name+"="+value)
}

// plainConsole tells systemd that the console is a log, not a terminal. podman sets TERM=xterm
// even without a terminal, and systemd 262 would then ask the terminal for its size.
func (e *bootEnv) plainConsole() {
	e.setDefault("SYSTEMD_COLORS", "0")
	e.set("TERM", "dumb")
}

// kept reports whether the build of a configuration may need the variable. systemd does
// not pass PID 1's environment on to units.
func kept(name string) bool {
	switch strings.ToLower(name) {
	case "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy":
		return true
	}
	return strings.HasPrefix(name, "NIXOCI_") || name == "NIX_CONFIG" || name == "NIX_SSL_CERT_FILE"
}

const (
	environmentFile = "environment.json" // for apply: the variables for which [kept] is true
	unitEnvironment = "environment"      // for units: EnvironmentFile=/run/nixoci/environment
)

// ownVariables belong to PID 1 and the engine. Units do not get them: a unit has its own
// PATH, for instance, and would lose it.
var ownVariables = []string{
	"PATH", "HOME", "TERM", "HOSTNAME", "PWD", "OLDPWD", "SHLVL", "_", "container", "container_uuid",
	"SYSTEMD_COLORS", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
}

// saveEnvironment writes the container's environment into files for units and for apply,
// because systemd does not pass PID 1's environment on. Only root can read the files:
// they may contain a password or an access token. left lists the variables that units
// cannot get.
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

// writePrivate writes a file that other users cannot read at any time.
func writePrivate(file string, content []byte) error {
	if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(file, content, 0o600)
}

// validVariable reports whether systemd accepts a variable: env_name_is_valid() and
// env_value_is_valid() of src/basic/env-util.c. If one is not valid, each unit logs a
// line about it, or systemd ignores the whole file.
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

// quoteVariable quotes a value so that systemd's parser reads the same value:
// parse_env_file_internal() of src/basic/env-file.c. Between double quotes a line end
// needs no escape.
func quoteVariable(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`).Replace(value) + `"`
}

// loadEnvironment returns the saved variables, none if nixoci-init was not PID 1.
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
