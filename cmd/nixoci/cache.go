package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look at or prune what this machine remembers of layers it made",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	info := &cobra.Command{
		Use:   "info",
		Short: "Where the cache is and how much is in it",
		RunE:  func(*cobra.Command, []string) error { return a.cacheInfo() },
	}
	var olderThan time.Duration
	prune := &cobra.Command{
		Use:   "prune",
		Short: "Remove entries; a push makes what it misses again",
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
				return a.stdout.JSON(map[string]any{"removed": n, "bytes": bytes})
			}
			a.stdout.Printf("removed %s, %s\n", count(n, "entry"), humanBytes(bytes))
			return a.stdout.Err()
		},
	}
	prune.Flags().DurationVar(&olderThan, "older-than", 0, "keep entries that were written within this time, for instance 720h")
	a.uses(info, "json")
	a.uses(prune, "json")
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
		return a.stdout.JSON(map[string]any{"dir": a.cache.Dir(), "kinds": kinds})
	}
	a.stdout.Printf("%s\n", a.cache.Dir())
	var rows [][]string
	for _, k := range kinds {
		rows = append(rows, []string{k.Kind, count(k.Entries, "entry"), humanBytes(k.Bytes)})
	}
	a.stdout.Table("  ", rows)
	return a.stdout.Err()
}
