//go:build linux

package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"syscall"
	"testing"
)

// nix-store --dump and nix-hash compute the same hash for this tree.
func TestWriteNAR(t *testing.T) {
	dir := t.TempDir() + "/d"
	for file, content := range map[string]string{"a": "hello\n", "sub/eight": "12345678", "Z": "x", "b.sh": "#!/bin/sh\n"} {
		write(t, dir+"/"+file, content)
		if file != "b.sh" {
			os.Chmod(dir+"/"+file, 0o644)
		}
	}
	os.Mkdir(dir+"/empty", 0o755)
	link(t, "../a", dir+"/sub/link")
	h := sha256.New()
	if err := writeNAR(h, dir); err != nil {
		t.Fatal(err)
	}
	sum := h.Sum(nil)
	if got := hex.EncodeToString(sum); got != "4b42cf5e1e44142aed05b857265bfa424e87090cb811a85c362f85f5cd4e2931" {
		t.Errorf("hash %s", got)
	}
	if got := base32(sum); got != "0c999v6zb19g6rfah4dq1h4qfkj2z9djcmxq0pnjl5243rgcyhjb" {
		t.Errorf("in base 32 %s", got)
	}
	if err := syscall.Mkfifo(dir+"/pipe", 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeNAR(h, dir); err == nil {
		t.Error("a pipe has no form in a NAR")
	}
}
