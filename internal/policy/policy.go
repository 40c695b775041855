// Package policy reads verification policies. A policy is a JSON file that contains
// what nixoci verify requires of an image.
//
// [Policy] is the only place that declares and documents the fields. [Schema] and
// [FieldTable] are derived from this struct. [Load] reads and checks a policy.
// [Loaded.Require] turns it into options of package verify, which makes the checks.
package policy

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/schema"
	"github.com/nixoci/nixoci/internal/verify"
)

// Policy contains the requirements for an image. A missing field requires nothing.
type Policy struct {
	Version      int             `json:"nixociPolicy" doc:"version of the policy format: 1" flag:""`
	URI          string          `json:"uri,omitempty" doc:"URI at which the policy is published. Verification summaries contain this URI; without it, they contain the policy's hash" flag:""`
	Keys         []Key           `json:"keys,omitempty" doc:"public keys whose signatures of the image and of statements count" flag:"key"`
	Identities   []Identity      `json:"identities,omitempty" doc:"people and CI jobs whose signatures of the image and of statements count. They sign with short-lived certificates. trustRoot is required" flag:"identity"`
	TrustRoot    string          `json:"trustRoot,omitempty" doc:"file with the certificate authorities, logs and timestamp authorities that count for identities, in the format of Sigstore's trusted_root.json. The name is relative to the policy" flag:"trust-root"`
	Signatures   Signatures      `json:"signatures,omitzero" doc:"signatures that are required" flag:""`
	Attestations []Attestation   `json:"attestations,omitempty" doc:"signed statements that are required. A key of the list keys or an identity of the list identities must have signed each of them" flag:"require-attestation"`
	Rebuilders   Rebuilders      `json:"rebuilders,omitzero" doc:"who must have made the image again" flag:""`
	Settings     AllowedSettings `json:"settings,omitzero" doc:"allowed settings, compression, base images and program at /sbin/init" flag:""`
}

// Key describes a public key. Either File or PEM is set.
type Key struct {
	Name string `json:"name" doc:"name of the key in reports" flag:""`
	File string `json:"file,omitempty" doc:"file with the key in PEM. The name is relative to the policy" flag:"" oneof:""`
	PEM  string `json:"pem,omitempty" doc:"the key itself in PEM, instead of a file. The hash of the policy then covers the key" flag:"" oneof:""`
}

// Identity describes a person or a CI job that signs with short-lived certificates.
type Identity struct {
	Name     string `json:"name" doc:"name of the identity in reports" flag:""`
	Identity string `json:"identity" doc:"address or URI in the certificate. A * stands for any part of the path, as in https://github.com/org/web/*" flag:"identity"`
	Issuer   string `json:"issuer,omitempty" doc:"URL of the provider that must have checked the identity. A workflow of github.com or gitlab.com needs no issuer: the default is the provider of this platform" flag:"issuer"`
}

// Signatures contains the requirements for signatures of the image and of its store
// paths.
type Signatures struct {
	Image      int      `json:"image,omitempty" doc:"how many different members of the lists keys and identities must have signed the image" flag:""`
	StorePaths string   `json:"storePaths,omitempty" doc:"which store paths must have a signature of a trusted key" flag:"require-signatures" enum:"all|any|none"`
	Trusted    []string `json:"trustedPublicKeys,omitempty" doc:"the only keys that count for store paths, as NAME:BASE64. Without this field, the keys of nix.conf and of --trusted-public-key count" flag:""`
}

// Attestation describes a signed statement that the image must have.
type Attestation struct {
	Type   string `json:"type" doc:"type of the statement: a name that nixoci attest takes, such as slsaprovenance1 or spdx, or a URI" flag:""`
	MaxAge string `json:"maxAge,omitempty" doc:"how old the statement may be, such as 30d or 12h, by the time in the statement. verify refuses a statement without a time" flag:"" pattern:"^[0-9]{1,5}[dh]$"`
}

// Rebuilders contains the requirements for rebuilders. A rebuilder makes an image
// again and signs a statement about the result.
type Rebuilders struct {
	Required  int         `json:"required,omitempty" doc:"how many of the rebuilders in known must have made the image again, with the same digest" flag:"require-rebuilders"`
	Unanimous bool        `json:"unanimous,omitempty" doc:"refuse the image if a rebuilder in known reports FAILED, even if enough others agree" flag:""`
	MaxAge    string      `json:"maxAge,omitempty" doc:"how old the rebuilders' statements may be, such as 30d" flag:"" pattern:"^[0-9]{1,5}[dh]$"`
	Known     []Rebuilder `json:"known,omitempty" doc:"the rebuilders" flag:"rebuilder-key"`
}

