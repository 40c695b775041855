package layers

import (
	"slices"
	"sync"
	"sync/atomic"
)

// turns hands out a limited number of places to the layers that are being packed. A place
// that becomes free goes to the layer with the most bytes left. Otherwise a large layer
// would be alone at the end, and leave most processors idle, because its hashes are
// serial. Each fourth place goes to the layer that has waited longest, so that every
// layer moves.
type turns struct {
	mu      sync.Mutex
	places  int // that are free
	waiting []*waiter
	passed  int       // places that were handed to a waiter
	spare   []*waiter // for reuse
}

// patience is how many places are handed out for each one that goes to the layer that has
// waited longest.
const patience = 4

// waiter is one layer's wait for one place.
type waiter struct {
	left    *atomic.Int64 // bytes of the layer that are not in blocks yet
	granted chan struct{} // gets a token when the waiter has its place
}

// take waits for a place.
func (q *turns) take(left *atomic.Int64) {
	if w := q.join(left); w != nil {
		<-w.granted
		q.forget(w)
	}
}

// join takes a place if one is free, and returns nil. If not, the caller must wait for
// w.granted and then call forget, or call leave to end waiting.
func (q *turns) join(left *atomic.Int64) (w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.places > 0 {
		q.places--
		return nil
	}
	if n := len(q.spare); n > 0 {
		w, q.spare = q.spare[n-1], q.spare[:n-1]
	} else {
		w = &waiter{granted: make(chan struct{}, 1)}
	}
	w.left = left
	q.waiting = append(q.waiting, w)
	return w
}

// forget keeps w for reuse.
func (q *turns) forget(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.spare = append(q.spare, w)
}

// leave ends waiting. If w has got its place meanwhile, leave gives it back.
func (q *turns) leave(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, w); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	} else {
		<-w.granted
		q.pass()
	}
	q.spare = append(q.spare, w)
}

// release gives a place back.
func (q *turns) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pass()
}

// pass hands a place to a waiter, or keeps it.
func (q *turns) pass() {
	if len(q.waiting) == 0 {
		q.places++
		return
	}
	next := 0
	if q.passed++; q.passed%patience != 0 {
		for i, w := range q.waiting {
			if w.left.Load() > q.waiting[next].left.Load() {
				next = i
			}
		}
	}
	w := q.waiting[next]
	q.waiting = slices.Delete(q.waiting, next, next+1)
	w.granted <- struct{}{}
}
