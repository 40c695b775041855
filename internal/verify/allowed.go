package verify

import (
	"errors"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/manifest"
)

// Allowed restricts which settings, compression, base image and init an image may have. The zero
// value allows everything.
type Allowed struct {
	Settings    *[]string // names of settings that may differ from the default, as in [Setting]; nil allows all
	Compression []string  // compressions of the layers that nixoci made, such as "gzip" or "gzip:5"; nil allows all
	BaseImages  *[]string // names with or without a digest, or only digests; nil allows all
	KnownInit   bool      // if true, the program at /sbin/init must be known
}

// SettingNames returns the names of the settings that Allowed.Settings can have.
func SettingNames() (names []string) {
	for _, d := range defaults {
		names = append(names, d.name)
	}
	return names
}

// any reports whether everything is allowed.
func (a *Allowed) any() bool {
	return a.Settings == nil && a.Compression == nil && a.BaseImages == nil && !a.KnownInit
}

// checkAllowed compares the records of an image with Options.Allowed.
func (v *verification) checkAllowed(c *content, done *checks) (found []Finding) {
	a := &v.o.Allowed
	switch {
	case a.Settings == nil:
	case done.remade == nil:
		found = append(found, c.doc.configPlace().of(CheckPolicy, "the settings could not be compared with what the policy allows"))
	default:
		for _, s := range done.remade.chosen {
			if s.Name != settingBase && !slices.Contains(*a.Settings, s.Name) {
				found = append(found, c.doc.configPlace().of(CheckPolicy, "config: %s is %s, which the policy does not allow", s.Name, s.Value))
			}
		}
	}
	if a.Compression != nil {
		for n := c.own(); n < len(c.doc.manifest.Layers); n++ {
			comp, err := c.doc.compression(n)
			if name := comp.String(); err != nil || !allowsCompression(a.Compression, name) {
				found = append(found, c.doc.place(n).of(CheckPolicy, "its compression is %s, the policy allows %s", name, strings.Join(a.Compression, ", ")))
			}
		}
	}
	if base := c.base(); a.BaseImages != nil && base != nil && !allowsBase(*a.BaseImages, &base.BaseInfo) {
		found = append(found, c.doc.configPlace().of(CheckPolicy, "the policy does not allow the base image %s", base.BaseInfo))
	}
	if result, text := describeInit(done.init, v.o.Init != nil); a.KnownInit && result == Unknown {
		found = append(found, Finding{}.of(CheckPolicy, "init: %s, which the policy does not allow", text))
	}
	return found
}

// allowsCompression reports whether allowed contains the compression name, either with its level or
// without.
func allowsCompression(allowed []string, name string) bool {
	algorithm, _, _ := strings.Cut(name, ":")
	return slices.Contains(allowed, name) || slices.Contains(allowed, algorithm)
}

// allowsBase reports whether allowed contains the base image.
func allowsBase(allowed []string, base *manifest.BaseInfo) bool {
	return slices.ContainsFunc(allowed, func(s string) bool {
		repository, d, err := ParseAllowedBase(s)
		return err == nil && (repository == "" || repository == repositoryOf(base.Name)) && (d == "" || d == base.Digest)
	})
}

// ParseAllowedBase parses a base image as a policy allows it: REPOSITORY, REPOSITORY@DIGEST, or only
// DIGEST. The part that is missing is "".
func ParseAllowedBase(s string) (repository string, d digest.Digest, err error) {
	if strings.HasPrefix(s, digest.SHA256.String()+":") {
		return "", digest.Digest(s), digest.Digest(s).Validate()
	}
	repository, pinned, ok := strings.Cut(s, "@")
	if repository == "" {
		return "", "", errors.New("the repository is missing")
	}
	if ok {
		d = digest.Digest(pinned)
		err = d.Validate()
	}
	return repository, d, err
}

// repositoryOf returns the reference ref without its tag and digest.
func repositoryOf(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if colon := strings.LastIndex(ref, ":"); colon > strings.LastIndex(ref, "/") {
		ref = ref[:colon]
	}
	return ref
}
