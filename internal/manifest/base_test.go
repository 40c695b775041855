package manifest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/application"
	"github.com/nixoci/nixoci/internal/closure"
	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/mediatype"
	"github.com/nixoci/nixoci/internal/oci"
)

var amd64 = ocispec.Platform{OS: "linux", Architecture: "amd64"}

// baseManifest returns the manifest of a base image with n layers, and its config.
func baseManifest(t testing.TB, n int, config []byte) (oci.Blob, []byte) {
	t.Helper()
	m := map[string]any{"schemaVersion": 2, "mediaType": mediatype.DockerManifest,
		"config": ocispec.Descriptor{MediaType: mediatype.DockerConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}}
	var all []ocispec.Descriptor
	for i := range n {
		all = append(all, ocispec.Descriptor{MediaType: mediatype.DockerLayerGzip, Digest: digest.FromString(fmt.Sprint("layer", i)), Size: int64(100 + i),
			Annotations: map[string]string{"io.nixoci.layer.recipe": "x", "containerd.io/snapshot/stargz/toc.digest": "y"}})
	}
	m["layers"] = all
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return oci.Blob{Descriptor: ocispec.Descriptor{MediaType: mediatype.DockerManifest, Digest: digest.FromBytes(data), Size: int64(len(data))}, Data: data}, config
}

// parseBase returns the base with this manifest and this config.
func parseBase(name string, blob oci.Blob, config []byte) (*Base, error) {
	image, err := ParseBaseImage(blob)
	if err != nil {
		return nil, err
	}
	d, err := image.Find(amd64)
	if err != nil {
		return nil, err
	}
	m, err := ParseBaseManifest(blob)
	if err != nil {
		return nil, err
	}
	c, err := ParseBaseConfig(m, config, amd64)
	if err != nil {
		return nil, err
	}
	return NewBase(name, image.Digest(), d, c, nil), nil
}

// baseConfig returns a config with n diffIDs, one for each layer.
func baseConfig(n int, config string) []byte {
	var ids []string
	for i := range n {
		ids = append(ids, `"`+digest.FromString(fmt.Sprint("tar", i)).String()+`"`)
	}
	return fmt.Appendf(nil, `{"os":"linux","architecture":"amd64","config":%s,"rootfs":{"type":"layers","diff_ids":[%s]}}`, config, strings.Join(ids, ","))
}

// smallApplication returns an application with the closure smallClosure. start is its
// program, "" for none.
func smallApplication(t testing.TB, start string) *System {
	t.Helper()
	c := smallClosure(t)
	app := &application.Application{Choices: application.Choices{Roots: []closure.StorePath{c.Roots[0]}}, Platform: amd64, Path: []string{"/nix/store/x/bin"}, Start: start}
	return NewApplication(nil, c, app)
}

// draftOn makes a draft of sys with the layers above the base image.
func draftOn(t testing.TB, sys *System, s Settings) (*Draft, []layers.Packed, error) {
	t.Helper()
	var ls []*layers.Layer
	var packed []layers.Packed
	for _, l := range smallLayers(sys, gzip5, "")[:1] {
		ls, packed = append(ls, l.Layer), append(packed, l.Packed)
	}
	last, err := LastLayer(sys, gzip5)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDraft(sys, append(ls, last), s)
	return d, append(packed, madeUp(last, "last").Packed), err
}

// checkRecorded checks that nixoci can make the image again from what the image records.
// verify does this without the base.
func checkRecorded(t testing.TB, sys *System, s Settings) {
	t.Helper()
	d, packed, err := draftOn(t, sys, s)
	if err != nil {
		return // the base has a setting that no image may have
	}
	img, err := d.Image(packed)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseManifest(img.Manifest.Data, "")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := m.BaseLayers(); err != nil || n != sys.Base.Count {
		t.Fatalf("%d layers of the base, %v", n, err)
	}
	var config ocispec.Image
	if err := json.Unmarshal(img.Config.Data, &config); err != nil {
		t.Fatal(err)
	}
	recorded, err := RecordedBase(sys.Base.BaseInfo, m, &config)
	if err != nil {
		t.Fatal(err)
	}
	again := sys.On(recorded)
	settings, err := RecordedSettings(again, m, img.Config.Data, gzip5)
	if err != nil {
		t.Fatalf("%v\n%s", err, img.Config.Data)
	}
	twice, packed, err := draftOn(t, again, settings)
	if err != nil {
		t.Fatalf("%v\n%s", err, img.Config.Data)
	}
	made, err := twice.Image(packed)
	if err != nil {
		t.Fatal(err)
	}
	if string(made.Config.Data) != string(img.Config.Data) {
		t.Fatalf("config made again:\n%s\n%s", made.Config.Data, img.Config.Data)
	}
	if made.Manifest.Descriptor.Digest != img.Manifest.Descriptor.Digest {
		t.Fatalf("manifest made again:\n%s\n%s", made.Manifest.Data, img.Manifest.Data)
	}
}

