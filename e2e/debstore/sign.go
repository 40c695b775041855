package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// keyName is the usual name of the key that signs a cache. The secret key exists only during
// the run that makes it.
const keyName = "nixoci-testdata-1"

// binaryCache copies paths with their references into a signed binary cache in dir. The
// function compression chooses the compression of each path. Paths that are already in the
// cache are not changed.
func (n *nix) binaryCache(ctx context.Context, dir, secretKey string, compression func(storePath string) string, roots ...string) error {
	out, err := n.run(ctx, "nix-store", append([]string{"-qR"}, roots...)...) // references come before the paths that refer to them
	if err != nil {
		return err
	}
	// The loop copies successive paths with the same compression together, in closure order.
	// Nix copies the references of a path together with the path.
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

// key returns the file of the store's secret key, and the public key. It makes both keys,
// under the given name, if they do not exist.
func (n *nix) key(ctx context.Context, name string) (secretFile, public string, err error) {
	secretFile, publicFile := filepath.Join(n.root, "secret-key"), filepath.Join(n.root, "public-key")
	if b, err := os.ReadFile(publicFile); err == nil {
		return secretFile, strings.TrimSpace(string(b)), nil
	}
	if _, err := n.run(ctx, "nix-store", "--generate-binary-cache-key", name, secretFile, publicFile); err != nil {
		return "", "", err
	}
	b, err := os.ReadFile(publicFile)
	return secretFile, strings.TrimSpace(string(b)), err
}
