// Package retry waits between attempts. [Backoff] says how long to wait. [Sleep]
// waits, and stops when the context ends.
package retry
