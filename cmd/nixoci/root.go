package main

import (
	"io"
	"slices"
	"sync"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/cache"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/nixbuild"
	"github.com/nixoci/nixoci/internal/terminal"
)

// app holds what all commands share: the streams and the common flags.
type app struct {
	stdin          io.Reader
	stdout, stderr *terminal.Printer

	from      []string
	platforms []string
	jobs      int
	minSpeed  int64
	json      bool
	quiet     bool
	verbose   bool
	color     string

	log       *logrus.Logger
	repeats   map[string]int // number of times that each warning was printed
	repeatsMu sync.Mutex
	cache     *cache.Cache
	nix       *nixbuild.Nix // created before the first build
	built     map[closure.StorePath]*nixbuild.Built
	progress  *progress // progress display of a long command
	done      bool      // true: the command has finished its work, so an interrupt changes nothing
}

const rootLong = `nixoci turns NixOS systems and applications into reproducible, multi-platform
OCI images and pushes them to registries. It needs no Docker daemon and no root
rights. It needs Nix only if something must be built first.

Many commands take a CLOSURE: a store path with everything that it needs to run.
A CLOSURE has the form [SYSTEM=]WHAT, and WHAT is one of these:

  /nix/store/…, ./result   a store path, or a symlink to one
  .#web                    a NixOS configuration of a flake, also written
                           .#nixosConfigurations.web
  nixpkgs#hello            a package of a flake. If the flake has a NixOS
                           configuration of that name, nixoci takes the
                           configuration
  .#ATTRIBUTE              another output of a flake, such as
                           .#nixosConfigurations.web.config.system.build.toplevel
  nginx.nix                a file with a NixOS configuration
  web.json                 a graph file, made by nix path-info --json -r

A store path without an init is an application: the image starts its program.
nixoci puts several applications for one platform into one image.

If you name a SYSTEM, such as aarch64-linux, the closure must be for that system.
If you name no CLOSURE, nixoci takes ./result and ./result-* if they are NixOS
systems. Otherwise nixoci takes its base system. A container with the base
system builds /config/configuration.nix when it starts.

nixoci builds configurations, packages and the base system with the nix on the
PATH, for each --platform. Without --platform, nixoci builds a flake's
configuration for the system that the configuration declares, and everything
else for this machine's system. nixoci makes a container of a flake's
configuration: it adds its NixOS module with lib.extend, unless the
configuration already has the module. nixoci does not change other outputs.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 does not match, 70 crashed
(a bug: please report it), 130 interrupted.`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "nixoci",
		Version:       version,
		Short:         "Turn NixOS systems and applications into reproducible multi-platform OCI images",
		Long:          rootLong,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkEmpty(cmd); err != nil {
				return err
			}
			return a.setup()
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print nothing but the result and errors")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "print more about what happens")
	f.StringVar(&a.color, "color", "auto", "when to use color: auto, always or never")
	root.AddCommand(
		a.pushCommand(),
		a.buildCommand(),
		a.indexCommand(),
		a.planCommand(),
		a.inspectCommand(),
		a.diffCommand(),
		a.sbomCommand(),
		a.verifyCommand(),
		a.signCommand(),
		a.attestCommand(),
		a.loginCommand(),
		a.logoutCommand(),
		a.doctorCommand(),
		a.pruneCommand(),
		a.cacheCommand(),
		a.serveCommand(),
		a.versionCommand(),
		a.docsCommand(),
	)
	root.SetHelpCommand(helpCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(cmd) })
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		_, err := io.WriteString(cmd.OutOrStderr(), usageText(cmd, columns(cmd.OutOrStderr())))
		return err
	})
	groupCommands(root)
	wrapArgs(root)
	describeFlags(root)
	a.completeArguments(root)
	return root
}

// setup checks the common flags after they are parsed.
func (a *app) setup() error {
	if !slices.Contains([]string{"auto", "always", "never"}, a.color) {
		return usagef("--color %q: not auto, always or never", a.color)
	}
	if a.jobs < 0 {
		return usagef("--jobs %d: less than one", a.jobs)
	}
	a.log = logrus.New()
	a.repeats = map[string]int{}
	a.built = map[closure.StorePath]*nixbuild.Built{}
	a.log.SetOutput(io.Discard)
	a.log.AddHook(logHook{a})
	switch {
	case a.quiet:
		a.log.SetLevel(logrus.ErrorLevel)
	case a.verbose:
		a.log.SetLevel(logrus.DebugLevel)
	}
	if dir, err := cache.DefaultDir(); err == nil {
		a.cache = cache.Open(dir)
	} else {
		a.log.Warnf("continuing without a cache: %v", err)
	}
	return nil
}

// leastSpeed converts the value of --min-speed for registries and caches. There, -1 stands
// for any speed.
func (a *app) leastSpeed() int64 {
	if a.minSpeed <= 0 {
		return -1
	}
	return a.minSpeed
}
