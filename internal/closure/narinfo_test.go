package closure

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixoci/nixoci/internal/hint/hinttest"
)

// realNarinfo is a narinfo from cache.nixos.org, with the real signature.
const realNarinfo = `StorePath: /nix/store/zzxrhj9056vjlanfjkinvhd7458yc2z8-liblouis-3.22.0
URL: nar/0ccqg4il1m9qqh8b6x0x8nn7pjcphr82h2qdfc5gqq8dy7h2kp9x.nar.xz
Compression: xz
FileHash: sha256:0ccqg4il1m9qqh8b6x0x8nn7pjcphr82h2qdfc5gqq8dy7h2kp9x
FileSize: 1914556
NarHash: sha256:0c8ld5yxcr6a6j63mvrqbqiy08q6f85wd74817ai7pvd5nkidcqw
NarSize: 11374872
References: mhhlymrg2m70r8h94cwhv2d7a0c8l7g6-glibc-2.34-210 ppn8983d9b5r6k7mnhkbg6rqw7vgl1ij-libyaml-0.2.5 qm2lv1gpbyn0rsfai40cbvj3h4gz69yc-bash-5.1-p16 sn0w3f12547crckss4ybmnxmi29gpgq7-perl-5.34.1 zzxrhj9056vjlanfjkinvhd7458yc2z8-liblouis-3.22.0
Deriver: dlxmsgfc0am35fh0kiy88zqr91x2dn5j-liblouis-3.22.0.drv
Sig: cache.nixos.org-1:BJ5QGcOta2s76XC6sep9DbAv0x3TILh3hHSKyR+9rFWYuBDTWdHs1KHeUEpw2espE/zPPBp2yURO6/J4Dhf9DQ==
`

