package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/ulikunitz/xz"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/keyless"
	"github.com/nixoci/nixoci/internal/keyless/keylesstest"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/registry/registrytest"
)

func init() { programs["measure"] = measure }

// measure runs nixoci. It writes the peak memory of nixoci, in bytes, to the file that its
// first argument names. The test cannot measure this itself, because Linux adds the memory of
// the process that starts a program to the memory of that program.
func measure() {
	program, err := exec.LookPath("nixoci")
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(program, os.Args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	if cmd.ProcessState == nil {
		panic(err)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if err := os.WriteFile(os.Args[1], fmt.Append(nil, usage.Maxrss<<10), 0o600); err != nil {
		panic(err)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// memoryCase describes a run of the program with hostile or large input.
type memoryCase struct {
	args []string
	code int
	want string   // text that the output must contain
	env  []string // additional environment variables
}

// stream writes the answer of a hostile server. It ends without an error when the client has
// disconnected.
func stream(w io.Writer, part string, times int) {
	for range times {
		if _, err := io.WriteString(w, part); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

func serve(t *testing.T, f http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s
}

func numberedPath(i int) string { return fmt.Sprintf("/nix/store/%032d-x", i) }

// floodOf starts a binary cache. Every narinfo that it serves refers to this many new paths.
func floodOf(t *testing.T, references int) string {
	next := 1
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		hash, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/"), ".narinfo")
		if !ok {
			io.WriteString(w, "StoreDir: /nix/store\n")
			return
		}
		fmt.Fprintf(w, "StorePath: /nix/store/%s-x\nURL: nar/x\nCompression: none\nNarHash: sha256:%052d\nNarSize: 1\nReferences:", hash, 0)
		first := next
		next += references
		for i := range references {
			if _, err := fmt.Fprintf(w, " %s", filepath.Base(numberedPath(first+i))); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		io.WriteString(w, "\n")
	}).URL
}

// largeWindows starts a server with the sample cache. The toplevel in it refers to n
// additional paths. The NAR of each of these paths decompresses to more than 64 MiB and needs
// a window of 64 MiB.
func largeWindows(t *testing.T, n int) (url, top string) {
	sample, _, systems := sampleSystems(t)
	top = systems["sample-x86_64-linux"]
	const size = 80 << 20
	narSize, hash := 0, sha256.New()
	var packed bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 1 << 20}.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	words := func(all ...string) {
		for _, word := range all {
			var b []byte
			b = binary.LittleEndian.AppendUint64(b, uint64(len(word)))
			b = append(b, word...)
			b = append(b, make([]byte, (8-len(word)%8)%8)...)
			narSize += len(b)
			hash.Write(b)
			w.Write(b)
		}
	}
	words("nix-archive-1", "(", "type", "regular", "contents", strings.Repeat("\x00", size), ")")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// A byte of the block header, before the CRC of the header, sets the window size.
	data := packed.Bytes()
	header := data[12 : 12+(int(data[12])+1)*4]
	header[4] = 28 // stands for 64 MiB
	binary.LittleEndian.PutUint32(header[len(header)-4:], crc32.ChecksumIEEE(header[:len(header)-4]))
	narHash := fmt.Sprintf("sha256:%x", hash.Sum(nil))
	names := ""
	for i := range n {
		names += " " + filepath.Base(numberedPath(i))
	}
	files := http.FileServer(http.Dir(filepath.Join(sample, "cache")))
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		switch {
		case name == "nar/large.nar.xz":
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		case strings.HasPrefix(name, strings.Repeat("0", 20)):
			fmt.Fprintf(w, "StorePath: /nix/store/%s-x\nURL: nar/large.nar.xz\nCompression: xz\nNarHash: %s\nNarSize: %d\nReferences: \n", strings.TrimSuffix(name, ".narinfo"), narHash, narSize)
		case strings.HasPrefix(filepath.Base(top), strings.TrimSuffix(name, ".narinfo")):
			text := mustRead(t, filepath.Join(sample, "cache", name))
			w.Write(bytes.Replace(text, []byte("References:"), []byte("References:"+names), 1))
		default:
			files.ServeHTTP(w, r)
		}
	})
	return s.URL, top
}

// graphFile writes a graph file as Nix does, with n store paths. Each entry has about a
// kilobyte.
func graphFile(t *testing.T, n int) string { return graphFileOf(t, n, writeGraph) }

func graphFileOf(t *testing.T, n int, write func(io.Writer, int)) string {
	name := filepath.Join(t.TempDir(), "web.json")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &errWriter{w: f}
	write(w, n)
	if w.err != nil {
		t.Fatal(w.err)
	}
	return name
}

type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(p []byte) (int, error) {
	n, err := e.w.Write(p)
	e.err = errors.Join(e.err, err)
	return n, err
}

// writeGraph writes n paths, each with a deriver, a signature and up to ten references. The
// closure of most paths contains a few hundred other paths. The last path refers to all paths
// of the second half.
func writeGraph(w io.Writer, n int) {
	io.WriteString(w, "[")
	for i := range n {
		fmt.Fprintf(w, `%s{"path":"%s","narHash":"sha256:%064x","narSize":%d,"references":[`, strings.Repeat(",", min(i, 1)), numberedPath(i), i, 1000+i)
		first, last := max(0, i/2-10), i/2
		if i == n-1 {
			first, last = n/2-10, i
		}
		for k := first; k < last; k++ {
			fmt.Fprintf(w, `%s"%s"`, strings.Repeat(",", min(k-first, 1)), numberedPath(k))
		}
		fmt.Fprintf(w, `],"deriver":"/nix/store/%032d-x.drv","signatures":["cache.example-1:%086d=="],"registrationTime":1,"ultimate":false}`, i, i)
	}
	io.WriteString(w, "]")
}

// writeChain writes n paths. Each path refers to the one before it.
func writeChain(w io.Writer, n int) {
	for i := range n {
		fmt.Fprintf(w, `%s{"path":"%s","narHash":"sha256:%064x","narSize":%d,"references":["%s"]}`, "[,"[min(i, 1):][:1], numberedPath(i), i, 1000+i, numberedPath(max(i-1, 0)))
	}
	io.WriteString(w, "]")
}

// pushed starts a registry with the sample image as web:v1. The function attached answers
// requests for referrers.
func pushed(t *testing.T, attached func(w http.ResponseWriter, r *http.Request, reg *registrytest.Registry)) (host string) {
	k := newKiller(t)
	reg := registrytest.New()
	var mu sync.Mutex // locked because attached may change the registry
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(r.URL.Path, "/referrers/") && attached != nil {
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			attached(w, r, reg)
			return
		}
		reg.ServeHTTP(w, r)
	})
	host = strings.TrimPrefix(s.URL, "http://")
	k.ok("push", host+"/web:v1", k.top["sample-x86_64-linux"])
	return host
}

