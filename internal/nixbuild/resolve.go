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

// Argument is what a CLOSURE argument names: a store path, a graph file, or
// something to be built first. Without any of them it is the base system that
// nixoci ships, which no argument names.
type Argument struct {
	System string            // as stated, "" where it is not
	Path   closure.StorePath // a store path
	Graph  string            // file name for [OpenGraph]
	Flake  string            // flake output for [Nix.Build], as it was given
	File   string            // absolute name of a NixOS configuration for [Nix.Build]
}

// ToBuild reports whether [Nix.Build] finds the path.
func (a Argument) ToBuild() bool { return a.Path == "" && a.Graph == "" }

var systemPrefix = regexp.MustCompile(`^([A-Za-z0-9_]+-[A-Za-z0-9_]+)=`)

// Resolve reads [SYSTEM=]WHAT. WHAT is a store path or a path below one, a
// symlink that leads to one ("./result", a profile, through any number of
// others), a graph file, a flake output ("REF#ATTR", or a reference with a
// scheme), or a file of the Nix language. Nothing is asked of a store: the path
// may be in a binary cache. Nothing is asked of Nix either.
//
// Root is where the local store is, "/" or what --from named. An absolute
// symlink below root leads to another place below root.
func Resolve(arg, root string) (Argument, error) {
	a, err := resolve(arg, root)
	if err != nil {
		return Argument{}, fmt.Errorf("closure %q: %w", arg, err)
	}
	return a, nil
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
		// Also when it is a link into a store, as configurations on NixOS often are.
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

// isFlake tells a flake reference with an output. A file may have a # in its
// name.
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

const maxSymlinks = 40 // what Linux follows

// follow resolves the symlinks in what, one after the other, until it is in a
// store, which it returns, or is no symlink any more.
func follow(what, root string) (real string, store closure.StorePath, err error) {
	abs, err := filepath.Abs(what)
	if err != nil {
		return "", "", err
	}
	// base is what "/" means to the symlinks on the way; p is below it.
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
		// A link outside of root may lead into it.
		if base == "/" {
			if in, ok := cutDir(p, root); ok {
				base, p = root, in
			}
		}
	}
	return "", "", errors.New("too many symlinks")
}

// cutDir returns p as it is seen below dir, "/" for dir itself.
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

// firstSymlink is the first element of p, below base, that is a symlink, where
// it leads, and what follows it in p.
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

// sniffGraph says why a file cannot be a graph file.
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
