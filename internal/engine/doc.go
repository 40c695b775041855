// Package engine puts images into the image store of Docker or podman on this machine.
//
// An [Engine] is an [oci.Destination]. docker load accepts only an archive of the whole
// image, even if Docker already stores most of its layers. So the Engine serves the image on
// a loopback address until the engine has pulled it from there. The engine asks only for the
// layers that it lacks. nixoci makes a layer only when the engine asks for it, and writes
// nothing to a file.
//
// An engine on another machine, or in a virtual machine, cannot reach this address. The
// Engine then gives it an archive through its load command.
package engine
