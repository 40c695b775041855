package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/golden"
)

// TestMarkdownGolden checks the markdown of a typical monthly update on two platforms. glibc
// has a new version, so everything was rebuilt. openssl and two other packages have new
// versions, too.
func TestMarkdownGolden(t *testing.T) {
	side := func(name, glibc, openssl, web string, hash byte) Side {
		var infos []closure.Info
		path := func(n string, h byte) closure.StorePath {
			p, err := closure.ParseStorePath("/nix/store/" + strings.Repeat(string(h), 32) + "-" + n)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		add := func(n string, h byte, size int64, refs ...closure.StorePath) closure.StorePath {
			p := path(n, h)
			infos = append(infos, closure.Info{Path: p, NarHash: closure.Hash{h}, NarSize: size, References: refs})
			return p
		}
		libc := add("glibc-"+glibc, hash, 30e6)
		ssl := add("openssl-"+openssl, hash, 7e6, libc)
		data := add("tzdata-2026a", 'a', 1e6)
		var all []closure.StorePath
		for i := range 100 {
			all = append(all, add(fmt.Sprintf("tool%02d-1.0", i), hash, 1e6, libc, ssl))
		}
		root := add("web-root"+web, hash, 5e3)
		add("nixos-system-web-26.05", hash, 1e4, append(all, root, data)...)
		c, err := closure.New(nil, infos)
		if err != nil {
			t.Fatal(err)
		}
		s := Side{Name: name}
		for _, p := range []string{"linux/amd64", "linux/arm64"} {
			sp := planned(t, name, p, c).Platforms[0]
			sp.Planned = false
			for i := range sp.Layers {
				sp.Layers[i].Digest = sp.Layers[i].Recipe
			}
			s.Platforms = append(s.Platforms, sp)
		}
		return s
	}
	d, err := Compare(side("ghcr.io/org/web:1", "2.38-66", "3.0.13", "", 'b'), side("ghcr.io/org/web:2", "2.39-52", "3.0.14", "", 'c'))
	if err != nil {
		t.Fatal(err)
	}
	var md bytes.Buffer
	if err := d.WriteMarkdown(&md); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "update.md", md.Bytes())
	if n := strings.Count(md.String(), "\n"); n > 40 {
		t.Errorf("%d lines do not fit on a screen", n)
	}
}

// TestMarkdownHostile checks that names from an image stay plain text. They must not become
// markup, links, mentions, new lines or new cells.
func TestMarkdownHostile(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "–",
		"linux/amd64":                   "`linux/amd64`",
		"a`b":                           "`a\\x60b`",
		"``` <script>":                  "`\\x60\\x60\\x60 <script>`",
		"a|b":                           "`a\\x7cb`",
		`a\|b`:                          "`a\\x5c\\x7cb`",
		"x\n# heading":                  "`x\\x5cn# heading`",
		"@org/admins https://evil.test": "`@org/admins https://evil.test`",
		" ":                             "`\\x20`",
		"\u202ereverse":                 "`\\x5cu202ereverse`",
		"\x1b[31m":                      "`\\x5cx1b[31m`",
	} {
		if got := code(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	evil := "`|\n</details><img src=x onerror=1>@all\n| a | b |"
	c := closureOf(t, "a-x-1 x")
	d, err := Compare(Side{Name: evil, Platforms: []SidePlatform{{Platform: evil, Closure: c}}}, Side{Name: evil, Platforms: []SidePlatform{{Platform: "linux/amd64", Closure: c}}})
	if err != nil {
		t.Fatal(err)
	}
	var md bytes.Buffer
	if err := d.WriteMarkdown(&md); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(md.String()), "\n") {
		outside := ""
		for i, part := range strings.Split(line, "`") {
			if i%2 == 0 {
				outside += part
			}
		}
		if strings.ContainsAny(outside, "<@") || strings.Count(line, "`")%2 != 0 {
			t.Errorf("outside of a code span: %s", line)
		}
		if strings.HasPrefix(line, "|") && strings.Count(line, "|") != 5 {
			t.Errorf("not four cells: %s", line)
		}
	}
}

// TestCauses checks that the causes are sorted by how many packages were rebuilt because of
// them.
func TestCauses(t *testing.T) {
	path := func(s string) closure.StorePath {
		p, err := closure.ParseStorePath("/nix/store/" + strings.Repeat(s[:1], 32) + s[1:])
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	info := func(s string, refs ...string) closure.Info {
		i := closure.Info{Path: path(s), NarHash: closure.Hash{s[0]}, NarSize: 1000}
		for _, r := range refs {
			i.References = append(i.References, path(r))
		}
		return i
	}
	a, err := closure.New(nil, []closure.Info{info("a-libc-1"), info("a-conf"), info("a-app-2", "a-libc-1"), info("a-tool-3", "a-libc-1"), info("a-top", "a-app-2", "a-tool-3", "a-conf")})
	if err != nil {
		t.Fatal(err)
	}
	b, err := closure.New(nil, []closure.Info{info("b-libc-2"), info("b-conf"), info("b-app-2", "b-libc-2"), info("b-tool-3", "b-libc-2"), info("b-top", "b-app-2", "b-tool-3", "b-conf")})
	if err != nil {
		t.Fatal(err)
	}
	changes, got := compareClosures(a, b)
	if len(got) != 2 || got[0].Name != "libc" || got[0].Rebuilt != 3 || got[0].After[0] != "2" || got[1].Rebuilt != 1 {
		t.Errorf("causes: %+v", got)
	}
	if got[0].First != 3 || got[1].First != 0 || got[1].Kind != Edited {
		t.Errorf("causes: %+v", got)
	}
	var rebuilt, edited []string
	for _, c := range changes {
		switch c.Kind {
		case Rebuilt:
			rebuilt = append(rebuilt, c.Name)
		case Edited:
			edited = append(edited, c.Name)
		}
	}
	if strings.Join(rebuilt, " ") != "app tool top" || strings.Join(edited, " ") != "conf" {
		t.Errorf("rebuilt %v, edited %v", rebuilt, edited)
	}
}
