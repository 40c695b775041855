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
//
// # From store paths to a blob
//
//	Store        describe the layer and its recipe; no file is read      (store.go, recipe.go)
//	Pack         start the stages, and return the result at the end      (pack.go)
//	TarWriter    write the canonical tar into blocks of a fixed size     (tar.go, block.go)
//	encoder      compress each block independently, several at once      (compress.go)
//	hashNARs     hash the store paths and check their narHashes          (packnar.go)
//	hashTar      compute the diffID                                      (stages.go)
//	hashBlob     compute the digest of the blob                          (stages.go)
//	write        write the blob, block after block                       (stages.go)
//
// The last four are stages. Each is a goroutine that receives all blocks in order. All steps
// from TarWriter to write run at the same time, on different blocks. The layers of a push share
// the processors and the blocks, and turns.go decides which layer is next.
//
// Pack stores nothing on disk. If a transfer breaks, the caller packs the layer again and gets
// the same bytes.
//
// # Example
//
// The layer of a store path with one program contains these entries:
//
//	drwxr-xr-x 0/0 1970-01-01 00:00:01 nix/
//	drwxr-xr-x 0/0 1970-01-01 00:00:01 nix/store/
//	dr-xr-xr-x 0/0 1970-01-01 00:00:01 nix/store/<hash>-hello-2.12/
//	dr-xr-xr-x 0/0 1970-01-01 00:00:01 nix/store/<hash>-hello-2.12/bin/
//	-r-xr-xr-x 0/0 1970-01-01 00:00:01 nix/store/<hash>-hello-2.12/bin/hello
//
// Its recipe is the sha256 of the text in the documentation of [NewRecipe].
package layers
