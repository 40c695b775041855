package main

import (
	"errors"
	"fmt"
	"strings"
)

// The table of the README is between these two lines.
const (
	tableBegin = "<!-- make bench writes this table -->\n"
	tableEnd   = "<!-- end of the table -->\n"
)

// renewTable replaces the text between the two lines of the README with a new table of the
// results.
func (r *results) renewTable(text string) (string, error) {
	before, rest, found := strings.Cut(text, tableBegin)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !found || !ended {
		return "", errors.New("it has no table between the lines " + strings.TrimSpace(tableBegin) + " and " + strings.TrimSpace(tableEnd))
	}
	return before + tableBegin + r.readmeTable() + tableEnd + after, nil
}

// readmeTable returns a table with a row for each tool. Its columns are cases of daily use.
func (r *results) readmeTable() string {
	p := &pageWriter{}
	p.line("| | image | cold | nothing changed, fresh | configuration changed, fresh | 38 %% changed, fresh | the same over 100 Mbit/s | peak memory |")
	p.line("|---|--:|--:|--:|--:|--:|--:|--:|")
	for _, row := range []struct{ name, prefix, cold, slow string }{
		{"nixoci", "store gzip ", "store gzip cold", slowLinkName},
		{"nixoci `--compression zstd`", "store zstd ", "store zstd cold", ""},
		{"nix2container", "peer: nix2container ", "peer: nix2container cold", slowLinkName + "nix2container "},
		{"skopeo, from a finished OCI archive", "", "peer: skopeo copy of an OCI archive, uncompressed layers", ""},
		{"crane append, from a finished tar", "", "peer: crane append of one tar", ""},
	} {
		cold := r.Cases[row.cold]
		if cold == nil || len(cold.Runs) == 0 {
			continue
		}
		cells := []string{row.name, fmt.Sprintf("%.0f MB", float64(cold.Image)/1e6), seconds(cold)}
		for _, what := range []string{"unchanged", "configuration", "update"} {
			cells = append(cells, sentIn(r.Cases[row.prefix+what+", fresh machine"], what != "unchanged"))
		}
		slow := ""
		if row.slow != "" {
			slow = seconds(r.Cases[row.slow+"update, fresh machine"])
		}
		p.line("| %s | %s | %.0f MB |", strings.Join(cells, " | "), slow, cold.median(peak)/1e6)
	}
	return p.String()
}

// seconds returns the median time of o, or "" if o did not run.
func seconds(o *outcome) string {
	if o == nil || len(o.Runs) == 0 {
		return ""
	}
	switch s := o.median(wall); {
	case s < 1:
		return fmt.Sprintf("%.2f s", s)
	default:
		return fmt.Sprintf("%.1f s", s)
	}
}

// sentIn returns the time of o. If sent is true, it adds the number of bytes that o sent.
func sentIn(o *outcome, sent bool) string {
	s := seconds(o)
	if s == "" || !sent || o.Counted == nil {
		return s
	}
	return fmt.Sprintf("%s, %.0f MB sent", s, float64(o.Counted.Sent)/1e6)
}
