package report

import (
	"cmp"
	"slices"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/human"
	"github.com/nixoci/nixoci/internal/terminal"
)

// FormatTable is a table for people. It cannot be attached to an image.
const FormatTable = "table"

// WriteSBOMTable writes the packages of c as a table, sorted by name. The table has the same
// entries as a document.
func WriteSBOMTable(p *terminal.Printer, c *closure.Closure, o SBOMOptions) error {
	var rows [][]string
	for i := range c.Paths {
		info := &c.Paths[i]
		pkg := PackageOf(info.Path)
		rows = append(rows, []string{pkg.Name, pkg.Version, pkg.Output, human.Bytes(info.NarSize), string(info.Path), licenseNames(o.meta(info.Path))})
	}
	slices.SortFunc(rows, func(a, b []string) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), compareVersions(a[1], b[1]), cmp.Compare(a[2], b[2]), cmp.Compare(a[4], b[4]))
	})
	if o.Init != "" {
		url, program := initPackage(o)
		rows = append(rows, []string{initName, program.Version, "", "", url})
		if program.Go != "" {
			version, url := goLibrary(program)
			rows = append(rows, []string{"stdlib", version, "", "", url})
		}
	}
	if o.Base != nil {
		name, url := basePackage(o.Base)
		rows = append(rows, []string{name, o.Base.Digest.String(), "", "", url})
	}
	head := []string{"NAME", "VERSION", "OUTPUT", "SIZE", "STORE PATH", "LICENCE"}
	if o.Meta == nil {
		head = head[:5]
		for i := range rows {
			rows[i] = rows[i][:5]
		}
	}
	p.Table("", append([][]string{head}, rows...))
	return p.Err()
}
