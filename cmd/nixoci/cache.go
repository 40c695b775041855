package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/human"
)

func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Show or prune the cache of layers that this machine built",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	info := &cobra.Command{
		Use:   "info",
		Short: "Show where the cache is and how large it is",
		RunE:  func(*cobra.Command, []string) error { return a.cacheInfo() },
	}
	var olderThan time.Duration
	prune := &cobra.Command{
		Use:   "prune",
		Short: "Remove entries from the cache; later pushes write new entries",
		RunE: func(*cobra.Command, []string) error {
			if olderThan < 0 {
				return usagef("--older-than %s: negative", olderThan)
			}
			if a.cache == nil {
				return fmt.Errorf("prune cache: this machine has no cache directory")
			}
			n, bytes, err := a.cache.Prune(time.Now().Add(-olderThan))
			if err != nil {
				return err
			}
			if a.json {
				return a.stdout.JSON(map[string]any{"removed": n, "bytes": bytes})
			}
			a.stdout.Printf("removed %s, %s\n", human.Count(n, "entry"), human.Bytes(bytes))
			return a.stdout.Err()
		},
	}
	prune.Flags().DurationVar(&olderThan, "older-than", 0, "remove only entries that are older, such as 720h")
	a.uses(info, "json")
	a.uses(prune, "json")
	cmd.AddCommand(info, prune)
	return cmd
}

func (a *app) cacheInfo() error {
	if a.cache == nil {
		return fmt.Errorf("read cache: this machine has no cache directory")
	}
	kinds, err := a.cache.Info()
	if err != nil {
		return err
	}
	if a.json {
		return a.stdout.JSON(map[string]any{"dir": a.cache.Dir(), "kinds": kinds})
	}
	a.stdout.Printf("%s\n", a.cache.Dir())
	var rows [][]string
	for _, k := range kinds {
		rows = append(rows, []string{k.Name, human.Count(k.Entries, "entry"), human.Bytes(k.Bytes)})
	}
	a.stdout.Table("  ", rows)
	return a.stdout.Err()
}
