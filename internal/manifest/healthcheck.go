package manifest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
)

// Healthcheck has the fields of Docker's HealthConfig. Durations are in nanoseconds.
type Healthcheck struct {
	Test          []string      `json:",omitempty"`
	Interval      time.Duration `json:",omitempty"`
	Timeout       time.Duration `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
	Retries       int           `json:",omitempty"`
}

// The first word of Healthcheck.Test.
const (
	HealthCommand = "CMD"       // the other words are a command
	HealthShell   = "CMD-SHELL" // the only other word is a command line for /bin/sh
	HealthNone    = "NONE"      // no health check, even if the base image has one
)

// leastHealthTime is the shortest time that Docker accepts, except 0, which means Docker's
// default.
const leastHealthTime = time.Millisecond

// Validate returns an error if an engine would refuse the health check.
func (h *Healthcheck) Validate() error {
	if len(h.Test) == 0 {
		return errors.New("health check: no command")
	}
	words := len(h.Test) - 1
	switch kind := h.Test[0]; {
	case kind != HealthCommand && kind != HealthShell && kind != HealthNone:
		return hint.Add(fmt.Errorf("health check %q: its first word is none of CMD, CMD-SHELL and NONE", kind), `write for instance ["CMD", "curl", "-f", "http://localhost"]`)
	case kind == HealthNone && words > 0:
		return errors.New("health check NONE: a command follows it")
	case kind == HealthShell && words != 1:
		return errors.New("health check CMD-SHELL: not one line for the shell")
	case kind == HealthCommand && (words == 0 || h.Test[1] == ""):
		return errors.New("health check CMD: no program")
	}
	for _, word := range h.Test {
		if err := validateText("health check", word); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		name string
		time.Duration
	}{{"interval", h.Interval}, {"timeout", h.Timeout}, {"start period", h.StartPeriod}, {"start interval", h.StartInterval}} {
		if t.Duration != 0 && t.Duration < leastHealthTime {
			return hint.Add(fmt.Errorf("health check: the %s %s is shorter than %s", t.name, t.Duration, leastHealthTime), "write for instance 30s")
		}
	}
	if h.Retries < 0 {
		return fmt.Errorf("health check: %d retries", h.Retries)
	}
	return nil
}

// runsIn returns an error if the health check always fails in the image of sys, because the
// image does not contain the program. With a base image runsIn accepts every program, because
// nixoci does not know the base's files.
func (h *Healthcheck) runsIn(sys *System) error {
	if sys.Base != nil || len(h.Test) < 2 {
		return nil
	}
	program := h.Test[1]
	if p, err := closure.ParseStorePath(storePathOf(program)); err == nil && sys.Closure.Info(p) == nil {
		return fmt.Errorf("health check %s: %s is not in the closure", program, p)
	}
	if h.Test[0] == HealthShell && sys.App != nil && !sys.App.HasShell() {
		return hint.Add(errors.New("health check CMD-SHELL: the image has no /bin/sh"), "add --sh, or write the words of the command: CMD")
	}
	return nil
}

// storePathOf returns the store path that contains the file. If the file is not in the store,
// it returns the file.
func storePathOf(file string) string {
	rest, ok := strings.CutPrefix(file, closure.StoreDir+"/")
	if !ok {
		return file
	}
	base, _, _ := strings.Cut(rest, "/")
	return closure.StoreDir + "/" + base
}
