package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/layout"
)

// checkReference returns an error for an argument that names a file or a flake output instead
// of an image, and suggests the right form. An argument with a registry host, such as
// docker.io/org/web, is always a reference, even if a file of that name exists.
func checkReference(arg string) error {
	if strings.Contains(arg, "#") {
		return usageError{hint.Add(fmt.Errorf("%q is a flake's output, not an image", arg), "push it first: nixoci push REF "+arg)}
	}
	if isHost(arg) && !exists(arg) {
		return usageError{hint.Add(fmt.Errorf("%s is a registry's host, not an image", arg),
			fmt.Sprintf("name an image there, such as %s/org/web; a repository of Docker Hub is docker.io/library/NAME", arg))}
	}
	isPath := filepath.IsAbs(arg) || strings.HasPrefix(arg, "./") || strings.HasPrefix(arg, "../") || arg == "." || arg == ".."
	if !isPath && hasHost(arg) {
		return nil
	}
	what, advice := fileAt(arg)
	switch {
	case what != "":
	case isPath:
		return usageError{hint.Add(fmt.Errorf("%s: no such file, and a reference does not begin like a path", arg), "an image in a registry is HOST/REPOSITORY:TAG")}
	case hasFileName(arg):
		return usageError{hint.Add(fmt.Errorf("%s: no such file", arg), "a repository of Docker Hub is docker.io/NAME")}
	default:
		return nil
	}
	if !isPath {
		name := arg
		if !strings.Contains(name, "/") {
			name = "library/" + name
		}
		advice += "; the repository of Docker Hub is docker.io/" + name
	}
	return usageError{hint.Add(fmt.Errorf("%s is %s, not an image in a registry", arg, what), advice)}
}

// hasHost reports whether a reference begins with a host. It follows the rule of Docker.
func hasHost(arg string) bool {
	host, _, ok := strings.Cut(arg, "/")
	return ok && (strings.ContainsAny(host, ".:") || host == "localhost")
}

// isHost reports whether a word is only a host, such as docker.io or localhost:5000.
func isHost(arg string) bool {
	host, _, _ := strings.Cut(arg, ":")
	return !strings.ContainsAny(arg, "/@#") && (host == "localhost" || strings.Contains(host, ".") && strings.Trim(host, ".") == host) && !hasFileName(arg)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// hasFileName reports whether a word ends in a file extension that does not occur in names of
// repositories.
func hasFileName(arg string) bool {
	for _, end := range []string{".tar", ".tar.gz", ".tgz", ".json", ".nix"} {
		if strings.HasSuffix(arg, end) {
			return true
		}
	}
	return false
}

// fileAt describes the file called name, and returns the form in which an image command
// accepts it. If there is no such file, both results are "".
func fileAt(name string) (what, advice string) {
	st, err := os.Stat(name)
	if err != nil {
		return "", ""
	}
	switch kind := layout.Detect(name); kind {
	case layout.SchemeLayout:
		return "an OCI layout", "name it as one: oci:" + name
	case layout.SchemeArchive:
		return "an OCI archive", "name it as one: oci-archive:" + name
	case layout.SchemeDockerArchive:
		return "an archive of docker save", "name it as one: docker-archive:" + name
	}
	if _, err := os.Stat(filepath.Join(name, "nixos-version")); err == nil && st.IsDir() {
		return "a NixOS system", "push it first: nixoci push REF " + closureWord(name)
	}
	if st.IsDir() {
		return "a directory without an OCI layout", "an image in a registry is HOST/REPOSITORY:TAG"
	}
	switch filepath.Ext(name) {
	case ".nix":
		return "a NixOS configuration", "push it first: nixoci push REF " + name
	case ".json":
		return "a JSON file", "a graph file is a CLOSURE: nixoci push REF " + name
	}
	return "a file", "an image in a file is oci-archive:FILE or docker-archive:FILE"
}

// closureWord changes the name of a file so that it can only mean a CLOSURE.
func closureWord(name string) string {
	if filepath.IsAbs(name) || strings.HasPrefix(name, ".") {
		return name
	}
	return "./" + name
}

// checkClosureFile returns an error if a CLOSURE argument names an archive or layout.
func checkClosureFile(arg string) error {
	switch what, advice := fileAt(arg); what {
	case "an OCI layout", "an OCI archive", "an archive of docker save":
		return usageError{hint.Add(fmt.Errorf("%s is %s, not a closure", arg, what), advice)}
	}
	return nil
}

// checkPushReference does the same as checkReference, for the REF of a push. If the argument
// is a CLOSURE, the error explains that the REF is missing.
func checkPushReference(command, arg string) error {
	if err := checkReference(arg); err != nil {
		if isHost(arg) && !exists(arg) {
			return err
		}
		what := "is not an image in a registry"
		if kind, _ := fileAt(arg); kind != "" {
			what = "is " + kind
		} else if strings.Contains(arg, "#") {
			what = "is a flake's output"
		}
		closure := arg
		if !strings.Contains(arg, "#") {
			closure = closureWord(arg)
		}
		return usageError{hint.Add(fmt.Errorf("%s: REF is missing: %s %s", strings.TrimPrefix(command, "nixoci "), arg, what), fmt.Sprintf("for instance: %s ghcr.io/org/web %s", command, closure))}
	}
	return nil
}
