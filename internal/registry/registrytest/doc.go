// Package registrytest is a registry in memory for tests, and simulates
// everything that can go wrong with a registry.
//
// [Registry] is strict: it refuses requests that the distribution specification
// does not allow. [Tokens] puts a token server before it. [Faults] puts faults
// before both, from a script or a seed: dropped and stalled connections, false
// and truncated answers, changed bytes, redirects, lost sessions and expired
// tokens. [Serve] serves a registry to clients in a bubble of testing/synctest,
// where a minute of silence takes no time. e2e/badregistry is a program that
// serves the same.
package registrytest

import (
	"io"
	"log"
)

var discardLog = log.New(io.Discard, "", 0)
