package manifest

import (
	"strings"
	"testing"
	"time"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layers"
)

func TestValidate(t *testing.T) {
	old := time.Unix(-1, 0)
	for _, tt := range []struct {
		name string
		s    Settings
		want string // "" means valid
	}{
		{"zero", Settings{}, ""},
		{"all", everySetting(), ""},
		{"env without =", Settings{Env: []string{"HOME"}}, `"HOME": no =`},
		{"env without name", Settings{Env: []string{"=x"}}, "no name before ="},
		{"env with space", Settings{Env: []string{"A B=x"}}, "white space"},
		{"env with newline in value", Settings{Env: []string{"A=x\ny"}}, ""},
		{"env with NUL", Settings{Env: []string{"A=x\x00"}}, "NUL"},
		{"env not UTF-8", Settings{Env: []string{"A=\xff"}}, "UTF-8"},
		{"label without name", Settings{Labels: map[string]string{"": "x"}}, "no name"},
		{"label not UTF-8", Settings{Labels: map[string]string{"a": "\xff"}}, "UTF-8"},
		{"own annotation", Settings{Annotations: map[string]string{"io.nixoci.toplevel": "x"}}, "reserved"},
		{"entrypoint empty", Settings{Entrypoint: []string{}}, "no program"},
		{"user", Settings{User: "root:"}, `user "root:"`},
		{"user with space", Settings{User: "a b"}, `user "a b"`},
		{"user three parts", Settings{User: "a:b:c"}, "user"},
		{"workdir relative", Settings{WorkingDir: "srv"}, "not an absolute path"},
		{"workdir unclean", Settings{WorkingDir: "/srv/../x"}, "not a clean path"},
		{"volume relative", Settings{Volumes: []string{"data"}}, "not an absolute path"},
		{"volume root", Settings{Volumes: []string{"/"}}, "hides the image"},
		{"volume slash at the end", Settings{Volumes: []string{"/data/"}}, "not a clean path"},
		{"port 0", Settings{Ports: []string{"0"}}, "1 to 65535"},
		{"port 65536", Settings{Ports: []string{"65536/tcp"}}, "1 to 65535"},
		{"port padded", Settings{Ports: []string{"080"}}, "1 to 65535"},
		{"port sign", Settings{Ports: []string{"+80"}}, "1 to 65535"},
		{"port range", Settings{Ports: []string{"80-90"}}, "1 to 65535"},
		{"port protocol", Settings{Ports: []string{"80/http"}}, "protocol"},
		{"port no protocol", Settings{Ports: []string{"80/"}}, "protocol"},
		{"signal unknown", Settings{StopSignal: "SIGFOO"}, "unknown"},
		{"signal 0", Settings{StopSignal: "0"}, "1 to 64"},
		{"signal RTMIN+16", Settings{StopSignal: "SIGRTMIN+16"}, "unknown"},
		{"signal RTMIN+", Settings{StopSignal: "SIGRTMIN+"}, "unknown"},
		{"created before 1970", Settings{Created: &old}, "created -1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.s.Validate(gzip5)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestValidateSaysAll(t *testing.T) {
	s := Settings{Env: []string{"A"}, Ports: []string{"x"}, Docker: true}
	err := s.Validate(layers.Compression{Algorithm: "zstd", Level: 3})
	for _, want := range []string{`variable "A"`, `port "x"`, "zstd"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not speak of %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") || !strings.Contains(hint.Of(err), "NAME=value") {
		t.Errorf("%q is not one line with a hint (%q)", err, hint.Of(err))
	}
}

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]string{
		"SIGRTMIN+3": "SIGRTMIN+3", "rtmin+15": "SIGRTMIN+15", "RTMAX-14": "SIGRTMAX-14", "SIGRTMIN": "SIGRTMIN",
		"term": "SIGTERM", "SIGWINCH": "SIGWINCH", "15": "15", "64": "64",
	} {
		if got, err := parseSignal(in); err != nil || got != want {
			t.Errorf("parseSignal(%q) is %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestPlatforms(t *testing.T) {
	for in, want := range map[string]string{
		"x86_64-linux": "linux/amd64", "aarch64-linux": "linux/arm64", "armv7l-linux": "linux/arm/v7", "riscv64-linux": "linux/riscv64",
		"linux/arm64": "linux/arm64", "linux/arm64/v8": "linux/arm64", "linux/arm": "linux/arm/v7", "linux/amd64": "linux/amd64",
	} {
		if p, err := ParsePlatform(in); err != nil || FormatPlatform(p) != want {
			t.Errorf("ParsePlatform(%q) is %s, %v, want %s", in, FormatPlatform(p), err, want)
		}
	}
	for in, want := range map[string]string{
		"": "unknown", "x86_64": "unknown", "aarch64-darwin": "unknown", "linux/x86_64": "unknown", "windows/amd64": "unknown", "linux//v7": "not os/architecture",
	} {
		_, err := ParsePlatform(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePlatform(%q): %v, want %q", in, err, want)
		}
	}
	_, err := closure.ParseSystem("aarch64-darwin")
	if want := "aarch64-linux"; !strings.Contains(hint.Of(err), want) {
		t.Errorf("hint for a Mac's system is %q, want it to name %s", hint.Of(err), want)
	}
}
