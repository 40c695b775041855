package closure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/nar"
	"github.com/nixoci/nixoci/internal/retry"
	"github.com/nixoci/nixoci/internal/task"
)

// CacheOptions configures a [BinaryCache]. With the zero value, the cache trusts only
// [DefaultPublicKey] and keeps nothing on disk.
type CacheOptions struct {
	Keys         TrustedKeys       // nil means only DefaultPublicKey
	NoSignatures bool              // accept paths without a signature of a trusted key
	NarinfoDir   string            // directory that keeps narinfo files between runs; "" means that nothing is kept
	Jobs         int               // maximum number of parallel narinfo requests; ≤0 means 32
	MinSpeed     int64             // minimum speed of a download in bytes per second; 0 means limit.LeastSpeed, <0 means no minimum
	Transport    http.RoundTripper // for http and https; nil means HTTP/2 with connections that are used again
	Retry        retry.Schedule    // how requests are tried again; the zero value means nixoci's default
}

// BinaryCache reads a binary cache with a URL http://, https://, s3:// or file://.
// Only the transport depends on the scheme of the URL.
type BinaryCache struct {
	fetch *fetcher
	o     CacheOptions
	disk  *narinfoDir // nil if nothing is kept on disk
	ahead *ahead

	infoMu sync.Mutex
	infoOK bool // nix-cache-info was read and is correct

	mu    sync.Mutex
	infos map[StorePath]*cached
	meter meter // limits the size of infos
	names names // the store paths in infos
	small []smallNAR
}

// cached holds a narinfo that was checked.
type cached struct {
	*Narinfo
	check caCheck // what Tree checks besides the narHash
	ca    contentAddress
}

// CacheStats holds the numbers that [BinaryCache.Stats] returns.
type CacheStats struct {
	Requests int64 // HTTP requests, including retries
	Bytes    int64 // bytes of response bodies
	Hits     int64 // narinfo files found on disk
}

// OpenBinaryCache returns a BinaryCache for url. It sends no request.
func OpenBinaryCache(url string, o CacheOptions) (*BinaryCache, error) {
	f, err := newFetcher(url, o)
	if err != nil {
		return nil, err
	}
	if o.Keys == nil {
		if o.Keys, err = NewTrustedKeys(DefaultPublicKey); err != nil {
			return nil, err
		}
	}
	if o.Jobs <= 0 {
		o.Jobs = 32
	}
	c := &BinaryCache{fetch: f, o: o, ahead: newAhead(), infos: map[StorePath]*cached{}, names: names{}}
	if o.NarinfoDir != "" && f.base.Scheme != "file" {
		c.disk = newNarinfoDir(o.NarinfoDir, f.base.String())
	}
	return c, nil
}

// String returns the URL of the cache without credentials.
func (c *BinaryCache) String() string { return c.fetch.base.String() }

// Stats returns the numbers of requests, bytes and files since OpenBinaryCache.
func (c *BinaryCache) Stats() CacheStats {
	s := c.fetch.stats
	return CacheStats{s.requests.Load(), s.bytes.Load(), s.hits.Load()}
}

const cacheInfoFile = "nix-cache-info"

// checkInfo checks once that the URL leads to a binary cache, and that the cache is
// for the store directory /nix/store.
func (c *BinaryCache) checkInfo(ctx context.Context) error {
	c.infoMu.Lock()
	defer c.infoMu.Unlock()
	if c.infoOK {
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return err // another caller failed and cancelled this context, too
	}
	err := c.readInfo(ctx)
	c.infoOK = err == nil
	return err
}

