package closure

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/nixoci/nixoci/internal/hint/hinttest"
	"github.com/nixoci/nixoci/internal/nar"
	"github.com/nixoci/nixoci/internal/nar/nartest"
)

// fakeCache is an HTTP server for a binary cache. It serves files, which at first are
// the files of the sample. handle can answer requests in another way.
type fakeCache struct {
	*httptest.Server
	mu       sync.Mutex
	files    map[string]string
	requests []string
	handle   func(w http.ResponseWriter, r *http.Request) bool // returns true if it has answered the request
}

func newFakeCache(t testing.TB, compression string) *fakeCache {
	t.Helper()
	f := &fakeCache{files: map[string]string{}}
	dir := "testdata/cache/" + compression
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			f.files["/"+filepath.ToSlash(strings.TrimPrefix(p, dir+"/"))] = readFile(t, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeCache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.URL.Path)
	text, ok := f.files[r.URL.Path]
	f.mu.Unlock()
	if f.handle != nil && f.handle(w, r) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", `"1"`)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
}

func (f *fakeCache) count(part string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		if strings.Contains(r, part) {
			n++
		}
	}
	return n
}

// get returns the content of a file, or "" if there is no such file. The server may
// still answer a request that nixoci has given up, while the test continues. So tests
// must use get, set and remove, which lock files.
func (f *fakeCache) get(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.files[name]
}

func (f *fakeCache) set(name, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[name] = text
}

func (f *fakeCache) remove(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.files, name)
}

func (f *fakeCache) edit(t testing.TB, p StorePath, replace ...string) {
	t.Helper()
	name := "/" + p.Hash() + ".narinfo"
	was := f.get(name)
	text := strings.NewReplacer(replace...).Replace(was)
	if text == was {
		t.Fatalf("nothing to replace in %s", text)
	}
	f.set(name, text)
}

func (f *fakeCache) open(t testing.TB, o CacheOptions) *BinaryCache {
	t.Helper()
	if o.Keys == nil {
		o.Keys = sampleKeys(t)
	}
	c, err := OpenBinaryCache(f.URL, o)
	if err != nil {
		t.Fatal(err)
	}
	c.fetch.retry.Delay = func(int) time.Duration { return time.Millisecond }
	return c
}

