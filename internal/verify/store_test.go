package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/layout"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nar"
	"github.com/nixoci/nixoci/internal/oci"
	"github.com/nixoci/nixoci/internal/plan"
	"github.com/nixoci/nixoci/internal/push"
)

const testdata = "../../testdata"

// store contains the sample systems. It keeps the NAR of each path in memory, because decompressing
// the NARs for every test would take most of the time.
type store struct {
	cut      int  // the store contains only the first cut bytes of each file; 0 means all bytes
	tinyInit bool // images contain a tiny program, not nixoci's own

	source func() (closure.Source, error)
	nars   sync.Map // maps each store path to its NAR
}

// The stores of the tests. The images of all stores have the same layers with the same entries.
var (
	// whole contains the systems as Nix built them. Their images have blocks and layers of real sizes.
	// Only the whole files have the narHashes that the cache signs.
	whole = newStore(0, false)

	// ownInit is for tests that need nixoci's own program in the image.
	ownInit = newStore(smallFile, false)

	// small is for all other tests. Its images have 0.2 MB instead of 9 MB.
	small = newStore(smallFile, true)
)

// smallFile is the size of the largest files in small. Files of this size fill several tar blocks.
const smallFile = 3000

func newStore(cut int, tiny bool) *store {
	return &store{cut: cut, tinyInit: tiny, source: sync.OnceValues(openSamples)}
}

// openSamples opens the binary cache of the sample systems.
func openSamples() (closure.Source, error) {
	key, err := os.ReadFile(filepath.Join(testdata, "public-key"))
	if err != nil {
		return nil, err
	}
	keys, err := closure.NewTrustedKeys(strings.TrimSpace(string(key)))
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(filepath.Join(testdata, "cache"))
	if err != nil {
		return nil, err
	}
	return closure.Open([]string{"file://" + dir}, closure.CacheOptions{Keys: keys})
}

// Closure returns the closure of roots. If the store cuts files, the narHashes and sizes in the
// closure describe the cut files.
func (st *store) Closure(ctx context.Context, roots []closure.StorePath) (*closure.Closure, error) {
	src, err := st.source()
	if err != nil {
		return nil, err
	}
	c, err := src.Closure(ctx, roots)
	if err != nil || st.cut == 0 {
		return c, err
	}
	for i := range c.Paths {
		info := &c.Paths[i]
		data, err := st.nar(ctx, info)
		if err != nil {
			return nil, err
		}
		info.NarHash, info.NarSize = sha256.Sum256(data), int64(len(data))
	}
	return c, nil
}

func (st *store) Tree(ctx context.Context, info *closure.Info, v nar.Visitor) error {
	data, err := st.nar(ctx, info)
	if err != nil {
		return err
	}
	return nar.Read(bytes.NewReader(data), v)
}

// nar returns the NAR of a path.
func (st *store) nar(ctx context.Context, info *closure.Info) ([]byte, error) {
	if kept, ok := st.nars.Load(info.Path); ok {
		return kept.([]byte), nil
	}
	from, err := st.source()
	if st.cut > 0 {
		from = whole
	}
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := nar.NewWriter(&b)
	if err := errors.Join(from.Tree(ctx, info, cutter{w, int64(st.cut)}), w.Close()); err != nil {
		return nil, err
	}
	kept, _ := st.nars.LoadOrStore(info.Path, b.Bytes())
	return kept.([]byte), nil
}

// cutter passes at most most bytes of each file to its Visitor. 0 means all bytes.
type cutter struct {
	nar.Visitor
	most int64
}

func (c cutter) File(name string, executable bool, size int64, content io.Reader) error {
	if c.most == 0 || size <= c.most {
		return c.Visitor.File(name, executable, size, content)
	}
	err := c.Visitor.File(name, executable, c.most, io.LimitReader(content, c.most))
	_, rest := io.Copy(io.Discard, content)
	return errors.Join(err, rest)
}

// tinyInits chooses the programs of the images from the store small.
func tinyInits(t testing.TB) *manifest.InitChoice {
	t.Helper()
	return &manifest.InitChoice{Files: []manifest.InitFile{
		{Name: "amd64", Data: tinyProgram(t, elf.EM_X86_64)}, {Name: "arm64", Data: tinyProgram(t, elf.EM_AARCH64)}}}
}

// tinyProgram returns a small file that nixoci accepts as a static program for the machine. It
// cannot run.
func tinyProgram(t testing.TB, machine elf.Machine) []byte {
	t.Helper()
	head := elf.Header64{Type: uint16(elf.ET_EXEC), Version: 1, Ehsize: 64, Machine: uint16(machine)}
	copy(head.Ident[:], elf.ELFMAG+string([]byte{byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}))
	var b bytes.Buffer
	must(t, binary.Write(&b, binary.LittleEndian, head))
	b.WriteString(strings.Repeat("no program ", 200))
	return b.Bytes()
}

// system returns the system called name in testdata/systems.json, with its plan. The plan is that
// of the whole system, so the systems of all stores have the same layers.
func (st *store) system(t testing.TB, name string) push.PlannedSystem {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testdata, "systems.json"))
	must(t, err)
	var systems map[string]closure.StorePath
	must(t, json.Unmarshal(data, &systems))
	top := systems[name]
	if top == "" {
		t.Fatalf("no %s in systems.json", name)
	}
	planned, err := whole.Closure(t.Context(), []closure.StorePath{top})
	must(t, err)
	p, err := plan.New(planned, plan.Options{})
	must(t, err)
	c, err := st.Closure(t.Context(), []closure.StorePath{top})
	must(t, err)
	sys, err := manifest.ReadSystem(t.Context(), st, c, top, "")
	must(t, err)
	if st.tinyInit {
		program, err := tinyInits(t).For(sys.Platform)
		must(t, err)
		sys = sys.In(manifest.Format2, program)
	}
	return push.PlannedSystem{System: sys, Plan: p}
}

// given returns the named systems, as the options of verify have them.
func (st *store) given(t testing.TB, names ...string) (all []*manifest.System) {
	t.Helper()
	for _, n := range names {
		all = append(all, st.system(t, n).System)
	}
	return all
}

// pushTo pushes an image of the named systems to dst.
func (st *store) pushTo(t testing.TB, dst oci.Destination, comp string, s manifest.Settings, names ...string) {
	t.Helper()
	var images []push.PlannedSystem
	for _, n := range names {
		images = append(images, st.system(t, n))
	}
	c, err := layers.ParseCompression(comp)
	must(t, err)
	_, err = push.Push(t.Context(), dst, images, push.Options{Compression: c, Settings: s, Tags: []string{"v1"}})
	must(t, err)
	must(t, dst.Close())
}

// layoutOf returns the directory of a new layout with an image of the named systems.
func (st *store) layoutOf(t testing.TB, comp string, s manifest.Settings, names ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	dst, err := layout.OpenLayout(dir)
	must(t, err)
	st.pushTo(t, dst, comp, s, names...)
	return dir
}
