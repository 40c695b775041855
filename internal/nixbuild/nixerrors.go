package nixbuild

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
)

// tail is an io.Writer that keeps only the end of the text. Nix may print much text
// before its error.
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

const maxNixMessage = 400 // bytes of an error without its place in a file

// nixMessage returns the error in the output of Nix, with its place in a file. If
// there are several errors, nixMessage returns the last one if last is true, and
// else the first. The last error is the cause of a failed evaluation. The first
// error is the cause of a failed build.
//
//	error: undefined variable 'foo'
//	       at /etc/nixos/nginx.nix:3:5:
//
// Since Nix 2.20 the line "error:" comes first, then a trace, then an indented line
// "error: undefined variable 'foo'".
func nixMessage(output string, last bool) string {
	lines := strings.Split(ansiEscape.ReplaceAllString(output, ""), "\n")
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
			// The later lines of a message are indented. A trace begins with an
			// ellipsis. A line of source code begins with a line number and "|".
			switch {
			case trimmed == "" && message != "": // the place in a file may be on the next line
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

// explain adds to the error of a build that there is no builder for a system, if Nix
// cannot build for this system. It does not use the message of Nix, because each
// version of Nix has another message for this. If Nix prints to a terminal, nixoci does
// not see the message at all.
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

// buildableSystems returns the systems that Nix can build for, on this machine or
// on its remote builders. It returns false if it cannot read Nix's settings.
func (n *Nix) buildableSystems(ctx context.Context) ([]string, bool) {
	var out []byte
	var err error
	// Nix accepts the first command since version 2.18.
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

// builderSystems returns the systems of the machines in the Nix option builders. The
// option is a list of machines, separated by newlines or semicolons. It can also
// contain @FILE, a file with such a list. The second field of a machine lists its
// systems. If this field is missing, the machine's system is own.
func builderSystems(builders, own string) []string {
	var systems []string
	for _, line := range strings.FieldsFunc(builders, func(r rune) bool { return r == '\n' || r == ';' }) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if file, ok := strings.CutPrefix(line, "@"); ok {
			if list, err := limit.ReadFile(file, limit.NixConf); err == nil {
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
