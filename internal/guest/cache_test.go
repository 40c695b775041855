//go:build linux

package guest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cached is a container with a cache, a store, and a Nix that knows the closures.
type cached struct {
	*container
	c     *cache
	store string
}

func newCached(t *testing.T) *cached {
	t.Helper()
	c := newContainer(t)
	k := &cached{container: c, store: c.root + "/store", c: &cache{dir: c.root + "/cache", store: c.root + "/store"}}
	c.Cache = k.c
	write(t, c.root+"/nix/bin/nix-store", `#!/bin/sh
each() { for p; do case $p in $ROOT/store/*) cat $ROOT/$what/${p##*/};; esac; done; }
case "$1 $2" in
"--query --requisites") what=closure; each "$@"; exit;;
"--query --outputs") cat $ROOT/outputs; exit;;
"--dump-db "*) what=db; each "$@"; exit;;
"--check-validity --print-invalid") for p; do case $p in $ROOT/*) [ -e $p ] || echo $p;; esac; done; exit;;
"--realise --keep-going") echo "$@" >>$ROOT/restored; . $ROOT/restore; exit;;
esac
echo "$@" >>$ROOT/builds
. $ROOT/build >$ROOT/built
ln -sfn $(cat $ROOT/built) $ROOT/gcroots/nixoci-apply/built
`)
	write(t, c.root+"/restore", "exit 1\n")
	write(t, c.root+"/outputs", "")
	image := k.path(t, "image")
	c.Image = image
	os.Remove(c.Current)
	os.Remove(c.Profile)
	k.bootable(t, image)
	link(t, image, c.Current)
	link(t, image, c.Profile)
	return k
}

func (k *cached) name(name string) string {
	hash := strings.Map(func(r rune) rune {
		if strings.ContainsRune("0123456789abcdfghijklmnpqrsvwxyz", r) {
			return r
		}
		return '0'
	}, name)
	return k.store + "/" + strings.Repeat("0", 32-len(hash)) + hash + "-" + name
}

// path makes a store path with references, and registers it with the Nix of the test.
func (k *cached) path(t *testing.T, name string, references ...string) string {
	t.Helper()
	p := k.name(name)
	write(t, p+"/name", name)
	k.register(t, p, references...)
	return p
}

func (k *cached) register(t *testing.T, p string, references ...string) {
	t.Helper()
	nar := &digester{ctx: context.Background(), w: io.Discard, hash: sha256.New()}
	if err := writeNAR(nar, p); err != nil {
		t.Fatal(err)
	}
	db := fmt.Sprintf("%s\n%x\n%d\n\n%d\n", p, nar.hash.Sum(nil), nar.size, len(references))
	closure := ""
	for _, r := range references {
		db += r + "\n"
		if r != p {
			more, err := os.ReadFile(k.root + "/closure/" + filepath.Base(r))
			if err != nil {
				t.Fatal(err)
			}
			closure += string(more)
		}
	}
	write(t, k.root+"/db/"+filepath.Base(p), db)
	write(t, k.root+"/closure/"+filepath.Base(p), closure+p+"\n")
}

// bootable turns a store path into a system, and registers it again.
func (k *cached) bootable(t *testing.T, p string, references ...string) {
	t.Helper()
	toplevel(t, p, "#!/bin/sh\n")
	write(t, p+"/bin/switch-to-configuration", "#!/bin/sh\nln -sfn "+p+" $ROOT/current-system\n")
	k.register(t, p, references...)
}

// applied applies a system with two paths of its own that refer to the image's path.
func (k *cached) applied(t *testing.T, name string) (top, own string) {
	t.Helper()
	own = k.path(t, name+".conf", k.Image)
	top = k.path(t, name)
	k.bootable(t, top, k.Image, own, top)
	write(t, k.root+"/build", "echo "+top+"\n")
	write(t, k.Config+"/configuration.nix", "# "+name)
	if err := k.Once(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, k.log.String())
	}
	return top, own
}

func (k *cached) holds(path string) bool {
	n, err := k.c.read(path)
	return n != nil && err == nil
}

