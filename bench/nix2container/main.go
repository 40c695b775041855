// Command nix2container-push pushes an image of nix2container to a registry. It does the same
// as nix2container's own skopeo: containers/image copies the image, and nix2container makes
// the layers during the copy. Users of nix2container have a skopeo with a transport for such
// images. This program contains only this transport, so bench/run.sh can build it without
// Nix.
//
//	nix2container-push image.json REGISTRY/REPOSITORY:TAG
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/nlewo/nix2container/nix"
	"github.com/nlewo/nix2container/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/signature"
	imagetypes "go.podman.io/image/v5/types"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: nix2container-push image.json REGISTRY/REPOSITORY:TAG")
		os.Exit(2)
	}
	if err := push(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "nix2container-push:", err)
		os.Exit(1)
	}
}

func push(ctx context.Context, file, ref string) error {
	img, err := nix.NewImageFromFile(file)
	if err != nil {
		return err
	}
	dest, err := docker.ParseReference("//" + ref)
	if err != nil {
		return err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	defer policy.Destroy()
	_, err = copy.Image(ctx, policy, dest, nixReference{file, img}, &copy.Options{
		DestinationCtx: &imagetypes.SystemContext{
			DockerInsecureSkipTLSVerify: imagetypes.OptionalBoolTrue,
			// For root, the default is a directory of the machine. In this directory, a
			// "fresh" machine would find records of the last push.
			BlobInfoCacheDir: filepath.Join(os.Getenv("XDG_DATA_HOME"), "containers", "cache"),
		},
	})
	return err
}

// nixReference implements [imagetypes.ImageReference] and ImageTransport.
type nixReference struct {
	file  string
	image types.Image
}

func (r nixReference) Name() string { return "nix" }
func (r nixReference) ParseReference(string) (imagetypes.ImageReference, error) {
	return nil, errors.New("not used")
}
func (r nixReference) ValidatePolicyConfigurationScope(string) error { return nil }
func (r nixReference) Transport() imagetypes.ImageTransport          { return r }
func (r nixReference) StringWithinTransport() string                 { return r.file }
func (r nixReference) DockerReference() reference.Named              { return nil }
func (r nixReference) PolicyConfigurationIdentity() string           { return "" }
func (r nixReference) PolicyConfigurationNamespaces() []string       { return nil }

func (r nixReference) NewImage(ctx context.Context, sys *imagetypes.SystemContext) (imagetypes.ImageCloser, error) {
	return image.FromSource(ctx, sys, nixSource{r})
}

func (r nixReference) NewImageSource(context.Context, *imagetypes.SystemContext) (imagetypes.ImageSource, error) {
	return nixSource{r}, nil
}

func (r nixReference) NewImageDestination(context.Context, *imagetypes.SystemContext) (imagetypes.ImageDestination, error) {
	return nil, errors.New("the nix transport only reads")
}

func (r nixReference) DeleteImage(context.Context, *imagetypes.SystemContext) error {
	return errors.New("the nix transport only reads")
}

// nixSource implements [imagetypes.ImageSource].
type nixSource struct{ ref nixReference }

func (s nixSource) Reference() imagetypes.ImageReference { return s.ref }
func (s nixSource) Close() error                         { return nil }
func (s nixSource) HasThreadSafeGetBlob() bool           { return true }

func (s nixSource) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) {
	return nil, nil
}

func (s nixSource) LayerInfosForCopy(context.Context, *digest.Digest) ([]imagetypes.BlobInfo, error) {
	return nil, nil
}

func (s nixSource) GetManifest(context.Context, *digest.Digest) ([]byte, string, error) {
	config, size, err := nix.GetConfigDigest(s.ref.image)
	if err != nil {
		return nil, "", err
	}
	m := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: config, Size: size},
	}
	for _, l := range s.ref.image.Layers {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: l.MediaType, Digest: digest.Digest(l.Digest), Size: l.Size})
	}
	data, err := json.Marshal(m)
	return data, v1.MediaTypeImageManifest, err
}

func (s nixSource) GetBlob(_ context.Context, info imagetypes.BlobInfo, _ imagetypes.BlobInfoCache) (io.ReadCloser, int64, error) {
	if config, _, err := nix.GetConfigDigest(s.ref.image); err == nil && info.Digest == config {
		data, err := nix.GetConfigBlob(s.ref.image)
		return io.NopCloser(bytes.NewReader(data)), int64(len(data)), err
	}
	return nix.GetBlob(s.ref.image, info.Digest)
}
