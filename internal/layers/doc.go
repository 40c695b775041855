// Package layers makes the bytes of a layer: a canonical tar stream and its
// compression.
//
// [Store] describes the layer of some store paths as a [Layer]. It reads nothing
// yet. [Packer.Pack] writes the bytes of a layer and returns digests and sizes, as
// [Packed]. [Recipe] is the hash of everything that a layer is made of. Two layers
// with the same recipe have the same bytes, for any number of workers. So a recipe
// identifies a layer before anybody makes it.
//
// [TarReader] and [DecompressStrict] read layers. They refuse everything that Pack
// does not write. docs/format.md is normative, and [FormatVersion] is its version.
package layers
