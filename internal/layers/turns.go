package layers

import (
	"slices"
	"sync"
	"sync/atomic"
)

// turns distributes a limited number of places among the layers that are being packed. A
// place that becomes free goes to the layer with the most bytes left. Otherwise a large layer
// would run alone at the end. Most processors would then be idle, because a layer's hashes
// are serial. Every fourth place goes to the layer that has waited longest, so that every
// layer makes progress.
type turns struct {
	mu      sync.Mutex
	places  int // number of free places
	waiting []*waiter
	passed  int       // number of places that waiters received
	spare   []*waiter // for reuse
}

// patience decides how often the waiting time counts: one of this many places goes to the
// layer that has waited longest.
const patience = 4

// waiter is a layer that waits for one place.
type waiter struct {
	left    *atomic.Int64 // bytes of the layer that are not in blocks yet
	granted chan struct{} // receives a token when the waiter gets its place
}

// take waits for a place.
func (q *turns) take(left *atomic.Int64) {
	if w := q.join(left); w != nil {
		<-w.granted
		q.forget(w)
	}
}

// join takes a place if one is free, and returns nil. Otherwise it returns a waiter w. The
// caller must wait for w.granted and then call forget. To stop waiting, the caller calls
// leave.
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

// leave stops waiting. If w has got a place in the meantime, leave releases it.
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

// release returns a place.
func (q *turns) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pass()
}

// pass gives a place to a waiter. If no layer waits, the place becomes free.
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