func TestCacheOverHTTP(t *testing.T) {
	want := dump(t, sampleStore(t))
	f := newFakeCache(t, "zstd")
	c := f.open(t, CacheOptions{})
	if got := dump(t, c); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if n := f.count(cacheInfoFile); n != 1 {
		t.Errorf("%d requests for %s", n, cacheInfoFile)
	}
	var bytes int64
	for _, r := range f.requests {
		bytes += int64(len(f.get(r)))
	}
	if got, want := c.Stats(), (CacheStats{Requests: 15, Bytes: bytes}); got != want || len(f.requests) != 15 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCacheOverHTTPS(t *testing.T) {
	want := dump(t, sampleStore(t))
	f := newFakeCache(t, "br")
	var http2, connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			http2.Add(1)
		}
		f.ServeHTTP(w, r)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	transport := newTransport().(*http.Transport)
	transport.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	c, err := OpenBinaryCache(server.URL, CacheOptions{Keys: sampleKeys(t), Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	if got := dump(t, c); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if http2.Load() != 15 || connections.Load() > 2 {
		t.Errorf("%d of 15 requests with HTTP/2, %d connections", http2.Load(), connections.Load())
	}
	// Without the transport of the test server, nixoci must not trust the server's
	// certificate.
	if c, err = OpenBinaryCache(server.URL, CacheOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.Closure(t.Context(), []StorePath{sampleTop(t)})
	hinttest.Error(t, err, nil, "certificate")
}

func TestNarinfoDir(t *testing.T) {
	dir := t.TempDir()
	f := newFakeCache(t, "none")
	roots := []StorePath{sampleTop(t)}
	closure := func(want CacheStats) {
		t.Helper()
		f.requests = nil
		c := f.open(t, CacheOptions{NarinfoDir: dir})
		if _, err := c.Closure(t.Context(), roots); err != nil {
			t.Fatal(err)
		}
		got := c.Stats()
		got.Bytes = 0
		if got != want || int64(len(f.requests)) != want.Requests {
			t.Errorf("got %+v and %d requests, want %+v", got, len(f.requests), want)
		}
	}
	closure(CacheStats{Requests: 8})
	closure(CacheStats{Hits: 7})
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.narinfo"))
	if err != nil || len(files) != 7 {
		t.Fatal(files, err)
	}
	// nixoci must remove damaged files, and use the other files.
	writeFile(t, files[0], "StorePath: /nix/store/x")
	top := filepath.Join(filepath.Dir(files[0]), roots[0].Hash()+".narinfo")
	writeFile(t, top, strings.Replace(readFile(t, top), "NarSize: ", "NarSize: 1", 1))
	closure(CacheStats{Requests: 2, Hits: 5})
	closure(CacheStats{Hits: 7})
	// nixoci must request a narinfo again if the file on disk is too old.
	old := time.Now().Add(-31 * 24 * time.Hour)
	if err := os.Chtimes(files[2], old, old); err != nil {
		t.Fatal(err)
	}
	closure(CacheStats{Requests: 1, Hits: 6})

	// The cache now has this NAR under another name than the narinfo on disk. nixoci
	// must request the narinfo again.
	c := f.open(t, CacheOptions{NarinfoDir: dir})
	cl, err := c.Closure(t.Context(), roots)
	if err != nil {
		t.Fatal(err)
	}
	n := c.infos[roots[0]]
	f.set("/nar/moved", f.get("/"+n.URL))
	f.remove("/" + n.URL)
	f.edit(t, roots[0], n.URL, "nar/moved")
	if err := Walk(t.Context(), c, cl.Info(roots[0]), &nartest.Recorder{}); err != nil {
		t.Error(err)
	}

	// Several caches may use one directory at the same time.
	var wg sync.WaitGroup
	shared := t.TempDir()
	for range 20 {
		wg.Go(func() {
			c := f.open(t, CacheOptions{NarinfoDir: shared})
			if _, err := c.Closure(context.Background(), roots); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if tmp, _ := filepath.Glob(filepath.Join(shared, "*", ".tmp-*")); len(tmp) > 0 {
		t.Errorf("left behind: %q", tmp)
	}
}

func TestNarinfoDirPrune(t *testing.T) {
	d := newNarinfoDir(t.TempDir(), "https://example.org")
	d.put("new.narinfo", []byte("x"))
	d.put("old.narinfo", []byte("x"))
	old := time.Now().Add(-2 * narinfoTTL)
	for _, f := range []string{"old.narinfo", narinfoStamp} {
		if err := os.Chtimes(filepath.Join(d.dir, f), old, old); err != nil {
			t.Fatal(err)
		}
	}
	newNarinfoDir(filepath.Dir(d.dir), "https://example.org").put("more.narinfo", nil)
	if got := list(t, d.dir); !slices.Equal(got, []string{narinfoStamp, "more.narinfo", "new.narinfo"}) {
		t.Errorf("left: %q", got)
	}
}

func TestCacheMalformed(t *testing.T) {
	top := sampleTop(t)
	tests := map[string]struct {
		replace []string
		want    string
		is      error
	}{
		"StorePath hash":      {[]string{"StorePath: /nix/store/", "StorePath: /nix/store/0"}, "StorePath: ", nil},
		"StorePath letter":    {[]string{"StorePath: /nix/store/" + string(top.Hash()[0]), "StorePath: /nix/store/e"}, "StorePath: ", nil},
		"StorePath elsewhere": {[]string{"StorePath: /nix/store", "StorePath: /gnu/store"}, "StorePath: ", nil},
		"StorePath of other":  {[]string{"StorePath: " + string(top), "StorePath: " + rowA}, "StorePath: " + rowA + " is not " + string(top), nil},
		"References":          {[]string{"References: ", "References: ../../etc/passwd "}, "References: ", nil},
		"References path":     {[]string{"References: ", "References: " + string(top) + " "}, "References: ", nil},
		"NarSize":             {[]string{"NarSize: ", "NarSize: -"}, "NarSize: ", nil},
		"NarSize hex":         {[]string{"NarSize: ", "NarSize: 0x"}, "NarSize: ", nil},
		"NarSize huge":        {[]string{"NarSize: ", "NarSize: 99999999999999999999"}, "NarSize: ", nil},
		"NarHash":             {[]string{"NarHash: sha256:", "NarHash: md5:"}, "NarHash: ", nil},
		"Sig":                 {[]string{"Sig: ", "Sig: :"}, "Sig: ", nil},
		"Sig base64":          {[]string{"Sig: nixoci-test-1:", "Sig: nixoci-test-1:!"}, "Sig: ", nil},
		"Sig short":           {[]string{"Sig: ", "Sig: x:AAAA\nSig: "}, "Sig: ", nil},
		"URL":                 {[]string{"URL: nar/", "URL: ../../etc/"}, "URL: ", nil},
		"URL absolute":        {[]string{"URL: nar/", "URL: https://example.org/"}, "URL: ", nil},
		"URL root":            {[]string{"URL: nar/", "URL: /etc/"}, "URL: ", nil},
		"Compression":         {[]string{"Compression: none", "Compression: rot13"}, "Compression: ", nil},
		"FileSize":            {[]string{"FileSize: ", "FileSize: -"}, "FileSize: ", nil},
		"Deriver":             {[]string{"Deriver: ", "Deriver: x"}, "Deriver: ", nil},
		"CA":                  {[]string{"Deriver: ", "CA: fixed:sha256:0\nDeriver: "}, "CA: ", nil},
		"twice":               {[]string{"NarSize: ", "NarSize: 1\nNarSize: "}, "NarSize: the field occurs twice", nil},
		"missing":             {[]string{"References: ", "X: "}, "References: it is missing", nil},
		"no colon":            {[]string{"Deriver: ", "<html>\nDeriver: "}, "has no colon", nil},
		"other NarHash":       {[]string{"NarHash: sha256:1", "NarHash: sha256:0", "NarHash: sha256:0", "NarHash: sha256:1"}, "signature does not match", ErrBadSignature},
		"other reference":     {[]string{"References: ", "References: " + rowA[len("/nix/store/"):] + " "}, "signature does not match", ErrBadSignature},
		"other NarSize":       {[]string{"NarSize: ", "NarSize: 1"}, "signature does not match", ErrBadSignature},
		"unsigned":            {[]string{"Sig: ", "X: "}, "no signature", ErrUnsigned},
		"unknown key":         {[]string{"Sig: nixoci-test-1", "Sig: someone-1"}, "only someone-1", ErrUntrustedKey},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFakeCache(t, "none")
			f.edit(t, top, tt.replace...)
			_, err := f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{top})
			hinttest.Error(t, err, tt.is, tt.want)
			hinttest.Error(t, err, nil, f.URL+"/"+top.Hash()+".narinfo")
			if tt.is == ErrUnsigned || tt.is == ErrUntrustedKey {
				hinttest.Hint(t, err, "--no-require-signatures")
				if _, err := f.open(t, CacheOptions{NoSignatures: true}).Closure(t.Context(), []StorePath{top}); err != nil {
					t.Errorf("without signatures: %v", err)
				}
			}
		})
	}
}

func TestCacheNotThere(t *testing.T) {
	top := sampleTop(t)
	f := newFakeCache(t, "none")
	_, err := f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{rowA})
	hinttest.Error(t, err, ErrNotInStore, rowA)
	hinttest.Hint(t, err, "--from")

	c, err := f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{top})
	if err != nil {
		t.Fatal(err)
	}
	missing := c.Info(top).References[0]
	f.remove("/" + missing.Hash() + ".narinfo")
	_, err = f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{top})
	hinttest.Error(t, err, ErrNotInStore, string(missing))

	f.remove("/" + cacheInfoFile)
	_, err = f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{top})
	hinttest.Error(t, err, nil, "no binary cache")
	f.set("/"+cacheInfoFile, "StoreDir: /gnu/store\n")
	_, err = f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{top})
	hinttest.Error(t, err, nil, f.URL+"/nix-cache-info: StoreDir: ")

	f.Close()
	_, err = f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{top})
	hinttest.Error(t, err, nil, "connection refused")
}

