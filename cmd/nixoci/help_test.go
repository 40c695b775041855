package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/nixoci/nixoci/internal/terminal"
)

func testApp() (*app, *bytes.Buffer) {
	var stderr bytes.Buffer
	return &app{stdout: terminal.New(&bytes.Buffer{}), stderr: terminal.New(&stderr), color: "never"}, &stderr
}

func eachCommand(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		eachCommand(sub, f)
	}
}

// TestFlagTable checks that each flag has an entry in flagTable with a value name
// and a completion, and that each entry belongs to a flag.
func TestFlagTable(t *testing.T) {
	a, _ := testApp()
	used := map[string]bool{}
	root := a.rootCommand()
	a.completeFlags(root)
	eachCommand(root, func(c *cobra.Command) {
		if c.HasParent() && c.Parent().Name() == "completion" {
			return // cobra itself makes this flag
		}
		c.InitDefaultHelpFlag()
		c.InitDefaultVersionFlag()
		c.Flags().VisitAll(func(f *pflag.Flag) {
			key := c.Name() + " " + f.Name
			if _, ok := flagTable[key]; !ok {
				key = f.Name
			}
			info, ok := flagTable[key]
			used[key] = true
			isSwitch := f.Value.Type() == "bool"
			switch {
			case !ok:
				t.Errorf("%s --%s: not in flagTable", c.CommandPath(), f.Name)
			case isSwitch != (info.value == ""):
				t.Errorf("%s --%s: the value is called %q", c.CommandPath(), f.Name, info.value)
			case isSwitch != (info.complete == nil):
				t.Errorf("%s --%s: its completion is missing, or it needs none", c.CommandPath(), f.Name)
			}
			if _, ok := c.GetFlagCompletionFunc(f.Name); !isSwitch && !ok {
				t.Errorf("%s --%s: no completion is registered", c.CommandPath(), f.Name)
			}
		})
		for _, arg := range argumentsOf(c) {
			if _, ok := argumentCompletion[arg.name]; !ok {
				t.Errorf("%s %s: no completion", c.CommandPath(), arg.name)
			}
		}
		if strings.Count(c.CommandPath(), " ") == 1 && c.GroupID == "" && !c.Hidden && c.Name() != "help" && c.Name() != "completion" && c.Name() != "version" {
			t.Errorf("%s: in no group of commands", c.CommandPath())
		}
	})
	for key := range flagTable {
		if !used[key] {
			t.Errorf("flagTable has %q, which no command has", key)
		}
	}
}

