package nixbuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
)

// Nix builds what a [Argument] names, with the nix on the PATH: any version from
// 2.8 on, or Lix. What it built is kept from the garbage collector until Close.
type Nix struct {
	Store    string    // root of the store to build in, "/" for the machine's own
	Flake    fs.FS     // the flake that nixoci ships
	Nixpkgs  string    // what takes the place of a flake's input nixpkgs: a directory or flake reference, "" for what its lock says
	Progress io.Writer // what Nix says while it works
	Answers  io.Reader // to what Nix asks, when it and Progress are a terminal
	Verbose  bool      // with the logs of builds

	dir     string // of the shipped flake and of the links that keep results
	shipped string // Nix expression: the shipped flake's source
	flake   string // reference to the shipped flake
	builds  int
}

// Built is a store path that was built from a [Argument].
type Built struct {
	System  string // Nix's name
	Path    closure.StorePath
	Program string // what its meta.mainProgram says, "" where it says nothing
}

// ErrNoNix is wrapped by errors that say that there is no nix on the PATH.
var ErrNoNix = errors.New("no nix on the PATH")

// interruptGrace is how long Nix may take to end its builders.
const interruptGrace = 15 * time.Second

// Build evaluates t for each of the systems, then builds all of them together.
// Without systems, a configuration or a derivation of a flake is built for the
// system that it is for; the base system and NixOS configurations in files are
// for whatever system is asked for, and need one.
//
// A configuration becomes a container, and one for another system where
// systems say so: nix/bake.nix. A package is looked up for each of the systems.
// Any other derivation is what it is, and an error if that is not what systems
// want.
func (n *Nix) Build(ctx context.Context, a Argument, systems []string) ([]Built, error) {
	if err := n.prepare(); err != nil {
		return nil, err
	}
	drvs, err := n.evaluate(ctx, a, systems)
	if err != nil {
		return nil, fmt.Errorf("evaluate: %w", err)
	}
	for _, d := range drvs {
		if len(systems) > 0 && !slices.Contains(systems, d.System) {
			return nil, hint.Add(fmt.Errorf("evaluate: it is a derivation for %s, not for %s", d.System, strings.Join(systems, " or ")),
				"name the NixOS configuration, such as .#web, and it is built for any platform")
		}
	}
	built, err := n.realise(ctx, drvs)
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	return built, nil
}

// Close lets the garbage collector have what was built.
func (n *Nix) Close() error {
	if n.dir == "" {
		return nil
	}
	dir := n.dir
	n.dir = ""
	return os.RemoveAll(dir)
}

// prepare looks for Nix and writes the shipped flake, once.
func (n *Nix) prepare() error {
	for _, program := range []string{"nix", "nix-store"} {
		if _, err := exec.LookPath(program); err != nil {
			err = fmt.Errorf("%w (%s: %w)", ErrNoNix, program, errors.Unwrap(err))
			return hint.Add(err, "install Nix, or name a system that is built, and a binary cache that has it: --from https://cache.nixos.org /nix/store/…-nixos-system-…")
		}
	}
	if n.dir != "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "nixoci-")
	if err != nil {
		return fmt.Errorf("make a directory for Nix: %w", err)
	}
	n.dir = dir
	// Nix refuses symlinks on the way to a flake.
	if dir, err = filepath.EvalSymlinks(dir); err == nil {
		n.shipped, n.flake, err = writeFlake(n.Flake, filepath.Join(dir, "source"))
	}
	if err != nil {
		return fmt.Errorf("write the flake that nixoci ships: %w", err)
	}
	return nil
}

// derivation is what nix/bake.nix answers.
type derivation struct {
	System      string `json:"system"`      // that it runs on
	BuildSystem string `json:"buildSystem"` // that it is built on
	DrvPath     string `json:"drvPath"`
	Output      string `json:"output"`  // which one of several; "" of one
	Program     string `json:"program"` // meta.mainProgram
}

// baseAttribute is the base system in the shipped flake. For other systems it
// is extended like any other configuration.
const baseAttribute = "nixosConfigurations.base"

