package closure

import (
	"bytes"
	"context"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/nixoci/nixoci/internal/task"
)

// prefetcher is a Source that can download trees in advance.
type prefetcher interface {
	prefetch(ctx context.Context, infos []Info) (stop func())
}

// Prefetch announces that the caller will soon walk the trees of infos, in this
// order. A binary cache downloads the small trees in advance. So a layer of 300 small
// paths does not wait for 300 round trips. For other sources, Prefetch does nothing.
// The caller must call stop, which ends the downloads and frees their memory.
func Prefetch(ctx context.Context, src Source, infos []Info) (stop func()) {
	if p, ok := src.(prefetcher); ok {
		return p.prefetch(ctx, infos)
	}
	return func() {}
}

const (
	maxAheadNAR = 1 << 20  // maximum bytes of a compressed NAR that is downloaded in advance
	maxAheadAll = 16 << 20 // maximum bytes that one BinaryCache holds in advance
	maxAhead    = 16       // maximum number of parallel requests in advance
)

// ahead holds the compressed NARs that are downloaded before a walk needs them.
type ahead struct {
	mu     sync.Mutex
	nars   map[StorePath]*aheadNAR
	memory *semaphore.Weighted
	slots  *semaphore.Weighted
}

func newAhead() *ahead {
	return &ahead{
		nars:   map[StorePath]*aheadNAR{},
		memory: semaphore.NewWeighted(maxAheadAll),
		slots:  semaphore.NewWeighted(maxAhead),
	}
}

type aheadNAR struct {
	size int64 // bytes of memory that are reserved from begin until release
	done chan struct{}
	data []byte // valid after done is closed; nil if the download failed
}

// prefetch implements prefetcher.
func (c *BinaryCache) prefetch(ctx context.Context, infos []Info) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	mine := c.ahead.promise(c.fetchable(infos))
	var wg sync.WaitGroup
	wg.Go(func() {
		defer task.Guard()
		for _, m := range mine {
			wanted, err := c.ahead.begin(ctx, m)
			if err != nil {
				return
			}
			if !wanted {
				continue
			}
			wg.Go(func() {
				defer task.Guard()
				m.nar.data = c.fetchAhead(ctx, m.of)
				close(m.nar.done)
				c.ahead.slots.Release(1)
			})
		}
	})
	return func() {
		cancel()
		wg.Wait()
		c.ahead.forget(mine)
	}
}

// fetchable returns the narinfos for infos, if the cache has already read them. It
// leaves out narinfos whose NAR is too large to download in advance.
func (c *BinaryCache) fetchable(infos []Info) (all []*cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range infos {
		if n := c.infos[infos[i].Path]; n != nil && n.FileSize > 0 && n.FileSize <= maxAheadNAR {
			all = append(all, n)
		}
	}
	return all
}

// promised describes a NAR that one call of prefetch will download.
type promised struct {
	of  *cached
	nar *aheadNAR
}

// promise adds an empty entry to a.nars for each NAR that has none, and returns the new
// entries. If a walk needs a NAR before the download has started, the walk removes the
// NAR's entry.
func (a *ahead) promise(all []*cached) (mine []promised) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range all {
		if a.nars[n.Path] != nil {
			continue
		}
		p := &aheadNAR{size: n.FileSize}
		a.nars[n.Path] = p
		mine = append(mine, promised{n, p})
	}
	return mine
}

// begin waits for memory and a slot. It reports whether a walk will still need the
// NAR. If not, begin frees the memory and the slot.
func (a *ahead) begin(ctx context.Context, m promised) (wanted bool, err error) {
	if err := a.memory.Acquire(ctx, m.nar.size); err != nil {
		return false, err
	}
	if err := a.slots.Acquire(ctx, 1); err != nil {
		a.memory.Release(m.nar.size)
		return false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.nars[m.of.Path] != m.nar {
		a.slots.Release(1)
		a.memory.Release(m.nar.size)
		return false, nil
	}
	m.nar.done = make(chan struct{})
	return true, nil
}

// forget removes those of the promised NARs that no walk has used, and frees their
// memory.
func (a *ahead) forget(mine []promised) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range mine {
		if a.nars[m.of.Path] != m.nar {
			continue
		}
		delete(a.nars, m.of.Path)
		if m.nar.done != nil {
			a.memory.Release(m.nar.size)
		}
	}
}

// fetchAhead downloads a whole compressed NAR. After an error it returns nil. In this
// case the walk downloads the NAR itself. If this fails, too, the walk reports the
// error.
func (c *BinaryCache) fetchAhead(ctx context.Context, n *cached) []byte {
	b, err := c.fetch.open(ctx, n.URL)
	if err != nil {
		return nil
	}
	defer b.Close()
	data := make([]byte, n.FileSize)
	if _, err := io.ReadFull(b, data); err != nil {
		return nil
	}
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		return nil
	}
	return data
}

// take returns the NAR of path if its download was started, and waits for the
// download. The caller must call release to free the memory.
func (a *ahead) take(ctx context.Context, path StorePath) (r io.Reader, release func(), ok bool) {
	a.mu.Lock()
	p := a.nars[path]
	delete(a.nars, path)
	started := p != nil && p.done != nil
	a.mu.Unlock()
	if !started {
		return nil, nil, false
	}
	release = func() { a.memory.Release(p.size) }
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	if ctx.Err() != nil || p.data == nil {
		release()
		return nil, nil, false
	}
	return bytes.NewReader(p.data), release, true
}

// prefetch implements prefetcher. It calls Prefetch for each source with the paths
// that come from this source, in order.
func (m *MultiSource) prefetch(ctx context.Context, infos []Info) (stop func()) {
	parts := map[finderSource][]Info{}
	for i := range infos {
		if s, err := m.of(infos[i].Path); err == nil {
			parts[s] = append(parts[s], infos[i])
		}
	}
	var stops []func()
	for s, part := range parts {
		stops = append(stops, Prefetch(ctx, s, part))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}
