package verify

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/layers"
	"github.com/nixoci/nixoci/internal/manifest"
)

// insert inserts entries before position at.
func insert(items []item, at int, it ...item) []item { return slices.Insert(items, at, it...) }

func remove(items []item, at int) []item { return slices.Delete(items, at, at+1) }

const webRoot = "nix/store/qw4xm639a8jif2c21hpxp2g1xbprflhl-web-root"

// entryPoint is the position of the field with the entry address in an ELF header.
const entryPoint = 24

// imageRoot is the end of the name of an entry in the system layer.
const imageRoot = "gcroots/nixoci-image"

// tampered lists images that somebody has changed. The line of the first finding must contain place
// and what.
var tampered = []struct {
	name        string
	change      func(s *sample)
	place, what string
	arm64       bool // the image has a second platform, arm64
	gzip        bool // the image must be compressed, because the change is about the compression
	whole       bool // the image must have whole files, because the change is far into one of them
}{
	// The next cases change the contents of store paths.
	{name: "flipped bit in a file", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { items[at].content[3] ^= 1; return items })
	}, place: "web-root", what: "narHash is"},
	{name: "flipped bit in the largest file", whole: true, change: func(s *sample) {
		s.edit("bin/busybox", func(items []item, at int) []item { items[at].content[1_000_000] ^= 0x80; return items })
	}, place: "busybox-static", what: "narHash is"},
	{name: "swapped symlink target", change: func(s *sample) {
		s.edit("bin/domainname", func(items []item, at int) []item { items[at].field(157, 257, "hostname2"); return items })
	}, place: "hostname-3.23", what: "narHash is"},
	{name: "longer file", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			items[at].content = append(items[at].content, 'x')
			items[at].setSize()
			return items
		})
	}, place: "web-root", what: "narHash is"},
	{name: "renamed file", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			items[at].field(0, 100, webRoot+"/index.htm")
			return items
		})
	}, place: "web-root", what: "narHash is"},
	{name: "added file in a store path", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return insert(items, at+1, entry('0', webRoot+"/more.html", 0o444, "more"))
		})
	}, place: "web-root", what: "narHash is"},
	{name: "missing file", change: func(s *sample) {
		s.edit("web-root/index.html", remove)
	}, place: "web-root", what: "narHash is"},
	{name: "executable bit gone", change: func(s *sample) {
		s.edit("bin/dash", func(items []item, at int) []item { items[at].field(100, 108, "0000444"); return items })
	}, place: "dash", what: "narHash is"},

	// The next cases change the form of layers.
	{name: "changed mode", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { items[at].field(100, 108, "0000644"); return items })
	}, place: "web-root/index.html", what: "mode is 0644, not 0444"},
	{name: "writable directory", change: func(s *sample) {
		s.edit("web-root", func(items []item, at int) []item { items[at].field(100, 108, "0000755"); return items })
	}, place: "web-root", what: "mode is 0755, not 0555"},
	{name: "setuid bit", change: func(s *sample) {
		s.edit("bin/dash", func(items []item, at int) []item { items[at].field(100, 108, "0004555"); return items })
	}, place: "bin/dash", what: "mode is 4555, not 0555"},
	{name: "mtime 0", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { items[at].field(136, 148, "00000000000"); return items })
	}, place: "web-root/index.html", what: "mtime is 0, not 1"},
	{name: "owner", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { items[at].field(108, 116, "0001750"); return items })
	}, place: "web-root/index.html", what: "owner is 1000, not 0"},
	{name: "group name", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { items[at].field(297, 329, "wheel"); return items })
	}, place: "web-root/index.html", what: `group name is "wheel"`},
	{name: "PAX record with an attribute", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			pax := entry('x', "PaxHeaders.0/index.html", 0o644, "30 SCHILY.xattr.user.x=evil!!\n")
			items[at].head = slices.Concat(pax.head, pax.content, make([]byte, 512-len(pax.content)), items[at].head)
			return items
		})
	}, place: "web-root/index.html", what: "PAX record SCHILY.xattr.user.x"},
	{name: "PAX header where none is needed", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			pax := entry('x', "PaxHeaders.0/index.html", 0o644, "")
			body := "path=" + webRoot + "/index.html\n"
			pax.content = []byte("77 " + body)
			pax.setSize()
			items[at].head = slices.Concat(pax.head, pax.content, make([]byte, 512-len(pax.content)), items[at].head)
			return items
		})
	}, place: "web-root/index.html", what: "PAX"},
	{name: "file outside of the store", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return append(items, entry('0', "etc/evil", 0o444, "x"))
		})
	}, place: "etc/evil", what: "outside of the store"},
	{name: "file below nix but outside of the store", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return append(items, entry('0', "nix/var/nix/db/db.sqlite-wal", 0o644, "x"))
		})
	}, place: "nix/var/nix/db/db.sqlite-wal", what: "outside of the store"},
	{name: "no store path", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return insert(items, 2, entry('0', "nix/store/.links", 0o444, "x"))
		})
	}, place: "nix/store/.links", what: "not a store path"},
	{name: "hard link", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			link := entry('1', webRoot+"/link.html", 0o444, "")
			link.field(157, 257, webRoot+"/index.html")
			return insert(items, at+1, link)
		})
	}, place: "web-root/link.html", what: "hard link"},
	{name: "device node", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return insert(items, at+1, entry('4', webRoot+"/sda", 0o444, ""))
		})
	}, place: "web-root/sda", what: "block device"},
	{name: "named pipe", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return insert(items, at+1, entry('6', webRoot+"/pipe", 0o444, ""))
		})
	}, place: "web-root/pipe", what: "named pipe"},
	{name: "whiteout of a store path", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return append(items, entry('0', "nix/store/.wh.qw4xm639a8jif2c21hpxp2g1xbprflhl-web-root", 0o444, ""))
		})
	}, place: ".wh.", what: "whiteout"},
	{name: "whiteout in a store path", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return insert(items, at, entry('0', webRoot+"/.wh.index.html", 0o444, ""))
		})
	}, place: "web-root/.wh.index.html", what: "whiteout"},
	{name: "name with ..", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return insert(items, at+1, entry('0', webRoot+"/../../../etc/passwd", 0o444, "x"))
		})
	}, place: "web-root/../../../etc/passwd", what: "not in its shortest form"},
	{name: "absolute name", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item {
			return append(items, entry('0', "/etc/passwd", 0o444, "x"))
		})
	}, place: "/etc/passwd", what: "absolute"},
	{name: "duplicate entry", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { return insert(items, at+1, items[at]) })
	}, place: "web-root/index.html", what: "twice"},
	{name: "entries out of order", change: func(s *sample) {
		s.edit("bin/dnsdomainname", func(items []item, at int) []item {
			items[at], items[at+1] = items[at+1], items[at]
			return items
		})
	}, place: "hostname-3.23", what: "not sorted"},
	{name: "store paths out of order", change: func(s *sample) {
		s.edit("-passwd", func(items []item, at int) []item {
			items[at], items[at-1] = items[at-1], items[at]
			return items
		})
	}, place: "-inittab", what: "comes after"},
	{name: "store path twice", change: func(s *sample) {
		s.edit("-group", func(items []item, at int) []item { return append(items, items[at]) })
	}, place: "-group", what: "a second time"},
	{name: "no nix/store entry", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { return remove(items, 1) })
	}, place: "layer", what: "should be nix/store"},
	{name: "padding with something in it", change: func(s *sample) {
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
	}, place: "web-root/index.html", what: "padding"},
	{name: "something after the end of the tar", change: func(s *sample) {
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
	}, place: "layer", what: "6 bytes after the end"},
	{name: "something after the end of the gzip stream", gzip: true, change: func(s *sample) {
		s.setBlob(0, 3, append(bytes.Clone(s.blob(s.manifests[0].Layers[3].Digest)), "hidden"...))
	}, place: "layer 4", what: "bytes after the end of the gzip stream"},
	{name: "name in the gzip header", gzip: true, change: func(s *sample) {
		b := bytes.Clone(s.blob(s.manifests[0].Layers[3].Digest))
		b[3] = 8 // flag FNAME
		s.setBlob(0, 3, slices.Concat(b[:10], []byte("evil\x00"), b[10:]))
	}, place: "layer 4", what: "gzip header"},

	// The next cases change blobs and their descriptors.
	{name: "truncated blob", change: func(s *sample) {
		d := s.manifests[0].Layers[2].Digest
		b := s.blob(d)
		s.changed[d] = b[:len(b)/2]
	}, place: "layer 3", what: "bytes instead of"},
	{name: "flipped bit in a blob", change: func(s *sample) {
		d := s.manifests[0].Layers[2].Digest
		b := bytes.Clone(s.blob(d))
		b[len(b)/2] ^= 1
		s.changed[d] = b
	}, place: "layer 3", what: "the content has digest"},
	{name: "missing blob", change: func(s *sample) { s.gone[s.manifests[0].Layers[2].Digest] = true }, place: "layer 3", what: "it is missing"},
	{name: "flipped bit in a config", change: func(s *sample) {
		s.t.Helper()
		s.editManifest = func(m []byte) []byte {
			d := s.manifests[0].Config.Digest
			b := bytes.Clone(s.changed[d])
			b[10] ^= 1
			s.changed[d] = b
			return m
		}
	}, place: "config", what: "the content has digest"},
	{name: "missing manifest", change: func(s *sample) {
		s.editIndex = func(b []byte) []byte {
			delete(s.changed, s.index.Manifests[1].Digest)
			s.gone[s.index.Manifests[1].Digest] = true
			return b
		}
	}, place: "linux/arm64", what: "it is missing", arm64: true},
	{name: "wrong diffID with a right digest", change: func(s *sample) {
		s.configs[0].RootFS.DiffIDs[4] = digest.FromString("something else")
		s.manifests[0].Layers[4].Annotations[manifest.AnnotationDiffID] = digest.FromString("something else").String()
	}, place: "layer 5", what: "diffID is"},
	{name: "fewer diffIDs than layers", change: func(s *sample) {
		s.configs[0].RootFS.DiffIDs = s.configs[0].RootFS.DiffIDs[:11]
	}, place: "config", what: "11 diffIDs for the manifest's 13 layers"},
	{name: "layers swapped in the manifest", change: func(s *sample) {
		l := s.manifests[0].Layers
		l[2], l[3] = l[3], l[2]
	}, place: "layer 3", what: "diffID is"},
	{name: "layers swapped in manifest and config", change: func(s *sample) {
		l, d, h := s.manifests[0].Layers, s.configs[0].RootFS.DiffIDs, s.configs[0].History
		l[2], l[3] = l[3], l[2]
		d[2], d[3] = d[3], d[2]
		h[2], h[3] = h[3], h[2]
	}, place: "layer 3", what: "swapped with layer 4"},
	{name: "wrong media type of a layer", change: func(s *sample) {
		s.manifests[0].Layers[0].MediaType = ocispec.MediaTypeImageLayerZstd
	}, place: "layer 1", what: "cannot be decompressed"},
	{name: "wrong size of the tar", change: func(s *sample) {
		s.manifests[0].Layers[0].Annotations[manifest.AnnotationTarSize] = "1024"
	}, place: "manifest", what: "io.nixoci.layer.tarsize"},
	{name: "wrong recipe of a layer", change: func(s *sample) {
		s.manifests[0].Layers[0].Annotations[manifest.AnnotationRecipe] = s.manifests[0].Layers[1].Annotations[manifest.AnnotationRecipe]
	}, place: "manifest", what: "io.nixoci.layer.recipe"},
	{name: "extra layer", change: func(s *sample) {
		l, d, h := &s.manifests[0].Layers, &s.configs[0].RootFS.DiffIDs, &s.configs[0].History
		*l = slices.Insert(*l, 11, (*l)[10])
		*d = slices.Insert(*d, 11, (*d)[10])
		*h = slices.Insert(*h, 11, (*h)[10])
	}, place: "layer 12", what: "layer 11 contains this path too"},

	// The next cases change the Nix database and the closure.
	{name: "path missing from the database", change: func(s *sample) {
		s.database(`DELETE FROM Refs WHERE reference = (SELECT id FROM ValidPaths WHERE path LIKE '%-web-root')`, `DELETE FROM ValidPaths WHERE path LIKE '%-web-root'`)
	}, place: "web-root", what: "the Nix database does not list this path"},
	{name: "extra row in the database", change: func(s *sample) {
		s.database(`INSERT INTO ValidPaths (path, hash, registrationTime, narSize) VALUES ('/nix/store/00000000000000000000000000000000-evil', 'sha256:` + strings.Repeat("0", 64) + `', 1, 120)`)
	}, place: "00000000000000000000000000000000-evil", what: "but no layer contains it"},
	{name: "path missing from the layers", change: func(s *sample) {
		s.edit("-passwd", remove)
	}, place: "-passwd", what: "but no layer contains it"},
	{name: "unreferenced path", change: func(s *sample) {
		s.database(`DELETE FROM Refs WHERE reference = (SELECT id FROM ValidPaths WHERE path LIKE '%-web-root')`)
	}, place: "web-root", what: "not reachable"},
	{name: "reference that is not there", change: func(s *sample) {
		s.database(`PRAGMA foreign_keys = OFF`, `INSERT INTO Refs (referrer, reference) SELECT id, 999 FROM ValidPaths WHERE path LIKE '%-web-root'`)
	}, place: databaseName, what: "999"},
	{name: "one reference more", change: func(s *sample) {
		s.database(`INSERT INTO Refs (referrer, reference) SELECT a.id, b.id FROM ValidPaths a, ValidPaths b WHERE a.path LIKE '%-web-root' AND b.path LIKE '%-media-types-%'`)
	}, place: databaseName, what: "contents differ"},
	{name: "narHash changed with the content", change: func(s *sample) {
		s.edit("web-root/index.html", func(items []item, at int) []item { items[at].content[3] ^= 1; return items })
		// Write the hash of the forged file into the database, so that database and layer agree.
		var hash string
		for _, f := range verified(s.t, s.layout(), Options{}).Findings {
			_, rest, _ := strings.Cut(f.What, "narHash is ")
			hash, _, _ = strings.Cut(rest, ",")
		}
		s.database(`UPDATE ValidPaths SET hash = '` + hex(s.t, hash) + `' WHERE path LIKE '%-web-root'`)
	}, place: databaseName, what: "contents differ"},
	{name: "narSize changed", change: func(s *sample) {
		s.database(`UPDATE ValidPaths SET narSize = narSize + 8 WHERE path LIKE '%-web-root'`)
	}, place: "web-root", what: "narSize is"},
	{name: "deriver in the database", change: func(s *sample) {
		s.database(`UPDATE ValidPaths SET deriver = '/nix/store/00000000000000000000000000000000-x.drv' WHERE path LIKE '%-web-root'`)
	}, place: databaseName, what: "contents differ"},
	{name: "registration time", change: func(s *sample) {
		s.database(`UPDATE ValidPaths SET registrationTime = 1700000000 WHERE path LIKE '%-web-root'`)
	}, place: databaseName, what: "contents differ"},
	{name: "trigger in the database", change: func(s *sample) {
		s.database(`CREATE TRIGGER evil AFTER INSERT ON ValidPaths BEGIN DELETE FROM Refs; END`)
	}, place: databaseName, what: "contents differ"},
	{name: "view instead of a table", change: func(s *sample) {
		s.database(`ALTER TABLE Refs RENAME TO R`, `CREATE VIEW Refs AS WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n FROM x) SELECT n AS referrer, n AS reference FROM x`)
	}, place: databaseName, what: "no tables"},
	{name: "database that is none", change: func(s *sample) {
		s.edit(databaseName, func(items []item, at int) []item { items[at].content = []byte("x"); items[at].setSize(); return items })
	}, place: databaseName, what: "no tables"},
	{name: "no database", change: func(s *sample) { s.edit(databaseName, remove) }, place: databaseName, what: "it is missing"},

	// The next cases change the system layer.
	{name: "absolute symlink in the system layer", change: func(s *sample) {
		s.edit(imageRoot, func(items []item, at int) []item {
			link := entry('2', "usr/bin/env", 0o777, "")
			link.field(157, 257, "/nix/store/evil")
			return insert(items, slices.IndexFunc(items, func(i item) bool { return i.name == "usr/bin" })+1, link)
		})
	}, place: "usr/bin/env", what: "an extra symlink"},
	{name: "image root that is another path", change: func(s *sample) {
		s.edit(imageRoot, func(items []item, at int) []item {
			items[at].field(157, 257, "/nix/store/3szzxfz4jah63s2l70yf85sy5x875d67-dash-0.5.12-2/bin/dash")
			return items
		})
	}, place: imageRoot, what: "target is"},
	{name: "profile that is another path", change: func(s *sample) {
		s.edit("profiles/system-1-link", func(items []item, at int) []item {
			items[at].field(157, 257, "/nix/store/3szzxfz4jah63s2l70yf85sy5x875d67-dash-0.5.12-2")
			return items
		})
	}, what: "not reachable"},
	{name: "extra file in the system layer", change: func(s *sample) {
		s.edit(imageRoot, func(items []item, _ int) []item {
			at := slices.IndexFunc(items, func(i item) bool { return i.name == "etc" })
			return insert(items, at+1, entry('0', "etc/passwd", 0o644, "root::0:0::/:/bin/sh\n"))
		})
	}, place: "etc/passwd", what: "an extra file"},
	{name: "missing directory in the system layer", change: func(s *sample) {
		s.edit(imageRoot, func(items []item, at int) []item {
			return remove(items, slices.IndexFunc(items, func(i item) bool { return i.name == "tmp" }))
		})
	}, place: "tmp", what: "a directory is missing"},
	{name: "mode in the system layer", change: func(s *sample) {
		s.edit(imageRoot, func(items []item, at int) []item {
			items[slices.IndexFunc(items, func(i item) bool { return i.name == "root" })].field(100, 108, "0000777")
			return items
		})
	}, place: "root", what: "mode is 0777, not 0700"},
	{name: "schema", change: func(s *sample) {
		s.edit("db/schema", func(items []item, at int) []item { items[at].content = []byte("11"); return items })
	}, place: "nix/var/nix/db/schema", what: "contents differ at byte 1"},
	{name: "system layer compressed by another tool", gzip: true, change: func(s *sample) {
		s.setTar(0, 12, s.tarOf(0, 12))
	}, place: "layer 13", what: "compressed with gzip:3"},

	// The next cases change the init layer.
	{name: "init that is another program", change: func(s *sample) {
		s.edit(initName, func(items []item, at int) []item { items[at].content[entryPoint] ^= 1; return items })
	}, place: initName, what: "the manifest records"},
	{name: "init that is another program, said", gzip: true, change: func(s *sample) {
		n := s.edit(initName, func(items []item, at int) []item { items[at].content[entryPoint] ^= 1; return items })
		items := s.tarOf(0, n)
		s.manifests[0].Annotations[manifest.AnnotationInit] = digest.FromBytes(items[len(items)-1].content).String()
	}, place: "layer 1", what: "compressed with gzip:3"},
	{name: "init that is a script", change: func(s *sample) {
		s.edit(initName, func(items []item, at int) []item {
			items[at].content = []byte("#!/bin/sh\n")
			items[at].setSize()
			return items
		})
		s.manifests[0].Annotations[manifest.AnnotationInit] = digest.FromString("#!/bin/sh\n").String()
	}, place: initName, what: "not an ELF program"},
	{name: "init that is a link", change: func(s *sample) {
		s.edit(initName, func(items []item, at int) []item {
			items[at] = entry('2', initName, 0o777, "")
			items[at].field(157, 257, "/nix/store/evil")
			return items
		})
	}, place: initName, what: "not a file"},
	{name: "mode of the init", change: func(s *sample) {
		s.edit(initName, func(items []item, at int) []item { items[at].field(100, 108, "0004555"); return items })
	}, place: initName, what: "mode is 4555, not 0555"},
	{name: "extra file in the init layer", change: func(s *sample) {
		s.edit(initName, func(items []item, at int) []item {
			return append(items, entry('0', "sbin/more", 0o555, "x"))
		})
	}, place: "sbin/more", what: "an extra file"},
	{name: "no init layer", change: func(s *sample) {
		s.drop(0, 0)
	}, place: "layer 1", what: "it is missing, or not a file"},
	{name: "init that the manifest does not have", change: func(s *sample) {
		delete(s.manifests[0].Annotations, manifest.AnnotationInit)
	}, place: "layer 1", what: "should be nix"},
	{name: "init layer compressed by another tool", gzip: true, change: func(s *sample) {
		s.setTar(0, 0, s.tarOf(0, 0))
	}, place: "layer 1", what: "compressed with gzip:3"},
	{name: "a format that has no init", change: func(s *sample) {
		s.manifests[0].Annotations[manifest.AnnotationFormat] = "1"
	}, place: "layer 1", what: "should be nix"},

	// The next cases change config, manifest and index.
	{name: "wrong platform in the config", change: func(s *sample) { s.configs[0].Architecture = "arm64" }, place: "system", what: "the config names linux/arm64"},
	{name: "wrong platform in the index", change: func(s *sample) { s.index.Manifests[0].Platform.Architecture = "riscv64" }, place: "system", what: "the index names linux/riscv64"},
	{name: "manifests for each other's platform", change: func(s *sample) {
		s.editIndex = func(b []byte) []byte {
			s.index.Manifests[0].Digest, s.index.Manifests[1].Digest = s.index.Manifests[1].Digest, s.index.Manifests[0].Digest
			s.index.Manifests[0].Size, s.index.Manifests[1].Size = s.index.Manifests[1].Size, s.index.Manifests[0].Size
			return compact(s.t, s.index)
		}
	}, place: "linux/amd64", what: "linux/arm64", arm64: true},
	{name: "changed entrypoint", change: func(s *sample) {
		s.configs[0].Config.Entrypoint = []string{"/bin/evil"}
		s.configs[0].Config.Healthcheck = nil // the health check belongs to the default entrypoint
	}, place: "config", what: `Entrypoint is ["/bin/evil"]`},
	{name: "command", change: func(s *sample) { s.configs[0].Config.Cmd = []string{"systemd.unit=rescue.target"} }, place: "config", what: "Cmd is"},
	{name: "environment", change: func(s *sample) { s.configs[0].Config.Env = append(s.configs[0].Config.Env, "LD_PRELOAD=/evil.so") }, place: "config", what: "Env is"},
	{name: "user", change: func(s *sample) { s.configs[0].Config.User = "1000" }, place: "config", what: "User is"},
	{name: "stop signal", change: func(s *sample) { s.configs[0].Config.StopSignal = "SIGTERM" }, place: "config", what: "StopSignal is"},
	{name: "volume over the store", change: func(s *sample) { s.configs[0].Config.Volumes = map[string]struct{}{"/nix/store": {}} }, place: "config", what: "Volumes is"},
	{name: "label", change: func(s *sample) { s.configs[0].Config.Labels["org.example"] = "x" }, place: "config", what: "Labels is"},
	{name: "toplevel in the labels", change: func(s *sample) {
		s.configs[0].Config.Labels[manifest.AnnotationToplevel] = "/nix/store/00000000000000000000000000000000-x"
	}, place: "config", what: "io.nixoci.toplevel is"},
	{name: "history", change: func(s *sample) { s.configs[0].History[0].CreatedBy = "somebody" }, place: "config", what: "history[0].created_by is \"somebody\""},
	{name: "field in the config that nobody knows", change: func(s *sample) {
		s.editConfig = func(b []byte) []byte { return bytes.Replace(b, []byte(`{`), []byte(`{"evil":1,`), 1) }
	}, place: "config", what: "evil is 1 and should not be there"},
	{name: "white space in the config", change: func(s *sample) {
		s.editConfig = func(b []byte) []byte { return append(b, '\n') }
	}, place: "config", what: "the bytes differ"},
	{name: "annotation of a manifest", change: func(s *sample) { s.manifests[0].Annotations["org.example"] = "x" }, place: "config", what: "annotations is"},
	{name: "toplevel in the annotations", change: func(s *sample) {
		s.manifests[0].Annotations[manifest.AnnotationToplevel] = "/nix/store/00000000000000000000000000000000-x"
	}, place: "manifest", what: "annotations.io.nixoci.toplevel is"},
	{name: "no layer format", change: func(s *sample) { delete(s.manifests[0].Annotations, manifest.AnnotationFormat) }, place: "manifest", what: "not made by nixoci"},
	{name: "another layer format", change: func(s *sample) { s.manifests[0].Annotations[manifest.AnnotationFormat] = "3" }, place: "manifest", what: `image format is "3"`},
	{name: "subject", change: func(s *sample) {
		s.editManifest = func(b []byte) []byte {
			return bytes.Replace(b, []byte(`,"annotations":{"io.nixoci.format`), []byte(`,"subject":{"mediaType":"x","digest":"`+digest.FromString("x").String()+`","size":1},"annotations":{"io.nixoci.format`), 1)
		}
	}, place: "manifest", what: "subject is"},
	{name: "platform twice", change: func(s *sample) {
		s.editIndex = func([]byte) []byte {
			s.index.Manifests = append(s.index.Manifests, s.index.Manifests[1])
			return compact(s.t, s.index)
		}
	}, place: "index", what: "are both for linux/arm64", arm64: true},
	{name: "platforms swapped in the index", change: func(s *sample) {
		s.editIndex = func([]byte) []byte {
			slices.Reverse(s.index.Manifests)
			return compact(s.t, s.index)
		}
	}, place: "index", what: "manifests[0]", arm64: true},
	{name: "annotation of the index", change: func(s *sample) { s.index.Annotations["org.example"] = "x" }, place: "index", what: "org.example is"},
	{name: "toplevel in the index", change: func(s *sample) {
		s.index.Manifests[1].Annotations[manifest.AnnotationNarHash] = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	}, place: "index", what: "io.nixoci.toplevel.narhash", arm64: true},
	{name: "size in the index", change: func(s *sample) {
		s.editIndex = func(b []byte) []byte { s.index.Manifests[0].Size++; return compact(s.t, s.index) }
	}, place: "linux/amd64", what: "bytes instead of"},
}

func TestTampered(t *testing.T) {
	for n, tt := range tampered {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			systems := []string{"x86_64-linux"}
			if tt.arm64 {
				systems = append(systems, "aarch64-linux")
			}
			compression := layers.None
			if tt.gzip {
				compression = layers.Gzip
			}
			st := small
			if tt.whole {
				st = whole
			}
			s := newSampleOf(t, st, compression, systems...)
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
				return // do not read each image again, because this would double the time
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
