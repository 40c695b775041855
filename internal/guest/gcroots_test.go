//go:build linux

package guest

import (
	"os"
	"testing"
)

func TestHoldImage(t *testing.T) {
	dir := t.TempDir()
	roots := dir + "/nix/var/nix/gcroots"
	held := func() string {
		target, _ := os.Readlink(roots + "/" + imageRoot)
		return target
	}
	if err := holdImage(roots, dir+"/missing"); err != nil || held() != "" {
		t.Errorf("%v, %q", err, held())
	}
	for _, name := range []string{"one", "two", "two"} {
		top := toplevel(t, dir+"/"+name, "")
		if err := holdImage(roots, top); err != nil || held() != top {
			t.Errorf("%v, %q", err, held())
		}
	}
}
