package verify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
)

// person is somebody who has a private key.
type person struct {
	private *attest.PrivateKey
	named   attest.Signer
}

func newPerson(t testing.TB, name string) person {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalECPrivateKey(ec)
	must(t, err)
	key, err := attest.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil)
	must(t, err)
	public, err := key.Public()
	must(t, err)
	parsed, err := attest.ParsePublicKey(public)
	must(t, err)
	return person{key, attest.Signer{Name: name, Key: parsed}}
}

// The tests of rebuilders use the digests of this image, and the digest of another image.
var (
	rebuiltIndex = digest.FromString("an index")
	rebuiltAMD   = digest.FromString("its manifest for amd64")
	rebuiltARM   = digest.FromString("its manifest for arm64")
	otherImage   = digest.FromString("another index")
	rebuiltAt    = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
)

// said describes a verification summary that is signed and attached.
type said struct {
	by     person
	result string        // "" means PASSED
	to     digest.Digest // digest to which the summary is attached; "" means the index
	about  digest.Digest // subject of the summary; "" means the digest to which it is attached
	age    time.Duration // 0 means an hour
	edit   func(s *attest.VerificationSummary)
	forge  func(bundle map[string]any)
}

func (s said) attach(t *testing.T, repo *registry.Repository) {
	t.Helper()
	summary := attest.VerificationSummary{
		Verifier: attest.Verifier{ID: "https://example.org/" + s.by.named.Name}, ResourceURI: "pkg:oci/web", Policy: attest.Resource{URI: attest.RebuildPolicy},
		TimeVerified: rebuiltAt.Add(-time.Hour), Result: attest.Passed, Levels: []string{attest.LevelRebuilt},
	}
	if s.age != 0 {
		summary.TimeVerified = rebuiltAt.Add(-s.age)
	}
	if s.result != "" {
		summary.Result, summary.Levels = s.result, []string{s.result}
	}
	if s.edit != nil {
		s.edit(&summary)
	}
	to := s.to
	if to == "" {
		to = rebuiltIndex
	}
	about := s.about
	if about == "" {
		about = to
	}
	sealed, err := attest.SealVerificationSummary(t.Context(), repo.Name(), []digest.Digest{about}, &summary, s.by.private)
	must(t, err)
	if s.forge != nil {
		var bundle map[string]any
		must(t, json.Unmarshal(sealed.Data, &bundle))
		s.forge(bundle)
		sealed.Data, err = json.Marshal(bundle)
		must(t, err)
	}
	_, err = repo.Attach(t.Context(), ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: to, Size: 1}, []oci.Artifact{sealed})
	must(t, err)
}

// inPayload returns a function that replaces text in the signed payload of a bundle.
func inPayload(old, new string) func(map[string]any) {
	return func(bundle map[string]any) {
		envelope := bundle["dsseEnvelope"].(map[string]any)
		payload, _ := base64.StdEncoding.DecodeString(envelope["payload"].(string))
		envelope["payload"] = base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(payload), old, new, 1)))
	}
}

// asIfBy returns a function that changes a bundle so that it names the key of p.
func asIfBy(t *testing.T, p person) func(map[string]any) {
	other, err := attest.SealVerificationSummary(t.Context(), "web", []digest.Digest{rebuiltIndex}, &attest.VerificationSummary{TimeVerified: rebuiltAt}, p.private)
	must(t, err)
	var named map[string]any
	must(t, json.Unmarshal(other.Data, &named))
	return func(bundle map[string]any) { bundle["verificationMaterial"] = named["verificationMaterial"] }
}

