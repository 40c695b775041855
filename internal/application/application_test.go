package application

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/closure/closuretest"
	"github.com/nixoci/nixoci/internal/hint/hinttest"
)

// files describes a store path like [closuretest.Tree]. In a target or content, {NAME} stands for the
// store path of that name.
type files map[string]string

// tree replaces each {NAME} in f with a store path.
func (f files) tree() closuretest.Tree {
	t := closuretest.Tree{}
	for name, content := range f {
		for i := strings.Index(content, "{"); i >= 0; i = strings.Index(content, "{") {
			ref, rest, _ := strings.Cut(content[i+1:], "}")
			content = content[:i] + string(storePath(ref)) + rest
		}
		t[name] = content
	}
	return t
}

var storePath = closuretest.StorePath

// world makes a closure of the given store paths. If a store path is called base,
// all others refer to it.
func world(t *testing.T, paths map[string]files) (*closuretest.Store, *closure.Closure) {
	t.Helper()
	src := &closuretest.Store{}
	var infos []closure.Info
	for name, f := range paths {
		info := src.Add(t, storePath(name), f.tree())
		if _, ok := paths["base"]; ok && name != "base" {
			info.References = []closure.StorePath{storePath("base")}
		}
		infos = append(infos, info)
	}
	c, err := closure.New(nil, infos)
	if err != nil {
		t.Fatal(err)
	}
	return src, c
}

// elf returns the beginning of a program for machine, which is the number of a
// processor architecture in ELF files.
func elf(machine uint16) string {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(b[16:], 2)
	binary.LittleEndian.PutUint16(b[18:], machine)
	return "x " + string(b)
}

var (
	amd64 = elf(62)
	arm64 = elf(183)
)

func roots(names ...string) (all []closure.StorePath) {
	for _, n := range names {
		all = append(all, storePath(n))
	}
	return all
}

func platform(arch string) *ocispec.Platform {
	return &ocispec.Platform{OS: "linux", Architecture: arch}
}