const richConfig = `{"User":"daemon","Env":["A=1","PATH=/b","A=2","noequals","=x"],"Entrypoint":["e"],"Cmd":["c"],"WorkingDir":"w/../x/","StopSignal":"3",
	"ExposedPorts":{"80":{},"53/udp":{}},"Volumes":{"/":{},"data//":{}},"Labels":{"a":"b","org.opencontainers.image.title":"t","io.nixoci.x":"y","two words":"z"},
	"Healthcheck":{"Test":["NONE"],"StartInterval":5},"Shell":["/bin/bash"],"OnBuild":["RUN x"]}`

func TestBaseIsRecorded(t *testing.T) {
	for _, start := range []string{"/nix/store/x/bin/x", ""} {
		for _, config := range []string{richConfig, `{"Cmd":["sh"]}`, `{"Entrypoint":[],"Env":["PATH="]}`, `null`, `{}`} {
			for _, s := range []Settings{{}, {Docker: true, User: "7", Env: []string{"A=3"}, Annotations: map[string]string{ocispec.AnnotationBaseImageName: "mine"}},
				{Entrypoint: []string{"/bin/own"}, Cmd: []string{}, Labels: map[string]string{"a": "mine"}}} {
				blob, data := baseManifest(t, 3, baseConfig(3, config))
				base, err := parseBase("docker.io/library/base:1", blob, data)
				if err != nil {
					t.Fatal(err)
				}
				checkRecorded(t, smallApplication(t, start).On(base), s)
			}
		}
	}
}

