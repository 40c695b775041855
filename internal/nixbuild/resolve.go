package nixbuild

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
)

// Argument is a parsed CLOSURE argument. It names a store path, a graph file, or
// something to build. The zero value names the base system that nixoci ships.
type Argument struct {
	System string            // the stated system of Nix, "" if the argument states none
	Path   closure.StorePath // a store path
	Graph  string            // name of a graph file for [closure.OpenGraph]
	Flake  string            // reference to a flake output for [Nix.Build]
	File   string            // absolute name of a NixOS configuration for [Nix.Build]
}

// ToBuild reports whether [Nix.Build] must build the argument.
func (a Argument) ToBuild() bool { return a.Path == "" && a.Graph == "" }

var systemPrefix = regexp.MustCompile(`^([A-Za-z0-9_]+-[A-Za-z0-9_]+)=`)

// Resolve reads [SYSTEM=]WHAT. WHAT is one of these:
//
//   - a store path, or a file below a store path;
//   - a symlink to a store path, such as ./result, or a chain of symlinks, such as a profile;
//   - a graph file;
//   - a flake output: REF#ATTR, or a reference with a scheme;
//   - a file in the Nix language.
//
// Resolve asks no store, because the path may be in a binary cache. It does not
// run Nix.
//
// root is the directory of the local store: "/" or a value of --from. For an
// absolute symlink below root, Resolve treats root as "/".
func Resolve(arg, root string) (Argument, error) {
	a, err := resolve(arg, root)
	if err != nil {
		return Argument{}, fmt.Errorf("closure %q: %w", arg, err)
	}
	return a, nil
}

// IsClosure reports whether arg is a CLOSURE, for commands that accept a CLOSURE or an image. A
// CLOSURE is an existing file, a path, a flake output, or has the form SYSTEM=CLOSURE. Everything
// else names an image.
func IsClosure(arg string) bool {
	if filepath.IsAbs(arg) || strings.HasPrefix(arg, "./") || strings.HasPrefix(arg, "../") || strings.Contains(arg, "#") || systemPrefix.MatchString(arg) {
		return true
	}
	_, err := os.Lstat(arg)
	return err == nil
}

func resolve(arg, root string) (a Argument, err error) {
	what := arg
	if m := systemPrefix.FindStringSubmatch(arg); m != nil {
		a.System, what = m[1], arg[len(m[0]):]
		if _, err := closure.ParseSystem(a.System); err != nil {
			return a, err
		}
	}
	if root == "" {
		root = "/"
	}
	if root, err = filepath.Abs(root); err != nil {
		return a, err
	}
	if what == "" {
		return a, errors.New("it is empty")
	}
	if isFlake(what) {
		a.Flake = what
		return a, nil
	}
	if strings.HasSuffix(what, ".nix") {
		// Check this before symlinks, because the file may be a symlink into a store.
		// On NixOS, many configurations are such symlinks.
		if st, err := os.Stat(what); err == nil && st.Mode().IsRegular() {
			a.File, err = filepath.Abs(what)
			return a, err
		}
	}
	real, store, err := follow(what, root)
	if err != nil {
		return a, err
	}
	if store != "" {
		a.Path = store
		return a, nil
	}
	if err := sniffGraph(real); err != nil {
		return a, err
	}
	a.Graph = real
	return a, nil
}

var flakeScheme = regexp.MustCompile(`^(flake|github|gitlab|sourcehut|path|tarball|file|https?|git|hg)(\+[a-z]+)?:`)

// isFlake reports whether what is a flake reference. The name of an existing file
// is not a flake reference, even if it contains #.
func isFlake(what string) bool {
	if flakeScheme.MatchString(what) {
		return true
	}
	if !strings.Contains(what, "#") {
		return false
	}
	_, err := os.Lstat(what)
	return err != nil
}

const maxSymlinks = 40 // Linux has the same limit

// follow resolves the symlinks in the path what, one after the other. When it
// reaches a store path, it returns store. When no symlink is left, it returns real.
func follow(what, root string) (real string, store closure.StorePath, err error) {
	abs, err := filepath.Abs(what)
	if err != nil {
		return "", "", err
	}
	// base is the root directory for absolute symlinks. p is a path below base.
	base, p := "/", abs
	if in, ok := cutDir(abs, root); ok {
		base, p = root, in
	}
	for range maxSymlinks {
		if in, ok := cutDir(p, closure.StoreDir); ok && in != "/" {
			name, _, _ := strings.Cut(in[1:], "/")
			store, err := closure.ParseStoreBase(name)
			return "", store, err
		}
		link, target, rest, err := firstSymlink(base, p)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = hint.Add(err, "a store path, a symlink to one such as ./result, a flake output such as .#web, a NixOS configuration such as nginx.nix, or a graph file")
			}
			return "", "", err
		}
		if link == "" {
			return filepath.Join(base, p), "", nil
		}
		if path.IsAbs(target) {
			p = path.Join(target, rest)
		} else {
			p = path.Join("/", path.Dir(link), target, rest)
		}
		// A symlink outside of root may point into root.
		if base == "/" {
			if in, ok := cutDir(p, root); ok {
				base, p = root, in
			}
		}
	}
	return "", "", errors.New("too many symlinks")
}

// cutDir returns the part of p below dir, with a leading slash. If p is dir, it
// returns "/". It returns false if p is not in dir.
func cutDir(p, dir string) (string, bool) {
	if dir == "/" {
		return p, true
	}
	in, ok := strings.CutPrefix(p, dir)
	if !ok || in != "" && in[0] != '/' {
		return "", false
	}
	return path.Join("/", in), true
}

// firstSymlink returns the first symlink in the path p below base, the symlink's
// target, and the rest of p after the symlink.
func firstSymlink(base, p string) (link, target, rest string, err error) {
	elems := strings.Split(strings.Trim(p, "/"), "/")
	for i := range elems {
		link := "/" + strings.Join(elems[:i+1], "/")
		real := filepath.Join(base, link)
		st, err := os.Lstat(real)
		if err != nil {
			return "", "", "", err
		}
		if st.Mode().Type() == fs.ModeSymlink {
			target, err := os.Readlink(real)
			return link, target, strings.Join(elems[i+1:], "/"), err
		}
	}
	return "", "", "", nil
}

// sniffGraph returns an error if the file cannot be a graph file.
func sniffGraph(file string) error {
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	advice := "a store path, a symlink to one such as ./result, or the output of `nix path-info --json -r`"
	if _, err := os.Stat(filepath.Join(file, "flake.nix")); err == nil {
		advice = "name a configuration of its flake: " + file + "#NAME"
	}
	if !st.Mode().IsRegular() {
		return hint.Add(fmt.Errorf("%s is not in a Nix store", file), advice)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		switch c, err := r.ReadByte(); {
		case err == io.EOF:
			return hint.Add(fmt.Errorf("%s is empty", file), advice)
		case err != nil:
			return err
		case c == '{' || c == '[':
			return nil
		case !strings.ContainsRune(" \t\r\n", rune(c)):
			return hint.Add(fmt.Errorf("%s is not in a Nix store and not a graph file", file), advice)
		}
	}
}

// Configurations asks Nix for the names of a flake's NixOS configurations.
func Configurations(ctx context.Context, flake string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "nix", "--extra-experimental-features", "nix-command flakes", "eval", "--json",
		"--apply", "builtins.attrNames", "--", flake+"#nixosConfigurations")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the configurations of %s: %w", flake, err)
	}
	var names []string
	if err := json.Unmarshal(out, &names); err != nil {
		return nil, fmt.Errorf("list the configurations of %s: %w", flake, err)
	}
	return names, nil
}
