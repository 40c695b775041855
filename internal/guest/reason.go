//go:build linux

package guest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A nixError is one error that Nix wrote to standard error. The parser knows the formats
// of Nix 2.8 to 2.34: testdata/nix-errors has examples.
type nixError struct {
	Message []string // lines, without Nix's indentation
	Place   string   // "/config/configuration.nix:3:5", "" if Nix names no place
	Trace   []string // what Nix was evaluating, outermost step first
	Drv     string   // the derivation that failed, "" if the evaluation failed
	Log     []string // the end of the build log, if the error repeats it
}

var (
	nixPlace = regexp.MustCompile(`^(?:… )?at (\S+:\d+:\d+|«[^»]*»\S*:\d+:\d+):?(?: \(.*\):?)?$`)
	// A line of source that Nix shows below a place: "  3| }" or "   | ^".
	nixSource = regexp.MustCompile(`^\d*\|`)

	// Messages of a failed build: builderFailed up to Nix 2.31, cannotBuild since.
	builderFailed = regexp.MustCompile(`^builder for '(/[^']+\.drv)' (failed .*?|failed)(;|$)`)
	cannotBuild   = regexp.MustCompile(`^Cannot build '(/[^']+\.drv)'\.?$`)
	otherFailed   = regexp.MustCompile(`derivation '(/[^']+\.drv)'`)

	// Errors that only follow from another error.
	consequence = regexp.MustCompile(`^(\d+ dependenc(y|ies) of derivation '|Build failed due to failed dependenc|build of '|some (substitutes|builds) |Reason: \d+ dependenc(y|ies) failed)`)
)

// nixErrors returns the errors in Nix's output, in order. The lines of an error are
// indented. Output of builders may come between them: it has no such indentation.
func nixErrors(output string) []nixError {
	var errs []nixError
	lines := strings.Split(strings.ReplaceAll(output, "\r", ""), "\n")
	for i := 0; i < len(lines); {
		first, ok := strings.CutPrefix(lines[i], "error:")
		if !ok {
			i++
			continue
		}
		block := []string{first}
		for i++; i < len(lines) && (lines[i] == "" || strings.HasPrefix(lines[i], "  ")); i++ {
			block = append(block, lines[i])
		}
		errs = append(errs, parseNixError(block))
	}
	return errs
}

// parseNixError parses the text after "error:" and the lines below. Newer versions of Nix
// print the trace first, and the error itself after a second "error:".
func parseNixError(block []string) nixError {
	var e nixError
	for i := len(block) - 1; i > 0; i-- {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(block[i]), "error:"); ok {
			for _, line := range block[:i] {
				if t := strings.TrimSpace(line); t != "" && !nixSource.MatchString(t) && !isHint(t) {
					e.Trace = append(e.Trace, strings.TrimPrefix(t, "… "))
				}
			}
			block = append([]string{rest}, block[i+1:]...)
			break
		}
	}
	var message []string
	for n, line := range block {
		t := strings.TrimSpace(line)
		if m := nixPlace.FindStringSubmatch(t); m != nil && n > 0 {
			e.Place = strings.NewReplacer("«", "", "»", "").Replace(m[1])
			break
		}
		if strings.HasPrefix(t, "… ") {
			break // old versions print context below the message, with --show-trace
		}
		if isHint(t) {
			continue
		}
		message = append(message, strings.TrimRight(line, " "))
	}
	e.Message = dedent(message)
	if len(e.Message) == 0 {
		return e
	}
	switch m := builderFailed.FindStringSubmatch(e.Message[0]); {
	case m != nil:
		e.Drv, e.Log = m[1], quoted(e.Message)
		e.Message = []string{"builder " + m[2]}
	default:
		if m := cannotBuild.FindStringSubmatch(e.Message[0]); m != nil {
			e.Drv, e.Log = m[1], quoted(e.Message)
			var reason []string
			for _, line := range e.Message[1:] {
				if strings.HasPrefix(line, "Output paths:") || strings.HasPrefix(line, "Last ") {
					break
				}
				reason = append(reason, strings.TrimSuffix(strings.TrimPrefix(line, "Reason: "), "."))
			}
			e.Message = reason
			if len(reason) > 0 && consequence.MatchString("Reason: "+reason[0]) {
				e.Message[0] = "Reason: " + reason[0]
			}
		} else if m := otherFailed.FindStringSubmatch(e.Message[0]); m != nil && !consequence.MatchString(e.Message[0]) {
			// For instance a hash mismatch: the message is complete.
			e.Drv = m[1]
		}
	}
	return e
}

func isHint(line string) bool {
	return strings.HasPrefix(line, "(use '--show-trace'") || strings.HasPrefix(line, "(stack trace truncated")
}

// indent is Nix's indentation of the lines below "error:".
const indent = "       "

