// Package spec reads image specifications. A specification is a JSON file that
// describes an image. Its fields correspond to the flags of nixoci build.
// nix/image.nix writes such files.
//
// [Specification] is the only place that declares and documents the fields.
// [Schema] and [FieldTable] are derived from this struct.
package spec

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/hint"
	"github.com/nixoci/nixoci/internal/limit"
	"github.com/nixoci/nixoci/internal/schema"
)

// Version is the version of specifications that this nixoci reads.
const Version = 1

// Specification describes an image. If a field is missing, the default of its flag
// applies.
type Specification struct {
	Version     int               `json:"nixociImage" doc:"version of the specification: 1" flag:""`
	Contents    []string          `json:"contents" doc:"store paths of an application or a NixOS system; write SYSTEM= before one to state its platform; the first gives the image its title" flag:"CLOSURE"`
	Programs    map[string]string `json:"programs,omitempty" doc:"for each store path of contents, the program in bin that starts by default (meta.mainProgram)" flag:""`
	FromImage   string            `json:"fromImage,omitempty" doc:"base image to put an application on: a reference, oci:DIR or oci-archive:FILE; to pin a reference, add @sha256:…" flag:"from-image"`
	FromImages  map[string]string `json:"fromImages,omitempty" doc:"base image of each platform, such as linux/amd64, instead of fromImage" flag:"from-image"`
	Links       []string          `json:"links,omitempty" doc:"directories or files of the contents to show at the same place in the image" flag:"link"`
	Shell       bool              `json:"sh,omitempty" doc:"link /bin/sh to a shell of the closure" flag:"sh"`
	CACerts     bool              `json:"caCertificates,omitempty" doc:"link the closure's CA certificates to /etc/ssl/certs" flag:"ca-certificates"`
	NixDatabase bool              `json:"nixDatabase,omitempty" doc:"add a Nix database" flag:"nix-database"`
	Users       []User            `json:"users,omitempty" doc:"users in /etc/passwd beside root and nobody" flag:"add-user"`
	Files       []File            `json:"files,omitempty" doc:"files, directories and symlinks with an owner and a mode, in a separate layer" flag:""`
	Config      Config            `json:"config,omitzero" doc:"settings for the engine that starts the container" flag:""`
	Init        []string          `json:"init,omitempty" doc:"for a NixOS system: files to put at /sbin/init instead of nixoci-init, one for each platform; or none" flag:"init"`
	Annotations map[string]string `json:"annotations,omitempty" doc:"annotations of the manifests and the index" flag:"annotation"`
	Describe    map[string]string `json:"describe,omitempty" doc:"description of the image, as labels and annotations org.opencontainers.image.*: authors, description, documentation, licenses, revision, source, url, vendor" flag:"describe"`
	Created     string            `json:"created,omitempty" doc:"creation time: RFC 3339, or seconds since 1970" flag:"created"`
	Compression string            `json:"compression,omitempty" doc:"compression of the layers: gzip, zstd or none, optionally with a level" flag:"compression"`
	Format      string            `json:"format,omitempty" doc:"media types of the image: oci or docker" flag:"format"`
	Layers      Layers            `json:"layers,omitzero" doc:"how store paths are divided into layers" flag:""`
}

// User describes a line of /etc/passwd.
type User struct {
	Name string `json:"name" doc:"name of the user and of the group" flag:""`
	UID  int64  `json:"uid" doc:"user id" flag:""`
	GID  *int64 `json:"gid,omitempty" doc:"group id (default: the user id)" flag:""`
	Home string `json:"home,omitempty" doc:"home directory (default /var/empty)" flag:""`
}

// File describes a file, a directory or a symlink in the image.
type File struct {
	Path   string  `json:"path" doc:"absolute path in the image" flag:""`
	Text   *string `json:"text,omitempty" doc:"content of a file" flag:""`
	Source string  `json:"source,omitempty" doc:"file in the store to copy, of at most 1 MiB; or a directory in the store to copy with its content: everything gets the owner, but only the directory itself gets the mode" flag:""`
	Target string  `json:"target,omitempty" doc:"target of a symlink. Without text, source and target, the entry is a directory" flag:""`
	Mode   string  `json:"mode,omitempty" doc:"octal mode (default 0644, for directories and for programs in the store 0755)" flag:""`
	UID    int64   `json:"uid,omitempty" doc:"owner" flag:""`
	GID    int64   `json:"gid,omitempty" doc:"group" flag:""`
	Setuid bool    `json:"setuid,omitempty" doc:"allow the set-user-ID and set-group-ID bits in mode" flag:""`
}

