//go:build linux

package guest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// cacheDir is the mount point for a volume that keeps builds for the next container, of
// the same image or of a newer one.
const cacheDir = "/var/cache/nixoci"

// A cache is a binary cache with the paths of
// applied systems, without the paths of the image,
// and a list of these systems. Nix itself cannot
// write such a cache: its binary caches must hold
// complete closures, so also the image's paths
// ("cannot add … because the reference … is not
// valid").
type cache struct {
	dir   string
	store string // /nix/store
}

const (
	systemsFile  = "systems.json"
	binaryDir    = "nix"
	narDir       = "nar"
	cacheInfo    = "nix-cache-info"
	cacheVersion = 1
	// keptSystems is how many applied systems the cache keeps: the running one and those
	// to which the user is likely to return.
	keptSystems = 3
)

// cachedSystems is the content of systemsFile.
type cachedSystems struct {
	Version int            `json:"version"`
	Systems []cachedSystem `json:"systems"` // the last applied system comes first
}

type cachedSystem struct {
	State
	Image string `json:"image,omitempty"` // toplevel of the image in which the system was built
}

// openCache returns the cache in dir. It returns nil if dir is not on a volume, because
// then a new container would not see it.
func openCache(dir, store string, ms Mounts) *cache {
	if m, ok := ms.Holding(dir); !ok || m.Point == "/" {
		return nil
	}
	return &cache{dir: dir, store: store}
}

func (c *cache) binary(names ...string) string {
	return filepath.Join(append([]string{c.dir, binaryDir}, names...)...)
}

// url returns the cache's URL for Nix. trusted=true skips signatures for this cache only.
func (c *cache) url() string { return "file://" + c.binary() + "?trusted=true" }

// lock waits until no other container with the same volume uses the cache.
func (c *cache) lock() (unlock func(), err error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(c.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// Some network file systems have no locks. Two containers can then disturb each
	// other, but the worst result is another build.
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	if err != nil && !errors.Is(err, syscall.ENOLCK) && !errors.Is(err, syscall.ENOTSUP) {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return func() { f.Close() }, nil
}

// check returns an error if the directory holds a cache for another store.
func (c *cache) check() error {
	data, err := os.ReadFile(c.binary(cacheInfo))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a new cache
	}
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if dir, ok := strings.CutPrefix(line, "StoreDir:"); ok {
			if dir = strings.TrimSpace(dir); dir != c.store {
				return fmt.Errorf("%s is for the store %s, not %s", c.binary(), dir, c.store)
			}
			return nil
		}
	}
	return fmt.Errorf("%s names no StoreDir", c.binary(cacheInfo))
}

// systems returns the list of systems. It is empty if the file is missing.
func (c *cache) systems() ([]cachedSystem, error) {
	var s cachedSystems
	there, err := readJSON(filepath.Join(c.dir, systemsFile), &s)
	if err != nil || !there {
		return nil, err
	}
	if s.Version != cacheVersion {
		return nil, fmt.Errorf("%s has version %d, this nixoci-init reads %d", filepath.Join(c.dir, systemsFile), s.Version, cacheVersion)
	}
	for _, system := range s.Systems {
		if c.hash(system.Toplevel) == "" {
			return nil, fmt.Errorf("%s: toplevel %q is not a store path", filepath.Join(c.dir, systemsFile), system.Toplevel)
		}
	}
	return s.Systems, nil
}

// hash returns the hash part of a store path, which names it in a binary cache. It
// returns "" if path is not a store path.
func (c *cache) hash(path string) string {
	name, ok := strings.CutPrefix(path, c.store+"/")
	if !ok || strings.Contains(name, "/") {
		return ""
	}
	hash, rest, ok := strings.Cut(name, "-")
	if !ok || len(hash) != 32 || rest == "" || strings.Trim(hash, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return ""
	}
	return hash
}

// A narinfo holds the fields of a .narinfo file that nixoci-init needs.
type narinfo struct {
	path       string
	url        string
	size       int64
	references []string // store paths
}

