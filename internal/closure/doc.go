// Package closure reads what a NixOS system consists of: the store paths in its
// closure, and the file tree of each path.
//
// # Which function to use
//
// [Open] returns the [Source] for the values of --from. There are four kinds:
//
//   - [LocalStore] reads the graph from the Nix database, and trees from the file
//     system. It needs no Nix and writes nothing.
//   - [BinaryCache] reads a binary cache with a URL http, https, s3 or file. It reads
//     the graph from narinfo files, and streams NARs. It unpacks nothing to disk.
//   - [GraphFile] (from [OpenGraph]) reads the graph from JSON that Nix wrote, and
//     trees from a store. Without the store, nixoci can plan the layers of a graph
//     file, but it cannot make them.
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
// A source passes a tree to a [nar.Visitor] as a sequence of calls. There is one call
// for each directory, file or symlink, with the names sorted bytewise. A file has an
// executable bit. A NAR contains no owners, modes, times, hard links or directory
// order. So none of these can reach an image.
//
// Walk checks the narHash while it visits a tree, in the same way for all sources. It
// adds the NAR's other bytes to the contents and hashes both. This costs one sha256,
// no copy and no goroutine. WalkInto passes the bytes to a caller that hashes them in
// another goroutine. Walk can check the hash only at the end. So a visitor must not
// use its result before Walk returns nil. Walk returns an error before the visitor
// sees anything that a NAR cannot contain. Examples are a name "..", a name with a
// slash, a name that occurs twice, or names in the wrong order.
//
// # Trust
//
// This package trusts the local database and graph files. It trusts a narinfo if a
// key in [TrustedKeys] has signed it, or if the path is content-addressed and has the
// right contents. With CacheOptions.NoSignatures, it trusts every narinfo, but it
// still checks the narHash. If a NAR is longer than its narSize, reading stops with
// an error.
//
// # What this package does not do
//
// This package does not evaluate or build anything. Package nixbuild does that. This
// package does not write to a store. It supports only the store directory /nix/store.
package closure