// attachedFor attaches the given documents to an image with two platforms. It then reads and checks
// these documents.
func attachedFor(t *testing.T, o Options, all ...said) *attachments {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.WithReferrersSupport(true), ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	r, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/web")
	must(t, err)
	repo, err := registry.Open(r, registry.Options{})
	must(t, err)
	t.Cleanup(func() { repo.Close() })
	for _, s := range all {
		s.attach(t, repo)
	}
	of := func(d digest.Digest) oci.Blob { return oci.Blob{Descriptor: ocispec.Descriptor{Digest: d}} }
	docs := &documents{top: of(rebuiltIndex), index: &manifest.Index{}, images: []*document{
		{platform: "linux/amd64", blob: of(rebuiltAMD)}, {platform: "linux/arm64", blob: of(rebuiltARM)}}}
	o.Now = rebuiltAt
	v := &verification{src: repo, o: o, signers: o.signers(), known: o.known()}
	a, err := v.readAttached(t.Context(), docs)
	must(t, err)
	return a
}

// TestRebuilders checks which statements of rebuilders are accepted. If too few rebuilders agree,
// the finding must name the rebuilders that do not, with the reasons.
func TestRebuilders(t *testing.T) {
	anna, ben, carl, mallory := newPerson(t, "anna"), newPerson(t, "ben"), newPerson(t, "carl"), newPerson(t, "mallory")
	two := []Rebuilder{{Signer: anna.named}, {Signer: ben.named}}
	three := append(two[:2:2], Rebuilder{Signer: carl.named})
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name string
		want RequiredRebuilders
		said []said
		text []string // texts in the finding; nil if there must be no finding
	}{
		{"two agree", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben}}, nil},
		{"two of three agree, and the third says nothing", RequiredRebuilders{Known: three, Count: 2}, []said{{by: anna}, {by: carl}}, nil},
		{"two of three agree, and the third reports FAILED", RequiredRebuilders{Known: three, Count: 2}, []said{{by: anna}, {by: ben, result: attest.Failed}, {by: carl}}, nil},
		{"each platform apart", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, to: rebuiltAMD}, {by: ben, to: rebuiltARM}}, nil},
		{"FAILED, and PASSED later", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, result: attest.Failed, age: 3 * time.Hour}, {by: ben}}, nil},
		{"young enough", RequiredRebuilders{Known: two, Count: 2, MaxAge: 2 * time.Hour}, []said{{by: anna}, {by: ben, age: 2 * time.Hour}}, nil},
		{"the verifier that was agreed on", RequiredRebuilders{Known: []Rebuilder{{anna.named, "https://example.org/anna"}}, Count: 1}, []said{{by: anna}}, nil},
		{"a clock that is a minute ahead", RequiredRebuilders{Known: two, Count: 1}, []said{{by: anna, age: -time.Minute}}, nil},
		{"none is required", RequiredRebuilders{Known: two}, nil, nil},

		{"nobody says anything", RequiredRebuilders{Known: two, Count: 2}, nil, []string{"no rebuilder has made the image again, but 2 must have done so", "anna: no verification summary of linux/amd64; no verification summary of linux/arm64"}},
		{"one of two", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}}, []string{"only anna has made the image again, but 2 must have done so", "ben: no verification summary"}},
		{"one of two reports FAILED", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, result: attest.Failed}}, []string{"only anna has made the image again", "ben: FAILED on 2026-05-01T11:00:00Z by https://example.org/ben"}},
		{"PASSED, and FAILED later", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, age: 3 * time.Hour}, {by: ben, result: attest.Failed}}, []string{"ben: FAILED"}},
		{"PASSED and FAILED at the same time", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben}, {by: ben, result: attest.Failed}}, []string{"ben: FAILED"}},
		{"FAILED long ago", RequiredRebuilders{Known: two, Count: 2, MaxAge: day}, []said{{by: anna}, {by: ben, result: attest.Failed, age: 90 * day}}, []string{"ben: FAILED"}},
		{"they must agree, and one of three reports FAILED", RequiredRebuilders{Known: three, Count: 2, Unanimous: true}, []said{{by: anna}, {by: ben, result: attest.Failed}, {by: carl}}, []string{"the rebuilders do not agree", "ben: FAILED"}},
		{"one platform FAILED", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, to: rebuiltAMD}, {by: ben, to: rebuiltARM, result: attest.Failed}}, []string{"ben: FAILED"}},
		{"one platform alone", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, to: rebuiltAMD}}, []string{"ben: no verification summary of linux/arm64"}},
		{"about another image", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, about: otherImage}}, []string{"only anna has", "ben: sha256:", "it is about " + otherImage.String()}},
		{"digest changed to this image's", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, about: otherImage, forge: inPayload(otherImage.Encoded(), rebuiltIndex.Encoded())}}, []string{"only anna has"}},
		{"result changed", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, result: attest.Failed, forge: inPayload(`"FAILED"`, `"PASSED"`)}}, []string{"only anna has", "ben: sha256:", "names ben as its key, but the signature does not match"}},
		{"time changed", RequiredRebuilders{Known: two, Count: 2, MaxAge: day}, []said{{by: anna}, {by: ben, age: 90 * day, forge: inPayload("2026-01-31", "2026-05-01")}}, []string{"only anna has"}},
		{"a stranger", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: mallory}}, []string{"only anna has", "ben: no verification summary"}},
		{"a stranger who names the key of a rebuilder", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: mallory, forge: asIfBy(t, ben)}}, []string{"only anna has", "names ben as its key, but the signature does not match"}},
		{"one rebuilder twice", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: anna, age: 2 * time.Hour}}, []string{"only anna has"}},
		{"one key with two names", RequiredRebuilders{Known: append(two[:1:1], Rebuilder{Signer: attest.Signer{Name: "copy", Key: anna.named.Key}}), Count: 2}, []said{{by: anna}}, []string{"only anna (also copy) has"}},
		{"too old", RequiredRebuilders{Known: two, Count: 2, MaxAge: 30 * day}, []said{{by: anna}, {by: ben, age: 31 * day}}, []string{"ben: its newest statement, PASSED of 2026-03-31T12:00:00Z, is older than 30 days"}},
		{"too old by a second", RequiredRebuilders{Known: two, Count: 2, MaxAge: 2 * time.Hour}, []said{{by: anna}, {by: ben, age: 2*time.Hour + time.Second}}, []string{"is older than 2 h 0 min"}},
		{"in the future", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, age: -time.Hour}}, []string{"ben: sha256:", "which is in the future"}},
		{"PASSED now, and FAILED in the future", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben}, {by: ben, result: attest.Failed, age: -48 * time.Hour}}, []string{"only anna has", "ben: FAILED on 2026-05-03T12:00:00Z", "this time is in the future"}},
		{"they must agree, and one reports FAILED in the future", RequiredRebuilders{Known: three, Count: 2, Unanimous: true}, []said{{by: anna}, {by: carl}, {by: ben, result: attest.Failed, age: -48 * time.Hour}}, []string{"do not agree", "ben: FAILED on 2026-05-03", "this time is in the future"}},
		{"an old FAILED, and PASSED later, also too old", RequiredRebuilders{Known: two, Count: 2, MaxAge: 15 * day}, []said{{by: anna}, {by: ben, result: attest.Failed, age: 90 * day}, {by: ben, age: 40 * day}}, []string{"ben: its newest statement, PASSED of 2026-03-22T12:00:00Z, is older than 15 days"}},
		{"FAILED by the rebuilder's own policy", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, result: attest.Failed, edit: func(s *attest.VerificationSummary) { s.Policy.URI = "https://example.org/policy" }}}, []string{"ben: FAILED", "own policy https://example.org/policy; the rebuild itself may be right"}},
		{"another verifier", RequiredRebuilders{Known: []Rebuilder{{anna.named, "https://example.org/a-farm"}}, Count: 1}, []said{{by: anna}}, []string{"the verifier is https://example.org/anna, not https://example.org/a-farm"}},
		{"only a policy was checked", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, edit: func(s *attest.VerificationSummary) { s.Levels = []string{"SLSA_BUILD_LEVEL_3"} }}}, []string{"ben: sha256:", "not that the image was made again"}},
		{"no level", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, edit: func(s *attest.VerificationSummary) { s.Levels = nil }}}, []string{"not that the image was made again"}},
		{"neither PASSED nor FAILED", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, result: "MAYBE"}}, []string{`ben: sha256:`, `verificationResult is "MAYBE"`}},
		{"PASSED, with the level FAILED", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, edit: func(s *attest.VerificationSummary) { s.Levels = []string{attest.Failed} }}}, []string{"ben: sha256:", "verifiedLevels contains FAILED"}},
		{"no verifier", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, edit: func(s *attest.VerificationSummary) { s.Verifier.ID = "" }}}, []string{"no verifier.id"}},
		{"no policy", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, edit: func(s *attest.VerificationSummary) { s.Policy.URI = "" }}}, []string{"no policy.uri"}},
		{"no resource", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, edit: func(s *attest.VerificationSummary) { s.ResourceURI = "" }}}, []string{"no resourceUri"}},
		{"attached to one manifest, about the other", RequiredRebuilders{Known: two, Count: 2}, []said{{by: anna}, {by: ben, to: rebuiltAMD}, {by: ben, to: rebuiltARM, about: rebuiltAMD}}, []string{"only anna has"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := attachedFor(t, Options{Rebuilders: []RequiredRebuilders{tt.want}}, tt.said...)
			if len(tt.text) == 0 {
				if len(a.findings) > 0 {
					t.Error(a.findings)
				}
				return
			}
			if len(a.findings) != 1 || a.findings[0].Check != CheckRebuilders || a.findings[0].Digest != rebuiltIndex {
				t.Fatalf("%+v, want %q", a.findings, tt.text)
			}
			for _, want := range tt.text {
				if !strings.Contains(a.findings[0].What, want) {
					t.Errorf("%s, want %q", a.findings[0].What, want)
				}
			}
		})
	}
}