// read returns the narinfo of a path, nil if the cache does not have the path.
func (c *cache) read(path string) (*narinfo, error) {
	file := c.binary(c.hash(path) + ".narinfo")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var n narinfo
	for _, line := range strings.Split(string(data), "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "StorePath":
			n.path = value
		case "URL":
			n.url = value
		case "FileSize":
			n.size, _ = strconv.ParseInt(value, 10, 64)
		case "References":
			for _, name := range strings.Fields(value) {
				n.references = append(n.references, c.store+"/"+name)
			}
		}
	}
	if n.path != path || !filepath.IsLocal(n.url) {
		return nil, fmt.Errorf("%s is damaged", file)
	}
	info, err := os.Stat(c.binary(n.url))
	if err != nil || info.Size() != n.size {
		return nil, fmt.Errorf("%s: the file that it names is missing or damaged", file)
	}
	return &n, nil
}

// walk calls have for each path in the closures of paths that the cache has, once each. It
// calls missing for each path that the cache lacks. err is nil if the path is just not there.
func (c *cache) walk(paths []string, have func(*narinfo), missing func(path string, err error)) {
	seen := map[string]bool{}
	todo := append([]string(nil), paths...)
	for len(todo) > 0 {
		path := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[path] {
			continue
		}
		seen[path] = true
		n, err := c.read(path)
		if n == nil {
			missing(path, err)
			continue
		}
		have(n)
		todo = append(todo, n.references...)
	}
}

// complete returns an error if the path cannot be restored, because the cache and the
// store both lack a path of its closure.
func (c *cache) complete(path string) error {
	var errs []error
	c.walk([]string{path}, func(*narinfo) {}, func(path string, err error) {
		switch {
		case isThere(path):
		case err != nil:
			errs = append(errs, err)
		default:
			errs = append(errs, fmt.Errorf("it lacks %s", path))
		}
	})
	if len(errs) == 0 {
		return nil
	}
	return errs[0] // one error is enough to decide
}

// restorable returns those of the paths that are in the cache and whose closure is
// complete in the cache and the store together. It deletes damaged paths from the cache.
func (c *cache) restorable(paths []string) (good []string, damage error) {
	infos := map[string]*narinfo{}
	available := map[string]bool{}
	var visit func(path string) bool
	visit = func(path string) bool {
		if ok, seen := available[path]; seen {
			return ok
		}
		available[path] = true // a path may refer to itself
		n, err := c.read(path)
		if err != nil {
			damage = errors.Join(damage, err, c.remove(path))
		}
		ok := n != nil
		if n != nil {
			infos[path] = n
			for _, r := range n.references {
				ok = visit(r) && ok
			}
		}
		ok = ok || isThere(path)
		available[path] = ok
		return ok
	}
	for _, p := range paths {
		if visit(p) && infos[p] != nil {
			good = append(good, p)
		}
	}
	return good, damage
}

// add copies a store path into the cache. size is 0 if the path was there before.
func (c *cache) add(ctx context.Context, info pathInfo) (size int64, err error) {
	hash := c.hash(info.Path)
	if hash == "" {
		return 0, fmt.Errorf("%q is not a store path", info.Path)
	}
	if n, err := c.read(info.Path); n != nil && err == nil {
		return 0, nil
	}
	if err := os.MkdirAll(c.binary(narDir), 0o755); err != nil {
		return 0, err
	}
	temp, err := os.CreateTemp(c.binary(narDir), tempPrefix)
	if err != nil {
		return 0, err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()

	file := &digester{ctx: ctx, w: temp, hash: sha256.New()}
	packed, err := gzip.NewWriterLevel(file, gzip.BestSpeed)
	if err != nil {
		return 0, err
	}
	nar := &digester{ctx: ctx, w: packed, hash: sha256.New()}
	buffered := bufio.NewWriterSize(nar, 64<<10)
	if err := writeNAR(buffered, info.Path); err != nil {
		return 0, err
	}
	if err := errors.Join(buffered.Flush(), packed.Close()); err != nil {
		return 0, err
	}
	if sum := nar.hash.Sum(nil); !bytes.Equal(sum, info.NarHash[:]) || nar.size != info.NarSize {
		return 0, fmt.Errorf("%s is not what Nix registered: its contents have changed", info.Path)
	}
	if err := errors.Join(temp.Chmod(0o644), temp.Close()); err != nil {
		return 0, err
	}
	url := narDir + "/" + hash + ".nar.gz"
	if err := os.Rename(temp.Name(), c.binary(url)); err != nil {
		return 0, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "StorePath: %s\nURL: %s\nCompression: gzip\n", info.Path, url)
	fmt.Fprintf(&b, "FileHash: sha256:%s\nFileSize: %d\n", base32(file.hash.Sum(nil)), file.size)
	fmt.Fprintf(&b, "NarHash: sha256:%s\nNarSize: %d\n", base32(info.NarHash[:]), info.NarSize)
	var names []string
	for _, r := range info.References {
		names = append(names, filepath.Base(r))
	}
	fmt.Fprintf(&b, "References: %s\n", strings.Join(names, " "))
	if info.Deriver != "" {
		fmt.Fprintf(&b, "Deriver: %s\n", filepath.Base(info.Deriver))
	}
	return file.size, writeFile(c.binary(hash+".narinfo"), []byte(b.String()))
}

const tempPrefix = ".temp-"

// writeFile writes a file whole or not at all. A power failure may still lose or damage
// it: the next reader finds that out.
func writeFile(file string, data []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(file), tempPrefix)
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), file)
}