// TestCacheCycle checks that two narinfo files that refer to each other are an error.
// Only a cache without signatures can contain such a cycle.
func TestCacheCycle(t *testing.T) {
	f := newFakeCache(t, "none")
	info := func(name, ref string) string {
		return fmt.Sprintf("StorePath: /nix/store/%s\nURL: nar/x\nCompression: none\nNarHash: sha256:%s\nNarSize: 112\nReferences: %s\n", name, strings.Repeat("0", 52), ref)
	}
	a, b := strings.Repeat("0", 32)+"-a", strings.Repeat("1", 32)+"-b"
	f.set("/"+a[:32]+".narinfo", info(a, b))
	f.set("/"+b[:32]+".narinfo", info(b, a))
	_, err := f.open(t, CacheOptions{NoSignatures: true}).Closure(t.Context(), []StorePath{rowA})
	hinttest.Error(t, err, ErrCycle, b)
}

// sign adds a path with the given NAR to the cache, and signs the narinfo with a new
// key. It returns the path and this key.
func (f *fakeCache) sign(t testing.TB, nar []byte, compression string, size int64, hash Hash, extra string) (StorePath, TrustedKeys) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	info := Info{Path: rowA, NarHash: hash, NarSize: size}
	sig := base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(info.Fingerprint())))
	f.set("/"+info.Path.Hash()+".narinfo", fmt.Sprintf("StorePath: %s\nURL: nar/x\nCompression: %s\nNarHash: %s\nNarSize: %d\nReferences: \nSig: me-1:%s\n%s",
		info.Path, compression, hash.Nix32(), size, sig, extra))
	f.set("/nar/x", string(nar))
	return info.Path, TrustedKeys{"me-1": public}
}

