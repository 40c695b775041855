package layers

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestOwners checks that an entry gets the owner that Own set before it. A reader must accept
// such owners only after AllowOwners.
func TestOwners(t *testing.T) {
	var b bytes.Buffer
	w := NewTarWriter(&b)
	long := strings.Repeat("d", 120)
	w.Own(1000, 1<<21-1)
	err := errors.Join(w.Directory("a", 0o755), w.File("a/"+long, 0o600, 2, strings.NewReader("hi")))
	w.Own(0, 0)
	if err = errors.Join(err, w.Symlink("b", "a"), w.Close()); err != nil {
		t.Fatal(err)
	}
	r := NewTarReader(bytes.NewReader(b.Bytes()), nil)
	r.AllowOwners()
	for _, want := range []TarEntry{{Name: "a", UID: 1000, GID: 1<<21 - 1}, {Name: "a/" + long, UID: 1000, GID: 1<<21 - 1}, {Name: "b"}} {
		e, err := r.Next()
		if err != nil || e.Name != want.Name || e.UID != want.UID || e.GID != want.GID {
			t.Fatalf("%+v, %v, want %+v", e, err, want)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
	strict := NewTarReader(bytes.NewReader(b.Bytes()), nil)
	if _, err := strict.Next(); err == nil || !strings.Contains(err.Error(), "owner is 1000, not 0") {
		t.Errorf("without AllowOwners: %v", err)
	}
}
