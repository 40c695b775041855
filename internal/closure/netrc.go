package closure

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/nixoci/nixoci/internal/limit"
)

// netrcUser returns the login for host from the first netrc file that contains such a
// login, or nil. The first file is $NETRC or else ~/.netrc. The second file is the netrc
// that cachix and attic write beside the user's nix.conf. The third file is the default
// of Nix's option netrc-file.
func netrcUser(host string) (*url.Userinfo, error) {
	var files []string
	if f := os.Getenv("NETRC"); f != "" {
		files = append(files, f)
	} else if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ".netrc"))
	}
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		files = append(files, filepath.Join(dir, "nix", "netrc"))
	} else if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ".config", "nix", "netrc")) // Nix uses this directory on macOS, too
	}
	for _, file := range append(files, "/etc/nix/netrc") {
		data, err := limit.ReadFile(file, limit.Netrc)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read netrc: %w", err)
		}
		if u := parseNetrc(string(data), host); u != nil {
			return u, nil
		}
	}
	return nil, nil
}

// parseNetrc returns the first login for host or for "default", as curl does (curl's
// manual, "netrc"). It skips macros.
func parseNetrc(text, host string) *url.Userinfo {
	var words []string
	macro := false
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
			macro = false // an empty line ends a macro
		case macro || strings.HasPrefix(fields[0], "#"):
		case fields[0] == "macdef":
			macro = true
		default:
			words = append(words, fields...)
		}
	}
	here := false
	var login, password string
	found := func() *url.Userinfo {
		if here && (login != "" || password != "") {
			return url.UserPassword(login, password)
		}
		return nil
	}
	for i := 0; i < len(words); i++ {
		next := ""
		if i+1 < len(words) {
			next = words[i+1]
		}
		switch words[i] {
		case "machine", "default":
			if u := found(); u != nil {
				return u
			}
			login, password = "", ""
			here = words[i] == "default" || next == host
			if words[i] == "machine" {
				i++
			}
		case "login":
			login = next
			i++
		case "password":
			password = next
			i++
		case "account":
			i++
		}
	}
	return found()
}
