// Package application finds out what an image of a closure that is no NixOS
// system has to have beside its store paths: the program that starts, the
// platform, and what is linked at the root of the file system.
//
// [Choices] are all that a person decides. [New] makes the rest of them and of
// the closure's files, always the same: so the choices are recorded in the
// image, and whoever verifies the image makes the rest again.
package application
