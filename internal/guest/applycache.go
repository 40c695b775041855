//go:build linux

package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// restore copies the paths and their closures from the cache into the store. It deletes
// damaged paths from the cache.
func (a *Applier) restore(ctx context.Context, base Base, paths []string) error {
	start := time.Now()
	store := a.store(base)
	missing, err := store.invalid(ctx, paths)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		return nil
	}
	args := append([]string{"--realise", "--keep-going", "--option", "substitute", "true", "--option", "substituters", a.Cache.url()}, missing...)
	cmd := a.command(ctx, store.program, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &said // Nix prints one line per path
	err = cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		a.say("restored %d of the store's paths from %s in %.1f s", strings.Count(said.String(), "copying path '"), a.Cache.dir, time.Since(start).Seconds())
		return nil
	}
	err = fmt.Errorf("%w: %s", err, firstError(said.String()))
	var had []string
	a.Cache.walk(missing, func(n *narinfo) { had = append(had, n.path) }, func(string, error) {})
	damaged, ierr := store.invalid(ctx, had)
	for _, path := range damaged {
		err = errors.Join(err, a.Cache.remove(path))
	}
	return errors.Join(err, ierr)
}

// restoreSystem restores a system that was applied before. It returns "" if the cache
// cannot provide it: then it logs the reason, and the caller builds the system.
func (a *Applier) restoreSystem(ctx context.Context, base Base, fingerprint string) (string, error) {
	if a.Cache == nil {
		return "", nil
	}
	toplevel, err := a.Cache.find(fingerprint)
	if err == nil && toplevel == "" {
		return "", nil
	}
	if err == nil && !isThere(toplevel) {
		err = a.Cache.complete(toplevel)
	}
	if err == nil {
		err = a.restore(ctx, base, []string{toplevel})
	}
	if err == nil {
		_, err = systemAt(toplevel)
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		a.say("the cache in %s cannot be used, building instead: %v", a.Cache.dir, err)
		return "", nil
	}
	return toplevel, nil
}

// restoreOutputs restores those outputs of drv's closure that are in the cache. Nix
// itself would not take all of them from a substituter, because NixOS sets
// allowSubstitutes = false for much of what it generates.
func (a *Applier) restoreOutputs(ctx context.Context, base Base, drv string) {
	if a.Cache == nil || !isThere(a.Cache.binary(cacheInfo)) {
		return
	}
	err := a.Cache.check()
	if err == nil {
		var outputs []string
		if outputs, err = a.store(base).outputs(ctx, drv); err == nil {
			cached, damage := a.Cache.restorable(outputs)
			err = errors.Join(damage, a.restore(ctx, base, cached))
		}
	}
	if err != nil && ctx.Err() == nil {
		a.say("the cache in %s cannot be used in full, building the rest: %v", a.Cache.dir, err)
	}
}

// keep copies the paths of the applied system into the cache, without the image's paths.
func (a *Applier) keep(ctx context.Context, base Base, state State) {
	if a.Cache == nil {
		return
	}
	if err := a.fill(ctx, base, state); err != nil && ctx.Err() == nil {
		a.say("what was built is not kept in %s: %v", a.Cache.dir, err)
	}
}

func (a *Applier) fill(ctx context.Context, base Base, state State) error {
	c := a.Cache
	if err := c.check(); err != nil {
		return fmt.Errorf("%w\nhint: mount an empty volume there", err)
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	systems, err := c.systems()
	if err != nil {
		a.say("starting a new list of what is in %s: %v", c.dir, err)
	}
	start := time.Now()
	store := a.store(base)
	closure, err := store.closure(ctx, state.Toplevel)
	if err != nil {
		return err
	}
	image := map[string]bool{}
	if a.Image != "" && isThere(a.Image) {
		paths, err := store.closure(ctx, a.Image)
		if err != nil {
			return err
		}
		for _, p := range paths {
			image[p] = true
		}
	} else {
		return fmt.Errorf("the store does not have the image's own system %s, so what was built cannot be told from what the image brings\nhint: leave out the volume on /nix, %s does what it is for", a.Image, c.dir)
	}
	var missing []string
	for _, p := range closure {
		if n, err := c.read(p); !image[p] && (n == nil || err != nil) {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 && len(systems) > 0 && systems[0].Fingerprint == state.Fingerprint && systems[0].Toplevel == state.Toplevel {
		return nil
	}
	infos, err := store.infos(ctx, missing)
	if err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	var added int
	var bytes int64
	for _, info := range infos {
		n, err := c.add(ctx, info)
		if err != nil {
			return err
		}
		if n > 0 {
			added++
			bytes += n
		}
	}
	if err := c.record(cachedSystem{State: state, Image: a.Image}); err != nil {
		return err
	}
	size, err := c.prune()
	if err != nil {
		return fmt.Errorf("delete what no system needs: %w", err)
	}
	a.say("kept %d store paths (%.1f MB) in %s in %.1f s; it holds %.1f MB", added, float64(bytes)/1e6, c.dir, time.Since(start).Seconds(), float64(size)/1e6)
	return nil
}
