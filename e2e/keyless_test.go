//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/keyless/keylesstest"
)

// keylessWorkflow is the identity that signs in these tests. keylessStranger is an identity that signs
// nothing.
const (
	keylessWorkflow = "https://github.com/org/web/.github/workflows/release.yml@refs/tags/v1"
	keylessStranger = "https://github.com/org/fork/.github/workflows/release.yml@refs/tags/v1"
)

// keylessLab holds the files that a test of signatures with certificates needs, in one directory.
type keylessLab struct {
	dir      string
	issuer   string
	identity string   // identity that signs
	stranger string   // identity that does not sign
	token    string   // token of identity
	root     string   // file with the trust root
	env      []string // additional variables for cosign 2
	cosign   []string // additional flags with which cosign verifies
}

// newKeylessLab starts a simulated deployment of Sigstore, and writes its files.
func newKeylessLab(t *testing.T) (k keylessLab, s *keylesstest.Sigstore) {
	t.Helper()
	s, err := keylesstest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	k = keylessLab{dir: scratchDir(t), issuer: s.URL(), identity: keylessWorkflow, stranger: keylessStranger, root: "root.json",
		token: s.Token(keylesstest.Claims{Subject: keylessWorkflow})}
	fulcio, stamps, rekor, ctlog := s.PEM()
	for file, data := range map[string][]byte{"root.json": s.TrustedRoot(keylesstest.Root{}), "rekor1.json": s.SigningConfig(1), "rekor2.json": s.SigningConfig(2),
		"fulcio.pem": fulcio, "stamps.pem": stamps, "rekor.pub": rekor, "ctlog.pub": ctlog, "predicate.json": []byte(`{"tested":true}`)} {
		if err := os.WriteFile(filepath.Join(k.dir, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, file := range map[string]string{"SIGSTORE_ROOT_FILE": "fulcio.pem", "SIGSTORE_TSA_CERTIFICATE_FILE": "stamps.pem", "SIGSTORE_REKOR_PUBLIC_KEY": "rekor.pub", "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": "ctlog.pub"} {
		k.env = append(k.env, name+"="+filepath.Join(k.dir, file))
	}
	return k, s
}

// run runs a version of cosign.
func (k *keylessLab) run(name string, args ...string) (output string, err error) {
	cmd := exec.Command(tool(name), args...)
	cmd.Dir = k.dir
	cmd.Env = append(append(os.Environ(), "HOME="+k.dir), k.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// signs runs nixoci with the token in its environment.
func (k *keylessLab) signs(t *testing.T, args ...string) outcome {
	t.Helper()
	return run{dir: k.dir, env: []string{"SIGSTORE_ID_TOKEN=" + k.token}}.ok(t, args...)
}

// push pushes the sample systems with flags, which can make nixoci sign documents.
func (k *keylessLab) push(t *testing.T, name string, flags ...string) (tag, digest string) {
	t.Helper()
	tag = registry(t) + "/" + name + ":v1"
	k.signs(t, args("push", tag, "--from", "file://"+smallCache(t), "--trusted-public-key", smallKey(t), smallToplevels(t), flags)...)
	return tag, strings.TrimSuffix(tag, ":v1") + "@" + strings.TrimSpace(command(t, lab.crane, "digest", "--insecure", tag))
}

// accepted checks that nixoci accepts the signature of identity, and refuses another identity and
// another issuer.
func (k *keylessLab) accepted(t *testing.T, ref string, flags ...string) {
	t.Helper()
	by := func(identity, issuer string) []string {
		return args("verify", "-q", ref, "--identity", identity, "--issuer", issuer, "--trust-root", k.root, flags)
	}
	if o := (run{dir: k.dir}).nixoci(t, by(k.identity, k.issuer)...); o.code != 0 {
		t.Errorf("nixoci verify %s %s: %s", ref, flags, o.end())
	}
	run{dir: k.dir}.nixoci(t, by(k.stranger, k.issuer)...).fails(t, 3, "who is not a given identity")
	run{dir: k.dir}.nixoci(t, by(k.identity, "https://issuer.example")...).fails(t, 3, "and not https://issuer.example")
}

// cosignAccepts checks that cosign accepts a signature or statement of nixoci, and refuses another
// identity and another issuer.
func (k *keylessLab) cosignAccepts(t *testing.T, name string, verify ...string) {
	t.Helper()
	by := func(identity, issuer string) (string, error) {
		return k.run(name, args(verify[:len(verify)-1], "--new-bundle-format", "--trusted-root", k.root, "--certificate-identity", identity, "--certificate-oidc-issuer", issuer,
			"--allow-http-registry", k.cosign, verify[len(verify)-1])...)
	}
	if out, err := by(k.identity, k.issuer); err != nil || !strings.Contains(out, "The code-signing certificate was verified") {
		t.Errorf("%s %s: %v\n%s", name, verify, err, out)
	}
	if out, err := by(k.stranger, k.issuer); err == nil {
		t.Errorf("%s %s takes another identity:\n%s", name, verify, out)
	}
	if out, err := by(k.identity, "https://issuer.example"); err == nil {
		t.Errorf("%s %s takes another issuer:\n%s", name, verify, out)
	}
}

// TestKeyless checks that cosign accepts nixoci's signatures with certificates, and that nixoci
// accepts cosign's signatures in each form that cosign 2 and 3 write. The services are simulated. The
// registry is Debian's docker-registry, which has no referrers API.
func TestKeyless(t *testing.T) {
	t.Parallel()
	k, s := newKeylessLab(t)
	const closure = "https://github.com/nixoci/nixoci/blob/main/docs/attestations.md#closure-statement"
	for _, config := range []string{"rekor1.json", "rekor2.json"} {
		tag, digest := k.push(t, "keyless/by-nixoci-"+strings.TrimSuffix(config, ".json"), "--attest", "closure,spdx,cyclonedx,provenance", "--keyless", config, "--trust-root", k.root)
		k.signs(t, "sign", tag, "--keyless", config, "--trust-root", k.root)
		k.signs(t, args("verify", tag, "--from", "file://"+smallCache(t), "--trusted-public-key", smallKey(t), smallToplevels(t), "--attest-result", "--keyless", config)...)
		k.accepted(t, tag)
		k.accepted(t, tag, "--require-attestation", "vsa")
		k.cosignAccepts(t, "cosign3", "verify", tag)
		platform := strings.TrimSuffix(digest, digest[strings.LastIndex(digest, "@"):]) + "@" + strings.TrimSpace(command(t, lab.crane, "digest", "--insecure", "--platform", "linux/arm64", tag))
		for kind, ref := range map[string]string{"slsaprovenance1": tag, "spdxjson": platform, "cyclonedx": platform, closure: platform, "https://slsa.dev/verification_summary/v1": tag} {
			k.cosignAccepts(t, "cosign3", "verify-attestation", "--type", kind, ref)
			if config == "rekor1.json" { // Debian's cosign 2 cannot check entries for statements in Rekor 2
				k.cosignAccepts(t, "cosign2", "verify-attestation", "--type", kind, ref)
			}
		}
	}

	const kind = "https://example.org/tested"
	for name, flags := range map[string][]string{
		"cosign2":           {"--fulcio-url", s.URL(), "--rekor-url", s.URL()},
		"cosign2-timestamp": {"--fulcio-url", s.URL(), "--rekor-url", s.URL(), "--timestamp-server-url", s.TimestampURL()},
		"cosign3-rekor1":    {"--signing-config", "rekor1.json", "--trusted-root", k.root},
		"cosign3-rekor2":    {"--signing-config", "rekor2.json", "--trusted-root", k.root},
	} {
		tag, digest := k.push(t, "keyless/by-"+name)
		program, _, _ := strings.Cut(name, "-")
		run{dir: k.dir}.nixoci(t, "verify", "-q", tag, "--identity", k.identity, "--issuer", k.issuer, "--trust-root", k.root).fails(t, 3, "no signature")
		for _, what := range [][]string{{"sign"}, {"attest", "--type", kind, "--predicate", "predicate.json"}} {
			if out, err := k.run(program, args(what, "--yes", "--allow-http-registry", "--identity-token", k.token, flags, digest)...); err != nil {
				t.Fatalf("%s %s: %v\n%s", name, what, err, out)
			}
		}
		k.accepted(t, tag)
		k.accepted(t, tag, "--require-attestation", kind)
	}

	// A trust root of another deployment accepts nothing.
	foreign, _ := newKeylessLab(t)
	for _, name := range []string{"by-nixoci-rekor1", "by-cosign2", "by-cosign3-rekor2"} {
		run{dir: k.dir}.nixoci(t, "verify", "-q", registry(t)+"/keyless/"+name+":v1", "--identity", k.identity, "--issuer", k.issuer, "--trust-root", filepath.Join(foreign.dir, foreign.root)).
			fails(t, 3, "its certificate comes from an authority that the trust root does not list")
	}
	report(t, "without keys, cosign 2 and 3 and nixoci verify each other's signatures and attestations, and refuse other identities, issuers and trust roots")
}
