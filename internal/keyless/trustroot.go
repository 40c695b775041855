package keyless

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
)

// makeTrustRoot is the advice to a user after an error in a trust root.
const makeTrustRoot = "cosign trusted-root create writes a trust root; gh attestation trusted-root also writes the trust root of GitHub"

// TrustRoot holds the keys and certificates of the services that nixoci trusts. It has one part for
// each deployment of Sigstore. The certificate, the log entry and the timestamp of a signature must
// come from the same deployment.
type TrustRoot struct {
	deployments []*deployment
	digest      digest.Digest
}

// Digest returns the digest of the file with the trust root.
func (t *TrustRoot) Digest() digest.Digest { return t.digest }

type deployment struct {
	root     *root.TrustedRoot
	verifier *verify.Verifier
}

// ReadTrustRoot reads a file in the format of Sigstore's trusted_root.json. The file may contain
// several trust roots one after another, as the file of gh attestation trusted-root does.
func ReadTrustRoot(file string) (*TrustRoot, error) {
	data, err := limit.ReadNamed(file, limit.TrustRoot)
	if err != nil {
		return nil, fmt.Errorf("read trust root: %w", err)
	}
	t, err := ParseTrustRoot(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return t, nil
}

// ParseTrustRoot reads one or more trust roots from JSON.
func ParseTrustRoot(data []byte) (*TrustRoot, error) {
	fail := func(err error) (*TrustRoot, error) {
		return nil, hint.Add(fmt.Errorf("read trust root: %w", err), makeTrustRoot)
	}
	t := &TrustRoot{digest: digest.FromBytes(data)}
	for dec := json.NewDecoder(bytes.NewReader(data)); ; {
		var part json.RawMessage
		err := dec.Decode(&part)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fail(errors.New("not JSON"))
		}
		d, err := newDeployment(part)
		if err != nil {
			return fail(err)
		}
		t.deployments = append(t.deployments, d)
	}
	if len(t.deployments) == 0 {
		return fail(errors.New("the file is empty"))
	}
	return t, nil
}

func newDeployment(data []byte) (*deployment, error) {
	p, err := root.NewTrustedRootProtobuf(data)
	if err != nil {
		return nil, errors.New("not a trust root") // protojson's error texts differ from build to build
	}
	r, err := root.NewTrustedRootFromProtobuf(p)
	switch {
	case err != nil:
		return nil, err
	case len(r.FulcioCertificateAuthorities()) == 0:
		return nil, errors.New("it lists no certificate authority")
	case len(r.RekorLogs())+len(r.TimestampingAuthorities()) == 0:
		return nil, errors.New("it lists neither a transparency log nor a timestamp authority, so nobody can prove the time of a signature")
	}
	// Require a proof from each kind of service that the deployment has.
	options := []verify.VerifierOption{verify.WithObserverTimestamps(1), verify.WithoutStatementPredicate()}
	if len(r.RekorLogs()) > 0 {
		options = append(options, verify.WithTransparencyLog(1))
	}
	if len(r.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	v, err := verify.NewVerifier(r, options...)
	if err != nil {
		return nil, err
	}
	return &deployment{r, v}, nil
}
