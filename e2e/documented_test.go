//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// documented matches the command lines that TestDocumentedCommands runs. Other lines of the
	// pages build a closure, or show output.
	documented = regexp.MustCompile(`^(cosign|crane|grype|openssl|oras|syft|nixoci (attest|inspect|sign)) `)

	// comment matches a comment at the end of a command line.
	comment = regexp.MustCompile(`\s+# .*$`)
)

// documentedCommands returns the command lines in the code blocks of a page that match documented.
// A line that ends with | continues on the next line.
func documentedCommands(t *testing.T, page string) (lines []string) {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	inBlock, continued := false, false
	for line := range strings.Lines(string(data)) {
		line = comment.ReplaceAllString(strings.TrimSpace(line), "")
		switch {
		case strings.HasPrefix(line, "```"):
			inBlock, continued = !inBlock, false
		case !inBlock:
		case continued:
			lines[len(lines)-1] += " " + line
			continued = strings.HasSuffix(line, "|")
		case documented.MatchString(line):
			lines = append(lines, line)
			continued = strings.HasSuffix(line, "|")
		}
	}
	return lines
}

// documentedCopies returns the commands in docs/registries.md that copy and tag images. The first two
// commands together must copy all documents and signatures.
func documentedCopies(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../docs/registries.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{"oras copy --recursive A B", "crane copy A:sha256-<digest>.sig B:sha256-<digest>.sig", "crane copy A B", "crane tag IMAGE TAG", "crane ls REPOSITORY"}
	for _, line := range lines {
		if !strings.Contains(string(page), "`"+line+"`") {
			t.Errorf("docs/registries.md does not contain %s", line)
		}
	}
	return lines
}

// TestDocumentedCommands runs the command lines that the documentation gives for documents and
// signatures. It replaces only names and digests in them. The registry is Debian's docker-registry.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	lines := append(documentedCommands(t, "../docs/rebuilders.md"), documentedCommands(t, "../docs/attestations.md")...)
	if len(lines) < 15 {
		t.Fatalf("only %d lines: %q", len(lines), lines)
	}
	dir := scratchDir(t)
	bin := filepath.Join(dir, "bin")
	// oras uses https for loopback addresses, too.
	put(t, filepath.Join(bin, "oras"), "#!/bin/sh\ncase $* in\n*-oci-layout*) plain=--to-plain-http ;;\ncopy*) plain='--from-plain-http --to-plain-http' ;;\n*) plain=--plain-http ;;\nesac\nexec "+
		tool("oras")+" \"$@\" $plain\n")
	for program, file := range map[string]string{"cosign": tool("cosign3"), "crane": lab.crane, "grype": tool("grype"), "syft": tool("syft"), "nixoci": lab.nixoci} {
		put(t, filepath.Join(bin, program), "#!/bin/sh\nexec "+file+" \"$@\"\n")
	}
	command(t, "chmod", "-R", "755", bin)
	shell := func(line string) (string, error) {
		cmd := exec.Command("bash", "-eo", "pipefail", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "TMPDIR="+dir, "XDG_CACHE_HOME="+filepath.Join(dir, "cache"),
			"COSIGN_PASSWORD=secret", "SYFT_CHECK_FOR_APP_UPDATE=false")
		cmd.Env = append(cmd.Env, grypeEnv(t)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := shell(lines[0]); err != nil || lines[0] != "cosign generate-key-pair" {
		t.Fatalf("the first line is %q: %v\n%s", lines[0], err, out)
	}

	image := registry(t) + "/documented/web"
	from, systems := small(t)
	closures := args(from, systems["sample-x86_64-linux"], systems["sample-aarch64-linux"])
	n := run{dir: dir, cache: scratchDir(t), env: []string{"COSIGN_PASSWORD=secret"}}
	n.ok(t, args("push", image, "--tag", "1.2", closures, "--attest", "closure,spdx,provenance", "--key", "cosign.key")...)
	n.ok(t, args("verify", image, closures, "--attest-result", "--key", "cosign.key")...)
	for _, file := range []string{"sbom.json", "sbom.spdx.json"} {
		put(t, filepath.Join(dir, file), n.ok(t, "sbom", image, "--platform", "linux/amd64").stdout)
	}
	put(t, filepath.Join(dir, "vex.json"), string(goldenSBOMs(t, "openvex")[0].data))
	var seen struct {
		Digest   string
		Attached []struct{ Digest, ArtifactType string }
	}
	if err := json.Unmarshal([]byte(n.ok(t, "inspect", "--json", image).stdout), &seen); err != nil || len(seen.Attached) == 0 {
		t.Fatalf("%+v, %v", seen, err)
	}
	tag := strings.Replace(seen.Digest, ":", "-", 1)
	names := strings.NewReplacer("ghcr.io/org/web", image, "sha256-<digest>", tag, "<digest of the artifact>", seen.Attached[0].Digest)
	for _, line := range lines[1:] {
		out, err := shell(names.Replace(line))
		if strings.Contains(line, "document.json") {
			data, readErr := os.ReadFile(filepath.Join(dir, "document.json"))
			if err = errors.Join(err, readErr); json.Valid(data) {
				out = string(data)
			}
		}
		if err != nil || strings.TrimSpace(out) == "" && !strings.Contains(line, "openssl") {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		if strings.Contains(line, ".rebuild ") && !strings.Contains(out, "'nixoci' 'build' '--output=oci:image'") {
			t.Errorf("%s: no command in\n%s", line, out)
		}
	}
	for _, line := range documentedCopies(t) {
		if out, err := shell(strings.NewReplacer("A:", image+":", "B:", image+"-copy:", "sha256-<digest>", tag, "A B", image+":latest "+image+"-copy:latest", "IMAGE TAG", image+":latest another", "REPOSITORY", image).Replace(line)); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	n.ok(t, "verify", image+"-copy", "--key", "cosign.pub")
	n.ok(t, "verify", image+"-copy", "--key", "cosign.pub", "--require-attestation", "provenance", "--require-attestation", "spdx")
	n.ok(t, "verify", image+":another", "--key", "cosign.pub")
	report(t, "%d command lines of the documentation work", len(lines))
}
