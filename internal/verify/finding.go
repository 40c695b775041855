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
	CheckBase       Check = "base"        // the layers below are those of the base image
	CheckInit       Check = "init"        // /sbin/init is a nixoci-init, and which
	CheckSystem     Check = "system"      // the system layer, made again, is the same
	CheckPlatform   Check = "platform"    // index, config and toplevel name one platform
	CheckConfig     Check = "config"      // the config, made again, is the same
	CheckManifest   Check = "manifest"    // the manifest, made again, is the same
	CheckIndex      Check = "index"       // the index, made again, is the same
	CheckSignatures Check = "signatures"  // trusted keys have signed the paths
	CheckClosure    Check = "closure"     // the image that the given closure makes is this one
	CheckSignedBy   Check = "attestation" // a key has signed the image, or a statement about it
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

// of is a finding at the place f.
func (f Finding) of(c Check, format string, args ...any) Finding {
	f.Check, f.What = c, fmt.Sprintf(format, args...)
	return f
}

// errStop ends the reading of a stream whose first finding is enough.
var errStop = errors.New("enough findings")

// collector takes the findings in a stream, in their order.
type collector struct {
	place       Finding // platform, layer and digest of each finding
	stopAtFirst bool
	findings    []Finding
}

// add returns errStop where no more are wanted.
func (c *collector) add(f Finding) error {
	f.Platform, f.Layer, f.Digest = c.place.Platform, c.place.Layer, c.place.Digest
	c.findings = append(c.findings, f)
	if c.stopAtFirst {
		return errStop
	}
	return nil
}

func (c *collector) addf(check Check, format string, args ...any) error {
	return c.add(Finding{}.of(check, format, args...))
}

// ledger holds what the checks of one image have found, in their order, and which
// of them came to their end.
type ledger struct {
	platform    string
	stopAtFirst bool
	findings    []Finding
	completed   map[Check]bool
}

// record takes the findings of the named checks, which came to their end, and
// reports whether checking goes on. Without names it takes those of a part of a
// check.
func (l *ledger) record(found []Finding, completed ...Check) bool {
	for _, f := range found {
		if f.Platform == "" {
			f.Platform = l.platform
		}
		l.findings = append(l.findings, f)
	}
	if l.stopAtFirst && len(l.findings) > 0 {
		return false
	}
	for _, c := range completed {
		l.completed[c] = true
	}
	return true
}