func xzOf(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err == nil {
		_, err = w.Write(data)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// xzWithWindow changes the window size in an xz file, and computes the CRC of the block
// header again. code is the byte in the block header that encodes the window size.
func xzWithWindow(data []byte, code byte) []byte {
	header := data[12 : 12+(int(data[12])+1)*4]
	header[4] = code
	binary.LittleEndian.PutUint32(header[len(header)-4:], crc32.ChecksumIEEE(header[:len(header)-4]))
	return data
}

// TestCacheBadNAR checks that nixoci refuses bad NARs, even if their narinfo has a
// valid signature.
func TestCacheBadNAR(t *testing.T) {
	file := func(size int, content string) []byte {
		return []byte(nartest.NAR(append(append([]any{"nix-archive-1"}, nartest.Words("( type regular contents")...), size, []byte(content), ")")...))
	}
	good := file(8, "contents")
	zeros := file(1<<30, strings.Repeat("\x00", 1<<20))
	zstdOf := func(data []byte, o ...zstd.EOption) []byte {
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, o...)
		if err == nil {
			_, err = w.Write(data)
		}
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	absurdXZ := xzWithWindow(xzOf(t, good), 36) // a window of 1 GiB
	tests := map[string]struct {
		nar         []byte
		compression string
		size        int64
		is          error
		want        string
	}{
		"truncated":           {nar: good[:len(good)-8], compression: "none", size: int64(len(good)), is: io.ErrUnexpectedEOF, want: "unexpected EOF"},
		"truncated xz":        {nar: xzOf(t, good)[:60], compression: "xz", size: int64(len(good)), want: "xz:"},
		"truncated zstd":      {nar: zstdOf(good)[:20], compression: "zstd", size: int64(len(good)), is: io.ErrUnexpectedEOF, want: "unexpected EOF"},
		"truncated after NAR": {nar: xzOf(t, good)[:len(xzOf(t, good))-8], compression: "xz", size: int64(len(good)), want: "xz:"},
		"garbage":             {nar: []byte("<html>not found</html>"), compression: "xz", size: 112, want: "xz:"},
		"garbage gzip":        {nar: []byte("<html>not found</html>"), compression: "gzip", size: 112, want: "gzip"},
		"more bytes":          {nar: append(slices.Clone(good), good...), compression: "none", size: int64(len(good)), want: "narSize is at least"},
		"xz bomb":             {nar: xzOf(t, zeros), compression: "xz", size: 200, want: "narSize is at least"},
		"zstd bomb":           {nar: zstdOf(zeros), compression: "zstd", size: 200, want: "narSize is at least"},
		"bomb after the NAR":  {nar: xzOf(t, append(slices.Clone(good), make([]byte, 1<<20)...)), compression: "xz", size: int64(len(good)), want: "narSize is at least"},
		"absurd window":       {nar: zstdOf(file(8<<20, string(make([]byte, 8<<20))), zstd.WithWindowSize(128<<20)), compression: "zstd", size: 8<<20 + 200, want: "needs a window of 134217728 bytes"},
		"absurd dictionary":   {nar: absurdXZ, compression: "xz", size: int64(len(good)), want: "needs a window of 1073741824 bytes"},
		"largest size":        {nar: good, compression: "none", size: math.MaxInt64, want: "narHash is"},
		"smaller":             {nar: good, compression: "none", size: int64(len(good)) + 8, want: "narHash is"},
		"another":             {nar: file(8, "Contents"), compression: "none", size: int64(len(good)), want: "narHash is"},
		"name dot dot":        {nar: []byte(nartest.NAR(nartest.Directory(nartest.Entry("..", nartest.EmptyFile...))...)), compression: "none", size: 1000, is: nar.ErrMalformed, want: `named ".."`},
		"name with slash":     {nar: []byte(nartest.NAR(nartest.Directory(nartest.Entry("a/b", nartest.EmptyFile...))...)), compression: "none", size: 1000, is: nar.ErrMalformed, want: "slash"},
		"out of order":        {nar: []byte(nartest.NAR(nartest.Directory(nartest.Entry("b", nartest.EmptyFile...), nartest.Entry("a", nartest.EmptyFile...))...)), compression: "none", size: 1000, is: nar.ErrMalformed, want: "not sorted"},
		"twice":               {nar: []byte(nartest.NAR(nartest.Directory(nartest.Entry("a", nartest.EmptyFile...), nartest.Entry("a", nartest.EmptyFile...))...)), compression: "none", size: 1000, is: nar.ErrMalformed, want: "twice"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFakeCache(t, "none")
			p, keys := f.sign(t, tt.nar, tt.compression, tt.size, Hash{1}, "")
			c := f.open(t, CacheOptions{Keys: keys})
			cl, err := c.Closure(t.Context(), []StorePath{p})
			if err != nil {
				t.Fatal(err)
			}
			err = Walk(t.Context(), c, cl.Info(p), &nartest.Recorder{})
			hinttest.Error(t, err, tt.is, tt.want)
			hinttest.Error(t, err, nil, string(p))
		})
	}
}

// TestCacheContentAddressed checks that a content-addressed path needs no signature,
// but must have the content of its content address.
func TestCacheContentAddressed(t *testing.T) {
	f := newFakeCache(t, "none")
	var addressed []StorePath
	for name, text := range f.files {
		if strings.HasSuffix(name, ".narinfo") {
			f.set(name, strings.ReplaceAll(text, "Sig: ", "X-Sig: "))
			if strings.Contains(text, "CA: ") {
				n, err := ParseNarinfo([]byte(text))
				if err != nil {
					t.Fatal(err)
				}
				addressed = append(addressed, n.Path)
			}
		}
	}
	if len(addressed) != 3 {
		t.Fatal(addressed)
	}
	for _, p := range addressed {
		t.Run(p.Name(), func(t *testing.T) {
			c := f.open(t, CacheOptions{})
			cl, err := c.Closure(t.Context(), []StorePath{p})
			if err != nil {
				t.Fatal(err)
			}
			if err := Walk(t.Context(), c, cl.Info(p), &nartest.Recorder{}); err != nil {
				t.Fatal(err)
			}
			// The evil cache serves other contents for the same path. Its narinfo has the
			// correct narHash of these contents.
			evil := &fakeCache{files: maps.Clone(f.files)}
			bad := nartest.NAR(nartest.Words("nix-archive-1 ( type regular contents evil )")...)
			hash := sha256Sum(bad)
			n := c.infos[p]
			evil.files["/"+n.URL] = bad
			evil.edit(t, p, n.NarHash.Nix32(), hash.Nix32(), fmt.Sprintf("NarSize: %d", n.NarSize), fmt.Sprintf("NarSize: %d", len(bad)))
			server := httptest.NewServer(evil)
			defer server.Close()
			c, err = OpenBinaryCache(server.URL, CacheOptions{Keys: sampleKeys(t)})
			if err != nil {
				t.Fatal(err)
			}
			if cl, err = c.Closure(t.Context(), []StorePath{p}); err == nil {
				err = Walk(t.Context(), c, cl.Info(p), &nartest.Recorder{})
				hinttest.Error(t, err, nil, "does not match its content address")
			} else {
				hinttest.Error(t, err, ErrUnsigned, "")
			}
		})
	}
	// Other paths still need a signature.
	_, err := f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{sampleTop(t)})
	hinttest.Error(t, err, ErrUnsigned, "")
}

