package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/terminal"
)

// These limits make the markdown fit on a screen.
const (
	markdownRows   = 15 // packages in a table
	markdownCauses = 5
	markdownNames  = 60 // rebuilt packages in the folded list
)

// exposed lists packages that attackers can reach: network services and clients,
// cryptography, login, privileges, and parsers of input from outside. A mark on such a
// package describes the role of the package. It does not mean a known weakness, because
// nixoci looks up no advisories.
var exposed = []string{
	"acl", "apache-httpd", "bind", "brotli", "bzip2", "ca-certificates", "curl", "dbus", "dnsmasq", "dovecot", "exim", "expat", "fail2ban",
	"freetype", "git", "glib", "glibc", "gnupg", "gnutls", "haproxy", "icu4c", "kmod", "krb5", "libarchive", "libcap", "libgcrypt",
	"libjpeg-turbo", "libpng", "libseccomp", "libssh", "libssh2", "libtiff", "libwebp", "libxcrypt", "libxml2", "libxslt", "linux", "linux-pam",
	"mariadb-server", "mbedtls", "musl", "nftables", "nghttp2", "nginx", "nix", "nodejs", "nss", "nss-cacert", "openjdk", "openldap", "openssh", "openssl",
	"openvpn", "pcre2", "perl", "php", "polkit", "postfix", "postgresql", "python3", "redis", "rsync", "ruby", "samba", "shadow", "sqlite", "strongswan",
	"sudo", "systemd", "unbound", "util-linux", "wireguard-tools", "wpa_supplicant", "xz", "zlib", "zstd",
}

// code returns s as a code span. Text in a code span cannot become markup, a link or a
// mention. code escapes unprintable characters, and characters that could end the span or the
// table cell, as in a Go string.
func code(s string) string {
	s = strings.NewReplacer("\\", `\x5c`, "`", `\x60`, "|", `\x7c`).Replace(terminal.Visible(s))
	if strings.TrimSpace(s) != s || s == "" {
		s = strings.ReplaceAll(s, " ", `\x20`)
	}
	if s == "" {
		return "–"
	}
	return "`" + s + "`"
}

// codes returns several code spans, separated by commas.
func codes(all []string) string {
	var out []string
	for _, s := range all {
		out = append(out, code(s))
	}
	if len(out) == 0 {
		return "–"
	}
	return strings.Join(out, ", ")
}

