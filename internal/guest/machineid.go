//go:build linux

package guest

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// machineIDs names the files that hold the machine id, see machine-id(5).
type machineIDs struct {
	File    string // /etc/machine-id
	Mounted bool   // File is a mount of its own: respect the choice of the user or engine
	Kept    string // copy beside the system's state, "" if the state does not outlive the container
}

// keptMachineID is the copy of the machine id for the next container. It is used if
// /var/lib, or a directory above or below it, is a volume.
const keptMachineID = "/var/lib/nixoci/machine-id"

func machineIDPlaces(ms Mounts) machineIDs {
	p := machineIDs{File: "/etc/machine-id"}
	_, p.Mounted = ms.At(p.File)
	if m, ok := ms.Holding(keptMachineID); ok && m.Point != "/" && m.Type != "tmpfs" && !m.ReadOnly() {
		p.Kept = keptMachineID
	}
	return p
}

// ensureMachineID writes a valid machine id before systemd reads it. If it is missing or
// "uninitialized", each start is a first boot, and without CAP_SYS_ADMIN systemd cannot
// end the first boot: then dbus-broker does not start.
//
// It takes the first valid id of these: a mounted file, the copy beside the state, the
// file in the container, the id from the engine, a new id.
func ensureMachineID(p machineIDs, env *bootEnv) error {
	current := readMachineID(p.File)
	id := current
	if kept := readMachineID(p.Kept); kept != "" && (id == "" || !p.Mounted) {
		id = kept
	}
	if id == "" {
		// Engines may pass container_uuid (systemd.io/CONTAINER_INTERFACE); podman does.
		id = parseMachineID(strings.ReplaceAll(env.get("container_uuid"), "-", ""))
	}
	if id == "" {
		var err error
		if id, err = newMachineID(); err != nil {
			return err
		}
	}
	if p.Kept != "" && readMachineID(p.Kept) == "" {
		if err := os.MkdirAll(filepath.Dir(p.Kept), 0o755); err != nil {
			return fmt.Errorf("keep the machine id: %w", err)
		}
		if err := writeInPlace(p.Kept, id); err != nil {
			return fmt.Errorf("keep the machine id: %w", err)
		}
	}
	if id == current {
		return nil
	}
	// The configuration sets the id in /etc/static/machine-id: activation writes it.
	if info, err := os.Lstat(p.File); err == nil && info.Mode()&os.ModeSymlink != 0 {
		return nil
	}
	if err := writeInPlace(p.File, id); err != nil && !(p.Mounted && errors.Is(err, syscall.EROFS)) {
		return fmt.Errorf("write the machine id: %w", err)
	}
	return nil
}

// writeInPlace overwrites the file instead of replacing it: it may be a bind mount.
func writeInPlace(file, id string) error {
	if err := os.WriteFile(file, []byte(id+"\n"), 0o444); err != nil {
		return err
	}
	return os.Chmod(file, 0o444)
}

// readMachineID returns "" if the id is missing or not valid.
func readMachineID(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return parseMachineID(strings.TrimSuffix(string(data), "\n"))
}

func parseMachineID(s string) string {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 16 || strings.Trim(s, "0") == "" {
		return ""
	}
	return strings.ToLower(s)
}

// newMachineID returns a random UUID, version 4, as systemd does.
func newMachineID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make a machine id: %w", err)
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return hex.EncodeToString(b[:]), nil
}
