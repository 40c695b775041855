package manifest

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// tarOf makes a tar of files. A name that ends in a slash stands for a directory. A content
// that begins with -> stands for a symlink.
func tarOf(t *testing.T, files ...string) *bytes.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[i+1]))}
		if strings.HasSuffix(h.Name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if target, ok := strings.CutPrefix(files[i+1], "->"); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte(files[i+1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b.Bytes())
}

// TestBaseFiles: the files of the highest layer must win, unless a layer above removes them.
func TestBaseFiles(t *testing.T) {
	large := strings.Repeat("x", maxBaseFile+1)
	for _, tt := range []struct {
		name          string
		layers        [][]string
		passwd, group string // "-": the file does not exist; "!": it cannot be used
	}{
		{"none", [][]string{{"usr/", ""}}, "-", "-"},
		{"one layer", [][]string{{"etc/", "", "etc/passwd", "a", "etc/group", "b"}}, "a", "b"},
		{"replaced", [][]string{{"etc/passwd", "a", "etc/group", "b"}, {"./etc/passwd", "c"}}, "c", "b"},
		{"removed", [][]string{{"etc/passwd", "a", "etc/group", "b"}, {"etc/.wh.passwd", ""}}, "-", "b"},
		{"the directory removed", [][]string{{"etc/passwd", "a", "etc/group", "b"}, {".wh.etc", ""}}, "-", "-"},
		{"removed and written again, in any order", [][]string{{"etc/passwd", "a", "etc/group", "b"}, {"/etc/passwd", "c", "etc/.wh..wh..opq", ""}}, "c", "-"},
		{"of another name", [][]string{{"etc/passwd-", "a", "usr/etc/passwd", "b", "etc/passwd/x", "c"}}, "-", "-"},
		{"a symlink", [][]string{{"etc/passwd", "->../usr/passwd"}}, "!", "-"},
		{"a symlink that was replaced", [][]string{{"etc/passwd", "->../usr/passwd"}, {"etc/passwd", "a"}}, "a", "-"},
		{"a directory that is a symlink", [][]string{{"etc", "->private/etc"}}, "!", "-"},
		{"the largest", [][]string{{"etc/passwd", large[1:], "etc/group", "b"}}, large[1:], "b"},
		{"too large", [][]string{{"etc/passwd", "a", "etc/group", large}}, "a", "!"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := baseFiles{}
			for _, l := range tt.layers {
				var err error
				if files, err = files.above(tarOf(t, l...), ocispec.MediaTypeImageLayer); err != nil {
					t.Fatal(err)
				}
			}
			for name, want := range map[string]string{basePasswd: tt.passwd, baseGroup: tt.group} {
				got := string(files[name].content)
				switch {
				case files[name].unusable != "":
					got = "!"
				case files[name].content == nil:
					got = "-"
				}
				if got != want {
					t.Errorf("%s is %.20q, want %.20q", name, got, want)
				}
			}
		})
	}
}
