package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/manifest"
)

// version is the version of this program. The Makefile sets it at link time. Otherwise the
// function init reads the version that Go recorded. So the version is also correct after "go
// install".
var version = "dev"

func init() {
	info, ok := debug.ReadBuildInfo()
	if ok && version == "dev" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
}

// printedVersion holds the output of version --json.
type printedVersion struct {
	Version  string `json:"version"`
	Platform string `json:"platform"`
	Go       string `json:"go"`
	Format   int    `json:"format"` // version of the image format, see docs/format.md
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		RunE: func(*cobra.Command, []string) error {
			v := printedVersion{version, runtime.GOOS + "/" + runtime.GOARCH, runtime.Version(), manifest.CurrentFormat}
			if a.json {
				return a.stdout.JSON(v)
			}
			a.stdout.Printf("nixoci %s %s %s, image format %d\n", v.Version, v.Platform, v.Go, v.Format)
			return a.stdout.Err()
		},
	}
	a.uses(cmd, "json")
	return cmd
}
