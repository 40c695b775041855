// Package retry has what every client of the network does after a failure: it
// asks whether another attempt may help ([Status], [Broken]) and waits before it
// ([Backoff], [Sleep]).
//
// How often to try again is for the client to say, since only the client knows
// what an attempt costs: internal/registry and internal/closure have one loop each.
package retry