// TestHelp checks --help: the groups are in the right order, only flags of the command
// appear, and no line is wider than the terminal.
func TestHelp(t *testing.T) {
	for _, c := range []struct {
		args   []string
		order  []string
		absent []string
	}{
		{[]string{"--help"}, []string{"\nMake images:\n  push ", "\nInspect images:\n", "\nSign and verify images:\n", "\nManage registries and", "\nMore:\n", "\nOutput:\n"}, []string{"--platform PLATFORM", "docs "}},
		{[]string{"push", "--help"}, []string{"  nixoci push REF [CLOSURE...] [flags]\n", "\nImage:\n", "--env NAME=VALUE", "\nLayers:\n", "\nReuse:\n", "\nTrust:\n", "\nRegistry:\n", "\nOutput:\n"}, []string{"stringArray", "[]"}},
		{[]string{"version", "--help"}, []string{"\nOutput:\n", "--json"}, []string{"--from", "--platform", "--jobs", "Image:"}},
		{[]string{"help", "cache"}, []string{"nixoci cache COMMAND", "\nCommands:\n", "prune"}, []string{"--json"}},
		{[]string{"help", "cache", "prune"}, []string{"nixoci cache prune", "--older-than"}, nil},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), c.args, nil, &stdout, &stderr); code != exitOK {
			t.Fatalf("%s: exit code %d: %s", c.args, code, &stderr)
		}
		rest := stdout.String()
		for _, want := range c.order {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Fatalf("%s: no %q, or not in its place:\n%s", c.args, want, &stdout)
			}
			rest = want[len(want)-1:] + after
		}
		for _, not := range c.absent {
			if strings.Contains(stdout.String(), not) {
				t.Errorf("%s: %q is there:\n%s", c.args, not, &stdout)
			}
		}
		flags := false
		for line := range strings.Lines(stdout.String()) {
			flags = flags || line == "Output:\n"
			if flags && len([]rune(line)) > helpColumns+1 {
				t.Errorf("%s: a line of %d columns: %s", c.args, len([]rune(line)), line)
			}
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct{ args, err, hint string }{
		{"push", "nixoci: push: REF is missing", "for instance: nixoci push ghcr.io/org/web ./result"},
		{"diff a", "nixoci: diff: B is missing", "for instance: nixoci diff "},
		{"index create REF", "IMAGE is missing", "for instance: "},
		{"login a b", `nixoci: login: "b" is one argument too many`, "usage: nixoci login HOST"},
		{"logout", "HOST is missing", "usage: nixoci logout HOST"},
		{"build", "nixoci: build: -o DEST is missing", "for instance: nixoci build -o "},
		{"pusj", `unknown command "pusj"`, "did you mean push?"},
		{"help foo", `unknown command "foo"`, "--help lists the commands"},
		{"help cache prone", `nixoci: cache: unknown command "prone"`, "did you mean prune?"},
		{"cache foo", `nixoci: cache: unknown command "foo"`, "nixoci cache --help"},
		{"push --plaform x", "unknown flag --plaform", "did you mean --platform?"},
		{"push --comp x", "unknown flag --comp", "did you mean --compression?"},
		{"version --from x", "unknown flag --from", "--from is a flag of build, diff, plan, push, sbom, verify"},
		{"push -Z", "unknown flag -Z", "--help lists the flags"},
		{"push --jobs many", `nixoci: push: --jobs "many": not a whole number`, ""},
		{"push --jobs 99999999999999999999", "--jobs \"99999999999999999999\": the number is out of range", ""},
		{"push --join=perhaps", `--join "perhaps": not true or false`, ""},
		{"cache prune --older-than soon", `--older-than "soon": not a time such as 720h`, ""},
		{"push --tag", "--tag: TAG is missing", ""},
		{"push r --reuse all", `--reuse "all": not registry, local, both or none`, ""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(c.args), nil, &stdout, &stderr)
		first, rest, _ := strings.Cut(stderr.String(), "\n")
		if code != exitUsage || !strings.Contains(first, c.err) || !strings.Contains(rest, c.hint) || stdout.Len() > 0 {
			t.Errorf("%s: exit code %d, stdout %q, stderr:\n%s", c.args, code, &stdout, &stderr)
		}
		if strings.Contains(stderr.String(), "strconv") {
			t.Errorf("%s: %s", c.args, &stderr)
		}
	}
}

func TestParseReuse(t *testing.T) {
	for s, want := range map[string]reuse{"both": {true, true}, "local,registry": {true, true}, "none": {}, "local": {local: true}} {
		if got, err := parseReuse(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
}

// TestRepeatedWarnings checks that a repeated warning is printed once, and once
// more at the end with its count.
func TestRepeatedWarnings(t *testing.T) {
	a, stderr := testApp()
	if err := a.setup(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		a.log.Warn(errors.New("the cache is full"))
		a.log.Info("again")
	}
	a.log.Warn("another")
	a.sayRepeats()
	want := "warning: the cache is full\ninfo: again\ninfo: again\ninfo: again\nwarning: another\nwarning: the cache is full (3 times in all)\n"
	if stderr.String() != want {
		t.Errorf("stderr:\n%s", stderr)
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"push", "push", 0}, {"push", "psuh", 1}, {"platform", "plaform", 1}, {"tag", "from", 4}, {"a", "", 1}} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// TestReflow checks that paragraphs are wrapped and lists are not changed.
func TestReflow(t *testing.T) {
	const text = "one two three\nfour five\n\nlist:\n  a  b\n  c  d\n\nlast"
	for columns, want := range map[int]string{
		80: "one two three four five\n\nlist:\n  a  b\n  c  d\n\nlast",
		10: "one two\nthree four\nfive\n\nlist:\n  a  b\n  c  d\n\nlast",
	} {
		if got := reflow(text, columns); got != want {
			t.Errorf("%d columns: %q, want %q", columns, got, want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	for word, want := range map[string]string{"bth": "did you mean both?", "regsitry": "did you mean registry?", "x": "", "everything": ""} {
		if got := didYouMean(word, "registry", "local", "both", "none"); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
