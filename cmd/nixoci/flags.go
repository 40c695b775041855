package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/report"
	"github.com/nixoci/nixoci/internal/verify"
)

// uses defines shared flags on cmd. Several commands share the flags from, platform, jobs,
// min-speed and json. names lists the shared flags of cmd.
func (a *app) uses(cmd *cobra.Command, names ...string) {
	f := cmd.Flags()
	for _, name := range names {
		switch name {
		case "from":
			f.StringArrayVar(&a.from, "from", nil, "where to read store paths: a root directory or a binary cache (https://, http://, s3://, file://); repeat to try several in order (default /)")
		case "platform":
			f.StringSliceVar(&a.platforms, "platform", nil, "platforms to use or to build for, such as linux/amd64,linux/arm64")
		case "jobs":
			f.IntVarP(&a.jobs, "jobs", "j", 0, "how many compressors run at once (default: the number of processors)")
		case "min-speed":
			f.Int64Var(&a.minSpeed, "min-speed", limit.LeastSpeed, "if a transfer is slower than this many bytes per second, stop it and try again; 0 accepts any speed")
		case "json":
			f.BoolVar(&a.json, "json", false, "print the result as JSON")
		default:
			panic("no common flag --" + name)
		}
	}
}

// flagGroup is a heading for flags in the help.
type flagGroup string

// The help shows the groups in this order.
const (
	groupImage       flagGroup = "Image"
	groupApplication flagGroup = "Applications"
	groupLayers      flagGroup = "Layers"
	groupReuse       flagGroup = "Reuse"
	groupTrust       flagGroup = "Trust"
	groupRegistry    flagGroup = "Registry"
	groupOutput      flagGroup = "Output"
)

var flagGroups = []flagGroup{groupImage, groupApplication, groupLayers, groupReuse, groupTrust, groupRegistry, groupOutput}

// flagInfo describes what pflag does not store about a flag.
type flagInfo struct {
	group    flagGroup
	value    string     // name of the value in the help; "" for a flag without a value
	complete completion // function that completes the value
}

