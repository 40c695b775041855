package nixbuild

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
)

// tail keeps the end of what is written to it: Nix may say a lot before it
// says what is wrong.
type tail struct{ b []byte }

const tailSize = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailSize {
		t.b = slices.Clone(t.b[len(t.b)-tailSize:])
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

var (
	ansiEscape  = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")
	nixPosition = regexp.MustCompile(`^\s*at (\S.*?:\d+(:\d+)?):?\s*$`)
)

const maxNixMessage = 400 // bytes, for an error that is one line

// nixMessage is the error in what Nix said, with its place in a file. Of an
// evaluation's errors the last is the cause, of a build's the first.
//
//	error: undefined variable 'foo'
//	       at /etc/nixos/nginx.nix:3:5:
//
// Since Nix 2.20 a trace comes between "error:" and an indented
// "error: undefined variable 'foo'".
func nixMessage(said string, last bool) string {
	lines := strings.Split(ansiEscape.ReplaceAllString(said, ""), "\n")
	found := ""
	for i := 0; i < len(lines); i++ {
		text, ok := strings.CutPrefix(strings.TrimSpace(lines[i]), "error:")
		if !ok {
			continue
		}
		message := strings.TrimSpace(text)
		place := ""
		for _, l := range lines[i+1:] {
			trimmed := strings.TrimSpace(l)
			if strings.HasPrefix(trimmed, "error:") {
				break
			}
			if m := nixPosition.FindStringSubmatch(l); m != nil {
				place = m[1]
				break
			}
			// A message of several lines is indented under its first. Traces begin
			// with an ellipsis, sources with a line number.
			switch {
			case trimmed == "" && message != "": // before the place
			case strings.HasPrefix(trimmed, "For full logs"):
			case strings.HasPrefix(trimmed, "…"):
				message = strings.TrimSpace(text)
			case strings.HasPrefix(l, "   ") && !strings.Contains(trimmed, "| "):
				message = strings.TrimSpace(message + " " + trimmed)
			}
		}
		if message == "" {
			continue
		}
		if len(message) > maxNixMessage {
			message = strings.ToValidUTF8(message[:maxNixMessage], "") + "…"
		}
		if place != "" {
			message += " at " + place
		}
		found = message
		if !last {
			break
		}
	}
	return found
}

// explain says what a failed build may be missing: Nix's own words differ from
// version to version, and on a terminal nobody but the user has read them.
func (n *Nix) explain(ctx context.Context, drvs []derivation, err error) error {
	if ctx.Err() != nil {
		return err
	}
	can, ok := n.buildableSystems(ctx)
	if !ok {
		return err
	}
	for _, d := range drvs {
		if slices.Contains(can, d.BuildSystem) {
			continue
		}
		err = fmt.Errorf("there is no builder for %s, only for %s: %w", d.BuildSystem, strings.Join(can, ", "), err)
		return hint.Add(err, "build each platform on a machine of its own, into the same tag: nixoci push --join REF CLOSURE\n"+
			"or have this one build for it: the option builders of nix.conf, or on NixOS boot.binfmt.emulatedSystems = [ \""+d.BuildSystem+"\" ]")
	}
	return err
}

// buildableSystems are those that Nix builds for here or on the remote builders
// that it knows, and whether Nix could be asked.
func (n *Nix) buildableSystems(ctx context.Context) ([]string, bool) {
	var out []byte
	var err error
	// The first since Nix 2.18.
	for _, command := range [][]string{{"config", "show"}, {"show-config"}} {
		args := append([]string{"--extra-experimental-features", "nix-command"}, command...)
		if out, err = exec.CommandContext(ctx, "nix", append(args, "--json")...).Output(); err == nil {
			break
		}
	}
	if err != nil {
		return nil, false
	}
	var config struct {
		System         struct{ Value string }
		ExtraPlatforms struct{ Value []string } `json:"extra-platforms"`
		Builders       struct{ Value string }
	}
	if json.Unmarshal(out, &config) != nil || config.System.Value == "" {
		return nil, false
	}
	systems := append([]string{config.System.Value}, config.ExtraPlatforms.Value...)
	systems = append(systems, builderSystems(config.Builders.Value, config.System.Value)...)
	slices.Sort(systems)
	return slices.Compact(systems), true
}

// builderSystems reads the option builders: machines, divided by newlines or
// semicolons, or @FILE with such a list. The second field of a machine is its
// systems; without one it is like this one.
func builderSystems(builders, own string) []string {
	var systems []string
	for _, line := range strings.FieldsFunc(builders, func(r rune) bool { return r == '\n' || r == ';' }) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if file, ok := strings.CutPrefix(line, "@"); ok {
			if list, err := os.ReadFile(file); err == nil {
				systems = append(systems, builderSystems(strings.ReplaceAll(string(list), "@", " "), own)...)
			}
			continue
		}
		switch fields := strings.Fields(line); {
		case len(fields) == 0:
		case len(fields) == 1 || fields[1] == "-":
			systems = append(systems, own)
		default:
			systems = append(systems, strings.Split(fields[1], ",")...)
		}
	}
	return systems
}
