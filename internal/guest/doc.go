//go:build linux

// Package guest is what runs inside the container: PID 1 for a moment, then the
// unit that applies a configuration, and the health check.
//
// [Boot] is PID 1. It gives the container a console if it has none, and mounts what
// systemd needs if the container may mount. If it may not, Boot says which flags to
// add for the engine at hand. Then Boot becomes the system's own init. One child
// stays: it copies the console to the container's standard output, see
// [CopyConsole].
//
// [Applier] builds /config/configuration.nix or /config/flake.nix against the
// nixpkgs that is pinned in the image, and switches to the result. [Health] answers
// the image's health check.
//
// The package uses the standard library alone, and no language feature newer than
// Go 1.22. So the Go of every supported nixpkgs builds it without a download.
package guest
