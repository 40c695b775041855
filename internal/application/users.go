package application

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nixoci/nixoci/internal/hint"
)

// User describes a line of /etc/passwd, and the line of /etc/group that has the same
// name.
type User struct {
	Name string `json:"name"`
	UID  int64  `json:"uid"`
	GID  int64  `json:"gid"`
	Home string `json:"home"`
}

// noHome is the home directory of a user for whom no home directory is given. The
// directory is empty, and only root can write to it.
const noHome = "/var/empty"

// everyUser lists the users of every image.
var everyUser = []User{
	{Name: "root", Home: "/root"},
	{Name: "nobody", UID: 65534, GID: 65534, Home: noHome},
}

// maxID is the largest user or group id in Linux. In system calls, the next number
// means that the id does not change.
const maxID = 1<<32 - 2

var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)

// ParseUser parses NAME=UID[:GID[:HOME]].
func ParseUser(s string) (User, error) {
	fail := func(why string) (User, error) {
		return User{}, hint.Add(fmt.Errorf("user %q: %s", s, why), "write NAME=UID, NAME=UID:GID or NAME=UID:GID:HOME, such as app=1000")
	}
	name, ids, ok := strings.Cut(s, "=")
	if !ok {
		return fail("no =")
	}
	parts := strings.SplitN(ids, ":", 3)
	u := User{Name: name, Home: noHome}
	var err error
	if u.UID, err = strconv.ParseInt(parts[0], 10, 64); err != nil {
		return fail("the user id is not a number")
	}
	u.GID = u.UID
	if len(parts) > 1 {
		if u.GID, err = strconv.ParseInt(parts[1], 10, 64); err != nil {
			return fail("the group id is not a number")
		}
	}
	if len(parts) > 2 {
		u.Home = parts[2]
	}
	if err := u.check(); err != nil {
		return User{}, err
	}
	return u, nil
}

func (u *User) check() error {
	switch {
	case !userName.MatchString(u.Name):
		return hint.Add(fmt.Errorf("user %q: not a name for a user", u.Name), "lower-case letters, digits, - and _, at most 31 of them, a letter or _ first")
	case u.UID < 0 || u.UID > maxID || u.GID < 0 || u.GID > maxID:
		return fmt.Errorf("user %s: ids are from 0 to %d", u.Name, int64(maxID))
	case !path.IsAbs(u.Home) || path.Clean(u.Home) != u.Home || strings.ContainsAny(u.Home, ":\n"):
		return fmt.Errorf("user %s: home %q is not an absolute path", u.Name, u.Home)
	}
	return nil
}

// checkUsers refuses users that conflict with each other, with root or with nobody.
func checkUsers(users []User) error {
	all := slices.Clone(everyUser)
	for _, u := range users {
		if err := u.check(); err != nil {
			return err
		}
		for _, other := range all {
			switch {
			case other.Name == u.Name:
				return fmt.Errorf("user %s: another user has this name", u.Name)
			case other.UID == u.UID:
				return fmt.Errorf("user %s: %s has the id %d already", u.Name, other.Name, u.UID)
			case other.GID == u.GID:
				return fmt.Errorf("user %s: the group of %s has the id %d already", u.Name, other.Name, u.GID)
			}
		}
		all = append(all, u)
	}
	return nil
}

// users returns all users of the image, sorted by user id.
func (c *Choices) users() []User {
	all := append(slices.Clone(everyUser), c.Users...)
	slices.SortFunc(all, func(a, b User) int { return int(min(1, max(-1, a.UID-b.UID))) })
	return all
}

// HasShell reports whether /bin/sh in the image links to a file of the closure.
func (a *Application) HasShell() bool {
	_, ok := a.target("/" + shellFile)
	return ok
}

// Passwd returns the content of /etc/passwd.
func (a *Application) Passwd() []byte {
	var b strings.Builder
	shell := "/bin/false"
	if a.HasShell() {
		shell = "/" + shellFile
	}
	for _, u := range a.users() {
		fmt.Fprintf(&b, "%s:x:%d:%d::%s:%s\n", u.Name, u.UID, u.GID, u.Home, shell)
	}
	return []byte(b.String())
}

// Group returns the content of /etc/group.
func (a *Application) Group() []byte {
	var b strings.Builder
	for _, u := range a.users() {
		fmt.Fprintf(&b, "%s:x:%d:\n", u.Name, u.GID)
	}
	return []byte(b.String())
}

// Nsswitch is the content of /etc/nsswitch.conf. Without this file, some versions
// of glibc do not use DNS, and others do not read /etc/hosts first.
const Nsswitch = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nservices: files\nprotocols: files\n"

// checkRunAs checks the setting USER or USER:GROUP. It refuses the name of a user or
// group that the image does not have. A number is always allowed.
func (r *Reader) checkRunAs(app *Application, setting string) error {
	user, group, both := strings.Cut(setting, ":")
	for _, side := range []struct {
		what, name string
		wanted     bool
	}{{"passwd", user, true}, {"group", group, both}} {
		if _, err := strconv.ParseUint(side.name, 10, 32); err == nil || !side.wanted || side.name == "" {
			continue
		}
		names, err := r.names(app, side.what)
		if err != nil {
			return err
		}
		if !slices.Contains(names, side.name) {
			return hint.Add(fmt.Errorf("user %q: %s is not in /etc/%s, which has %s", setting, side.name, side.what, some(names)),
				"add the user: --add-user "+side.name+"=1000; or give a number: --user 1000")
		}
	}
	return nil
}

// names returns the names in /etc/passwd or /etc/group. If the image links this file
// to a file of the closure, names reads the file of the closure.
func (r *Reader) names(app *Application, file string) ([]string, error) {
	text := string(app.Passwd())
	if file == "group" {
		text = string(app.Group())
	}
	if target, ok := app.target("/etc/" + file); ok {
		p, name, _ := splitStorePath(target)
		data, err := r.readFile(p, name)
		if err != nil {
			return nil, err
		}
		text = string(data)
	}
	var names []string
	for line := range strings.Lines(text) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, name)
		}
	}
	return names, nil
}
