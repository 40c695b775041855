package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/limit"
)

// Cache is a directory of small files that many processes share without locks. Each entry is
// written to a temporary file and then renamed. An entry contains its own checksum. If the checksum
// is wrong, the entry is removed, and the result is made again. A nil Cache stores nothing.
type Cache struct {
	dir       string
	writeOnly bool
	sweep     sync.Once
}

// tempDir is the folder of the temporary files.
const tempDir = "tmp"

// The cache has these folders, one for each kind of entry. Each comment has the form key → value.
const (
	folderLayers  = "layers"  // layers.Recipe → layers.Packed; see [Cache.Layer]
	FolderImages  = "images"  // image recipe → descriptor of the index
	FolderSystems = "systems" // path and narHash of a closure's root → facts from its files; see package systems
	FolderBases   = "bases"   // digest and platform of a base image → its content
)

// maxEntriesPerShard limits the size of the cache. Each entry takes one block of the file system.
// So 256 shards of 128 entries take 128 MiB with blocks of 4 KiB. If a shard has more entries, the
// oldest entries are removed.
const (
	maxEntriesPerShard = 128
	maxEntrySize       = 64 << 10 // bytes
)

// Open returns the cache in the directory dir. dir need not exist.
func Open(dir string) *Cache { return &Cache{dir: dir} }

// DefaultDir returns $XDG_CACHE_HOME/nixoci, or the platform's usual folder for
// caches.
func DefaultDir() (string, error) {
	if dir := os.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "nixoci"), nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache directory: %w", err)
	}
	return filepath.Join(dir, "nixoci"), nil
}

// WriteOnly returns a cache that stores entries in the same directory but returns none. With this
// cache, a push makes everything again.
func (c *Cache) WriteOnly() *Cache {
	if c == nil {
		return nil
	}
	return &Cache{dir: c.dir, writeOnly: true}
}

// Dir returns the cache's directory.
func (c *Cache) Dir() string { return c.dir }

// entry is the content of a cache file. Check is the sha256 of folder, key and value. So the cache
// also refuses a file that has the name of another entry.
type entry struct {
	Check string          `json:"check"`
	Value json.RawMessage `json:"value"`
}

func checkOf(folder, key string, value []byte) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", folder, key, value))
	return hex.EncodeToString(sum[:])
}

// path returns the file name of an entry. The entries of a folder are spread over 256 subfolders,
// the shards. The name is a hash of the key, because keys come from outside.
func (c *Cache) path(folder, key string) string {
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	return filepath.Join(c.dir, folder, name[:2], name[2:]+".json")
}

// Get reads the entry that is stored under key into value. It reports whether the cache had a valid
// entry.
func (c *Cache) Get(folder, key string, value any) bool {
	if c == nil || c.writeOnly {
		return false
	}
	name := c.path(folder, key)
	data, err := limit.ReadFile(name, maxEntrySize)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	var e entry
	if err != nil || json.Unmarshal(data, &e) != nil || e.Check != checkOf(folder, key, e.Value) || json.Unmarshal(e.Value, value) != nil {
		os.Remove(name) // the entry is corrupt; remove it, so that nobody reads it again
		return false
	}
	return true
}

// Put stores value under key. Callers may ignore the error, or report it once, because a push does not
// depend on the cache.
func (c *Cache) Put(folder, key string, value any) error {
	if c == nil {
		return nil
	}
	v, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write cache entry: %w", err)
	}
	data, err := json.Marshal(entry{Check: checkOf(folder, key, v), Value: v})
	if err != nil {
		return fmt.Errorf("write cache entry: %w", err)
	}
	name := c.path(folder, key)
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write cache entry: %w", err)
	}
	temp := filepath.Join(c.dir, tempDir)
	c.sweep.Do(func() { atomicfile.Sweep(temp) }) // remove the files of processes that were killed
	if err := os.MkdirAll(temp, 0o755); err != nil {
		return fmt.Errorf("write cache entry: %w", err)
	}
	if err := atomicfile.WriteCached(temp, name, data); err != nil {
		return fmt.Errorf("write cache entry: %w", err)
	}
	c.bound(dir)
	return nil
}

