package closure

import "testing"

func FuzzNetrc(f *testing.F) {
	f.Add("machine a login b password c\ndefault login d", "a")
	f.Add("macdef x\n\nmachine", "")
	f.Fuzz(func(t *testing.T, text, host string) {
		if u := parseNetrc(text, host); u != nil && u.Username() == "" {
			if p, _ := u.Password(); p == "" {
				t.Errorf("%q has an empty login", text)
			}
		}
	})
}

func FuzzNixConf(f *testing.F) {
	f.Add("trusted-public-keys = a:1 b:2 # c\nextra-trusted-public-keys = d:4\n")
	f.Add("include \x00\n!include /dev/null")
	f.Fuzz(func(t *testing.T, text string) {
		c := nixConfig{}
		_ = c.parse(text, t.TempDir(), 0)
	})
}

func FuzzContentAddress(f *testing.F) {
	f.Add("fixed:r:sha256:1z5f9wd0l5gw4i0g1pf15hi94wb2babxxprjr8x0v0gq5iw7aiip")
	f.Add("text:sha256-")
	f.Fuzz(func(t *testing.T, s string) {
		if ca, err := parseCA(s); err == nil && (ca.method == "" || len(ca.digest) == 0) {
			t.Errorf("%q: %+v", s, ca)
		}
	})
}

// FuzzXZWindow checks that xzWindow accepts any bytes as the head of a file.
func FuzzXZWindow(f *testing.F) {
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if n := xzWindow(head); n < usualWindow {
			t.Errorf("%d", n)
		}
	})
}