// flagTable describes every flag by its name. If a flag has a different meaning in one
// command, it has an additional entry "COMMAND NAME".
var flagTable = map[string]flagInfo{
	"add-user":        {groupApplication, "NAME=UID", completeNothing},
	"ca-certificates": {groupApplication, "", nil},
	"from-image":      {groupApplication, "[PLATFORM=]IMAGE", completeRefOrFile},
	"link":            {groupApplication, "/DIR", completeWords("/bin", "/etc", "/lib", "/share")},
	"nix-database":    {groupApplication, "", nil},
	"sh":              {groupApplication, "", nil},

	"annotation":            {groupImage, "NAME=VALUE", completeNothing},
	"cmd":                   {groupImage, "WORD", completeNothing},
	"created":               {groupImage, "TIME", completeNothing},
	"describe":              {groupImage, "NAME=VALUE", completeWords(withEquals(describeNames)...)},
	"entrypoint":            {groupImage, "WORD", completeNothing},
	"env":                   {groupImage, "NAME=VALUE", completeNothing},
	"format":                {groupImage, "FORMAT", completeWords("oci", "docker")},
	"from":                  {groupImage, "DIR|URL", completeWordsOrFiles("https://cache.nixos.org")},
	"init":                  {groupImage, "FILE|none", completeWordsOrFiles(initNone)},
	"label":                 {groupImage, "NAME=VALUE", completeNothing},
	"nixpkgs":               {groupImage, "DIR|FLAKE", completeDirectories},
	"platform":              {groupImage, "PLATFORM,...", completeList("linux/amd64", "linux/arm64", "linux/386", "linux/arm/v7", "linux/riscv64")},
	"port":                  {groupImage, "PORT[/udp]", completeNothing},
	"spec":                  {groupImage, "FILE", completeFiles},
	"health-cmd":            {groupImage, "WORD", completeNothing},
	"health-interval":       {groupImage, "DURATION", completeNothing},
	"health-retries":        {groupImage, "N", completeNothing},
	"health-start-interval": {groupImage, "DURATION", completeNothing},
	"health-start-period":   {groupImage, "DURATION", completeNothing},
	"health-timeout":        {groupImage, "DURATION", completeNothing},
	"stop-signal":           {groupImage, "SIGNAL", completeWords("SIGRTMIN+3", "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGKILL")},
	"user":                  {groupImage, "USER", completeNothing},
	"volume":                {groupImage, "DIR", completeNothing},
	"workdir":               {groupImage, "DIR", completeNothing},

	"compression":   {groupLayers, "METHOD[:LEVEL]", completeWords("gzip", "zstd", "none")},
	"history":       {groupLayers, "N", completeNothing},
	"jobs":          {groupLayers, "N", completeNothing},
	"layer":         {groupLayers, "GLOB=NAME", completeNothing},
	"max-layers":    {groupLayers, "N", completeNothing},
	"plan":          {groupLayers, "FILE|REF", completeRefOrFile},
	"plan-from":     {groupLayers, "FILE|REF", completeRefOrFile},
	"plan-strategy": {groupLayers, "STRATEGY", completeStrategies},

	"mount-from":  {groupReuse, "REPOSITORY", completeNothing},
	"reuse":       {groupReuse, "WHERE", completeWords("registry,local", "registry", "local", reuseBoth, reuseNone)},
	"reuse-check": {groupReuse, "SHARE", completeNothing},
	"reuse-from":  {groupReuse, "REF", completeRef},
	"reuse-key":   {groupReuse, "FILE", completeFiles},

	"attest":                {groupTrust, "DOCUMENT,...", completeList("closure", "sbom", "spdx", "spdx3", "cyclonedx", "vex", "provenance")},
	"attest-failure":        {groupTrust, "", nil},
	"attest-result":         {groupTrust, "", nil},
	"attest-time":           {groupTrust, "TIME", completeNothing},
	"attest-to":             {groupTrust, "REPOSITORY", completeNothing},
	"builder-id":            {groupTrust, "URI", completeWords(attest.DefaultBuilder)},
	"default-settings":      {groupTrust, "", nil},
	"identity":              {groupTrust, "NAME", completeNothing},
	"identity-token":        {groupTrust, "FILE", completeFiles},
	"issuer":                {groupTrust, "URL", completeWords("https://token.actions.githubusercontent.com", "https://gitlab.com", "https://accounts.google.com")},
	"key":                   {groupTrust, "FILE", completeFiles},
	"keyless":               {groupTrust, "SERVICES", completeFiles},
	"no-require-signatures": {groupTrust, "", nil},
	"meta":                  {groupTrust, "", nil},
	"meta-from":             {groupTrust, "CLOSURE", completeClosure},
	"policy":                {groupTrust, "FILE", completeFiles},
	"predicate":             {groupTrust, "FILE", completeFiles},
	"rebuilder-key":         {groupTrust, "FILE", completeFiles},
	"rebuilders-from":       {groupTrust, "REPOSITORY", completeNothing},
	"recursive":             {groupTrust, "", nil},
	"require-attestation":   {groupTrust, "TYPE", completeWords(attest.PredicateNames()...)},
	"require-rebuilders":    {groupTrust, "N", completeNothing},
	"require-signatures":    {groupTrust, "WHICH", completeWords(string(verify.RequireAll), string(verify.RequireAny), string(verify.RequireNone))},
	"trust-root":            {groupTrust, "FILE", completeFiles},
	"trusted-public-key":    {groupTrust, "NAME:BASE64", completeNothing},
	"type":                  {groupTrust, "TYPE", completeWords(attest.PredicateNames()...)},
	"verifier-id":           {groupTrust, "URI", completeNothing},
	"verify against":        {groupTrust, "URL", completeWords("https://cache.nixos.org")},
	"verify init":           {groupTrust, "FILE|none", completeWordsOrFiles(initNone)},

	"ca-file":        {groupRegistry, "FILE", completeFiles},
	"dir":            {groupRegistry, "DIR", completeDirectories},
	"dry-run":        {groupRegistry, "", nil},
	"insecure":       {groupRegistry, "", nil},
	"join":           {groupRegistry, "", nil},
	"keep":           {groupRegistry, "N", completeNothing},
	"keep-tag":       {groupRegistry, "GLOB", completeNothing},
	"listen":         {groupRegistry, "ADDRESS", completeNothing},
	"min-speed":      {groupRegistry, "BYTES", completeNothing},
	"password":       {groupRegistry, "PASSWORD", completeNothing},
	"password-stdin": {groupRegistry, "", nil},
	"tag":            {groupRegistry, "TAG", completeNothing},
	"username":       {groupRegistry, "USER", completeNothing},
	"write":          {groupRegistry, "", nil},

	"against":        {groupOutput, "OTHER", completeRefOrFile},
	"all":            {groupOutput, "", nil},
	"build tag":      {groupOutput, "TAG", completeNothing},
	"color":          {groupOutput, "WHEN", completeWords("auto", "always", "never")},
	"diff format":    {groupOutput, "FORMAT", completeWords(diffFormats...)},
	"push summary":   {groupOutput, "FILE|none", completeWordsOrFiles(summaryNone)},
	"help":           {groupOutput, "", nil},
	"html":           {groupOutput, "FILE", completeFiles},
	"open":           {groupOutput, "", nil},
	"json":           {groupOutput, "", nil},
	"keep-going":     {groupOutput, "", nil},
	"older-than":     {groupOutput, "TIME", completeNothing},
	"out":            {groupOutput, "FILE", completeFiles},
	"output":         {groupOutput, "DEST", completeDestination},
	"paths":          {groupOutput, "", nil},
	"quiet":          {groupOutput, "", nil},
	"attest created": {groupOutput, "TIME", completeNothing},
	"sbom created":   {groupOutput, "TIME", completeNothing},
	"sbom format":    {groupOutput, "FORMAT", completeWords(report.FormatSPDX, report.FormatSPDX3, report.FormatCycloneDX, report.FormatOpenVEX, report.FormatTable)},
	"verbose":        {groupOutput, "", nil},
	"version":        {groupOutput, "", nil},
}

