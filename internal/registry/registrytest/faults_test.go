package registrytest

import (
	"slices"
	"testing"
)

// TestScript checks that the faults of every seed can be written as a script and read again.
func TestScript(t *testing.T) {
	for seed := range uint64(200) {
		for _, want := range [][]Fault{Seeded(seed, PushClasses), Seeded(seed, PullClasses)} {
			text := ""
			for _, f := range want {
				text += f.String() + "; "
			}
			got, err := ParseScript(text)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("%s: %v, %v", text, got, err)
			}
		}
	}
	for _, wrong := range []string{"patch", "patch nothing", "post cut", "patch cut after", "patch cut after x", "patch cut maybe 1"} {
		if _, err := ParseScript(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
	if got, err := ParseScript("# all\nany cut always\n\n"); err != nil || len(got) != 1 || got[0].Times != Always {
		t.Errorf("%v, %v", got, err)
	}
}
