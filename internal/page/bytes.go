package page

import "github.com/dustin/go-humanize"

// Bytes is n in units of 1000, as registries and disks count.
func Bytes(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }
