// Package retry is the one place that tries requests to a server again. A client of
// a registry or a binary cache hands an operation to [Policy.Do]. For a transfer
// that can continue where it broke, it keeps a [Breaks].
//
// [MayPass] decides from the error whether another attempt may help. A client that
// knows better marks its error with [Never], [Again] or [AtOnce].
package retry
