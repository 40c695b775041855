package main

import (
	"maps"
	"os"
	"slices"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nixoci/nixoci/internal/keyless/keylesstest"
)

// cmdSigstore starts a simulated deployment of Sigstore: sigstore NAME. It writes the trust root
// NAME.root.json, and the signing configs NAME.config.json (Rekor 1) and NAME.config2.json (Rekor 2).
// It sets $NAME to the URL of the deployment.
func cmdSigstore(ts *testscript.TestScript, neg bool, args []string) {
	s, err := keylesstest.New()
	ts.Check(err)
	ts.Defer(s.Close)
	for file, data := range map[string][]byte{
		".root.json": s.TrustedRoot(keylesstest.Root{}), ".config.json": s.SigningConfig(1), ".config2.json": s.SigningConfig(2),
	} {
		ts.Check(os.WriteFile(ts.MkAbs(args[0]+file), data, 0o600))
	}
	setenv(ts, args[0], s.URL())
	deployments[s.URL()] = s
}

// deployments holds the deployments of all scripts, by URL.
var deployments = map[string]*keylesstest.Sigstore{}

// cmdToken sets environment variables of the script, so that nixoci signs as SUBJECT:
//
//	token NAME SUBJECT          sets $SIGSTORE_ID_TOKEN to a token of the deployment NAME
//	token NAME SUBJECT github   sets the variables of a job of GitHub Actions
//	token NAME SUBJECT expired  sets $SIGSTORE_ID_TOKEN to an expired token
func cmdToken(ts *testscript.TestScript, neg bool, args []string) {
	s := deployments[ts.Getenv(args[0])]
	github := s.GitHubVariables(args[1])
	for _, name := range slices.Sorted(maps.Keys(github)) {
		setenv(ts, name, "")
	}
	setenv(ts, "SIGSTORE_ID_TOKEN", "")
	claims := keylesstest.Claims{Subject: args[1]}
	switch {
	case len(args) == 2:
	case args[2] == "github":
		for name, value := range github {
			setenv(ts, name, value)
		}
		return
	case args[2] == "expired":
		claims.Expires = time.Now().Add(-time.Hour)
	default:
		ts.Fatalf("usage: token NAME SUBJECT [github|expired]")
	}
	setenv(ts, "SIGSTORE_ID_TOKEN", s.Token(claims))
}
