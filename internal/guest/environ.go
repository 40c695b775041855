//go:build linux

package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// kept are the variables that the build of a configuration may want to see.
// systemd does not pass PID 1's environment on to units.
func kept(name string) bool {
	switch strings.ToLower(name) {
	case "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy":
		return true
	}
	return strings.HasPrefix(name, "NIXOCI_") || name == "NIX_CONFIG" || name == "NIX_SSL_CERT_FILE"
}

const environmentFile = "environment.json"

// saveEnvironment writes what [kept] names. Only root reads it: a proxy or an
// access token may be among it.
func saveEnvironment(dir string, env *bootEnv) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("save environment: %w", err)
	}
	keep := []string{}
	for _, v := range env.vars {
		if name, _, ok := strings.Cut(v, "="); ok && kept(name) {
			keep = append(keep, v)
		}
	}
	data, err := json.Marshal(keep)
	if err != nil {
		return fmt.Errorf("save environment: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, environmentFile), data, 0o600); err != nil {
		return fmt.Errorf("save environment: %w", err)
	}
	return nil
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
