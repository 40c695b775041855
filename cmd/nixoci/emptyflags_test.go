package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestEmptyFlags checks that nixoci reports a flag with an empty value as wrong usage, and
// does not treat it as a flag that was not given.
func TestEmptyFlags(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, tt := range []struct{ args, want string }{
		{"verify|localhost:1/web|--policy|", "--policy: the file name is empty"},
		{"verify|localhost:1/web|--policy=", "--policy: the file name is empty"},
		{"verify|localhost:1/web|--policy=a.json|--policy=b.json", `--policy "b.json": "a.json" is given already`},
		{"verify|localhost:1/web|--policy=|--policy=b.json", `--policy "b.json": "" is given already`},
		{"verify|localhost:1/web|--against|", "--against: the value is empty"},
		{"verify|localhost:1/web|--platform|", "--platform: the value is empty"},
		{"verify|localhost:1/web|--platform|linux/amd64,", "--platform: the value is empty"},
		{"verify|localhost:1/web|--from-image|", "--from-image: the value is empty"},
		{"verify|localhost:1/web|--attest-time|", "--attest-time: the value is empty"},
		{"verify|localhost:1/web|--verifier-id|", "--verifier-id: the value is empty"},
		{"verify|localhost:1/web|--attest-to|", "--attest-to: the value is empty"},
		{"verify|localhost:1/web|--key|", "--key: the file name is empty"},
		{"verify|localhost:1/web|--key|a.pub|--key|", "--key: the file name is empty"},
		{"verify|localhost:1/web|--rebuilder-key|", "--rebuilder-key: the file name is empty"},
		{"verify|localhost:1/web|--rebuilders-from|", "--rebuilders-from: the value is empty"},
		{"verify|localhost:1/web|--require-attestation|", "--require-attestation: the value is empty"},
		{"verify|localhost:1/web|--trusted-public-key|", "--trusted-public-key: the value is empty"},
		{"verify|localhost:1/web|--spec|", "--spec: the file name is empty"},
		{"push|localhost:1/web|--attest|sbom|--key|", "--key: the file name is empty"},
		{"push|localhost:1/web|--attest|", "--attest: the value is empty"},
		{"push|localhost:1/web|--reuse-key|", "--reuse-key: the file name is empty"},
		{"push|localhost:1/web|--ca-file|", "--ca-file: the file name is empty"},
		{"attest|localhost:1/web|--type|spdx|--key|", "--key: the file name is empty"},
		{"attest|localhost:1/web|--type|spdx|--key|a|--predicate|", "--predicate: the file name is empty"},
		{"sign|localhost:1/web|--key|", "--key: the file name is empty"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Split(tt.args, "|"), strings.NewReader(""), &stdout, &stderr)
		if code != exitUsage || !strings.Contains(stderr.String(), tt.want) || stdout.Len() > 0 {
			t.Errorf("%s: exit code %d, %s%s, want %q", tt.args, code, stdout.String(), stderr.String(), tt.want)
		}
	}
}

// TestEmptyMeans checks that each entry of emptyMeans names a flag of some command.
func TestEmptyMeans(t *testing.T) {
	seen := map[string]bool{}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { seen[f.Name] = true })
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit((&app{}).rootCommand())
	for name := range emptyMeans {
		if !seen[name] {
			t.Errorf("no command has a flag --%s", name)
		}
	}
}
