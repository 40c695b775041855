//go:build linux

package guest

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// nixStore asks Nix about its store. nix-store runs as root and opens the database
// itself, because the daemon's socket may not exist yet.
type nixStore struct {
	program string // bin/nix-store
	env     []string
}

func (a *Applier) store(base Base) nixStore {
	return nixStore{program: filepath.Join(base.Nix, "bin/nix-store"), env: a.Env}
}

// run calls nix-store with the paths, in portions that fit into a command line. It
// returns the lines that nix-store prints.
func (s nixStore) run(ctx context.Context, paths []string, args ...string) ([]string, error) {
	const portion = 2000
	var lines []string
	for {
		n := min(portion, len(paths))
		cmd := exec.CommandContext(ctx, s.program, append(append([]string{}, args...), paths[:n]...)...)
		cmd.Env = s.env
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("nix-store %s: %w: %s", strings.Join(args, " "), err, firstError(errs.String()))
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")...)
		if paths = paths[n:]; len(paths) == 0 {
			return lines, nil
		}
	}
}

// firstError returns Nix's error in one line, or the whole output if there is none.
func firstError(output string) string {
	if e := cause(nixErrors(output)); e != nil && len(e.Message) > 0 {
		return strings.Join(e.Message, " ")
	}
	return strings.TrimSpace(output)
}

func (s nixStore) closure(ctx context.Context, path string) ([]string, error) {
	return s.run(ctx, []string{path}, "--query", "--requisites")
}

// outputs returns the outputs of all derivations in the closure of drv.
func (s nixStore) outputs(ctx context.Context, drv string) ([]string, error) {
	closure, err := s.closure(ctx, drv)
	if err != nil {
		return nil, err
	}
	var drvs []string
	for _, p := range closure {
		if strings.HasSuffix(p, ".drv") {
			drvs = append(drvs, p)
		}
	}
	return s.run(ctx, drvs, "--query", "--outputs")
}

// invalid returns those of the paths that are not valid in the store.
func (s nixStore) invalid(ctx context.Context, paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	lines, err := s.run(ctx, paths, "--check-validity", "--print-invalid")
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, l := range lines {
		if l != "" {
			missing = append(missing, l)
		}
	}
	return missing, nil
}

// A pathInfo is the record of a path in the store's database.
type pathInfo struct {
	Path       string
	NarHash    [32]byte // SHA-256
	NarSize    int64
	Deriver    string // "" if unknown
	References []string
}

// infos reads nix-store --dump-db. Its format, which --load-db reads, is the same in all
// versions of Nix.
func (s nixStore) infos(ctx context.Context, paths []string) ([]pathInfo, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	lines, err := s.run(ctx, paths, "--dump-db")
	if err != nil {
		return nil, err
	}
	var infos []pathInfo
	next := func() string {
		if len(lines) == 0 {
			return ""
		}
		l := lines[0]
		lines = lines[1:]
		return l
	}
	for len(lines) > 0 {
		info := pathInfo{Path: next()}
		hash, err := hex.DecodeString(next())
		if err != nil || len(hash) != len(info.NarHash) {
			return nil, fmt.Errorf("read nix-store --dump-db: %s has no SHA-256 hash", info.Path)
		}
		copy(info.NarHash[:], hash)
		if info.NarSize, err = strconv.ParseInt(next(), 10, 64); err != nil {
			return nil, fmt.Errorf("read nix-store --dump-db: size of %s: %w", info.Path, err)
		}
		info.Deriver = next()
		n, err := strconv.Atoi(next())
		if err != nil || n < 0 || n > len(lines) {
			return nil, fmt.Errorf("read nix-store --dump-db: references of %s", info.Path)
		}
		info.References, lines = lines[:n:n], lines[n:]
		infos = append(infos, info)
	}
	return infos, nil
}
