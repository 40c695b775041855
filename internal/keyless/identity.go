package keyless

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
)

// issuers maps the hosts of CI platforms to the providers that certify identities on these hosts.
var issuers = map[string]string{
	"github.com": "https://token.actions.githubusercontent.com",
	"gitlab.com": "https://gitlab.com",
}

// Identity is a person or a CI job whose signatures count.
type Identity struct {
	Subject string // name in the certificate; each * stands for any characters
	Issuer  string // URL of the provider that has checked the identity

	match *regexp.Regexp
}

// NewIdentity returns an identity, or an error if the subject or the issuer is not valid. If issuer
// is "" and the subject is a workflow of github.com or gitlab.com, NewIdentity uses the issuer of
// this platform.
func NewIdentity(subject, issuer string) (*Identity, error) {
	if subject == "" {
		return nil, errors.New("the identity is empty")
	}
	fixed, rest, wild := strings.Cut(subject, "*")
	u, err := url.Parse(fixed)
	if err != nil {
		return nil, fmt.Errorf("identity %q: neither an address nor a URI", subject)
	}
	isURL := strings.Contains(fixed, "://")
	switch _, domain, at := strings.Cut(rest, "@"); {
	case !wild:
	case isURL && !hasOwner(u):
		return nil, hint.Add(fmt.Errorf("identity %q: the host and the first part of the path must be without *", subject), "for example https://github.com/org/*, with the second /")
	case !isURL && (!at || !strings.Contains(domain, ".") || strings.Contains(domain, "*") || strings.ContainsAny(subject, "/:")):
		return nil, hint.Add(fmt.Errorf("identity %q: nearly everybody matches this", subject), "a * stands for a part of the path, as in https://github.com/org/web/*, or for the name in an address, as in *@example.org")
	}
	if issuer == "" && isURL && u.Scheme == "https" {
		issuer = issuers[strings.ToLower(u.Host)]
	}
	if issuer == "" {
		return nil, hint.Add(fmt.Errorf("identity %q: its issuer is missing", subject), "give the URL of the provider that certifies the identity, such as https://accounts.google.com")
	}
	if v, err := url.Parse(issuer); err != nil || v.Scheme == "" || v.Host == "" {
		return nil, fmt.Errorf("issuer %q: not a URL", issuer)
	}
	match, err := regexp.Compile(pattern(subject, isURL))
	if err != nil {
		return nil, fmt.Errorf("identity %q: %w", subject, err)
	}
	return &Identity{subject, issuer, match}, nil
}

// hasOwner reports whether u has a host and a complete first part of the path, such as the owner of
// repositories on github.com.
func hasOwner(u *url.URL) bool {
	owner, _, complete := strings.Cut(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	return u.Host != "" && owner != "" && complete
}

// pattern returns the regular expression for a subject.
//
// In a URI, the text after the last @ is the branch or tag. The name of a branch may itself contain @,
// so a * before the last @ of the subject cannot stand for an @. Otherwise the branch
// x@refs/heads/main would match https://github.com/org/web/*@refs/heads/main.
func pattern(subject string, isURL bool) string {
	quote := func(text, star string) string {
		return strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, star)
	}
	if !isURL {
		return `\A` + quote(subject, "[^/:@]*") + `\z` // so that *@example.org matches addresses only
	}
	branch := strings.LastIndex(subject, "@") + 1 // 0 if the subject contains no @
	return `\A(?s:` + quote(subject[:branch], "[^@]*") + quote(subject[branch:], ".*") + `)\z`
}

// Matches reports whether a certificate with this subject and issuer belongs to i.
func (i *Identity) Matches(subject, issuer string) bool {
	return issuer == i.Issuer && i.match.MatchString(subject)
}

// Overlaps reports whether a certificate can belong to both i and o.
func (i *Identity) Overlaps(o *Identity) bool {
	return i.Issuer == o.Issuer && overlap(i.Subject, o.Subject)
}

// overlap reports whether one text can match both patterns, if each * stands for any text. Each step
// adds one byte of a. Before step n, reach[k] reports whether one text can match both the first n
// bytes of a and the first k bytes of b.
func overlap(a, b string) bool {
	reach := make([]bool, len(b)+1)
	reach[0] = true
	stars := func() { // each * of b can stand for the empty text
		for k := range b {
			reach[k+1] = reach[k+1] || reach[k] && b[k] == '*'
		}
	}
	stars()
	for n := range len(a) {
		next := make([]bool, len(b)+1)
		for k := range reach {
			switch {
			case !reach[k]:
			case a[n] == '*': // this * can stand for any part of b
				for m := k; m <= len(b); m++ {
					next[m] = true
				}
			case k < len(b) && b[k] == a[n]:
				next[k+1] = true
			}
			if reach[k] && k < len(b) && b[k] == '*' {
				next[k] = true // this * also stands for a[n]
			}
		}
		reach = next
		stars()
	}
	return reach[len(b)]
}

func (i *Identity) String() string { return i.Subject + " (" + i.Issuer + ")" }