// Rebuilder describes a rebuilder. One of File, PEM and Identity is set.
type Rebuilder struct {
	Name     string `json:"name" doc:"name of the rebuilder in reports" flag:""`
	File     string `json:"file,omitempty" doc:"file with the public key in PEM. The name is relative to the policy" flag:"" oneof:""`
	PEM      string `json:"pem,omitempty" doc:"the public key itself in PEM, instead of a file" flag:"" oneof:""`
	Identity string `json:"identity,omitempty" doc:"address or URI in the rebuilder's certificates, instead of a key. The form is the same as in identities. trustRoot is required" flag:"" oneof:""`
	Issuer   string `json:"issuer,omitempty" doc:"URL of the provider that must have checked the identity, as in identities" flag:""`
	Verifier string `json:"verifier,omitempty" doc:"URI that the rebuilder's statements must contain as verifier.id; without this field, every URI counts" flag:""`
}

// AllowedSettings contains the requirements for the settings with which the image was made.
type AllowedSettings struct {
	Changed     *[]string `json:"changed,omitempty" doc:"settings that may differ from nixoci's default. With an empty list, no setting may differ" flag:"" enum:"Entrypoint|Cmd|Env|User|WorkingDir|StopSignal|ExposedPorts|Volumes|Healthcheck|Labels|created|annotations"`
	Compression []string  `json:"compression,omitempty" doc:"how layers may be compressed, such as gzip, zstd:3 or none. A name without a level allows all levels. The layers of a base image do not count" flag:""`
	BaseImages  *[]string `json:"baseImages,omitempty" doc:"base images that are allowed: a repository such as docker.io/library/debian, with @sha256:… or without, or sha256:… alone. An empty list allows no base image" flag:""`
	KnownInit   bool      `json:"knownInit,omitempty" doc:"the program at /sbin/init must be a nixoci-init of this nixoci, or the program that --init names" flag:""`
}

// format tells package schema how to read and document policies.
var format = schema.Format[Policy]{
	Name: "policy", Title: "nixoci verification policy", VersionField: "nixociPolicy", Version: 1,
	Limit: limit.Policy, Page: "docs/policy.md",
}

// Fields returns all fields, in the order of the struct [Policy].
func Fields() []schema.Field { return format.Fields() }

// FieldTable returns the list of fields as a Markdown table.
func FieldTable() string { return format.FieldTable() }

// Schema returns the JSON Schema of policies.
func Schema() ([]byte, error) { return format.Schema() }

// Loaded holds a policy, and the keys, ages and types that were parsed from its texts.
type Loaded struct {
	Policy     Policy
	Digest     digest.Digest      // digest of the policy file
	Signers    []attest.Signer    // members of keys and identities
	TrustRoot  *keyless.TrustRoot // nil if the policy names none
	Rebuilders []verify.Rebuilder
	Trusted    closure.TrustedKeys // keys for store paths; nil if the policy names none

	RebuilderAge time.Duration // maximum age of a rebuilder's statement; 0 means any age
	Attestations []LoadedAttestation
}

// LoadedAttestation describes a required statement.
type LoadedAttestation struct {
	Type   string // URI of the statement's predicate type
	MaxAge time.Duration
}

