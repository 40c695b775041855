// Package verify checks that an image is what it claims to be. It believes neither
// the image nor the registry nor whoever pushed it.
//
// # What is checked
//
// verify reads everything that the image records about itself, and makes it again
// from the contents of the layers:
//
//   - Each blob has the digest and size of its descriptor. Each tar has the diffID
//     of the config.
//   - Each layer has the one canonical form of its format version.
//   - The layers contain exactly the store paths of the Nix database in the system
//     layer, each of them once. The references of these paths are among them, and
//     all are reachable from the toplevel.
//   - The NAR of each path, made again from the tar entries, has the narHash and
//     narSize of the database. A content-addressed path has the name that its
//     contents give.
//   - The init layer, the system layer, the config, the manifest and the index are
//     made again from all that. They must be the same bytes.
//   - The program at /sbin/init is a nixoci-init that this nixoci knows. For another
//     program the report gives the digest.
//
// verify applies the rules of the format version that the image names.
//
// An image alone does not show whether these are the paths that its owner wanted.
// Signatures show that, or a comparison with the closure: [Options].Closures.
//
// # Stages
//
// [Image] runs eight stages, one after another: readDocuments (index, manifests,
// configs), checkKey, readAttached (attached documents), readSystems (the system
// layers), readLayers (all other layers), checkImages, compareClosures, checkIndex.
// Each stage is a function of the results of earlier stages, and changes none of
// them. The report is made from the results of all stages.
//
// # One pass
//
// verify reads each layer once. It decompresses, hashes and parses the tar at the
// same time, and reads as many layers at once as there are processors. It unpacks
// nothing, and its memory does not depend on the image.
//
// # Findings
//
// A [Finding] names a place, from the outside in, and the fault there. Findings
// have the order of the image, not the order of reading. So the first finding is
// the same in every run.
package verify
