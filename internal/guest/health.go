//go:build linux

package guest

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// Health answers the image's health check: it returns nil if systemd runs and the
// configuration is applied, else an error with the reason.
//
// While the container starts, Health does not return. A health check cannot answer "not
// yet". It has a start period, but that is only a guess. As long as a check runs, though,
// the engine shows the container as starting.
func Health(ctx context.Context, out io.Writer) error {
	start := time.Now()
	for {
		verdict, settled := judge(ctx, runtimeDir, time.Since(start))
		if settled {
			if verdict == nil {
				fmt.Fprintln(out, "running")
				return nil
			}
			fmt.Fprintln(out, verdict)
			return &ExitError{Code: 1}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// silence is how long the check waits for systemd's first answer.
const silence = time.Minute

// judge returns why the container is not healthy. settled is false if it is too early to say.
func judge(ctx context.Context, run string, waited time.Duration) (verdict error, settled bool) {
	state, err := systemState(ctx, false)
	if err != nil || state == "offline" || state == "unknown" {
		if err == nil {
			err = fmt.Errorf("systemd is %s", state)
		}
		return err, waited > silence
	}
	var status Status
	there, err := readJSON(filepath.Join(run, statusFile), &status)
	if err != nil {
		return err, true
	}
	var failed []string
	if state == "degraded" {
		failed = failedUnits(ctx)
	}
	return weigh(state, failed, status, there)
}

// weigh decides from the answers that judge got. there says whether apply ever ran.
func weigh(state string, failed []string, status Status, there bool) (verdict error, settled bool) {
	switch {
	case state == "initializing" || state == "starting":
		return nil, false
	case there && status.Outcome == "": // the first apply has not ended yet
		return nil, false
	case there && status.Outcome == OutcomeFailed:
		return fmt.Errorf("the configuration was not applied: %s", status.Reason), true
	case state == "running":
		return nil, true
	case state == "degraded":
		return fmt.Errorf("systemd is degraded, failed: %s", strings.Join(failed, " ")), true
	default:
		return fmt.Errorf("systemd is %s", state), true
	}
}
