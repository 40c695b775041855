package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// keyName is what the signatures of a cache made here are made with. The
// secret half lasts as long as the run that makes it.
const keyName = "nixoci-testdata-1"

// binaryCache copies paths and what they refer to into a signed binary cache
// at dir, each store path compressed as compression says; paths that are in the
// cache already stay as they are.
func (n *nix) binaryCache(ctx context.Context, dir, secretKey string, compression func(storePath string) string, roots ...string) error {
	out, err := n.run(ctx, "nix-store", append([]string{"-qR"}, roots...)...) // references before what refers to them
	if err != nil {
		return err
	}
	// Each run of neighbours with the same compression is one copy, in closure order:
	// Nix copies a path's references along with it.
	var batch []string
	flush := func(method string) error {
		if len(batch) == 0 {
			return nil
		}
		to := fmt.Sprintf("file://%s?compression=%s&secret-key=%s", dir, method, secretKey)
		_, err := n.run(ctx, "nix", append([]string{"copy", "--to", to}, batch...)...)
		batch = nil
		return err
	}
	last := ""
	for _, path := range strings.Fields(string(out)) {
		method := compression(path)
		if method != last {
			if err := flush(last); err != nil {
				return err
			}
			last = method
		}
		batch = append(batch, path)
	}
	return flush(last)
}

// key is the key pair of the store, made when there is none: the secret half's
// file, and the public half.
func (n *nix) key(ctx context.Context) (secretFile, public string, err error) {
	secretFile, publicFile := filepath.Join(n.root, "secret-key"), filepath.Join(n.root, "public-key")
	if b, err := os.ReadFile(publicFile); err == nil {
		return secretFile, strings.TrimSpace(string(b)), nil
	}
	if _, err := n.run(ctx, "nix-store", "--generate-binary-cache-key", keyName, secretFile, publicFile); err != nil {
		return "", "", err
	}
	b, err := os.ReadFile(publicFile)
	return secretFile, strings.TrimSpace(string(b)), err
}
