package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// pages returns the Markdown files of the repository. The keys are paths relative to the root
// of the repository.
func pages(t *testing.T) map[string]string {
	t.Helper()
	const root = "../.."
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "dist" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			all[filepath.ToSlash(name)] = string(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if all["README.md"] == "" || all["docs/README.md"] == "" {
		t.Fatal("the documentation was not found")
	}
	return all
}

var (
	codeBlock  = regexp.MustCompile("(?s)```.*?```")
	inlineCode = regexp.MustCompile("`([^`\n]+)`")
	pageLink   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notAnchor  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the fragments that GitHub makes from the headings of a page.
func anchors(page string) map[string]bool {
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
		found[strings.ReplaceAll(notAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return found
}

// TestLinks checks that each link to a file of the repository finds the file, and
// the heading if the link names one. Links to other sites are not checked, because
// the test must work without a network.
func TestLinks(t *testing.T) {
	all := pages(t)
	links := 0
	for name, text := range all {
		for _, m := range pageLink.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := name
			if file != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(name), file))
			}
			if _, err := os.Stat(filepath.Join("../..", target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", name, m[1])
			} else if anchor != "" && !anchors(all[target])[anchor] {
				t.Errorf("%s links to %s, which is not a heading of %s", name, m[1], target)
			}
		}
	}
	if links == 0 {
		t.Error("no page has a link")
	}
}

// TestDocumentedCommandLines checks that each nixoci command line in the
// documentation uses commands and flags that exist.
func TestDocumentedCommandLines(t *testing.T) {
	a := &app{}
	root := a.rootCommand()
	checked := 0
	for name, text := range pages(t) {
		for _, line := range commandLines(text) {
			if problem := checkLine(root, line); problem != "" {
				t.Errorf("%s: %s: %s", name, line, problem)
			}
			checked++
		}
	}
	if checked < 50 {
		t.Errorf("found %d command lines, which cannot be all", checked)
	}
}

var (
	lineOfNixoci = regexp.MustCompile(`(?:^|[\s|;&(])(?:bin/)?nixoci ([a-z].*)$`)
	endOfCommand = regexp.MustCompile(`\s#\s|\s[|&;<>]`)
	aFlag        = regexp.MustCompile(`(?:^|\s)(--[a-z][a-z-]*|-[a-z])(?:[\s=]|$)`)
)

// commandLines returns the arguments of each nixoci command in the code of a page.
func commandLines(page string) []string {
	var code []string
	for _, block := range codeBlock.FindAllString(page, -1) {
		code = append(code, strings.Split(strings.ReplaceAll(block, "\\\n", " "), "\n")...)
	}
	for _, m := range inlineCode.FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
		code = append(code, m[1])
	}
	var lines []string
	for _, c := range code {
		m := lineOfNixoci.FindStringSubmatch(c)
		if m == nil {
			continue
		}
		line := m[1]
		if at := endOfCommand.FindStringIndex(line); at != nil {
			line = line[:at[0]]
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

func checkLine(root *cobra.Command, line string) string {
	cmd, _, err := root.Find(strings.Fields(line))
	if err != nil || cmd == root {
		return "no such command"
	}
	cmd.InheritedFlags() // so that Lookup also finds the flags of the root command
	for _, m := range aFlag.FindAllStringSubmatch(line, -1) {
		flag := m[1]
		long := strings.TrimPrefix(flag, "--")
		if long != flag && long != "help" && cmd.Flag(long) == nil || long == flag && cmd.Flags().ShorthandLookup(flag[1:]) == nil {
			return cmd.CommandPath() + " has no flag " + flag
		}
	}
	return ""
}

// othersFlags lists flags in the documentation that belong to other programs.
var othersFlags = `
	docker, podman, nerdctl: --tmpfs --cgroupns --security-opt --cap-add --init --read-only --hostname --dns --health-cmd
	                         --health-interval --health-timeout --health-retries --privileged --network
	systemd: --boot --user
	cosign, oras: --new-bundle-format --trusted-root --predicate --from-oci-layout --use-signed-timestamps
	              --insecure-ignore-sct
`

// TestDocumentedFlags checks each flag that a page mentions. It must be a flag of
// nixoci, or one in othersFlags.
func TestDocumentedFlags(t *testing.T) {
	known := map[string]bool{"--help": true, "--version": true}
	for _, flag := range strings.Fields(othersFlags) {
		known[flag] = true
	}
	for name := range flagTable {
		known["--"+name[strings.LastIndex(name, " ")+1:]] = true
	}
	flags := regexp.MustCompile(`^(--[a-z-]+)`)
	found := 0
	for name, text := range pages(t) {
		for _, m := range inlineCode.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
			if f := flags.FindString(m[1]); f != "" {
				found++
				if !known[f] {
					t.Errorf("%s names %s, which is not a flag", name, f)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no page names a flag")
	}
}
