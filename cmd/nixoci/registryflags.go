package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/nixoci/nixoci/internal/registry"
	"github.com/nixoci/nixoci/internal/retry"
)

// registryFlags holds the flags for the connection to a registry.
type registryFlags struct {
	insecure bool
	caFile   string
}

func (r *registryFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&r.insecure, "insecure", false, "allow plain http and untrusted certificates; plain http to loopback addresses is always allowed")
	cmd.Flags().StringVar(&r.caFile, "ca-file", "", "PEM file with certificate authorities to trust in addition to the system's")
}

func (r *registryFlags) options(a *app) registry.Options {
	return registry.Options{Insecure: r.insecure, MinSpeed: a.leastSpeed(), CAFile: r.caFile, UserAgent: "nixoci/" + version, Retry: retrySchedule}
}

// retrySchedule decides how often a request is tried again, and how long nixoci waits before.
// Tests set shorter waits.
var retrySchedule retry.Schedule

// joinSettle is the time that a join waits for other joins. 0 means the default of push. Tests
// set a shorter time.
var joinSettle time.Duration