// TestMemory runs the program with hostile input and with large input. The program must need
// less memory than limit.Memory, and report wrong input with a clear error.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute: make faults runs it")
	}
	none := "/nix/store/" + strings.Repeat("0", 32) + "-x"
	tests := map[string]func(t *testing.T) memoryCase{
		"a narinfo of a million references": func(t *testing.T) memoryCase {
			return memoryCase{args: []string{"plan", "--from", floodOf(t, 1_000_000), "--no-require-signatures", none}, code: exitFailed, want: "more than 4194304 bytes"}
		},
		"narinfos that name new paths without end": func(t *testing.T) memoryCase {
			return memoryCase{args: []string{"plan", "--from", floodOf(t, 50_000), "--no-require-signatures", none}, code: exitFailed, want: "125000"}
		},
		"NARs with windows of 64 MiB": func(t *testing.T) memoryCase {
			url, top := largeWindows(t, 8)
			return memoryCase{args: []string{"build", "--jobs", "16", "--compression", "gzip:1", "-o", "oci:" + filepath.Join(t.TempDir(), "out"),
				"--from", url, "--no-require-signatures", top}, want: "sha256:"}
		},
		"lists of attached documents without end": func(t *testing.T) memoryCase {
			page := 0
			host := pushed(t, func(w http.ResponseWriter, r *http.Request, _ *registrytest.Registry) {
				page++
				w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, page))
				fmt.Fprintf(w, `{"schemaVersion":2,"manifests":[{"digest":"%s","size":1,"artifactType":"x/y","annotations":{"x":"`, digest.FromString(fmt.Sprint(page)))
				stream(w, strings.Repeat("x", 1<<10), 3<<10)
				io.WriteString(w, `"}}]}`)
			})
			return memoryCase{args: []string{"inspect", host + "/web:v1"}, code: exitFailed, want: "what is attached to"}
		},
		"empty lists of attached documents without end": func(t *testing.T) memoryCase {
			page := 0
			host := pushed(t, func(w http.ResponseWriter, r *http.Request, _ *registrytest.Registry) {
				page++
				w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, page))
				io.WriteString(w, `{"schemaVersion":2,"manifests":[]}`)
			})
			return memoryCase{args: []string{"inspect", host + "/web:v1"}, code: exitFailed, want: "more than 100 pages"}
		},
		"large closure statements": func(t *testing.T) memoryCase {
			return memoryCase{args: []string{"inspect", pushed(t, attachedStatements(t, 5, 60_000)) + "/web:v1"}, want: "are read"}
		},
		"a closure statement above the limit": func(t *testing.T) memoryCase {
			return memoryCase{args: []string{"inspect", pushed(t, attachedStatements(t, 1, 90_000)) + "/web:v1"}, want: "at most 67108864 are read"}
		},
		"a large statement with a certificate": func(t *testing.T) memoryCase {
			bundle, flags := certifiedStatement(t, 18_700_000)
			return memoryCase{args: append([]string{"verify", pushed(t, attachedDocuments(t, 1, attest.BundleV03, bundle)) + "/web:v1"}, flags...), code: exitMismatch, want: "it is about sha256:"}
		},
		"a bundle of millions of signatures": func(t *testing.T) memoryCase {
			return hostileBundle(t, `{"mediaType":"`+attest.BundleV03+`","verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{}`, ",{}", `]}}`, "at most 10000 are read")
		},
		"a bundle of millions of log entries": func(t *testing.T) memoryCase {
			return hostileBundle(t, `{"mediaType":"`+attest.BundleV03+`","verificationMaterial":{"publicKey":{"hint":"x"},"tlogEntries":[{}`, ",{}", `]},"dsseEnvelope":{}}`, "at most 10000 are read")
		},
		"a statement of millions of subjects": func(t *testing.T) memoryCase {
			statement := `{"_type":"https://in-toto.io/Statement/v1","subject":[{}` + strings.Repeat(",{}", 6_000_000) + `],"predicateType":"x","predicate":{}}`
			payload := base64.StdEncoding.EncodeToString([]byte(statement))
			return hostileBundle(t, `{"mediaType":"`+attest.BundleV03+`","verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payloadType":"application/vnd.in-toto+json","payload":"`+payload+`","signatures":[{"sig":"AAAA"}]}}`, "", "", "the list of subjects has")
		},
		"a certificate of millions of names": func(t *testing.T) memoryCase {
			bundle, flags := certifiedStatement(t, 100)
			c := hostileBundle(t, changeMaterial(t, bundle, func(m *bundlev1.VerificationMaterial) { m.GetCertificate().RawBytes = certificateOfNames(t, 16<<20) }), "", "", "at most 262144 are read")
			c.args, c.code = append(c.args, flags...), exitMismatch
			return c
		},
		"a log entry of millions of numbers": func(t *testing.T) memoryCase {
			bundle, flags := certifiedStatement(t, 100)
			c := hostileBundle(t, changeMaterial(t, bundle, func(m *bundlev1.VerificationMaterial) {
				m.TlogEntries[0].CanonicalizedBody = bytes.Replace(m.TlogEntries[0].CanonicalizedBody, []byte(`"spec":{`), []byte(`"spec":{"x":[1`+strings.Repeat(",1", 8<<20)+`],`), 1)
			}), "", "", "at most 262144 are read")
			c.args, c.code = append(c.args, flags...), exitMismatch
			return c
		},
		"a manifest of millions of layers": func(t *testing.T) memoryCase {
			return memoryCase{args: []string{"inspect", manifestServer(t, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[{}`) + "/web:v1"}, code: exitFailed, want: "at most 100000 are read"}
		},
		"an index of millions of manifests": func(t *testing.T) memoryCase {
			return memoryCase{args: []string{"verify", manifestServer(t, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}`) + "/web:v1"}, code: exitMismatch, want: "at most 100000 are read"}
		},
		"a config of millions of steps": func(t *testing.T) memoryCase {
			const start, end = `{"os":"linux","architecture":"amd64","history":[{}`, "]}"
			config := start + strings.Repeat(",{}", (limit.Config-len(start)-len(end))/3) + end
			descriptor := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%d}`, digest.FromString(config), len(config))
			host := blobServer(t, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":`+descriptor+`,"layers":[]}`, config)
			return memoryCase{args: []string{"inspect", host + "/web:v1"}, code: exitFailed, want: "at most 100000 are read"}
		},
		"an index.json of millions of manifests": func(t *testing.T) memoryCase {
			dir := t.TempDir()
			writeTestFile(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
			writeTestFile(t, filepath.Join(dir, "index.json"), []byte(`{"schemaVersion":2,"manifests":[{}`+strings.Repeat(",{}", limit.LayoutIndex/3-20)+"]}"))
			return memoryCase{args: []string{"inspect", "oci:" + dir}, code: exitFailed, want: "at most 500000 are read"}
		},
		"a list of millions of attached documents": func(t *testing.T) memoryCase {
			host := pushed(t, func(w http.ResponseWriter, r *http.Request, _ *registrytest.Registry) {
				io.WriteString(w, fullManifest(`{"schemaVersion":2,"manifests":[{}`))
			})
			return memoryCase{args: []string{"inspect", host + "/web:v1"}, code: exitFailed, want: "at most 100000 are read"}
		},
		"a graph of 50,000 paths": func(t *testing.T) memoryCase {
			return memoryCase{args: []string{"plan", graphFile(t, 50_000)}, want: "layers"}
		},
		"a graph of 100,000 paths": func(t *testing.T) memoryCase {
			return memoryCase{args: []string{"plan", graphFile(t, 100_000)}, want: "layers"}
		},
		"a chain of 100,000 paths": func(t *testing.T) memoryCase {
			return memoryCase{args: []string{"plan", graphFileOf(t, 100_000, writeChain)}, want: "layers"}
		},
		"a long history": func(t *testing.T) memoryCase {
			const paths = 30_000
			dir := layoutWithHistory(t, limit.HistoryPaths/paths, paths)
			// The plan is made before nixoci notices that the layout has no config.
			return memoryCase{args: []string{"plan", "x86_64-linux=" + graphFile(t, paths), "--verbose", "--against", "oci:" + dir + ":v", "--plan-from", "auto", "--history", "64"},
				code: exitFailed, want: "found 8 images of linux/amd64"}
		},
		"a history of more paths than the limit": func(t *testing.T) memoryCase {
			dir := layoutWithHistory(t, 40, 90_000)
			return memoryCase{args: []string{"plan", "x86_64-linux=" + graphFile(t, 1000), "--against", "oci:" + dir + ":v", "--plan-from", "auto", "--history", "64"},
				code: exitFailed, want: "more than 250000 store paths"}
		},
		"a graph of more paths than the limit": func(t *testing.T) memoryCase {
			return memoryCase{args: []string{"plan", graphFile(t, limit.Paths+1)}, code: exitFailed, want: "more than"}
		},
		"an index.json of 8 GB": func(t *testing.T) memoryCase {
			dir := t.TempDir()
			writeTestFile(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
			writeTestFile(t, filepath.Join(dir, "index.json"), []byte(`{"schemaVersion":2,"manifests":[]}`))
			if err := os.Truncate(filepath.Join(dir, "index.json"), 8<<30); err != nil {
				t.Fatal(err)
			}
			return memoryCase{args: []string{"inspect", "oci:" + dir}, code: exitFailed, want: "larger than"}
		},
		"a credential helper that prints without end": func(t *testing.T) memoryCase {
			dir := t.TempDir()
			script := "#!/bin/sh\nwhile :; do echo yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes yes; done\n"
			if err := os.WriteFile(filepath.Join(dir, "docker-credential-endless"), []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			writeTestFile(t, filepath.Join(dir, "config.json"), []byte(`{"credsStore":"endless"}`))
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				registrytest.Refuse(w, 401, "UNAUTHORIZED", "authentication required")
			})
			return memoryCase{args: []string{"inspect", strings.TrimPrefix(s.URL, "http://") + "/web:v1"}, code: exitFailed,
				want: "docker-credential-endless get: its output: more than 1048576 bytes",
				env:  []string{"DOCKER_CONFIG=" + dir, "PATH=" + dir + ":" + os.Getenv("PATH")}}
		},
		"a docker-archive that lists a layer 100,000 times": func(t *testing.T) memoryCase {
			dir := t.TempDir()
			writeTestFile(t, filepath.Join(dir, "manifest.json"), []byte(`[{"Config":"c.json","Layers":["l.tar"`+strings.Repeat(`,"l.tar"`, 99_999)+`]}]`))
			writeTestFile(t, filepath.Join(dir, "c.json"), []byte("{}"))
			writeTestFile(t, filepath.Join(dir, "l.tar"), make([]byte, 1<<20))
			out, err := exec.Command("tar", "-C", dir, "-cf", filepath.Join(dir, "image.tar"), "manifest.json", "c.json", "l.tar").CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return memoryCase{args: []string{"inspect", "docker-archive:" + filepath.Join(dir, "image.tar")}, code: exitFailed, want: "lists 100000 layers"}
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := test(t)
			program, err := exec.LookPath("measure")
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			peak := filepath.Join(dir, "peak")
			cmd := exec.Command(program, append([]string{peak}, c.args...)...)
			cmd.Env = append(append(os.Environ(), "XDG_CACHE_HOME="+dir, "TMPDIR="+dir, "DOCKER_CONFIG="+dir, "NIX_CONF_DIR="+dir), c.env...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			start := time.Now()
			cmd.Run()
			took := time.Since(start)
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if text := stdout.String() + stderr.String(); !strings.Contains(text, c.want) {
				t.Errorf("it does not print %q: %.3000s", c.want, text)
			}
			var most int64
			if _, err := fmt.Sscan(string(mustRead(t, peak)), &most); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d MB, %s", most/1e6, took.Round(time.Millisecond))
			if most > limit.Memory {
				t.Errorf("it needed %d MB, more than %d", most/1e6, int64(limit.Memory/1e6))
			}
			if took > limit.Operation {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// layoutWithHistory returns a layout with the image v and the n images before it. Each image has
// this many paths, all with other hashes. The layout has no layers and no configs.
func layoutWithHistory(t *testing.T, n, paths int) (dir string) {
	dir = t.TempDir()
	put := func(doc object) object {
		data, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		d := digest.FromBytes(data)
		writeTestFile(t, filepath.Join(dir, "blobs", "sha256", d.Encoded()), data)
		return object{"mediaType": doc["mediaType"], "digest": d, "size": len(data)}
	}
	blob := func(mediaType string) object {
		return object{"mediaType": mediaType, "digest": digest.FromString(mediaType), "size": 1}
	}
	continues := object{}
	var newest object
	for image := range n + 1 {
		var list strings.Builder
		for i := range paths {
			fmt.Fprintf(&list, "%s ", filepath.Base(numberedPath(1_000_000*(image+1)+i)))
		}
		layer := blob("application/vnd.oci.image.layer.v1.tar+gzip")
		layer["annotations"] = object{layers.AnnotationPaths: list.String()}
		newest = put(object{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "annotations": continues,
			"config": blob("application/vnd.oci.image.config.v1+json"), "layers": []object{layer}})
		continues = object{manifest.AnnotationPlanFrom: newest["digest"]}
	}
	newest["platform"] = object{"os": "linux", "architecture": "amd64"}
	newest["annotations"] = object{manifest.AnnotationImage: "recipe"}
	index := put(object{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []object{newest}})
	index["annotations"] = object{"org.opencontainers.image.ref.name": "v"}
	list, err := json.Marshal(object{"schemaVersion": 2, "manifests": []object{index}})
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(dir, "index.json"), list)
	writeTestFile(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return dir
}

// attachedStatements attaches n closure statements. Each of them lists this many paths.
func attachedStatements(t *testing.T, n, paths int) func(http.ResponseWriter, *http.Request, *registrytest.Registry) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"mediaType":%q,"storeDir":%q,"roots":[],"closure":`, attest.ClosureType, closure.StoreDir)
	writeGraph(&b, paths)
	b.WriteString("}")
	return attachedDocuments(t, n, attest.ClosureType, b.Bytes())
}

// certifiedStatement returns a bundle with a statement of this many bytes, signed with a certificate,
// and the flags with which verify checks it.
func certifiedStatement(t *testing.T, size int) (bundle []byte, flags []string) {
	s, err := keylesstest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	token, err := keyless.FindToken("", func(name string) string {
		return map[string]string{keyless.TokenVariable: s.Token(keylesstest.Claims{Email: "ci@example.org"})}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	author, err := keyless.New(keyless.Options{Services: &keyless.Services{Fulcio: s.URL(), Logs: []keyless.Log{{URL: s.URL(), Version: 1}}}, Token: token, Transport: http.DefaultTransport})
	if err != nil {
		t.Fatal(err)
	}
	const part = `{"name":"a","version":"1"},`
	predicate := json.RawMessage("[" + strings.Repeat(part, size/len(part)) + "0]")
	statement, err := attest.Statement("web", digest.FromString("another image"), attest.SPDXPredicate, predicate)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := attest.Seal(t.Context(), statement, author)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root.json")
	writeTestFile(t, root, s.TrustedRoot(keylesstest.Root{}))
	return sealed.Data, []string{"--identity", "ci@example.org", "--issuer", s.URL(), "--trust-root", root, "--require-attestation", "spdx"}
}

// hostileBundle attaches a bundle of nearly limit.Bundle bytes, with part repeated between start and
// end. verify must report want, and accept the image itself.
func hostileBundle(t *testing.T, start, part, end, want string) memoryCase {
	if part != "" {
		start += strings.Repeat(part, (limit.Bundle-len(start)-len(end))/len(part))
	}
	return memoryCase{args: []string{"verify", pushed(t, attachedDocuments(t, 1, attest.BundleV03, []byte(start+end))) + "/web:v1"}, want: want}
}

// fullManifest adds empty elements to start until the manifest has nearly limit.Manifest bytes.
func fullManifest(start string) string {
	return start + strings.Repeat(",{}", (limit.Manifest-len(start)-2)/3) + "]}"
}

// manifestServer starts a registry. Every tag names the full manifest that begins with start.
func manifestServer(t *testing.T, start string) (host string) {
	return blobServer(t, fullManifest(start), "")
}

// blobServer starts a registry. Every tag and digest names the manifest, or the blob.
func blobServer(t *testing.T, manifest, blob string) (host string) {
	_, mediaType, _ := strings.Cut(manifest, `"mediaType":"`)
	mediaType, _, _ = strings.Cut(mediaType, `"`)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", mediaType)
			w.Header().Set("Docker-Content-Digest", digest.FromString(manifest).String())
			io.WriteString(w, manifest)
		case strings.Contains(r.URL.Path, "/blobs/"):
			io.WriteString(w, blob)
		}
	})
	return strings.TrimPrefix(s.URL, "http://")
}

