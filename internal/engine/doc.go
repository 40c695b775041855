// Package engine puts images into the image store of Docker or podman on this machine.
//
// An [Engine] is an [oci.Destination]. docker load takes an archive of the whole image,
// also if Docker has most of its layers. So the Engine serves the image on a loopback
// address until the engine has pulled it from there. The engine asks only for the layers
// that it lacks, and a layer is made only when the engine asks for it. Nothing is written
// to a file.
//
// An engine on another machine, or in a virtual machine, cannot reach the address. It gets
// an archive through its load command.
package engine
