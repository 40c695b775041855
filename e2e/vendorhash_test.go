//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVendorHash checks the vendorHash in nix/nixoci.nix. Nix builds nixoci only if this is the
// hash of its vendored Go modules. A new import in a test can change it, too.
func TestVendorHash(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(scratchDir(t), "vendor")
	in(t, "..", nil, "go", "mod", "vendor", "-o", dir)
	hash := strings.TrimSpace(command(t, "nix", "--extra-experimental-features", "nix-command", "hash", "path", dir))
	text, err := os.ReadFile("../nix/nixoci.nix")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `vendorHash = "`+hash+`";`) {
		t.Errorf("nix/nixoci.nix does not have the hash %s: run make vendor-hash", hash)
	}
}
