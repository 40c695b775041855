// Package limit holds the limits of all input from outside. It also opens files that a person
// or another program has made.
//
// nixoci does not trust the sizes that registries, binary caches, layouts, archives, stores
// and credential helpers report. For every input, nixoci uses less memory than [Memory] and
// ends after a limited time. Each limit is several times what the largest honest input needs.
// Input above a limit causes an error that names the limit. docs/security.md shows [Table].
package limit

import (
	"fmt"
	"strings"
	"time"
)

// These are units of sizes.
const (
	kib = 1 << 10
	mib = 1 << 20
)

// Memory is the most memory, in bytes, that nixoci may use with any input. The other limits
// are chosen for it.
const Memory = 250 * 1000 * 1000

// These limits apply to closures: to the store paths, and to the data about them.
const (
	Paths       = 125_000   // store paths of a closure
	References  = 2_000_000 // references between the store paths of a closure
	PathText    = 32 * mib  // other data of a closure: signatures, derivers, content addresses
	Signatures  = 64        // signatures of one store path
	Narinfo     = 4 * mib   // a narinfo file; with 10,000 references it has about 600 kB
	CacheInfo   = 64 * kib  // the file nix-cache-info
	GraphFile   = 128 * mib // a graph file; with 100,000 store paths it has about 80 MB
	GraphPath   = 4 * mib   // one store path in a graph file or closure statement
	Window      = 64 * mib  // window of one compressed NAR; the output of xz -9 needs this much
	Windows     = 96 * mib  // windows of all NARs that are decompressed at the same time
	NixConf     = 1 * mib
	NixConfDeep = 8 // depth of nested includes in nix.conf
	Netrc       = 1 * mib
)

// These limits apply to images.
const (
	Manifest       = 4 * mib // a manifest or an index; most registries have the same limit
	ManifestValues = 100_000 // JSON values in a manifest or an index; with 1000 layers it has about 25,000
	Config         = 8 * mib // the config of an image
	ConfigValues   = 100_000 // JSON values in the config of an image
	LayoutIndex    = 16 * mib
	LayoutValues   = 500_000 // JSON values in the index of a layout, which has about 12 for each tag
	LayoutFile     = 4 * kib // the file oci-layout
	ArchiveEntries = 100_000 // files in an archive
	ImageLayers    = 1000    // layers of one platform
	Artifact       = 64 * mib
	Bundle         = 24 * mib // a signed document; an SBOM of 5,000 store paths needs 16 MiB
	Predicate      = 1 * mib  // the content ("predicate") of a signed statement, if nixoci reads it
	Referrers      = 1000     // documents attached to one image
	ReferrerPages  = 100
	PlanFile       = 64 * mib
	History        = 64        // images of a platform that --history reads
	HistorySize    = 128 * mib // manifests and indexes that --history reads
	HistoryReads   = 2000      // requests for these manifests and indexes; 64 images of 20 platforms take about 1,500
	HistoryPaths   = 250_000   // store paths that these manifests list
	Policy         = 1 * mib   // a verification policy
	PolicyKeys     = 100       // keys, identities and rebuilders in a policy
	TrustRoot      = 1 * mib   // a file with trust roots of Sigstore, or with its services
	IdentityToken  = 64 * kib  // an OIDC token
	SigstoreAnswer = 4 * mib   // an answer of Fulcio, Rekor or a timestamp authority
	BundleValues   = 10_000    // JSON values in a signed document
	Subjects       = 1 * mib   // the list of subjects in a signed statement
	Proofs         = 256 * kib // certificate, log entries and timestamps of a signature; real ones have up to 20 kB
	Timestamps     = 32        // timestamps of a signature; sigstore-go has the same limit
	Tags           = 20_000    // tags of a repository, for the command prune
	TagPages       = 200
)

// These limits apply to files and programs on this machine.
const (
	KeyFile      = 1 * mib          // certificates or keys
	DockerConfig = 4 * mib          // Docker's config.json, or podman's auth.json
	HelperOutput = 1 * mib          // output of a credential helper
	HelperTime   = 30 * time.Second // time for a credential helper to answer
	FlakeLock    = 16 * mib         // output of nix flake metadata, which contains the lock file
	FlakeMeta    = 32 * mib         // output of nix/meta.nix
	FlakeInputs  = 10_000           // locked inputs of a flake
)

// These limits apply to waiting and to transfers.
const (
	Answer       = time.Minute      // after this time, a request without an answer is sent again
	Operation    = 3 * time.Minute  // after this time, an operation without an answer fails
	LeastSpeed   = 1024             // lowest accepted speed of a transfer, in bytes per second
	LeastSpeedIn = 30 * time.Second // time over which the speed is measured
)

// Row describes one limit in [Table].
type Row struct {
	Name  string // name of the constant
	Value string
	What  string // what the limit applies to
}

