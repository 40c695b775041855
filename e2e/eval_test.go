//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A workshop runs nixoci where Nix can build: in a mount namespace with the store of the
// guest systems at /nix, and with the nixpkgs of these systems.
type workshop struct {
	run     run
	nixpkgs string // directory of a flake that stands for nixpkgs
	dir     string // current directory
	config  string // value of NIX_CONFIG
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	root := guestRoot()
	guestSystem(t, "x86_64", "")
	guestSystem(t, "aarch64", "")
	w := &workshop{dir: scratchDir(t)}
	w.nixpkgs = filepath.Join(w.dir, "nixpkgs")
	command(t, "cp", "-r", filepath.Join(root, "guest", "nixpkgs"), w.nixpkgs)
	w.config = `build-users-group =
sandbox = false
filter-syscalls = false
substituters =
flake-registry = /dev/null
extra-platforms = x86_64-linux aarch64-linux`
	w.run = run{dir: w.dir, cache: scratchDir(t), prefix: []string{"unshare", "-m", "sh", "-ec",
		`mkdir -p /nix; mount --bind "$0/nix" /nix; mount --bind "$1" /nix/debs; shift; exec "$@"`, root, filepath.Join(lab.cache, "debs")}}
	return w
}

func (w *workshop) environment() []string {
	return []string{"NIX_CONFIG=" + w.config, "NIX_CONF_DIR=/var/empty", "NIX_REMOTE=local", "USER=root", "TMPDIR=" + w.dir}
}

func (w *workshop) nixoci(t *testing.T, args ...string) outcome {
	t.Helper()
	w.run.env = w.environment()
	return w.run.nixoci(t, args...)
}

func (w *workshop) ok(t *testing.T, args ...string) outcome {
	t.Helper()
	w.run.env = w.environment()
	return w.run.ok(t, args...)
}

// nix runs the program nix directly.
func (w *workshop) nix(t *testing.T, args ...string) string {
	t.Helper()
	line := append(append([]string{"env"}, w.environment()...), w.run.prefix...)
	return strings.TrimSpace(command(t, append(append(line, "nix", "--extra-experimental-features", "nix-command flakes"), args...)...))
}

// toplevel returns the toplevel of one platform of an image.
func (w *workshop) toplevel(t *testing.T, ref, arch string) string {
	t.Helper()
	var seen struct {
		Platforms []struct{ Platform, Toplevel string }
	}
	out := w.ok(t, "inspect", "--json", ref).stdout
	if err := json.Unmarshal([]byte(out), &seen); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, p := range seen.Platforms {
		if p.Platform == "linux/"+arch {
			return p.Toplevel
		}
	}
	t.Fatalf("%s has no linux/%s: %s", ref, arch, out)
	return ""
}

// nginx returns a configuration that was not built in an earlier run.
func (w *workshop) nginx(root string) string {
	return strings.Replace(nginxNix(root), "{\n", "{\n  environment.etc.workshop.text = \""+w.dir+"\";\n", 1)
}

const bothPlatforms = "linux/amd64,linux/arm64"

// TestEvalConfiguration makes an image from an nginx.nix. The image must serve the page
// without a build in the container.
func TestEvalConfiguration(t *testing.T) {
	w := newWorkshop(t)
	ref := registry(t) + "/eval-nginx"
	_, web := site(t, "unused", "")
	put(t, filepath.Join(w.dir, "nginx.nix"), w.nginx("/web"))
	o := w.ok(t, "push", ref, "--nixpkgs", "nixpkgs", "--platform", bothPlatforms, "./nginx.nix")
	report(t, "evaluated, built and pushed for two platforms in %.1f s", o.wall.Seconds())
	digest := o.digest(t)
	if strings.Count(o.stderr, "-nixos-system-container-24.05.debian12.drv'...\n") != len(platforms) {
		t.Errorf("what Nix builds is not shown:\n%s", o.stderr)
	}
	// If the systems are named one by one, the image must be the same.
	if got := w.ok(t, "push", ref+":named", "--nixpkgs", w.nixpkgs, "x86_64-linux=nginx.nix", "aarch64-linux=nginx.nix").digest(t); got != digest {
		t.Errorf("with --platform the image is %s, with the systems named %s", digest, got)
	}
	// The second push evaluates, but must build nothing.
	o = w.ok(t, "push", ref, "--nixpkgs", "nixpkgs", "--platform", bothPlatforms, "./nginx.nix")
	if o.digest(t) != digest || !strings.Contains(o.stderr, "unchanged") || strings.Contains(o.stderr, "building '") {
		t.Errorf("the second push: %s\n%s", o.stdout, o.stderr)
	}

	b := dockerRun(t, ref, append([]string{"-v", web + ":/web"}, bootFlags...)...)
	report(t, "baked in: serving after %.2f s", b.serves(t, "the first page").Seconds())
	b.runs(t)
	if log := b.log(t); strings.Contains(log, "building '") {
		t.Errorf("it built something at the start:\n%s", log)
	}
	b.stops(t)
}

