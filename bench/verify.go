package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/nixoci/nixoci/internal/mediatype"
)

// verifyPrefix begins the names of the cases that verify an image. A compression follows.
const verifyPrefix = "verify "

// verifyCompressions are the compressions of the images that the benchmark verifies.
var verifyCompressions = []string{"gzip", "zstd", "none"}

// verifyLimit describes the least processor time that verify needs. Each field holds the
// seconds of one step over all layers of the image.
type verifyLimit struct {
	BlobSize   int64   `json:"blobSize"`
	TarSize    int64   `json:"tarSize"`
	Receive    float64 `json:"receive"`    // receiving all blobs from the registry
	Decompress float64 `json:"decompress"` // decompressing all blobs, with the library that nixoci uses
	SHA256Blob float64 `json:"sha256Blob"` // hashing the blobs
	SHA256Tar  float64 `json:"sha256Tar"`  // hashing the tars, for the diffIDs; 0 if a blob is the tar itself
	SHA256NAR  float64 `json:"sha256Nar"`  // hashing as many bytes as all NARs have, for the narHashes
}

// decompressAndHash returns the seconds for the digests of the blobs and the diffIDs only.
func (l verifyLimit) decompressAndHash() float64 { return l.Decompress + l.SHA256Blob + l.SHA256Tar }

// all returns the seconds of all steps.
func (l verifyLimit) all() float64 { return l.Receive + l.decompressAndHash() + l.SHA256NAR }

// verifyCases returns a case for each compression. Each verifies a pushed image on a machine
// that has no cache.
func (l *lab) verifyCases() []benchCase {
	var all []benchCase
	for _, comp := range verifyCompressions {
		all = append(all, benchCase{
			name: verifyPrefix + comp,
			run:  func(o *outcome) (sample, error) { return l.verify(o, comp, nil) },
			count: func(o *outcome) (*traffic, error) {
				return l.counted(func(via func(string) (string, error)) error {
					_, err := l.verify(o, comp, via)
					return err
				})
			},
		})
	}
	return all
}

// verify runs nixoci verify once. If via is not nil, verify reads the image from the address
// that via returns.
func (l *lab) verify(o *outcome, comp string, via func(addr string) (string, error)) (sample, error) {
	home, err := l.fresh()
	if err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(home)
	repo, err := l.prepare(home, situation{comp: comp, known: true})
	if err != nil {
		return sample{}, err
	}
	addr := l.addr
	if via != nil {
		if addr, err = via(addr); err != nil {
			return sample{}, err
		}
	}
	p, err := l.timed([]string{"HOME=" + home, "XDG_CACHE_HOME=" + home}, l.nixoci, "verify", addr+"/"+repo+":latest", "--quiet")
	if err != nil {
		return sample{}, err
	}
	all, err := l.pushedLayers(repo)
	if err != nil {
		return sample{}, err
	}
	return p.sample, o.setLayers(repo, all)
}

// pushedLayers returns the layers of the image that nixoci has pushed into repo.
func (l *lab) pushedLayers(repo string) ([]ocispec.Descriptor, error) {
	var index ocispec.Index
	if err := l.getManifest(repo, "latest", ocispec.MediaTypeImageIndex, &index); err != nil {
		return nil, err
	}
	if len(index.Manifests) != 1 {
		return nil, fmt.Errorf("the index of %s has %d manifests", repo, len(index.Manifests))
	}
	var m ocispec.Manifest
	err := l.getManifest(repo, index.Manifests[0].Digest.String(), index.Manifests[0].MediaType, &m)
	return m.Layers, err
}

// getManifest reads the manifest or index that name names into doc.
func (l *lab) getManifest(repo, name, mediaType string, doc any) error {
	data, err := l.get("/v2/"+repo+"/manifests/"+name, mediaType)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, doc)
}

