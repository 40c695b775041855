//go:build linux

// Package guest is what runs inside the container: for a moment PID 1, later
// the unit that applies a configuration, and the health check.
//
// [Boot] is PID 1. It gives the container a console when it has none, mounts
// what systemd needs where the capabilities allow it, explains what to add to
// the command line where they do not, and becomes the system's own init. What
// stays behind is one child that copies the console to the container's
// standard output, see [CopyConsole].
//
// [Applier] builds /config/configuration.nix or /config/flake.nix against the
// nixpkgs pinned in the image and switches to it. [Health] answers the image's
// health check.
//
// The package uses the standard library alone and no language feature younger
// than Go 1.22, so that the Go of every supported nixpkgs builds it without
// fetching a module.
package guest