func TestCacheKeepsWhatTheImageLacks(t *testing.T) {
	k := newCached(t)
	top, own := k.applied(t, "web")
	if !k.holds(top) || !k.holds(own) || k.holds(k.Image) {
		t.Errorf("toplevel %v, own path %v, image %v\n%s", k.holds(top), k.holds(own), k.holds(k.Image), k.log.String())
	}
	// Check the narinfo file that Nix will read.
	info, err := os.ReadFile(k.c.binary(k.c.hash(top) + ".narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"StorePath: " + top + "\n", "Compression: gzip\n",
		"References: " + filepath.Base(k.Image) + " " + filepath.Base(own) + " " + filepath.Base(top) + "\n"} {
		if !strings.Contains(string(info), want) {
			t.Errorf("the narinfo lacks %q:\n%s", want, info)
		}
	}
	packed, err := os.Open(k.c.binary(narDir, k.c.hash(top)+".nar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	var got, want bytes.Buffer
	if _, err := io.Copy(&got, unpacked); err != nil {
		t.Fatal(err)
	}
	if err := writeNAR(&want, top); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("the cache holds another NAR (%v)", err)
	}
	sum := sha256.Sum256(want.Bytes())
	if !strings.Contains(string(info), "NarHash: sha256:"+base32(sum[:])+"\nNarSize: "+fmt.Sprint(want.Len())+"\n") {
		t.Errorf("another NarHash than %s:\n%s", hex.EncodeToString(sum[:]), info)
	}
	if info, _ := os.ReadFile(k.c.binary(cacheInfo)); !strings.HasPrefix(string(info), "StoreDir: "+k.store+"\n") {
		t.Errorf("nix-cache-info:\n%s", info)
	}
}

// renew simulates a new container: the paths gone leave the store, and the image's system
// runs.
func (k *cached) renew(t *testing.T, gone ...string) {
	t.Helper()
	for _, p := range gone {
		if err := os.Rename(p, filepath.Join(k.root, "away-"+filepath.Base(p))); err != nil {
			t.Fatal(err)
		}
	}
	os.RemoveAll(k.State)
	os.Remove(k.Current)
	link(t, k.Image, k.Current)
	k.log.Reset()
	os.Remove(k.root + "/builds")
	os.Remove(k.root + "/evaluations")
}

func TestCacheRestoresAnAppliedSystem(t *testing.T) {
	k := newCached(t)
	top, own := k.applied(t, "web")
	k.renew(t, top, own)
	write(t, k.root+"/restore", "for p in "+top+" "+own+"; do mv $ROOT/away-${p##*/} $p; echo \"copying path '$p' from\" >&2; done\n")
	if err := k.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.builds() != 0 || isThere(k.root+"/evaluations") || k.current(t) != filepath.Base(top) {
		t.Errorf("%d builds, running %s\n%s", k.builds(), k.current(t), k.log.String())
	}
	if !strings.Contains(k.log.String(), "restored 2 of the store's paths from "+k.c.dir) {
		t.Errorf("log:\n%s", k.log.String())
	}
	restored, _ := os.ReadFile(k.root + "/restored")
	if !strings.Contains(string(restored), "--option substituters file://"+k.c.dir+"/nix?trusted=true "+top) {
		t.Errorf("nix-store %s", restored)
	}
}

// With another base, apply evaluates again. Before the build, it restores the outputs
// that the cache has.
func TestCacheRestoresOutputs(t *testing.T) {
	k := newCached(t)
	top, own := k.applied(t, "web")
	k.renew(t, top, own)
	write(t, k.Base, strings.Replace(read(t, k.Base), `"version":1`, `"version":1,"init":"another"`, 1))
	newTop := k.path(t, "web2")
	k.bootable(t, newTop, k.Image)
	write(t, k.root+"/build", "echo "+newTop+"\n")
	write(t, k.root+"/closure/aaa-nixos-system.drv", "/nix/store/aaa-nixos-system.drv\n")
	write(t, k.root+"/outputs", k.Image+"\n"+own+"\n"+newTop+"\n"+k.name("never-made")+"\n")
	write(t, k.root+"/restore", "mv $ROOT/away-"+filepath.Base(own)+" "+own+"\n")
	if err := k.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	restored, _ := os.ReadFile(k.root + "/restored")
	if !strings.HasSuffix(string(restored), "?trusted=true "+own+"\n") || k.builds() != 1 || k.current(t) != filepath.Base(newTop) {
		t.Errorf("restored %q, %d builds, running %s\n%s", restored, k.builds(), k.current(t), k.log.String())
	}
	if !k.holds(newTop) || !k.holds(own) || !k.holds(top) {
		t.Error("going back to the old image would build again")
	}
}

func TestCacheIsBounded(t *testing.T) {
	k := newCached(t)
	var tops, owns []string
	for i := range keptSystems + 2 {
		top, own := k.applied(t, fmt.Sprintf("web%d", i))
		tops, owns = append(tops, top), append(owns, own)
		write(t, k.c.binary(narDir, tempPrefix+"of-one-who-was-killed"), "x")
	}
	for i := range tops {
		want := i >= 2
		if k.holds(tops[i]) != want || k.holds(owns[i]) != want {
			t.Errorf("system %d: kept %v and %v, want %v", i, k.holds(tops[i]), k.holds(owns[i]), want)
		}
	}
	nars, _ := os.ReadDir(k.c.binary(narDir))
	if len(nars) != 2*keptSystems+1 { // the last temporary file was written after the last prune
		t.Errorf("%d files are left: %v", len(nars), nars)
	}
	// A system that is applied again becomes the newest one, and is in the list only
	// once.
	k.applied(t, "web3")
	systems, err := k.c.systems()
	if err != nil || len(systems) != keptSystems || systems[0].Toplevel != tops[3] {
		t.Errorf("%v, %+v", err, systems)
	}
}

// If the cache is damaged, apply still applies the configuration, and the log names the
// damage.
func TestCacheThatCannotBeUsed(t *testing.T) {
	for name, tc := range map[string]struct {
		harm func(t *testing.T, k *cached, top, own string)
		says string
		full bool // the cache is complete again afterwards
	}{
		"a NAR is lost": {func(t *testing.T, k *cached, top, own string) {
			os.Remove(k.c.binary(narDir, k.c.hash(own)+".nar.gz"))
		}, "missing or damaged", true},
		"a NAR is cut": {func(t *testing.T, k *cached, top, own string) {
			os.Truncate(k.c.binary(narDir, k.c.hash(own)+".nar.gz"), 10)
		}, "missing or damaged", true},
		"Nix finds other contents": {func(t *testing.T, k *cached, top, own string) {
			write(t, k.root+"/restore", "echo \"error: hash mismatch importing path '"+own+"'\" >&2; exit 1\n")
		}, "hash mismatch importing path", true},
		"a narinfo is lost": {func(t *testing.T, k *cached, top, own string) {
			os.Remove(k.c.binary(k.c.hash(own) + ".narinfo"))
		}, "it lacks " + "", true},
		"a narinfo is empty": {func(t *testing.T, k *cached, top, own string) {
			write(t, k.c.binary(k.c.hash(own)+".narinfo"), "")
		}, "is damaged", true},
		"a narinfo points out of it": {func(t *testing.T, k *cached, top, own string) {
			write(t, k.c.binary(k.c.hash(own)+".narinfo"), "StorePath: "+own+"\nURL: ../../etc/passwd\n")
		}, "is damaged", true},
		"no list": {func(t *testing.T, k *cached, top, own string) {
			write(t, k.c.dir+"/"+systemsFile, "{")
		}, "unexpected end of JSON", true},
		"a list of something else": {func(t *testing.T, k *cached, top, own string) {
			write(t, k.c.dir+"/"+systemsFile, `{"version":1,"systems":[{"toplevel":"/etc"}]}`)
		}, `toplevel "/etc" is not a store path`, true},
		"of another store": {func(t *testing.T, k *cached, top, own string) {
			write(t, k.c.binary(cacheInfo), "StoreDir: /gnu/store\n")
		}, "is for the store /gnu/store", false},
		"not a directory": {func(t *testing.T, k *cached, top, own string) {
			os.RemoveAll(k.c.dir)
			write(t, k.c.dir, "")
		}, "not a directory", false},
	} {
		t.Run(name, func(t *testing.T) {
			k := newCached(t)
			top, own := k.applied(t, "web")
			k.renew(t, top, own)
			tc.harm(t, k, top, own)
			write(t, k.root+"/build", "for p in "+top+" "+own+"; do mv $ROOT/away-${p##*/} $p; done; echo "+top+"\n")
			if err := k.Once(t.Context()); err != nil {
				t.Fatalf("%v\n%s", err, k.log.String())
			}
			if k.builds() != 1 || k.current(t) != filepath.Base(top) || k.lastStatus(t).Outcome != OutcomeApplied {
				t.Errorf("%d builds, running %s", k.builds(), k.current(t))
			}
			if !strings.Contains(k.log.String(), tc.says) {
				t.Errorf("the log lacks %q:\n%s", tc.says, k.log.String())
			}
			if found, err := k.c.find(k.tried); tc.full && (found != top || err != nil || !k.holds(top) || !k.holds(own)) {
				t.Errorf("the cache is not whole again: %q, %v, %v %v\n%s", found, err, k.holds(top), k.holds(own), k.log.String())
			}
		})
	}
}

// A store path that was changed after its build must not enter the cache.
func TestCacheRefusesWhatIsNotRegistered(t *testing.T) {
	k := newCached(t)
	own := k.path(t, "own.conf", k.Image)
	top := k.path(t, "web")
	k.bootable(t, top, own)
	write(t, own+"/name", "changed")
	write(t, k.root+"/build", "echo "+top+"\n")
	if err := k.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.holds(own) || !strings.Contains(k.log.String(), "its contents have changed") {
		t.Errorf("kept %v\n%s", k.holds(own), k.log.String())
	}
}

// openCache must return no cache if the directory is not on a volume.
func TestOpenCache(t *testing.T) {
	for _, tc := range []struct {
		points string
		want   bool
	}{{"/", false}, {"/ /nix", false}, {"/ /var/cache/nixoci", true}, {"/ /var", true}} {
		var ms Mounts
		for _, p := range strings.Fields(tc.points) {
			ms = append(ms, Mount{Point: p})
		}
		if got := openCache(cacheDir, "/nix/store", ms) != nil; got != tc.want {
			t.Errorf("mounts %s: %v", tc.points, got)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
