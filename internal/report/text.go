package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
)

// deltaText formats n with a plus or minus sign.
func deltaText(n int64) string {
	switch {
	case n < 0:
		return "-" + human.Bytes(-n)
	case n > 0:
		return "+" + human.Bytes(n)
	}
	return "±0 B"
}

// percent formats part as a percentage of whole.
func percent(part, whole int64) string {
	if whole <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

// names lists the names of at most n of the paths.
func names(paths []closure.StorePath, n int) string {
	var all []string
	for _, p := range paths {
		all = append(all, p.Name())
	}
	slices.Sort(all)
	return list(all, n)
}

// list joins the first n elements of all, and counts the others. If n is 0, it joins all.
func list(all []string, n int) string {
	if len(all) > n && n > 0 {
		return strings.Join(all[:n], ", ") + fmt.Sprintf(" and %d more", len(all)-n)
	}
	return strings.Join(all, ", ")
}
