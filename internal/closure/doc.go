// Package closure knows what a NixOS system is made of: the store paths in its
// closure, and the file tree of each path.
//
// # Which function to use
//
// [Open] makes the [Source] that --from names. There are four kinds:
//
//   - [LocalStore] reads the graph from the Nix database, and trees from the file
//     system. It needs no Nix, and writes nothing.
//   - [Cache] is a binary cache: http, https, s3 or file. It reads the graph from
//     narinfo files, and streams NARs. It unpacks nothing to disk.
//   - [GraphFile] (from [OpenGraph]) reads the graph from JSON that Nix wrote. Trees
//     need a store too: without one you can plan a graph file, but not pack it.
//   - [MultiSource] asks several sources, in order, for each path.
//
// Source.Closure returns the graph as a [Closure]. Its order does not depend on the
// source. It reads no file of the store and no NAR. [Walk] visits a tree. [Lookup]
// and [ReadFile] read one entry of it:
//
//	src, err := closure.Open(from, closure.CacheOptions{})
//	c, err := src.Closure(ctx, []closure.StorePath{toplevel})
//	for i := range c.Paths {
//		err := closure.Walk(ctx, src, &c.Paths[i], visitor)
//	}
//
// # A tree is a NAR
//
// A tree arrives as calls of a [nar.Visitor]: directories, files with an executable
// bit, and symlinks, with names sorted bytewise. A NAR has no owner, mode, time,
// hard link or directory order. So none of these can reach an image.
//
// Walk checks the narHash while it visits, in the same way for all sources: it adds
// the NAR's framing to the contents and hashes both. This costs one sha256, no copy
// and no goroutine. The hash is known only at the end. So a visitor must keep its
// result back until Walk returns nil. Walk ends with an error before the visitor
// sees what no NAR can have: a name ".." or with a slash, a name twice, or names
// in the wrong order.
//
// # Trust
//
// The local database and graph files are trusted. A narinfo is trusted if a key in
// [TrustedKeys] has signed it, or if the path is content-addressed and has the right
// contents. With CacheOptions.NoSignatures every narinfo is trusted, and the
// narHash is still checked. Sizes are bounded: reading ends with an error as soon
// as a NAR is longer than its narSize.
//
// # What this package does not do
//
// It does not evaluate or build: package nixbuild does that. It writes to no store,
// and it knows no store directory but /nix/store.
package closure
