package verify

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/manifest"
)

// insert puts it before place at.
func insert(items []item, at int, it ...item) []item { return slices.Insert(items, at, it...) }

func remove(items []item, at int) []item { return slices.Delete(items, at, at+1) }

const webRoot = "nix/store/qw4xm639a8jif2c21hpxp2g1xbprflhl-web-root"

// entryPoint is the place of an address in an ELF header.
const entryPoint = 24

// imageRoot is an entry of the system layer.
const imageRoot = "gcroots/nixoci-image"

// tampered are images that somebody has changed; place and what must be in the
// first finding's line.
var tampered = []struct {
	name        string
	change      func(s *sample)
	place, what string
	two         bool // the image is for two platforms
}{
	// Contents of store paths.
	{"flipped bit in a file", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { items[at].content[3] ^= 1; return items })
	}, "web-root", "narHash is", false},
	{"flipped bit in the largest file", func(s *sample) {
		s.edit("bin/busybox", func(items []item, at int) []item { items[at].content[1_000_000] ^= 0x80; return items })
	}, "busybox-static", "narHash is", false},
	{"swapped symlink target", func(s *sample) {
		s.edit("bin/domainname", func(items []item, at int) []item { items[at].field(157, 257, "hostname2"); return items })
	}, "hostname-3.23", "narHash is", false},
	{"longer file", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			items[at].content = append(items[at].content, 'x')
			items[at].setSize()
			return items
		})
	}, "web-root", "narHash is", false},
	{"renamed file", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			items[at].field(0, 100, webRoot+"/index.htm")
			return items
		})
	}, "web-root", "narHash is", false},
	{"added file in a store path", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return insert(items, at+1, entry('0', webRoot+"/more.html", 0o444, "more"))
		})
	}, "web-root", "narHash is", false},
	{"missing file", func(s *sample) {
		s.edit("web-root/index.html", remove)
	}, "web-root", "narHash is", false},
	{"executable bit gone", func(s *sample) {
		s.edit("bin/dash", func(items []item, at int) []item { items[at].field(100, 108, "0000444"); return items })
	}, "dash", "narHash is", false},

	// Form of the layers.
	{"changed mode", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { items[at].field(100, 108, "0000644"); return items })
	}, "web-root/index.html", "mode is 0644, not 0444", false},
	{"writable directory", func(s *sample) {
		s.edit("web-root", func(items []item, at int) []item { items[at].field(100, 108, "0000755"); return items })
	}, "web-root", "mode is 0755, not 0555", false},
	{"setuid bit", func(s *sample) {
		s.edit("bin/dash", func(items []item, at int) []item { items[at].field(100, 108, "0004555"); return items })
	}, "bin/dash", "mode is 4555, not 0555", false},
	{"mtime 0", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { items[at].field(136, 148, "00000000000"); return items })
	}, "web-root/index.html", "mtime is 0, not 1", false},
	{"owner", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { items[at].field(108, 116, "0001750"); return items })
	}, "web-root/index.html", "owner is 1000, not 0", false},
	{"group name", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { items[at].field(297, 329, "wheel"); return items })
	}, "web-root/index.html", `group name is "wheel"`, false},
	{"PAX record with an attribute", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			pax := entry('x', "PaxHeaders.0/index.html", 0o644, "30 SCHILY.xattr.user.x=evil!!\n")
			items[at].head = slices.Concat(pax.head, pax.content, make([]byte, 512-len(pax.content)), items[at].head)
			return items
		})
	}, "web-root/index.html", "PAX record SCHILY.xattr.user.x", false},
	{"PAX header where none is needed", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			pax := entry('x', "PaxHeaders.0/index.html", 0o644, "")
			body := "path=" + webRoot + "/index.html\n"
			pax.content = []byte("77 " + body)
			pax.setSize()
			items[at].head = slices.Concat(pax.head, pax.content, make([]byte, 512-len(pax.content)), items[at].head)
			return items
		})
	}, "web-root/index.html", "PAX", false},
	{"file outside of the store", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return append(items, entry('0', "etc/evil", 0o444, "x"))
		})
	}, "etc/evil", "outside of the store", false},
	{"file below nix but outside of the store", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return append(items, entry('0', "nix/var/nix/db/db.sqlite-wal", 0o644, "x"))
		})
	}, "nix/var/nix/db/db.sqlite-wal", "outside of the store", false},
	{"no store path", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return insert(items, 2, entry('0', "nix/store/.links", 0o444, "x"))
		})
	}, "nix/store/.links", "not a store path", false},
	{"hard link", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			link := entry('1', webRoot+"/link.html", 0o444, "")
			link.field(157, 257, webRoot+"/index.html")
			return insert(items, at+1, link)
		})
	}, "web-root/link.html", "hard link", false},
	{"device node", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return insert(items, at+1, entry('4', webRoot+"/sda", 0o444, ""))
		})
	}, "web-root/sda", "block device", false},
	{"named pipe", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return insert(items, at+1, entry('6', webRoot+"/pipe", 0o444, ""))
		})
	}, "web-root/pipe", "named pipe", false},
	{"whiteout of a store path", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return append(items, entry('0', "nix/store/.wh.qw4xm639a8jif2c21hpxp2g1xbprflhl-web-root", 0o444, ""))
		})
	}, ".wh.", "whiteout", false},
	{"whiteout in a store path", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return insert(items, at, entry('0', webRoot+"/.wh.index.html", 0o444, ""))
		})
	}, "web-root/.wh.index.html", "whiteout", false},
	{"name with ..", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return insert(items, at+1, entry('0', webRoot+"/../../../etc/passwd", 0o444, "x"))
		})
	}, "web-root/../../../etc/passwd", "not in its shortest form", false},
	{"absolute name", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return append(items, entry('0', "/etc/passwd", 0o444, "x"))
		})
	}, "/etc/passwd", "absolute", false},
	{"duplicate entry", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { return insert(items, at+1, items[at]) })
	}, "web-root/index.html", "twice", false},
	{"entries out of order", func(s *sample) {
		s.edit("bin/dnsdomainname", func(items []item, at int) []item {
			items[at], items[at+1] = items[at+1], items[at]
			return items
		})
	}, "hostname-3.23", "not sorted", false},
	{"store paths out of order", func(s *sample) {
		s.edit("-passwd", func(items []item, at int) []item {
			items[at], items[at-1] = items[at-1], items[at]
			return items
		})
	}, "-inittab", "comes after", false},
	{"store path twice", func(s *sample) {
		s.edit("-group", func(items []item, at int) []item { return append(items, items[at]) })
	}, "-group", "a second time", false},
	{"no nix/store entry", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { return remove(items, 1) })
	}, "layer", "not nix/store", false},
	{"padding with something in it", func(s *sample) {
		n := s.edit("web-root/index.html", func(items []item, at int) []item { return items })
		items := s.tarOf(0, n)
		var b bytes.Buffer
		for _, it := range items {
			b.Write(it.head)
			b.Write(it.content)
			pad := make([]byte, -len(it.content)&511)
			if strings.HasSuffix(it.name, "web-root/index.html") {
				pad[len(pad)-1] = 'x'
			}
			b.Write(pad)
		}
		b.Write(make([]byte, 1024))
		s.setRawTar(0, n, b.Bytes())
	}, "web-root/index.html", "padding", false},
	{"something after the end of the tar", func(s *sample) {
		n := s.edit("web-root/index.html", func(items []item, at int) []item { return items })
		var b bytes.Buffer
		for _, it := range s.tarOf(0, n) {
			b.Write(it.head)
			b.Write(it.content)
			b.Write(make([]byte, -len(it.content)&511))
		}
		b.Write(make([]byte, 1024))
		b.WriteString("hidden")
		s.setRawTar(0, n, b.Bytes())
	}, "layer", "6 bytes after the end", false},
	{"something after the end of the gzip stream", func(s *sample) {
		s.setBlob(0, 3, append(bytes.Clone(s.blob(s.manifests[0].Layers[3].Digest)), "hidden"...))
	}, "layer 4", "bytes after the end of the gzip stream", false},
	{"name in the gzip header", func(s *sample) {
		b := bytes.Clone(s.blob(s.manifests[0].Layers[3].Digest))
		b[3] = 8 // FNAME
		s.setBlob(0, 3, slices.Concat(b[:10], []byte("evil\x00"), b[10:]))
	}, "layer 4", "gzip header", false},

	// Blobs and what describes them.
	{"truncated blob", func(s *sample) {
		d := s.manifests[0].Layers[2].Digest
		b := s.blob(d)
		s.changed[d] = b[:len(b)/2]
	}, "layer 3", "bytes instead of", false},
	{"flipped bit in a blob", func(s *sample) {
		d := s.manifests[0].Layers[2].Digest
		b := bytes.Clone(s.blob(d))
		b[len(b)/2] ^= 1
		s.changed[d] = b
	}, "layer 3", "the content has digest", false},
	{"missing blob", func(s *sample) { s.gone[s.manifests[0].Layers[2].Digest] = true }, "layer 3", "not there", false},
	{"flipped bit in a config", func(s *sample) {
		s.t.Helper()
		s.editManifest = func(m []byte) []byte {
			d := s.manifests[0].Config.Digest
			b := bytes.Clone(s.changed[d])
			b[10] ^= 1
			s.changed[d] = b
			return m
		}
	}, "config", "the content has digest", false},
	{"missing manifest", func(s *sample) {
		s.editIndex = func(b []byte) []byte {
			delete(s.changed, s.index.Manifests[1].Digest)
			s.gone[s.index.Manifests[1].Digest] = true
			return b
		}
	}, "linux/arm64", "not there", true},
	{"wrong diffID with a right digest", func(s *sample) {
		s.configs[0].RootFS.DiffIDs[4] = digest.FromString("something else")
		s.manifests[0].Layers[4].Annotations[manifest.AnnotationDiffID] = digest.FromString("something else").String()
	}, "layer 5", "diffID is", false},
	{"fewer diffIDs than layers", func(s *sample) {
		s.configs[0].RootFS.DiffIDs = s.configs[0].RootFS.DiffIDs[:11]
	}, "config", "11 diffIDs for the manifest's 13 layers", false},
	{"layers swapped in the manifest", func(s *sample) {
		l := s.manifests[0].Layers
		l[2], l[3] = l[3], l[2]
	}, "layer 3", "diffID is", false},
	{"layers swapped in manifest and config", func(s *sample) {
		l, d, h := s.manifests[0].Layers, s.configs[0].RootFS.DiffIDs, s.configs[0].History
		l[2], l[3] = l[3], l[2]
		d[2], d[3] = d[3], d[2]
		h[2], h[3] = h[3], h[2]
	}, "layer 3", "in the place of layer 4", false},
	{"wrong media type of a layer", func(s *sample) {
		s.manifests[0].Layers[0].MediaType = ocispec.MediaTypeImageLayerZstd
	}, "layer 1", "cannot be decompressed", false},
	{"wrong size of the tar", func(s *sample) {
		s.manifests[0].Layers[0].Annotations[manifest.AnnotationTarSize] = "1024"
	}, "manifest", "io.nixoci.layer.tarsize", false},
	{"wrong recipe of a layer", func(s *sample) {
		s.manifests[0].Layers[0].Annotations[manifest.AnnotationRecipe] = s.manifests[0].Layers[1].Annotations[manifest.AnnotationRecipe]
	}, "manifest", "io.nixoci.layer.recipe", false},
	{"extra layer", func(s *sample) {
		l, d, h := &s.manifests[0].Layers, &s.configs[0].RootFS.DiffIDs, &s.configs[0].History
		*l = slices.Insert(*l, 11, (*l)[10])
		*d = slices.Insert(*d, 11, (*d)[10])
		*h = slices.Insert(*h, 11, (*h)[10])
	}, "layer 12", "layer 11 has it too", false},

	// The Nix database and the closure.
	{"path missing from the database", func(s *sample) {
		s.database(`DELETE FROM Refs WHERE reference = (SELECT id FROM ValidPaths WHERE path LIKE '%-web-root')`, `DELETE FROM ValidPaths WHERE path LIKE '%-web-root'`)
	}, "web-root", "the Nix database does not have it", false},
	{"extra row in the database", func(s *sample) {
		s.database(`INSERT INTO ValidPaths (path, hash, registrationTime, narSize) VALUES ('/nix/store/00000000000000000000000000000000-evil', 'sha256:` + strings.Repeat("0", 64) + `', 1, 120)`)
	}, "00000000000000000000000000000000-evil", "and no layer", false},
	{"path missing from the layers", func(s *sample) {
		s.edit("-passwd", remove)
	}, "-passwd", "and no layer", false},
	{"unreferenced path", func(s *sample) {
		s.database(`DELETE FROM Refs WHERE reference = (SELECT id FROM ValidPaths WHERE path LIKE '%-web-root')`)
	}, "web-root", "not reachable", false},
	{"reference that is not there", func(s *sample) {
		s.database(`PRAGMA foreign_keys = OFF`, `INSERT INTO Refs (referrer, reference) SELECT id, 999 FROM ValidPaths WHERE path LIKE '%-web-root'`)
	}, databaseName, "999", false},
	{"one reference more", func(s *sample) {
		s.database(`INSERT INTO Refs (referrer, reference) SELECT a.id, b.id FROM ValidPaths a, ValidPaths b WHERE a.path LIKE '%-web-root' AND b.path LIKE '%-media-types-%'`)
	}, databaseName, "contents differ", false},
	{"narHash changed with the content", func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { items[at].content[3] ^= 1; return items })
		// What the forged file hashes to, so that database and layer agree.
		var hash string
		for _, f := range verified(s.t, s.layout(), Options{}).Findings {
			_, rest, _ := strings.Cut(f.What, "narHash is ")
			hash, _, _ = strings.Cut(rest, ",")
		}
		s.database(`UPDATE ValidPaths SET hash = '` + hex(s.t, hash) + `' WHERE path LIKE '%-web-root'`)
	}, databaseName, "contents differ", false},
	{"narSize changed", func(s *sample) {
		s.database(`UPDATE ValidPaths SET narSize = narSize + 8 WHERE path LIKE '%-web-root'`)
	}, "web-root", "narSize is", false},
	{"deriver in the database", func(s *sample) {
		s.database(`UPDATE ValidPaths SET deriver = '/nix/store/00000000000000000000000000000000-x.drv' WHERE path LIKE '%-web-root'`)
	}, databaseName, "contents differ", false},
	{"registration time", func(s *sample) {
		s.database(`UPDATE ValidPaths SET registrationTime = 1700000000 WHERE path LIKE '%-web-root'`)
	}, databaseName, "contents differ", false},
	{"trigger in the database", func(s *sample) {
		s.database(`CREATE TRIGGER evil AFTER INSERT ON ValidPaths BEGIN DELETE FROM Refs; END`)
	}, databaseName, "contents differ", false},
	{"view instead of a table", func(s *sample) {
		s.database(`ALTER TABLE Refs RENAME TO R`, `CREATE VIEW Refs AS WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n FROM x) SELECT n AS referrer, n AS reference FROM x`)
	}, databaseName, "no tables", false},
	{"database that is none", func(s *sample) {
		s.edit(databaseName, func(items []item, at int) []item { items[at].content = []byte("x"); items[at].setSize(); return items })
	}, databaseName, "no tables", false},
	{"no database", func(s *sample) { s.edit(databaseName, remove) }, databaseName, "not there", false},

	// The system layer.
	{"absolute symlink in the system layer", func(s *sample) {
		s.edit(imageRoot, func(items []item, at int) []item {
			link := entry('2', "usr/bin/env", 0o777, "")
			link.field(157, 257, "/nix/store/evil")
			return insert(items, slices.IndexFunc(items, func(i item) bool { return i.name == "usr/bin" })+1, link)
		})
	}, "usr/bin/env", "an extra symlink", false},
	{"image root that is another path", func(s *sample) {
		s.edit(imageRoot, func(items []item, at int) []item {
			items[at].field(157, 257, "/nix/store/3szzxfz4jah63s2l70yf85sy5x875d67-dash-0.5.12-2/bin/dash")
			return items
		})
	}, imageRoot, "target is", false},
	{"profile that is another path", func(s *sample) {
		s.edit("profiles/system-1-link", func(items []item, at int) []item {
			items[at].field(157, 257, "/nix/store/3szzxfz4jah63s2l70yf85sy5x875d67-dash-0.5.12-2")
			return items
		})
	}, "", "not reachable", false},
	{"extra file in the system layer", func(s *sample) {
		s.edit(imageRoot, func(items []item, _ int) []item {
			at := slices.IndexFunc(items, func(i item) bool { return i.name == "etc" })
			return insert(items, at+1, entry('0', "etc/passwd", 0o644, "root::0:0::/:/bin/sh\n"))
		})
	}, "etc/passwd", "an extra file", false},
	{"missing directory in the system layer", func(s *sample) {
		s.edit(imageRoot, func(items []item, at int) []item {
			return remove(items, slices.IndexFunc(items, func(i item) bool { return i.name == "tmp" }))
		})
	}, "tmp", "a directory is missing", false},
	{"mode in the system layer", func(s *sample) {
		s.edit(imageRoot, func(items []item, at int) []item {
			items[slices.IndexFunc(items, func(i item) bool { return i.name == "root" })].field(100, 108, "0000777")
			return items
		})
	}, "root", "mode is 0777, not 0700", false},
	{"schema", func(s *sample) {
		s.edit("db/schema", func(items []item, at int) []item { items[at].content = []byte("11"); return items })
	}, "nix/var/nix/db/schema", "contents differ at byte 1", false},
	{"system layer compressed by another tool", func(s *sample) {
		s.setTar(0, 12, s.tarOf(0, 12))
	}, "layer 13", "compressed with gzip:3", false},

	// The init layer.
	{"init that is another program", func(s *sample) {
		s.edit(initName, func(items []item, at int) []item { items[at].content[entryPoint] ^= 1; return items })
	}, initName, "the manifest says", false},
	{"init that is another program, said", func(s *sample) {
		n := s.edit(initName, func(items []item, at int) []item { items[at].content[entryPoint] ^= 1; return items })
		items := s.tarOf(0, n)
		s.manifests[0].Annotations[manifest.AnnotationInit] = digest.FromBytes(items[len(items)-1].content).String()
	}, "layer 1", "compressed with gzip:3", false},
	{"init that is a script", func(s *sample) {
		s.edit(initName, func(items []item, at int) []item {
			items[at].content = []byte("#!/bin/sh\n")
			items[at].setSize()
			return items
		})
		s.manifests[0].Annotations[manifest.AnnotationInit] = digest.FromString("#!/bin/sh\n").String()
	}, initName, "not an ELF program", false},
	{"init that is a link", func(s *sample) {
		s.edit(initName, func(items []item, at int) []item {
			items[at] = entry('2', initName, 0o777, "")
			items[at].field(157, 257, "/nix/store/evil")
			return items
		})
	}, initName, "not a file", false},
	{"mode of the init", func(s *sample) {
		s.edit(initName, func(items []item, at int) []item { items[at].field(100, 108, "0004555"); return items })
	}, initName, "mode is 4555, not 0555", false},
	{"extra file in the init layer", func(s *sample) {
		s.edit(initName, func(items []item, at int) []item {
			return append(items, entry('0', "sbin/more", 0o555, "x"))
		})
	}, "sbin/more", "an extra file", false},
	{"no init layer", func(s *sample) {
		s.drop(0, 0)
	}, "layer 1", "not there, or not a file", false},
	{"init that the manifest does not have", func(s *sample) {
		delete(s.manifests[0].Annotations, manifest.AnnotationInit)
	}, "layer 1", "not nix", false},
	{"init layer compressed by another tool", func(s *sample) {
		s.setTar(0, 0, s.tarOf(0, 0))
	}, "layer 1", "compressed with gzip:3", false},
	{"a format that has no init", func(s *sample) {
		s.manifests[0].Annotations[manifest.AnnotationFormat] = "1"
	}, "layer 1", "not nix", false},

	// Config, manifest, index.
	{"wrong platform in the config", func(s *sample) { s.configs[0].Architecture = "arm64" }, "system", "the config says linux/arm64", false},
	{"wrong platform in the index", func(s *sample) { s.index.Manifests[0].Platform.Architecture = "riscv64" }, "system", "the index says linux/riscv64", false},
	{"manifests for each other's platform", func(s *sample) {
		s.editIndex = func(b []byte) []byte {
			s.index.Manifests[0].Digest, s.index.Manifests[1].Digest = s.index.Manifests[1].Digest, s.index.Manifests[0].Digest
			s.index.Manifests[0].Size, s.index.Manifests[1].Size = s.index.Manifests[1].Size, s.index.Manifests[0].Size
			return compact(s.t, s.index)
		}
	}, "linux/amd64", "linux/arm64", true},
	{"changed entrypoint", func(s *sample) {
		s.configs[0].Config.Entrypoint = []string{"/bin/evil"}
		s.configs[0].Config.Healthcheck = nil // it goes with the default entrypoint
	}, "config", `Entrypoint is ["/bin/evil"]`, false},
	{"command", func(s *sample) { s.configs[0].Config.Cmd = []string{"systemd.unit=rescue.target"} }, "config", "Cmd is", false},
	{"environment", func(s *sample) { s.configs[0].Config.Env = append(s.configs[0].Config.Env, "LD_PRELOAD=/evil.so") }, "config", "Env is", false},
	{"user", func(s *sample) { s.configs[0].Config.User = "1000" }, "config", "User is", false},
	{"stop signal", func(s *sample) { s.configs[0].Config.StopSignal = "SIGTERM" }, "config", "StopSignal is", false},
	{"volume over the store", func(s *sample) { s.configs[0].Config.Volumes = map[string]struct{}{"/nix/store": {}} }, "config", "Volumes is", false},
	{"label", func(s *sample) { s.configs[0].Config.Labels["org.example"] = "x" }, "config", "Labels is", false},
	{"toplevel in the labels", func(s *sample) {
		s.configs[0].Config.Labels[manifest.AnnotationToplevel] = "/nix/store/00000000000000000000000000000000-x"
	}, "config", "io.nixoci.toplevel is", false},
	{"history", func(s *sample) { s.configs[0].History[0].CreatedBy = "somebody" }, "config", "history[0].created_by is \"somebody\"", false},
	{"field in the config that nobody knows", func(s *sample) {
		s.editConfig = func(b []byte) []byte { return bytes.Replace(b, []byte(`{`), []byte(`{"evil":1,`), 1) }
	}, "config", "evil is 1 and should not be there", false},
	{"white space in the config", func(s *sample) {
		s.editConfig = func(b []byte) []byte { return append(b, '\n') }
	}, "config", "other bytes", false},
	{"annotation of a manifest", func(s *sample) { s.manifests[0].Annotations["org.example"] = "x" }, "config", "annotations is", false},
	{"toplevel in the annotations", func(s *sample) {
		s.manifests[0].Annotations[manifest.AnnotationToplevel] = "/nix/store/00000000000000000000000000000000-x"
	}, "manifest", "annotations.io.nixoci.toplevel is", false},
	{"no layer format", func(s *sample) { delete(s.manifests[0].Annotations, manifest.AnnotationFormat) }, "manifest", "not made by nixoci", false},
	{"another layer format", func(s *sample) { s.manifests[0].Annotations[manifest.AnnotationFormat] = "3" }, "manifest", `image format is "3"`, false},
	{"subject", func(s *sample) {
		s.editManifest = func(b []byte) []byte {
			return bytes.Replace(b, []byte(`,"annotations":{"io.nixoci.format`), []byte(`,"subject":{"mediaType":"x","digest":"`+digest.FromString("x").String()+`","size":1},"annotations":{"io.nixoci.format`), 1)
		}
	}, "manifest", "subject is", false},
	{"platform twice", func(s *sample) {
		s.editIndex = func([]byte) []byte {
			s.index.Manifests = append(s.index.Manifests, s.index.Manifests[1])
			return compact(s.t, s.index)
		}
	}, "index", "are both for linux/arm64", true},
	{"platforms swapped in the index", func(s *sample) {
		s.editIndex = func([]byte) []byte {
			slices.Reverse(s.index.Manifests)
			return compact(s.t, s.index)
		}
	}, "index", "manifests[0]", true},
	{"annotation of the index", func(s *sample) { s.index.Annotations["org.example"] = "x" }, "index", "org.example is", false},
	{"toplevel in the index", func(s *sample) {
		s.index.Manifests[1].Annotations[manifest.AnnotationNarHash] = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	}, "index", "io.nixoci.toplevel.narhash", true},
	{"size in the index", func(s *sample) {
		s.editIndex = func(b []byte) []byte { s.index.Manifests[0].Size++; return compact(s.t, s.index) }
	}, "linux/amd64", "bytes instead of", false},
}

func TestTampered(t *testing.T) {
	for n, tt := range tampered {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSample(t, tt.two)
			tt.change(s)
			source := s.layout()
			r := verified(t, source, Options{})
			if r.OK || len(r.Findings) != 1 {
				t.Fatalf("%d findings: %v", len(r.Findings), r.Findings)
			}
			first := r.Findings[0].String()
			if !strings.Contains(first, tt.place) || !strings.Contains(first, tt.what) {
				t.Errorf("%s\nnames no %q or no %q", first, tt.place, tt.what)
			}
			if n%4 != 0 && !t.Failed() {
				return // to read each image once more would take as long again
			}
			all := verified(t, source, Options{KeepGoing: true, Jobs: 3})
			if all.OK || !slices.ContainsFunc(all.Findings, func(f Finding) bool { return f.String() == first }) {
				t.Errorf("with all findings, %q is not among them: %v", first, all.Findings)
			}
			if t.Failed() || testing.Verbose() {
				for _, f := range all.Findings {
					t.Log(f)
				}
			}
		})
	}
	if len(tampered) < 40 {
		t.Errorf("only %d images", len(tampered))
	}
}