// Load reads the policy in a file, and the key files that the policy names.
func Load(file string) (*Loaded, error) {
	data, err := limit.ReadNamed(file, limit.Policy)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	l, err := Parse(data, filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return l, nil
}

// Parse reads a policy, and the key files that the policy names. The names of key files
// are relative to dir.
func Parse(data []byte, dir string) (*Loaded, error) {
	p, err := format.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	l := &Loaded{Policy: *p, Digest: digest.FromBytes(data)}
	for _, step := range []func(string) error{l.checkURI, l.loadTrustRoot, l.loadKeys, l.loadIdentities, l.loadAttestations, l.loadRebuilders, l.loadSignatures, l.checkSettings} {
		if err := step(dir); err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
	}
	if l.empty() {
		return nil, hint.Add(errors.New("read policy: it requires nothing"), l.whyEmpty())
	}
	return l, nil
}

func (l *Loaded) checkURI(string) error {
	return isURI("uri", l.Policy.URI)
}

// isURI returns an error if s is neither "" nor a URI.
func isURI(field, s string) error {
	if s == "" {
		return nil
	}
	if u, err := url.Parse(s); err != nil || u.Scheme == "" {
		return fmt.Errorf("%s: %q is not a URI", field, s)
	}
	return nil
}

func (l *Loaded) loadKeys(dir string) error {
	if n := len(l.Policy.Keys) + len(l.Policy.Identities) + len(l.Policy.Rebuilders.Known); n > limit.PolicyKeys {
		return fmt.Errorf("%d keys and identities, at most %d are read", n, limit.PolicyKeys)
	}
	for n, k := range l.Policy.Keys {
		key, err := readKey(dir, k.Name, k.File, k.PEM)
		if err == nil && slices.Contains(attest.SignerNames(l.Signers), k.Name) {
			err = errors.New("another key has this name, too")
		}
		if err != nil {
			return fmt.Errorf("keys[%d] %q: %w", n, k.Name, err)
		}
		l.Signers = append(l.Signers, key)
	}
	l.Signers = attest.DistinctSigners(l.Signers)
	return nil
}

// loadTrustRoot reads the trust root. It is required if a field names an identity.
func (l *Loaded) loadTrustRoot(dir string) (err error) {
	file := l.Policy.TrustRoot
	if file == "" {
		rebuilder := func(r Rebuilder) bool { return r.Identity != "" }
		if len(l.Policy.Identities) > 0 || slices.ContainsFunc(l.Policy.Rebuilders.Known, rebuilder) {
			return hint.Add(errors.New("trustRoot is missing, and the policy names identities"), "name a file with the authorities whose certificates count, such as trusted_root.json")
		}
		return nil
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	if l.TrustRoot, err = keyless.ReadTrustRoot(file); err != nil {
		return fmt.Errorf("trustRoot: %w", err)
	}
	return nil
}

func (l *Loaded) loadIdentities(string) error {
	for n, i := range l.Policy.Identities {
		s, err := l.readIdentity(i.Name, i.Identity, i.Issuer)
		for _, other := range l.Signers {
			switch {
			case err != nil:
			case other.Name == i.Name:
				err = errors.New("another key or identity has this name, too")
			default:
				err = overlap(other, s)
			}
		}
		if err != nil {
			return fmt.Errorf("identities[%d] %q: %w", n, i.Name, err)
		}
		l.Signers = append(l.Signers, s)
	}
	if n := l.Policy.Signatures.Image; n > len(l.Signers) {
		return fmt.Errorf("signatures.image: %d are required, and there are %d different keys and identities", n, len(l.Signers))
	}
	return nil
}

// readIdentity returns the signer for an identity of the policy.
func (l *Loaded) readIdentity(name, subject, issuer string) (s attest.Signer, err error) {
	if name == "" {
		return s, errors.New("it has no name")
	}
	id, err := keyless.NewIdentity(subject, issuer)
	if err != nil {
		return s, err
	}
	return attest.Signer{Name: name, Identity: &attest.Identity{Identity: id, Root: l.TrustRoot}}, nil
}

// readRebuilder reads the key or the identity of a rebuilder.
func (l *Loaded) readRebuilder(dir string, b Rebuilder) (s attest.Signer, err error) {
	switch {
	case b.Identity == "" && b.Issuer != "":
		return s, errors.New("issuer: identity is missing")
	case b.Identity == "" && b.File == "" && b.PEM == "":
		return s, errors.New("it needs file, pem or identity")
	case b.Identity == "":
		return readKey(dir, b.Name, b.File, b.PEM)
	case b.File != "" || b.PEM != "":
		return s, errors.New("it has more than one of file, pem and identity")
	}
	return l.readIdentity(b.Name, b.Identity, b.Issuer)
}

// overlap returns an error if one certificate can belong to both signers, because such a certificate
// would count twice.
func overlap(a, b attest.Signer) error {
	if a.Identity != nil && b.Identity != nil && a.Identity.Overlaps(b.Identity.Identity) {
		return fmt.Errorf("a certificate can match both this identity and the identity of %s: make them different", a.Name)
	}
	return nil
}

// readKey reads a public key from a file, or from the text pem of the policy.
func readKey(dir, name, file, pem string) (k attest.Signer, err error) {
	data := []byte(pem)
	switch {
	case name == "":
		return k, errors.New("it has no name")
	case (file == "") == (pem == ""):
		return k, errors.New("it needs either file or pem")
	case file != "":
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		if data, err = limit.ReadNamed(file, limit.KeyFile); err != nil {
			return k, err
		}
	}
	key, err := attest.ParsePublicKey(data)
	return attest.Signer{Name: name, Key: key}, err
}

func (l *Loaded) loadAttestations(string) error {
	for n, a := range l.Policy.Attestations {
		t, err := attest.PredicateType(a.Type)
		var age time.Duration
		if err == nil {
			age, err = parseAge(a.MaxAge)
		}
		if err == nil && len(l.Signers) == 0 {
			err = errors.New("keys and identities are empty, so nobody can sign this statement")
		}
		if err != nil {
			return fmt.Errorf("attestations[%d]: %w", n, err)
		}
		l.Attestations = append(l.Attestations, LoadedAttestation{t, age})
	}
	return nil
}

func (l *Loaded) loadRebuilders(dir string) (err error) {
	r := &l.Policy.Rebuilders
	if l.RebuilderAge, err = parseAge(r.MaxAge); err != nil {
		return fmt.Errorf("rebuilders: %w", err)
	}
	for n, b := range r.Known {
		key, err := l.readRebuilder(dir, b)
		if err == nil {
			err = isURI("verifier", b.Verifier)
		}
		for _, other := range l.Rebuilders {
			switch {
			case err != nil:
			case other.Name == b.Name:
				err = errors.New("another rebuilder has this name, too")
			case other.ID() == key.ID():
				err = fmt.Errorf("it has the key of %s", other.Name)
			default:
				err = overlap(other.Signer, key)
			}
		}
		if err != nil {
			return fmt.Errorf("rebuilders.known[%d] %q: %w", n, b.Name, err)
		}
		l.Rebuilders = append(l.Rebuilders, verify.Rebuilder{Signer: key, Verifier: b.Verifier})
	}
	if r.Required > len(l.Rebuilders) {
		return fmt.Errorf("rebuilders.required is %d, but rebuilders.known lists only %d", r.Required, len(l.Rebuilders))
	}
	return nil
}

func (l *Loaded) loadSignatures(string) (err error) {
	if len(l.Policy.Signatures.Trusted) == 0 {
		return nil
	}
	if l.Trusted, err = closure.NewTrustedKeys(l.Policy.Signatures.Trusted...); err != nil {
		return fmt.Errorf("signatures.trustedPublicKeys: %w", err)
	}
	return nil
}

func (l *Loaded) checkSettings(string) error {
	for _, c := range l.Policy.Settings.Compression {
		if _, err := layers.ParseCompression(c); err != nil {
			return fmt.Errorf("settings.compression: %w", err)
		}
	}
	if l.Policy.Settings.BaseImages == nil {
		return nil
	}
	for _, b := range *l.Policy.Settings.BaseImages {
		if _, _, err := verify.ParseAllowedBase(b); err != nil {
			return fmt.Errorf("settings.baseImages: %q is neither a repository nor a digest", b)
		}
	}
	return nil
}

// empty reports whether the policy accepts every image.
func (l *Loaded) empty() bool {
	s, r, set := l.Policy.Signatures, l.Policy.Rebuilders, l.Policy.Settings
	noPaths := s.StorePaths == "" || s.StorePaths == "none"
	return s.Image == 0 && noPaths && len(l.Attestations) == 0 && r.Required == 0 && !r.Unanimous &&
		set.Changed == nil && len(set.Compression) == 0 && set.BaseImages == nil && !set.KnownInit
}

// whyEmpty returns the advice about a policy that requires nothing.
func (l *Loaded) whyEmpty() string {
	switch {
	case len(l.Rebuilders) > 0:
		return "rebuilders.known only names rebuilders: add rebuilders.required"
	case len(l.Signers) > 0:
		return "keys and identities only name signers: add signatures.image or attestations"
	}
	return "docs/policy.md lists what a policy can require"
}

// parseAge parses a number of days or hours, such as 30d or 12h. It refuses other units,
// because m could mean months or minutes.
func parseAge(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, ok := human.ParseAge(s)
	if !ok {
		return 0, hint.Add(fmt.Errorf("maxAge: %q is not an age", s), "give whole days or hours, such as 30d or 12h; other units are not known")
	}
	return d, nil
}