func (c *BinaryCache) readInfo(ctx context.Context) error {
	data, ok := c.disk.get(cacheInfoFile)
	// Request this file from an S3 bucket even if it is on disk, because the answer
	// shows whether nixoci may read the bucket. S3 answers 403 both for a missing
	// file and for missing permission. Every cache has a nix-cache-info, so 403 for
	// this file means missing permission.
	if !ok || c.fetch.bucket {
		err := c.fetch.small(ctx, cacheInfoFile, limit.CacheInfo, func(b []byte) error {
			data = b
			return nil
		})
		if s, ok := errors.AsType[*StatusError](err); ok && s.gone() {
			return hint.Add(fmt.Errorf("no binary cache: %w", err), "a binary cache has a file nix-cache-info; is the URL right?")
		}
		if err != nil {
			return err
		}
	}
	if err := checkCacheInfo(data); err != nil {
		return fmt.Errorf("%s: %w", c.fetch.at(cacheInfoFile), err)
	}
	if !ok {
		c.disk.put(cacheInfoFile, data)
	}
	return nil
}

func checkCacheInfo(data []byte) error {
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if ok && key == "StoreDir" {
			if dir := strings.TrimSpace(value); dir != StoreDir {
				return fieldErrorf(key, "%q is not %s", dir, StoreDir)
			}
		}
	}
	return nil
}

// narinfo returns the checked narinfo of p. If the cache does not have p, the
// error wraps ErrNotInStore.
func (c *BinaryCache) narinfo(ctx context.Context, p StorePath) (*cached, error) {
	c.mu.Lock()
	n := c.infos[p]
	c.mu.Unlock()
	if n != nil {
		return n, nil
	}
	file := p.Hash() + ".narinfo"
	if data, ok := c.disk.get(file); ok {
		if n, err := c.check(p, data); err == nil {
			c.fetch.stats.hits.Add(1)
			return n, nil
		}
		c.disk.remove(file)
	}
	if err := c.checkInfo(ctx); err != nil {
		return nil, err
	}
	err := c.fetch.small(ctx, file, limit.Narinfo, func(data []byte) (err error) {
		if n, err = c.check(p, data); err != nil {
			return fmt.Errorf("%s: %w", c.fetch.at(file), err)
		}
		c.disk.put(file, data)
		return nil
	})
	if s, ok := errors.AsType[*StatusError](err); ok && s.gone() {
		return nil, fmt.Errorf("binary cache %s: %s: %w", c, p, ErrNotInStore)
	}
	return n, err
}