// Drop removes the value that is stored under key.
func (c *Cache) Drop(folder, key string) {
	if c != nil {
		os.Remove(c.path(folder, key))
	}
}

// bound removes the oldest entries of the shard dir if the shard has too many entries.
func (c *Cache) bound(dir string) {
	files, err := os.ReadDir(dir)
	if err != nil || len(files) <= maxEntriesPerShard {
		return
	}
	c.prune(dir, files, maxEntriesPerShard*3/4, time.Time{})
}

// prune removes entries of one shard. It keeps the newest entries, at most keep of them, and
// removes all that are older than since. It returns the number of removed entries and their size in
// bytes.
func (c *Cache) prune(dir string, files []fs.DirEntry, keep int, since time.Time) (removed int, bytes int64) {
	type aged struct {
		name string
		at   time.Time
		size int64
	}
	var all []aged
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			all = append(all, aged{f.Name(), info.ModTime(), info.Size()})
		}
	}
	slices.SortFunc(all, func(a, b aged) int {
		if n := b.at.Compare(a.at); n != 0 {
			return n
		}
		return strings.Compare(a.name, b.name)
	})
	for i, f := range all {
		if i < keep && !f.at.Before(since) {
			continue
		}
		if os.Remove(filepath.Join(dir, f.name)) == nil {
			removed++
			bytes += f.size
		}
	}
	return removed, bytes
}

// Folder describes one folder of a cache: the number and the size of its entries.
type Folder struct {
	Name    string `json:"kind"`
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"`
}

// Info counts the entries of the cache, for each folder below its directory.
func (c *Cache) Info() ([]Folder, error) {
	folders := map[string]*Folder{}
	err := filepath.WalkDir(c.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // nobody has used the cache yet, or another process has just pruned this file
			}
			return err
		}
		if d.IsDir() && name == filepath.Join(c.dir, tempDir) {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(c.dir, name)
		if err != nil {
			return err
		}
		folder, _, nested := strings.Cut(filepath.ToSlash(rel), "/")
		if !nested {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if folders[folder] == nil {
			folders[folder] = &Folder{Name: folder}
		}
		folders[folder].Entries++
		folders[folder].Bytes += info.Size()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read cache: %w", err)
	}
	var all []Folder
	for _, k := range folders {
		all = append(all, *k)
	}
	slices.SortFunc(all, func(a, b Folder) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Prune removes the entries that were last written before the time since. It returns the number of
// removed entries and their size in bytes.
func (c *Cache) Prune(since time.Time) (removed int, bytes int64, err error) {
	dirs := map[string]bool{}
	err = filepath.WalkDir(c.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if d.IsDir() && name == filepath.Join(c.dir, tempDir) {
			atomicfile.Sweep(name)
			return filepath.SkipDir
		}
		if d.Type().IsRegular() {
			dirs[filepath.Dir(name)] = true
		}
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("prune cache: %w", err)
	}
	for dir := range dirs {
		files, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		n, b := c.prune(dir, files, len(files), since)
		removed, bytes = removed+n, bytes+b
	}
	return removed, bytes, nil
}

// Layer returns the recorded result of the recipe r.
func (c *Cache) Layer(r layers.Recipe) (layers.Packed, bool) {
	var p layers.Packed
	if !c.Get(folderLayers, r.String(), &p) || p.Size <= 0 || p.DiffID.Validate() != nil || p.Digest.Validate() != nil {
		return layers.Packed{}, false
	}
	return p, true
}

// PutLayer records p as the result of the recipe r.
func (c *Cache) PutLayer(r layers.Recipe, p layers.Packed) error {
	return c.Put(folderLayers, r.String(), p)
}

// DropLayer removes the recorded result of the recipe r.
func (c *Cache) DropLayer(r layers.Recipe) { c.Drop(folderLayers, r.String()) }
