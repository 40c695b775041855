// Package plan decides which store path lands in which layer. It reads no file
// and no clock: a plan is a function of the closure and of [Options].
//
// [New] makes a plan. [Follow] applies one from a file ([Encode], [Decode]) to a
// closure exactly. [Options.From] keeps the layers of an earlier image.
//
// # The plan
//
// [New] divides a closure's store paths among at most so many layers that an
// update ships little. A layer is shipped again when any of its paths changes,
// and a path changes when anything in its own closure does. So the cost of a
// plan is
//
//	Σ over layers of bytes(layer) × P(something in the union of its paths' closures changes)
//
// and two layers A and B that become one raise it by
//
//	bytes(A) × (P(A∪B) − P(A)) + bytes(B) × (P(A∪B) − P(B))
//
// P of a set of k paths is √k, up to a factor. With p the part of all packages
// that an update changes, k paths stay as they are with probability about e^-pk;
// and the mean of 1−e^-pk over updates of all sizes, small ones many and large
// ones few (weight p^-3/2), is proportional to √k. So there is no rate to guess,
// and nothing depends on how large the closure is. What a toplevel makes of the
// configuration (etc, unit-*, system-path, nixos-system-*) changes with every
// update and has a layer of its own.
//
// A greedy merge of the cheapest pairs, from every path alone, has a low cost and
// ships much all the same: a new package flips an early merge, most of them among
// paths that hardly weigh anything, and layers that had no reason to change are
// shuffled. So only paths of some weight are merged, and what nobody needs to
// know is decided last:
//
//  1. Paths are ranked by bytes × P^¾. What is at least half as heavy as the last
//     that could have a layer of its own is a layer to begin with. A path smaller
//     than a layer's price, 32 KiB for its requests, is not.
//  2. The two layers that it costs least to merge become one until the budget is
//     met. Layers of more than 1/40 of all bytes take nobody.
//  3. The libraries that are up to twice lighter then choose the layer that it
//     costs least to be with, and none of them sees what the others choose.
//  4. The tail, all lighter paths and those that no package refers to, does the
//     same and chooses last. A small package that comes or goes changes the layer
//     it is in, and no other.
//
// An example with three layers. Sizes are in MB, and → is refers to.
//
//	glibc 30    zlib 1 → glibc    python 90 → zlib    git 40 → zlib    etc → python, git
//
// etc is made of the configuration: that is one layer. P is 1 for glibc, √2 for
// zlib, √3 for python and for git; so the weights are 30, 1.3, 136 and 60. python,
// git and glibc are layers to begin with, one too many. python's is too big to
// take others, so glibc joins git: 30 × (√3 − √1) = 22, for whatever changes
// glibc changes git too, and only glibc is shipped needlessly at times. zlib, the
// tail, does so for 1 × (√3 − √2) = 0.3. With a fourth layer glibc has its own, and
// zlib joins it or git, whichever costs less: 30 × (√2 − √1) = 12, so git again.
//
// The plan is a function of the graph, the names and the sizes. Every order ends
// in (name, size, path): a store hash only decides between paths that nothing
// else tells apart. Floating-point sums are written so that no compiler fuses
// them.
//
// With [Options.From] the layers of an image that is there stay, by path,
// else by name, else by name without version; what is new goes where it costs
// least, counting what has to be shipped now and eight updates to come; and
// single paths move where that pays off, which between layers that are shipped
// anyway it often does. Each layer's descriptor records its store paths
// ([layers.AnnotationPaths]), so an image is its own plan file.
package plan
