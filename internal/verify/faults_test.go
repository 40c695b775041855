package verify

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/registry/registrytest"
	"github.com/nixoci/nixoci/internal/report"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run only this seed of TestSeededReads")
	seedsFlag = flag.Uint64("seeds", 0, "run so many seeds instead of the usual number")
	firstFlag = flag.Uint64("first-seed", 1, "the first of them")
)

type account struct{}

func (account) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{Username: registrytest.User, Password: registrytest.Password}), nil
}

// filled returns a registry that contains the image of a layout as org/web:v1.
func filled(t *testing.T, dir string) *registrytest.Registry {
	t.Helper()
	reg := registrytest.New()
	const repo = "org/web"
	files, err := os.ReadDir(filepath.Join(dir, "blobs/sha256"))
	must(t, err)
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", f.Name()))
		must(t, err)
		var doc struct{ MediaType string }
		if json.Unmarshal(data, &doc) == nil && doc.MediaType != "" {
			reg.Manifests[repo+":sha256:"+f.Name()], reg.Types[repo+":sha256:"+f.Name()] = data, doc.MediaType
			if strings.Contains(doc.MediaType, "index") {
				reg.Manifests[repo+":v1"], reg.Types[repo+":v1"] = data, doc.MediaType
			}
			continue
		}
		reg.Blobs[repo+"@sha256:"+f.Name()] = data
	}
	must(t, reg.Check(repo, "v1"))
	return reg
}

// readings lists the ways to read an image. Each read function returns its result as text.
var readings = []struct {
	name string
	read func(t *testing.T, src *oci.OpenedImage) (string, error)
}{
	{"verify", func(t *testing.T, src *oci.OpenedImage) (string, error) {
		r, err := Image(t.Context(), src, Options{KeepGoing: true, Jobs: 2})
		if err != nil {
			return "", err
		}
		r.Ref = ""
		data, err := json.Marshal(r)
		return string(data), err
	}},
	{"inspect", func(t *testing.T, src *oci.OpenedImage) (string, error) {
		img, err := report.ReadImage(t.Context(), src, report.ReadOptions{Paths: true, Documents: true})
		if err != nil {
			return "", err
		}
		return fmt.Sprint(img.Descriptor, len(img.Platforms), img.Platforms[0].Layers), nil
	}},
	{"diff", func(t *testing.T, src *oci.OpenedImage) (string, error) {
		img, err := report.ReadImage(t.Context(), src, report.ReadOptions{})
		if err != nil {
			return "", err
		}
		d, err := report.Compare(report.SideOfImage(img), report.SideOfImage(img))
		if err != nil {
			return "", err
		}
		data, err := json.Marshal(d)
		return string(data), err
	}},
}

// believable reports whether a fault happened that a reader cannot notice or repair. Such faults
// are the answer "not found", and a flipped bit in a blob that the reader only passes on.
func believable(happened []string) bool {
	return slices.ContainsFunc(happened, func(s string) bool {
		return strings.HasSuffix(s, ": "+string(registrytest.NotThere)) ||
			strings.HasSuffix(s, ": "+string(registrytest.FlipAnswer)) && strings.Contains(s, "/blobs/")
	})
}

// TestSeededReads reads an image from a registry that makes one to four faults, each once. The
// result must be correct, or there must be an error. No reading may take longer than
// limit.Operation.
func TestSeededReads(t *testing.T) {
	sample := newSample(t, "x86_64-linux")
	n, first := uint64(100), *firstFlag
	if *seedsFlag != 0 {
		n = *seedsFlag
	} else if testing.Short() {
		n = 10
	}
	if *seedFlag != 0 {
		n, first = 1, *seedFlag
	}
	want := map[string]string{}
	fired := 0
	var failed []string
	for seed := first; seed < first+n; seed++ {
		how := readings[seed%uint64(len(readings))]
		read := func(faulty bool) (found string, happened []string, took time.Duration, err error) {
			synctest.Test(t, func(t *testing.T) {
				reg := filled(t, sample.dir)
				var tokens *registrytest.Tokens
				if seed%4 == 0 {
					tokens = registrytest.NewTokens(reg, 5*time.Minute)
				}
				f := registrytest.NewFaults(reg, tokens, nil)
				if faulty {
					f.Script = registrytest.Seeded(seed, registrytest.PullClasses)
				}
				pipes, stop := registrytest.Serve(http.Handler(f))
				defer stop()
				src, err1 := registry.OpenImage(registrytest.PipeAddr+"/org/web:v1", registry.Options{Dial: pipes.Dial, Keychain: account{}})
				must(t, err1)
				defer src.Close()
				start := time.Now()
				found, err = how.read(t, src)
				happened, took = append([]string{fmt.Sprint(f.Script)}, f.Fired()...), time.Since(start)
			})
			return
		}
		if want[how.name] == "" {
			found, _, _, err := read(false)
			must(t, err)
			want[how.name] = found
		}
		found, happened, took, err := read(true)
		fired += len(happened) - 1
		again := fmt.Sprintf("happened:\n\t%s\nalone: go test ./internal/verify -run '^TestSeededReads$' -seed %d", strings.Join(happened, "\n\t"), seed)
		if took > limit.Operation {
			t.Errorf("seed %d: %s took %s\n%s", seed, how.name, took, again)
		}
		if err != nil {
			if !believable(happened[1:]) {
				failed = append(failed, fmt.Sprintf("seed %d: %s: %v: %s", seed, how.name, err, happened[0]))
			}
			if errors.Is(err, fs.ErrClosed) {
				t.Errorf("seed %d: %v\n%s", seed, err, again)
			}
			continue
		}
		// verify reports a damaged download as a finding. This finding does not prove that the
		// image in the registry is damaged.
		damaged := strings.Contains(strings.Join(happened[1:], "\n"), "/blobs/")
		if found != want[how.name] && !(damaged && how.name == "verify" && strings.Contains(found, `"ok":false`)) {
			t.Errorf("seed %d: %s found %.2000s\nwant %.2000s\n%s", seed, how.name, found, want[how.name], again)
		}
	}
	t.Logf("%d readings, %d faults, %d errors that another attempt would have helped against:\n%s", n, fired, len(failed), strings.Join(failed, "\n"))
	if n > 1 && (uint64(len(failed))*20 > n || fired < int(n)/3) {
		t.Errorf("%d of %d readings failed with %d faults although another attempt would have helped", len(failed), n, fired)
	}
}
