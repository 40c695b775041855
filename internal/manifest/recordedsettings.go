package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/mediatype"
)

// RecordedSettings returns the settings from which nixoci can make m and its config again for
// the system sys. If nixoci made m, RecordedSettings is the inverse of [NewDraft]. To check
// this, the caller makes a new draft and compares. All layers of m must have the compression
// comp.
func RecordedSettings(sys *System, m *Manifest, configData []byte, comp layers.Compression) (Settings, error) {
	fail := func(err error) (Settings, error) {
		return Settings{}, fmt.Errorf("read settings from config %s: %w", m.Config.Digest, err)
	}
	var c ocispec.Image
	if err := UnmarshalConfig(configData, &c); err != nil {
		return fail(err)
	}
	s := Settings{
		Env:         c.Config.Env,
		Labels:      c.Config.Labels,
		Annotations: map[string]string{},
		Entrypoint:  c.Config.Entrypoint,
		Cmd:         c.Config.Cmd,
		User:        c.Config.User,
		WorkingDir:  c.Config.WorkingDir,
		StopSignal:  c.Config.StopSignal,
		Ports:       slices.Sorted(maps.Keys(c.Config.ExposedPorts)),
		Volumes:     slices.Sorted(maps.Keys(c.Config.Volumes)),
		Created:     c.Created,
		Docker:      m.MediaType == mediatype.DockerManifest,
	}
	var more struct{ Config BaseConfig }
	if err := UnmarshalConfig(configData, &more); err != nil {
		return fail(err)
	}
	s.Healthcheck = more.Config.Healthcheck
	if sys.Base != nil {
		s.Shell = more.Config.Shell
	}
	// Skip annotations that follow from the system or from another setting, because the user
	// did not set them. In the index, they depend on all platforms.
	derived := sys.described()
	if s.Created != nil {
		derived[ocispec.AnnotationCreated] = s.Created.UTC().Format(time.RFC3339)
	}
	for k, v := range m.Annotations {
		if follows, ok := derived[k]; strings.HasPrefix(k, reservedPrefix) || ok && follows == v {
			continue
		}
		s.Annotations[k] = v
	}
	if err := s.Validate(comp); err != nil {
		return fail(err)
	}
	return s, nil
}
