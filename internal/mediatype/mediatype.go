// Package mediatype has Docker's media types. OCI's media types are in the module of the
// image specification.
package mediatype

// Docker's media types (distribution, "Image Manifest V 2, Schema 2").
const (
	DockerManifest  = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList      = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig    = "application/vnd.docker.container.image.v1+json"
	DockerLayer     = "application/vnd.docker.image.rootfs.diff.tar"
	DockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	DockerLayerZstd = "application/vnd.docker.image.rootfs.diff.tar.zstd" // BuildKit's and containerd's; Docker has none
)
