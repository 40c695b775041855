// Package closure reads what a NixOS system consists of: the store paths in its
// closure, and the file tree of each path.
//
// # Which function to use
//
// [Open] returns the [Source] for the values of --from. There are four kinds:
//
//   - [LocalStore] reads the graph from the Nix database, and trees from the file
//     system. It needs no Nix and writes nothing.
//   - [BinaryCache] is a binary cache: http, https, s3 or file. It reads the graph from
//     narinfo files, and streams NARs. It unpacks nothing to disk.
//   - [GraphFile] (from [OpenGraph]) reads the graph from JSON that Nix wrote. It
//     reads trees from a store. Without a store, a graph file can be planned, but
//     not packed.
//   - [MultiSource] asks several sources, in order, for each path.
//
// Source.Closure returns the graph as a [Closure]. The paths in it are sorted, so
// their order is the same for every source. Source.Closure reads no file of the
// store and no NAR. [Walk] visits a tree. [Lookup] and [ReadFile] read one entry
// of a tree:
//
//	src, err := closure.Open(from, closure.CacheOptions{})
//	c, err := src.Closure(ctx, []closure.StorePath{toplevel})
//	for i := range c.Paths {
//		err := closure.Walk(ctx, src, &c.Paths[i], visitor)
//	}
//
// # A tree is a NAR
//
// A source passes a tree to a [nar.Visitor] as a sequence of calls: directories,
// files with an executable bit, and symlinks, with names sorted bytewise. A NAR
// contains no owners, modes, times, hard links or directory order. So none of these
// can reach an image.
//
// Walk checks the narHash while it visits, in the same way for all sources. It adds
// the NAR's framing to the contents and hashes both. This costs one sha256, no copy
// and no goroutine. WalkInto gives the bytes to a caller that hashes them in another
// goroutine. The hash is known only at the end. So a visitor must not use its
// result before Walk returns nil. The visitor never sees what a NAR cannot contain:
// a name ".." or with a slash, a name twice, or names in the wrong order. Walk
// returns an error first.
//
// # Trust
//
// The local database and graph files are trusted. A narinfo is trusted if a key in
// [TrustedKeys] has signed it, or if the path is content-addressed and has the right
// contents. With CacheOptions.NoSignatures every narinfo is trusted, but the
// narHash is still checked. Sizes are limited: reading ends with an error as soon
// as a NAR is longer than its narSize.
//
// # What this package does not do
//
// This package does not evaluate or build: package nixbuild does that. It does not
// write to a store. It supports only the store directory /nix/store.
package closure
