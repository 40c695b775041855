// Package plan decides which store path goes into which layer. It reads no files and no
// clock: a plan depends only on the closure and on [Options].
//
// [New] makes a plan. [Follow] applies a plan from a file ([Encode], [Decode]) to a
// closure exactly. [Options.From] keeps the layers of an earlier image.
//
// # What a plan costs
//
// Clients download a layer again when any path in it changes. A path changes when
// anything in its own closure changes. New looks for the plan with the smallest updates
// that has at most Options.MaxLayers layers. The cost of a plan is
//
//	Σ over layers of bytes(layer) × P(something in the union of its paths' closures changes)
//
// Merging two layers A and B raises the cost by
//
//	bytes(A) × (P(A∪B) − P(A)) + bytes(B) × (P(A∪B) − P(B))
//
// P of a set of k paths is √k, up to a constant factor. The reason for the square root: if an
// update changes the share p of all packages, then k paths stay the same with probability
// about e^-pk. Small updates are frequent and large updates are rare (weight p^-3/2). The
// mean of 1−e^-pk over updates of all sizes is then proportional to √k. So the planner needs
// no rate of change, and the size of the closure does not matter.
//
// NixOS generates some paths from the configuration (etc, unit-*, system-path,
// nixos-system-*). These paths change with every update, so New puts them together into one
// layer.
//
// # How New finds a plan
//
// The simple way is to start with one layer for each path and to merge the cheapest pair
// again and again. Such plans cost little, but they are not stable: one new package
// changes an early merge of small paths, and later merges move layers that had no reason
// to change. Therefore New merges only heavy paths:
//
//  1. It ranks paths by bytes × P^¾. A path starts as a layer of its own if it is
//     at least half as heavy as the last path within the budget. If the closure has
//     2,000 paths or more, an eighth of that weight is enough. Paths smaller than
//     32 KiB never do, because the requests for a layer cost as much as 32 KiB.
//  2. It merges the two layers that are cheapest to merge, until the budget is
//     met. A layer with more than 1/40 of all bytes accepts no other layer.
//  3. Libraries up to twice as light then join the layer where they cost least.
//     Each one decides without seeing the decisions of the others. In a closure of
//     2,000 paths or more, these libraries wait for the last step.
//  4. All lighter paths, and paths that no package refers to, join last, in the
//     same way. A small package that comes or goes changes its own layer only.
//
// An example with three layers. Sizes are in MB, and → means "refers to".
//
//	glibc 30    zlib 1 → glibc    python 90 → zlib    git 40 → zlib    etc → python, git
//
// etc is generated from the configuration and has a layer of its own. P is 1 for glibc,
// √2 for zlib, √3 for python and for git, so the weights are 30, 1.3, 136 and 60.
//
// python, git and glibc start as layers, which is one too many. python is too large to accept
// other paths. So glibc joins git, which costs 30 × (√3 − √1) = 22: an update of git alone
// now also ships glibc. A change of glibc changes git anyway. zlib is light. It joins the
// layer of git and glibc, which costs 1 × (√3 − √2) = 0.3.
//
// With a fourth layer, glibc has its own. zlib then joins git, which costs 1 × (√3 − √2) =
// 0.3. Joining glibc would cost 30 × (√2 − √1) = 12.
//
// # Determinism
//
// A plan depends on the graph, the names and the sizes. Every sort order ends in (name, size,
// path): the store hash decides only between paths with the same name and size.
// Floating-point sums are written in a form that no compiler fuses.
//
// # Similar sizes
//
// If all sizes change by 1 %, a new plan without an earlier image often moves a few layers. Three
// ways to prevent this were measured on the two real systems of bench/plan, with 60 and 100
// layers. The first way knows three classes of sizes, and the bound of a class lies in the
// largest gap between two sizes nearby. Then 95 to 100 % of such changes move no layer, instead
// of 5 to 22 %. But an update ships 3.6 % of the image too much, instead of 2.7 % (mean of the
// first six kinds), because the classes hide which paths are light. The second way rounds sizes
// to powers of two. On these systems it ships no more, but on a third one up to twice as much,
// and 64 % of the changes still move layers.
//
// The third way uses exact sizes only to choose the heavy paths. It merges them by three classes of
// sizes, and each lighter path counts as 1/100 of a mean layer. Then 80 to 99 % of the changes
// move no layer, and an update ships 2.66 % too much instead of 2.74 %. But the constants were
// chosen with the same four cases that these figures come from. With seven other numbers of layers,
// 76 % of the changes move no layer, and an update ships 3.4 % too much instead of 3.0 %. On three
// generated closures of 1,000 paths, an update ships 1.3 to 1.8 times as many unneeded bytes as with
// exact sizes. On three closures of 2,100 to 6,700 paths, it ships 1.8 to 6 times as many.
//
// Most of the moves come from the light paths: for 4 to 8 % of them, the second-best layer costs at
// most 2 % more than the best one. Moving paths by exact sizes after a plan by classes does not
// help. The five best moves bring only 16 to 23 % of what hundreds of moves bring, and all moves
// together make the plan as unstable as before. So the planner uses exact sizes. A plan that starts
// from an earlier image keeps its layers.
//
// # Following an earlier image
//
// With [Options.From] a path stays in its layer of the earlier image. New looks for the path
// in the earlier plan, then for its name, then for its name without version. It puts a new
// path where the path costs least, summed over this update and the next eight. It moves a
// path if the move saves bytes, for example between two layers that change anyway. The
// descriptor of each layer lists its store paths ([layers.AnnotationPaths]), so an image
// serves as its own plan file.
//
// # Learning from earlier images
//
// [Options.History] lists the store paths of the images before From. New counts how often each
// package changed by itself: its version changed, or its store path changed although no path to
// which it refers changed. In the √k of the cost, a package that changed more often than the mean
// counts as more than one path, and each other package as less than one. Packages that always
// changed together count as one package.
//
// The first attempt was to replace √k by the share of the updates that changed the layer. With
// 12 or 26 updates, updates then shipped more than without a history: a layer that did not change
// in these updates, by chance, looks as if it never changes.
package plan
