package limit

import "time"

// Speed is the least speed of one transfer. Only the time in which somebody
// waits for the peer counts: who reads slowly is no reason to blame the peer.
// The zero value takes any speed, but no silence of more than [LeastSpeedIn].
type Speed struct {
	Least int64 // bytes in a second; ≤0: any

	waited time.Duration // in this window
	moved  int64         // bytes in this window
}

// Patience says how long the next wait for the peer may last.
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

// Moved says what came of a wait.
func (s *Speed) Moved(bytes int, after time.Duration) {
	s.moved += int64(bytes)
	s.waited += after
}
