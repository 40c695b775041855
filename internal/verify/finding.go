package verify

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/nixoci/nixoci/internal/terminal"
)

// Check names one check of an image.
type Check string

// These are the checks, in the order of the report.
const (
	CheckDigests    Check = "digests"     // digests, sizes and media types are right, and config, manifest and diffIDs match
	CheckFormat     Check = "format"      // each layer is in the canonical form of its format version
	CheckPaths      Check = "paths"       // the layers contain exactly the store paths of the Nix database
	CheckNarHashes  Check = "narhashes"   // the NAR of each path has the narHash and narSize of the database
	CheckReferences Check = "references"  // the paths are closed under references and reachable from the toplevel
	CheckAddresses  Check = "addresses"   // content-addressed paths have the name that is computed from their content
	CheckBase       Check = "base"        // the lowest layers are the layers of the base image
	CheckInit       Check = "init"        // /sbin/init is a known nixoci-init
	CheckSystem     Check = "system"      // the system layer, made again, is the same
	CheckPlatform   Check = "platform"    // index, config and toplevel name the same platform
	CheckConfig     Check = "config"      // the config, made again, is the same
	CheckManifest   Check = "manifest"    // the manifest, made again, is the same
	CheckIndex      Check = "index"       // the index, made again, is the same
	CheckSignatures Check = "signatures"  // trusted keys have signed the paths
	CheckClosure    Check = "closure"     // the given closure makes this image
	CheckSignedBy   Check = "attestation" // a key has signed the image, or a statement about it
	CheckPolicy     Check = "policy"      // the policy allows everything that the image records
	CheckRebuilders Check = "rebuilders"  // several other people or machines have made the image again
)

// Finding describes one fault of the image and its place.
type Finding struct {
	Check    Check         `json:"check"`
	Platform string        `json:"platform,omitempty"`
	Layer    int           `json:"layer,omitempty"` // number of the layer, from 1; 0 if the finding is not about a layer
	Digest   digest.Digest `json:"digest,omitempty"`
	Path     string        `json:"path,omitempty"` // store path, or name of a tar entry
	File     string        `json:"file,omitempty"` // name below the store path
	What     string        `json:"what"`

	source source
}

// source names who requires what the image does not meet: verify itself, the policy or a flag.
type source int

const (
	ofImage  source = iota // verify itself requires it, because the image must be what it claims to be
	ofPolicy               // the policy requires it
	ofFlag                 // a flag requires it
)

// requiredBy marks findings as failures to meet a requirement of the policy, or else of a flag.
func requiredBy(policy bool, found []Finding) []Finding {
	for n := range found {
		if found[n].source = ofFlag; policy {
			found[n].source = ofPolicy
		}
	}
	return found
}

// String returns one line. It names the place, from the outside in, and then the fault.
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

// of returns a finding at the place of f.
func (f Finding) of(c Check, format string, args ...any) Finding {
	f.Check, f.What = c, fmt.Sprintf(format, args...)
	return f
}

// errStop ends the reading of a stream if its first finding is enough.
var errStop = errors.New("enough findings")

// collector collects the findings in a stream, in their order.
type collector struct {
	place       Finding // platform, layer and digest for all findings
	stopAtFirst bool
	findings    []Finding
}

// add adds f. If no more findings are needed, it returns errStop.
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

// ledger holds the findings of the checks of one image, in their order. It also records
// which checks are complete.
type ledger struct {
	platform    string
	stopAtFirst bool
	findings    []Finding
	completed   map[Check]bool
}

// record adds findings and marks the checks in completed as complete. It reports whether checking
// continues. Leave completed empty as long as more parts of a check follow.
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
