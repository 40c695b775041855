//go:build linux

package guest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Even with TERM from podman, a log must get no control sequences. But a user can switch
// colours on with SYSTEMD_COLORS.
func TestPlainConsole(t *testing.T) {
	for _, tt := range []struct{ vars, want []string }{
		{nil, []string{"SYSTEMD_COLORS=0", "TERM=dumb"}},
		{[]string{"TERM=xterm", "A=b"}, []string{"A=b", "SYSTEMD_COLORS=0", "TERM=dumb"}},
		{[]string{"SYSTEMD_COLORS=1"}, []string{"SYSTEMD_COLORS=1", "TERM=dumb"}},
	} {
		env := newBootEnv(tt.vars)
		env.plainConsole()
		if !slices.Equal(env.list(), tt.want) {
			t.Errorf("of %q: %q, want %q", tt.vars, env.list(), tt.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	dir := t.TempDir()
	env := newBootEnv([]string{
		"PATH=/bin", "HOSTNAME=web", "NIXOCI_WATCH=1", "https_proxy=http://user:secret@proxy", "DB_PASSWORD=x", "container=",
		"EMPTY=", "QUOTES=a \"b\" $c `d` 'e' \\f\\", "LINES=one\ntwo\n\tthree", "UTF=grün", "my.var=x", "9=x", "BELL=\a", "BYTES=\xff",
	})
	env.setDefault("container", "docker")
	if env.get("container") != "docker" {
		t.Error("an empty variable counts as set")
	}
	left, err := saveEnvironment(dir, env)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(left, " "); got != `"my.var" "9" "BELL" "BYTES"` {
		t.Errorf("left out %s", got)
	}
	for _, name := range []string{environmentFile, unitEnvironment} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("others may read %s: %v, %v", name, info.Mode(), err)
		}
	}
	got, err := loadEnvironment(dir)
	if err != nil || strings.Join(got, " ") != "NIXOCI_WATCH=1 https_proxy=http://user:secret@proxy" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := loadEnvironment(t.TempDir()); got != nil || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	file, err := os.ReadFile(filepath.Join(dir, unitEnvironment))
	if err != nil {
		t.Fatal(err)
	}
	const want = `NIXOCI_WATCH="1"
https_proxy="http://user:secret@proxy"
DB_PASSWORD="x"
EMPTY=""
QUOTES="a \"b\" \$c ` + "\\`d\\`" + ` 'e' \\f\\"
LINES="one
two
	three"
UTF="grün"
`
	if string(file) != want {
		t.Errorf("got:\n%s\nwant:\n%s", file, want)
	}
}

// saveEnvironment must replace an old file that others can read.
func TestEnvironmentIsPrivateEvenOverAnOldFile(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, unitEnvironment), "old")
	if _, err := saveEnvironment(dir, newBootEnv([]string{"A=b"})); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, unitEnvironment)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func FuzzQuoteVariable(f *testing.F) {
	f.Add("plain")
	f.Add("a\\\"$`\n")
	f.Fuzz(func(t *testing.T, value string) {
		quoted := quoteVariable(value)
		if got, ok := unquoteVariable(quoted); !ok || got != value {
			t.Errorf("%q becomes %q, which is %q", value, quoted, got)
		}
	})
}