// check parses a narinfo and decides whether to trust it.
func (c *BinaryCache) check(p StorePath, data []byte) (*cached, error) {
	parsed, err := ParseNarinfo(data)
	if err != nil {
		return nil, err
	}
	if parsed.Path != p {
		return nil, fieldErrorf("StorePath", "%s is not %s", parsed.Path, p)
	}
	n := &cached{Narinfo: parsed}
	if !c.o.NoSignatures {
		if err := c.o.Keys.Verify(&n.Info); err != nil {
			// A path needs no signature if its name follows from its content.
			// Every other path needs a signature.
			n.check, n.ca = checkCA(&n.Info)
			if n.check == caNone {
				return nil, err
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.infos[p]; known != nil {
		return known, nil
	}
	if err := c.meter.add(&n.Info); err != nil {
		return nil, err
	}
	for i, r := range n.References {
		n.References[i] = c.names.intern(r)
	}
	c.infos[p] = n
	return n, nil
}

// forget removes an outdated narinfo from memory and from disk.
func (c *BinaryCache) forget(p StorePath) {
	c.mu.Lock()
	delete(c.infos, p)
	c.mu.Unlock()
	c.disk.remove(p.Hash() + ".narinfo")
}

// Closure reads the narinfo files of the closure. It sends at most
// CacheOptions.Jobs requests at a time.
func (c *BinaryCache) Closure(ctx context.Context, roots []StorePath) (*Closure, error) {
	infos, missing, err := c.walk(ctx, roots, true)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		err := fmt.Errorf("binary cache %s: %s: %w", c, missing[0], ErrNotInStore)
		return nil, hint.Add(err, "name a source that has this path with another --from")
	}
	closure, err := New(roots, infos)
	if err != nil {
		return nil, fmt.Errorf("binary cache %s: %w", c, err)
	}
	return closure, nil
}

// Infos implements finderSource. It asks only for paths, and not for their
// references, because the references may be in another source.
func (c *BinaryCache) Infos(ctx context.Context, paths []StorePath) ([]Info, error) {
	infos, _, err := c.walk(ctx, paths, false)
	return infos, err
}

// walk reads the narinfo files of paths. If deep is true, walk also reads the
// narinfo files of everything to which these paths refer. As soon as it has read a
// narinfo, it requests the new references in this narinfo. So as many requests as
// possible run in parallel, up to CacheOptions.Jobs.
func (c *BinaryCache) walk(ctx context.Context, paths []StorePath, deep bool) (infos []Info, missing []StorePath, err error) {
	parent := ctx
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		seen    = map[StorePath]bool{}
		todo    []StorePath
		workers int
	)
	visit := func(paths []StorePath) { // the caller must hold mu
		for _, p := range paths {
			if seen[p] {
				continue
			}
			if seen[p] = true; len(seen) > limit.Paths {
				cancel(fmt.Errorf("binary cache %s: %w", c, errTooManyPaths))
				return
			}
			todo = append(todo, p)
		}
	}
	answer := func(p StorePath, n *cached, err error) { // the caller must hold mu
		switch {
		case errors.Is(err, ErrNotInStore):
			missing = append(missing, p)
			if deep {
				cancel(err)
			}
		case err != nil:
			cancel(err)
		default:
			infos = append(infos, n.Info)
			if deep {
				visit(n.References)
			}
		}
	}
	var start func() // the caller must hold mu
	work := func() {
		mu.Lock()
		defer mu.Unlock()
		for len(todo) > 0 && ctx.Err() == nil {
			p := todo[0]
			todo = todo[1:]
			mu.Unlock()
			n, err := c.narinfo(ctx, p)
			mu.Lock()
			answer(p, n, err)
			start()
		}
		workers--
	}
	start = func() {
		for ; workers < min(c.o.Jobs, workers+len(todo)); workers++ {
			wg.Go(task.Guarded(work))
		}
	}
	mu.Lock()
	visit(paths)
	start()
	mu.Unlock()
	wg.Wait()
	if err := context.Cause(ctx); err != nil && (len(missing) == 0 || parent.Err() != nil) {
		return nil, nil, err
	}
	slices.Sort(missing)
	return infos, missing, nil
}

// Tree streams the NAR of one path. It writes nothing to disk.
func (c *BinaryCache) Tree(ctx context.Context, info *Info, v nar.Visitor) error {
	if data, ok := c.smallNAR(info.Path); ok {
		return nar.Read(bytes.NewReader(data), v)
	}
	n, err := c.narinfo(ctx, info.Path)
	if err != nil {
		return err
	}
	b, closeNAR, err := c.openNAR(ctx, &n)
	if err != nil {
		return fmt.Errorf("%s: %w", info.Path, err)
	}
	defer closeNAR()
	fail := func(err error) error {
		return fmt.Errorf("%s: %s: %w", info.Path, c.fetch.at(n.URL), err)
	}
	d, err := decoders[n.Compression](ctx, b)
	if err != nil {
		return fail(err)
	}
	defer d.Close()
	if n.check == caFlat {
		v = &flatVerifier{v, info.Path, n.ca}
	}
	t := &trackingVisitor{Visitor: v}
	err = nar.Read(&narStream{r: d, left: info.NarSize, info: info, fail: fail}, t)
	if err == nil || err == t.err {
		return err
	}
	return fail(err)
}

// openNAR opens the compressed NAR of *n. If the narinfo *n is outdated, openNAR
// replaces it with the current narinfo.
func (c *BinaryCache) openNAR(ctx context.Context, n **cached) (r io.Reader, close func(), err error) {
	if r, release, ok := c.ahead.take(ctx, (*n).Path); ok {
		return r, release, nil
	}
	b, err := c.fetch.open(ctx, (*n).URL)
	if s, ok := errors.AsType[*StatusError](err); ok && s.gone() && c.disk != nil {
		// A narinfo from disk may name a NAR that is no longer in the cache.
		path := (*n).Path
		c.forget(path)
		if *n, err = c.narinfo(ctx, path); err != nil {
			return nil, nil, err
		}
		b, err = c.fetch.open(ctx, (*n).URL)
	}
	if err != nil {
		return nil, nil, err
	}
	return b, func() { b.Close() }, nil
}

// trackingVisitor records an error of its Visitor. So Tree can distinguish this error
// from an error of reading.
type trackingVisitor struct {
	nar.Visitor
	err error
}

func (t *trackingVisitor) Directory(name string) error {
	t.err = t.Visitor.Directory(name)
	return t.err
}

func (t *trackingVisitor) Symlink(name, target string) error {
	t.err = t.Visitor.Symlink(name, target)
	return t.err
}

func (t *trackingVisitor) File(name string, executable bool, size int64, content io.Reader) error {
	t.err = t.Visitor.File(name, executable, size, content)
	return t.err
}

// narStream is a reader that adds the path and the URL of the NAR to errors. It
// returns an error if the NAR is longer than the narSize in the narinfo.
type narStream struct {
	r    io.Reader
	left int64
	info *Info
	fail func(error) error
}

func (s *narStream) Read(p []byte) (int, error) {
	if int64(len(p)) > s.left { // read one byte more than narSize, to notice a NAR that is too long
		p = p[:s.left+1]
	}
	n, err := s.r.Read(p)
	if s.left -= int64(n); s.left < 0 {
		return 0, s.fail(&SizeMismatchError{s.info.Path, s.info.NarSize, s.info.NarSize + 1})
	}
	if err != nil && err != io.EOF {
		err = s.fail(err)
	}
	return n, err
}

func (c *BinaryCache) mismatchHint(p StorePath) string {
	return "the cache " + c.String() + " is damaged, or the path was signed wrongly; another --from may have " + p.Name()
}

// smallNAR holds a NAR that the BinaryCache keeps in memory. nixoci looks up single
// files in small paths of a system, such as the toplevel. Without smallNAR, each
// lookup would download the NAR again.
type smallNAR struct {
	path StorePath
	nar  []byte
}

const (
	maxSmallNAR  = 4 << 20 // bytes
	maxSmallNARs = 8
)

func (c *BinaryCache) smallNAR(p StorePath) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.small {
		if s.path == p {
			return s.nar, true
		}
	}
	return nil, false
}

