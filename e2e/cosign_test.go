//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/package-url/packageurl-go"
)

// A cosign is one version of the program cosign. It runs in a directory that contains its
// keys. The password of every key is "secret".
type cosign struct {
	name   string   // name of the program
	sign   []string // flags for a signature in the form of cosign 1 and 2, without network services
	bundle []string // flags for a Sigstore bundle; nil if this version cannot make one
	dir    string
}

func (c cosign) run(args ...string) (output string, err error) {
	cmd := exec.Command(tool(c.name), args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "HOME="+c.dir, "COSIGN_PASSWORD=secret")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	return string(out) + errs.String(), err
}

// TestCosign checks that cosign accepts the signatures of nixoci, and that nixoci accepts the
// signatures of cosign. The registry is Debian's docker-registry, without the referrers API.
// Both programs must reject other keys, and a new signature must not replace an old one.
func TestCosign(t *testing.T) {
	t.Parallel()
	for _, c := range []cosign{
		{name: "cosign2"},
		{name: "cosign3", sign: []string{"--use-signing-config=false", "--new-bundle-format=false"}, bundle: []string{"--use-signing-config=false"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.dir = scratchDir(t)
			testCosign(t, c)
		})
	}
}

func testCosign(t *testing.T, c cosign) {
	for _, name := range []string{"ours", "other"} {
		if out, err := c.run("generate-key-pair", "--output-key-prefix", name); err != nil {
			t.Fatalf("generate-key-pair: %v\n%s", err, out)
		}
	}
	sign := func(ref, key string) {
		t.Helper()
		run{dir: c.dir, env: []string{"COSIGN_PASSWORD=secret"}}.ok(t, "sign", ref, "--key", key+".key")
	}
	cosignSign := func(ref, key string, flags []string) {
		t.Helper()
		if out, err := c.run(args("sign", "--key", key+".key", "--tlog-upload=false", "--yes", "--allow-http-registry", flags, ref)...); err != nil {
			t.Fatalf("cosign sign: %v\n%s", err, out)
		}
	}
	cosignVerify := func(ref, key string) (string, error) {
		return c.run("verify", "--key", key+".pub", "--insecure-ignore-tlog=true", "--allow-http-registry", ref)
	}
	taken := func(ref, key string) {
		t.Helper()
		if o := (run{dir: c.dir}).ok(t, "verify", ref, "--key", key+".pub"); !strings.HasSuffix(o.stdout, "\nverified: "+key+".pub has signed the image\n") {
			t.Errorf("%s", o.stdout)
		}
	}
	refused := func(ref, key, why string) {
		t.Helper()
		run{dir: c.dir}.nixoci(t, "verify", "-q", ref, "--key", key+".pub").fails(t, 3, why)
	}
	pushed := func(name string) (tag, digest string) {
		t.Helper()
		tag, _, _ = verifySample(t, name+":v1")
		return tag, strings.TrimSuffix(tag, ":v1") + "@" + strings.TrimSpace(command(t, lab.crane, "digest", "--insecure", tag))
	}

	// Here only nixoci signs the image.
	tag, digest := pushed("signed/" + c.name + "/by-nixoci")
	refused(tag, "ours", "no signature")
	if out, err := cosignVerify(tag, "ours"); err == nil {
		t.Errorf("cosign takes an image that nobody has signed:\n%s", out)
	}
	sign(tag, "ours")
	out, err := cosignVerify(tag, "ours")
	if err != nil || !strings.Contains(out, digest[strings.Index(digest, "sha256:"):]) {
		t.Fatalf("cosign verify: %v\n%s", err, out)
	}
	if out, err := cosignVerify(tag, "other"); err == nil || !strings.Contains(out, "no matching signatures") {
		t.Errorf("cosign verify with another key: %v\n%s", err, out)
	}
	taken(tag, "ours")
	refused(tag, "other", "no signature by other.pub")

	// Here cosign signs the image first, and nixoci signs it with another key afterwards.
	tag, digest = pushed("signed/" + c.name + "/by-cosign")
	cosignSign(digest, "ours", c.sign)
	taken(tag, "ours")
	refused(tag, "other", "no signature by other.pub")
	sign(tag, "other")
	for _, key := range []string{"ours", "other"} {
		taken(tag, key)
		if out, err := cosignVerify(tag, key); err != nil {
			t.Errorf("signed by both, %s key: %v\n%s", key, err, out)
		}
	}

	if c.bundle != nil {
		tag, digest = pushed("signed/" + c.name + "/bundle")
		cosignSign(digest, "ours", c.bundle)
		taken(tag, "ours")
		refused(tag, "other", "no signature by other.pub")
	}
	testAttestations(t, c)
	report(t, "it and nixoci verify each other's signatures and attestations, and refuse another key; nixoci its bundles too")
}