// TestBaseConfig checks which settings of a base image appear in the config: docs/format.md,
// 8.5.
func TestBaseConfig(t *testing.T) {
	config := func(start, config string, s Settings) string {
		t.Helper()
		blob, data := baseManifest(t, 1, baseConfig(1, config))
		base, err := parseBase("", blob, data)
		if err != nil {
			t.Fatal(err)
		}
		d, _, err := draftOn(t, smallApplication(t, start).On(base), s)
		if err != nil {
			t.Fatal(err)
		}
		rc := d.config.Config
		rc.Labels = map[string]string{"a": rc.Labels["a"], "has": fmt.Sprint(rc.Labels["io.nixoci.x"], rc.Labels["two words"], rc.Labels[ocispec.AnnotationTitle])}
		text, err := oci.Marshal(rc)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	title := smallApplication(t, "").described()[ocispec.AnnotationTitle]
	labels := func(a string) string { return `"Labels":{"a":"` + a + `","has":"` + title + `"}` }
	for _, tt := range []struct {
		name, start, base string
		s                 Settings
		want              string
	}{
		{"ours starts", "/x", richConfig, Settings{}, `{"User":"daemon","ExposedPorts":{"53/udp":{},"80/tcp":{}},"Env":["PATH=/nix/store/x/bin:/b","A=2"],"Entrypoint":["/x"],` +
			`"Volumes":{"/data":{}},"WorkingDir":"/x",` + labels("b") + `,"Shell":["/bin/bash"]}`},
		{"the base's starts", "", richConfig, Settings{}, `{"User":"daemon","ExposedPorts":{"53/udp":{},"80/tcp":{}},"Env":["PATH=/nix/store/x/bin:/b","A=2"],"Entrypoint":["e"],"Cmd":["c"],` +
			`"Volumes":{"/data":{}},"WorkingDir":"/x",` + labels("b") + `,"StopSignal":"3","Healthcheck":{"Test":["NONE"],"StartInterval":5},"Shell":["/bin/bash"]}`},
		{"settings count more", "/x", richConfig, Settings{User: "1", WorkingDir: "/w", Env: []string{"A=9", "PATH=/p", "B=1"}, Labels: map[string]string{"a": "c"}, Ports: []string{"1"}, Volumes: []string{"/v"}, Cmd: []string{"d"}},
			`{"User":"1","ExposedPorts":{"1/tcp":{},"53/udp":{},"80/tcp":{}},"Env":["PATH=/p","A=9","B=1"],"Entrypoint":["/x"],"Cmd":["d"],"Volumes":{"/data":{},"/v":{}},"WorkingDir":"/w",` + labels("c") + `,"Shell":["/bin/bash"]}`},
		{"a command alone", "", `{"Cmd":["sh"]}`, Settings{}, `{"Env":["PATH=/nix/store/x/bin:/usr/bin:/bin"],"Cmd":["sh"],` + labels("") + `}`},
		{"its entrypoint, our command", "", `{"Cmd":["sh"],"Entrypoint":["e"]}`, Settings{Cmd: []string{"d"}}, `{"Env":["PATH=/nix/store/x/bin:/usr/bin:/bin"],"Entrypoint":["e"],"Cmd":["d"],` + labels("") + `}`},
	} {
		if got := config(tt.start, tt.base, tt.s); got != tt.want {
			t.Errorf("%s:\n%s\n%s", tt.name, got, tt.want)
		}
	}
	blob, data := baseManifest(t, 1, baseConfig(1, `{}`))
	base, err := parseBase("", blob, data)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := draftOn(t, smallApplication(t, "").On(base), Settings{}); err == nil || !strings.Contains(err.Error(), "no program to start") {
		t.Errorf("neither has a program: %v", err)
	}
}

// TestBaseDescriptors checks that the base's layers get the media types of the new image's
// format. They must lose annotations that nixoci put on them earlier.
func TestBaseDescriptors(t *testing.T) {
	blob, data := baseManifest(t, 2, baseConfig(2, `{}`))
	base, err := parseBase("docker.io/library/base:1", blob, data)
	if err != nil {
		t.Fatal(err)
	}
	for _, docker := range []bool{false, true} {
		all, err := base.descriptors(docker)
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{false: ocispec.MediaTypeImageLayerGzip, true: mediatype.DockerLayerGzip}[docker]
		for _, d := range all {
			if d.MediaType != want || len(d.Annotations) != 1 || d.Annotations["containerd.io/snapshot/stargz/toc.digest"] != "y" {
				t.Errorf("descriptor %+v", d)
			}
		}
	}
	base.Layers[0].MediaType = mediatype.DockerLayerZstd
	if all, err := base.descriptors(false); err != nil || all[0].MediaType != ocispec.MediaTypeImageLayerZstd {
		t.Errorf("zstd: %+v, %v", all, err)
	}
	if _, err := base.descriptors(true); err == nil {
		t.Error("zstd in Docker's format is no error")
	}
}

func FuzzBase(f *testing.F) {
	for _, config := range []string{richConfig, `{"Cmd":["sh"]}`, `null`} {
		_, data := baseManifest(f, 2, baseConfig(2, config))
		f.Add(data, "docker.io/library/base:1", true)
	}
	f.Add([]byte(`{"os":"linux","architecture":"amd64","variant":"v1","history":[{"empty_layer":true},{"created":"2024-01-01T00:00:00+02:00"},{"created_by":"\ud800"}],`+
		`"config":{"Volumes":{"..":{}},"Env":["A\u0000=1"],"Healthcheck":{"Interval":-1}},"rootfs":{"diff_ids":[]}}`), "", false)
	f.Add([]byte(`{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]}}`), "do\xffcker.io/library/base:1", true)
	f.Fuzz(func(t *testing.T, config []byte, name string, program bool) {
		var c struct{ RootFS ocispec.RootFS }
		_ = json.Unmarshal(config, &c)
		blob, data := baseManifest(t, min(len(c.RootFS.DiffIDs), 10), config)
		if validateText("name", name) != nil {
			return // a name is a checked reference, so it cannot contain these characters
		}
		base, err := parseBase(name, blob, data)
		if err != nil {
			return
		}
		start := ""
		if program {
			start = "/nix/store/x/bin/x"
		}
		checkRecorded(t, smallApplication(t, start).On(base), Settings{})
	})
}
