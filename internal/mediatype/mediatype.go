// Package mediatype defines Docker's media types. The Go module of the OCI image
// specification defines OCI's media types.
package mediatype

// Docker defines these media types (distribution, "Image Manifest V 2, Schema 2").
const (
	DockerManifest  = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList      = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig    = "application/vnd.docker.container.image.v1+json"
	DockerLayer     = "application/vnd.docker.image.rootfs.diff.tar"
	DockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	DockerLayerZstd = "application/vnd.docker.image.rootfs.diff.tar.zstd" // used by BuildKit and containerd; Docker's specification defines no type for zstd
)
