// Package push assembles images and puts them into an [oci.Destination].
//
// [Plan] plans the layers of each system. [Push] looks up which layers were made before, in a
// [cache.Cache] and in [Remote] images. It makes and sends the other layers, writes the manifests
// and the index, and moves the tags. [CreateIndex] joins images that a registry has already.
//
// # The steps of a push
//
//	draft      list the layers, recipes and manifests; no bytes yet         (draft.go)
//	unchanged  stop if the destination already has exactly this image       (proof.go)
//	recall     look up which layers were made before, here or elsewhere     (recall.go, remote.go)
//	putBase    find, mount or copy the layers of a base image               (base.go)
//	putLayers  find the recorded layers, make the others                    (putlayers.go, recheck.go)
//	putImages  write configs, manifests, index, tags                        (putimages.go, join.go)
//
// A small layer is packed in memory and sent in one request. A larger layer is sent while it is
// packed.
//
// # Order
//
// Push sends the blobs first. The manifests by digest, the index by digest, and the tags follow in
// this order. So a tag always names a complete image, the old or the new one.
//
// # Trust
//
// Push trusts the cache of this machine. The records of an image in a registry are only claims.
// Push makes the layers without store paths itself and compares the digests. If the image has no
// trusted signature, push also makes a small random sample of the other layers again.
package push
