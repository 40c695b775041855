// Package oci holds what registries, layouts and archives share.
//
// A [Source] is read from; an image that was opened for reading is an
// [OpenedSource]. A [Destination] is written to. [GetArtifact] reads a document
// that is attached to an image. What a Source returns was checked against its
// digest: [CheckManifest] and [CheckBlob] do that for all of them. An error wraps
// [ErrNotFound] where there is nothing, and [*ContentError] where there is
// something else.
package oci
