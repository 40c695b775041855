package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// release makes a directory from which Nix can import packages. packages.nix and
// packages.json describe the packages in opts.names, from opts.release, and everything that
// they need. aliases.json maps each Debian package to its derivation.
func release(ctx context.Context, opts options) error {
	a, err := newApt(ctx, opts.root, opts.debs, opts.release, "amd64")
	if err != nil {
		return err
	}
	debs, err := a.install(ctx, opts.names)
	if err != nil {
		return err
	}
	pkgs, err := derivations(opts.debs, debs, opts.names)
	if err != nil {
		return err
	}
	aliases := map[string]string{}
	for _, p := range pkgs {
		for _, name := range p.aliases {
			aliases[name] = p.Key
		}
	}
	if err := os.CopyFS(opts.out, subtree(expressions, "nix")); err != nil && !os.IsExist(err) {
		return fmt.Errorf("write expressions: %w", err)
	}
	if err := writeJSON(filepath.Join(opts.out, "aliases.json"), aliases); err != nil {
		return err
	}
	return writeJSON(filepath.Join(opts.out, "packages.json"), pkgs)
}
