package main

import (
	"strings"
	"testing"
)

// TestDecode checks that both forms of the output of nix path-info --json give the same graph.
func TestDecode(t *testing.T) {
	const libc, app = "/nix/store/00000000000000000000000000000001-libc-2", "/nix/store/00000000000000000000000000000002-app-1"
	array := `[{"path":"` + app + `","narSize":7,"references":["` + libc + `"]},{"path":"` + libc + `","narSize":30,"references":["` + libc + `"]}]`
	object := `{"` + app + `":{"narSize":7,"references":["` + libc + `"]},"` + libc + `":{"narSize":30,"references":["` + libc + `"]}}`
	for _, text := range []string{array, object} {
		g, err := decode("test", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(g.nodes) != 2 || g.nodes[0].name != "libc-2" || g.nodes[1].name != "app-1" || g.bytes() != 37 {
			t.Errorf("%s: nodes %+v", text, g.nodes)
		}
		if g.real.Info(libc) == nil || len(g.real.Info(app).References) != 1 {
			t.Errorf("%s: closure %+v", text, g.real.Paths)
		}
	}
	for _, text := range []string{"", "7", `{"a":7}`, `[{"path":"/tmp/x"}]`} {
		if g, err := decode("test", strings.NewReader(text)); err == nil {
			t.Errorf("%q: %d nodes, want an error", text, len(g.nodes))
		}
	}
}