func TestNew(t *testing.T) {
	src, c := world(t, map[string]files{
		"hello-2.12": {"bin/hello": amd64, "bin/.hello-wrapped": amd64, "share/man/hello.1": "f x", "lib/libhello.so": amd64},
		"script-1":   {"bin/run": "x #! {bash-5}/bin/bash -e\necho", "share/man/run.1": "f y"},
		"env-1":      {"bin": "-> {hello-2.12}/bin", "etc": "-> {data}/etc"},
		"data":       {"etc/motd": "f hi"},
		"bash-5":     {"bin/bash": arm64, "bin/sh": "-> bash"},
		"cacert-3":   {"etc/ssl/certs/ca-bundle.crt": "f cert"},
	})
	file := func(name, below string) string { return string(storePath(name)) + "/" + below }
	for name, test := range map[string]struct {
		choices  Choices
		settings StartSettings
		stated   *ocispec.Platform
		arch     string
		start    string
		entries  []RootEntry
	}{
		"the only program": {choices: Choices{Roots: roots("hello-2.12")}, arch: "amd64", start: file("hello-2.12", "bin/hello")},
		"a script":         {choices: Choices{Roots: roots("script-1")}, arch: "arm64", start: file("script-1", "bin/run")},
		"through a link":   {choices: Choices{Roots: roots("env-1")}, arch: "amd64", start: file("env-1", "bin/hello")},
		"the first that has one": {choices: Choices{Roots: roots("data", "script-1", "hello-2.12")}, arch: "arm64",
			start: file("script-1", "bin/run")},
		"main program": {choices: Choices{Roots: roots("bash-5"), Program: "bash"}, arch: "arm64", start: file("bash-5", "bin/bash")},
		"entrypoint of a root": {choices: Choices{Roots: roots("bash-5", "hello-2.12")}, settings: StartSettings{Entrypoint: []string{"hello", "-g"}},
			arch: "amd64"},
		"entrypoint in the image": {choices: Choices{Roots: roots("bash-5"), Shell: true}, settings: StartSettings{Entrypoint: []string{"/bin/sh", "-c", "x"}},
			arch: "arm64", entries: []RootEntry{{"bin", ""}, {"bin/sh", file("bash-5", "bin/sh")}}},
		"data is for what is stated": {choices: Choices{Roots: roots("data", "bash-5")}, settings: StartSettings{Entrypoint: []string{file("bash-5", "bin/bash")}},
			stated: platform("arm64"), arch: "arm64"},
		"links": {choices: Choices{Roots: roots("hello-2.12", "script-1"), Program: "hello", Links: []string{"/bin", "/share", "/lib/libhello.so"}},
			arch: "amd64", start: file("hello-2.12", "bin/hello"), entries: []RootEntry{
				{"bin", ""}, {"bin/.hello-wrapped", file("hello-2.12", "bin/.hello-wrapped")}, {"bin/hello", file("hello-2.12", "bin/hello")},
				{"bin/run", file("script-1", "bin/run")}, {"lib", ""}, {"lib/libhello.so", file("hello-2.12", "lib/libhello.so")}, {"share", ""},
				{"share/man", ""}, {"share/man/hello.1", file("hello-2.12", "share/man/hello.1")}, {"share/man/run.1", file("script-1", "share/man/run.1")}}},
		"all": {choices: Choices{Roots: roots("script-1", "data"), Links: []string{"/"}}, arch: "arm64", start: file("script-1", "bin/run"), entries: []RootEntry{
			{"bin", ""}, {"bin/run", file("script-1", "bin/run")}, {"etc", ""}, {"etc/motd", file("data", "etc/motd")},
			{"share", ""}, {"share/man", file("script-1", "share/man")}}},
		"the same twice is no conflict": {choices: Choices{Roots: roots("hello-2.12", "env-1"), Links: []string{"/bin"}}, arch: "amd64",
			start: file("hello-2.12", "bin/hello"), entries: []RootEntry{{"bin", ""}, {"bin/.hello-wrapped", file("hello-2.12", "bin/.hello-wrapped")},
				{"bin/hello", file("hello-2.12", "bin/hello")}}},
		"shell and certificates of the closure": {choices: Choices{Roots: roots("hello-2.12"), Shell: true, Certificates: true}, arch: "amd64",
			start: file("hello-2.12", "bin/hello"), entries: []RootEntry{{"bin", ""}, {"bin/sh", file("bash-5", "bin/sh")}, {"etc", ""},
				{"etc/pki", ""}, {"etc/pki/tls", ""}, {"etc/pki/tls/certs", ""}, {"etc/pki/tls/certs/ca-bundle.crt", file("cacert-3", "etc/ssl/certs/ca-bundle.crt")},
				{"etc/ssl", ""}, {"etc/ssl/certs", ""}, {"etc/ssl/certs/ca-bundle.crt", file("cacert-3", "etc/ssl/certs/ca-bundle.crt")},
				{"etc/ssl/certs/ca-certificates.crt", file("cacert-3", "etc/ssl/certs/ca-bundle.crt")}}},
	} {
		t.Run(name, func(t *testing.T) {
			app, err := New(t.Context(), src, c, test.choices, test.settings, test.stated)
			if err != nil {
				t.Fatal(err)
			}
			if app.Platform.Architecture != test.arch || app.Start != test.start || !slices.Equal(app.Entries, test.entries) {
				t.Errorf("platform %v, start %q, entries %q", app.Platform, app.Start, app.Entries)
			}
		})
	}
}

