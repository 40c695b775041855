//go:build linux

package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Base describes the image: it is the content of /etc/nixoci/base.json, which
// nix/container.nix writes. Nixpkgs, Module and Nix are store paths.
type Base struct {
	Version int    `json:"version"` // 1
	System  string `json:"system"`  // for instance x86_64-linux
	Nixpkgs string `json:"nixpkgs"` // the pinned nixpkgs
	Module  string `json:"module"`  // directory with apply.nix and container.nix
	Nix     string `json:"nix"`     // package with bin/nix-build
}

const (
	baseFile    = "/etc/nixoci/base.json"
	baseVersion = 1
)

// State is what was applied last. Its file is beside the store to which it refers, so a
// volume on /nix keeps both or neither. A cache has its own list.
type State struct {
	Fingerprint string    `json:"fingerprint"`
	Toplevel    string    `json:"toplevel"`
	Time        time.Time `json:"time"`
}

const stateDir = "/nix/var/nixoci"

// Phases of [Status].
const (
	PhaseBuilding  = "building"
	PhaseWaiting   = "waiting" // for systemd to finish starting
	PhaseSwitching = "switching"
	PhaseKeeping   = "keeping" // copies paths into the cache
	PhaseIdle      = "idle"
)

// Outcomes of [Status].
const (
	OutcomeNone      = "none"      // no configuration is mounted
	OutcomeApplied   = "applied"   // built and switched to
	OutcomeUnchanged = "unchanged" // was running already
	OutcomeFailed    = "failed"
)

// Status is what apply is doing now, and how the last apply since the container's start
// ended. Outcome is empty until the first apply has ended.
type Status struct {
	Phase   string    `json:"phase"`
	Outcome string    `json:"outcome"`
	Reason  string    `json:"reason,omitempty"` // may have several lines
	Since   time.Time `json:"since"`
	// Fingerprint identifies the configuration that was applied or tried.
	Fingerprint string `json:"fingerprint,omitempty"`
}

const (
	stateFile  = "state.json"
	statusFile = "status.json"
)

// readJSON reads the file into v, and reports whether the file exists.
func readJSON(file string, v any) (bool, error) {
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("read %s: %w", file, err)
	}
	return true, nil
}

// writeJSON writes a file whole or not at all.
func writeJSON(file string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
