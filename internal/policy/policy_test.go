package policy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/golden"
	"github.com/nixoci/nixoci/internal/hint/hinttest"
	"github.com/nixoci/nixoci/internal/keyless/keylesstest"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

// newKey makes a key pair and returns the public key in PEM.
func newKey(t testing.TB) string {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// full returns a policy that uses every field. It contains the keys anna and carl, and
// names the key file ben.pub.
func full(anna, carl string) string {
	return `{"nixociPolicy": 1, "uri": "https://example.org/policy.json",
 "keys": [{"name": "anna", "pem": ` + quote(anna) + `}, {"name": "ben", "file": "ben.pub"}],
 "identities": [{"name": "release", "identity": "https://github.com/org/web/*"}, {"name": "dora", "identity": "dora@example.org", "issuer": "https://accounts.google.com"}],
 "trustRoot": "root.json",
 "signatures": {"image": 4, "storePaths": "all", "trustedPublicKeys": ["cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="]},
 "attestations": [{"type": "slsaprovenance1", "maxAge": "30d"}, {"type": "https://example.org/tested"}],
 "rebuilders": {"required": 1, "unanimous": true, "maxAge": "36h", "known": [{"name": "carl", "pem": ` + quote(carl) + `, "verifier": "https://carl.example"}, {"name": "emil", "identity": "https://emil.example/x/*", "issuer": "https://issuer.example"}]},
 "settings": {"changed": ["Labels", "created"], "compression": ["zstd:3", "gzip"], "baseImages": ["docker.io/library/debian", "sha256:` + strings.Repeat("a", 64) + `", "a/b@sha256:` + strings.Repeat("b", 64) + `"], "knownInit": true}}`
}

// writeRoot writes the file root.json with a trust root.
func writeRoot(t testing.TB, dir string) {
	t.Helper()
	s, err := keylesstest.New()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.WriteFile(filepath.Join(dir, "root.json"), s.TrustedRoot(keylesstest.Root{}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestParse(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ben.pub"), []byte(newKey(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	writeRoot(t, dir)
	file := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(file, []byte(full(newKey(t), newKey(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(attest.SignerNames(l.Signers), " "); got != "anna ben release dora" || l.Policy.Signatures.Image != 4 || l.Trusted == nil ||
		l.Attestations[0] != (LoadedAttestation{attest.ProvenanceType, 30 * 24 * time.Hour}) || l.Attestations[1].MaxAge != 0 ||
		l.Rebuilders[0].Name != "carl" || l.Rebuilders[0].Verifier != "https://carl.example" || l.RebuilderAge != 36*time.Hour ||
		l.Signers[2].Identity.Issuer != "https://token.actions.githubusercontent.com" || l.Signers[3].Identity.Root != l.TrustRoot || l.Rebuilders[1].Identity.Issuer != "https://issuer.example" ||
		len(*l.Policy.Settings.BaseImages) != 3 || !l.Policy.Settings.KnownInit || l.Digest.Validate() != nil {
		t.Errorf("%+v", l)
	}
	validator := compiled(t)
	if err := valid(t, validator, full(newKey(t), newKey(t))); err != nil {
		t.Errorf("the schema refuses it: %v", err)
	}
	for _, f := range Fields() {
		name := f.Name[strings.LastIndex(f.Name, ".")+1:]
		if !strings.Contains(full("", ""), `"`+strings.TrimSuffix(name, "[]")+`"`) {
			t.Errorf("the example does not have %s", f.Name)
		}
	}
}

// TestParseRefuses checks that Parse refuses wrong policies. The JSON Schema must also
// refuse the policies for which schema is true.
func TestParseRefuses(t *testing.T) {
	anna, ben := newKey(t), newKey(t)
	key := `{"name": "anna", "pem": ` + quote(anna) + `}`
	rebuilder := `{"name": "ben", "pem": ` + quote(ben) + `}`
	dir := t.TempDir()
	writeRoot(t, dir)
	web := `{"name": "web", "identity": "https://github.com/org/web/*"}`
	org := `{"name": "org", "identity": "https://github.com/org/*"}`
	root := `{"nixociPolicy": 1, "trustRoot": "root.json", `
	validator := compiled(t)
	for _, tt := range []struct {
		text, want, hint string
		schema           bool
	}{
		{``, "the file is empty", "", false},
		{`[]`, "line 1: an object is expected, not a list", "", true},
		{`{"nixociPolicy": 1, "rebuilders": {"required": 3}, "REBUILDERS": {"required": 1}}`, `unknown field "REBUILDERS"`, "the field is called rebuilders", true},
		{`{"nixociPolicy": 1, "rebuilders": {"required": 3}, "rebuilders": {"required": 1}}`, `the field "rebuilders" appears twice`, "", false},
		{`{"nixociPolicy": 1, "signatures": {"image": "2"}}`, "line 1: signatures.image: a whole number is expected, not text in quotes", "", true},
		{`{}`, "no field nixociPolicy", `begin it with {"nixociPolicy": 1`, true},
		{`{"nixociPolicy": 1}`, "it requires nothing", "docs/policy.md", false},
		{`{"nixociPolicy": 2, "new": {}}`, "version 2, and this nixoci reads up to 1", "newer nixoci", true},
		{`{"nixociPolicy": 0}`, "version 0; this nixoci reads version 1", "", true},
		{`{"nixociPolicy": "1"}`, "nixociPolicy: a whole number is expected, not text in quotes", "", true},
		{`{"nixociPolicy": 1, "rebuilders": {"require": 2}}`, `unknown field "require"`, "docs/policy.md", true},
		{`{"nixociPolicy": 1, "signatures": {"storePaths": "some"}}`, `signatures.storePaths: "some" is not one of all, any, none`, "", true},
		{`{"nixociPolicy": 1, "signatures": {"storePaths": "none"}}`, "it requires nothing", "", false},
		{`{"nixociPolicy": 1, "signatures": {"image": 1}}`, "1 are required, and there are 0 different keys and identities", "", false},
		{`{"nixociPolicy": 1, "signatures": {"image": -1}}`, "signatures.image: -1 is less than 0", "", true},
		{`{"nixociPolicy": 1, "keys": [` + key + `], "signatures": {"image": 2}}`, "2 are required, and there are 1 different keys and identities", "", false},
		{`{"nixociPolicy": 1, "keys": [` + key + `, ` + strings.Replace(key, "anna", "again", 1) + `], "signatures": {"image": 2}}`, "there are 1 different keys and identities", "", false},
		{`{"nixociPolicy": 1, "keys": [` + key + `, ` + strings.Replace(rebuilder, "ben", "anna", 1) + `], "signatures": {"image": 2}}`, "another key has this name", "", false},
		{`{"nixociPolicy": 1, "keys": [` + key + `]}`, "it requires nothing", "add signatures.image or attestations", false},
		{`{"nixociPolicy": 1, "keys": [{"name": "x"}], "signatures": {"image": 1}}`, "either file or pem", "", true},
		{`{"nixociPolicy": 1, "keys": [{"pem": "x"}], "signatures": {"image": 1}}`, "it has no name", "", true},
		{`{"nixociPolicy": 1, "keys": [{"name": "x", "file": "gone.pub"}], "signatures": {"image": 1}}`, "gone.pub", "", false},
		{`{"nixociPolicy": 1, "keys": [{"name": "x", "file": "a", "pem": "b"}], "signatures": {"image": 1}}`, "either file or pem", "", true},
		{`{"nixociPolicy": 1, "keys": [{"name": "x", "pem": "b"}], "signatures": {"image": 1}}`, "not a public key in PEM", "", false},
		{`{"nixociPolicy": 1, "attestations": [{"type": "spdx"}]}`, "keys and identities are empty, so nobody can sign this statement", "", false},
		{`{"nixociPolicy": 1, "keys": [` + key + `], "attestations": [{"type": "spd"}]}`, `"spd" is neither a known type nor a URI`, "", false},
		{`{"nixociPolicy": 1, "keys": [` + key + `], "attestations": [{"type": "spdx", "maxAge": "30 days"}]}`, `attestations[0]: maxAge: "30 days" is not an age`, "such as 30d", true},
		{`{"nixociPolicy": 1, "keys": [` + key + `], "attestations": [{"type": "spdx", "maxAge": "6m"}]}`, `"6m" is not an age`, "days or hours", true},
		{`{"nixociPolicy": 1, "keys": [` + key + `], "attestations": [{"type": "spdx", "maxAge": "1h30m"}]}`, `"1h30m" is not an age`, "days or hours", true},
		{`{"nixociPolicy": 1, "keys": [` + key + `], "attestations": [{"type": "spdx", "maxAge": "-3h"}]}`, "not an age", "", true},
		{`{"nixociPolicy": 1, "keys": [` + key + `], "attestations": [{"type": "spdx", "maxAge": "0d"}]}`, "not an age", "", false},
		{`{"nixociPolicy": 1, "keys": [` + key + `], "attestations": [{"type": "spdx", "maxAge": "99999999999d"}]}`, "not an age", "", true},
		{`{"nixociPolicy": 1, "rebuilders": {"required": 1}}`, "rebuilders.required is 1, but rebuilders.known lists only 0", "", false},
		{`{"nixociPolicy": 1, "rebuilders": {"required": 2, "known": [` + rebuilder + `]}}`, "rebuilders.required is 2, but rebuilders.known lists only 1", "", false},
		{`{"nixociPolicy": 1, "rebuilders": {"required": 2, "known": [` + rebuilder + `, ` + strings.Replace(rebuilder, "ben", "carl", 1) + `]}}`, "it has the key of ben", "", false},
		{`{"nixociPolicy": 1, "rebuilders": {"required": 2, "known": [` + rebuilder + `, ` + strings.Replace(key, "anna", "ben", 1) + `]}}`, "another rebuilder has this name", "", false},
		{`{"nixociPolicy": 1, "rebuilders": {"required": 1, "maxAge": "x", "known": [` + rebuilder + `]}}`, `read policy: rebuilders: maxAge: "x" is not an age`, "", true},
		{`{"nixociPolicy": 1, "rebuilders": {"required": 1, "known": [` + strings.Replace(rebuilder, "}", `, "verifier": "ben"}`, 1) + `]}}`, `verifier: "ben" is not a URI`, "", false},
		{`{"nixociPolicy": 1, "rebuilders": {"known": [` + rebuilder + `]}}`, "it requires nothing", "add rebuilders.required", false},
		{`{"nixociPolicy": 1, "signatures": {"storePaths": "all", "trustedPublicKeys": ["x"]}}`, "signatures.trustedPublicKeys", "", false},
		{`{"nixociPolicy": 1, "settings": {"changed": ["labels"]}}`, `settings.changed: "labels" is not one of`, "", true},
		{`{"nixociPolicy": 1, "settings": {"compression": ["lzma"]}}`, "settings.compression", "", false},
		{`{"nixociPolicy": 1, "settings": {"baseImages": ["a@b"]}}`, "neither a repository nor a digest", "", false},
		{`{"nixociPolicy": 1, "settings": {"baseImages": ["sha256:12"]}}`, "neither a repository nor a digest", "", false},
		{`{"nixociPolicy": 1, "uri": "policy.json", "settings": {"knownInit": true}}`, "not a URI", "", false},
		{`{"nixociPolicy": 1, "identities": [` + web + `], "signatures": {"image": 1}}`, "trustRoot is missing", "trusted_root.json", false},
		{`{"nixociPolicy": 1, "rebuilders": {"required": 1, "known": [` + web + `]}}`, "trustRoot is missing", "trusted_root.json", false},
		{`{"nixociPolicy": 1, "trustRoot": "gone.json", "signatures": {"image": 1}}`, "trustRoot: read trust root: ", "", false},
		{root + `"identities": [` + web + `]}`, "it requires nothing", "add signatures.image or attestations", false},
		{root + `"identities": [` + web + `], "signatures": {"image": 2}}`, "2 are required, and there are 1 different keys and identities", "", false},
		{root + `"identities": [` + web + `, ` + org + `], "signatures": {"image": 2}}`, `identities[1] "org": a certificate can match both this identity and the identity of web`, "", false},
		{root + `"identities": [` + web + `, ` + web + `], "signatures": {"image": 2}}`, "another key or identity has this name, too", "", false},
		{root + `"keys": [` + key + `], "identities": [` + strings.Replace(web, "web", "anna", 1) + `], "signatures": {"image": 2}}`, "another key or identity has this name, too", "", false},
		{root + `"identities": [{"name": "x", "identity": "*"}], "signatures": {"image": 1}}`, "nearly everybody matches", "a * stands for", false},
		{root + `"identities": [{"name": "x", "identity": "x@example.org"}], "signatures": {"image": 1}}`, "its issuer is missing", "", false},
		{root + `"identities": [{"name": "x", "identity": "x@example.org", "issuer": "x"}], "signatures": {"image": 1}}`, `issuer "x": not a URL`, "", false},
		{root + `"identities": [{"name": "x"}], "signatures": {"image": 1}}`, "the identity is empty", "", true},
		{root + `"identities": [{"identity": "https://github.com/org/web/*"}], "signatures": {"image": 1}}`, "it has no name", "", true},
		{root + `"rebuilders": {"required": 2, "known": [` + web + `, ` + org + `]}}`, `rebuilders.known[1] "org": a certificate can match both`, "", false},
		{root + `"rebuilders": {"required": 1, "known": [` + strings.Replace(web, "}", `, "pem": "x"}`, 1) + `]}}`, "more than one of file, pem and identity", "", true},
		{root + `"rebuilders": {"required": 1, "known": [` + strings.Replace(rebuilder, "}", `, "issuer": "https://x"}`, 1) + `]}}`, "issuer: identity is missing", "", false},
		{root + `"rebuilders": {"required": 1, "known": [{"name": "x"}]}}`, "it needs file, pem or identity", "", true},
		{`{"nixociPolicy": 1, "settings": {"knownInit": true}} {}`, "'{' follows the end of the policy", "", false},
	} {
		_, err := Parse([]byte(tt.text), dir)
		hinttest.Error(t, err, nil, tt.want)
		if tt.hint != "" {
			hinttest.Hint(t, err, tt.hint)
		}
		if tt.schema && valid(t, validator, tt.text) == nil {
			t.Errorf("the schema accepts %s", tt.text)
		}
	}
}

func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("policy.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("policy.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t testing.TB, s *jsonschema.Schema, text string) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

// TestLimits checks the limits for the size of a policy and for the number of keys.
func TestLimits(t *testing.T) {
	const text = `{"nixociPolicy": 1, "settings": {"knownInit": true}}`
	file := filepath.Join(t.TempDir(), "policy.json")
	limittest.Around(t, limit.Policy, "more than 1048576 bytes", func(n int) error {
		data := []byte(text + strings.Repeat(" ", n-len(text)))
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(file)
		if _, again := Parse(data, ""); (again == nil) != (err == nil) {
			t.Errorf("%d bytes: %v", n, again)
		}
		return err
	})
	limittest.Around(t, limit.PolicyKeys, "101 keys and identities, at most 100 are read", func(n int) error {
		var keys []string
		for k := range n {
			keys = append(keys, fmt.Sprintf(`{"name": "key %d", "pem": %s}`, k, quote(newKey(t))))
		}
		_, err := Parse([]byte(`{"nixociPolicy": 1, "signatures": {"image": 1}, "keys": [`+strings.Join(keys, ",")+`]}`), "")
		return err
	})
}

// FuzzPolicy checks that the JSON Schema accepts each policy that Parse accepts, and
// that each such policy requires something.
func FuzzPolicy(f *testing.F) {
	noFiles := regexp.MustCompile(`(?m)^ "(identities|trustRoot)": .*\n|, \{"name": "emil".*?\}`)
	f.Add(noFiles.ReplaceAll([]byte(strings.NewReplacer(`"image": 4`, `"image": 2`, `{"name": "ben", "file": "ben.pub"}`, `{"name": "ben", "pem": `+quote(newKey(f))+`}`).Replace(full(newKey(f), newKey(f)))), nil))
	f.Add([]byte(`{"nixociPolicy": 1, "settings": {"changed": [], "baseImages": []}}`))
	f.Add([]byte(`{"nixociPolicy": 1, "signatures": {"storePaths": "any"}}`))
	f.Add([]byte(`{"$schema": "policy.schema.json", "nixociPolicy": 1, "settings": {"knownInit": true}}`))
	f.Add([]byte(`{"nixociPolicy": 1, "rebuilders": null, "settings": {"knownInit": true}}`))
	if _, err := Parse(noFiles.ReplaceAll([]byte(full(newKey(f), newKey(f))), nil), "/nonexistent"); err == nil || !strings.Contains(err.Error(), "ben.pub") {
		f.Fatalf("the first seed names other files: %v", err)
	}
	validator := compiled(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("file")) || bytes.Contains(data, []byte("trustRoot")) {
			return // skip policies that could name files of this machine
		}
		l, err := Parse(data, "/nonexistent")
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		if l.empty() || l.Policy.Signatures.Image > len(l.Signers) || l.Policy.Rebuilders.Required > len(l.Rebuilders) {
			t.Errorf("it cannot be met, or requires nothing: %+v", l)
		}
		again, err := json.Marshal(l.Policy)
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(t, validator, string(again)); err != nil {
			t.Errorf("%s: %v", again, err)
		}
	})
}

// TestFields checks that each field has documentation, and that no name occurs
// twice.
func TestFields(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Fields() {
		if f.Doc == "" || seen[f.Name] {
			t.Errorf("%q: %q", f.Name, f.Doc)
		}
		seen[f.Name] = true
	}
	if !seen["rebuilders.known[].verifier"] || !seen["settings.changed"] {
		t.Errorf("fields are missing: %v", seen)
	}
}

// TestSchema checks that docs/policy.schema.json equals the schema in the code.
func TestSchema(t *testing.T) {
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden.CheckFile(t, "../../docs/policy.schema.json", schema)
}

// TestReference checks that the table in docs/policy.md equals the table that
// FieldTable returns.
func TestReference(t *testing.T) {
	golden.CheckPart(t, "../../docs/policy.md", "<!-- fields -->\n", "<!-- end of fields -->\n", FieldTable())
}