// TestRebuilderLine checks the report's line about a rebuilder. It must also name the statements
// that are not accepted.
func TestRebuilderLine(t *testing.T) {
	anna, mallory := newPerson(t, "anna"), newPerson(t, "mallory")
	want := RequiredRebuilders{Known: []Rebuilder{{Signer: anna.named}}, Count: 1}
	for _, tt := range []struct {
		name string
		said []said
		text []string
	}{
		{"one of the future", []said{{by: anna}, {by: anna, age: -time.Hour}}, []string{"PASSED on 2026-05-01T11:00:00Z by https://example.org/anna; does not count: sha256:", "which is in the future"}},
		{"one in its name", []said{{by: anna}, {by: mallory, forge: asIfBy(t, anna)}}, []string{"PASSED on", "does not count: sha256:", "the signature does not match"}},
		{"five in its name", []said{{by: anna}, {by: mallory, forge: asIfBy(t, anna)}, {by: mallory, age: 2 * time.Hour, forge: asIfBy(t, anna)}, {by: mallory, age: 3 * time.Hour, forge: asIfBy(t, anna)},
			{by: mallory, age: 4 * time.Hour, forge: asIfBy(t, anna)}, {by: mallory, age: 5 * time.Hour, forge: asIfBy(t, anna)}}, []string{"PASSED on", "; and 2 more"}},
	} {
		a := attachedFor(t, Options{Rebuilders: []RequiredRebuilders{want}}, tt.said...)
		if len(a.findings) != 0 || len(a.rebuilt) != 1 {
			t.Fatalf("%s: %v, %v", tt.name, a.findings, a.rebuilt)
		}
		for _, text := range tt.text {
			if got := a.rebuilt[0].String(); !strings.Contains(got, text) {
				t.Errorf("%s: %s, want %s", tt.name, got, text)
			}
		}
	}
}

