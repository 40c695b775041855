package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// environment lists the environment variables that nixoci reads, for
// docs/reference.md.
var environment = []struct{ name, meaning string }{
	{"ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN", "where `--keyless` gets its identity token in GitHub Actions"},
	{"COSIGN_PASSWORD", "the password of the key that `sign`, `attest`, `push` and `verify` use"},
	{"DOCKER_CONFIG", "directory of Docker's config.json, which stores credentials for registries (default `~/.docker`)"},
	{"NETRC", "file with credentials for binary caches (default: `netrc-file` of nix.conf)"},
	{"NIX_CONFIG, NIX_CONF_DIR, NIX_USER_CONF_FILES", "settings of Nix. nixoci uses `trusted-public-keys` and `netrc-file`"},
	{"NO_COLOR", "if set, no color unless `--color always`"},
	{"REGISTRY_AUTH_FILE", "file with credentials for registries, in the format of podman"},
	{"SIGSTORE_ID_TOKEN", "the identity token for `--keyless`, instead of the token of GitHub Actions"},
	{"SOURCE_DATE_EPOCH", "creation time of the image in seconds since 1970, if `--created` is not given"},
	{"XDG_CACHE_HOME", "directory for caches (default `~/.cache`). nixoci stores data about layers in the subdirectory `nixoci`"},
	{"http_proxy, https_proxy, no_proxy", "proxy for registries, binary caches and the services of `--keyless`"},
}

// exitCodes lists the exit codes, for docs/reference.md.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "done"},
	{exitFailed, "failed"},
	{exitUsage, "wrong usage. nixoci made no image and changed none"},
	{exitMismatch, "does not match: an image or layer is not what it claims to be"},
	{exitCrash, "crashed, because of a bug in nixoci"},
	{exitInterrupted, "interrupted"},
}

// docsCommand returns the hidden command docs. It writes the man pages, which packages
// install, and the reference page in docs/.
func (a *app) docsCommand() *cobra.Command {
	docs := &cobra.Command{
		Use:    "docs",
		Short:  "Write the man pages or the reference page",
		Hidden: true,
	}
	docs.AddCommand(&cobra.Command{
		Use:   "man DIR",
		Short: "Write a man page for each command into DIR",
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeManPages(args[0], cmd.Root())
		},
	}, &cobra.Command{
		Use:   "reference",
		Short: "Print the reference page: commands, flags, variables, exit codes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return writeReference(a.stdout.Raw(), cmd.Root())
		},
	})
	return docs
}

// writeManPages writes a man page for c and each of its subcommands.
func writeManPages(dir string, c *cobra.Command) error {
	if c.Hidden {
		return nil
	}
	c.DisableAutoGenTag = true // the "auto generated" line at the end would contain the date
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	var page bytes.Buffer
	header := &doc.GenManHeader{Title: strings.ToUpper(name), Section: "1", Source: "nixoci " + version, Manual: "nixoci", Date: &time.Time{}}
	if err := doc.GenMan(c, header, &page); err != nil {
		return fmt.Errorf("write the man page of %s: %w", c.CommandPath(), err)
	}
	// The page must not depend on the current date. So the zero time is passed to the
	// library, and then removed from the page.
	text := bytes.Replace(page.Bytes(), []byte(`"Jan 0001"`), []byte(`""`), 1)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".1"), text, 0o644); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	for _, sub := range c.Commands() {
		if err := writeManPages(dir, sub); err != nil {
			return err
		}
	}
	return nil
}

// writeReference writes all commands with their flags as one Markdown page.
func writeReference(w io.Writer, root *cobra.Command) error {
	var b strings.Builder
	b.WriteString("# Reference\n\n<!-- Generated: go test ./cmd/nixoci -run TestReference -update -->\n\n" +
		"Every command and its flags, as `nixoci COMMAND --help` shows them.\n\n")
	b.WriteString("## Flags of all commands\n\n")
	flagTables(&b, root.PersistentFlags(), root)
	for _, c := range root.Commands() {
		if c.Name() == "completion" || c.Name() == "help" {
			continue // cobra itself makes this command
		}
		referenceOf(&b, c)
	}
	b.WriteString("\n## Environment\n\n| variable | meaning |\n|---|---|\n")
	for _, v := range environment {
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(v.name, ", ", "`, `"), v.meaning)
	}
	b.WriteString("\n## Exit codes\n\n| code | meaning |\n|--:|---|\n")
	for _, e := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", e.code, e.meaning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func referenceOf(b *strings.Builder, c *cobra.Command) {
	if c.Hidden {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n```\n%s\n```\n\n%s\n", c.CommandPath(), c.UseLine(), strings.TrimSpace(longOf(c)))
	if c.Example != "" {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", unindent(c.Example))
	}
	if c.LocalNonPersistentFlags().HasAvailableFlags() {
		b.WriteString("\n")
		flagTables(b, c.LocalNonPersistentFlags(), c)
	}
	for _, sub := range c.Commands() {
		referenceOf(b, sub)
	}
}

func longOf(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Short + "."
}

func unindent(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		lines = append(lines, strings.TrimPrefix(strings.TrimRight(line, "\n"), "  "))
	}
	return strings.Join(lines, "\n")
}

// flagRow writes one flag as a row of a Markdown table.
func flagRow(b *strings.Builder, f *pflag.Flag) {
	name, usage := pflag.UnquoteUsage(f)
	flag := "--" + f.Name
	if f.Shorthand != "" {
		flag = "-" + f.Shorthand + ", " + flag
	}
	if name != "" {
		flag += " " + name
	}
	if def := f.DefValue; def != "" && def != "false" && def != "0" && !strings.Contains(usage, "(default") {
		usage += " (default " + def + ")"
	}
	fmt.Fprintf(b, "| `%s` | %s |\n", strings.ReplaceAll(flag, "|", `\|`), strings.ReplaceAll(usage, "|", `\|`))
}