// TestRelativeEntrypoint checks an entrypoint that is a path below a root. For such
// an entrypoint, each platform has another store path with another file.
func TestRelativeEntrypoint(t *testing.T) {
	src, c := world(t, map[string]files{"data": {"x": "f"}, "many-1": {"bin/a": amd64, "bin/b": amd64, "libexec/c": arm64}})
	app, err := New(t.Context(), src, c, Choices{Roots: roots("data", "many-1")}, StartSettings{Entrypoint: []string{"libexec/c", "-x"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := string(storePath("many-1")) + "/libexec/c"; app.First != want || app.Platform.Architecture != "arm64" {
		t.Errorf("first word %q for %v, want %q", app.First, app.Platform, want)
	}
}

func TestNewRefuses(t *testing.T) {
	src, c := world(t, map[string]files{
		"hello-2.12": {"bin/hello": amd64, "etc/hello": "f 1"},
		"many-1":     {"bin/a": amd64, "bin/many": amd64, "bin/b": arm64, "bin/data": "f x", "bin/gone": "-> nowhere"},
		"other-1":    {"bin/hello": amd64, "etc": "-> {data}"},
		"data":       {"x": "f 1"},
		"loop":       {"bin/loop": "-> loop"},
		"env":        {"bin/env": "x #!/usr/bin/env python\n"},
	})
	for name, test := range map[string]struct {
		choices    Choices
		settings   StartSettings
		stated     *ocispec.Platform
		want, hint string
	}{
		"no program":                {choices: Choices{Roots: roots("data")}, want: "no program to start: " + string(storePath("data")), hint: "--entrypoint"},
		"several programs":          {choices: Choices{Roots: roots("many-1")}, want: "has 3 programs in bin, and none is chosen: a, b, many", hint: "--entrypoint many"},
		"no main program":           {choices: Choices{Roots: roots("many-1"), Program: "x"}, want: "no program bin/x"},
		"a link to itself":          {choices: Choices{Roots: roots("loop")}, want: "no program to start"},
		"entrypoint without a file": {choices: Choices{Roots: roots("many-1")}, settings: StartSettings{Entrypoint: []string{"c"}}, want: `entrypoint "c": no root has a program`},
		"entrypoint not in the image": {choices: Choices{Roots: roots("many-1")}, settings: StartSettings{Entrypoint: []string{"/bin/a"}},
			want: "the image has no such file", hint: "--link /bin"},
		"entrypoint in no closure": {choices: Choices{Roots: roots("many-1")}, settings: StartSettings{Entrypoint: []string{string(storePath("x")) + "/bin/x"}},
			want: "the closure has no such file"},
		"entrypoint is data":     {choices: Choices{Roots: roots("many-1")}, settings: StartSettings{Entrypoint: []string{string(storePath("many-1")) + "/bin/data"}}, want: "it is not a program"},
		"entrypoint is relative": {choices: Choices{Roots: roots("many-1")}, settings: StartSettings{Entrypoint: []string{"sbin/a"}}, want: "no root has a program of this name"},
		"no root":                {want: "no root"},
		"root twice":             {choices: Choices{Roots: roots("data", "data")}, want: "is given twice"},
		"not in the closure":     {choices: Choices{Roots: roots("nowhere")}, want: "not in the closure"},
		"two different files": {choices: Choices{Roots: roots("hello-2.12", "other-1"), Links: []string{"/bin"}},
			want: "link /bin/hello: two closures have different files of this name: " + string(storePath("hello-2.12")) + "/bin/hello and " + string(storePath("other-1")) + "/bin/hello", hint: "leave out"},
		"nobody has it":       {choices: Choices{Roots: roots("hello-2.12"), Links: []string{"/share"}}, want: "has no share"},
		"link of the store":   {choices: Choices{Roots: roots("hello-2.12"), Links: []string{"/nix/store"}}, want: "/nix"},
		"link twice":          {choices: Choices{Roots: roots("hello-2.12"), Links: []string{"/bin", "/bin"}}, want: "twice"},
		"no shell":            {choices: Choices{Roots: roots("hello-2.12"), Shell: true}, want: "no shell", hint: "nixpkgs#bash"},
		"no certificates":     {choices: Choices{Roots: roots("hello-2.12"), Certificates: true}, want: "no bundle of CA certificates", hint: "nixpkgs#cacert"},
		"unknown user":        {choices: Choices{Roots: roots("hello-2.12")}, settings: StartSettings{User: "app"}, want: "app is not in /etc/passwd, which has root, nobody", hint: "--add-user app=1000"},
		"unknown group":       {choices: Choices{Roots: roots("hello-2.12")}, settings: StartSettings{User: "root:wheel"}, want: "wheel is not in /etc/group"},
		"another platform":    {choices: Choices{Roots: roots("hello-2.12")}, stated: platform("arm64"), want: "is a program for linux/amd64, not for linux/arm64 as stated"},
		"no platform":         {choices: Choices{Roots: roots("env")}, want: "no file says for which platform", hint: "--platform linux/amd64"},
		"root's own id":       {choices: Choices{Roots: roots("env"), Users: []User{{Name: "a", Home: "/"}}}, want: "root has the id 0 already"},
		"a user twice":        {choices: Choices{Roots: roots("env"), Users: []User{{"a", 1, 1, "/"}, {"a", 2, 2, "/"}}}, want: "another user has this name"},
		"an id twice":         {choices: Choices{Roots: roots("env"), Users: []User{{"a", 1, 1, "/"}, {"b", 1, 2, "/"}}}, want: "a has the id 1 already"},
		"a home with a colon": {choices: Choices{Roots: roots("env"), Users: []User{{"a", 1, 1, "/a:b"}}}, want: "not an absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(t.Context(), src, c, test.choices, test.settings, test.stated)
			hinttest.Error(t, err, nil, test.want)
			if test.hint != "" {
				hinttest.Hint(t, err, test.hint)
			}
			if errors.As(err, new(*ReadError)) {
				t.Errorf("it is said to be a fault of the source: %v", err)
			}
		})
	}
}

// TestPlatformOfRoot checks that the platform of a root is the platform of its
// programs, or else the platform of all ELF files in its closure.
func TestPlatformOfRoot(t *testing.T) {
	src, c := world(t, map[string]files{
		"base":    {"lib/x.so": arm64},
		"library": {"lib/y.so": arm64},
		"foreign": {"lib/y.so": amd64},
		"program": {"bin/p": amd64},
		"mixed":   {"bin/p": amd64, "bin/q": arm64},
		"object":  {"bin/o": strings.Replace(amd64, "\x02\x00\x3e", "\x01\x00\x3e", 1)},
	})
	for name, want := range map[string]string{"library": "arm64", "program": "amd64", "object": "arm64"} {
		p, ok, err := NewReader(t.Context(), src, c).Platform(storePath(name))
		if err != nil || !ok || p.Architecture != want {
			t.Errorf("%s: %v, %v, %v, want %s", name, p, ok, err, want)
		}
	}
	for name, want := range map[string]string{"mixed": "/bin/q", "foreign": "/lib/x.so"} {
		_, _, err := NewReader(t.Context(), src, c).Platform(storePath(name))
		for _, part := range []string{"for several platforms", "linux/amd64 (", "linux/arm64 (", want} {
			hinttest.Error(t, err, nil, part)
		}
	}
}

// TestReadOnce checks that no store path is read twice.
func TestReadOnce(t *testing.T) {
	src, c := world(t, map[string]files{"hello-1": {"bin/hello": amd64, "bin/sh": "-> hello"}})
	r := NewReader(t.Context(), src, c)
	if system, err := r.IsSystem(storePath("hello-1")); err != nil || system {
		t.Fatal(system, err)
	}
	choices := Choices{Roots: roots("hello-1"), Program: "hello", Links: []string{"/bin"}, Shell: true}
	if _, err := r.Of(src, c).New(choices, StartSettings{}, nil); err != nil {
		t.Fatal(err)
	}
	if src.Reads != 1 {
		t.Errorf("it was read %d times", src.Reads)
	}
}

// TestChangedStore checks that New returns a ReadError for a damaged store path.
func TestChangedStore(t *testing.T) {
	src, c := world(t, map[string]files{"hello-1": {"bin/hello": amd64}})
	src.Trees[storePath("hello-1")]["bin/hello"] += "!"
	_, err := New(t.Context(), src, c, Choices{Roots: roots("hello-1")}, StartSettings{}, nil)
	if !errors.As(err, new(*ReadError)) {
		t.Errorf("got %v", err)
	}
}

func TestIsSystem(t *testing.T) {
	src, c := world(t, map[string]files{"init": {"init": "x x"}, "system": {"system": "f x86_64-linux"}, "none": {"bin/init": amd64, "system/x": "f"}})
	for name, want := range map[string]bool{"init": true, "system": true, "none": false} {
		if got, err := NewReader(t.Context(), src, c).IsSystem(storePath(name)); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestParseUser(t *testing.T) {
	for s, want := range map[string]User{
		"app=1000":               {"app", 1000, 1000, "/var/empty"},
		"app=1000:100":           {"app", 1000, 100, "/var/empty"},
		"_x-1=0:4294967294:/a/b": {"_x-1", 0, 4294967294, "/a/b"},
	} {
		if got, err := ParseUser(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "app", "=1", "App=1", "app=", "app=x", "app=-1", "app=1:x", "app=1:4294967295", "app=1:1:home", "app=1:1:/a/", "a b=1", "app=1:1:/a\nroot:x:0"} {
		if got, err := ParseUser(s); err == nil {
			t.Errorf("%q: %v, want an error", s, got)
		}
	}
}

func TestUserFiles(t *testing.T) {
	app := &Application{Choices: Choices{Users: []User{{"b", 1001, 100, "/home/b"}, {"a", 5, 5, "/var/empty"}}}}
	if got, want := string(app.Passwd()), "root:x:0:0::/root:/bin/false\na:x:5:5::/var/empty:/bin/false\nb:x:1001:100::/home/b:/bin/false\nnobody:x:65534:65534::/var/empty:/bin/false\n"; got != want {
		t.Errorf("passwd:\n%s", got)
	}
	if got, want := string(app.Group()), "root:x:0:\na:x:5:\nb:x:100:\nnobody:x:65534:\n"; got != want {
		t.Errorf("group:\n%s", got)
	}
	app.Entries = []RootEntry{{"bin", ""}, {"bin/sh", "/nix/store/x"}}
	if got := string(app.Passwd()); strings.Count(got, "/bin/sh\n") != 4 {
		t.Errorf("passwd:\n%s", got)
	}
}

// TestLinkedPasswd checks that the setting user accepts a user of a passwd file in
// the closure, if the image links that file to /etc/passwd.
func TestLinkedPasswd(t *testing.T) {
	src, c := world(t, map[string]files{
		"hello-1": {"bin/hello": amd64},
		"nss":     {"etc/passwd": "f web:x:33:33::/:/bin/sh\n"},
	})
	choices := Choices{Roots: roots("hello-1", "nss"), Links: []string{"/etc"}}
	if _, err := New(t.Context(), src, c, choices, StartSettings{User: "web"}, nil); err != nil {
		t.Error(err)
	}
	_, err := New(t.Context(), src, c, choices, StartSettings{User: "nobody"}, nil)
	hinttest.Error(t, err, nil, "nobody is not in /etc/passwd, which has web")
}

// TestKey checks that each part of the input changes the key.
func TestKey(t *testing.T) {
	_, c := world(t, map[string]files{"a": {"x": "f 1"}})
	_, d := world(t, map[string]files{"a": {"x": "f 2"}})
	seen := map[string]string{}
	for i, in := range []struct {
		c *closure.Closure
		Choices
		StartSettings
		p *ocispec.Platform
	}{
		{c: c}, {c: d}, {c: c, Choices: Choices{Roots: roots("a")}}, {c: c, Choices: Choices{Links: []string{"/bin"}}}, {c: c, Choices: Choices{Shell: true}},
		{c: c, Choices: Choices{Certificates: true}}, {c: c, Choices: Choices{Database: true}}, {c: c, Choices: Choices{Program: "x"}},
		{c: c, Choices: Choices{Users: []User{{Name: "x"}}}}, {c: c, Choices: Choices{Files: []File{{Path: "/x"}}}}, {c: c, Choices: Choices{NoEntrypoint: true}}, {c: c, StartSettings: StartSettings{User: "x"}}, {c: c, StartSettings: StartSettings{Entrypoint: []string{"x"}}}, {c: c, p: platform("arm64")},
	} {
		key, err := Key(in.c, in.Choices, in.StartSettings, in.p)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[key]; ok {
			t.Errorf("input %d has the key of input %s", i, other)
		}
		seen[key] = fmt.Sprint(i)
	}
	// The image must record each field of Choices. A new field needs a change in the
	// code that records them.
	if n := reflect.TypeFor[Choices]().NumField(); n != 9 {
		t.Errorf("Choices have %d fields: record the new one, and add it here", n)
	}
}

func text(s string) *string { return &s }

// TestFiles checks the entries for files with owners, and for the parent directories
// of these files.
func TestFiles(t *testing.T) {
	src, c := world(t, map[string]files{"hello-1": {"bin/hello": amd64, "share/x": "f data"}})
	choices := Choices{Roots: roots("hello-1"), Links: []string{"/bin"}, Files: []File{
		{Path: "/var/lib/app", UID: 1000, GID: 100, Mode: "0700"},
		{Path: "/etc/app/app.conf", Text: text("x=1\n"), Mode: "600"},
		{Path: "/etc/app/link", Target: "app.conf"},
		{Path: "/srv/x", Source: string(storePath("hello-1")) + "/share/x", UID: 7},
		{Path: "/opt/su", Text: text(""), Mode: "4755", Setuid: true},
	}}
	app, err := New(t.Context(), src, c, choices, StartSettings{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range app.Placed {
		got = append(got, fmt.Sprintf("%s %s %04o %d:%d %s%s", p.Name, p.Kind, p.Mode, p.UID, p.GID, p.Target, p.Content))
	}
	want := []string{
		"etc/app directory 0755 0:0 ", "etc/app/app.conf file 0600 0:0 x=1\n", "etc/app/link symlink 0777 0:0 app.conf",
		"opt directory 0755 0:0 ", "opt/su file 4755 0:0 ", "srv directory 0755 0:0 ", "srv/x file 0644 7:0 data",
		"var/lib directory 0755 0:0 ", "var/lib/app directory 0700 1000:100 ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for name, test := range map[string]struct {
		file       File
		want, hint string
	}{
		"outside of the root":  {File{Path: "../etc/x"}, "not an absolute path below the root", ""},
		"climbs out":           {File{Path: "/a/../../x"}, "not an absolute path below the root", ""},
		"the root":             {File{Path: "/"}, "not an absolute path below the root", ""},
		"in the store":         {File{Path: "/nix/store/x"}, "nothing can be added in /nix", ""},
		"of nixoci":            {File{Path: "/.nixoci.json"}, "nothing can be added in", ""},
		"passwd":               {File{Path: "/etc/passwd", Text: text("x")}, "the image has it already", ""},
		"a directory of ours":  {File{Path: "/tmp"}, "the image has it already", ""},
		"a link":               {File{Path: "/bin/hello", Text: text("x")}, "the image has it already", "link fewer files"},
		"below a link":         {File{Path: "/bin/hello/x"}, "/bin/hello is a link to", ""},
		"below a file":         {File{Path: "/etc/passwd/x"}, "/etc/passwd is a file, not a directory", ""},
		"two contents":         {File{Path: "/x", Text: text(""), Target: "y"}, "more than one of text, source and target", ""},
		"a source elsewhere":   {File{Path: "/x", Source: "/etc/passwd"}, "is not in the closure", ""},
		"a source of nobody":   {File{Path: "/x", Source: string(storePath("other")) + "/x"}, "is not in the closure", ""},
		"a source that is not": {File{Path: "/x", Source: string(storePath("hello-1")) + "/nope"}, "file does not exist", ""},
		"setuid":               {File{Path: "/x", Text: text(""), Mode: "4755"}, "set-user-ID or set-group-ID bit", `"setuid": true`},
		"setgid directory":     {File{Path: "/x", Mode: "2755"}, "set-user-ID or set-group-ID bit", `"setuid": true`},
		"no mode":              {File{Path: "/x", Mode: "rw"}, "is not octal", ""},
		"mode of a symlink":    {File{Path: "/x", Target: "y", Mode: "0777"}, "a symlink has no mode", ""},
		"a large id":           {File{Path: "/x", UID: 1 << 21}, "ids are from 0 to 2097151", ""},
		"a large text":         {File{Path: "/x", Text: text(strings.Repeat("x", maxContent+1))}, "more than 1048576 bytes", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(t.Context(), src, c, Choices{Roots: roots("hello-1"), Links: []string{"/bin"}, Files: []File{test.file}}, StartSettings{}, nil)
			hinttest.Error(t, err, nil, test.want)
			if test.hint != "" {
				hinttest.Hint(t, err, test.hint)
			}
		})
	}
	twice := Choices{Roots: roots("hello-1"), Files: []File{{Path: "/x"}, {Path: "/x"}}}
	_, err = New(t.Context(), src, c, twice, StartSettings{}, nil)
	hinttest.Error(t, err, nil, "is given twice")
}

// TestCopiedDirectories checks that New can copy a directory of the closure and give
// it another owner.
func TestCopiedDirectories(t *testing.T) {
	src, c := world(t, map[string]files{"hello-1": {"bin/hello": amd64},
		"site": {"www/a/index.html": "f page", "www/run": "x #!/bin/sh", "www/link": "-> a", "www-not": "f no", "large/x": "f " + strings.Repeat("x", maxContent+1)}})
	make := func(files ...File) ([]string, error) {
		app, err := New(t.Context(), src, c, Choices{Roots: roots("hello-1", "site"), Links: []string{"/bin"}, Files: files}, StartSettings{}, nil)
		if err != nil {
			return nil, err
		}
		var got []string
		for _, p := range app.Placed {
			got = append(got, fmt.Sprintf("%s %s %04o %d:%d %s%s", p.Name, p.Kind, p.Mode, p.UID, p.GID, p.Target, p.Content))
		}
		return got, nil
	}
	site := string(storePath("site"))
	got, err := make(File{Path: "/srv", Source: site + "/www", UID: 33, GID: 34, Mode: "0700"}, File{Path: "/srv/a/more", Text: text("m")}, File{Path: "/run1", Source: site + "/www/run"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"run1 file 0755 0:0 #!/bin/sh", "srv directory 0700 33:34 ", "srv/a directory 0755 33:34 ", "srv/a/index.html file 0644 33:34 page", "srv/a/more file 0644 0:0 m",
		"srv/link symlink 0777 33:34 a", "srv/run file 0755 33:34 #!/bin/sh",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for want, files := range map[string][]File{
		"file /srv/a is given twice":                       {{Path: "/srv", Source: site + "/www"}, {Path: "/srv/a", Text: text("m")}},
		"file /srv/a/x: /srv/a is a file, not a directory": {{Path: "/srv", Source: string(storePath("hello-1"))}, {Path: "/srv/a", Text: text("")}, {Path: "/srv/a/x", Text: text("")}},
		"at most 1048576 are allowed":                      {{Path: "/srv", Source: site + "/large"}},
	} {
		_, err := make(files...)
		hinttest.Error(t, err, nil, want)
	}
}
