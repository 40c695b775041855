// Package verify checks that an image is what it claims to be. It trusts neither the image nor the
// registry nor the person who pushed the image.
//
// # What is checked
//
// verify reads everything that the image records about itself. It makes these records again from
// the contents of the layers, and compares:
//
//   - Each blob has the digest and size of its descriptor. Each tar has the diffID
//     in the config.
//   - Each layer has the one canonical form of its format version.
//   - The layers contain exactly the store paths that the Nix database in the system
//     layer lists, each of them once. The references of these paths are in the list too, and
//     all paths are reachable from the toplevel.
//   - The NAR of each path, made again from the tar entries, has the narHash and
//     narSize that the database records. A content-addressed path has the name that is
//     computed from its contents.
//   - The init layer, the system layer, the config, the manifest and the index are
//     made again. They must have the same bytes.
//   - The program at /sbin/init is a known nixoci-init. For another
//     program the report contains the digest.
//
// verify applies the rules of the format version that the image names.
//
// The image alone does not show whether its owner wanted these store paths. Signatures can show
// this, or a comparison with the closure: [Options].Closures.
//
// # Stages
//
// [Image] runs eight stages, one after another: readDocuments (index, manifests, configs),
// checkKey, readAttached (attached documents), readSystems (the system layers), readLayers (all
// other layers), checkImages, compareClosures, checkIndex. Each stage is a function of the results
// of earlier stages, and does not change these results. The report is made from the results of all
// stages.
//
// # One pass
//
// verify reads each layer once. It decompresses, hashes and parses the tar at the same time, and
// reads as many layers at once as there are processors. It unpacks no files, and its memory does
// not depend on the size of the image.
//
// # Findings
//
// A [Finding] names the place of a fault, from the outside in, and describes the fault. Findings
// have the order of the image, not the order in which verify read the layers. So the first finding
// is the same in every run.
package verify