// dedent removes the indentation, and empty lines at both ends.
func dedent(lines []string) []string {
	var out []string
	for n, l := range lines {
		if rest, ok := strings.CutPrefix(l, indent); ok && n > 0 {
			l = rest
		} else {
			l = strings.TrimSpace(l)
		}
		out = append(out, l)
	}
	for len(out) > 0 && strings.TrimSpace(out[0]) == "" {
		out = out[1:]
	}
	for len(out) > 0 && strings.TrimSpace(out[len(out)-1]) == "" {
		out = out[:len(out)-1]
	}
	return out
}

// quoted returns the log lines that Nix repeats in an error: "> like this".
func quoted(lines []string) []string {
	var log []string
	for _, l := range lines {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(l), ">"); ok {
			log = append(log, strings.TrimPrefix(rest, " "))
		}
	}
	return log
}

// cause returns the error from which the others follow, nil if there is no error.
func cause(errs []nixError) *nixError {
	for i, e := range errs {
		if len(e.Message) > 0 && !consequence.MatchString(e.Message[0]) {
			return &errs[i]
		}
	}
	if len(errs) > 0 {
		return &errs[len(errs)-1]
	}
	return nil
}

const (
	logLines  = 5    // number of log lines of a failed build that a reason shows
	maxReason = 3000 // in bytes: Docker keeps 4096 bytes of a health check's output
)

// reason explains to the user why a run of Nix failed: the cause, and the place in the
// configuration. readLog returns the log of a derivation. The result is "" if Nix printed
// no error.
func reason(output, config string, readLog func(drv string) string) string {
	e := cause(nixErrors(output))
	if e == nil || len(e.Message) == 0 {
		return ""
	}
	// Nix evaluates a flake from a copy in the store: name the original file.
	here := func(s string) string { return inConfig(s, config) }
	var b strings.Builder
	switch {
	case e.Drv != "":
		log := e.Log
		if log == nil && !strings.Contains(e.Message[0], e.Drv) {
			log = strings.Split(readLog(e.Drv), "\n")
		}
		log = lastLines(log, logLines)
		b.WriteString("building " + drvName(e.Drv) + ": ")
		b.WriteString(strings.Join(shortDrv(e.Message, e.Drv), "\n"))
		if len(log) > 0 {
			b.WriteString(": " + strings.TrimSpace(log[len(log)-1]))
		}
		if len(log) > 1 {
			b.WriteString("\nthe end of its log:")
			for _, l := range log {
				b.WriteString("\n> " + l)
			}
		}
	default:
		b.WriteString(here(e.Message[0]))
		if place := here(e.Place); place != "" {
			b.WriteString(" at " + place)
		}
		if !strings.Contains(b.String(), config+"/") {
			if near := nearest(e, config); near != "" {
				b.WriteString(" (" + near + ")")
			}
		}
		for _, l := range e.Message[1:] {
			b.WriteString("\n" + here(l))
		}
	}
	return clip(b.String(), maxReason)
}

var storeSource = regexp.MustCompile(`/nix/store/[0-9a-z]{32}-source/([^\s:'"` + "`" + `]+)`)

// inConfig replaces the path of a copy in the store by the path of the file in config.
func inConfig(s, config string) string {
	return storeSource.ReplaceAllStringFunc(s, func(path string) string {
		rel := storeSource.FindStringSubmatch(path)[1]
		if !isThere(filepath.Join(config, rel)) {
			return path
		}
		return filepath.Join(config, rel)
	})
}

// nearest returns the innermost step of the trace that names a file in config.
func nearest(e *nixError, config string) string {
	for i := len(e.Trace) - 1; i >= 0; i-- {
		if step := inConfig(e.Trace[i], config); strings.Contains(step, config+"/") {
			return strings.TrimSuffix(step, ":")
		}
	}
	return ""
}

// drvName returns "nginx.conf.drv" for /nix/store/HASH-nginx.conf.drv.
func drvName(drv string) string {
	_, name, ok := strings.Cut(filepath.Base(drv), "-")
	if !ok {
		return filepath.Base(drv)
	}
	return name
}

// shortDrv removes from a message what the prefix "building NAME:" already contains.
func shortDrv(message []string, drv string) []string {
	out := append([]string(nil), message...)
	out[0] = strings.NewReplacer(" in fixed-output derivation '"+drv+"'", "", "derivation '"+drv+"'", "it", "builder failed", "failed").Replace(out[0])
	out[0] = strings.TrimSuffix(out[0], ";")
	return out
}

// lastLines returns the last n lines that are not empty.
func lastLines(lines []string, n int) []string {
	var out []string
	for i := len(lines) - 1; i >= 0 && len(out) < n; i-- {
		if l := strings.TrimRight(lines[i], " \t\r"); l != "" {
			out = append([]string{l}, out...)
		}
	}
	return out
}

// clip shortens s to about n bytes, at the end of a line if possible.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = strings.ToValidUTF8(s[:n], "")
	if i := strings.LastIndexByte(s, '\n'); i > n/2 {
		s = s[:i]
	}
	return s + "\n…"
}

func isThere(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}
