//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLoad checks that `nixoci build -o - | docker load` gives the image its name in every
// engine, including a Docker that cannot read OCI archives. The config of the loaded image
// must be the config in the archive.
func TestLoad(t *testing.T) {
	_, toplevel, source := verifySample(t, "load/pushed:v1")
	for _, tc := range []struct {
		engine      engine
		compression string
		output      string
	}{
		{docker20, "gzip", "-"},
		{docker20, "gzip", "docker-archive:-"},
		{docker28, "gzip", "-"},
		{docker28, "gzip", "docker-archive:-"},
		{docker28, "zstd", "-"},
		{podman43, "gzip", "-"},
		{podman5, "gzip", "-"},
		{podman5, "gzip", "docker-archive:-"},
		{podman5, "zstd", "-"},
	} {
		t.Run(strings.Join([]string{tc.engine.name, tc.compression, tc.output}, " "), func(t *testing.T) {
			dir := scratchDir(t)
			name := fmt.Sprintf("load.example/%s-%s:v1", strings.ReplaceAll(tc.engine.name, " ", "-"), filepath.Base(dir))
			build := args(lab.nixoci, "build", "-o", tc.output, "--tag", name, "--compression", tc.compression, toplevel, source)
			file, err := os.Create(filepath.Join(dir, "image.tar"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			pack := exec.Command(build[0], build[1:]...)
			pack.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_CACHE_HOME=" + dir}
			var errs strings.Builder
			pack.Stdout, pack.Stderr = file, &errs
			if err := pack.Run(); err != nil {
				t.Fatalf("%s: %v\n%s", build, err, &errs)
			}
			if _, err := file.Seek(0, 0); err != nil {
				t.Fatal(err)
			}
			line := tc.engine.line(t, "load")
			if tc.engine.name == podman43.name {
				podmanStore.Lock()
				defer podmanStore.Unlock()
				line = append(line, "--signature-policy", filepath.Join(lab.scratch, "podman", "policy.json"))
			}
			load := exec.Command(line[0], line[1:]...)
			load.Stdin = file
			if out, err := load.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", line, err, out)
			}
			id := strings.TrimSpace(command(t, tc.engine.line(t, "image", "inspect", "--format", "{{.Id}}", name)...))
			id = strings.TrimPrefix(id, "sha256:")
			names := command(t, "tar", "-tf", file.Name())
			if !strings.Contains(names, id+"\n") && !strings.Contains(names, id+".json\n") {
				t.Errorf("the image has the ID %s, and the archive no such config:\n%s", id, names)
			}
		})
	}
}
