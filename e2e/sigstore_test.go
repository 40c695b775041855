//go:build e2e && sigstore

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nixoci/nixoci/internal/keyless/keylesstest"
)

// TestSigstore signs with a real Fulcio, a real Rekor 2 and a real timestamp authority, which
// make e2e-sigstore builds. Only the provider of identities is simulated. cosign writes the trust
// root and the signing config, as docs/keyless.md describes.
func TestSigstore(t *testing.T) {
	k, s := newKeylessLab(t)
	k.identity, k.stranger = "ci@example.org", "ci@other.example"
	k.token = s.Token(keylesstest.Claims{Email: k.identity})
	k.cosign = []string{"--insecure-ignore-sct"} // this Fulcio has no log of certificates
	ports := make([]int, 7)
	for n := range ports {
		ports[n] = freePort(t)
	}
	address := func(n int) string { return fmt.Sprintf("http://127.0.0.1:%d", ports[n]) }
	port := func(n int) string { return fmt.Sprint(ports[n]) }
	fulcio, rekor, stamps := address(0), address(3), address(6)+"/api/v1/timestamp"

	write(t, filepath.Join(k.dir, "fulcio.yaml"), fmt.Appendf(nil, "oidc-issuers:\n  %[1]s:\n    issuer-url: %[1]s\n    client-id: sigstore\n    type: email\n", s.URL()))
	start(t, "fulcio", nil, func() error { return answers(fulcio + "/api/v1/rootCert") }, tool("fulcio"), "serve", "--ca", "ephemeralca", "--ct-log-url", "", "--config-path", filepath.Join(k.dir, "fulcio.yaml"),
		"--host", "127.0.0.1", "--port", port(0), "--grpc-host", "127.0.0.1", "--grpc-port", port(1), "--metrics-port", port(2))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(k.dir, "log.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	write(t, filepath.Join(k.dir, "log.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	storage := filepath.Join(k.dir, "log")
	if err := os.Mkdir(storage, 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, "rekor", nil, func() error { return answers(rekor + "/healthz") }, tool("posix"), "serve", "--http-port", port(3), "--grpc-port", port(4), "--http-metrics-port", port(5),
		"--signer-filepath", filepath.Join(k.dir, "log.key"), "--storage-dir", storage, "--hostname", "127.0.0.1", "--checkpoint-interval", "1s")
	start(t, "timestamps", nil, func() error { return answers(stamps + "/certchain") }, tool("timestamp-server"), "serve", "--host", "127.0.0.1", "--port", port(6), "--timestamp-signer", "memory", "--disable-ntp-monitoring")
	write(t, filepath.Join(k.dir, "fulcio.pem"), download(t, fulcio+"/api/v1/rootCert"))
	write(t, filepath.Join(k.dir, "stamps.pem"), download(t, stamps+"/certchain"))

	since := ",start-time=" + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	for _, create := range [][]string{
		{"trusted-root", "create", "--fulcio", "url=" + fulcio + ",certificate-chain=fulcio.pem" + since, "--rekor", "url=" + rekor + ",public-key=log.pub" + since,
			"--tsa", "url=" + stamps + ",certificate-chain=stamps.pem" + since, "--out", k.root},
		{"signing-config", "create", "--fulcio", "url=" + fulcio + ",api-version=1,operator=e2e" + since, "--rekor", "url=" + rekor + ",api-version=2,operator=e2e" + since, "--rekor-config", "ANY",
			"--tsa", "url=" + stamps + ",api-version=1,operator=e2e" + since, "--tsa-config", "ANY", "--oidc-provider", "url=" + s.URL() + ",api-version=1,operator=e2e" + since, "--out", "services.json"},
	} {
		if out, err := k.run("cosign3", create...); err != nil {
			t.Fatalf("cosign %s: %v\n%s", create[0], err, out)
		}
	}

	for name, services := range map[string]string{"list": "fulcio=" + fulcio + ",rekor2=" + rekor + ",timestamp=" + stamps, "config": "services.json"} {
		tag, _ := k.push(t, "sigstore/by-nixoci-"+name, "--attest", "provenance", "--keyless", services, "--trust-root", k.root)
		k.signs(t, "sign", tag, "--keyless", services, "--trust-root", k.root)
		k.accepted(t, tag)
		k.accepted(t, tag, "--require-attestation", "slsaprovenance1")
		k.cosignAccepts(t, "cosign3", "verify", tag)
		k.cosignAccepts(t, "cosign3", "verify-attestation", "--type", "slsaprovenance1", tag)
	}
	tag, digest := k.push(t, "sigstore/by-cosign")
	const kind = "https://example.org/tested"
	for _, what := range [][]string{{"sign"}, {"attest", "--type", kind, "--predicate", "predicate.json"}} {
		if out, err := k.run("cosign3", args(what, "--yes", "--allow-http-registry", "--identity-token", k.token, "--signing-config", "services.json", "--trusted-root", k.root, digest)...); err != nil {
			t.Fatalf("cosign %s: %v\n%s", what, err, out)
		}
	}
	k.accepted(t, tag)
	k.accepted(t, tag, "--require-attestation", kind)
	report(t, "with a real Fulcio, Rekor 2 and timestamp authority, cosign and nixoci verify each other's signatures and attestations")
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func download(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return data
}
