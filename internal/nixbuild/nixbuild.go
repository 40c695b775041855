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
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/terminal"
)

// Nix builds what an [Argument] names, with the nix on the PATH. It works with
// Nix 2.8 and later, and with Lix. Until Close, the garbage collector cannot delete
// the results.
type Nix struct {
	Store    string    // root of the store to build in; "/" or "" means the machine's own store
	Flake    fs.FS     // the flake that nixoci ships
	Nixpkgs  string    // directory or flake reference that replaces a flake's input nixpkgs; "" keeps the locked input
	Progress io.Writer // receives what Nix prints while it works
	Answers  io.Reader // input for Nix; used only if Answers and Progress are terminals
	Verbose  bool      // print the logs of builds, too
	Sources  bool      // Build also finds the source, see [Built.Source]

	dir     string // directory with the shipped flake, and with links that protect the results
	shipped string // Nix expression for the source of the shipped flake
	flake   string // flake reference to the shipped flake
	builds  int
}

// Built describes a store path that was built from an [Argument].
type Built struct {
	System  string // Nix's name of the system
	Path    closure.StorePath
	Program string // meta.mainProgram, "" if it is not set

	Argument   Argument // the argument that was built
	Derivation closure.StorePath
	Attribute  string  // attribute of the flake that was built, with its full name
	Source     *Origin // nil if [Nix.Sources] is not set
}

// ErrNoNix is wrapped by the error about a missing nix on the PATH.
var ErrNoNix = errors.New("no nix on the PATH")

// interruptGrace is the time that Nix has to stop its builders.
const interruptGrace = 15 * time.Second

// Build evaluates a for each of the systems, and then builds all results together.
// If systems is empty, Build builds a configuration or derivation of a flake for
// the system that it declares. The base system and NixOS configurations in files
// declare no system. For these, the argument systems must not be empty.
//
// nix/bake.nix turns a configuration into a container. It can also build the
// configuration for a system that the configuration does not declare. For a package,
// Nix looks up the name for each of the systems. Any other derivation must be for
// one of the systems.
func (n *Nix) Build(ctx context.Context, a Argument, systems []string) ([]Built, error) {
	if err := n.prepare(); err != nil {
		return nil, err
	}
	var drvs []derivation
	var source *Origin
	var err error
	if n.Sources {
		drvs, source, err = n.evaluateSource(ctx, a, systems)
	} else {
		drvs, err = n.evaluate(ctx, a, systems)
	}
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
	for i := range built {
		built[i].Argument, built[i].Source = a, source
	}
	return built, nil
}

// Close allows the garbage collector to delete the results.
func (n *Nix) Close() error {
	if n.dir == "" {
		return nil
	}
	dir := n.dir
	n.dir = ""
	return os.RemoveAll(dir)
}

// prepare checks that the programs of Nix exist. The first call also writes the
// shipped flake.
func (n *Nix) prepare() error {
	for _, program := range []string{"nix", "nix-store"} {
		if _, err := exec.LookPath(program); err != nil {
			err = fmt.Errorf("%w (%s: %w)", ErrNoNix, program, errors.Unwrap(err))
			return hint.Add(err, "install Nix, or name a system that is already built, and a binary cache that contains the system: --from https://cache.nixos.org /nix/store/…-nixos-system-…")
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
	// Nix does not accept symlinks in the path of a flake.
	if dir, err = filepath.EvalSymlinks(dir); err == nil {
		n.shipped, n.flake, err = writeFlake(n.Flake, filepath.Join(dir, "source"))
	}
	if err != nil {
		return fmt.Errorf("write the flake that nixoci ships: %w", err)
	}
	return nil
}

// derivation is one element of the list that nix/bake.nix returns.
type derivation struct {
	System      string `json:"system"`      // the system that the result runs on
	BuildSystem string `json:"buildSystem"` // the system that runs the build
	DrvPath     string `json:"drvPath"`
	Output      string `json:"output"`  // name of the output; "" if the derivation has only one
	Program     string `json:"program"` // meta.mainProgram

	attribute string // attribute of the flake that was evaluated
}

// baseAttribute is the attribute of the base system in the shipped flake.
// nix/bake.nix adapts the base system to other systems, like any configuration.
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
// installable names. It also returns the names of all the flake's configurations. If
// Nix fails, isConfiguration returns false, and the next evaluation reports the
// error.
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
// systems. Each system needs its own evaluation, because Nix looks up the name among
// the packages of that system.
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

// bake evaluates nix/bake.nix and returns the derivations of an installable.
func (n *Nix) bake(ctx context.Context, installable string, a Argument, systems []string, options ...string) ([]derivation, error) {
	if a.Flake == "" && len(systems) == 0 {
		return nil, errors.New("no system name is given")
	}
	args := append([]string{"--extra-experimental-features", "nix-command flakes", "eval", "--json"}, options...)
	own, modules := shippedArgs(a)
	args = append(args, own...)
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
		return nil, fmt.Errorf("read the output of nix eval: %w", err)
	}
	_, attribute, _ := strings.Cut(installable, "#")
	for i, d := range drvs {
		if p, err := closure.ParseStorePath(d.DrvPath); err != nil || !strings.HasSuffix(p.Name(), ".drv") {
			return nil, fmt.Errorf("nix eval printed %q, which is not the path of a derivation", d.DrvPath)
		}
		drvs[i].attribute = attribute
	}
	if len(drvs) == 0 {
		return nil, errors.New("nix eval printed no derivation")
	}
	return drvs, nil
}

// shippedArgs returns the arguments of nix for an argument that is evaluated with the flake that
// nixoci ships: a file, or the base system. It also returns the file as a module, in the Nix
// language.
func shippedArgs(a Argument) (args []string, modules string) {
	if a.Flake != "" {
		return nil, ""
	}
	if a.File != "" {
		// Nix needs --impure, because the file may import <nixpkgs> or other files
		// in its directory.
		args, modules = []string{"--impure"}, "(/. + "+nixString(a.File)+")"
	}
	return append(args, "--no-write-lock-file"), modules
}

// realise builds all of drvs with one command, so that Nix can build in parallel. It
// uses nix-store, which accepts derivations in the same way in all versions of Nix.
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
		return nil, fmt.Errorf("Nix built %d outputs of %d derivations; nixoci expected one output for each derivation", len(links), len(drvs))
	}
	built := make([]Built, len(drvs))
	for i := range drvs {
		// Compute the names of the links instead of reading them from the output of
		// Nix. The output is ambiguous if the directory's name contains spaces.
		// Besides, exactly these links protect the results.
		name := link
		if i > 0 {
			name = fmt.Sprintf("%s-%d", link, i+1)
		}
		if out := drvs[i].Output; out != "" && out != "out" {
			name += "-" + out // Nix appends the output's name to the link's name
		}
		target, err := os.Readlink(name)
		if err != nil {
			return nil, fmt.Errorf("find the built store path: %w", err)
		}
		if below, ok := cutDir(target, strings.TrimRight(n.Store, "/")); ok && n.Store != "" {
			target = below
		}
		p, err := closure.ParseStorePath(target)
		if err != nil {
			return nil, fmt.Errorf("find the built store path: %w", err)
		}
		built[i] = Built{System: drvs[i].System, Path: p, Program: drvs[i].Program,
			Derivation: closure.StorePath(drvs[i].DrvPath), Attribute: drvs[i].attribute}
	}
	return built, nil
}

