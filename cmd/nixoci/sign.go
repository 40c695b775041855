package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/registry"
)

// passwordVariable is the environment variable with the password. cosign reads the same
// variable.
const passwordVariable = "COSIGN_PASSWORD"

func (a *app) signCommand() *cobra.Command {
	var f registryFlags
	var by authorFlags
	var recursive bool
	cmd := &cobra.Command{
		Use:   "sign REF --key FILE|--keyless=SERVICES",
		Short: "Sign an image in a registry, in cosign's format",
		Long: `Sign an image in a registry, and print REF@digest of the signed image. The
registry stores the signature beside the image, where cosign and nixoci verify
--key find it. The image does not change.

The key is a file that cosign generate-key-pair wrote. nixoci takes its password
from ` + passwordVariable + ` or asks for it. The key can also be an unencrypted file
of openssl (ECDSA, P-256). A second signature with the same key changes nothing.

With --keyless, nobody needs to keep a key. nixoci makes a new key, and forgets
it at the end. Fulcio certifies that this key belongs to this CI job or person.
Rekor or a timestamp authority certifies the time of the signature.
docs/keyless.md describes how to sign and how to verify.`,
		Example: `  nixoci sign ghcr.io/org/web:1.2 --key cosign.key
  nixoci sign ghcr.io/org/web:1.2 --keyless signing_config.json
  cosign verify ghcr.io/org/web:1.2 --key cosign.pub --insecure-ignore-tlog=true`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := by.check("sign"); err != nil {
				return err
			}
			return a.sign(cmd.Context(), args[0], &by, recursive, &f)
		},
	}
	f.add(cmd)
	a.uses(cmd, "json")
	cmd.Flags().StringVar(&by.key, "key", "", "file with the private key")
	by.addKeyless(cmd, checksSignature)
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "also sign the manifest of each platform")
	return cmd
}

func (a *app) sign(ctx context.Context, arg string, by *authorFlags, recursive bool, f *registryFlags) error {
	if err := checkReference(arg); err != nil {
		return err
	}
	ref, err := registry.ParseReference(arg)
	if err != nil {
		return usageError{err}
	}
	author, err := a.author(by, f)
	if err != nil {
		return err
	}
	repo, err := registry.Open(ref.Repository, f.options(a))
	if err != nil {
		return err
	}
	defer repo.Close()
	top, err := repo.GetManifest(ctx, ref.TagOrDigest())
	if err != nil {
		return err
	}
	images := []ocispec.Descriptor{top.Descriptor}
	if index, err := manifest.ParseIndex(top.Data, top.Descriptor.MediaType); err == nil && recursive {
		images = append(images, index.Manifests...)
	}
	var all []digest.Digest
	for _, d := range images {
		if err := attest.Sign(ctx, repo, d, author); err != nil {
			return err
		}
		all = append(all, d.Digest)
	}
	a.done = true
	if a.json {
		return a.stdout.JSON(map[string]any{"ref": ref.String(), "signed": all})
	}
	a.stdout.Printf("%s@%s\n", ref.Repository.Name(), top.Descriptor.Digest)
	return a.stdout.Err()
}

// privateKey reads the private key in file. If the key is encrypted, privateKey takes the password
// from keyPassword.
func (a *app) privateKey(file string) (*attest.PrivateKey, error) {
	data, err := limit.ReadNamed(file, limit.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	key, err := attest.ParsePrivateKey(data, a.keyPassword)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// keyPassword returns the password of a key file. It reads the environment variable. If the
// variable is not set, it asks on the terminal.
func (a *app) keyPassword() ([]byte, error) {
	if p, ok := os.LookupEnv(passwordVariable); ok {
		return []byte(p), nil
	}
	in, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, hint.Add(errors.New("the key is encrypted, and there is no terminal to ask for the password"), "set "+passwordVariable)
	}
	a.stderr.Printf("password of the key: ")
	p, err := term.ReadPassword(int(in.Fd()))
	a.stderr.Printf("\n")
	if err != nil {
		return nil, fmt.Errorf("ask for the password: %w", err)
	}
	return p, nil
}
