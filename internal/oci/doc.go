// Package oci contains the types and functions that registries, layouts and archives share.
//
// A [Reader] reads images, and an [OpenedImage] is an image opened for reading. A
// [Destination] writes images. [GetArtifact] reads a document that is attached to an image.
// Every Reader checks the content against its digest, with [CheckManifest] and [CheckBlob].
// If the content does not exist, the error wraps [ErrNotFound]. If the content differs, the
// error wraps [*ContentError].
package oci