// TestEvalFlake makes an image for both platforms from a flake that declares one system.
func TestEvalFlake(t *testing.T) {
	w := newWorkshop(t)
	flake := filepath.Join(w.dir, "web")
	put(t, filepath.Join(flake, "nginx.nix"), nginxNix("/web"))
	put(t, filepath.Join(flake, "flake.nix"), fmt.Sprintf(`{
  inputs.nixpkgs.url = "path:%s";
  outputs = { self, nixpkgs }: {
    nixosConfigurations.web = nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ ./nginx.nix ]; };
    nixosConfigurations."arm.example.org" = nixpkgs.lib.nixosSystem {
      system = "aarch64-linux";
      modules = [ ./nginx.nix { networking.hostName = "arm"; } ];
    };
    nixosConfigurations.stubborn = nixpkgs.lib.nixosSystem {
      modules = [ ({ lib, ... }: { nixpkgs.hostPlatform = lib.mkOverride 10 "x86_64-linux"; }) ];
    };
    nixosConfigurations.broken = nixpkgs.lib.nixosSystem {
      system = "x86_64-linux";
      modules = [ { system.systemBuilderCommands = "echo not today; exit 7"; } ];
    };
  };
}
`, w.nixpkgs))
	w.run.dir = flake
	ref := registry(t) + "/eval-flake"

	w.ok(t, "push", ref+":own", ".#web")
	w.ok(t, "push", ref+":both", ".#nixosConfigurations.web", "--platform", bothPlatforms)
	if a, b := w.toplevel(t, ref+":own", "amd64"), w.toplevel(t, ref+":both", "amd64"); a != b {
		t.Errorf("for its own system it is %s, for both %s", a, b)
	}
	w.toplevel(t, ref+":both", "arm64")

	// The test pushes two configurations, each for the system that it declares.
	w.ok(t, "push", ref+":two", ".#web", `.#"arm.example.org"`)
	if top := w.toplevel(t, ref+":two", "arm64"); !strings.Contains(top, "nixos-system-arm-") {
		t.Errorf("arm64 is %s", top)
	}

	// The toplevel of a derivation must be the same as the one that Nix builds.
	attr := ".#nixosConfigurations.web.config.system.build.toplevel"
	w.ok(t, "push", ref+":plain", attr)
	want := w.nix(t, "eval", "--raw", "path:"+flake+strings.TrimPrefix(attr, ".")+".outPath")
	if got := w.toplevel(t, ref+":plain", "amd64"); got != want {
		t.Errorf("the image holds %s, Nix builds %s", got, want)
	}
	w.nixoci(t, "push", ref+":no", "aarch64-linux="+attr).fails(t, 1, "for x86_64-linux, not for aarch64-linux")

	w.nixoci(t, "push", ref+":no", ".#wbe").fails(t, 1, "does not provide attribute", "wbe", "the NixOS configurations of the flake: ", "web")
	w.nixoci(t, "push", ref+":no", "--platform", bothPlatforms, ".#stubborn").fails(t, 1, "the configuration is for x86_64-linux whatever", "cannot be built for aarch64-linux")
	w.nixoci(t, "push", ref+":no", ".#broken").fails(t, 1, "> not today", "build: nix-store: exit status", "failed with exit code 7")
	if _, err := try("skopeo", "inspect", "--tls-verify=false", "docker://"+ref+":no"); err == nil {
		t.Errorf("%s:no was pushed", ref)
	}
}

