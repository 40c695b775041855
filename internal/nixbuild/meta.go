package nixbuild

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/limit"
)

// Meta holds the values of a package's attribute meta in nixpkgs, and the names of the
// package's patches.
type Meta struct {
	Name        string       `json:"name"`
	Description string       `json:"description"`
	Homepages   []string     `json:"homepages"`
	Licenses    []License    `json:"licenses"`
	Maintainers []Maintainer `json:"maintainers"`
	CPE         string       `json:"cpe"`
	Patches     []string     `json:"patches"` // file names

	// Foreign is true if the package is known to be defined outside nixpkgs. Otherwise,
	// Commit is the git revision of nixpkgs, or "" if it is unknown.
	Foreign bool   `json:"foreign,omitempty"`
	Commit  string `json:"commit,omitempty"`
}

// PackageMeta contains the metadata of packages in nixpkgs, by store path.
type PackageMeta map[closure.StorePath]*Meta

// License describes a licence of a package. Each text may be "".
type License struct {
	SPDX     string `json:"spdxId"`
	FullName string `json:"fullName"`
	URL      string `json:"url"`
}

// Maintainer describes a person who maintains a package in nixpkgs.
type Maintainer struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

// maxNames limits the names of packages in one argument of nix. Linux accepts
// arguments of at most 128 KiB.
const maxNames = 100_000 // bytes

// Meta evaluates each of arguments, and returns what nixpkgs states about the packages of c. If
// several arguments have metadata of a store path, Meta returns that of the first. system is the
// Nix system of c, or "" if it is unknown. Meta ignores arguments for another system.
func (n *Nix) Meta(ctx context.Context, arguments []Argument, c *closure.Closure, system string) (PackageMeta, error) {
	var names []string
	for i := range c.Paths {
		name, _ := closure.SplitName(c.Paths[i].Path.Name())
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	all := PackageMeta{}
	for _, a := range arguments {
		if a.System != "" && system != "" && a.System != system {
			continue
		}
		found, err := n.evalMeta(ctx, a, names, cmp.Or(system, a.System))
		if err != nil {
			return nil, err
		}
		for i := range c.Paths {
			if p := c.Paths[i].Path; all[p] == nil && found[p] != nil {
				all[p] = found[p]
			}
		}
	}
	return all, nil
}

// evalMeta evaluates a, and returns for each store path what nixpkgs states about its
// package. It builds nothing. names lists the names of the packages to look for,
// because Nix cannot derive a package's attribute from a store path. system is the
// system for which evalMeta evaluates a. If system is "", evalMeta evaluates a
// configuration for the system that it declares, and a file for the system of the
// base system.
func (n *Nix) evalMeta(ctx context.Context, a Argument, names []string, system string) (PackageMeta, error) {
	if err := n.prepare(); err != nil {
		return nil, err
	}
	args := []string{"--extra-experimental-features", "nix-command flakes", "eval", "--json"}
	own, modules := shippedArgs(a)
	args = append(args, own...)
	installable := n.flake + "#" + baseAttribute
	if a.Flake != "" {
		var named bool
		installable, named = installableOf(a.Flake)
		if _, is := n.isConfiguration(ctx, installable); named && !is {
			installable = packageOf(a.Flake)
			if system != "" {
				args = append(args, "--option", "system", system)
			}
		}
		installable = configurationOf(installable)
	}
	args = append(args, n.overrides()...)
	var quoted []string
	size := 0
	for _, name := range names {
		q := nixString(name)
		if size += len(q) + 1; size > maxNames {
			break
		}
		quoted = append(quoted, q)
	}
	args = append(args, "--apply", fmt.Sprintf("import (%s + \"/nix/meta.nix\") { names = [ %s ]; modules = [ %s ]; system = %s; }",
		n.shipped, strings.Join(quoted, " "), modules, orNull(system)))
	args = append(args, n.storeArgs()...)
	out, err := n.run(ctx, "nix", append(args, "--", installable))
	if err != nil {
		return nil, fmt.Errorf("evaluate meta: %w", err)
	}
	all, err := parseMeta(out)
	if err != nil {
		return nil, fmt.Errorf("evaluate meta: %w", err)
	}
	return all, nil
}

func orNull(system string) string {
	if system == "" {
		return "null"
	}
	return nixString(system)
}

var toplevelSuffix = regexp.MustCompile(`(#nixosConfigurations\..*)\.config\.system\.build\.toplevel$`)

// configurationOf replaces the toplevel of a configuration by the configuration,
// because nix/meta.nix cannot find the packages of a toplevel.
func configurationOf(installable string) string {
	return toplevelSuffix.ReplaceAllString(installable, "$1")
}

// parseMeta reads the result of nix/meta.nix. The author of the flake can put
// anything into this result.
func parseMeta(data []byte) (PackageMeta, error) {
	if len(data) > limit.FlakeMeta {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", len(data), limit.FlakeMeta)
	}
	var all []struct {
		Meta
		Paths []string `json:"paths"`
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("read what nix eval prints: %w", err)
	}
	byPath := PackageMeta{}
	for i := range all {
		m := &all[i].Meta
		for _, p := range all[i].Paths {
			path, err := closure.ParseStorePath(p)
			if err != nil {
				return nil, fmt.Errorf("read what nix eval prints: %w", err)
			}
			// A path may belong to several packages. For example, a wrapper may change
			// only meta. Use the package with the most licences, and among equals the
			// first one.
			if old := byPath[path]; old == nil || len(m.Licenses) > len(old.Licenses) {
				byPath[path] = m
			}
		}
	}
	return byPath, nil
}

var cveName = regexp.MustCompile(`(?i)cve[-_]([0-9]{4})[-_]([0-9]{4,19})`)

// Fixes returns the CVEs that occur in the names of the package's patches, sorted.
// For each CVE it returns the first such patch.
func (m *Meta) Fixes() (all []Fix) {
	for _, patch := range m.Patches {
		for _, match := range cveName.FindAllStringSubmatch(patch, -1) {
			f := Fix{CVE: "CVE-" + match[1] + "-" + match[2], Patch: patch}
			if !slices.ContainsFunc(all, func(o Fix) bool { return o.CVE == f.CVE }) {
				all = append(all, f)
			}
		}
	}
	slices.SortFunc(all, func(a, b Fix) int { return strings.Compare(a.CVE, b.CVE) })
	return all
}

// Fix holds a CVE and the patch whose name contains the CVE.
type Fix struct{ CVE, Patch string }
