package layers

import (
	"fmt"
)

// Compression is an algorithm and its level.
type Compression struct {
	Algorithm string // "gzip", "zstd" or "none"
	Level     int    // 0 for none
}

// String is the form that a recipe has, "gzip:5".
func (c Compression) String() string { return fmt.Sprintf("%s:%d", c.Algorithm, c.Level) }