// A digester passes bytes on and counts and hashes them. It fails when the context ends.
type digester struct {
	ctx  context.Context
	w    io.Writer
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
	size int64
}

func (d *digester) Write(p []byte) (int, error) {
	if err := d.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := d.w.Write(p)
	d.hash.Write(p[:n])
	d.size += int64(n)
	return n, err
}

// remove deletes a path from the cache.
func (c *cache) remove(path string) error {
	hash := c.hash(path)
	if hash == "" {
		return nil
	}
	var errs []error
	for _, file := range []string{c.binary(hash + ".narinfo"), c.binary(narDir, hash+".nar.gz")} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// begin makes an empty cache if there is none.
func (c *cache) begin() error {
	if err := os.MkdirAll(c.binary(narDir), 0o755); err != nil {
		return err
	}
	if isThere(c.binary(cacheInfo)) {
		return nil
	}
	return writeFile(c.binary(cacheInfo), []byte("StoreDir: "+c.store+"\nWantMassQuery: 1\nPriority: 10\n"))
}

// record puts a system first in the list, and drops the oldest ones.
func (c *cache) record(s cachedSystem) error {
	old, err := c.systems()
	if err != nil {
		old = nil // fill has logged this error
	}
	list := []cachedSystem{s}
	for _, o := range old {
		if o.Fingerprint != s.Fingerprint && o.Toplevel != s.Toplevel && len(list) < keptSystems {
			list = append(list, o)
		}
	}
	return writeJSON(filepath.Join(c.dir, systemsFile), cachedSystems{Version: cacheVersion, Systems: list})
}

// find returns the toplevel that was applied with this fingerprint, "" if the list does
// not have it.
func (c *cache) find(fingerprint string) (toplevel string, err error) {
	if err := c.check(); err != nil {
		return "", err
	}
	systems, err := c.systems()
	if err != nil {
		return "", err
	}
	for _, s := range systems {
		if s.Fingerprint == fingerprint {
			return s.Toplevel, nil
		}
	}
	return "", nil
}

// prune deletes the files that no system in the list needs. It returns the size of the
// rest.
func (c *cache) prune() (size int64, err error) {
	systems, err := c.systems()
	if err != nil {
		return 0, err
	}
	var roots []string
	for _, s := range systems {
		roots = append(roots, s.Toplevel)
	}
	keep := map[string]bool{cacheInfo: true}
	c.walk(roots, func(n *narinfo) {
		keep[c.hash(n.path)+".narinfo"] = true
		keep[filepath.Base(n.url)] = true
		size += n.size
	}, func(string, error) {})
	for _, dir := range []string{c.binary(), c.binary(narDir)} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return size, err
		}
		for _, e := range entries {
			if e.Type().IsRegular() && !keep[e.Name()] {
				if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
					return size, err
				}
			}
		}
	}
	return size, nil
}
