package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nixoci/nixoci/internal/mediatype"
)

// testBase is a base image as other tools make it, with all its blobs.
type testBase struct {
	blobs     map[digest.Digest][]byte
	manifests []ocispec.Descriptor // manifests to push; the last one is the image
	docker    bool
	broken    string
	file      string // name of an additional file in each layer; "" if there is none
}

func (b *testBase) add(mediaType string, data []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	b.blobs[d.Digest] = data
	return d
}

func (b *testBase) json(mediaType string, v any) ocispec.Descriptor {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b.add(mediaType, data)
}

func (b *testBase) types() (index, manifest, config, layer string) {
	if b.docker {
		return mediatype.DockerList, mediatype.DockerManifest, mediatype.DockerConfig, mediatype.DockerLayerGzip
	}
	return ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageLayerGzip
}

// layer makes a gzipped tar with one file. nixoci itself never writes such a layer.
func (b *testBase) layer(name, content string) (ocispec.Descriptor, digest.Digest) {
	var t, z bytes.Buffer
	w := tar.NewWriter(&t)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "usr/", Mode: 0o755},
		{Typeflag: tar.TypeSymlink, Name: "bin", Linkname: "usr/bin", Mode: 0o777},
		{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(content)), Uid: 7, Uname: "them", ModTime: time.Unix(1e9, 0)},
	} {
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
	}
	w.Write([]byte(content))
	if b.file != "" {
		for _, h := range []tar.Header{{Typeflag: tar.TypeDir, Name: filepath.Dir(b.file) + "/", Mode: 0o555}, {Typeflag: tar.TypeReg, Name: b.file, Mode: 0o644}} {
			if err := w.WriteHeader(&h); err != nil {
				panic(err)
			}
		}
	}
	for _, h := range b.users(name) {
		if err := w.WriteHeader(&h.Header); err != nil {
			panic(err)
		}
		w.Write([]byte(h.content))
	}
	w.Close()
	g := gzip.NewWriter(&z)
	g.Name = "layer.tar"
	g.Write(t.Bytes())
	g.Close()
	_, _, _, mediaType := b.types()
	switch b.broken {
	case "encrypted":
		mediaType = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
	case "foreign":
		mediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	case "unknown":
		mediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	}
	d := b.add(mediaType, z.Bytes())
	if b.broken == "bits" {
		b.blobs[d.Digest] = append(bytes.Clone(z.Bytes()[:z.Len()-1]), ^z.Bytes()[z.Len()-1])
	}
	return d, digest.FromBytes(t.Bytes())
}

// fileHeader describes a file of a layer.
type fileHeader struct {
	tar.Header
	content string
}

// users returns additional files for the layer with the file called name. With the damage
// "passwd", the second layer removes the passwd and group files of the first layer and
// writes one of them again, and the third layer writes the other. With "passwdlink",
// etc/passwd is a symlink.
func (b *testBase) users(name string) []fileHeader {
	file := func(name, content string) fileHeader {
		return fileHeader{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
	}
	switch b.broken + " " + name {
	case "passwd usr/file-0":
		return []fileHeader{file("./etc/passwd", "old:x:1000:1000::/:/bin/sh\n"), file("etc/group", "old:x:1000:\n")}
	case "passwd usr/file-1":
		return []fileHeader{file("etc/.wh..wh..opq", ""), file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin")}
	case "passwd usr/file-2":
		return []fileHeader{file("/etc/group", "root:x:0:\nwww-data:x:33:\nstaff:x:50:\n")}
	case "passwdlink usr/file-0":
		return []fileHeader{{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "etc/passwd", Linkname: "../usr/lib/passwd"}}}
	}
	return nil
}

// cmdLastLayer copies a file from the topmost layer of an image, which must be uncompressed:
// lastlayer oci:DIR NAME FILE.
func cmdLastLayer(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(strings.TrimPrefix(args[0], "oci:"))
	read := func(file string) (m ocispec.Manifest) {
		data, err := os.ReadFile(filepath.Join(dir, file))
		ts.Check(err)
		var index ocispec.Index
		ts.Check(json.Unmarshal(data, &index))
		ts.Check(json.Unmarshal(data, &m))
		if len(index.Manifests) > 0 {
			m.Config = index.Manifests[0]
		}
		return m
	}
	blob := func(d ocispec.Descriptor) string { return filepath.Join("blobs/sha256", d.Digest.Encoded()) }
	m := read(blob(read(blob(read("index.json").Config)).Config))
	layer, err := os.Open(filepath.Join(dir, blob(m.Layers[len(m.Layers)-1])))
	ts.Check(err)
	defer layer.Close()
	for r := tar.NewReader(layer); ; {
		h, err := r.Next()
		ts.Check(err)
		if h.Name == args[1] {
			data, err := io.ReadAll(r)
			ts.Check(err)
			ts.Check(os.WriteFile(ts.MkAbs(args[2]), data, 0o666))
			return
		}
	}
}

// image adds an image for one platform to b.
func (b *testBase) image(platform string, layers int, version string) {
	_, manifestType, configType, _ := b.types()
	p := strings.Split(platform, "/")
	var descs []ocispec.Descriptor
	var diffIDs []digest.Digest
	history := []map[string]any{{"created": "2024-01-02T03:04:05.678+02:00", "created_by": "ENV LANG=C", "empty_layer": true}}
	for n := range layers {
		d, id := b.layer(fmt.Sprintf("usr/file-%d", n), platform+version)
		descs, diffIDs = append(descs, d), append(diffIDs, id)
		history = append(history, map[string]any{"created_by": fmt.Sprintf("COPY file %d", n), "author": "them"})
	}
	if b.broken == "diffid" {
		diffIDs[layers-1] = digest.FromString("another")
	}
	config := map[string]any{
		"os": p[0], "architecture": p[1], "created": "2024-01-02T03:04:05Z", "author": "them",
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}, "history": history,
		"config": map[string]any{
			"User": "daemon", "WorkingDir": "/srv/", "StopSignal": "SIGQUIT", "Cmd": []string{"/usr/bin/serve"}, "Entrypoint": []string{"docker-entrypoint.sh"},
			"Env":          []string{"PATH=/opt/bin:/usr/bin", "LANG=C", "VERSION=1", "broken"},
			"Labels":       map[string]string{"vendor": "them", "org.opencontainers.image.title": "base", "org.opencontainers.image.source": "https://example.org"},
			"ExposedPorts": map[string]any{"80/tcp": struct{}{}}, "Volumes": map[string]any{"/data/": struct{}{}},
			"Healthcheck": map[string]any{"Test": []string{"CMD", "check"}, "Interval": 1e9, "StartPeriod": 2e9}, "Shell": []string{"/bin/bash", "-c"}, "OnBuild": []string{"RUN x"},
		},
	}
	m := map[string]any{"schemaVersion": 2, "mediaType": manifestType, "layers": descs}
	configDesc := b.json(configType, config)
	if b.broken == "artifact" {
		configDesc.MediaType = "application/vnd.cncf.helm.config.v1+json"
	}
	if b.broken == "config" {
		delete(b.blobs, configDesc.Digest)
	}
	m["config"] = configDesc
	d := b.json(manifestType, m)
	d.Platform = &ocispec.Platform{OS: p[0], Architecture: p[1]}
	b.manifests = append(b.manifests, d)
}

