// Package manifest makes what a runtime reads: it turns a NixOS system or an
// application and its packed layers into an image config, a manifest and an index.
// It makes the last layer, and it reads manifests back.
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
// A list of layers begins with the lowest: the init layer, the layers of store
// paths, the system layer. A [System] is for one platform. An index has one manifest
// for each platform, so two systems for one platform are an error
// ([CheckPlatforms]).
//
// # Contents alone decide
//
// The bytes depend on the contents of the closure (paths, narHashes, narSizes,
// references, content addresses), on the plan and on [Settings]. They do not depend
// on derivers, signatures or registration times. So whoever builds a path and
// whoever downloads it get the same image. Every order ends in a unique key, and
// JSON has one form. docs/format.md is normative.
//
// # An unchanged push reads no store file
//
//   - [ReadFacts] is the only function here that reads the store. Its result follows
//     from the toplevel's narHash. Keep the result under that hash, and [NewSystem]
//     needs no store.
//   - [Draft.Recipe] and [IndexRecipe] are hashes of config and manifest. In place of
//     what only packing tells, they have the recipes of the layers. If an index in a
//     registry carries the same recipe, then it is the index that would be pushed.
//   - [Manifest.Claims] is what a manifest in a registry says about its layers. What
//     can be checked for free was checked. [Claims.Lookup] finds the claim for a
//     layer that is about to be made.
//
// Whoever can write to a repository can make a claim. The caller decides whether to
// believe it.
//
// # The Nix database
//
// [WriteNixDatabase] writes the pages of a SQLite file itself, without SQLite. The
// file is part of a layer, and a new release of a library must not change the digest
// of a layer. The tests let SQLite check every page, and find every row with the
// statements that Nix uses.
package manifest