// unquoteVariable reads a double-quoted value as parse_env_file_internal() does.
func unquoteVariable(s string) (string, bool) {
	if len(s) < 2 || s[0] != '"' {
		return "", false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return b.String(), i == len(s)-1
		case '\\':
			i++
			switch {
			case i == len(s):
				return "", false
			case strings.IndexByte("\"\\`$", s[i]) >= 0:
				b.WriteByte(s[i])
			case s[i] != '\n':
				b.WriteByte('\\')
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

const (
	idA = "0123456789abcdef0123456789abcdef"
	idB = "fedcba9876543210fedcba9876543210"
)

func TestEnsureMachineID(t *testing.T) {
	random := regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$`)
	for _, tc := range []struct {
		name          string
		file, kept    string // content, "-" for no file
		mounted, keep bool
		uuid          string
		want          string // "" for a new id
		wantKept      string // "" for the same as in the file, "-" for no file
	}{
		{name: "missing", file: "-", kept: "-", wantKept: "-"},
		{name: "empty", file: "", kept: "-", wantKept: "-"},
		{name: "uninitialized", file: "uninitialized\n", kept: "-", wantKept: "-"},
		{name: "zeros", file: strings.Repeat("0", 32) + "\n", kept: "-", wantKept: "-"},
		{name: "too short", file: idA[:31] + "\n", kept: "-", wantKept: "-"},
		{name: "valid", file: idA + "\n", kept: "-", want: idA, wantKept: "-"},
		{name: "the engine's", file: "-", kept: "-", uuid: "01234567-89ab-cdef-0123-456789abcdef", want: idA, wantKept: "-"},
		{name: "the engine's is nonsense", file: "-", kept: "-", uuid: "none", wantKept: "-"},
		{name: "first start with a volume", file: "-", kept: "-", keep: true},
		{name: "new container with the volume", file: "uninitialized\n", kept: idB + "\n", keep: true, uuid: idA, want: idB},
		{name: "the volume wins over the container", file: idA + "\n", kept: idB + "\n", keep: true, want: idB},
		{name: "the volume has nonsense", file: idA + "\n", kept: "x", keep: true, want: idA},
		{name: "a mounted file wins", file: idA + "\n", kept: idB + "\n", keep: true, mounted: true, want: idA, wantKept: idB},
		{name: "a mounted empty file", file: "", kept: idB + "\n", keep: true, mounted: true, want: idB},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			p := machineIDs{File: root + "/etc/machine-id", Mounted: tc.mounted}
			write(t, root+"/etc/other", "")
			keptFile := root + "/var/lib/nixoci/machine-id"
			if tc.keep {
				p.Kept = keptFile
			}
			if tc.file != "-" {
				write(t, p.File, tc.file)
			}
			if tc.kept != "-" {
				write(t, keptFile, tc.kept)
			}
			before, _ := os.Stat(p.File)
			if err := ensureMachineID(p, newBootEnv([]string{"container_uuid=" + tc.uuid})); err != nil {
				t.Fatal(err)
			}
			got := readMachineID(p.File)
			if tc.want == "" && !random.MatchString(got) || tc.want != "" && got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if after, _ := os.Stat(p.File); before != nil && !os.SameFile(before, after) {
				t.Error("the file was replaced: a bind mount cannot be")
			}
			want := tc.wantKept
			switch want {
			case "":
				want = got
			case "-":
				want = ""
			}
			if kept := readMachineID(keptFile); kept != want {
				t.Errorf("kept %q, want %q", kept, want)
			}
		})
	}
}

// If the configuration sets the machine id, the file is a link that activation makes.
// ensureMachineID must leave it alone.
func TestEnsureMachineIDLeavesLinks(t *testing.T) {
	root := t.TempDir()
	link(t, "/etc/static/no-such-file", root+"/machine-id")
	if err := ensureMachineID(machineIDs{File: root + "/machine-id"}, newBootEnv(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Readlink(root + "/machine-id"); err != nil {
		t.Error(err)
	}
}

func TestMachineIDPlaces(t *testing.T) {
	for _, tc := range []struct {
		mounts string
		want   machineIDs
	}{
		{"", machineIDs{File: "/etc/machine-id"}},
		{"2 1 0:2 / /var/lib rw - ext4 /dev/vda rw\n", machineIDs{File: "/etc/machine-id", Kept: keptMachineID}},
		{"2 1 0:2 / /var rw - ext4 /dev/vda rw\n3 1 0:2 /id /etc/machine-id rw - ext4 /dev/vda rw\n", machineIDs{File: "/etc/machine-id", Mounted: true, Kept: keptMachineID}},
		{"2 1 0:2 / /var/lib/postgresql rw - ext4 /dev/vda rw\n", machineIDs{File: "/etc/machine-id"}},
		{"2 1 0:2 / /var rw - tmpfs tmpfs rw\n", machineIDs{File: "/etc/machine-id"}},
		{"2 1 0:2 / /var/lib ro - ext4 /dev/vda rw\n", machineIDs{File: "/etc/machine-id"}},
	} {
		if got := machineIDPlaces(parseMounts(t, "1 0 0:1 / / rw - overlay overlay rw\n"+tc.mounts)); got != tc.want {
			t.Errorf("%q: got %+v, want %+v", tc.mounts, got, tc.want)
		}
	}
}

func TestSetTimeZone(t *testing.T) {
	for _, tc := range []struct {
		name, tz string
		before   string // target of the link localtime; "file" for a file, "-" for nothing
		mounted  bool
		want     string // in the same notation as the field before
		err      string
	}{
		{name: "set", tz: "Europe/Berlin", before: "-", want: "/etc/zoneinfo/Europe/Berlin"},
		{name: "POSIX's colon", tz: ":Europe/Berlin", before: "-", want: "/etc/zoneinfo/Europe/Berlin"},
		{name: "changed", tz: "Europe/Berlin", before: "/etc/zoneinfo/UTC", want: "/etc/zoneinfo/Europe/Berlin"},
		{name: "not set", tz: "", before: "/etc/zoneinfo/UTC", want: "/etc/zoneinfo/UTC"},
		{name: "unknown", tz: "Mars/Base", before: "-", want: "-", err: "no such time zone"},
		{name: "outside", tz: "../zones/Europe/Berlin", before: "-", want: "-", err: "no such time zone"},
		{name: "somebody's file", tz: "Europe/Berlin", before: "file", want: "file"},
		{name: "mounted", tz: "Europe/Berlin", before: "-", mounted: true, want: "-"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			localtime := root + "/localtime"
			write(t, root+"/zones/Europe/Berlin", "TZif")
			switch tc.before {
			case "-":
			case "file":
				write(t, localtime, "TZif")
			default:
				link(t, tc.before, localtime)
			}
			var ms Mounts
			if tc.mounted {
				ms = Mounts{{Point: localtime}}
			}
			err := setTimeZone(localtime, root+"/zones", tc.tz, ms)
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got %v, want %q", err, tc.err)
			}
			got, err := os.Readlink(localtime)
			if err != nil {
				got = "-"
				if _, err := os.Lstat(localtime); err == nil {
					got = "file"
				}
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestSetCredentials(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ env, dir, want string }{
		{"A=b", dir, dir},
		{"A=b", dir + "/missing", ""},
		{"CREDENTIALS_DIRECTORY=/mine", dir, "/mine"},
	} {
		env := newBootEnv([]string{tc.env})
		setCredentials(env, tc.dir)
		if got := env.get("CREDENTIALS_DIRECTORY"); got != tc.want {
			t.Errorf("%+v: got %q", tc, got)
		}
	}
}

func TestMountUnit(t *testing.T) {
	for _, tc := range []struct{ point, want string }{ // output of systemd-escape --path --suffix=mount
		{"/etc/hosts", "etc-hosts.mount"},
		{"/run", "run.mount"},
		{"/etc/resolv.conf", "etc-resolv.conf.mount"},
		{"/run/secrets/db-password", `run-secrets-db\x2dpassword.mount`},
		{"/run/.containerenv", "run-.containerenv.mount"},
		{"/.hidden", `\x2ehidden.mount`},
		{"/srv/my data/ü", `srv-my\x20data-\xc3\xbc.mount`},
		{"/", ""},
		{"/proc/kcore", ""},
		{"/dev", ""},
		{"/devices", "devices.mount"},
		{"/" + strings.Repeat("a", 300), ""},
	} {
		got, ok := mountUnit(tc.point)
		if got != tc.want || ok != (tc.want != "") {
			t.Errorf("%s: got %q, %v; want %q", tc.point, got, ok, tc.want)
		}
	}
}

func TestWriteUnits(t *testing.T) {
	dir := t.TempDir()
	const own = "[Mount]\nWhat=own\nWhere=/srv/own\n"
	if err := os.WriteFile(filepath.Join(dir, "srv-own.mount"), []byte(own), 0o644); err != nil {
		t.Fatal(err)
	}
	ms := Mounts{{Point: "/"}, {Point: "/etc/machine-id"}, {Point: "/proc"}, {Point: "/run"}, {Point: "/srv/100%"}, {Point: "/srv/own"}, {Point: "/srv/a\nb"}}
	if err := writeUnits(dir, ms); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, strings.TrimPrefix(file, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"etc-machine\\x2did.mount", "etc-machine\\x2did.mount.d/50-nixoci.conf",
		"run-credentials-.mount.d/50-nixoci.conf", "run.mount.d/50-nixoci.conf",
		"srv-100\\x25.mount", "srv-100\\x25.mount.d/50-nixoci.conf",
		"srv-own.mount", "srv-own.mount.d/50-nixoci.conf",
		"systemd-machine-id-commit.service.d/50-nixoci.conf",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for file, want := range map[string]string{"srv-own.mount": own, `srv-100\x25.mount`: fmt.Sprintf(mountFile, "/srv/100%%")} {
		if text, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", file, text, err)
		}
	}
}
