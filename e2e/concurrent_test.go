//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestConcurrentPushes runs twenty processes at the same time. They push two versions, each
// for both platforms, to two tags of one repository. All of them use the same cache, which is
// empty at first.
func TestConcurrentPushes(t *testing.T) {
	sample, err := filepath.Abs("../testdata")
	if err != nil {
		t.Fatal(err)
	}
	systems := map[string]string{}
	data, err := os.ReadFile(filepath.Join(sample, "systems.json"))
	if err == nil {
		err = json.Unmarshal(data, &systems)
	}
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(sample, "public-key"))
	if err != nil {
		t.Fatal(err)
	}
	push := func(ref, variant string) []string {
		return []string{"push", ref, "--from", "file://" + filepath.Join(sample, "cache"), "--trusted-public-key", string(key),
			systems["sample-x86_64-linux"+variant], systems["sample-aarch64-linux"+variant]}
	}
	variants := []struct{ tag, suffix, digest string }{{tag: "v1"}, {tag: "v2", suffix: "-update"}}
	for i, v := range variants {
		variants[i].digest = run{}.ok(t, push(registry(t)+"/alone:"+v.tag, v.suffix)...).digest(t)
	}
	shared := scratchDir(t)
	outcomes := make([]outcome, 20)
	var wg sync.WaitGroup
	for i := range outcomes {
		v := variants[i%len(variants)]
		wg.Go(func() { outcomes[i] = run{cache: shared}.nixoci(t, push(registry(t)+"/crowd:"+v.tag, v.suffix)...) })
	}
	wg.Wait()
	for i, o := range outcomes {
		v := variants[i%len(variants)]
		if o.code != 0 {
			t.Errorf("push %d of %s: exit code %d\n%s", i, v.tag, o.code, o.stderr)
		} else if got := o.digest(t); got != v.digest {
			t.Errorf("push %d of %s: %s, alone it is %s", i, v.tag, got, v.digest)
		}
	}
	for _, v := range variants {
		if got := tagDigest(t, "crowd", v.tag); got != v.digest {
			t.Errorf("tag %s is %s, alone it is %s", v.tag, got, v.digest)
		}
		run{cache: shared}.ok(t, "verify", registry(t)+"/crowd:"+v.tag)
	}
	report(t, "20 processes, two versions, two tags, one cache: all digests are those of a push alone")
}
