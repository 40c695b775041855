package limit

import "time"

// Speed checks the speed of one transfer. Only the time spent waiting for the peer
// counts, because the peer is not to blame for a slow reader. The zero value
// accepts any speed, but no silence longer than [LeastSpeedIn].
type Speed struct {
	Least int64 // bytes per second; zero or less accepts any speed

	waited time.Duration // time spent waiting in this window
	moved  int64         // bytes moved in this window
}

// Patience returns how long the next wait for the peer may last.
func (s *Speed) Patience() time.Duration {
	if s.moved >= s.Enough() {
		s.waited, s.moved = 0, 0
	}
	return LeastSpeedIn - s.waited
}

// Enough returns how many bytes a transfer of the least speed moves in
// [LeastSpeedIn], at least 1.
func (s *Speed) Enough() int64 {
	return max(1, s.Least*int64(LeastSpeedIn/time.Second))
}

// Moved records a wait and the bytes that it brought.
func (s *Speed) Moved(bytes int, after time.Duration) {
	s.moved += int64(bytes)
	s.waited += after
}
