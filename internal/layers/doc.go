// Package layers makes the bytes of a layer: the canonical tar stream, and its
// compression, always the same.
//
// [Store] describes the layer of some store paths as a [Layer]; nothing is read
// yet. [Packer.Pack] writes its bytes and returns what they are, as [Packed].
// [Recipe] identifies a layer by what it is made of, before it is made: two
// layers with one recipe have the same bytes, whatever the number of workers.
// [TarReader] and [DecompressStrict] read layers back and refuse what Pack does not
// write. docs/format.md is normative; [FormatVersion] is its version.
package layers
