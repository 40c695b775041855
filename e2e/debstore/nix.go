package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed nix
var expressions embed.FS

// nixConf configures Nix. Builders can use programs of the host (dpkg-deb, patchelf,
// /bin/sh). They run as the calling user, and for both platforms, because they only unpack.
// Without the system call filter, tar may set set-user-ID bits. unpack.sh removes these bits
// later.
const nixConf = `build-users-group =
sandbox = false
filter-syscalls = false
substituters =
experimental-features = nix-command
extra-platforms = x86_64-linux aarch64-linux
max-jobs = 2
keep-derivations = true
`

// A system describes a toplevel to build.
type system struct {
	name string // name of the symlink to the result, and beginning of the names of files about the system
	expr string // Nix file in the directory nix/
	arch string // name that Debian uses for the architecture
	pkgs []pkg
	args map[string]string // arguments of expr, as Nix expressions
	path string            // toplevel; set by the build
}

// nixSystem returns the name that Nix uses for a Debian architecture.
func nixSystem(arch string) string {
	return map[string]string{"amd64": "x86_64-linux", "arm64": "aarch64-linux"}[arch]
}

// nix runs Nix on the store under root, which is mounted at /nix.
type nix struct{ root string }

func (n *nix) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "NIX_") }),
		"NIX_CONFIG="+nixConf, "NIX_CONF_DIR=/var/empty", "HOME="+n.root, "USER=root", "NIX_REMOTE=local")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		tail := errs.Bytes()
		tail = tail[max(0, len(tail)-4000):]
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail)
	}
	return out, nil
}

// build makes the toplevel of s. It also makes the link root/NAME to the toplevel, so that
// the garbage collector does not delete it.
func (n *nix) build(ctx context.Context, s *system) error {
	dir := filepath.Join(n.root, "expr")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files, err := fs.Sub(expressions, "nix")
	if err != nil {
		return err
	}
	names, err := fs.Glob(files, "*")
	if err != nil {
		return err
	}
	for _, name := range names {
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	jsonFile := filepath.Join(dir, s.name+".json")
	if err := writeJSON(jsonFile, s.pkgs); err != nil {
		return err
	}
	link := filepath.Join(n.root, s.name)
	args := []string{filepath.Join(dir, s.expr), "-o", link, "--argstr", "system", nixSystem(s.arch), "--arg", "json", jsonFile}
	for k, v := range s.args {
		args = append(args, "--arg", k, v)
	}
	out, err := n.run(ctx, "nix-build", args...)
	if err != nil {
		return fmt.Errorf("build %s: %w", s.name, err)
	}
	s.path = strings.TrimSpace(string(out))
	return nil
}

// graph writes the output of nix path-info --json -r for s.
func (n *nix) graph(ctx context.Context, s system, file string) error {
	out, err := n.run(ctx, "nix", "path-info", "--json", "-r", s.path)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(out, '\n'), 0o644)
}
