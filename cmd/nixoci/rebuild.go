package main

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/attest"
	"github.com/nixoci/nixoci/internal/manifest"
)

// rebuilder writes the command that makes an image again. The provenance of the image
// contains this command.
type rebuilder struct {
	flags *pflag.FlagSet
	app   *app
	in    *closureFlags
}

func newRebuilder(flags *pflag.FlagSet, a *app, in *closureFlags) *rebuilder {
	return &rebuilder{flags, a, in}
}

// bytesFlags lists the flags of push that decide what is in an image, or where store paths
// come from. The command build has the same flags. The flags created, plan and plan-from are
// not in the list, because their values depend on the environment or the registry. For these,
// [rebuilder.command] writes the resulting values.
var bytesFlags = []string{
	"add-user", "annotation", "ca-certificates", "cmd", "compression", "describe", "entrypoint", "env", "format", "from", "init", "label", "layer", "link",
	"max-layers", "nix-database", "plan-strategy", "port", "sh", "spec", "stop-signal", "trusted-public-key", "user", "volume", "workdir",
}

// command returns a function that writes the command for an image with these settings.
func (r *rebuilder) command(settings *manifest.Settings) func(string, []attest.BuiltSystem) []string {
	return func(reference string, systems []attest.BuiltSystem) []string {
		words := []string{"nixoci", "build", "--output=oci:image"}
		following := r.flags.Changed("plan")
		r.flags.Visit(func(f *pflag.Flag) {
			if slices.Contains(bytesFlags, f.Name) && !(following && f.Name == "layer") {
				words = append(words, flagWords(f)...)
			}
		})
		if settings.Created != nil {
			words = append(words, "--created="+settings.Created.UTC().Format(time.RFC3339))
		}
		// These flags give the same plan as that of the pushed image.
		switch {
		case following:
			words = append(words, "--plan="+reference)
		case r.flags.Changed("plan-from"):
			words = append(words, "--plan-from="+reference)
		}
		return append(words, r.closures(systems)...)
	}
}

// flagWords returns the words that set a flag to its current value.
func flagWords(f *pflag.Flag) (words []string) {
	if s, ok := f.Value.(pflag.SliceValue); ok {
		for _, v := range s.GetSlice() {
			words = append(words, "--"+f.Name+"="+v)
		}
		return words
	}
	return []string{"--" + f.Name + "=" + f.Value.String()}
}

// closures returns the words that name the closures and the base image. Each name is fixed to
// exact content.
func (r *rebuilder) closures(systems []attest.BuiltSystem) (words []string) {
	var platforms []string
	base, nixpkgs := false, ""
	for _, s := range systems {
		platforms = append(platforms, s.Platform)
		if s.Base != "" && !slices.Contains(words, "--from-image="+s.Base) {
			words = append(words, "--from-image="+s.Base)
		}
	}
	if words == nil {
		if f := r.flags.Lookup("from-image"); f.Changed {
			words = flagWords(f)
		}
	}
	var closures []string
	for _, s := range systems {
		for _, root := range s.Roots {
			built := r.app.built[root]
			what := string(root)
			if built != nil && built.Source != nil {
				switch src := built.Source; {
				case src.File != "":
					what = src.File
				case src.URL != "":
					what = src.URL + "#" + built.Attribute
				default:
					base = true
				}
				nixpkgs = built.Source.Nixpkgs
			}
			if word := s.System + "=" + what; s.System != "" {
				what = word
			}
			closures = append(closures, what)
		}
	}
	if nixpkgs != "" {
		words = append(words, "--nixpkgs="+nixpkgs)
	}
	if r.in.spec.file != "" || base {
		// A specification already names the closures. The base system needs no name.
		return append(words, "--platform="+strings.Join(platforms, ","))
	}
	return append(words, closures...)
}
