package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look at or prune what this machine remembers of layers it made",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	info := &cobra.Command{
		Use:   "info",
		Short: "Where the cache is and how much is in it",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.cacheInfo() },
	}
	var olderThan time.Duration
	prune := &cobra.Command{
		Use:   "prune",
		Short: "Remove entries; a push makes what it misses again",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if olderThan < 0 {
				return usagef("--older-than %s: negative", olderThan)
			}
			if a.cache == nil {
				return fmt.Errorf("prune cache: there is none")
			}
			n, bytes, err := a.cache.Prune(time.Now().Add(-olderThan))
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.stdout).Encode(map[string]any{"removed": n, "bytes": bytes})
			}
			_, err = fmt.Fprintf(a.stdout, "removed %d entries, %s\n", n, humanBytes(bytes))
			return err
		},
	}
	prune.Flags().DurationVar(&olderThan, "older-than", 0, "keep entries that were written within this time, for instance 720h")
	cmd.AddCommand(info, prune)
	return cmd
}

func (a *app) cacheInfo() error {
	if a.cache == nil {
		return fmt.Errorf("read cache: there is none")
	}
	kinds, err := a.cache.Info()
	if err != nil {
		return err
	}
	if a.json {
		return json.NewEncoder(a.stdout).Encode(map[string]any{"dir": a.cache.Dir(), "kinds": kinds})
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\n", a.cache.Dir())
	for _, k := range kinds {
		fmt.Fprintf(w, "  %s\t%d entries\t%s\n", k.Kind, k.Entries, humanBytes(k.Bytes))
	}
	return w.Flush()
}
