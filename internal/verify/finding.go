package verify

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/terminal"
)

// Check names one thing that is checked of an image.
type Check string

// The checks, in the order in which they are reported.
const (
	CheckDigests    Check = "digests"     // digests, sizes and media types; config, manifest and diffIDs fit each other
	CheckFormat     Check = "format"      // each layer is in the canonical form of its format version
	CheckPaths      Check = "paths"       // the layers hold the store paths of the Nix database and nothing else
	CheckNarHashes  Check = "narhashes"   // each path's NAR has the narHash and narSize of the database
	CheckReferences Check = "references"  // the paths are closed under references and reachable from the toplevel
	CheckAddresses  Check = "addresses"   // content-addressed paths have the path that their content gives
	CheckInit       Check = "init"        // /sbin/init is a nixoci-init, and which
	CheckSystem     Check = "system"      // the system layer, made again, is the same
	CheckPlatform   Check = "platform"    // index, config and toplevel name one platform
	CheckConfig     Check = "config"      // the config, made again, is the same
	CheckManifest   Check = "manifest"    // the manifest, made again, is the same
	CheckIndex      Check = "index"       // the index, made again, is the same
	CheckSignatures Check = "signatures"  // trusted keys have signed the paths
	CheckClosure    Check = "closure"     // the image that the given closure makes is this one
	CheckSignedBy   Check = "attestation" // a key has signed the image
)

// Finding is one thing that is not as it should be, and where.
type Finding struct {
	Check    Check         `json:"check"`
	Platform string        `json:"platform,omitempty"`
	Layer    int           `json:"layer,omitempty"` // its number, from 1; 0 where it is about no layer
	Digest   digest.Digest `json:"digest,omitempty"`
	Path     string        `json:"path,omitempty"` // store path, or name of a tar entry
	File     string        `json:"file,omitempty"` // below the store path
	What     string        `json:"what"`
}

// String is one line: the place, from the outside in, and what is wrong there.
func (f Finding) String() string {
	var b strings.Builder
	if f.Platform != "" {
		b.WriteString(f.Platform + ": ")
	}
	switch {
	case f.Layer > 0:
		fmt.Fprintf(&b, "layer %d %s: ", f.Layer, f.Digest)
	case f.Digest != "":
		b.WriteString(f.Digest.String() + ": ")
	}
	switch {
	case f.Path != "" && f.File != "":
		b.WriteString(terminal.Visible(f.Path+"/"+f.File) + ": ")
	case f.Path != "":
		b.WriteString(terminal.Visible(f.Path) + ": ")
	}
	b.WriteString(terminal.Visible(f.What))
	return b.String()
}

// errStop ends a check whose first finding is enough.
var errStop = errors.New("enough findings")

// findings are those of one part of the image, in their order.
type findings struct {
	all []Finding
	one bool    // the first is enough
	at  Finding // what every one of them starts from
}

// add returns errStop where no more are wanted.
func (f *findings) add(found Finding) error {
	if found.Platform == "" {
		found.Platform = f.at.Platform
	}
	if found.Layer == 0 && found.Digest == "" {
		found.Layer, found.Digest = f.at.Layer, f.at.Digest
	}
	f.all = append(f.all, found)
	if f.one {
		return errStop
	}
	return nil
}

func (f *findings) addf(c Check, format string, args ...any) error {
	return f.add(Finding{Check: c, What: fmt.Sprintf(format, args...)})
}

func (f *findings) enough() bool { return f.one && len(f.all) > 0 }