// TestSummaryMustPass checks a verification summary that is required as a statement. Its result
// must be PASSED, and no later summary by the same key may be FAILED.
func TestSummaryMustPass(t *testing.T) {
	carl, anna := newPerson(t, "carl"), newPerson(t, "anna")
	for _, tt := range []struct {
		name string
		said []said
		want string // "" if the summary must be accepted
	}{
		{"PASSED", []said{{by: carl}}, ""},
		{"PASSED after FAILED", []said{{by: carl, result: attest.Failed, age: 2 * time.Hour}, {by: carl}}, ""},
		{"FAILED by somebody else", []said{{by: carl}, {by: anna, result: attest.Failed}}, ""},
		{"FAILED", []said{{by: carl, result: attest.Failed}}, "it reports FAILED on 2026-05-01T11:00:00Z"},
		{"FAILED after PASSED", []said{{by: carl, age: 2 * time.Hour}, {by: carl, result: attest.Failed}}, "a later one reports FAILED"},
		{"no result", []said{{by: carl, result: "MAYBE"}}, `verificationResult is "MAYBE"`},
	} {
		for _, policy := range []bool{false, true} {
			a := attachedFor(t, Options{Attestations: []RequiredAttestation{{Type: attest.VerificationSummaryType, Signers: []attest.Signer{carl.named}, Policy: policy}}}, tt.said...)
			what, by := "", ofFlag
			if policy {
				by = ofPolicy
			}
			for _, f := range a.findings {
				what += f.What
				if f.source != by {
					t.Errorf("%s: required by %d, want %d", tt.name, f.source, by)
				}
			}
			if (what == "") != (tt.want == "") || !strings.Contains(what, tt.want) || (len(a.inputs) > 0) != (tt.want == "") {
				t.Errorf("%s: %s, %v, want %s", tt.name, what, a.inputs, tt.want)
			}
		}
	}
}

