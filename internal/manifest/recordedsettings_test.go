package manifest

import (
	"bytes"
	"testing"

	"github.com/nixoci/nixoci/internal/layers"
)

func TestRecordedSettings(t *testing.T) {
	guest := smallSystem(t, "aarch64-linux")
	guest.Guest, guest.Own = true, guestInit
	docker := everySetting()
	docker.Docker = true
	for _, tt := range []struct {
		name string
		sys  *System
		s    Settings
		comp layers.Compression
	}{
		{"zero", smallSystem(t, "x86_64-linux"), Settings{}, gzip5},
		{"guest", guest, Settings{}, layers.Compression{Algorithm: layers.Zstd, Level: 3}},
		{"guest with the entrypoint said", guest, Settings{Entrypoint: []string{defaultInit}}, gzip5},
		{"guest with another entrypoint", guest, Settings{Entrypoint: []string{"/bin/sh"}}, gzip5},
		{"all", guest, everySetting(), layers.Compression{Algorithm: layers.None}},
		{"docker", smallSystem(t, "x86_64-linux"), docker, gzip5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			packed := smallLayers(tt.sys, tt.comp, "x")
			img, err := imageOf(tt.sys, packed, tt.s)
			if err != nil {
				t.Fatal(err)
			}
			m, err := ParseManifest(img.Manifest.Data, "")
			if err != nil {
				t.Fatal(err)
			}
			s, err := RecordedSettings(tt.sys, m, img.Config.Data, tt.comp)
			if err != nil {
				t.Fatal(err)
			}
			again, err := imageOf(tt.sys, packed, s)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again.Config.Data, img.Config.Data) || !bytes.Equal(again.Manifest.Data, img.Manifest.Data) {
				t.Errorf("made again with %+v:\n%s\n%s\nwas\n%s\n%s", s, again.Config.Data, again.Manifest.Data, img.Config.Data, img.Manifest.Data)
			}
			index, err := NewIndex([]*PlatformImage{img}, tt.s)
			if err != nil {
				t.Fatal(err)
			}
			index2, err := NewIndex([]*PlatformImage{again}, s)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(index2.Data, index.Data) {
				t.Errorf("index made again:\n%s\nwas\n%s", index2.Data, index.Data)
			}
		})
	}
}
