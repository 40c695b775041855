package main

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// commandGroups holds the headings in the list of commands.
var commandGroups = []*cobra.Group{
	{ID: "make", Title: "Make images:"},
	{ID: "look", Title: "Inspect images:"},
	{ID: "trust", Title: "Sign and verify images:"},
	{ID: "registry", Title: "Manage registries and this machine:"},
}

// groupOfCommand maps each command to the heading in commandGroups.
var groupOfCommand = map[string]string{
	"push": "make", "build": "make", "index": "make",
	"plan": "look", "inspect": "look", "diff": "look", "sbom": "look",
	"verify": "trust", "sign": "trust", "attest": "trust",
	"login": "registry", "logout": "registry", "doctor": "registry", "prune": "registry", "cache": "registry", "serve": "registry",
}

// The help is as wide as the terminal, but at most maxHelpColumns. Without a terminal it is
// helpColumns wide; the texts are written for this width.
const (
	helpColumns    = 80
	maxHelpColumns = 120
)

// init makes cobra list commands in the order in which they are used, instead of alphabetical
// order.
func init() { cobra.EnableCommandSorting = false }

// groupCommands puts the commands of root under their headings. Commands that
// groupOfCommand does not list get no heading.
func groupCommands(root *cobra.Command) {
	root.AddGroup(commandGroups...)
	for _, c := range root.Commands() {
		c.GroupID = groupOfCommand[c.Name()]
	}
}

// writeHelp prints the help of cmd: first what the command does, then how to use it.
func writeHelp(cmd *cobra.Command) {
	w := cmd.OutOrStdout()
	if about := strings.TrimSpace(longOf(cmd)); about != "" {
		fmt.Fprintf(w, "%s\n\n", reflow(about, columns(w)))
	}
	fmt.Fprint(w, usageText(cmd, columns(w)))
}

// reflow wraps the paragraphs of text at a width. It does not change paragraphs that contain
// indented lines, such as lists and examples.
func reflow(text string, columns int) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		if strings.HasPrefix(p, " ") || strings.Contains(p, "\n ") {
			continue
		}
		var b strings.Builder
		room := 0
		for n, word := range strings.Fields(p) {
			length := utf8.RuneCountInString(word)
			switch {
			case n == 0:
				room = columns
			case length < room:
				b.WriteByte(' ')
				room--
			default:
				b.WriteByte('\n')
				room = columns
			}
			b.WriteString(word)
			room -= length
		}
		paragraphs[i] = b.String()
	}
	return strings.Join(paragraphs, "\n\n")
}

// columns returns the width of text that is written to w.
func columns(w any) int {
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return min(n, maxHelpColumns)
		}
	}
	return helpColumns
}

// usageText returns the usage line, examples, commands and flags.
func usageText(cmd *cobra.Command, columns int) string {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if !cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	} else {
		fmt.Fprintf(&b, "  %s COMMAND [flags]\n", cmd.CommandPath())
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		commandList(&b, cmd)
	}
	groups := groupedFlags(cmd)
	for _, g := range flagGroups {
		if groups[g] != nil {
			fmt.Fprintf(&b, "\n%s:\n%s", g, trimLines(groups[g].FlagUsagesWrapped(columns)))
		}
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n%s COMMAND --help explains a command.\n", cmd.CommandPath())
	}
	return b.String()
}

// trimLines removes the spaces that pflag leaves at the ends of lines.
func trimLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// commandList lists the subcommands of cmd under their headings.
func commandList(b *strings.Builder, cmd *cobra.Command) {
	list := func(title, group string) {
		first := true
		for _, c := range cmd.Commands() {
			if c.GroupID != group || !c.IsAvailableCommand() {
				continue
			}
			if first {
				fmt.Fprintf(b, "\n%s\n", title)
				first = false
			}
			fmt.Fprintf(b, "  %-12s %s\n", c.Name(), c.Short)
		}
	}
	for _, g := range cmd.Groups() {
		list(g.Title, g.ID)
	}
	if len(cmd.Groups()) > 0 {
		list("More:", "")
	} else {
		list("Commands:", "")
	}
}

// helpCommand replaces cobra's help command. Cobra's command calls commands
// "topics", and exits with 0 if the command does not exist.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND...]",
		Short: "Explain a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about := cmd.Root()
			for i, name := range args {
				next := childOf(about, name)
				if next == nil {
					return noCommand(about, args[i:])
				}
				about = next
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

func childOf(cmd *cobra.Command, name string) *cobra.Command {
	for _, c := range cmd.Commands() {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

// completeCommands completes the name of a command.
func completeCommands(_ *app, cmd *cobra.Command, prefix string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, c := range cmd.Root().Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return beginning(prefix, names), cobra.ShellCompDirectiveNoFileComp
}

// flagTables writes the flags of cmd by group, for docs/reference.md.
func flagTables(b *strings.Builder, flags *pflag.FlagSet, cmd *cobra.Command) {
	groups := map[flagGroup]*pflag.FlagSet{}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		g := infoOf(cmd, f.Name).group
		if groups[g] == nil {
			groups[g] = pflag.NewFlagSet("", pflag.ContinueOnError)
		}
		groups[g].AddFlag(f)
	})
	for _, g := range flagGroups {
		if groups[g] == nil {
			continue
		}
		fmt.Fprintf(b, "| %s | |\n|---|---|\n", g)
		groups[g].VisitAll(func(f *pflag.Flag) { flagRow(b, f) })
		b.WriteString("\n")
	}
}
