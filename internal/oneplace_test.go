package internal

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// onePlace lists code that may exist in one place only, so that there are no different copies
// of it.
var onePlace = []struct {
	what    string
	pattern string
	in      []string // folders or files where the code may be
	tests   bool     // the rule applies to tests too
}{
	{"Docker's media types", `"application/vnd\.docker`, []string{"internal/mediatype/"}, false},
	{"files that appear whole", `os\.Rename\(`, []string{
		"internal/atomicfile/",
		"internal/layout/layout.go", // renames complete blobs
		"internal/guest/",           // the guest imports no other package of the module
	}, false},
	{"which failures pass", `StatusServiceUnavailable|ECONNRESET|ErrUnexpectedEOF,`, []string{
		"internal/retry/",
		"internal/registry/registrytest/", // simulates such failures
	}, false},
	{"the loop that tries again", `retry\.(Backoff|Sleep)\(`, []string{
		"internal/registry/attach.go", // tries again after another writer changed the tag
		"internal/registry/retry.go",  // waits for the time that the registry asks for
		"internal/push/join.go",       // tries again after another writer changed the index
		"internal/atomicfile/",        // waits for the lock of another process
	}, false},
	{"the flag of golden files", `flag\.Bool\("update"`, []string{"internal/golden/"}, true},
	{"the flag --insecure", `BoolVar\(.*"insecure"`, []string{"cmd/nixoci/registryflags.go"}, false},
	{"an image's recipe", `recipe\("nixoci-image"`, []string{"internal/manifest/draft.go"}, false},
	{"another program as /sbin/init", `initbin\.Replace\(`, []string{"cmd/nixoci/smallinit_test.go"}, true},
	{"the media types of bills of materials", `"application/(spdx|vnd\.cyclonedx|vnd\.openvex)\+json"`, []string{"internal/attest/attach.go"}, false},
	{"names of images in Docker and podman", `name\.NewTag\(`, []string{"internal/layout/output.go"}, false},
	{"numbers for people", `dustin/go-humanize"`, []string{"internal/human/"}, false},
}

func TestOnePlace(t *testing.T) {
	found := make([]bool, len(onePlace))
	for _, top := range []string{"cmd", "internal", "bench", "e2e"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || name == filepath.Join("..", "internal", "oneplace_test.go") {
				return err
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			name = strings.TrimPrefix(filepath.ToSlash(name), "../")
			for i, p := range onePlace {
				place := regexp.MustCompile(p.pattern).FindIndex(data)
				switch {
				case place == nil:
				case inPlace(name, p.in):
					found[i] = true
				case p.tests || !strings.HasSuffix(name, "_test.go"):
					line := strings.Count(string(data[:place[0]]), "\n") + 1
					t.Errorf("%s:%d: a second place for %s; the one place is %s", name, line, p.what, p.in[0])
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range onePlace {
		if !found[i] {
			t.Errorf("%s: %s is not in %s", p.what, p.pattern, p.in[0])
		}
	}
}

func inPlace(name string, in []string) bool {
	for _, place := range in {
		if strings.HasPrefix(name, place) {
			return true
		}
	}
	return false
}
