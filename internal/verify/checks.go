package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/manifest"
	"github.com/nixoci/nixoci/internal/nar"
	"github.com/nixoci/nixoci/internal/task"
)

// checks holds the results of the checks of one image.
type checks struct {
	ledger
	paths      pathCount
	closure    *closure.Closure // nil if no closure could be read from the database
	init       *manifest.Init   // the program at /sbin/init; nil if there is none
	addresses  addresses
	remade     *remade    // nil if config and manifest could not be made again
	base       *baseCheck // nil if there is no base image, or if it was not checked
	signatures signatureCount
	foreign    []CheckResult // results for an image of another tool, which replace ledger.completed
}

// checkImages is a stage of [Image]. If v.stopAtFirst() is true, it ends after the first image with
// a finding.
func (v *verification) checkImages(ctx context.Context, contents []*content) ([]*checks, error) {
	var all []*checks
	for _, c := range contents {
		check := v.checkImage
		if !c.doc.made {
			check = v.checkForeign
		}
		checked, err := check(ctx, c)
		if err != nil {
			return nil, err
		}
		all = append(all, checked)
		if v.stopAtFirst() && len(checked.findings) > 0 {
			break
		}
	}
	return all, nil
}

func (v *verification) newChecks(doc *document) *checks {
	return &checks{ledger: ledger{platform: doc.platform, stopAtFirst: v.stopAtFirst(), completed: map[Check]bool{}}}
}

// checkImage checks one image, in the order of its parts. If an earlier check has found a fault, a
// later check does not report it again.
func (v *verification) checkImage(ctx context.Context, c *content) (*checks, error) {
	done := v.newChecks(c.doc)
	for _, l := range c.layers {
		if !done.record(l.findings) {
			return done, nil
		}
	}
	if !c.complete() {
		return done, nil // a finding reports why the content is not complete
	}
	var found []Finding
	done.init, found = findInit(c)
	if !done.record(found) {
		return done, nil
	}
	if done.init != nil || !c.form.hasInit {
		if !done.record(v.checkInit(c, done.init)) {
			return done, nil
		}
	}
	if c.system.infos == nil {
		return done, nil // without the database, there is nothing to compare the paths with
	}
	done.paths, found = checkPaths(c)
	if !done.record(found, CheckDigests, CheckFormat, CheckPaths, CheckNarHashes) {
		return done, nil
	}
	cl, err := closure.New(c.roots(), c.system.infos)
	if err != nil {
		done.record([]Finding{Finding{}.of(CheckReferences, "%s", strings.TrimPrefix(err.Error(), "closure: "))})
		return done, nil
	}
	done.closure = cl
	done.record(nil, CheckReferences)
	done.addresses, found = checkAddresses(c, cl)
	if !done.record(found, CheckAddresses) {
		return done, nil
	}
	if c.base() != nil {
		if done.base, found, err = v.checkBase(ctx, c); err != nil {
			return nil, err
		}
		if !done.record(found, CheckBase) {
			return done, nil
		}
	}
	if !c.damaged() && c.form.hasInit == (done.init != nil) { // a damaged image cannot be made again
		if done.remade, err = v.remake(ctx, &done.ledger, c, cl, done.init); err != nil {
			return nil, err
		}
		if v.stopAtFirst() && len(done.findings) > 0 {
			return done, nil
		}
	}
	if !v.o.Allowed.any() && !done.record(requiredBy(true, v.checkAllowed(c, done)), CheckPolicy) {
		return done, nil
	}
	if v.o.Keys == nil {
		return done, nil
	}
	done.signatures, found, err = v.checkSignatures(ctx, c, cl, done.addresses)
	done.record(requiredBy(v.o.Policy, found), CheckSignatures)
	return done, err
}

// pathCount counts the store paths with the right narHash, and the size of their NARs.
type pathCount struct {
	paths   int
	narSize int64
}

