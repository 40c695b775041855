package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// aptConf separates this apt from the apt of the host. It sets separate package lists, a
// separate cache, an empty dpkg status, and one architecture.
const aptConf = `Dir %[1]q;
Dir::Cache::archives %[2]q;
// Nothing here may touch the host.
Dir::Bin::dpkg "/bin/false";
APT::Architecture %[3]q;
APT::Architectures { %[3]q; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
Acquire::Languages "none";
Acquire::Retries "5";
// sid's lists are valid for a week, and mirrors lag behind. The lists are still signed.
Acquire::Check-Valid-Until "false";
Debug::NoLocking "true";
`

// apt resolves and downloads packages of one suite and architecture.
type apt struct {
	dir, debs, arch, suite string
}

// newApt makes directories for apt under dir and reads the package lists, unless the
// directories already exist. apt keeps downloaded packages in debs.
func newApt(ctx context.Context, dir, debs, suite, arch string) (*apt, error) {
	a := &apt{dir: filepath.Join(dir, "apt-"+suite+"-"+arch), debs: debs, arch: arch, suite: suite}
	for _, d := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/lib/dpkg", "var/cache/apt", "var/log/apt"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Join(debs, "partial"), 0o755); err != nil {
		return nil, err
	}
	mirror := os.Getenv("NIXOCI_DEBIAN_MIRROR")
	if mirror == "" {
		mirror = "http://deb.debian.org/debian"
	}
	files := map[string]string{
		"var/lib/dpkg/status": "",
		"apt.conf":            fmt.Sprintf(aptConf, a.dir, debs, arch),
		"etc/apt/sources.list": fmt.Sprintf("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n",
			mirror, suite),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	lists, err := filepath.Glob(filepath.Join(a.dir, "var/lib/apt/lists/*_Packages"))
	if err != nil || len(lists) > 0 {
		return a, err
	}
	_, err = a.run(ctx, "", "apt-get", "-q", "update")
	return a, err
}

func (a *apt) run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s (%s, %s): %w\n%s%s", name, strings.Join(args, " "), a.suite, a.arch, err, out, errs.Bytes())
	}
	return out, nil
}

// A deb is a downloaded binary package.
type deb struct {
	name, version, file string
	depends             [][]string // each element lists alternative names
	provides            []string
}

// install downloads the named packages with all of their dependencies.
func (a *apt) install(ctx context.Context, names []string) ([]deb, error) {
	if _, err := a.run(ctx, "", "apt-get", append([]string{"-q", "-y", "install", "--download-only"}, names...)...); err != nil {
		return nil, err
	}
	plan, err := a.run(ctx, "", "apt-get", append([]string{"-q", "-y", "-s", "install"}, names...)...)
	if err != nil {
		return nil, err
	}
	return a.planned(ctx, plan)
}

var instLine = regexp.MustCompile(`^Inst (\S+) \((\S+) `)

// planned parses plan, the output of apt-get -s, and returns the packages that apt-get would
// install.
func (a *apt) planned(ctx context.Context, plan []byte) ([]deb, error) {
	var debs []deb
	for line := range strings.Lines(string(plan)) {
		m := instLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		d, err := a.read(ctx, m[1], m[2])
		if err != nil {
			return nil, err
		}
		debs = append(debs, d)
	}
	if len(debs) == 0 {
		return nil, fmt.Errorf("apt-get -s install: no Inst line in\n%s", plan)
	}
	return debs, nil
}

// download fetches one package without its dependencies.
func (a *apt) download(ctx context.Context, name string) (deb, error) {
	out, err := a.run(ctx, "", "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return deb{}, err
	}
	for line := range strings.Lines(string(out)) {
		if v, ok := strings.CutPrefix(line, "Version: "); ok {
			if _, err := a.run(ctx, a.debs, "apt-get", "-q", "download", name); err != nil {
				return deb{}, err
			}
			return a.read(ctx, name, strings.TrimSpace(v))
		}
	}
	return deb{}, fmt.Errorf("apt-cache show %s: no Version", name)
}

// read reads the control fields of a downloaded package.
func (a *apt) read(ctx context.Context, name, version string) (deb, error) {
	d := deb{name: name, version: version}
	escaped := strings.ReplaceAll(version, ":", "%3a")
	for _, arch := range []string{a.arch, "all"} {
		file := fmt.Sprintf("%s_%s_%s.deb", name, escaped, arch)
		if _, err := os.Stat(filepath.Join(a.debs, file)); err == nil {
			d.file = file
		}
	}
	if d.file == "" {
		return d, fmt.Errorf("%s %s: not among the downloaded packages in %s", name, version, a.debs)
	}
	out, err := a.run(ctx, "", "dpkg-deb", "-f", filepath.Join(a.debs, d.file), "Pre-Depends", "Depends", "Provides", "Suggests")
	if err != nil {
		return d, err
	}
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		field, value, _ := strings.Cut(sc.Text(), ": ")
		for part := range strings.SplitSeq(value, ",") {
			var alternatives []string
			for alt := range strings.SplitSeq(part, "|") {
				if f := strings.Fields(alt); len(f) > 0 {
					alternatives = append(alternatives, strings.TrimSuffix(f[0], ":any"))
				}
			}
			switch {
			case len(alternatives) == 0:
			case field == "Suggests":
				// systemd loads its libraries at run time. So its package only suggests the
				// packages of these libraries.
				if name == "libsystemd-shared" {
					d.depends = append(d.depends, alternatives)
				}
			case field == "Provides":
				d.provides = append(d.provides, alternatives[0])
			default:
				d.depends = append(d.depends, alternatives)
			}
		}
	}
	return d, sc.Err()
}
