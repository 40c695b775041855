package oci

import (
	"cmp"
	"strconv"
)

// CompareTags compares tags as version numbers, so 1.9 comes before 1.10. It compares runs of
// digits as numbers, and other text as bytes.
func CompareTags(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		var dx, dy string
		dx, x = cutRun(x)
		dy, y = cutRun(y)
		m, errM := strconv.ParseUint(dx, 10, 64)
		n, errN := strconv.ParseUint(dy, 10, 64)
		c := cmp.Compare(dx, dy)
		if errM == nil && errN == nil {
			c = cmp.Compare(m, n)
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(x, y), cmp.Compare(a, b))
}

// cutRun cuts the first run from s: the longest prefix with only digits or without digits.
func cutRun(s string) (run, rest string) {
	isDigit := func(c byte) bool { return '0' <= c && c <= '9' }
	i := 1
	for i < len(s) && isDigit(s[i]) == isDigit(s[0]) {
		i++
	}
	return s[:i], s[i:]
}
