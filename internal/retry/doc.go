// Package retry is the only place that decides when a failed request is sent again. A client of a
// registry or a binary cache passes an operation to [Schedule.Do]. For a transfer that can continue
// where it broke, the client uses a [Breaks].
//
// [MayPass] decides from the error whether another attempt may help. If a client has more
// information, it marks its error with [Never], [Again] or [AtOnce].
package retry