func (n *Nix) evaluate(ctx context.Context, a Argument, systems []string) ([]derivation, error) {
	if a.Flake == "" {
		return n.bake(ctx, n.flake+"#"+baseAttribute, a, systems)
	}
	installable, named := installableOf(a.Flake)
	var configurations []string
	if named {
		var is bool
		if configurations, is = n.isConfiguration(ctx, installable); is {
			return n.bake(ctx, installable, a, systems)
		}
		installable = packageOf(a.Flake)
	} else if strings.Contains(installable, "#nixosConfigurations.") {
		return n.bake(ctx, installable, a, systems)
	}
	drvs, err := n.bakePackage(ctx, installable, a, systems)
	if err != nil && len(configurations) > 0 && ctx.Err() == nil {
		err = hint.Add(err, "the NixOS configurations of the flake: "+strings.Join(configurations, ", "))
	}
	return drvs, err
}

// isConfiguration reports whether a flake has the NixOS configuration that
// installable names, and which ones it has. Where Nix cannot tell, the evaluation
// that follows says why.
func (n *Nix) isConfiguration(ctx context.Context, installable string) (all []string, is bool) {
	flake, attr, _ := strings.Cut(installable, "#nixosConfigurations.")
	args := append([]string{"--extra-experimental-features", "nix-command flakes", "eval", "--json"}, n.overrides()...)
	args = append(args, "--apply", "builtins.attrNames")
	args = append(args, n.storeArgs()...)
	quiet := *n
	quiet.Progress = nil
	out, err := quiet.run(ctx, "nix", append(args, "--", flake+"#nixosConfigurations"))
	if err != nil || json.Unmarshal(out, &all) != nil {
		return nil, false
	}
	return all, slices.Contains(all, strings.ReplaceAll(attr, `"`, ""))
}

// bakePackage evaluates a package, or another output of a flake, for each of the
// systems: what Nix finds under a name depends on the system that it is asked
// for.
func (n *Nix) bakePackage(ctx context.Context, installable string, a Argument, systems []string) ([]derivation, error) {
	if len(systems) == 0 {
		return n.bake(ctx, installable, a, nil)
	}
	var all []derivation
	for _, system := range systems {
		drvs, err := n.bake(ctx, installable, a, []string{system}, "--option", "system", system)
		if err != nil {
			return nil, err
		}
		all = append(all, drvs...)
	}
	return all, nil
}

func (n *Nix) overrides() []string {
	if n.Nixpkgs == "" {
		return nil
	}
	return []string{"--override-input", "nixpkgs", n.Nixpkgs}
}

// bake asks nix/bake.nix for the derivations of an installable.
func (n *Nix) bake(ctx context.Context, installable string, a Argument, systems []string, options ...string) ([]derivation, error) {
	args := append([]string{"--extra-experimental-features", "nix-command flakes", "eval", "--json"}, options...)
	modules := ""
	switch {
	case a.Flake != "":
	case a.File != "":
		// Such a file may import what it likes, <nixpkgs> or its neighbours.
		args = append(args, "--impure")
		modules = "(/. + " + nixString(a.File) + ")"
		fallthrough
	default:
		args = append(args, "--no-write-lock-file")
		if len(systems) == 0 {
			return nil, errors.New("no system to build for is named")
		}
	}
	args = append(args, n.overrides()...)
	quoted := make([]string, len(systems))
	for i, s := range systems {
		quoted[i] = nixString(s)
	}
	args = append(args, "--apply", fmt.Sprintf("import (%s + \"/nix/bake.nix\") { systems = [ %s ]; modules = [ %s ]; }",
		n.shipped, strings.Join(quoted, " "), modules))
	args = append(args, n.storeArgs()...)
	out, err := n.run(ctx, "nix", append(args, "--", installable))
	if err != nil {
		return nil, err
	}
	var drvs []derivation
	if err := json.Unmarshal(out, &drvs); err != nil {
		return nil, fmt.Errorf("read what nix eval says: %w", err)
	}
	for _, d := range drvs {
		if p, err := closure.ParseStorePath(d.DrvPath); err != nil || !strings.HasSuffix(p.Name(), ".drv") {
			return nil, fmt.Errorf("nix eval names %q, which is no derivation", d.DrvPath)
		}
	}
	if len(drvs) == 0 {
		return nil, errors.New("nix eval names no derivation")
	}
	return drvs, nil
}

