package attest

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/limit/limittest"
)

// TestBundleLimits checks the limits of the JSON in a bundle and in an envelope without a bundle.
func TestBundleLimits(t *testing.T) {
	subject := digest.FromString("image")
	statement := func(subjects string) string {
		return `{"_type":"https://in-toto.io/Statement/v1","subject":` + subjects + `,"predicateType":"https://example.org/x","predicate":{}}`
	}
	named := `{"digest":{"sha256":"` + subject.Encoded() + `"}}`
	read := func(start, payload, end string) error {
		a := ReadBundle(subject, []byte(start+base64.StdEncoding.EncodeToString([]byte(payload))+end))
		if a.Refused == "nobody has checked it" {
			return nil
		}
		return errors.New(a.Refused)
	}
	const start, end = `{"mediaType":"` + BundleV03 + `","verificationMaterial":{"publicKey":{"hint":",:[{\""}},"x":[1`, `],"dsseEnvelope":{"payloadType":"` + StatementType + `","payload":"`
	const last = `","signatures":[{"sig":"AAAA"}]}}`
	limittest.Around(t, limit.Subjects, "at most 1048576 are read", func(n int) error {
		return read(start+end, statement("["+named+strings.Repeat(" ", n-len(named)-2)+"]"), last)
	})
	around := 23 // values beside the numbers of x
	limittest.Around(t, limit.BundleValues, "at most 10000 are read", func(n int) error {
		return read(start+strings.Repeat(",1", n-around)+end, statement("["+named+"]"), last)
	})
	envelope := `{"payloadType":"` + StatementType + `","payload":"` + base64.StdEncoding.EncodeToString([]byte(statement("["+named+"]"))) + `","signatures":[{"sig":"AAAA"}],"x":[1`
	limittest.Around(t, limit.BundleValues, "at most 10000 are read", func(n int) error {
		_, err := parseEnvelope([]byte(envelope+strings.Repeat(",1", n-13)+"]}"), nil)
		return err
	})
}