// cmdBaseImage makes a base image as other tools make it: baseimage REF|oci:DIR [WORD...]. A
// word is a number of layers, a platform, "docker", a store path that the layers contain, a
// kind of damage, or vN for different content.
func cmdBaseImage(ts *testscript.TestScript, neg bool, args []string) {
	b := &testBase{blobs: map[digest.Digest][]byte{}}
	layers, version := 2, ""
	var platforms []string
	for _, word := range args[1:] {
		switch n := 0; {
		case strings.HasPrefix(word, "/nix/"):
			b.file = word[1:]
		case strings.Contains(word, "/"):
			platforms = append(platforms, word)
		case word == "docker":
			b.docker = true
		case word[0] == 'v':
			version = word
		default:
			if _, err := fmt.Sscan(word, &n); err == nil {
				layers = n
			} else {
				b.broken = word
			}
		}
	}
	index := len(platforms) > 1
	if len(platforms) == 0 {
		platforms = []string{"linux/amd64"}
	}
	for _, p := range platforms {
		b.image(p, layers, version)
	}
	if index {
		indexType, _, _, _ := b.types()
		attestation := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: b.manifests[0].Digest, Size: b.manifests[0].Size,
			Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"}}
		all := append(slices.Clone(b.manifests), attestation)
		b.manifests = append(b.manifests, b.json(indexType, map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": all}))
	}
	if b.broken == "schema1" {
		b.manifests = []ocispec.Descriptor{b.add("application/vnd.docker.distribution.manifest.v1+prettyjws",
			[]byte(`{"schemaVersion":1,"name":"x","tag":"y","fsLayers":[],"history":[],"signatures":[]}`))}
	}
	if dir, ok := strings.CutPrefix(args[0], "oci:"); ok {
		b.write(ts, ts.MkAbs(dir))
	} else {
		b.push(ts, args[0])
	}
}

// write writes the image as an OCI layout.
func (b *testBase) write(ts *testscript.TestScript, dir string) {
	blobs := filepath.Join(dir, "blobs", "sha256")
	ts.Check(os.MkdirAll(blobs, 0o755))
	for d, data := range b.blobs {
		ts.Check(os.WriteFile(filepath.Join(blobs, d.Encoded()), data, 0o644))
	}
	top := b.manifests[len(b.manifests)-1]
	top.Platform = nil
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []ocispec.Descriptor{top}})
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644))
	ts.Check(os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

// push uploads the image to a registry, under the tag in ref.
func (b *testBase) push(ts *testscript.TestScript, ref string) {
	host, rest, _ := strings.Cut(ref, "/")
	repo, tag, _ := strings.Cut(rest, ":")
	put := func(url, mediaType string, data []byte, method string) {
		req, err := http.NewRequest(method, url, bytes.NewReader(data))
		ts.Check(err)
		req.Header.Set("Content-Type", mediaType)
		resp, err := http.DefaultClient.Do(req)
		ts.Check(err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			ts.Fatalf("%s %s: %s", method, url, resp.Status)
		}
	}
	base := "http://" + host + "/v2/" + repo
	for d, data := range b.blobs {
		put(base+"/blobs/uploads/?digest="+d.String(), "application/octet-stream", data, http.MethodPost)
	}
	for n, m := range b.manifests {
		name := m.Digest.String()
		if n == len(b.manifests)-1 && tag != "" {
			name = tag
		}
		put(base+"/manifests/"+name, m.MediaType, b.blobs[m.Digest], http.MethodPut)
	}
}
