// Package nixoci carries the flake that nixoci ships: the container module, the
// base system, and the source of nixoci-init that they build.
package nixoci

import "embed"

// Flake is the repository's flake with the files that it refers to, without the
// source of nixoci itself. It also contains test files, which Nix does not build.
//
//go:embed flake.nix flake.lock nix/*.nix cmd/nixoci-init/*.go internal/guest/*.go
var Flake embed.FS
