package main

import (
	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/page"
	"github.com/nixoci/nixoci/internal/report"
)

func (a *app) inspectCommand() *cobra.Command {
	var f reading
	var paths bool
	var html pageFlags
	cmd := &cobra.Command{
		Use:   "inspect REF",
		Short: "Show an image: platforms, layers, store paths, configuration, attached documents",
		Long: `Show an image in a registry, or in oci:DIR, oci-archive:FILE, docker-archive:FILE.

inspect prints what the image claims about itself. To check these claims, use
nixoci verify. To find the store paths of a layer, inspect uses the image's Nix
database and the layer's recipe (the hash of its inputs). If that fails, inspect
reads the layer.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			img, err := a.readImage(cmd.Context(), args[0], &f, report.ReadOptions{Paths: true, Documents: true})
			if err != nil {
				return err
			}
			in := report.Inspect(img)
			if err := html.write(cmd.Context(), a, func() (*page.Page, error) { return in.Page(img) }); err != nil {
				return err
			}
			if a.json {
				return a.stdout.JSON(in)
			}
			return in.WriteText(a.stdout, paths)
		},
	}
	f.registry.add(cmd)
	a.uses(cmd, "platform", "min-speed", "json")
	html.add(cmd.Flags(), "the image")
	cmd.Flags().BoolVar(&paths, "paths", false, "list the store paths of each layer")
	return cmd
}
