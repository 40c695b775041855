// Package push assembles images and puts them into an [oci.Destination].
//
// [Push] looks up which layers were made before, in a [Cache] and in [Remote]
// images. It makes and sends the other layers, writes manifests and index, and
// moves the tags. [CreateIndex] joins images that a registry has already.
//
// # Order
//
// Push sends blobs first, then manifests by digest, then the index by digest,
// then the tag. So a tag always names a complete image, the old or the new one.
package push
