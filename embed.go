// Package nixoci carries the flake that nixoci ships: the container module, the
// base system, and the source of nixoci-init that they build.
package nixoci

import "embed"

// Flake is the repository's flake with the files it refers to, but for the source of
// nixoci itself. Tests are among it; nothing builds them.
//
//go:embed flake.nix flake.lock nix/*.nix cmd/nixoci-init/*.go internal/guest/*.go
var Flake embed.FS
