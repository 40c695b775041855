// Package nixbuild turns an argument of the command line into a store path.
//
// [Resolve] reads the argument, and asks neither a store nor Nix: it is a store
// path, a graph file, or something that [Nix.Build] builds with the nix on the
// PATH: a flake output, a NixOS configuration, or the base system. An error of
// Nix is shortened to the sentence that says what is wrong.
package nixbuild
