// Package push assembles images and puts them into an [oci.Destination].
//
// [Push] looks up which layers were made before, in a [Cache] and in [Remote]
// images. It makes and sends the other layers, writes manifests and index, and
// moves the tags. [CreateIndex] joins images that a registry has already.
//
// # The way of a push
//
//	draft      layers, recipes and manifests, without bytes        (draft.go)
//	unchanged  has the destination this very image? then stop      (proof.go)
//	recall     which layers were made before, here or elsewhere    (recall.go, remote.go)
//	putBase    layers of a base image: found, mounted or copied    (base.go)
//	putLayers  find the known layers, make the others              (putlayers.go, recheck.go)
//	putImages  configs, manifests, index, tags                     (putimages.go, join.go)
//
// A small layer is packed in memory and sent in one request. A larger one is sent
// while it is packed.
//
// # Order
//
// Push sends blobs first, then manifests by digest, then the index by digest,
// then the tag. So a tag always names a complete image, the old or the new one.
//
// # Trust
//
// This machine's cache is trusted. What an image in a registry records is a claim.
// Push makes the layers without store paths itself and compares them. If the image
// has no trusted signature, push also makes a small random sample of the other
// layers again.
package push
