package registry

import (
	"golang.org/x/sync/semaphore"

	"github.com/nixoci/nixoci/internal/oci"
)

const (
	// defaultRequests bounds small requests in flight: 100 HEADs are then four
	// round trips.
	defaultRequests = 32

	// sessionsAhead is how many more layers may wait for the registry (an upload
	// session to be opened, a blob to be committed) while others are sent, so
	// that a round trip costs no time: 100 layers of three round trips each are
	// seven times three.
	sessionsAhead = 12
)

// limits bounds a whole push, whatever number of platforms it has.
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