// WriteMarkdown writes d for a pull request. All text from outside is in code spans.
func (d *Diff) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s → %s\n\n", code(d.A), code(d.B))
	if d.Same() {
		b.WriteString("Nothing changed.\n")
	} else {
		d.markdownSizes(&b)
		for _, group := range d.sameChanges() {
			if len(d.Platforms) > 1 {
				var names []string
				for _, pd := range group {
					names = append(names, pd.Platform)
				}
				fmt.Fprintf(&b, "\n#### %s\n", codes(names))
			}
			group[0].markdownPackages(&b)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// markdownSizes writes the table with the sizes of each platform.
func (d *Diff) markdownSizes(b *strings.Builder) {
	b.WriteString("| platform | image | closure | a client pulls |\n|---|---|---|---|\n")
	change := func(before, after int64) string {
		if before == after {
			return human.Bytes(after) + ", as before"
		}
		return fmt.Sprintf("%s → %s (%s)", human.Bytes(before), human.Bytes(after), deltaText(after-before))
	}
	for i := range d.Platforms {
		pd := &d.Platforms[i]
		image, closure, pull := "–", "–", "–"
		switch {
		case pd.OnlyIn == "a":
			image = "**gone**"
		case pd.OnlyIn == "b":
			image = "**new**"
		}
		if s := pd.Image; s != nil {
			image = change(s.A, s.B)
		}
		if t := pd.Closure; t != nil {
			closure = change(t.SizeA, t.SizeB)
		}
		if p := pd.Pull; p != nil {
			pull = fmt.Sprintf("**%s** (%s), %d of %s", human.Bytes(p.Size), percent(p.Size, p.OfSize), len(p.Layers), human.Count(p.OfLayers, "layer"))
			if p.Estimated {
				pull += ", before compression"
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", code(pd.Platform), image, closure, pull)
	}
}

// sameChanges groups platforms with the same changed packages. Usually all platforms have
// the same. It leaves out platforms without changed packages.
func (d *Diff) sameChanges() (groups [][]*PlatformDiff) {
	for i := range d.Platforms {
		pd := &d.Platforms[i]
		if len(pd.Packages) == 0 {
			continue
		}
		k := slices.IndexFunc(groups, func(g []*PlatformDiff) bool { return g[0].sameChanges(pd) })
		if k < 0 {
			groups = append(groups, nil)
			k = len(groups) - 1
		}
		groups[k] = append(groups[k], pd)
	}
	return groups
}

func (pd *PlatformDiff) sameChanges(o *PlatformDiff) bool {
	return slices.EqualFunc(pd.Packages, o.Packages, func(x, y Change) bool {
		return x.Kind == y.Kind && x.Name == y.Name && slices.Equal(x.Before, y.Before) && slices.Equal(x.After, y.After)
	}) && slices.EqualFunc(pd.Causes, o.Causes, func(x, y Cause) bool { return x.Name == y.Name && x.Rebuilt == y.Rebuilt && x.First == y.First })
}

// markdownPackages lists what changed, and why packages were rebuilt.
func (pd *PlatformDiff) markdownPackages(b *strings.Builder) {
	var security, others []Change
	var rebuilt []string
	for _, c := range pd.Packages {
		switch {
		case c.Kind == Rebuilt:
			rebuilt = append(rebuilt, c.Name)
		case slices.Contains(exposed, strings.ToLower(c.Name)):
			security = append(security, c)
		default:
			others = append(others, c)
		}
	}
	if n := len(rebuilt); n > 0 {
		fmt.Fprintf(b, "\n**%s rebuilt** with the same version. The change starts at:\n\n", human.Count(n, "package"))
		for i, c := range pd.Causes {
			if i == markdownCauses {
				fmt.Fprintf(b, "- %s\n", otherCauses(pd.Causes[i:]))
				break
			}
			what := c.what(func(versions []string) string { return versionCodes(versions, false) })
			fmt.Fprintf(b, "- %s%s%s\n", code(c.Name), what, c.effect(i))
		}
	}
	if len(security)+len(others) > 0 {
		b.WriteString("\n| package | before | after | size |\n|---|---|---|---|\n")
		rows := append(slices.Clone(security), others...)
		for i, c := range rows {
			if i == markdownRows {
				fmt.Fprintf(b, "| and %d more | | | |\n", len(rows)-i)
				break
			}
			mark := ""
			if i < len(security) {
				mark = " ⚠"
			}
			before, after := versionCodes(c.Before, c.RemovedPaths == nil), versionCodes(c.After, c.AddedPaths == nil)
			switch c.Kind {
			case Edited:
				after = "other content"
			case Altered:
				before, after = "other content", codes([]string{string(c.AddedPaths[0])})
			}
			fmt.Fprintf(b, "| %s%s | %s | %s | %s |\n", code(c.Name), mark, before, after, deltaText(c.Size))
		}
		if len(security) > 0 {
			b.WriteString("\n⚠ has a part in security by its role: network, cryptography, login, privileges. nixoci does not look up advisories.\n")
		}
	}
	if n := len(rebuilt); n > 0 {
		more := ""
		if n > markdownNames {
			rebuilt, more = rebuilt[:markdownNames], fmt.Sprintf(" and %d more", n-markdownNames)
		}
		fmt.Fprintf(b, "\n<details><summary>%s rebuilt</summary>\n\n%s%s\n\n</details>\n", human.Count(n, "package"), codes(rebuilt), more)
	}
}

// versionCodes formats versions for a table. The version "" means a name without a version.
func versionCodes(versions []string, none bool) string {
	if none {
		return "–"
	}
	var out []string
	for _, v := range versions {
		if v != "" {
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		return "no version"
	}
	return codes(out)
}

// Pushed describes the result of a push.
type Pushed struct {
	Ref      string
	Digest   string
	Layers   int // distinct layers; 0 if the image was already there
	Made     int // layers that were made, not reused
	Sent     int64
	Requests int64
}

// WriteMarkdown writes one paragraph about the push.
func (p *Pushed) WriteMarkdown(w io.Writer) error {
	what := fmt.Sprintf("%s: %d made, %d reused", human.Count(p.Layers, "layer"), p.Made, p.Layers-p.Made)
	if p.Layers == 0 {
		what = "unchanged"
	}
	_, err := fmt.Fprintf(w, "Pushed %s\n%s\n(%s; %s sent in %s)\n\n", code(p.Ref), code(p.Digest), what, human.Bytes(p.Sent), human.Count(int(p.Requests), "request"))
	return err
}

// WriteMarkdown writes a report for reviewers. It is for an image without an earlier
// version.
func (img *Image) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\nThe first image of this name.\n\n| platform | image | closure | store paths |\n|---|---|---|---|\n", code(img.Name))
	for _, p := range SideOfImage(img).Platforms {
		closure, paths := "–", "–"
		if p.Closure != nil {
			closure, paths = human.Bytes(p.Closure.NarSize()), fmt.Sprint(len(p.Closure.Paths))
		}
		fmt.Fprintf(&b, "| %s | %s in %s | %s | %s |\n", code(p.Platform), human.Bytes(sizeOfLayers(p.Layers)), human.Count(len(p.Layers), "layer"), closure, paths)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