// TestEvalProvenance checks that the provenance of a flake build contains a command that
// makes the same image again. The test runs this command in another directory, without a
// cache.
func TestEvalProvenance(t *testing.T) {
	w := newWorkshop(t)
	flake := filepath.Join(w.dir, "web")
	put(t, filepath.Join(flake, "nginx.nix"), nginxNix("/web"))
	put(t, filepath.Join(flake, "flake.nix"), fmt.Sprintf(`{
  inputs.nixpkgs.url = "path:%s";
  outputs = { self, nixpkgs }: {
    nixosConfigurations.web = nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ ./nginx.nix ]; };
  };
}
`, w.nixpkgs))
	git := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(command(t, append([]string{"git", "-C", flake, "-c", "user.name=e2e", "-c", "user.email=e2e@example.org"}, args...)...))
	}
	git("init", "-q", "-b", "main")
	git("add", "-A")
	w.nix(t, "flake", "lock", flake)
	git("add", "-A")
	git("commit", "-q", "-m", "web")
	revision := git("rev-parse", "HEAD")

	type predicate struct {
		BuildDefinition struct {
			ExternalParameters struct {
				Closures []struct {
					Sources []struct {
						Flake string
						Dirty bool
					}
				}
			}
			InternalParameters   struct{ Rebuild []string }
			ResolvedDependencies []struct {
				Name, URI string
				Digest    map[string]string
			}
		}
	}
	provenance := func(ref string) predicate {
		t.Helper()
		var seen struct {
			Attached []struct{ Statement struct{ Predicate predicate } }
		}
		out := w.ok(t, "inspect", "--json", ref).stdout
		if err := json.Unmarshal([]byte(out), &seen); err != nil || len(seen.Attached) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		return seen.Attached[0].Statement.Predicate
	}

	w.run.dir = flake
	ref := registry(t) + "/eval-provenance"
	want := w.ok(t, "push", ref, ".#web", "--platform", bothPlatforms, "--label", "of=a b", "--attest", "provenance").digest(t)
	b := provenance(ref).BuildDefinition
	found := map[string]string{}
	for _, d := range b.ResolvedDependencies {
		found[d.Name] = d.Digest["gitCommit"] + " " + d.Digest["sha256"]
		if strings.HasSuffix(d.URI, ".drv") {
			found["derivations"] += " " + d.URI
		}
	}
	if !strings.HasPrefix(found["source"], revision+" ") || len(found["input nixpkgs"]) != 65 || strings.Count(found["derivations"], "-nixos-system-") != len(platforms) {
		t.Errorf("the dependencies are %q", found)
	}
	if len(b.InternalParameters.Rebuild) < 2 || b.InternalParameters.Rebuild[0] != "nixoci" {
		t.Fatalf("the command is %q", b.InternalParameters.Rebuild)
	}

	// A later commit must not change the result of the recorded command.
	put(t, filepath.Join(flake, "nginx.nix"), w.nginx("/web"))
	git("commit", "-q", "-a", "-m", "another")
	w.run.dir, w.run.cache = scratchDir(t), scratchDir(t)
	again := w.ok(t, b.InternalParameters.Rebuild[1:]...)
	if !strings.HasSuffix(strings.TrimSpace(again.stdout), "@"+want) {
		t.Errorf("%q makes %s, not %s", b.InternalParameters.Rebuild, again.stdout, want)
	}
	report(t, "made again: %s", strings.Join(b.InternalParameters.Rebuild, " "))

	// nixoci sbom --meta reads the metadata of the flake's packages with Nix.
	w.run.dir = flake
	if out := w.ok(t, "sbom", ".#web", "--meta", "--format", "cyclonedx").stdout; !strings.Contains(out, "pkg:nix/nixpkgs/nginx@") {
		t.Error("nginx is not found in the evaluation")
	}
	// --meta must also find the packages of a configuration in a file.
	if out := w.ok(t, "sbom", "./nginx.nix", "--nixpkgs", w.nixpkgs, "--meta", "--format", "cyclonedx").stdout; !strings.Contains(out, "pkg:nix/nixpkgs/nginx@") {
		t.Error("nginx is not found in the evaluation of a file")
	}

	put(t, filepath.Join(flake, "nginx.nix"), nginxNix("/web"))
	w.ok(t, "push", ref+":dirty", ".#web", "--attest", "provenance")
	d := provenance(ref + ":dirty").BuildDefinition
	if d.InternalParameters.Rebuild != nil || !d.ExternalParameters.Closures[0].Sources[0].Dirty {
		t.Errorf("a dirty tree: %+v", d)
	}
	// The image itself must not depend on the source that the provenance records.
	if clean, dirty := w.toplevel(t, ref, "amd64"), w.toplevel(t, ref+":dirty", "amd64"); clean != dirty {
		t.Errorf("the same files make %s and %s", clean, dirty)
	}
}

