// Package oci holds what registries, layouts and archives share.
//
// A [Reader] reads images, and an [OpenedImage] is an image opened for reading. A
// [Destination] writes images. [GetArtifact] reads a document that is attached to an
// image. Every Reader checks its content against the digest, with [CheckManifest] and
// [CheckBlob]. If the content does not exist, the error wraps [ErrNotFound]. If the
// content differs, the error wraps [*ContentError].
package oci
