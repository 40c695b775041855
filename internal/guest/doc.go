//go:build linux

// Package guest runs inside the container: first as PID 1, then as the unit that applies
// a configuration, and as the health check.
//
// [Boot] does the work of PID 1. It gives the container a console if it has none, and
// mounts what systemd needs if the container may mount. If it may not, Boot prints which
// flags to add for the engine. Then Boot executes the system's own init. One child
// process keeps running: it copies the console to the container's standard output, see
// [CopyConsole].
//
// [Applier] builds /config/configuration.nix or /config/flake.nix against the nixpkgs
// that is pinned in the image, and switches to the result. [Health] answers the image's
// health check.
//
// The package imports only the standard library, and uses no language feature newer than
// Go 1.22. So the Go of every supported nixpkgs builds it without a download.
package guest