// checkPaths compares the store paths in the layers with those in the database.
func checkPaths(c *content) (count pathCount, found []Finding) {
	infos := make(map[closure.StorePath]*closure.Info, len(c.system.infos))
	for k := range c.system.infos {
		infos[c.system.infos[k].Path] = &c.system.infos[k]
	}
	list := c.form.words().list
	layerOf := map[closure.StorePath]int{} // numbers of layers; the first layer has number 1
	for n, l := range c.layers {
		for k := range l.paths {
			p := &l.paths[k]
			place := c.doc.place(n)
			place.Path = string(p.path)
			if other := layerOf[p.path]; other != 0 && other != n+1 {
				found = append(found, place.of(CheckPaths, "layer %d contains this path too", other))
				continue
			}
			layerOf[p.path] = n + 1
			info := infos[p.path]
			switch {
			case info == nil:
				found = append(found, place.of(CheckPaths, "%s does not list this path", list))
			case p.broken:
			case p.narHash != info.NarHash:
				found = append(found, place.of(CheckNarHashes, "narHash is %s, %s has %s", p.narHash, list, info.NarHash))
			case p.narSize != info.NarSize:
				found = append(found, place.of(CheckNarHashes, "narSize is %d, %s has %d", p.narSize, list, info.NarSize))
			default:
				count.paths++
				count.narSize += p.narSize
			}
		}
	}
	if c.damaged() {
		return count, found // a missing path may be in the part that could not be read
	}
	var missing []string
	for p := range infos {
		if layerOf[p] == 0 {
			missing = append(missing, string(p))
		}
	}
	slices.Sort(missing)
	for _, p := range missing {
		found = append(found, Finding{Path: p}.of(CheckPaths, "%s lists this path, but no layer contains it", list))
	}
	return count, found
}

// addresses counts the content-addressed paths of an image.
type addresses struct {
	total     int
	confirmed map[closure.StorePath]bool // paths with a name that is right for their content
}

// checkAddresses checks that each content-addressed path has the name that is computed from its
// content.
func checkAddresses(c *content, cl *closure.Closure) (a addresses, found []Finding) {
	a.confirmed = map[closure.StorePath]bool{}
	for n, l := range c.layers {
		for k := range l.paths {
			p := &l.paths[k]
			info := cl.Info(p.path)
			if info == nil || p.broken || p.narHash != info.NarHash {
				continue // a finding reports the reason already
			}
			ok, err := closure.CheckAddress(info, p.contents)
			if err != nil {
				place := c.doc.place(n)
				place.Path = string(p.path)
				found = append(found, place.of(CheckAddresses, "%s", withoutPath(err, p.path)))
			}
			if ok {
				a.confirmed[p.path] = true
			}
			if info.CA != "" {
				a.total++
			}
		}
	}
	return a, found
}

// withoutPath returns err's text without p, because the finding names p already.
func withoutPath(err error, p closure.StorePath) string {
	return strings.TrimPrefix(err.Error(), string(p)+": ")
}

// layerSource reads the trees of store paths from the layers of an image.
type layerSource struct {
	v       *verification
	content *content
	failed  error // the error if a layer could not be read again
}

// Closure implements [closure.Source].
func (s *layerSource) Closure(context.Context, []closure.StorePath) (*closure.Closure, error) {
	return nil, errors.New("an image has one closure")
}

// Tree implements [closure.Source]. For a toplevel it reads the NAR that was kept in a file. For
// any other path, it reads the path's layer again.
func (s *layerSource) Tree(ctx context.Context, info *closure.Info, v nar.Visitor) error {
	for n, l := range s.content.layers {
		k := slices.IndexFunc(l.paths, func(p pathContent) bool { return p.path == info.Path })
		if k < 0 {
			continue
		}
		if file := l.paths[k].narFile; file != "" {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			return nar.Read(f, v)
		}
		return s.readAgain(ctx, n, info.Path, v)
	}
	return fmt.Errorf("%s: %w", info.Path, closure.ErrNotInStore)
}

// readAgain reads the tree of one path from layer n, counted from 0.
func (s *layerSource) readAgain(ctx context.Context, n int, p closure.StorePath, v nar.Visitor) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pr, pw := io.Pipe()
	defer pr.Close()
	todo := layerToRead{desc: s.content.doc.manifest.Layers[n], number: n + 1, stopAtFirst: true,
		keep: func(q closure.StorePath) (io.Writer, error) {
			if q != p {
				return nil, nil
			}
			return pw, nil
		}}
	go func() {
		defer task.Guard()
		c, err := readStoreLayer(ctx, s.v.src, todo)
		if err == nil && len(c.findings) > 0 {
			err = errors.New(c.findings[0].String()) // the first reading had no finding
		}
		pw.CloseWithError(err)
	}()
	err := nar.Read(pr, v)
	if err != nil && !errors.Is(err, nar.ErrMalformed) {
		s.failed = err
	}
	return err
}
