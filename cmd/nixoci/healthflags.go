package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/spec"
)

// healthFlags holds the flags for the health check of an image. They have the same names as
// in docker run.
type healthFlags struct {
	command                                       []string
	interval, timeout, startPeriod, startInterval string
	retries                                       int
}

func (h *healthFlags) add(f *pflag.FlagSet) {
	f.StringArrayVar(&h.command, "health-cmd", nil, "health check, with one flag for each word; or CMD-SHELL and a line for /bin/sh; or NONE")
	f.StringVar(&h.interval, "health-interval", "", "time between two health checks, such as 30s (default: chosen by the engine)")
	f.StringVar(&h.timeout, "health-timeout", "", "time after which a health check has failed (default: chosen by the engine)")
	f.StringVar(&h.startPeriod, "health-start-period", "", "time after the start in which failed health checks do not count (default: chosen by the engine)")
	f.StringVar(&h.startInterval, "health-start-interval", "", "time between two health checks in the start period (default: chosen by the engine)")
	f.IntVar(&h.retries, "health-retries", 0, "failed health checks after which the container is unhealthy (default: chosen by the engine)")
}

// take copies values from a specification to the flags that the user did not give.
func (h *healthFlags) take(g specified, s *spec.Healthcheck) {
	if s == nil {
		return
	}
	set(g, "health-cmd", &h.command, s.Test)
	g.text("health-interval", &h.interval, s.Interval)
	g.text("health-timeout", &h.timeout, s.Timeout)
	g.text("health-start-period", &h.startPeriod, s.StartPeriod)
	g.text("health-start-interval", &h.startInterval, s.StartInterval)
	if s.Retries != 0 && !g.flags.Changed("health-retries") {
		h.retries = s.Retries
	}
}

// check returns the health check that the flags describe. It returns nil if no flag is given.
func (h *healthFlags) check() (*manifest.Healthcheck, error) {
	if len(h.command) == 0 {
		if h.interval+h.timeout+h.startPeriod+h.startInterval != "" || h.retries != 0 {
			return nil, errors.New("health check: no command; name it with --health-cmd")
		}
		return nil, nil
	}
	c := &manifest.Healthcheck{Test: slices.Clone(h.command), Retries: h.retries}
	switch c.Test[0] {
	case manifest.HealthCommand, manifest.HealthShell, manifest.HealthNone:
	default:
		c.Test = append([]string{manifest.HealthCommand}, c.Test...)
	}
	for _, t := range []struct {
		flag, value string
		to          *time.Duration
	}{
		{"--health-interval", h.interval, &c.Interval}, {"--health-timeout", h.timeout, &c.Timeout},
		{"--health-start-period", h.startPeriod, &c.StartPeriod}, {"--health-start-interval", h.startInterval, &c.StartInterval},
	} {
		if t.value == "" {
			continue
		}
		d, err := time.ParseDuration(t.value)
		if err != nil {
			return nil, fmt.Errorf("%s %q: not a time such as 30s", t.flag, t.value)
		}
		*t.to = d
	}
	return c, c.Validate()
}
