package attest

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nixoci/nixoci/internal/limit"
)

// statementTimes maps predicate types to the field that contains the statement's time. The field is
// given as a list of names, the outermost object first.
var statementTimes = map[string][]string{
	VerificationSummaryType:            {"timeVerified"},
	ProvenanceType:                     {"runDetails", "metadata", "finishedOn"},
	"https://slsa.dev/provenance/v0.2": {"metadata", "buildFinishedOn"},
	SPDXPredicate:                      {"creationInfo", "created"},
	CycloneDXPredicate:                 {"metadata", "timestamp"},
	"https://cosign.sigstore.dev/attestation/vuln/v1": {"metadata", "scanFinishedOn"},
	"https://openvex.dev/ns":                          {"timestamp"},
}

// errNoTime reports that the age of a statement is unknown.
var errNoTime = errors.New("it contains no time")

// Time returns the time in the statement. If the statement contains no time, it returns an error.
func (a *Attestation) Time() (t time.Time, err error) {
	if a.statement == nil {
		return t, errNoTime
	}
	if a.statement.Predicate == nil {
		return t, fmt.Errorf("it has more than %d bytes, so its time is unknown", limit.Predicate)
	}
	names := statementTimes[a.PredicateType]
	data := a.statement.Predicate
	for _, name := range names {
		var object map[string]json.RawMessage
		if json.Unmarshal(data, &object) != nil {
			return t, errNoTime
		}
		data = object[name]
	}
	if len(names) == 0 || json.Unmarshal(data, &t) != nil || t.IsZero() {
		return t, errNoTime
	}
	return t.UTC(), nil
}