// With noServices, cosign 2 does not ask the network for the trusted roots of Sigstore.
const noServices = `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`

// testAttestations checks that cosign accepts the statements that nixoci signs, and that
// nixoci accepts the statements that cosign signs.
func testAttestations(t *testing.T, c cosign) {
	for file, content := range map[string]string{"root.json": noServices, "predicate.json": `{"tested":true}`} {
		if err := os.WriteFile(filepath.Join(c.dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name := "attested/" + c.name
	pushed := func(flags ...string) (tag, repository string) {
		tag = registry(t) + "/" + name + ":v1"
		run{dir: c.dir, env: []string{"COSIGN_PASSWORD=secret"}}.ok(t, args("push", tag, "--from", "file://"+smallCache(t), "--trusted-public-key", smallKey(t), smallToplevels(t), flags)...)
		return tag, strings.TrimSuffix(tag, ":v1")
	}
	tag, repository := pushed("--attest", "closure,spdx,cyclonedx,provenance", "--key", "ours.key")
	const closure = "https://github.com/nixoci/nixoci/blob/main/docs/attestations.md#closure-statement"
	cosignTakes := func(ref, kind, key string) (string, error) {
		flags := args("verify-attestation", "--key", key+".pub", "--type", kind, "--insecure-ignore-tlog=true", "--allow-http-registry", "--new-bundle-format")
		if c.bundle == nil {
			flags = args(flags, "--trusted-root", "root.json")
		}
		return c.run(args(flags, ref)...)
	}
	platform := repository + "@" + strings.TrimSpace(command(t, lab.crane, "digest", "--insecure", "--platform", "linux/arm64", tag))
	for _, tt := range []struct{ ref, kind string }{
		{tag, "slsaprovenance1"}, {platform, "slsaprovenance1"}, {platform, "spdxjson"}, {platform, "cyclonedx"}, {platform, closure},
	} {
		if out, err := cosignTakes(tt.ref, tt.kind, "ours"); err != nil || !strings.Contains(out, `"payloadType":"application/vnd.in-toto+json"`) {
			t.Errorf("cosign verify-attestation %s %s: %v\n%s", tt.ref, tt.kind, err, out)
		}
		if out, err := cosignTakes(tt.ref, tt.kind, "other"); err == nil {
			t.Errorf("cosign takes %s of %s by another key:\n%s", tt.kind, tt.ref, out)
		}
	}

	testRebuilders(t, c, tag, cosignTakes)

	// In the other direction, nixoci must accept each form of statement that this cosign
	// writes.
	digest := repository + "@" + strings.TrimSpace(command(t, lab.crane, "digest", "--insecure", tag))
	forms := map[string][]string{"https://example.org/tag": c.sign}
	if c.bundle != nil {
		forms["https://example.org/bundle"] = c.bundle
	}
	for kind, flags := range forms {
		nixociTakes := func(key string) outcome {
			return run{dir: c.dir}.nixoci(t, "verify", "-q", tag, "--key", key+".pub", "--require-attestation", kind)
		}
		nixociTakes("ours").fails(t, 3, "no attestation "+kind)
		if out, err := c.run(args("attest", "--key", "ours.key", "--type", kind, "--predicate", "predicate.json", "--tlog-upload=false", "--yes", "--allow-http-registry", flags, digest)...); err != nil {
			t.Fatalf("cosign attest: %v\n%s", err, out)
		}
		if o := nixociTakes("ours"); o.code != 0 {
			t.Errorf("nixoci does not take cosign's %s: %s", kind, o.end())
		}
		nixociTakes("other").fails(t, 3, "no given key has signed it")
	}
}

// testRebuilders checks that cosign accepts the verification summary that nixoci signs. It
// also checks that nixoci accepts a summary signed by cosign as the result of a rebuilder.
func testRebuilders(t *testing.T, c cosign, tag string, cosignTakes func(ref, kind, key string) (string, error)) {
	const summary = "https://slsa.dev/verification_summary/v1"
	if out, err := cosignTakes(tag, summary, "ours"); err == nil {
		t.Errorf("cosign takes a verification summary that is not there:\n%s", out)
	}
	run{dir: c.dir, env: []string{"COSIGN_PASSWORD=secret"}}.ok(t, args("verify", tag, "--from", "file://"+smallCache(t), "--trusted-public-key", smallKey(t), smallToplevels(t),
		"--attest-result", "--key", "ours.key")...)
	if out, err := cosignTakes(tag, summary, "ours"); err != nil || !strings.Contains(out, `"payloadType":"application/vnd.in-toto+json"`) {
		t.Errorf("cosign verify-attestation %s: %v\n%s", summary, err, out)
	}
	if out, err := cosignTakes(tag, summary, "other"); err == nil {
		t.Errorf("cosign takes the verification summary by another key:\n%s", out)
	}
	two := args("verify", "-q", tag, "--require-rebuilders", "2", "--rebuilder-key", "ours.pub", "--rebuilder-key", "other.pub")
	run{dir: c.dir}.nixoci(t, two...).fails(t, 3, "only ours.pub has made the image again")
	predicate := `{"verifier": {"id": "https://other.example"}, "timeVerified": "2026-01-02T03:04:05Z", "resourceUri": "pkg:oci/web", "policy": {"uri": "https://other.example/policy"},
		"verificationResult": "RESULT", "verifiedLevels": ["LEVEL"], "slsaVersion": "1.1"}`
	digest := strings.TrimSuffix(tag, ":v1") + "@" + strings.TrimSpace(command(t, lab.crane, "digest", "--insecure", tag))
	attest := func(result, level string) {
		t.Helper()
		file := filepath.Join(c.dir, "summary.json")
		if err := os.WriteFile(file, []byte(strings.NewReplacer("RESULT", result, "LEVEL", level).Replace(predicate)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := c.run(args("attest", "--key", "other.key", "--type", summary, "--predicate", file, "--tlog-upload=false", "--yes", "--allow-http-registry", c.sign, digest)...); err != nil {
			t.Fatalf("cosign attest: %v\n%s", err, out)
		}
	}
	attest("PASSED", "NIXOCI_REBUILT")
	if o := (run{dir: c.dir}).nixoci(t, two...); o.code != 0 {
		t.Errorf("cosign's verification summary does not count: %s", o.end())
	}
	attest("FAILED", "FAILED") // both summaries have the same time; the failed one has priority
	run{dir: c.dir}.nixoci(t, two...).fails(t, 3, "other.pub: FAILED on 2026-01-02T03:04:05Z by https://other.example")
}

// TestScanner checks that a scanner finds each store path of the large systems in each kind
// of bill of materials. Each store path must appear as a package of type Nix, with its
// dependencies.
func TestScanner(t *testing.T) {
	t.Parallel()
	dir := scratchDir(t)
	syft := tool("syft")
	for _, p := range platforms {
		name := "large-" + p.nix
		graph := loadGraph(t, name)
		edges := 0
		for _, path := range graph {
			for _, r := range path.References {
				if r != path.Path {
					edges++
				}
			}
		}
		for _, format := range []string{"spdx", "spdx3", "cyclonedx"} {
			file := filepath.Join(dir, name+"."+format+".json")
			if err := os.WriteFile(file, []byte(run{}.ok(t, "sbom", graphFile(name), "--format", format).stdout), 0o600); err != nil {
				t.Fatal(err)
			}
			var found struct {
				Artifacts             []struct{ Type, PURL string }
				ArtifactRelationships []struct{ Type string }
			}
			cmd := exec.Command(syft, "convert", file, "-q", "-o", "syft-json")
			cmd.Env = append(os.Environ(), "HOME="+dir, "SYFT_CHECK_FOR_APP_UPDATE=false")
			out, err := cmd.Output()
			if err == nil {
				err = json.Unmarshal(out, &found)
			}
			if err != nil {
				t.Fatalf("syft convert %s: %v", file, err)
			}
			purls, depends := map[string]bool{}, 0
			for _, a := range found.Artifacts {
				if a.Type != "nix" {
					t.Errorf("%s: %s is of type %q", file, a.PURL, a.Type)
				}
				purls[a.PURL] = true
			}
			for _, r := range found.ArtifactRelationships {
				if r.Type == "dependency-of" {
					depends++
				}
			}
			if len(found.Artifacts) != len(graph) || len(purls) != len(graph) || depends != edges {
				t.Errorf("%s: syft finds %d packages, %d of them different, and %d dependencies; there are %d store paths with %d references to others",
					file, len(found.Artifacts), len(purls), depends, len(graph), edges)
			}
		}
		report(t, "%s: syft finds %d packages and %d dependencies in SPDX 2.3 and 3.0 and in CycloneDX", p.arch, len(graph), edges)
	}
}

// TestScannerReadsImage checks that syft finds the same packages in an image as our bill of
// materials of this image lists: the same names, versions and hashes. syft reads the Nix
// database of the image. Only two differences are allowed:
//
//   - syft does not list store paths without a version in their names, such as etc.
//   - syft cuts some versions of Debian short. Its pattern for versions ends before
//     a part that begins with a letter, and before a second plus sign.
func TestScannerReadsImage(t *testing.T) {
	t.Parallel()
	dir := scratchDir(t)
	layout := filepath.Join(dir, "image")
	run{}.ok(t, "build", "-o", "oci:"+layout, "--compression", "none", "--from", lab.large, lab.systems["large-x86_64-linux"])
	var ours struct {
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal([]byte(run{}.ok(t, "sbom", "oci:"+layout, "--format", "cyclonedx").stdout), &ours); err != nil {
		t.Fatal(err)
	}
	var theirs struct {
		Artifacts []struct {
			Name, Version, PURL string
			Metadata            struct{ OutputHash string }
		}
	}
	cmd := exec.Command(tool("syft"), "scan", "oci-dir:"+layout, "--override-default-catalogers", "nix-cataloger", "-q", "-o", "syft-json")
	cmd.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir, "SYFT_CHECK_FOR_APP_UPDATE=false")
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &theirs)
	}
	if err != nil {
		t.Fatalf("syft: %v", err)
	}

	type pkg struct{ name, hash string }
	found := map[pkg][]string{} // versions that syft reports
	for _, a := range theirs.Artifacts {
		p := pkg{a.Name, a.Metadata.OutputHash}
		u, err := packageurl.FromString(a.PURL) // syft writes the colon of sha256: as %3A
		if err != nil {
			t.Fatal(err)
		}
		found[p] = append(found[p], a.Version+" "+u.ToString())
	}
	same, short, unnamed := 0, 0, 0
	for _, c := range ours.Components {
		u, err := packageurl.FromString(c.PURL)
		if err != nil {
			t.Fatal(err)
		}
		if u.Type != "nix" {
			continue // this package is nixoci-init
		}
		p := pkg{c.Name, u.Qualifiers.Map()["outputhash"]}
		versions := found[p]
		i := slices.IndexFunc(versions, func(v string) bool {
			v, _, _ = strings.Cut(v, " ")
			return strings.HasPrefix(c.Version, v)
		})
		switch {
		case i < 0 && c.Version == "":
			unnamed++
			continue
		case i < 0:
			t.Errorf("syft does not list %s %s, but %q", c.Name, c.Version, versions)
			continue
		case versions[i] == c.Version+" "+c.PURL:
			same++
		case !strings.HasPrefix(versions[i], c.Version+" "):
			short++
		default:
			t.Errorf("the package URL is %s, and syft's %s", c.PURL, versions[i])
		}
		found[p] = slices.Delete(versions, i, i+1)
	}
	for p, left := range found {
		if len(left) > 0 {
			t.Errorf("only syft lists %s %s", p.name, left)
		}
	}
	if paths := len(loadGraph(t, "large-x86_64-linux")); same+short+unnamed != paths || same < paths*9/10-unnamed {
		t.Errorf("%d store paths: %d the same, %d with a shorter version, %d without a version", paths, same, short, unnamed)
	}
	report(t, "syft on the image and our document: %d packages the same, %d with a version that syft cuts short, %d without a version that only we list", same, short, unnamed)
}