// changeMaterial changes the certificate or the log entry of a bundle.
func changeMaterial(t *testing.T, bundle []byte, change func(*bundlev1.VerificationMaterial)) string {
	var b bundlev1.Bundle
	if err := protojson.Unmarshal(bundle, &b); err != nil {
		t.Fatal(err)
	}
	change(b.VerificationMaterial)
	data, err := protojson.Marshal(&b)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// certificateOfNames returns a certificate of about size bytes, with as many names as possible.
func certificateOfNames(t *testing.T, size int) []byte {
	names, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: bytes.Repeat([]byte{0x86, 3, 'a', ':', 'b'}, size/5)})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// attachedDocuments attaches n documents with the same content.
func attachedDocuments(t *testing.T, n int, artifactType string, data []byte) func(http.ResponseWriter, *http.Request, *registrytest.Registry) {
	document := digest.FromBytes(data)
	return func(w http.ResponseWriter, r *http.Request, reg *registrytest.Registry) {
		subject := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		reg.Blobs["web@"+document.String()] = data
		var list []object
		for i := range n {
			m, err := json.Marshal(object{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": artifactType,
				"config":  object{"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest.FromString("{}"), "size": 2},
				"layers":  []object{{"mediaType": artifactType, "digest": document, "size": len(data)}},
				"subject": object{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": 1}, "annotations": object{"n": fmt.Sprint(i)}})
			if err != nil {
				t.Error(err)
			}
			d := digest.FromBytes(m)
			reg.Manifests["web:"+d.String()], reg.Types["web:"+d.String()] = m, "application/vnd.oci.image.manifest.v1+json"
			list = append(list, object{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": d, "size": len(m), "artifactType": artifactType})
		}
		json.NewEncoder(w).Encode(object{"schemaVersion": 2, "manifests": list})
	}
}
