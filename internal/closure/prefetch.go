package closure

import (
	"bytes"
	"context"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/nixoci/nixoci/internal/task"
)

// prefetcher is a Source for which a tree begins with a wait for the network.
type prefetcher interface {
	prefetch(ctx context.Context, infos []Info) (stop func())
}

// Prefetch says that the trees of infos will be walked soon, in this order. A
// binary cache then fetches the small ones ahead, so that a layer of 300 small
// paths does not wait for 300 round trips; for other sources it does nothing.
// Stop ends it and gives its memory back; it must be called.
func Prefetch(ctx context.Context, src Source, infos []Info) (stop func()) {
	if p, ok := src.(prefetcher); ok {
		return p.prefetch(ctx, infos)
	}
	return func() {}
}

const (
	maxAheadNAR = 1 << 20  // bytes of a compressed NAR: more is worth a stream of its own
	maxAheadAll = 16 << 20 // bytes of all that a cache holds ahead
	maxAhead    = 16       // requests ahead at a time
)

// ahead are compressed NARs that were fetched before they are asked for.
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
	size int64 // of memory, from before the request until release
	done chan struct{}
	data []byte // valid when done is closed; nil where it did not work
}

// prefetch implements prefetcher.
func (c *Cache) prefetch(ctx context.Context, infos []Info) (stop func()) {
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

// fetchable are those of infos of which a NAR can be fetched ahead. What a walk
// has asked for already is of no use, and a NAR that is kept needs no fetching.
func (c *Cache) fetchable(infos []Info) (all []*cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range infos {
		if n := c.infos[infos[i].Path]; n != nil && n.FileSize > 0 && n.FileSize <= maxAheadNAR {
			all = append(all, n)
		}
	}
	return all
}

// promised is a NAR that one prefetch has promised.
type promised struct {
	of  *cached
	nar *aheadNAR
}

// promise makes entries without a NAR for those of all that no other layer has
// promised. A walk that comes first takes its entry away.
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

// begin waits for memory and a slot, and reports whether the NAR is still wanted.
// It keeps the two only then.
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

// forget takes back what no walk has taken.
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

// fetchAhead returns a whole compressed NAR, or nil: then the walk that needs it
// will fetch it, and say what is wrong.
func (c *Cache) fetchAhead(ctx context.Context, n *cached) []byte {
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

// take returns the NAR of path if it was fetched ahead or is about to be. The
// caller gives its memory back.
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

// prefetch implements prefetcher: each source gets its part, in order.
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
