// Package e2e tests nixoci with what its users have: Debian's registry, Docker,
// podman, skopeo, umoci, crane and Nix, on closures of 490 store paths and
// 1.4 GB for each of two platforms.
//
// The tests need root and a Debian machine and are behind the build tag e2e;
// run.sh installs the tools, makes the closures (see debstore) and runs the
// tests in a mount namespace of their own. A tool that is missing is a
// failure, never a skip.
package e2e