func TestCacheRetries(t *testing.T) {
	want := dump(t, sampleStore(t))
	t.Run("every other answer fails", func(t *testing.T) {
		f := newFakeCache(t, "xz")
		var n atomic.Int64
		f.handle = func(w http.ResponseWriter, r *http.Request) bool {
			switch n.Add(1) % 6 {
			case 1:
				http.Error(w, "busy", http.StatusServiceUnavailable)
			case 3:
				http.Error(w, "oops", http.StatusInternalServerError)
			case 5:
				panic(http.ErrAbortHandler)
			default:
				return false
			}
			return true
		}
		c := f.open(t, CacheOptions{Jobs: 1})
		if got := dump(t, c); got != want {
			t.Errorf("got\n%s", got)
		}
	})
	t.Run("it stays down", func(t *testing.T) {
		f := newFakeCache(t, "xz")
		f.handle = func(w http.ResponseWriter, r *http.Request) bool {
			http.Error(w, "oops", http.StatusBadGateway)
			return true
		}
		c := f.open(t, CacheOptions{})
		_, err := c.Closure(t.Context(), []StorePath{sampleTop(t)})
		hinttest.Error(t, err, nil, "502 bad gateway")
		if len(f.requests) != 6 {
			t.Errorf("%d requests", len(f.requests))
		}
	})
	t.Run("what will not change is not asked again", func(t *testing.T) {
		f := newFakeCache(t, "xz")
		f.handle = func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		_, err := f.open(t, CacheOptions{}).Closure(t.Context(), []StorePath{sampleTop(t)})
		hinttest.Error(t, err, nil, "401 unauthorized")
		hinttest.Hint(t, err, "netrc")
		if len(f.requests) != 1 {
			t.Errorf("%d requests", len(f.requests))
		}
	})
	t.Run("Retry-After", func(t *testing.T) {
		f := newFakeCache(t, "xz")
		synctest.Test(t, func(t *testing.T) {
			var n atomic.Int64
			c := directCache(t, CacheOptions{}, func(r *http.Request) (*http.Response, error) {
				if n.Add(1) > 1 {
					return f.of(r), nil
				}
				return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"20"}}, Body: http.NoBody, Request: r}, nil
			})
			start := time.Now()
			if _, err := c.Closure(t.Context(), []StorePath{sampleTop(t)}); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d != 20*time.Second {
				t.Errorf("waited %v", d)
			}
		})
	})
}