func (n *Nix) storeArgs() []string {
	if n.Store == "" || n.Store == "/" {
		return nil
	}
	return []string{"--store", n.Store}
}

// run runs a program of Nix and returns its stdout. If Progress is a terminal, the
// program prints to that terminal. Otherwise, an error from run contains the
// program's message.
func (n *Nix) run(ctx context.Context, program string, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	// Send the same signal as Ctrl-C, so that Nix stops its builders. If nixoci
	// killed Nix, the builders would keep running.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptGrace
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	printed := &tail{}
	drawn := false // Nix has printed its message to the terminal
	switch {
	case n.Progress == nil:
		cmd.Stderr = printed
	case terminal.Is(n.Progress):
		drawn = true
		cmd.Stderr = n.Progress
		if terminal.Is(n.Answers) {
			cmd.Stdin = n.Answers
		}
	default:
		cmd.Stderr = io.MultiWriter(n.Progress, printed)
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
		if slices.Contains(args, "metadata") {
			name = "nix flake metadata"
		}
	}
	err = fmt.Errorf("%s: %w", name, err)
	message := nixMessage(printed.String(), program == "nix")
	switch {
	case message != "":
		err = fmt.Errorf("%w: %s", err, message)
		if offline.MatchString(message) {
			err = hint.Add(err, withoutNetwork)
		}
	case drawn:
		err = hint.Add(err, "the message of Nix is above. If it found no network: "+withoutNetwork)
	}
	return nil, err
}

// offline matches the messages that Nix prints when the network does not work.
var offline = regexp.MustCompile(`(?i)unable to download|could(n't| not) resolve host|could(n't| not) connect to server|cannot connect to`)

const withoutNetwork = "name a system that is built already, such as ./result"

// installableOf completes a flake reference in the same way as nixos-rebuild. If the
// name has no dot, installableOf looks it up in nixosConfigurations. A missing name
// means "default". named reports whether installableOf added nixosConfigurations. If
// so, the name may also be the name of a package, see [packageOf].
func installableOf(flake string) (installable string, named bool) {
	ref, attr, _ := strings.Cut(packageOf(flake), "#")
	if named = !strings.Contains(unquoted(attr), "."); named {
		attr = "nixosConfigurations." + attr
	}
	return ref + "#" + attr, named
}

// packageOf completes a flake reference in the same way as nix build: a missing name
// means "default".
func packageOf(flake string) string {
	ref, attr, _ := strings.Cut(flake, "#")
	if attr == "" {
		attr = "default"
	}
	return ref + "#" + attr
}

// unquoted returns an attribute path without its quoted parts. Dots in quoted parts
// do not separate names.
func unquoted(attr string) string {
	var b strings.Builder
	for i, part := range strings.Split(attr, `"`) {
		if i%2 == 0 {
			b.WriteString(part)
		}
	}
	return b.String()
}

// nixString returns s as a string literal of the Nix language.
func nixString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `${`, `\${`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}
