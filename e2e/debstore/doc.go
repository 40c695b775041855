// Debstore makes real Nix stores, with NixOS-shaped systems in them, out of
// Debian packages: for tests that need what only Nix itself can make, on
// machines that have a Debian mirror but no Nix cache.
//
// Every package becomes one derivation that unpacks its .deb, points ELF
// interpreters and RUNPATHs at the store, and writes its dependencies into
// nix-support/propagated-build-inputs. Packages that depend on each other in a
// circle become one derivation together, because references in a Nix store
// form no cycle. Nix (Debian's nix-bin) builds them, scans them for
// references, and keeps the database, so everything in such a store is as real
// as in any other: only the compiler was Debian's.
//
//	debstore sample -root DIR -debs DIR -out DIR   what testdata/ holds
//	debstore large  -root DIR -debs DIR -out DIR   what e2e/ and bench/ use
//	debstore guest  -root DIR … [SYSTEM...]        bootable systems for e2e/, most of them nix/'s base
//	debstore release -release sid … PACKAGE...     packages alone, for e2e/nixpkgs
//
// It needs root (a private mount namespace puts -root at /nix), apt, nix-bin and
// patchelf, and leaves the host's dpkg state alone: foreign architectures
// and suites are read by an apt that has its own directories.
package main
