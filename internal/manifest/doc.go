// Package manifest says what a runtime is told: it turns a NixOS system and its
// packed layers into an image config, a manifest and an index, makes the last
// layer, and reads manifests back.
//
// # From a toplevel to an index
//
//	ReadSystem     toplevel → platform, init, version    (reads one store path)
//	ImageLayers    the layers: nixoci-init, the store paths, root skeleton with Nix database
//	NewDraft       config and manifest without the layers' bytes, and the image's recipe
//	IndexRecipe    the recipe of an index over several drafts
//	Draft.Image    config and manifest, once every layer is packed
//	NewIndex       one index over all platforms; Join to add to one that is there
//
// A layer list goes from the lowest layer to the highest: the init layer, the
// layers of store paths, the system layer. A [System] is for one platform, an index has one manifest for each,
// and two systems for one platform are an error ([CheckPlatforms]).
//
// # Nothing but content
//
// Whatever is written here is a function of the closure's content (paths,
// narHashes, narSizes, references, content addresses), of the toplevel's own
// files, of the plan and of [Settings]. Derivers, signatures and registration
// times are not in it: one person builds a path, another substitutes it, and
// both get the same image. Everything sorted ends in a unique key; JSON has one
// form. docs/format.md is the normative text.
//
// # Knowing without reading
//
// Three steps let an unchanged push open no store file:
//
//   - [ReadFacts] is the only function here that reads the store. What it
//     returns follows from the toplevel's narHash: keep it by that, and
//     [NewSystem] needs the store no more.
//   - [Draft.Recipe] and [IndexRecipe] hash the config and the manifest with all
//     left out that only packing tells, the layers' recipes standing for their
//     bytes. An index that carries the recipe that IndexRecipe gives is the
//     index that would be pushed.
//   - [Manifest.Claims] are what a manifest in a registry says of its layers,
//     checked as far as is free. [Claims.Lookup] answers for a layer that is
//     about to be made.
//
// A claim is the word of whoever can write to that repository. A caller decides
// whether to believe it.
//
// # The Nix database
//
// [WriteNixDatabase] writes the SQLite file itself, page by page, and does not
// go through SQLite: its bytes are in a layer, and no release of a library may
// change a layer's digest. The tests let SQLite check every page and find every
// row by the statements that Nix uses.
package manifest
