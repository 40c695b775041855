package keyless

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
)

// Services lists the services that sign, record and confirm a signature.
type Services struct {
	Fulcio     string   // URL of the certificate authority
	Logs       []Log    // transparency logs; each of them records the signature
	Timestamps []string // URLs of timestamp authorities; each of them confirms the time of the signature
}

// Log is a transparency log.
type Log struct {
	URL     string
	Version int // 1 or 2, the version of Rekor's interface
}

// These are the names of services in the text that ParseServices reads.
const (
	fulcioName    = "fulcio"
	rekorName     = "rekor"
	rekor2Name    = "rekor2"
	timestampName = "timestamp"
)

// servicesForm shows the form of the text that ParseServices reads.
const servicesForm = "fulcio=URL,rekor=URL,timestamp=URL"

// ParseServices reads a list of services, such as fulcio=URL,rekor=URL. rekor2 is a Rekor of version
// 2. rekor, rekor2 and timestamp can be repeated.
func ParseServices(text string) (*Services, error) {
	s := new(Services)
	for part := range strings.SplitSeq(text, ",") {
		name, url, _ := strings.Cut(part, "=")
		switch {
		case url == "":
			return nil, hint.Add(fmt.Errorf("read services: %q has no URL", part), "the form is "+servicesForm)
		case name == fulcioName && s.Fulcio == "":
			s.Fulcio = url
		case name == fulcioName:
			return nil, errors.New("read services: fulcio is given twice")
		case name == rekorName:
			s.Logs = append(s.Logs, Log{url, 1})
		case name == rekor2Name:
			s.Logs = append(s.Logs, Log{url, 2})
		case name == timestampName:
			s.Timestamps = append(s.Timestamps, url)
		default:
			return nil, hint.Add(fmt.Errorf("read services: %q is not a service", name), "the services are fulcio, rekor, rekor2 and timestamp")
		}
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("read services: %w", err)
	}
	return s, nil
}

// IsServiceList reports whether text is a list of services, and not the name of a file.
func IsServiceList(text string) bool {
	name, _, ok := strings.Cut(text, "=")
	return ok && slices.Contains([]string{fulcioName, rekorName, rekor2Name, timestampName}, name)
}

// ReadSigningConfig reads a file in the format of Sigstore's signing_config.v0.2.json. cosign
// signing-config create writes such files.
func ReadSigningConfig(file string, now time.Time) (*Services, error) {
	data, err := limit.ReadNamed(file, limit.TrustRoot)
	if err != nil {
		return nil, fmt.Errorf("read signing config: %w", err)
	}
	s, err := parseSigningConfig(data, now)
	if err != nil {
		return nil, fmt.Errorf("read signing config: %s: %w", file, err)
	}
	return s, nil
}

// parseSigningConfig selects services that are valid now, by the rules in the file.
func parseSigningConfig(data []byte, now time.Time) (*Services, error) {
	p, err := root.NewSigningConfigProtobuf(data)
	if err != nil {
		return nil, errors.New("not a signing config") // protojson's error texts differ from build to build
	}
	c, err := root.NewSigningConfigFromProtobuf(p)
	if err != nil {
		return nil, err
	}
	fulcio, err := root.SelectService(c.FulcioCertificateAuthorityURLs(), []uint32{1}, now)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	s := &Services{Fulcio: fulcio.URL}
	if all := c.RekorLogURLs(); len(all) > 0 {
		logs, err := root.SelectServices(all, c.RekorLogURLsConfig(), []uint32{1, 2}, now)
		if err != nil {
			return nil, fmt.Errorf("transparency log: %w", err)
		}
		for _, l := range logs {
			s.Logs = append(s.Logs, Log{l.URL, int(l.MajorAPIVersion)})
		}
	}
	if all := c.TimestampAuthorityURLs(); len(all) > 0 {
		authorities, err := root.SelectServices(all, c.TimestampAuthorityURLsConfig(), []uint32{1}, now)
		if err != nil {
			return nil, fmt.Errorf("timestamp authority: %w", err)
		}
		for _, a := range authorities {
			s.Timestamps = append(s.Timestamps, a.URL)
		}
	}
	return s, s.check()
}

// check returns an error if signatures of these services could not be valid, because a service is
// missing.
func (s *Services) check() error {
	timed := len(s.Timestamps) > 0 || slices.ContainsFunc(s.Logs, func(l Log) bool { return l.Version == 1 })
	switch {
	case s.Fulcio == "":
		return hint.Add(errors.New("the certificate authority is missing"), "the form is "+servicesForm)
	case len(s.Logs) == 0 && !timed:
		return hint.Add(errors.New("neither a transparency log nor a timestamp authority can prove the time of a signature"), "add rekor=URL, timestamp=URL or both")
	case !timed:
		return hint.Add(errors.New("a Rekor of version 2 does not prove the time of a signature"), "add a timestamp authority")
	}
	return nil
}
