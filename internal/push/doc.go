// Package push assembles images and puts them into an [oci.Destination].
//
// [Push] recalls which layers were made before, makes and sends the others, puts
// manifests and index, and moves the tags. A [Cache] and a [Remote] are what it
// recalls from. [CreateIndex] joins images that a registry has already.
//
// # Order
//
// Blobs first, then manifests by digest, then the index by digest, then the
// tag. Whoever looks at the tag sees the old image or the new one, never a part.
package push