func TestDefaultPublicKey(t *testing.T) {
	keys, err := NewTrustedKeys(DefaultPublicKey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := ParseNarinfo([]byte(realNarinfo))
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Verify(&n.Info); err != nil {
		t.Error(err)
	}
	if n.FileSize != 1914556 || n.Compression != "xz" || n.Deriver != "dlxmsgfc0am35fh0kiy88zqr91x2dn5j-liblouis-3.22.0.drv" {
		t.Errorf("%+v", n)
	}
	n.NarSize++
	hinttest.Error(t, keys.Verify(&n.Info), ErrBadSignature, "by cache.nixos.org-1")
}

func TestVerify(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	info := Info{Path: rowA, NarSize: 112}
	good := base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(info.Fingerprint())))
	bad := base64.StdEncoding.EncodeToString(make([]byte, ed25519.SignatureSize))
	keys := TrustedKeys{"me": public}
	for name, tt := range map[string]struct {
		sigs []string
		want error
	}{
		"good":                   {[]string{"me:" + good}, nil},
		"bad, then good":         {[]string{"me:" + bad, "me:" + good}, nil},
		"unknown, then good":     {[]string{"you:" + bad, "me:" + good}, nil},
		"none":                   {nil, ErrUnsigned},
		"bad":                    {[]string{"me:" + bad}, ErrBadSignature},
		"unknown":                {[]string{"you:" + good}, ErrUntrustedKey},
		"good under another key": {[]string{"you:" + good, "me:" + bad}, ErrBadSignature},
	} {
		info.Signatures = tt.sigs
		if err := keys.Verify(&info); !errors.Is(err, tt.want) || tt.want == nil && err != nil {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
	info.Signatures = []string{"me"}
	hinttest.Error(t, keys.Verify(&info), nil, "not name:base64")
}

func TestParsePublicKey(t *testing.T) {
	for _, bad := range []string{"", "x", ":AAAA", "x:", "x:AAAA", "x:!", DefaultPublicKey + "=", DefaultPublicKey + "\n"} {
		if _, err := ParsePublicKey(bad); err == nil && bad != DefaultPublicKey+"\n" {
			t.Errorf("%q is a key", bad)
		}
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	secret := base64.StdEncoding.EncodeToString(private)
	_, err = ParsePublicKey("x:" + secret)
	hinttest.Error(t, err, nil, "secret key")
	if strings.Contains(err.Error(), secret[:10]) {
		t.Error("the secret is out")
	}
}

func TestNixConfigKeys(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("NIX_CONF_DIR", dir)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "home"))
	t.Setenv("XDG_CONFIG_DIRS", filepath.Join(dir, "xdg"))
	t.Setenv("NIX_CONFIG", "")
	check := func(want ...string) {
		t.Helper()
		got, err := NixConfigKeys()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check(DefaultPublicKey)
	// Nix's own tests and many scripts set these variables to /dev/null. This means that
	// there are no settings.
	t.Setenv("NIX_USER_CONF_FILES", os.DevNull)
	check(DefaultPublicKey)
	os.Unsetenv("NIX_USER_CONF_FILES")
	t.Setenv("NIX_CONF_DIR", os.DevNull)
	check(DefaultPublicKey)
	t.Setenv("NIX_CONF_DIR", dir)
	writeFile(t, filepath.Join(dir, "nix.conf"), "# extra-trusted-public-keys = no\nsandbox = true\nextra-trusted-public-keys = a:1 b:2 # c:3\n!include none\ninclude more.conf\n")
	writeFile(t, filepath.Join(dir, "more.conf"), "extra-trusted-public-keys = d:4\n")
	check(DefaultPublicKey, "a:1", "b:2", "d:4")
	writeFile(t, filepath.Join(dir, "home/nix/nix.conf"), "trusted-public-keys = e:5 f:6\n")
	check("e:5", "f:6")
	t.Setenv("NIX_CONFIG", "extra-trusted-public-keys = g:7")
	check("e:5", "f:6", "g:7")
	t.Setenv("NIX_USER_CONF_FILES", filepath.Join(dir, "more.conf"))
	check(DefaultPublicKey, "a:1", "b:2", "d:4", "g:7")
	writeFile(t, filepath.Join(dir, "more.conf"), "include more.conf\n")
	if _, err := NixConfigKeys(); err == nil {
		t.Error("an include of itself ends")
	}
}

func TestParseNetrc(t *testing.T) {
	for text, want := range map[string]string{
		"machine a login b password c":                                             "b:c",
		"machine x login y password z\nmachine a\nlogin b\n\npassword c\n":         "b:c",
		"# machine a login no password no\nmachine a password c login b":           "b:c",
		"default login b password c":                                               "b:c",
		"machine a login b password c default login d password e":                  "b:c",
		"macdef x\nmachine a login no password no\n\nmachine a login b password c": "b:c",
		"machine a account x login b password c":                                   "b:c",
		"machine b login a password c":                                             "",
		"machine a":                                                                "",
		"machine":                                                                  "",
		"":                                                                         "",
	} {
		got := ""
		if u := parseNetrc(text, "a"); u != nil {
			got = u.String()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzParseNarinfo(f *testing.F) {
	f.Add([]byte(realNarinfo))
	files, err := filepath.Glob("testdata/cache/none/*.narinfo")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		f.Add([]byte(readFile(f, file)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := ParseNarinfo(data)
		if err != nil {
			if _, ok := errors.AsType[*FieldError](err); !ok {
				t.Errorf("%v names no field", err)
			}
			return
		}
		if n.NarSize <= 0 || n.FileSize < 0 || decoders[n.Compression] == nil || !slices.IsSorted(n.References) {
			t.Errorf("%+v", n)
		}
		if u := n.URL; strings.HasPrefix(u, "/") || strings.Contains(strings.Split(u, "?")[0], "../") {
			t.Errorf("URL %q", u)
		}
		for _, p := range append(n.References, n.Path) {
			if _, err := ParseStorePath(string(p)); err != nil {
				t.Error(err)
			}
		}
		checkCA(&n.Info)
	})
}
