//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var (
	distribution3Once sync.Once
	distribution3Addr string
)

// distribution3 returns the address of a registry. The registry is the program distribution 3, which
// run.sh builds. It stores its blobs on the tmpfs. The first call starts the registry.
func distribution3(t *testing.T) string {
	t.Helper()
	distribution3Once.Do(func() {
		addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		conf := filepath.Join(lab.scratch, "distribution3.yml")
		put(t, conf, fmt.Sprintf(registryConf, filepath.Join(lab.memory, "distribution3"), addr))
		start(t, "distribution3", []string{"OTEL_TRACES_EXPORTER=none"}, func() error { return answers("http://" + addr + "/v2/") }, tool("registry"), "serve", conf)
		distribution3Addr = addr
	})
	if distribution3Addr == "" {
		t.Fatal("distribution 3 did not start")
	}
	return distribution3Addr
}

// TestRegistries pushes, attests, signs, verifies and prunes an image in Debian's docker-registry
// (distribution 2), in distribution 3 and in nixoci's own registry. Only nixoci's own registry has
// the referrers API.
func TestRegistries(t *testing.T) {
	t.Parallel()
	dir := scratchDir(t)
	c := cosign{name: "cosign3", dir: dir}
	if out, err := c.run("generate-key-pair", "--output-key-prefix", "ours"); err != nil {
		t.Fatalf("generate-key-pair: %v\n%s", err, out)
	}
	own := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	start(t, "nixoci-serve-life", nil, func() error { return answers("http://" + own + "/v2/") }, lab.nixoci, "serve", "--listen", own)
	for _, r := range []struct {
		name, addr string
		api        bool
	}{
		{"distribution 2", registry(t), false},
		{"distribution 3", distribution3(t), false},
		{"nixoci serve", own, true},
	} {
		t.Run(r.name, func(t *testing.T) { imageLife(t, dir, r.addr, r.api) })
	}
}

// imageLife pushes, attests, signs, verifies and prunes an image in the registry at addr. dir contains the key pair "ours". api is true if
// the registry has the referrers API.
func imageLife(t *testing.T, dir, addr string, api bool) {
	from, systems := small(t)
	amd, arm := systems["sample-x86_64-linux"], systems["sample-aarch64-linux"]
	n := run{dir: dir, cache: scratchDir(t), env: []string{"COSIGN_PASSWORD=secret"}}
	repo := addr + "/life/web"

	push := args("push", repo+":1", from, "--attest", "closure,spdx,provenance", "--key", "ours.key", amd, arm)
	first := n.ok(t, push...)
	digest := first.digest(t)
	if !strings.Contains(first.stderr, "\nattached to the image's index and platforms: 7 documents and 7 signed statements\n") {
		t.Errorf("the first push:\n%s", first.stderr)
	}
	again := n.ok(t, push...)
	if again.digest(t) != digest || !strings.Contains(again.stderr, "unchanged: ") || !strings.Contains(again.stderr, "\nalready attached to the image's index and platforms: 7 documents and 7 signed statements\n") {
		t.Errorf("the second push: %s\n%s", again.stdout, again.stderr)
	}
	out := n.ok(t, "doctor", "--write", repo+":1").stdout
	line := map[bool]string{true: "✓ referrers", false: "– referrers"}[api]
	for _, want := range []string{"✓ push", "✓ delete ", line} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor lacks %q:\n%s", want, out)
		}
	}
	n.ok(t, "sign", repo+":1", "--key", "ours.key")
	if out := n.ok(t, "verify", repo+":1", "--key", "ours.pub").stdout; !strings.HasSuffix(out, "\nverified: ours.pub has signed the image\n") {
		t.Errorf("verify:\n%s", out)
	}
	checked := n.ok(t, "verify", repo+":1", "--key", "ours.pub", "--require-attestation", "provenance", "--require-attestation", "spdx").stdout
	if !strings.Contains(checked, "✓ attached: https://spdx.dev/Document of linux/arm64, signed by ours.pub\n") {
		t.Errorf("verify:\n%s", checked)
	}

	var found struct {
		Referrers []struct{ ArtifactType string }
	}
	if err := json.Unmarshal([]byte(command(t, tool("oras"), "discover", "--plain-http", "--format", "json", repo+"@"+digest)), &found); err != nil || len(found.Referrers) != 2 {
		t.Errorf("oras finds %v, %v; want the provenance and its signed statement", found.Referrers, err)
	}
	if tags := allTags(t, addr, "life/web"); slices.Contains(tags, strings.Replace(digest, ":", "-", 1)) == api {
		t.Errorf("with the referrers API: %t, tags: %v", api, tags)
	}

	// The second version contains the same arm64 platform.
	second := n.ok(t, args("push", repo+":2", from, "--attest", "spdx", "--key", "ours.key", systems["sample-x86_64-linux-update"], arm)...)
	if !strings.Contains(second.stderr, "platforms: 1 document and 1 signed statement; already attached: 1 document and 1 signed statement\n") {
		t.Errorf("the push of the second version:\n%s", second.stderr)
	}
	if out := n.ok(t, "prune", repo, "--keep", "1").stdout; !strings.Contains(out, "1 of 2 tags kept") {
		t.Errorf("prune:\n%s", out)
	}
	if tags := allTags(t, addr, "life/web"); slices.Contains(tags, "1") || !slices.Contains(tags, "2") {
		t.Errorf("tags after prune: %v", tags)
	}
	n.nixoci(t, "verify", repo+"@"+digest).fails(t, 1, digest)
	n.ok(t, "verify", repo+":2", "--require-attestation", "spdx", "--key", "ours.pub")
	for _, arch := range []string{"amd64", "arm64"} {
		command(t, "skopeo", "inspect", "--tls-verify=false", "--override-arch", arch, "docker://"+repo+":2")
	}
	report(t, "pushed, pushed again, attested, signed, verified, listed by oras, pruned")
}
