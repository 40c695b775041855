package main

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/nixbuild"
	"github.com/nixoci/nixoci/internal/registry"
)

// completion returns the possible completions of a word that begins with prefix. If there is
// an error, it returns nothing, because the shell cannot show an error.
type completion func(a *app, cmd *cobra.Command, prefix string) ([]string, cobra.ShellCompDirective)

// One completion is limited to this time and number of tags. The limits are small because the
// user waits after pressing Tab.
const (
	completionTime = 4 * time.Second
	completionTags = 200
)

func completeNothing(*app, *cobra.Command, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func completeFiles(*app, *cobra.Command, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

func completeDirectories(*app, *cobra.Command, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func completeWords(words ...string) completion {
	return func(_ *app, _ *cobra.Command, prefix string) ([]string, cobra.ShellCompDirective) {
		return beginning(prefix, words), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// completeWordsOrFiles completes words. If none of the words fits, the shell completes file
// names.
func completeWordsOrFiles(words ...string) completion {
	return func(_ *app, _ *cobra.Command, prefix string) ([]string, cobra.ShellCompDirective) {
		return beginning(prefix, words), cobra.ShellCompDirectiveDefault
	}
}

// completeList completes the last word of a comma-separated list.
func completeList(words ...string) completion {
	return func(_ *app, _ *cobra.Command, prefix string) ([]string, cobra.ShellCompDirective) {
		before := prefix[:strings.LastIndex(prefix, ",")+1]
		chosen := strings.Split(before, ",")
		var left []string
		for _, w := range words {
			if !contains(chosen, w) {
				left = append(left, before+w)
			}
		}
		return beginning(prefix, left), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

func beginning(prefix string, words []string) (found []string) {
	for _, w := range words {
		if strings.HasPrefix(w, prefix) {
			found = append(found, w)
		}
	}
	return found
}

// completeRef completes the tag of a reference: HOST/REPOSITORY:TAG.
func completeRef(a *app, cmd *cobra.Command, prefix string) ([]string, cobra.ShellCompDirective) {
	const noFiles = cobra.ShellCompDirectiveNoFileComp
	colon := strings.LastIndex(prefix, ":")
	if colon < 0 || strings.Contains(prefix[colon:], "/") {
		return nil, noFiles | cobra.ShellCompDirectiveNoSpace
	}
	ref, err := registry.ParseReference(prefix[:colon])
	if err != nil || ref.Digest != "" {
		return nil, noFiles
	}
	o := registry.Options{ReadOnly: true, UserAgent: "nixoci/" + version, Retry: retrySchedule}
	if f := cmd.Flags().Lookup("insecure"); f != nil {
		o.Insecure = f.Value.String() == "true"
	}
	if f := cmd.Flags().Lookup("ca-file"); f != nil {
		o.CAFile = f.Value.String()
	}
	repo, err := registry.Open(ref.Repository, o)
	if err != nil {
		return nil, noFiles
	}
	defer repo.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	tags, err := repo.NewestTags(ctx, completionTags)
	if err != nil {
		return nil, noFiles
	}
	for i, t := range tags {
		tags[i] = prefix[:colon+1] + t
	}
	return beginning(prefix, tags), noFiles | cobra.ShellCompDirectiveKeepOrder
}

// completeImage completes the name of an image to read: a reference, a layout or an
// archive.
func completeImage(a *app, cmd *cobra.Command, prefix string) ([]string, cobra.ShellCompDirective) {
	kind, file, ok := strings.Cut(prefix, ":")
	if ok && layout.IsImage(prefix) {
		return filesAfter(kind+":", file), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	if kinds := beginning(prefix, []string{"oci:", "oci-archive:", "docker-archive:"}); prefix != "" && len(kinds) > 0 {
		return kinds, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	return completeRef(a, cmd, prefix)
}

// completeDestination completes the destination of the command build.
func completeDestination(_ *app, _ *cobra.Command, prefix string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	if kind, file, ok := strings.Cut(prefix, ":"); ok {
		return filesAfter(kind+":", file), directive
	}
	return beginning(prefix, []string{"oci:", "oci-archive:", "docker-archive:", "docker-daemon:", "containers-storage:", "-"}), directive
}

// filesAfter returns the files whose names begin with file, and puts prefix before each name.
func filesAfter(prefix, file string) (found []string) {
	names, err := filepath.Glob(file + "*")
	if err != nil {
		return nil
	}
	for _, n := range names {
		found = append(found, prefix+n)
	}
	return found
}

// completeClosure completes the attribute of a flake. For other arguments, the shell
// completes file names.
func completeClosure(_ *app, cmd *cobra.Command, prefix string) ([]string, cobra.ShellCompDirective) {
	flake, attribute, ok := strings.Cut(prefix, "#")
	if !ok {
		return nil, cobra.ShellCompDirectiveDefault
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	names, err := nixbuild.Configurations(ctx, flake)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	before := ""
	if strings.HasPrefix(attribute, "nixosConfigurations.") {
		before = "nixosConfigurations."
	}
	for i, n := range names {
		names[i] = flake + "#" + before + n
	}
	return beginning(prefix, names), cobra.ShellCompDirectiveNoFileComp
}

// completeRefOrFile completes references for a prefix with a colon. For other prefixes, the
// shell completes file names.
func completeRefOrFile(a *app, cmd *cobra.Command, prefix string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(prefix, "#") {
		return completeClosure(a, cmd, prefix)
	}
	if strings.Contains(prefix, ":") {
		return completeImage(a, cmd, prefix)
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// argumentCompletion maps the name of an argument in the usage line to its completion.
var argumentCompletion = map[string]completion{
	"REF":         completeImage,
	"IMAGE":       completeRef,
	"REPOSITORY":  completeNothing,
	"CLOSURE":     completeClosure,
	"REF|CLOSURE": completeRefOrFile,
	"A":           completeRefOrFile,
	"B":           completeRefOrFile,
	"HOST":        completeNothing,
	"DIR":         completeDirectories,
	"COMMAND":     completeCommands,
}

// completeFlags registers the completions for the flags of cmd and its subcommands. cobra
// holds registered functions until the process ends. So run calls completeFlags only if the
// shell asks for a completion.
func (a *app) completeFlags(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if info := infoOf(cmd, f.Name); info.complete != nil {
			// An error here only means that the flag already has a completion, because
			// several commands share this flag.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
				return info.complete(a, cmd, prefix)
			})
		}
	})
	for _, c := range cmd.Commands() {
		a.completeFlags(c)
	}
}

// completeArguments registers the completion of arguments for cmd and its
// subcommands.
func (a *app) completeArguments(cmd *cobra.Command) {
	if names := argumentsOf(cmd); len(names) > 0 && cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = func(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			i := len(args)
			if last := len(names) - 1; i > last {
				if !names[last].many {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				i = last
			}
			if complete, ok := argumentCompletion[names[i].name]; ok {
				return complete(a, c, prefix)
			}
			return nil, cobra.ShellCompDirectiveDefault
		}
	} else if len(names) == 0 && cmd.Runnable() && cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, c := range cmd.Commands() {
		a.completeArguments(c)
	}
}
