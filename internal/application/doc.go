// Package application determines the image of a closure that is not a NixOS system.
// Besides the store paths, the image needs a program to start, a platform, and
// links at the root of the file system.
//
// [Choices] contains what the user decides. [New] derives all other values from the
// choices and the files of the closure. The same input always gives the same result.
// So the image records only the choices, and verify derives the other values again.
//
// A [Reader] reads the files of a closure, each store path at most once (reader.go). With it, New
// finds the program (program.go), the platform (platform.go), the links (links.go), the users
// (users.go, based.go) and the user's own files (files.go).
package application
