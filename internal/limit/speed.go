package limit

import "time"

// Speed checks the speed of one transfer. It measures only the time spent waiting for the
// peer, because a slow reader on this side is not the peer's fault. The zero value accepts
// any speed, but no pause longer than [LeastSpeedIn].
type Speed struct {
	Least int64 // bytes per second; zero or less accepts any speed

	waited time.Duration // time spent waiting in the current window of time
	moved  int64         // bytes moved in the current window of time
}

// Patience returns the longest time that the next wait for the peer may take.
func (s *Speed) Patience() time.Duration {
	if s.moved >= s.Enough() {
		s.waited, s.moved = 0, 0
	}
	return LeastSpeedIn - s.waited
}

// Enough returns the number of bytes that a transfer with the least speed moves in
// [LeastSpeedIn]. The result is at least 1.
func (s *Speed) Enough() int64 {
	return max(1, s.Least*int64(LeastSpeedIn/time.Second))
}

// Moved records a wait: after is its length, and bytes is the number of bytes that arrived in
// this time.
func (s *Speed) Moved(bytes int, after time.Duration) {
	s.moved += int64(bytes)
	s.waited += after
}