// TestCacheResume breaks the connection after every 10,000 bytes. nixoci must still
// receive complete NARs. If the server supports ranges, it must send no byte twice.
func TestCacheResume(t *testing.T) {
	const piece = 10_000
	for name, ranges := range map[string]bool{"ranges": true, "no ranges": false} {
		t.Run(name, func(t *testing.T) {
			f := newFakeCache(t, "none")
			f.handle = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, "/nar/") {
					return false
				}
				text := f.get(r.URL.Path)
				from, limit := 0, piece
				if h := r.Header.Get("Range"); h != "" {
					if r.Header.Get("If-Range") != `"1"` {
						t.Errorf("If-Range is %q", r.Header.Get("If-Range"))
					}
					fmt.Sscanf(h, "bytes=%d-", &from)
					limit += from
				}
				if ranges && from > 0 {
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(text)-1, len(text)))
				} else {
					from = 0
				}
				w.Header().Set("ETag", `"1"`)
				w.Header().Set("Content-Length", fmt.Sprint(len(text)-from))
				if from > 0 {
					w.WriteHeader(http.StatusPartialContent)
				}
				part := text[from:min(limit, len(text))]
				io.WriteString(w, part)
				if limit < len(text) {
					w.(http.Flusher).Flush()
					panic(http.ErrAbortHandler)
				}
				return true
			}
			c := f.open(t, CacheOptions{})
			cl, err := c.Closure(t.Context(), []StorePath{sampleTop(t)})
			if err != nil {
				t.Fatal(err)
			}
			before := c.Stats().Bytes
			for i := range cl.Paths {
				if err := Walk(t.Context(), c, &cl.Paths[i], &nartest.Recorder{}); err != nil {
					t.Fatal(err)
				}
			}
			if n := c.Stats().Bytes - before; ranges == (n != cl.NarSize()) {
				t.Errorf("%d bytes were read for %d", n, cl.NarSize())
			}
		})
	}
	t.Run("another file", func(t *testing.T) {
		f := newFakeCache(t, "none")
		first := true
		f.handle = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/nar/") {
				return false
			}
			if !first {
				io.WriteString(w, "something else")
				return true
			}
			first = false
			w.Header().Set("Content-Length", fmt.Sprint(len(f.get(r.URL.Path))))
			io.WriteString(w, f.get(r.URL.Path)[:100])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		c := f.open(t, CacheOptions{})
		cl, err := c.Closure(t.Context(), []StorePath{sampleTop(t)})
		if err != nil {
			t.Fatal(err)
		}
		hinttest.Error(t, Walk(t.Context(), c, cl.Info(sampleTop(t)), &nartest.Recorder{}), nil, "the file changed")
	})
}

