// Package registrytest is a registry in memory for tests, and everything that a
// registry can do wrong.
//
// [Registry] is strict: it takes nothing that the distribution specification does
// not allow. [Tokens] puts a token server before it. [Faults] puts faults before
// both, by a script or by a seed: it drops, stalls, lies, truncates, corrupts,
// redirects, forgets and expires. [Serve] serves it to clients in a bubble of
// testing/synctest, where a minute of silence costs no time. e2e/badregistry is
// the same as a program.
package registrytest

import (
	"io"
	"log"
)

var discardLog = log.New(io.Discard, "", 0)
