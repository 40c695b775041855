// Package closure knows what a NixOS system is made of: which store paths are
// in its closure, and the file tree of each.
//
// # Which function to reach for
//
// [nixbuild.Resolve] turns an argument of the command line into a store path or a graph
// file, or into something that [nixbuild.Nix.Build] makes a store path of: a flake output,
// a NixOS configuration, the base system. [Open] makes the [Source] that --from names:
//
//   - [LocalStore]: the Nix database tells the graph, the file system has the
//     trees. No Nix is needed, and nothing is written.
//   - [Cache]: a binary cache behind http, https or a file URL. Narinfo files
//     tell the graph; a tree is a NAR that is streamed, never unpacked to disk.
//   - [GraphFile], by [OpenGraph]: JSON that Nix wrote tells the graph. With no
//     store at hand it can be planned with, but not packed.
//   - [MultiSource]: several of them, asked in order for each path.
//
// Source.Closure returns the graph as a [Closure], whose order does not depend on
// the source. It reads no file of the store and no NAR. [Walk] visits a tree,
// [Lookup] and [ReadFile] look at one entry of it:
//
//	src, err := closure.Open(from, closure.CacheOptions{})
//	c, err := src.Closure(ctx, []closure.StorePath{toplevel})
//	for i := range c.Paths {
//		err := closure.Walk(ctx, src, &c.Paths[i], visitor)
//	}
//
// # The NAR is the only shape
//
// A tree arrives as calls of a [nar.Visitor]: directories, files with an executable
// bit, symlinks; names sorted bytewise. There is no owner, mode, time, hard link
// or directory order to be had, so none can leak into an image.
//
// Walk makes the NAR's framing from those calls, and hashes it together with the
// contents in the buffer that the visitor reads them into. So the check of the
// narHash is one mechanism for all sources: it costs one sha256, no copy, and
// no goroutine. A visitor must hold back its result until Walk returns nil: the
// hash is known only at the end. What is impossible in a NAR (a name ".." or
// with a slash, names out of order or twice) ends the walk before the visitor
// sees it.
//
// # Trust
//
// The local database and a graph file are believed. A narinfo is believed when a
// key of [TrustedKeys] has signed it, or when the path is named after its
// contents and has them. CacheOptions.NoSignatures believes every narinfo; the
// narHash is checked all the same. Sizes are bounded everywhere: a NAR ends with an
// error as soon as more comes out of the decompressor than NarSize.
//
// # What it lacks
//
// It evaluates and builds nothing itself: Nix runs the nix on the PATH, and all else
// works without one. It writes to no store, and knows no other store directory
// than /nix/store.
package closure
