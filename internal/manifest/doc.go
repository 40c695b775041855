// Package manifest makes what a runtime reads. It turns a NixOS system or an application, and
// its packed layers, into an image config, a manifest and an index. It also makes the last
// layer, and it parses manifests.
//
// # From a toplevel to an index
//
//	ReadSystem     toplevel → platform, init, version    (reads one store path)
//	ImageLayers    the layers: nixoci-init, the store paths, root skeleton with Nix database
//	NewDraft       config and manifest without the layers' bytes, and the image's recipe
//	IndexRecipe    the recipe of an index over several drafts
//	Draft.Image    config and manifest, once every layer is packed
//	NewIndex       one index over all platforms; Join to add to an existing index
//
// A list of layers begins with the lowest layer: the init layer, then the layers of store
// paths, then the system layer. A [System] is for one platform. An index has one manifest for
// each platform, so two systems for one platform are an error ([CheckPlatforms]).
//
// # Only contents change the bytes
//
// The bytes depend on the contents of the closure (paths, narHashes, narSizes, references,
// content addresses), on the plan and on [Settings]. They do not depend on derivers,
// signatures or registration times. So a machine that builds a path and a machine that
// downloads it make the same image. Every sort order ends in a unique key, and JSON has one
// form. docs/format.md is the normative description.
//
// # An unchanged push reads no store file
//
//   - [ReadFacts] is the only function here that reads the store. Its result follows
//     from the toplevel's narHash. A caller that keeps the result under that hash can
//     call [NewSystem] without a store.
//   - [Draft.Recipe] and [IndexRecipe] are hashes of config and manifest. They contain
//     the recipes of the layers instead of values that are known only after packing. If an
//     index in a registry has the same recipe, then it is the index that a push would write.
//   - [Manifest.Claims] returns what a manifest in a registry claims about its layers. It
//     checks everything that can be checked without reading a layer. [Claims.Lookup]
//     finds the claim for a layer.
//
// Anyone who can write to a repository can write claims there. The caller must decide whether
// to trust them.
//
// # The Nix database
//
// [WriteNixDatabase] writes the pages of a SQLite file itself, without SQLite. The file is
// part of a layer, and a new release of a library must not change the digest of a layer. In
// the tests, SQLite checks every page, and finds every row with the statements that Nix uses.
package manifest
