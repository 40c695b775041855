package manifest

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
)

// reservedPrefix is the start of all annotation keys that nixoci defines.
const reservedPrefix = "io.nixoci."

// The defaults of the runtime configuration. They affect bytes.
const (
	// defaultInit is the path that podman looks at to recognise a systemd container. The file
	// is nixoci-init in the init layer, or a link in the system layer.
	defaultInit = "/sbin/init"

	// defaultStopSignal makes systemd halt the system (systemd(1), "Signals"). SIGTERM would
	// make systemd execute itself again.
	defaultStopSignal = "SIGRTMIN+3"

	// defaultPath is the PATH for processes that a runtime starts in the container. The
	// directories have the same order as in NixOS, with setuid wrappers first. Before
	// activation /run/current-system does not exist. Until then the system profile provides
	// the programs. The last two directories are for links that activation or the user
	// creates (/bin/sh, /usr/bin/env).
	defaultPath = "/run/wrappers/bin" +
		":/run/current-system/sw/bin" +
		":/nix/var/nix/profiles/default/bin" +
		":/nix/var/nix/profiles/system/sw/bin" +
		":/usr/bin:/bin"
)

// defaultEnv contains the default variables in the order in which the config lists them.
var defaultEnv = []string{
	"PATH=" + defaultPath,
	"container=docker", // systemd reads this variable to find out that it runs in a container
}

// Validate returns all errors of the settings at once. It reads no file. Callers should call
// it before they write anything.
func (s *Settings) Validate(comp layers.Compression) error {
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, e := range s.Env {
		check(validateEnv(e))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		check(validateKey("label", k, s.Labels[k]))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Annotations)) {
		check(validateKey("annotation", k, s.Annotations[k]))
		if strings.HasPrefix(k, reservedPrefix) {
			check(fmt.Errorf("annotation %q: names that begin with %s are reserved for nixoci", k, reservedPrefix))
		}
	}
	for _, arg := range slices.Concat(s.Entrypoint, s.Cmd) {
		check(validateText("argument", arg))
	}
	if s.Entrypoint != nil && (len(s.Entrypoint) == 0 || s.Entrypoint[0] == "") {
		check(errors.New("entrypoint: no program"))
	}
	check(validateUser(s.User))
	if s.WorkingDir != "" {
		check(validateDirectory("workdir", s.WorkingDir))
	}
	if s.StopSignal != "" {
		_, err := parseSignal(s.StopSignal)
		check(err)
	}
	for _, p := range s.Ports {
		_, err := parsePort(p)
		check(err)
	}
	for _, v := range s.Volumes {
		check(validateDirectory("volume", v))
		if v == "/" {
			check(fmt.Errorf("volume %q: a volume over the root hides the image", v))
		}
	}
	if s.Created != nil && (s.Created.UTC().Year() < 1970 || s.Created.UTC().Year() > 9999) {
		check(fmt.Errorf("created %d: year is not in 1970..9999, RFC 3339 cannot write it", s.Created.Unix()))
	}
	_, err := comp.MediaType(s.Docker)
	check(err)
	if len(errs) == 0 {
		return nil
	}
	return settingsError(errs)
}

// settingsError formats all errors in one line.
type settingsError []error

func (e settingsError) Error() string {
	var s []string
	for _, err := range e {
		s = append(s, err.Error())
	}
	return strings.Join(s, "; ")
}

func (e settingsError) Unwrap() []error { return e }

// validateText returns an error for text that JSON or the kernel would change. For example,
// encoding/json replaces invalid UTF-8. Two different settings would then give the same
// image.
func validateText(what, s string) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("%s %q: not valid UTF-8", what, s)
	case strings.ContainsRune(s, 0):
		return fmt.Errorf("%s %q: has a NUL character", what, s)
	}
	return nil
}

func validateEnv(e string) error {
	name, _, ok := strings.Cut(e, "=")
	switch {
	case !ok:
		return hint.Add(fmt.Errorf("environment variable %q: no =", e), "write NAME=value; an image cannot take values from the shell that builds it")
	case name == "":
		return fmt.Errorf("environment variable %q: no name before =", e)
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return fmt.Errorf("environment variable %q: white space in the name", e)
	}
	return validateText("environment variable", e)
}

func validateKey(what, k, v string) error {
	if k == "" {
		return fmt.Errorf("%s =%q: no name", what, v)
	}
	if strings.ContainsFunc(k, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return fmt.Errorf("%s %q: white space in the name", what, k)
	}
	if err := validateText(what, k); err != nil {
		return err
	}
	return validateText(what+" "+k, v)
}

// validateUser accepts the forms of the image spec: user, uid, user:group,
// uid:gid, uid:group, user:gid.
func validateUser(u string) error {
	if u == "" {
		return nil
	}
	user, group, both := strings.Cut(u, ":")
	bad := func(s string) bool {
		return s == "" || strings.ContainsFunc(s, func(r rune) bool {
			return r <= ' ' || r > '~' || r == ':' || r == '/'
		})
	}
	if bad(user) || both && bad(group) {
		return fmt.Errorf("user %q: not user, uid, user:group or uid:gid", u)
	}
	return nil
}

func validateDirectory(what, dir string) error {
	if err := validateText(what, dir); err != nil {
		return err
	}
	if !path.IsAbs(dir) {
		return fmt.Errorf("%s %q: not an absolute path", what, dir)
	}
	if path.Clean(dir) != dir {
		return hint.Add(fmt.Errorf("%s %q: not a clean path", what, dir), "write "+path.Clean(dir))
	}
	return nil
}

// parsePort returns the port in the form that the config contains: "80/tcp".
func parsePort(s string) (string, error) {
	number, protocol, ok := strings.Cut(s, "/")
	if !ok {
		protocol = "tcp"
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 || number != strconv.FormatUint(n, 10) {
		return "", hint.Add(fmt.Errorf("port %q: not a number from 1 to 65535", s), "write 80, 80/tcp or 53/udp, one port each")
	}
	if protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
		return "", fmt.Errorf("port %q: protocol is not tcp, udp or sctp", s)
	}
	return number + "/" + protocol, nil
}

// signals lists the names of Linux signals that both Docker and podman accept.
var signals = []string{
	"ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT",
	"SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
}

// parseSignal returns the signal in the form that the config contains: a number, or a name in
// capitals that starts with SIG.
func parseSignal(s string) (string, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > 64 || s != strconv.Itoa(n) {
			return "", fmt.Errorf("stop signal %q: not from 1 to 64", s)
		}
		return s, nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	known := slices.Contains(signals, name) || realTime(name, "RTMIN", "+", 15) || realTime(name, "RTMAX", "-", 14)
	if !known {
		return "", hint.Add(fmt.Errorf("stop signal %q: unknown", s), "write for instance SIGTERM, SIGRTMIN+3 or 15")
	}
	return "SIG" + name, nil
}

// realTime reports whether name is base, or base followed by sign and a number from 1 to
// limit. Docker and podman use such names for real-time signals.
func realTime(name, base, sign string, limit int) bool {
	rest, ok := strings.CutPrefix(name, base)
	if !ok || rest == "" {
		return ok
	}
	digits, ok := strings.CutPrefix(rest, sign)
	n, err := strconv.Atoi(digits)
	return ok && err == nil && 1 <= n && n <= limit && digits == strconv.Itoa(n)
}
