package closure

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nixoci/nixoci/internal/atomicfile"
	"github.com/nixoci/nixoci/internal/limit"
)

// narinfoDir keeps the narinfo files of one binary cache in a directory between runs.
// After any error, narinfoDir behaves as if the directory were empty. The caller must
// check its files like files from the network. A nil narinfoDir keeps nothing.
type narinfoDir struct {
	dir   string
	prune sync.Once
}

const (
	narinfoTTL   = 30 * 24 * time.Hour // same as in Nix
	infoTTL      = 7 * 24 * time.Hour  // age limit of nix-cache-info, same as in Nix
	maxNarinfos  = 50_000              // maximum number of files for one cache, about 50 MB
	maxKept      = 256 << 10           // maximum bytes of one file, because up to 32 files are in memory at a time
	pruneEvery   = 24 * time.Hour
	narinfoStamp = ".pruned"
)

func newNarinfoDir(parent, cache string) *narinfoDir {
	sum := sha256.Sum256([]byte(cache))
	return &narinfoDir{dir: filepath.Join(parent, hex.EncodeToString(sum[:8]))}
}

func (d *narinfoDir) get(file string) ([]byte, bool) {
	if d == nil {
		return nil, false
	}
	name := filepath.Join(d.dir, file)
	ttl := narinfoTTL
	if file == cacheInfoFile {
		ttl = infoTTL
	}
	if st, err := os.Stat(name); err != nil || time.Since(st.ModTime()) > ttl {
		return nil, false
	}
	data, err := limit.ReadFile(name, maxKept)
	return data, err == nil
}

// put writes a file. Even if several processes write the same file, it always
// appears with its whole content.
func (d *narinfoDir) put(file string, data []byte) {
	if d == nil || len(data) > maxKept || os.MkdirAll(d.dir, 0o700) != nil {
		return
	}
	d.prune.Do(func() {
		atomicfile.Sweep(d.dir)
		d.pruneOld()
	})
	_ = atomicfile.WriteCached(d.dir, filepath.Join(d.dir, file), data) // ignore errors: the next run will download the file again
}

func (d *narinfoDir) remove(file string) {
	if d != nil {
		os.Remove(filepath.Join(d.dir, file))
	}
}

// pruneOld removes the files that are older than narinfoTTL. If more than
// maxNarinfos are left, it also removes the oldest of these. It does so at most once
// a day.
func (d *narinfoDir) pruneOld() {
	stamp := filepath.Join(d.dir, narinfoStamp)
	if st, err := os.Stat(stamp); err == nil && time.Since(st.ModTime()) < pruneEvery {
		return
	}
	if os.WriteFile(stamp, nil, 0o600) != nil {
		return
	}
	now := time.Now()
	os.Chtimes(stamp, now, now)
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return
	}
	type old struct {
		name string
		time time.Time
	}
	var keep []old
	for _, e := range entries {
		st, err := e.Info()
		if err != nil || e.Name() == narinfoStamp {
			continue
		}
		if now.Sub(st.ModTime()) > narinfoTTL {
			os.Remove(filepath.Join(d.dir, e.Name()))
		} else {
			keep = append(keep, old{e.Name(), st.ModTime()})
		}
	}
	if len(keep) <= maxNarinfos {
		return
	}
	slices.SortFunc(keep, func(a, b old) int { return cmp.Or(a.time.Compare(b.time), cmp.Compare(a.name, b.name)) })
	for _, o := range keep[:len(keep)-maxNarinfos] {
		os.Remove(filepath.Join(d.dir, o.name))
	}
}
