package initbin

import (
	"bytes"
	"debug/buildinfo"
	"testing"
)

// TestPrograms checks that the embedded programs match the list in programs.go. make
// init-check checks that they match the source.
func TestPrograms(t *testing.T) {
	if len(programs) != 2 {
		t.Fatalf("%d programs, not one for amd64 and one for arm64", len(programs))
	}
	for _, arch := range []string{"amd64", "arm64"} {
		p, ok := For(arch)
		if !ok {
			t.Fatalf("none for %s", arch)
		}
		data, err := p.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(data)) != p.Size {
			t.Errorf("%s has %d bytes, not %d", arch, len(data), p.Size)
		}
		if again, ok := Lookup(p.Digest); !ok || again != p {
			t.Errorf("%s is found as %v", p.Digest, again)
		}
		info, err := buildinfo.Read(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if info.GoVersion != p.Go || info.Path != "github.com/nixoci/nixoci/cmd/nixoci-init" || len(info.Deps) > 0 {
			t.Errorf("%s is %s, made by %s, with %d modules", arch, info.Path, info.GoVersion, len(info.Deps))
		}
		for _, s := range info.Settings {
			if s.Key == "GOARCH" && s.Value != arch {
				t.Errorf("%s is for %s", arch, s.Value)
			}
			if s.Key == "vcs.revision" || s.Key == "-ldflags" {
				t.Errorf("%s has %s=%s: its bytes depend on where it was built", arch, s.Key, s.Value)
			}
		}
	}
	if p, ok := For("riscv64"); ok {
		t.Errorf("riscv64 has %v", p)
	}
	if _, ok := Lookup(""); ok {
		t.Error("no digest is one")
	}
}

func TestDamage(t *testing.T) {
	p, _ := For("amd64")
	p.Digest = "sha256:" + string(bytes.Repeat([]byte("0"), 64))
	if _, err := p.Bytes(); err == nil {
		t.Error("other bytes than the digest says are taken")
	}
	p.Architecture = "sparc"
	if _, err := p.Bytes(); err == nil {
		t.Error("a missing file is no error")
	}
}
