package main

import (
	"os"
	"path/filepath"

	"github.com/nixoci/nixoci"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/nixbuild"
)

// openNix returns the Nix that builds and evaluates. It uses the store that --from names.
func (a *app) openNix(f *closureFlags) (*nixbuild.Nix, error) {
	root, err := filepath.Abs(closure.LocalRoot(a.from))
	if err != nil {
		return nil, err
	}
	if a.nix == nil {
		a.nix = &nixbuild.Nix{Flake: nixoci.Flake, Store: root, Nixpkgs: nixpkgs(f.nixpkgs), Answers: a.stdin, Verbose: a.verbose, Sources: f.sources}
		if !a.quiet {
			a.nix.Progress = a.stderr.Raw() // Nix itself draws its progress
		}
	}
	return a.nix, nil
}

// nixpkgs returns the value of --nixpkgs as a flake reference. If arg names an existing
// directory, it returns that directory.
func nixpkgs(arg string) string {
	if arg == "" || filepath.IsAbs(arg) {
		return arg
	}
	if st, err := os.Stat(arg); err == nil && st.IsDir() {
		if abs, err := filepath.Abs(arg); err == nil {
			return abs
		}
	}
	return arg
}