// Config has the fields of an OCI image config, with lower-case names.
type Config struct {
	Entrypoint  []string          `json:"entrypoint,omitempty" doc:"entrypoint, word by word. With an empty list the image has no entrypoint and starts cmd" flag:"entrypoint"`
	Cmd         []string          `json:"cmd,omitempty" doc:"command, word by word" flag:"cmd"`
	Env         map[string]string `json:"env,omitempty" doc:"environment variables" flag:"env"`
	Labels      map[string]string `json:"labels,omitempty" doc:"labels" flag:"label"`
	User        string            `json:"user,omitempty" doc:"user that the container starts as" flag:"user"`
	WorkingDir  string            `json:"workingDir,omitempty" doc:"working directory" flag:"workdir"`
	StopSignal  string            `json:"stopSignal,omitempty" doc:"signal that stops the container" flag:"stop-signal"`
	Healthcheck *Healthcheck      `json:"healthcheck,omitempty" doc:"how the engine finds out whether the container works. podman reads a health check only from images with the format docker" flag:""`
	Ports       []string          `json:"ports,omitempty" doc:"ports that the container listens on, such as 80 or 53/udp" flag:"port"`
	Volumes     []string          `json:"volumes,omitempty" doc:"directories that are volumes" flag:"volume"`
}

// Healthcheck has the names of Docker's HealthConfig, in lower case.
type Healthcheck struct {
	Test          []string `json:"test" doc:"command, word by word, with or without CMD before it; or CMD-SHELL and a line for /bin/sh; or NONE" flag:"health-cmd"`
	Interval      string   `json:"interval,omitempty" doc:"time between two checks, such as 30s" flag:"health-interval"`
	Timeout       string   `json:"timeout,omitempty" doc:"time after which a check has failed" flag:"health-timeout"`
	StartPeriod   string   `json:"startPeriod,omitempty" doc:"time in which failed checks do not count" flag:"health-start-period"`
	StartInterval string   `json:"startInterval,omitempty" doc:"time between two checks in the start period" flag:"health-start-interval"`
	Retries       int      `json:"retries,omitempty" doc:"failed checks after which the container is unhealthy" flag:"health-retries"`
}

// Layers contains the settings that decide which store path is in which layer.
type Layers struct {
	Max      int          `json:"max,omitempty" doc:"maximum number of layers for store paths and a base image" flag:"max-layers"`
	Strategy string       `json:"strategy,omitempty" doc:"strategy of the planner, as for the flag" flag:"plan-strategy"`
	Named    []NamedLayer `json:"named,omitempty" doc:"layers with a name" flag:"layer"`
}

// NamedLayer puts all paths whose names match a glob into one layer.
type NamedLayer struct {
	Glob string `json:"glob" doc:"pattern with * and ? for names of store paths; or one store path, for this path and all that it refers to" flag:""`
	Name string `json:"name" doc:"name of the layer" flag:""`
}

// format tells package schema how to read and document specifications.
var format = schema.Format[Specification]{
	Name: "specification", Title: "nixoci image specification", VersionField: "nixociImage", Version: Version,
	Limit: limit.PlanFile, Page: "docs/specification.md",
	Unknown: map[string]string{
		"capabilities": "files of an image have no capabilities; give them to the container, such as docker run --cap-add NET_BIND_SERVICE",
	},
}

// Decode reads a specification. It returns an error for an unknown field or a newer
// version.
func Decode(r io.Reader) (*Specification, error) {
	s, err := format.Decode(r)
	if err != nil {
		return nil, err
	}
	return s, s.check()
}

func (s *Specification) check() error {
	if len(s.Contents) == 0 {
		return errors.New("read specification: contents is empty")
	}
	known := map[string]bool{}
	for _, c := range s.Contents {
		file := c
		if _, after, ok := strings.Cut(c, "="); ok && !strings.HasPrefix(c, "/") {
			file = after
		}
		if _, err := closure.ParseStorePath(file); err != nil {
			return hint.Add(fmt.Errorf("read specification: contents: %q: %w", c, err), "name store paths, with SYSTEM= before them or without")
		}
		known[file] = true
	}
	for p := range s.Programs {
		if !known[p] {
			return fmt.Errorf("read specification: programs: %s is not in contents", p)
		}
	}
	return nil
}

// Fields returns all fields, in the order of the struct [Specification].
func Fields() []schema.Field { return format.Fields() }

// FieldTable returns the list of fields as a Markdown table.
func FieldTable() string { return format.FieldTable() }

// Schema returns the JSON Schema of specifications.
func Schema() ([]byte, error) { return format.Schema() }