// get reads path from the registry.
func (l *lab) get(path, accept string) ([]byte, error) {
	req, err := http.NewRequestWithContext(l.ctx, http.MethodGet, "http://"+l.addr+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	data := bytes.NewBuffer(make([]byte, 0, max(resp.ContentLength, 0)+bytes.MinRead))
	_, err = data.ReadFrom(resp.Body)
	return data.Bytes(), err
}

// verifyLimits measures the limit of each verify case in r.
func (l *lab) verifyLimits(r *results) error {
	for _, comp := range verifyCompressions {
		if r.Cases[verifyPrefix+comp] == nil {
			continue
		}
		lim, err := l.verifyLimit(comp)
		if err != nil {
			return fmt.Errorf("limit of verify, %s: %w", comp, err)
		}
		if r.Verify == nil {
			r.Verify = map[string]verifyLimit{}
		}
		r.Verify[comp] = lim
		fmt.Fprintf(os.Stderr, "%-40s %+v\n", "limit of "+verifyPrefix+comp, lim)
	}
	return nil
}

// verifyLimit measures each step of verify over the layers of the image with this
// compression.
func (l *lab) verifyLimit(comp string) (verifyLimit, error) {
	home, err := l.fresh()
	if err != nil {
		return verifyLimit{}, err
	}
	defer os.RemoveAll(home)
	repo, err := l.prepare(home, situation{comp: comp, known: true})
	if err != nil {
		return verifyLimit{}, err
	}
	all, err := l.pushedLayers(repo)
	if err != nil {
		return verifyLimit{}, err
	}
	sys, err := l.describe()
	if err != nil {
		return verifyLimit{}, err
	}
	var lim verifyLimit
	piece := make([]byte, pieceSize)
	for _, d := range all {
		before := selfCPU()
		blob, err := l.get("/v2/"+repo+"/blobs/"+d.Digest.String(), d.MediaType)
		lim.Receive += (selfCPU() - before).Seconds()
		if err == nil {
			err = lim.measure(blob, d.MediaType, piece)
		}
		if err != nil {
			return verifyLimit{}, fmt.Errorf("layer %s: %w", d.Digest, err)
		}
	}
	hashed := lim.SHA256Tar
	if comp == "none" {
		hashed, lim.SHA256Tar = lim.SHA256Blob, 0
	}
	// The contents of the NARs and of the tars are the same bytes.
	lim.SHA256NAR = hashed * float64(sys.NarSize) / float64(lim.TarSize)
	return lim, nil
}

// measure decompresses and hashes one blob, piece by piece.
func (l *verifyLimit) measure(blob []byte, mediaType string, piece []byte) error {
	l.BlobSize += int64(len(blob))
	l.SHA256Blob += hashSeconds(blob)
	var tar io.Reader = bytes.NewReader(blob)
	uncompressed := false
	seconds, err := threadCPU(func() (err error) {
		switch mediaType {
		case ocispec.MediaTypeImageLayerGzip, mediatype.DockerLayerGzip:
			tar, err = gzip.NewReader(tar)
		case ocispec.MediaTypeImageLayerZstd:
			tar, err = zstd.NewReader(tar, zstd.WithDecoderConcurrency(1))
		default:
			uncompressed = true
		}
		return err
	})
	if uncompressed {
		l.TarSize += int64(len(blob))
		return nil
	}
	if z, ok := tar.(*zstd.Decoder); ok {
		defer z.Close()
	}
	for err == nil {
		l.Decompress += seconds
		var n int
		seconds, err = threadCPU(func() (err error) { n, err = io.ReadFull(tar, piece); return err })
		if err == io.ErrUnexpectedEOF && n > 0 {
			err = nil // the last piece is shorter than the others
		}
		l.TarSize += int64(n)
		l.SHA256Tar += hashSeconds(piece[:n])
	}
	l.Decompress += seconds
	if err == io.EOF {
		return nil
	}
	return err
}

// hashSeconds returns the processor time of hashing b.
func hashSeconds(b []byte) float64 {
	seconds, _ := threadCPU(func() error { sha256.Sum256(b); return nil })
	return seconds
}

// verifyBounds describes what profiles of verify show. A person writes this text and must
// update it.
const verifyBounds = `The decoders and sha256 limit the speed of verify. With gzip, decompressing takes 56 % of the processor time and sha256 38 %. With zstd, sha256 takes 53 % and decompressing 37 %.
verify hashes each byte of a layer twice: in the tar and in the NAR. With zstd, the narHashes alone take more than a fifth of verify's time. So with the library's decoder for zstd, the share of "decompress and hash" cannot reach 90 %.
verify decompresses each block into a buffer, and the tar reader and both hashes read the block there. So nothing is copied, except the bytes around small files.`

// verification writes the section about verify.
func (p *pageWriter) verification(r *results) {
	names := r.names(func(n string) bool { return strings.HasPrefix(n, verifyPrefix) })
	if len(names) == 0 {
		return
	}
	p.line("")
	p.line("## Verifying an image")
	p.line("")
	p.line("`nixoci verify` reads the pushed image from the registry, on a machine without a cache. It computes three kinds of hashes: the digest of each blob, the diffID of each layer (the sha256 of its tar), and the narHash of each store path. An uncompressed blob is the tar itself, so its digest is also the diffID.")
	p.line("")
	p.line("| | wall s | cpu s | registry cpu s | peak MB | requests | received MB | image MB | others |")
	p.line("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, n := range names {
		o := r.Cases[n]
		requests, received := "", ""
		if o.Counted != nil {
			requests, received = fmt.Sprint(o.Counted.Requests), mb(o.Counted.Received)
		}
		p.line("| %s | %.2f | %.2f | %.2f | %.0f | %s | %s | %s | %s |", n, o.median(wall), o.median(cpu), o.median(registry),
			o.median(peak)/1e6, requests, received, mb(o.Image), o.othersText())
	}
	if len(r.Verify) == 0 {
		return
	}
	p.line("")
	p.line("The next table has the processor seconds of each step alone, over the same layers: receiving the blobs, decompressing them in one stream with the library that nixoci uses, and hashing.")
	p.line("\"Decompress and hash\" contains only the work for the digests and the diffIDs. verify also hashes each NAR, which is nearly as much work as the diffIDs. \"All steps\" contains this too, and receiving the blobs. Each share is the limit divided by verify's processor time. Parsing the tar and making the other parts of the image again count as verify's own time. For gzip layers, nixoci has a decoder of its own (internal/inflate). It takes less time than the library, so the shares of gzip can be above 100 %%.")
	p.line("")
	p.line("| | receive s | decompress s | sha256 of blobs s | of tars s | of NARs s | decompress and hash, cpu s | all steps, cpu s | verify, cpu s | share, decompress and hash | share, all steps |")
	p.line("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, n := range names {
		lim, measured := r.Verify[strings.TrimPrefix(n, verifyPrefix)]
		if !measured {
			continue
		}
		took := r.Cases[n].median(cpu)
		p.line("| %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.0f %% | %.0f %% |", n, lim.Receive, lim.Decompress, lim.SHA256Blob,
			lim.SHA256Tar, lim.SHA256NAR, lim.decompressAndHash(), lim.all(), took, lim.decompressAndHash()/took*100, lim.all()/took*100)
	}
	p.line("")
	p.line("%s", verifyBounds)
}
