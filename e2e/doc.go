// Package e2e tests nixoci with the tools of its users: Debian's registry, Docker, podman,
// skopeo, umoci, crane and Nix. The largest closures have 490 store paths and 1.4 GB for each
// of two platforms.
//
// The tests need root and a Debian machine. They have the build tag e2e. run.sh installs the
// tools, makes the closures (see debstore) and runs the tests in a separate mount namespace.
// If a tool is missing, the tests fail; they are never skipped.
package e2e