// Table lists every limit.
func Table() []Row {
	return []Row{
		{"Memory", size(Memory), "memory, whatever comes in"},
		{"Paths", count(Paths), "store paths of a closure"},
		{"References", count(References), "references between the store paths of a closure"},
		{"PathText", size(PathText), "signatures, derivers and content addresses of a closure"},
		{"Signatures", count(Signatures), "signatures of one store path"},
		{"Narinfo", size(Narinfo), "a narinfo"},
		{"CacheInfo", size(CacheInfo), "`nix-cache-info`"},
		{"GraphFile", size(GraphFile), "a graph file, and a closure statement"},
		{"GraphPath", size(GraphPath), "one store path in a graph file"},
		{"Window", size(Window), "the window of a compressed NAR"},
		{"Windows", size(Windows), "the windows of all NARs that are decompressed at a time; others wait"},
		{"NixConf", size(NixConf), "`nix.conf`"},
		{"NixConfDeep", count(NixConfDeep), "`include` within `include`"},
		{"Netrc", size(Netrc), "`netrc`"},
		{"Manifest", size(Manifest), "a manifest or an index in a registry"},
		{"ManifestValues", count(ManifestValues), "JSON values in a manifest or an index"},
		{"Config", size(Config), "the config of an image"},
		{"ConfigValues", count(ConfigValues), "JSON values in the config of an image"},
		{"LayoutIndex", size(LayoutIndex), "`index.json` of a layout or archive"},
		{"LayoutValues", count(LayoutValues), "JSON values in `index.json`"},
		{"LayoutFile", size(LayoutFile), "`oci-layout`"},
		{"ArchiveEntries", count(ArchiveEntries), "files in an archive"},
		{"ImageLayers", count(ImageLayers), "layers of one platform"},
		{"Artifact", size(Artifact), "a document that is attached to an image, and all that `inspect` and `sbom` read of one image"},
		{"Bundle", size(Bundle), "a signed document"},
		{"Predicate", size(Predicate), "the content of a signed document whose content `verify` reads, not only its type"},
		{"Referrers", count(Referrers), "documents that are attached to one image"},
		{"ReferrerPages", count(ReferrerPages), "pages in which a registry lists them"},
		{"PlanFile", size(PlanFile), "a plan file"},
		{"History", count(History), "images of a platform that `--history` reads"},
		{"HistorySize", size(HistorySize), "the manifests and indexes that `--history` reads"},
		{"HistoryReads", count(HistoryReads), "requests for these manifests and indexes"},
		{"HistoryPaths", count(HistoryPaths), "store paths that these images list"},
		{"Policy", size(Policy), "a verification policy"},
		{"PolicyKeys", count(PolicyKeys), "keys, identities and rebuilders in a verification policy"},
		{"TrustRoot", size(TrustRoot), "a file with trust roots of Sigstore, or with its services"},
		{"IdentityToken", size(IdentityToken), "an OIDC token"},
		{"SigstoreAnswer", size(SigstoreAnswer), "an answer of Fulcio, Rekor, a timestamp authority or the provider of tokens"},
		{"BundleValues", count(BundleValues), "JSON values in a signed document"},
		{"Subjects", size(Subjects), "the list of subjects in a signed statement"},
		{"Proofs", size(Proofs), "certificate, log entries and timestamps of a signature"},
		{"Timestamps", count(Timestamps), "timestamps of a signature"},
		{"Tags", count(Tags), "tags of a repository that is pruned"},
		{"TagPages", count(TagPages), "pages in which a registry lists them"},
		{"KeyFile", size(KeyFile), "a file of certificates or keys"},
		{"DockerConfig", size(DockerConfig), "a file of registry credentials, such as Docker's `config.json`"},
		{"HelperOutput", size(HelperOutput), "what a credential helper prints"},
		{"HelperTime", HelperTime.String(), "until a credential helper must have answered"},
		{"FlakeLock", size(FlakeLock), "the metadata of a flake with its lock file"},
		{"FlakeMeta", size(FlakeMeta), "what nixpkgs says about the packages of a flake"},
		{"FlakeInputs", count(FlakeInputs), "locked inputs of a flake"},
		{"Answer", Answer.String(), "until a request without an answer is tried again"},
		{"Operation", Operation.String(), "until an operation without an answer fails"},
		{"LeastSpeed", fmt.Sprintf("%d B/s", LeastSpeed), "least speed of a transfer (`--min-speed`)"},
		{"LeastSpeedIn", LeastSpeedIn.String(), "time over which the speed is measured"},
	}
}

func size(n int64) string {
	switch {
	case n%mib == 0:
		return fmt.Sprintf("%d MiB", n/mib)
	case n%kib == 0:
		return fmt.Sprintf("%d KiB", n/kib)
	}
	return fmt.Sprintf("%d MB", n/1e6)
}

// count formats n with a comma between groups of three digits.
func count(n int) string {
	s := fmt.Sprint(n)
	var parts []string
	for len(s) > 3 {
		parts = append([]string{s[len(s)-3:]}, parts...)
		s = s[:len(s)-3]
	}
	return strings.Join(append([]string{s}, parts...), ",")
}
