// Package nixbuild turns a command-line argument into a store path.
//
// [Resolve] reads the argument. It asks neither a store nor Nix. The argument
// names a store path, a graph file, or something to build: a flake output or a
// NixOS configuration. [Nix.Build] builds these, and the base system that nixoci
// ships, with the nix on the PATH. It shortens errors of Nix to the sentence that
// names the fault.
package nixbuild