// TestRebuilderKeys checks that the key of a rebuilder is trusted only for rebuilds.
func TestRebuilderKeys(t *testing.T) {
	anna, owner := newPerson(t, "anna"), newPerson(t, "owner")
	o := Options{
		Attestations: []RequiredAttestation{{Type: attest.VerificationSummaryType, Signers: []attest.Signer{owner.named}}},
		Rebuilders:   []RequiredRebuilders{{Known: []Rebuilder{{Signer: anna.named}}, Count: 1}},
	}
	a := attachedFor(t, o, said{by: anna})
	if len(a.findings) != 2 || !strings.Contains(a.findings[0].What, "by owner") || !strings.Contains(a.findings[0].What, "signed by anna") {
		t.Errorf("the rebuilder's statement counts as the owner's: %v", a.findings)
	}
	a = attachedFor(t, o, said{by: owner})
	if len(a.findings) != 1 || a.findings[0].Check != CheckRebuilders {
		t.Errorf("the owner's statement counts as the rebuilder's: %v", a.findings)
	}
	a = attachedFor(t, o, said{by: owner}, said{by: anna})
	if len(a.findings) != 0 || len(a.inputs) != 2 || a.inputs[0].Attached == a.inputs[1].Attached || a.inputs[0].Content.Validate() != nil {
		t.Errorf("%v, %v", a.findings, a.inputs)
	}
}

// TestArchiveHasNoSignatures checks that a docker-archive does not meet a requirement of
// signatures. An archive has no manifest that anybody could sign.
func TestArchiveHasNoSignatures(t *testing.T) {
	file := filepath.Join(t.TempDir(), "docker.tar")
	dst, err := layout.CreateDockerArchive(file)
	must(t, err)
	small.pushTo(t, dst, "none", manifest.Settings{}, "sample-x86_64-linux")
	anna := newPerson(t, "anna")
	keys := []attest.Signer{anna.named}
	for what, o := range map[string]Options{
		"signature":  signedBy(1, anna.named),
		"statement":  {Attestations: []RequiredAttestation{{Type: attest.SPDXPredicate, Signers: keys}}},
		"rebuilders": {Rebuilders: []RequiredRebuilders{{Known: []Rebuilder{{Signer: anna.named}}, Count: 1}}},
	} {
		if r := verified(t, "docker-archive:"+file, o); r.OK || !strings.Contains(r.Findings[0].What, "docker-archive has no") {
			t.Errorf("%s: %v", what, r.Findings)
		}
	}
}