func TestCacheCancel(t *testing.T) {
	f := newFakeCache(t, "none")
	boom := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	f.handle = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, ".narinfo") {
			cancel(boom)
			<-r.Context().Done()
			return true
		}
		return false
	}
	_, err := f.open(t, CacheOptions{}).Closure(ctx, []StorePath{sampleTop(t)})
	hinttest.Error(t, err, boom, "")
}

func TestCacheCredentials(t *testing.T) {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:s3cret"))
	var leaked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			leaked.Store(true)
		}
		http.Error(w, "no", http.StatusTeapot)
	}))
	defer other.Close()
	f := newFakeCache(t, "none")
	f.handle = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != want {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if strings.HasPrefix(r.URL.Path, "/nar/") {
			http.Redirect(w, r, other.URL+"/x?token=s3cret", http.StatusFound)
			return true
		}
		return false
	}
	host := strings.TrimPrefix(f.URL, "http://")
	check := func(url string) {
		t.Helper()
		c, err := OpenBinaryCache(url, CacheOptions{Keys: sampleKeys(t)})
		if err != nil {
			t.Fatal(err)
		}
		cl, err := c.Closure(t.Context(), []StorePath{sampleTop(t)})
		if err != nil {
			t.Fatal(err)
		}
		err = Walk(t.Context(), c, cl.Info(sampleTop(t)), &nartest.Recorder{})
		hinttest.Error(t, err, nil, "418")
		if strings.Contains(err.Error()+c.String(), "s3cret") || leaked.Load() {
			t.Errorf("the secret is out: %v", err)
		}
	}
	netrc := filepath.Join(t.TempDir(), "netrc")
	t.Setenv("NETRC", netrc)
	check("http://me:s3cret@" + host)
	writeFile(t, netrc, "machine example.org login a password b\nmachine 127.0.0.1\n  login me\n  password s3cret\n")
	check(f.URL + "/?priority=10")
	other.Close()
	check2 := func() {
		c := f.open(t, CacheOptions{})
		cl, err := c.Closure(t.Context(), []StorePath{sampleTop(t)})
		if err != nil {
			t.Fatal(err)
		}
		err = Walk(t.Context(), c, cl.Info(sampleTop(t)), &nartest.Recorder{})
		hinttest.Error(t, err, nil, "refused")
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the secret is out: %v", err)
		}
	}
	check2()
	for _, bad := range []string{"http://me:s3cret@[::1", "ftp://me:s3cret@host/", "http://me:s3cret@/x", "file://me:s3cret@host/x"} {
		if _, err := OpenBinaryCache(bad, CacheOptions{}); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
