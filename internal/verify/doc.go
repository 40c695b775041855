// Package verify says whether an image is what it claims to be, without
// believing the image, the registry or whoever pushed it.
//
// # What is checked
//
// Everything that the image says of itself is read and made again from what its
// layers hold:
//
//   - every blob has the digest and size of its descriptor, every tar the diffID
//     of the config;
//   - every layer is in the one canonical form of its format version;
//   - the layers hold exactly the store paths of the Nix database in the system
//     layer, once each; those are closed under references and reachable from the
//     toplevel;
//   - each path's NAR, put together again from the tar entries, has the narHash
//     and narSize of the database; content-addressed paths have the path that
//     their content gives;
//   - the init layer, the system layer, the config, the manifest and the index are
//     made again from these, and are the same bytes;
//   - the program at /sbin/init is a nixoci-init that this nixoci knows; another
//     one is named by its digest.
//
// An image is checked by the rules of the format version that it says it has.
//
// What is left is what nobody can make again from the image alone: whether the
// paths are those that somebody meant. That is what signatures are for, or the
// closure itself: [Options].Closures.
//
// # Stages
//
// [Image] runs seven stages, one after another: readDocuments (index, manifests,
// configs), checkKey, readSystems (the system layers), readLayers (all others),
// checkImages, compareClosures, checkIndex. A stage is a function of what the
// stages before it returned, and changes none of it. The report is a function of
// all.
//
// # One pass
//
// A layer is read once: decompressing, hashing the tar, and taking the tar
// apart run beside each other, and as many layers beside each other as there
// are processors. Nothing is unpacked; memory does not depend on the image.
//
// # Findings
//
// A [Finding] names the place from the outside in and what is wrong there. Their
// order is that of the image, whatever was read first, so that the first one is
// the same every time.
package verify
