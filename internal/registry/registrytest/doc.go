// Package registrytest has a registry in memory for tests. It can also simulate the faults of real
// registries.
//
// [Registry] is strict: it refuses requests that the distribution specification does not allow.
// [Tokens] puts a token server in front of the registry. [Faults] puts faults in front of both. The
// faults come from a script or a seed. Examples are dropped and stalled connections, false and
// truncated answers, changed bytes, redirects, lost sessions and expired tokens. [Serve] serves a
// registry to clients in a bubble of testing/synctest, where a minute of silence takes no time. The
// program e2e/badregistry serves the same registry and faults over the network.
package registrytest

import (
	"io"
	"log"
)

var discardLog = log.New(io.Discard, "", 0)
