package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// inspected holds what inspect --json prints about an image and its provenance.
type inspected struct {
	Digest    string
	Attached  []inspectedDocument
	Platforms []struct {
		Platform, Digest string
		Attached         []inspectedDocument
	}
}

type inspectedDocument struct {
	Statement struct {
		Predicate struct {
			BuildDefinition struct {
				InternalParameters struct{ Rebuild []string }
			}
		}
	}
}

// cmdRebuilds runs the rebuild commands in the provenance of an image and compares the
// digests: rebuilds REF COUNT. COUNT is the expected number of commands. Each command starts
// with an empty cache.
func cmdRebuilds(ts *testscript.TestScript, neg bool, args []string) {
	inspect := func(ref string) (img inspected) {
		ts.Check(ts.Exec("nixoci", "inspect", "--json", ref))
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &img))
		return img
	}
	img := inspect(args[0])
	subjects := map[string][]inspectedDocument{img.Digest: img.Attached}
	for _, p := range img.Platforms {
		subjects[p.Digest] = p.Attached
	}
	cache := ts.Getenv("XDG_CACHE_HOME")
	defer setenv(ts, "XDG_CACHE_HOME", cache)
	count := 0
	for digest, attached := range subjects {
		for _, d := range attached {
			command := d.Statement.Predicate.BuildDefinition.InternalParameters.Rebuild
			if command == nil {
				continue
			}
			count++
			layout := ts.MkAbs("image")
			ts.Check(os.RemoveAll(layout))
			setenv(ts, "XDG_CACHE_HOME", ts.MkAbs("rebuild-cache-"+strings.TrimPrefix(digest, "sha256:")))
			if command[0] != "nixoci" {
				ts.Fatalf("the command is %q", command)
			}
			ts.Check(ts.Exec("nixoci", command[1:]...))
			made := inspect("oci:image")
			digests := []string{made.Digest}
			for _, p := range made.Platforms {
				digests = append(digests, p.Digest)
			}
			if !slices.Contains(digests, digest) {
				ts.Fatalf("%q makes %s, not %s", command, digests, digest)
			}
		}
	}
	if want := args[1]; want != string(rune('0'+count)) {
		ts.Fatalf("%s has %d commands, want %s", args[0], count, want)
	}
}
