// Package nixbuild turns a command-line argument into a store path.
//
// [Resolve] reads the argument. It asks neither a store nor Nix. The argument
// is a store path, a graph file, or something to build: a flake output, a NixOS
// configuration, or the base system. [Nix.Build] builds these with the nix on
// the PATH. It shortens errors of Nix to the sentence that names the fault.
package nixbuild
