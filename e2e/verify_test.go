//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nixoci/nixoci/internal/verify"
)

// verifySample pushes a sample system for amd64 under the given name.
func verifySample(t *testing.T, name string) (ref, toplevel string, source []string) {
	t.Helper()
	sample, err := filepath.Abs("../testdata")
	if err != nil {
		t.Fatal(err)
	}
	systems := map[string]string{}
	data, err := os.ReadFile(filepath.Join(sample, "systems.json"))
	if err == nil {
		err = json.Unmarshal(data, &systems)
	}
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(sample, "public-key"))
	if err != nil {
		t.Fatal(err)
	}
	toplevel = systems["sample-x86_64-linux"]
	source = []string{"--from", "file://" + filepath.Join(sample, "cache"), "--trusted-public-key", string(key)}
	ref = registry(t) + "/" + name
	run{}.ok(t, append([]string{"push", ref, toplevel}, source...)...)
	return ref, toplevel, source
}

// TestVerifyLarge checks that verify accepts the large image, with its closure and without
// it. verify must need little more processor time than decompressing and hashing, and its
// memory must stay low.
func TestVerifyLarge(t *testing.T) {
	ref, _ := large(t)
	o := run{}.ok(t, "verify", ref)
	if !strings.HasSuffix(o.stdout, "\n"+verify.NoOrigin+"\n") {
		t.Errorf("%s", o.stdout)
	}
	if o.peak > 200<<20 {
		t.Errorf("verify took %d MB", o.peak>>20)
	}
	// The test runs the same bytes through gzip and sha256sum, one blob at a time. It
	// compares processor time, because other tests run in parallel.
	layout := filepath.Join(scratchDir(t), "layout")
	command(t, "skopeo", "copy", "--all", "--src-tls-verify=false", "docker://"+ref, "oci:"+layout)
	cmd := exec.Command("sh", "-ec", `for b in "$1"/blobs/sha256/*; do sha256sum <"$b"; gzip -dcf <"$b" | sha256sum; done >/dev/null`, "sh", layout)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	alone := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if o.cpu > alone*10/7 {
		t.Errorf("verify took %v of processor time, gzip and sha256sum %v", o.cpu, alone)
	}
	report(t, "verify of both large platforms: %v of processor time, %d MB; gzip and sha256sum take %v",
		o.cpu.Round(10*time.Millisecond), o.peak>>20, alone.Round(10*time.Millisecond))
	// The test verifies one platform against its closure. This is as much work as a cold
	// push.
	o = run{}.ok(t, "verify", "oci:"+layout, "--platform", "linux/amd64", "--from", lab.large, lab.systems["large-x86_64-linux"])
	if strings.Count(o.stdout, "made from the given closure, it is the same") != 1 {
		t.Errorf("%s", o.stdout)
	}
	if o.peak > 400<<20 {
		t.Errorf("verify with closures took %d MB", o.peak>>20)
	}
	report(t, "verify with the closure of one platform: %v of processor time, %d MB", o.cpu.Round(10*time.Millisecond), o.peak>>20)
}

// TestVerifyCopies checks that verify accepts images that other tools have
// copied.
func TestVerifyCopies(t *testing.T) {
	t.Parallel()
	ref, toplevel, source := verifySample(t, "verify/copied:v1")
	dir := scratchDir(t)
	copyTo := func(dst string) {
		t.Helper()
		command(t, "skopeo", "copy", "--src-tls-verify=false", "docker://"+ref, dst)
	}
	copyTo("oci-archive:" + dir + "/oci.tar:v1")
	copyTo("docker-archive:" + dir + "/skopeo.tar:web:v1")
	docker(t, "pull", "-q", ref)
	docker(t, "save", "-o", dir+"/docker.tar", ref)
	for _, image := range []string{"oci-archive:" + dir + "/oci.tar", "docker-archive:" + dir + "/skopeo.tar", "docker-archive:" + dir + "/docker.tar"} {
		for _, closures := range [][]string{nil, append([]string{toplevel}, source...)} {
			last := verify.NoOrigin
			if closures != nil {
				last = "verified: the given closure makes it"
			}
			if o := (run{}).ok(t, append([]string{"verify", image}, closures...)...); !strings.HasSuffix(o.stdout, "\n"+last+"\n") {
				t.Errorf("%s: %s", image, o.stdout)
			}
		}
	}
	report(t, "skopeo's oci-archive and docker-archive and docker save's are verified, alone and with the closure")
}

// TestVerifyRefuses checks that verify rejects three bad images: one with an additional layer
// of another tool, one made by another tool, and one with a damaged blob in the registry.
func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	ref, _, _ := verifySample(t, "verify/changed:v1")
	dir := scratchDir(t)
	layout := filepath.Join(dir, "layout")
	command(t, "skopeo", "copy", "--src-tls-verify=false", "docker://"+ref, "oci:"+layout+":v1")
	if err := os.WriteFile(filepath.Join(dir, "evil"), []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "umoci", "insert", "--image", layout+":v1", "--tag", "more", filepath.Join(dir, "evil"), "/usr/bin/evil")
	o := run{}.nixoci(t, "verify", "-q", "oci:"+layout+":more")
	o.fails(t, 3, "linux/amd64")

	docker(t, "import", filepath.Join(dir, emptyTar(t, dir)), "verify-import:v1")
	docker(t, "save", "-o", dir+"/import.tar", "verify-import:v1")
	o = run{}.nixoci(t, "verify", "docker-archive:"+dir+"/import.tar")
	if o.code != 3 || !strings.Contains(o.stderr, "not made by nixoci") || !strings.Contains(o.stdout, "✓ digests") || !strings.Contains(o.stdout, "does not apply") {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}

	blobs, err := filepath.Glob(layout + "/blobs/sha256/*")
	if err != nil {
		t.Fatal(err)
	}
	var largest string
	var size int64
	for _, b := range blobs {
		if st, err := os.Stat(b); err == nil && st.Size() > size {
			largest, size = b, st.Size()
		}
	}
	f, err := os.OpenFile(largest, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("rot"), size/2); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	run{}.nixoci(t, "verify", "-q", "oci:"+layout+":v1").fails(t, 3, filepath.Base(largest), "the content has digest")
	report(t, "an image that umoci added to, one of docker import, and one with a rotten blob are refused")
}

func emptyTar(t *testing.T, dir string) string {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "tar", "-C", filepath.Join(dir, "root"), "-cf", filepath.Join(dir, "root.tar"), ".")
	return "root.tar"
}
