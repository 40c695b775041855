package registry

import (
	"golang.org/x/sync/semaphore"

	"github.com/nixoci/nixoci/internal/oci"
)

const (
	// defaultRequests is the largest number of small requests in flight. With 32, a hundred HEAD
	// requests take the time of four round trips.
	defaultRequests = 32

	// sessionsAhead is the number of layers that may wait for the registry while others are sent. A
	// layer waits for its upload session to open, or for its commit. With these layers, round trips
	// cost little time: 100 layers with three round trips each wait for about 21 round trips
	// instead of 300.
	sessionsAhead = 12
)

// limits holds the limits of a whole push, for any number of platforms.
type limits struct {
	requests  *semaphore.Weighted
	sessions  *semaphore.Weighted
	transfers *semaphore.Weighted
}

func newLimits(transfers int) *limits {
	transfers = oci.Transfers(transfers)
	return &limits{
		requests:  semaphore.NewWeighted(defaultRequests),
		sessions:  semaphore.NewWeighted(int64(transfers + sessionsAhead)),
		transfers: semaphore.NewWeighted(int64(transfers)),
	}
}
