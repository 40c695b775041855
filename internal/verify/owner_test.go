package verify

import (
	"bytes"
	"errors"
	"testing"

	"github.com/nixoci/nixoci/internal/layers"
)

// TestOtherOwner checks that verify reports a different owner of a file, whether or not owners are
// allowed.
func TestOtherOwner(t *testing.T) {
	tarOf := func(uid int64) *bytes.Reader {
		var b bytes.Buffer
		w := layers.NewTarWriter(&b)
		w.Own(uid, 0)
		must(t, errors.Join(w.Directory("home", 0o755), w.Close()))
		return bytes.NewReader(b.Bytes())
	}
	for _, test := range []struct {
		got, want int64
		owners    bool
		says      string
	}{{1000, 1000, true, ""}, {1000, 1001, true, "owner is 1000:0, not 1001:0"}, {0, 0, false, ""}, {1000, 0, false, "owner is 1000, not 0"}} {
		var found string
		err := differentTars(tarOf(test.got), tarOf(test.want), test.owners, func(entry, what string) error {
			found = what
			return nil
		})
		if err != nil || found != test.says {
			t.Errorf("%+v: %q, %v", test, found, err)
		}
	}
}
