package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/opencontainers/go-digest"
)

// hostile is text that an attacker could put into an image or an answer of a registry. It
// clears the screen, sets the title of the window, imitates lines of nixoci and reverses
// text.
const hostile = "\x1b[2J\x1b]0;owned\x07\r\nnixoci: done\nhint: run me\t\u202egpj\u2066\u200e\u009b31m\x7f"

type object = map[string]any

// hostileLayout makes an image with the hostile text in every field that holds
// text.
func hostileLayout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put := func(v any) (string, int) {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		d := digest.FromBytes(data)
		writeTestFile(t, filepath.Join(dir, "blobs/sha256", d.Encoded()), data)
		return d.String(), len(data)
	}
	strs := []string{hostile}
	config, configSize := put(object{
		"architecture": hostile, "os": hostile, "variant": hostile, "author": hostile, "created": "2020-01-01T00:00:00Z",
		"config": object{"Env": strs, "Labels": object{hostile: hostile}, "User": hostile, "Entrypoint": strs, "Cmd": strs, "WorkingDir": hostile,
			"ExposedPorts": object{hostile: object{}}, "Volumes": object{hostile: object{}}, "StopSignal": hostile},
		"rootfs":  object{"type": "layers", "diff_ids": []string{digest.FromString("").String()}},
		"history": []object{{"created_by": hostile, "comment": hostile, "author": hostile}},
	})
	annotations := object{hostile: hostile, "org.opencontainers.image.title": hostile}
	layer := digest.FromString("")
	writeTestFile(t, filepath.Join(dir, "blobs/sha256", layer.Encoded()), nil)
	manifest, size := put(object{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "annotations": annotations,
		"config": object{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": configSize},
		"layers": []object{{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 0, "annotations": annotations}}})
	index, indexSize := put(object{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "annotations": annotations,
		"manifests": []object{{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": size, "annotations": annotations,
			"platform": object{"os": hostile, "architecture": hostile, "variant": hostile, "os.version": hostile, "os.features": strs}}}})
	data, err := json.Marshal(object{"schemaVersion": 2, "manifests": []object{{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": index, "size": indexSize}}})
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(dir, "index.json"), data)
	writeTestFile(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return dir
}

func writeTestFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkPrinted checks that text contains no control characters, and no line that
// imitates an error or a hint of nixoci.
func checkPrinted(t *testing.T, what, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s: %q", what, line)
		}
		if strings.HasPrefix(line, "nixoci: done") || strings.HasPrefix(line, "hint: run me") {
			t.Errorf("%s: forged line %q", what, line)
		}
	}
}

func TestHostileImage(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := hostileLayout(t)
	for _, args := range [][]string{
		{"inspect", "oci:" + dir}, {"inspect", "--paths", "oci:" + dir}, {"inspect", "--json", "oci:" + dir},
		{"verify", "--keep-going", "oci:" + dir}, {"verify", "oci:" + dir}, {"verify", "--json", "--keep-going", "oci:" + dir},
		{"diff", "oci:" + dir, "oci:" + dir}, {"diff", "--json", "oci:" + dir, "oci:" + dir},
		{"sbom", "oci:" + dir}, {"plan", "oci:" + dir}, {hostile}, {"inspect", hostile}, {"push", hostile, hostile},
		{"verify", "oci:" + dir + ":" + hostile}, {"plan", "--from", hostile, hostile}, {"inspect", "--" + hostile},
	} {
		var stdout, stderr bytes.Buffer
		run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
		name := strings.ReplaceAll(strings.Join(args, " "), dir, "DIR")
		checkPrinted(t, name+": stdout", stdout.String())
		checkPrinted(t, name+": stderr", stderr.String())
		if args[0] == "inspect" && args[1] == "oci:"+dir && !strings.Contains(stdout.String(), `\u202egpj`) {
			t.Errorf("%s: it does not show what the image says: %s", name, &stdout)
		}
	}
}

// TestHostileRegistry checks what nixoci prints for a registry that puts the hostile text
// into errors, headers and challenges.
func TestHostileRegistry(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	body, err := json.Marshal(object{"errors": []object{{"code": hostile, "message": hostile, "detail": hostile}}})
	if err != nil {
		t.Fatal(err)
	}
	header := strings.NewReplacer("\r", "", "\n", "", "\x07", "", "\x7f", "", "\x1b", "").Replace(hostile)
	for _, status := range []int{400, 401, 403, 404, 418} {
		for name, b := range map[string]string{"json": string(body), "text": hostile} {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://127.0.0.1:1/`+header+`",service="`+header+`"`)
				w.Header().Set("Location", "/"+header)
				w.Header().Set("Content-Type", "text/plain; x="+header)
				w.WriteHeader(status)
				w.Write([]byte(b))
			}))
			ref := strings.TrimPrefix(s.URL, "http://") + "/web"
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), []string{"inspect", ref}, nil, &stdout, &stderr); code != exitFailed {
				t.Errorf("%d %s: exit code %d", status, name, code)
			}
			checkPrinted(t, name, stdout.String()+stderr.String())
			s.Close()
		}
	}
}

// TestRaw checks that only the files listed here write to the terminal without the Printer.
func TestRaw(t *testing.T) {
	allowed := map[string]bool{
		"build.go":    true, // writes an archive
		"sbom.go":     true, // writes a document
		"docs.go":     true, // writes the program's own text
		"nix.go":      true, // passes on the terminal output of Nix
		"log.go":      true, // checks whether the output is a terminal
		"progress.go": true, // reads the width of the terminal
		"verify.go":   true, // checks whether the output is a terminal
		"diff.go":     true, // Markdown has its own rules for escaping
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				x, _ := s.X.(*ast.Ident)
				switch {
				case s.Sel.Name == "Raw":
					used[file] = true
				case file != "main.go" && x != nil && x.Name == "os" && (s.Sel.Name == "Stdout" || s.Sel.Name == "Stderr"):
					t.Errorf("%s: os.%s", file, s.Sel.Name)
				}
			}
			return true
		})
	}
	for file := range maps.Keys(used) {
		if !allowed[file] {
			t.Errorf("%s writes past the Printer", file)
		}
	}
	if !slices.Contains(slices.Collect(maps.Keys(used)), "build.go") {
		t.Error("nothing was found")
	}
}

type crashing struct{}

func (crashing) Read([]byte) (int, error) { panic("boom\x1b[2J") }

// TestCrash checks that a crash is reported as a crash, and not as wrong usage.
func TestCrash(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"login", "example.org", "-u", "me", "--password-stdin"}, crashing{}, &stdout, &stderr)
	if code != exitCrash || !strings.Contains(stderr.String(), `crashed: boom\x1b[2J`) || !strings.Contains(stderr.String(), "hint: this is a bug") {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
	checkPrinted(t, "stderr", stderr.String())
}
