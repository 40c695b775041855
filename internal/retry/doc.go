// Package retry has the waiting between attempts: [Backoff] says how long, and
// [Sleep] waits no longer than the context lives.
package retry
