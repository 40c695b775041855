// Debstore makes real Nix stores from Debian packages. The stores contain systems with the
// shape of NixOS. Some tests need files that only Nix can make. With debstore these tests run
// on machines that have a Debian mirror but no Nix cache.
//
// Each package becomes one derivation. The derivation unpacks the .deb, changes ELF
// interpreters and RUNPATHs to paths in the store, and writes the package's dependencies to
// nix-support/propagated-build-inputs. Packages that depend on each other in a circle become
// one derivation, because references in a Nix store cannot form a cycle. Debian's Nix
// (nix-bin) builds the derivations, scans the results for references, and writes the
// database. So these stores differ from other Nix stores in one point only: Debian compiled
// the programs.
//
//	debstore sample -root DIR -debs DIR -out DIR   the files of testdata/
//	debstore small  -root DIR -debs DIR -out DIR   the files of testdata/small/
//	debstore large  -root DIR -debs DIR -out DIR   the systems for e2e/ and bench/
//	debstore guest  -root DIR … [SYSTEM...]        bootable systems for e2e/; most are the base system of nix/
//	debstore release -release sid … PACKAGE...     only packages, for e2e/nixpkgs
//
// Debstore needs root, apt, nix-bin and patchelf. It mounts -root at /nix in a private mount
// namespace. It does not change the dpkg state of the host: it uses an apt with separate
// directories, which reads other architectures and releases.
package main
