// Package layout reads and writes OCI layouts and the archives of OCI and Docker.
//
// [OpenImage] opens one for reading. [ParseDestination] reads where an image goes if not into a registry. A
// [Layout], an [Archive] and a [Pipe] hold blobs back in a directory of their
// own until Commit, which moves all of them or none. Archives depend on nothing
// but the image: entries are in the order of the manifests, whoever finished
// first. A destination that is [oci.Ordered] wants its layers in that order.
package layout
