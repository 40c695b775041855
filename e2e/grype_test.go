//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// grypeModule is the module of the scanner grype. run.sh builds the program from this version.
const grypeModule = "github.com/anchore/grype v0.121.3"

// grypeDB is a program that writes a vulnerability database for grype into a directory. The
// database lists two CVEs of nginx before version 1.27.
const grypeDB = `package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/spf13/afero"
)

func main() {
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(dir string) error {
	db, err := v6.NewWriter(v6.Config{DBDirPath: dir, CacheSizeKiB: 1024})
	if err != nil {
		return err
	}
	now := time.Now()
	err = errors.Join(db.SetDBMetadata(), db.AddProvider(v6.Provider{ID: "nvd", Version: "1", Processor: "e2e", DateCaptured: &now}))
	for _, cve := range []string{"CVE-2023-44487", "CVE-2099-0001"} {
		v := &v6.VulnerabilityHandle{Name: cve, Status: v6.VulnerabilityActive, ProviderID: "nvd", BlobValue: &v6.VulnerabilityBlob{ID: cve}}
		err = errors.Join(err, db.AddVulnerabilities(v))
		err = errors.Join(err, db.AddAffectedCPEs(&v6.AffectedCPEHandle{
			VulnerabilityID: v.ID,
			CPE:             &v6.Cpe{Part: "a", Vendor: "f5", Product: "nginx"},
			BlobValue:       &v6.PackageBlob{CVEs: []string{cve}, Ranges: []v6.Range{{Version: v6.Version{Constraint: "< 1.27"}}}},
		}))
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	_, err = v6.WriteImportMetadata(afero.NewOsFs(), dir, "e2e")
	return err
}
`

var (
	grypeOnce sync.Once
	grypeVars []string
)

// grypeEnv returns environment variables with which grype uses the database of the test and no
// network. The first call makes the database.
func grypeEnv(t *testing.T) []string {
	t.Helper()
	grypeOnce.Do(func() {
		dir := scratchDir(t)
		put(t, filepath.Join(dir, "main.go"), grypeDB)
		put(t, filepath.Join(dir, "go.mod"), "module database\n\ngo 1.26.0\n\nrequire "+grypeModule+"\n")
		// tool.sh uses the same flags, so Go reuses the packages that it compiled for grype.
		build := exec.Command("go", "build", "-mod=mod", "-trimpath", "-ldflags", "-s -w", "-o", "database", ".")
		build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build the program for the database: %v\n%s", err, out)
		}
		cache := filepath.Join(lab.scratch, "grype-db")
		database := filepath.Join(cache, "6")
		command(t, "mkdir", "-p", database)
		command(t, filepath.Join(dir, "database"), database)
		grypeVars = []string{"GRYPE_DB_CACHE_DIR=" + cache, "GRYPE_DB_AUTO_UPDATE=false", "GRYPE_DB_VALIDATE_AGE=false", "GRYPE_CHECK_FOR_APP_UPDATE=false"}
	})
	if grypeVars == nil {
		t.Fatal("grype has no database")
	}
	return grypeVars
}

// TestGrype checks that grype finds the vulnerabilities of packages in bills of materials of each
// format. It finds them by the CPEs from nixpkgs. With nixoci's OpenVEX document, grype must ignore
// the vulnerability for which nixpkgs applies a patch, and no other.
func TestGrype(t *testing.T) {
	t.Parallel()
	dir := scratchDir(t)
	vex, err := filepath.Abs(goldenSBOMs(t, "openvex")[0].name)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"spdx", "spdx3", "cyclonedx"} {
		sbom, err := filepath.Abs("../internal/report/testdata/meta." + format + ".json")
		if err != nil {
			t.Fatal(err)
		}
		found, _ := grype(t, dir, "sbom:"+sbom)
		if strings.Join(found, " ") != "CVE-2023-44487/nginx@1.26.1 CVE-2099-0001/nginx@1.26.1" {
			t.Errorf("%s: grype finds %q", format, found)
		}
		found, ignored := grype(t, dir, "sbom:"+sbom, "--vex", vex)
		if strings.Join(found, " ") != "CVE-2099-0001/nginx@1.26.1" || strings.Join(ignored, " ") != "CVE-2023-44487/nginx@1.26.1" {
			t.Errorf("%s with the OpenVEX document: grype finds %q and ignores %q", format, found, ignored)
		}
	}
	for _, p := range platforms {
		file := filepath.Join(dir, p.arch+".json")
		put(t, file, run{}.ok(t, "sbom", graphFile("large-"+p.nix), "--format", "cyclonedx").stdout)
		grype(t, dir, "sbom:"+file)
	}
	report(t, "grype reads SPDX 2.3 and 3.0, CycloneDX and OpenVEX")
}

// grype runs grype with the database in dir. It returns the vulnerabilities that grype reports, and
// those that it ignores, each in the form CVE/PACKAGE@VERSION.
func grype(t *testing.T, dir string, args ...string) (found, ignored []string) {
	t.Helper()
	cmd := exec.Command(tool("grype"), append(args, "-q", "-o", "json")...)
	cmd.Env = append(append(os.Environ(), "HOME="+dir, "TMPDIR="+dir), grypeEnv(t)...)
	out, err := cmd.Output()
	var result struct {
		Matches, IgnoredMatches []struct {
			Vulnerability struct{ ID string }
			Artifact      struct{ Name, Version string }
		}
	}
	if err == nil {
		err = json.Unmarshal(out, &result)
	}
	if err != nil {
		t.Fatalf("grype %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	for _, m := range result.Matches {
		found = append(found, fmt.Sprintf("%s/%s@%s", m.Vulnerability.ID, m.Artifact.Name, m.Artifact.Version))
	}
	for _, m := range result.IgnoredMatches {
		ignored = append(ignored, fmt.Sprintf("%s/%s@%s", m.Vulnerability.ID, m.Artifact.Name, m.Artifact.Version))
	}
	return found, ignored
}