// TestEvalBase checks that nixoci builds the base system without a CLOSURE
// argument, and that it boots.
func TestEvalBase(t *testing.T) {
	w := newWorkshop(t)
	w.run.dir = scratchDir(t) // this directory has no ./result
	ref := registry(t) + "/eval-base"
	o := w.ok(t, "push", ref, "--nixpkgs", w.nixpkgs, "--platform", bothPlatforms)
	if !strings.Contains(o.stderr, "no CLOSURE given, and no NixOS system at ./result: building the base system\n") {
		t.Errorf("stderr:\n%s", o.stderr)
	}
	w.toplevel(t, ref, "arm64")
	base := w.toplevel(t, ref, "amd64")
	b := dockerRun(t, ref, bootFlags...)
	b.runs(t)
	b.stops(t)

	// A container that builds a configuration from /config must get the same system as a push
	// of this configuration: the same version of NixOS, and the same derivations. The
	// container must not build derivations that are already in the image.
	web := ref + ":web"
	put(t, filepath.Join(w.dir, "web.nix"), w.nginx("/web"))
	w.ok(t, "push", web, "--nixpkgs", w.nixpkgs, filepath.Join(w.dir, "web.nix"))
	for _, tc := range []struct{ name, configuration, system string }{
		{"nothing", "{ }\n", base},
		{"nginx", w.nginx("/web"), w.toplevel(t, web, "amd64")},
	} {
		file := filepath.Join(w.dir, tc.name+".nix")
		put(t, file, tc.configuration)
		applied := w.nix(t, "eval", "--impure", "--raw", "--expr", fmt.Sprintf(
			`let base = %q; in (import ((builtins.fromJSON (builtins.unsafeDiscardStringContext (builtins.readFile base))).module + "/apply.nix") { inherit base; configuration = %q; }).outPath`,
			base+"/etc/nixoci/base.json", file))
		if applied != tc.system {
			t.Errorf("of %s push makes %s, and /config %s", tc.name, tc.system, applied)
		}
	}
	config, _ := site(t, "configuration.nix", "{ }\n")
	b = dockerRun(t, ref, append([]string{"-v", config + ":/config"}, bootFlags...)...)
	b.says(t, "/config/configuration.nix is applied")
	if log := b.log(t); strings.Contains(log, "building '") || strings.Contains(log, "switching to ") {
		t.Error("a configuration that says nothing is built, or switched to")
	}
	b.runs(t)
	b.stops(t)
}

// TestEvalFaults checks that an error names the place in the file, and the thing that is
// missing.
func TestEvalFaults(t *testing.T) {
	w := newWorkshop(t)
	ref := registry(t) + "/eval-faults"
	put(t, filepath.Join(w.dir, "syntax.nix"), "{ lib, ... }:\n{\n  services.nginx.enable = true\n}\n")
	put(t, filepath.Join(w.dir, "undefined.nix"), "{\n  services.nginx.enable = yes;\n}\n")
	put(t, filepath.Join(w.dir, "option.nix"), "{\n  services.nginx.enabel = true;\n}\n")
	put(t, filepath.Join(w.dir, "web.nix"), w.nginx("/web"))
	push := func(args ...string) outcome {
		return w.nixoci(t, append([]string{"push", ref, "--nixpkgs", w.nixpkgs}, args...)...)
	}
	push("syntax.nix").fails(t, 1, `closure "syntax.nix": evaluate: nix eval: exit status 1: syntax error`, "syntax.nix:4:1")
	push("undefined.nix").fails(t, 1, "undefined variable 'yes' at "+w.dir+"/undefined.nix:2:27\n")
	push("option.nix").fails(t, 1, "services.nginx.enabel' does not exist")
	// With --quiet, nixoci prints only one error, with the same information.
	o := push("--quiet", "undefined.nix")
	o.fails(t, 1, "undefined variable 'yes' at ")
	if strings.Count(o.stderr, "\n") != 1 {
		t.Errorf("more than the error:\n%s", o.stderr)
	}

	w.config = strings.Replace(w.config, "extra-platforms = x86_64-linux aarch64-linux", "extra-platforms =", 1)
	push("--platform", bothPlatforms, "web.nix").fails(t, 1, "build: there is no builder for aarch64-linux, only for x86_64-linux",
		"hint: build each platform on a machine of its own, into the same tag: nixoci push --join")
	// The hint recommends --join. Here the test pushes with --join, as on the amd64 machine.
	push("--join", "web.nix").digest(t)
	w.toplevel(t, ref, "amd64")

	left, err := filepath.Glob(filepath.Join(w.dir, "nixoci-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestEvalKeepsWhatItBuilt checks that the garbage collector does not delete the result of a
// build while nixoci pushes it.
func TestEvalKeepsWhatItBuilt(t *testing.T) {
	w := newWorkshop(t)
	put(t, filepath.Join(w.dir, "web.nix"), nginxNix("/web"))
	// nixoci waits until the test reads from the pipe.
	line := append(append([]string{}, w.run.prefix...), lab.nixoci, "build", "--quiet", "-o", "-", "--nixpkgs", w.nixpkgs, "web.nix")
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = w.dir
	cmd.Env = append(append(os.Environ(), w.environment()...), "XDG_CACHE_HOME="+w.run.cache)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
	roots := func() string {
		line := append(append([]string{"env"}, w.environment()...), w.run.prefix...)
		return command(t, append(line, "nix-store", "--gc", "--print-roots")...)
	}
	if r := roots(); !strings.Contains(r, w.dir+"/nixoci-") || !strings.Contains(r, "-nixos-system-container-") {
		t.Errorf("no root of the garbage collector's:\n%s", r)
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if r := roots(); strings.Contains(r, w.dir+"/nixoci-") {
		t.Errorf("it is kept for ever:\n%s", r)
	}
}