// look walks the tree of info with f. It checks the narHash, unless the NAR is
// already in memory.
func (c *BinaryCache) look(ctx context.Context, info *Info, f *finder) error {
	if _, ok := c.smallNAR(info.Path); ok || info.NarSize > maxSmallNAR {
		return Walk(ctx, c, info, f)
	}
	var buf bytes.Buffer
	w := nar.NewWriter(&buf)
	if err := Walk(ctx, c, info, w); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	c.mu.Lock()
	c.small = append(c.small, smallNAR{info.Path, buf.Bytes()})
	c.small = c.small[max(0, len(c.small)-maxSmallNARs):]
	c.mu.Unlock()
	return nar.Read(&buf, f)
}

// Lookup implements [FileSource].
func (c *BinaryCache) Lookup(ctx context.Context, info *Info, name string) (Entry, error) {
	f := finder{name: name, limit: -1}
	if err := c.look(ctx, info, &f); err != nil {
		return Entry{}, err
	}
	return f.entry, f.err(info)
}

// ReadFile implements [FileSource].
func (c *BinaryCache) ReadFile(ctx context.Context, info *Info, name string, limit int64) ([]byte, error) {
	f := finder{name: name, limit: limit}
	if err := c.look(ctx, info, &f); err != nil {
		return nil, err
	}
	return f.result(info)
}

// Fetched returns the number of bytes that a download of paths transfers, which is
// the size of the compressed NARs. It leaves out paths whose size it does not know.
func (c *BinaryCache) Fetched(paths []StorePath) (total int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range paths {
		if n := c.infos[p]; n != nil {
			total += n.FileSize
		}
	}
	return total
}