// realise builds drvs, in one go so that Nix can build what they need side by
// side. nix-store is what all versions of Nix take derivations from alike.
func (n *Nix) realise(ctx context.Context, drvs []derivation) ([]Built, error) {
	n.builds++
	link := filepath.Join(n.dir, fmt.Sprintf("built-%d", n.builds))
	format := "bar"
	if n.Verbose {
		format = "bar-with-logs"
	}
	args := append([]string{"--realise", "--log-format", format, "--add-root", link}, n.storeArgs()...)
	for _, d := range drvs {
		if d.Output != "" {
			d.DrvPath += "!" + d.Output
		}
		args = append(args, d.DrvPath)
	}
	out, err := n.run(ctx, "nix-store", args)
	if err != nil {
		return nil, n.explain(ctx, drvs, err)
	}
	links := strings.Fields(string(out))
	if len(links) != len(drvs) {
		return nil, fmt.Errorf("%d outputs of %d derivations, and one of each was asked for", len(links), len(drvs))
	}
	built := make([]Built, len(drvs))
	for i := range drvs {
		// Not where the links are said to be, but where they were asked for: the
		// directory has no spaces to lose, and these are the ones that protect.
		name := link
		if i > 0 {
			name = fmt.Sprintf("%s-%d", link, i+1)
		}
		if out := drvs[i].Output; out != "" && out != "out" {
			name += "-" + out // Nix calls it so
		}
		target, err := os.Readlink(name)
		if err != nil {
			return nil, fmt.Errorf("find what was built: %w", err)
		}
		if below, ok := cutDir(target, strings.TrimRight(n.Store, "/")); ok && n.Store != "" {
			target = below
		}
		p, err := closure.ParseStorePath(target)
		if err != nil {
			return nil, fmt.Errorf("find what was built: %w", err)
		}
		built[i] = Built{System: drvs[i].System, Path: p, Program: drvs[i].Program}
	}
	return built, nil
}

func (n *Nix) storeArgs() []string {
	if n.Store == "" || n.Store == "/" {
		return nil
	}
	return []string{"--store", n.Store}
}

// run returns what a program of Nix's writes to stdout. A terminal is handed on
// to it, so that it can draw there; otherwise the error has its message.
func (n *Nix) run(ctx context.Context, program string, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	// As a Ctrl-C at the terminal does. Killed, it would leave its builders.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptGrace
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	said := &tail{}
	switch {
	case n.Progress == nil:
		cmd.Stderr = said
	case isTerminal(n.Progress):
		cmd.Stderr = n.Progress
		if isTerminal(n.Answers) {
			cmd.Stdin = n.Answers
		}
	default:
		cmd.Stderr = io.MultiWriter(n.Progress, said)
	}
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err == nil:
		return stdout.Bytes(), nil
	}
	name := program
	if program == "nix" {
		name = "nix eval"
	}
	if message := nixMessage(said.String(), program == "nix"); message != "" {
		return nil, fmt.Errorf("%s: %w: %s", name, err, message)
	}
	return nil, fmt.Errorf("%s: %w", name, err)
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// installableOf completes a flake reference as nixos-rebuild does: a name alone
// is one of nixosConfigurations, no name is "default". named says that it was
// completed: then it may be a package as well, see [packageOf].
func installableOf(flake string) (installable string, named bool) {
	ref, attr, _ := strings.Cut(packageOf(flake), "#")
	if named = !strings.Contains(unquoted(attr), "."); named {
		attr = "nixosConfigurations." + attr
	}
	return ref + "#" + attr, named
}

// packageOf is a flake reference as nix build takes it: no name is "default".
func packageOf(flake string) string {
	ref, attr, _ := strings.Cut(flake, "#")
	if attr == "" {
		attr = "default"
	}
	return ref + "#" + attr
}

// unquoted is an attribute path without its quoted parts, which may have dots.
func unquoted(attr string) string {
	var b strings.Builder
	for i, part := range strings.Split(attr, `"`) {
		if i%2 == 0 {
			b.WriteString(part)
		}
	}
	return b.String()
}

// nixString is s as a string in the Nix language.
func nixString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `${`, `\${`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}
