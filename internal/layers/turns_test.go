package layers

import (
	"slices"
	"sync/atomic"
	"testing"
)

// TestTurns checks the order in which waiters get places. The layer with the most bytes left
// comes first. Every fourth time, the layer that has waited longest comes first.
func TestTurns(t *testing.T) {
	q := &turns{places: 1}
	var left [6]atomic.Int64
	if w := q.join(&left[0]); w != nil {
		t.Fatal("a free place was not given")
	}
	var waiters [6]*waiter
	for i, n := range []int64{1, 5, 3, 5, 2, 4} {
		left[i].Store(n)
		waiters[i] = q.join(&left[i])
	}
	q.leave(waiters[5])
	var order []int
	for range 5 {
		q.release()
		for i, w := range waiters[:5] {
			select {
			case <-w.granted:
				order = append(order, i)
			default:
			}
		}
	}
	if want := []int{1, 3, 2, 0, 4}; !slices.Equal(order, want) {
		t.Errorf("places went to %v, want %v", order, want)
	}
	q.release()
	if q.places != 1 || len(q.waiting) != 0 {
		t.Errorf("%d places are free and %d wait at the end", q.places, len(q.waiting))
	}
}

// TestTurnsLeave checks a waiter that gets its place just before it leaves. It must return
// the place.
func TestTurnsLeave(t *testing.T) {
	q := &turns{}
	var left atomic.Int64
	w := q.join(&left)
	q.release()
	q.leave(w)
	if q.places != 1 {
		t.Errorf("%d places are free, want 1", q.places)
	}
	if again := q.join(&left); again != nil {
		t.Error("the place was not given")
	}
	if again := q.join(&left); len(again.granted) != 0 {
		t.Error("a waiter has a place before one is free")
	}
}
