// Package systems turns the CLOSURE arguments of the command line into the systems of an image.
//
// Each step takes the result of the step before:
//
//	[Resolver.Resolve]  builds what the arguments name, and reads the closures     (resolve.go)
//	[Reader.Contents]   joins the applications of each platform                    (content.go)
//	[Reader.Systems]    reads from the files what each platform's image starts     (systems.go)
//	[Reader.Finish]     adds the init program, or the base image                   (systems.go)
//
// A command that makes no image uses [Resolver.ResolveGraphs] and [Reader.Look] instead. They need
// only the graph of a closure.
//
// The files of a store path never change. So Reader looks in the cache of this machine, and in
// images with a trusted signature, before it opens a store file.
package systems
