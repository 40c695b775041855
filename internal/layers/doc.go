// Package layers makes the bytes of a layer: a canonical tar stream and its
// compression.
//
// [Store] describes the layer of some store paths as a [Layer], without reading any file.
// [Packer.Pack] writes the bytes of a layer and returns digests and sizes, as [Packed].
// [Recipe] is the hash of all inputs of a layer. Two layers with the same recipe have the
// same bytes, for any number of workers. So a recipe identifies a layer before the layer is
// made.
//
// [TarReader] and [DecompressStrict] read layers. They refuse everything that Pack does not
// write. docs/format.md is the normative description of the format, and [FormatVersion] is
// the format's version.
package layers
