// Package nixoci carries the flake that nixoci ships: the container module, the
// base system, and the source of nixoci-init that they build.
package nixoci

import "embed"

// Flake is the flake in nix/ with the Go source it refers to, in the layout of
// the repository. Tests are among it; nothing builds them.
//
//go:embed nix/*.nix nix/flake.lock cmd/nixoci-init/*.go internal/guest/*.go
var Flake embed.FS