// withEquals returns the beginnings of NAME=VALUE for the given names.
func withEquals(names []string) (words []string) {
	for _, n := range names {
		words = append(words, n+"=")
	}
	return words
}

func completeStrategies(a *app, cmd *cobra.Command, prefix string) ([]string, cobra.ShellCompDirective) {
	var words []string
	for _, s := range plan.Strategies {
		words = append(words, string(s))
	}
	return completeWords(words...)(a, cmd, prefix)
}

// infoOf returns the entry of a flag in flagTable. A flag without an entry belongs
// to the group Output.
func infoOf(cmd *cobra.Command, name string) flagInfo {
	if i, ok := flagTable[cmd.Name()+" "+name]; ok {
		return i
	}
	if i, ok := flagTable[name]; ok {
		return i
	}
	return flagInfo{group: groupOutput, complete: completeFiles}
}

// describeFlags sets the value names for the flags of cmd and its subcommands.
func describeFlags(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if info := infoOf(cmd, f.Name); info.value != "" {
			f.Value = named(f.Value, info.value)
		}
		if f.DefValue == "[]" || f.DefValue == "0s" {
			f.DefValue = "" // so that the help shows no empty default
		}
	})
	for _, c := range cmd.Commands() {
		describeFlags(c)
	}
}

// namedValue is a flag value with a more precise type name than "string".
type namedValue struct {
	pflag.Value
	name string
}

func (v namedValue) Type() string { return v.name }

type namedSlice struct {
	namedValue
	pflag.SliceValue
}

func named(v pflag.Value, name string) pflag.Value {
	if s, ok := v.(pflag.SliceValue); ok {
		return namedSlice{namedValue{v, name}, s}
	}
	return namedValue{v, name}
}

// groupedFlags returns the visible flags of a command by group.
func groupedFlags(cmd *cobra.Command) map[flagGroup]*pflag.FlagSet {
	groups := map[flagGroup]*pflag.FlagSet{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		g := infoOf(cmd, f.Name).group
		if groups[g] == nil {
			groups[g] = pflag.NewFlagSet("", pflag.ContinueOnError)
		}
		groups[g].AddFlag(f)
	})
	return groups
}

// nearFlag returns the flag of cmd with the name most similar to name, or "" if there is no
// similar name.
func nearFlag(cmd *cobra.Command, name string) string {
	best, distance := "", 3
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		d := editDistance(f.Name, name)
		if len(name) >= 3 && strings.HasPrefix(f.Name, name) {
			d = 1
		}
		if !f.Hidden && d < distance && d < len(f.Name) {
			best, distance = f.Name, d
		}
	})
	return best
}

// flagElsewhere returns the other commands that have this flag.
func flagElsewhere(cmd *cobra.Command, name string) (commands []string) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c != cmd && c.Runnable() && !c.Hidden && c.LocalNonPersistentFlags().Lookup(name) != nil && !c.HasSubCommands() {
			commands = append(commands, strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" "))
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(cmd.Root())
	slices.Sort(commands)
	return commands
}

// editDistance counts the edits that change a into b. An edit inserts, removes or
// replaces a letter, or swaps two neighbours.
func editDistance(a, b string) int {
	before, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
