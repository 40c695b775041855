//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// small returns the small systems of testdata/, and the flags that read them.
func small(t *testing.T) (flags []string, systems map[string]string) {
	t.Helper()
	dir, err := filepath.Abs("../testdata")
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, "public-key"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "systems.json"))
	if err == nil {
		err = json.Unmarshal(data, &systems)
	}
	if err != nil || systems["sample-x86_64-linux"] == "" || systems["sample-aarch64-linux"] == "" {
		t.Fatalf("systems.json: %v, %v", systems, err)
	}
	return []string{"--from", "file://" + filepath.Join(dir, "cache"), "--trusted-public-key", strings.TrimSpace(string(key))}, systems
}

// TestDoctorAndPrune runs doctor and prune with Debian's docker-registry, which has no
// referrers API. After prune, nixoci and skopeo must be able to pull the kept images.
// Finally, the test does the same with a registry that refuses to delete.
func TestDoctorAndPrune(t *testing.T) {
	from, systems := small(t)
	amd, arm := systems["sample-x86_64-linux"], systems["sample-aarch64-linux"]
	n := run{cache: scratchDir(t)}
	repo := registry(t) + "/tidy/web"
	out := n.ok(t, "doctor", "--write", repo).stdout
	for _, want := range []string{"✓ push", "✓ delete ", "– referrers", "✓ zstd", "✓ clock"} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor lacks %q:\n%s", want, out)
		}
	}
	// Both images contain the same arm64 platform. Each image has separate documents.
	n.ok(t, args("push", repo+":1.9", from, "--attest", "sbom", amd, arm)...)
	n.ok(t, args("push", repo+":1.10", from, "--attest", "sbom", systems["sample-x86_64-linux-update"], arm)...)
	if out := n.ok(t, "prune", repo, "--keep", "1").stdout; !strings.Contains(out, "1 of 2 tags kept") {
		t.Errorf("prune:\n%s", out)
	}
	if tags := command(t, "skopeo", "list-tags", "--tls-verify=false", "docker://"+repo); strings.Contains(tags, `"1.9"`) || !strings.Contains(tags, `"1.10"`) {
		t.Errorf("tags: %s", tags)
	}
	n.ok(t, "verify", repo+":1.10")
	for _, arch := range []string{"amd64", "arm64"} {
		command(t, "skopeo", "inspect", "--tls-verify=false", "--override-arch", arch, "docker://"+repo+":1.10")
	}

	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	conf := filepath.Join(scratchDir(t), "registry.yml")
	keeps := strings.Replace(registryConf, "delete: {enabled: true}", "delete: {enabled: false}", 1)
	put(t, conf, fmt.Sprintf(keeps, filepath.Join(lab.memory, "keeps"), addr))
	start(t, "keeps", nil, func() error { return answers("http://" + addr + "/v2/") }, "docker-registry", "serve", conf)
	repo = addr + "/tidy/web"
	n.ok(t, args("push", repo+":1", from, amd)...)
	n.ok(t, args("push", repo+":2", from, arm)...)
	if out := n.ok(t, "doctor", "--write", repo+":1").stdout; !strings.Contains(out, "– delete ") {
		t.Errorf("doctor of a registry that deletes nothing:\n%s", out)
	}
	n.nixoci(t, "prune", repo, "--keep", "1").fails(t, 1, "does not support")
	n.ok(t, "verify", repo+":1")
}
