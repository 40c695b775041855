package registrytest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Registry implements the part of the distribution specification that nixoci
// uses, as strictly as possible, and counts requests. It is safe for concurrent
// use. A test must hold Mu to access its fields while requests are in flight.
type Registry struct {
	// Before may answer a request instead of the registry. If it does, it returns true.
	Before func(w http.ResponseWriter, r *http.Request) bool

	// If Strict is true, the registry refuses a manifest that lists a blob or manifest which the
	// repository lacks. Real registries do the same.
	Strict bool

	Mu        sync.Mutex
	Sessions  map[string][]byte
	Blobs     map[string][]byte // the key is repository@digest
	Manifests map[string][]byte // the key is repository:tagOrDigest
	Types     map[string]string
	Log       []string // "METHOD path" of every request
	Commits   map[string]int
	Deleted   int // number of sessions that clients deleted
	next      int
}

// New returns an empty registry.
func New() *Registry {
	return &Registry{Sessions: map[string][]byte{}, Blobs: map[string][]byte{},
		Manifests: map[string][]byte{}, Types: map[string]string{}, Commits: map[string]int{}}
}

// Requests counts the requests whose "METHOD path" begins with prefix.
func (f *Registry) Requests(prefix string) (n int) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	for _, l := range f.Log {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

// Open returns the number of open upload sessions.
func (f *Registry) Open() int {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	return len(f.Sessions)
}

// Refuse answers with an error of the distribution specification.
func Refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

// ServeHTTP implements http.Handler.
func (f *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.Mu.Lock()
	f.Log = append(f.Log, r.Method+" "+r.URL.Path)
	f.Mu.Unlock()
	if f.Before != nil && f.Before(w, r) {
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	switch {
	case path == "" || r.URL.Path == "/v2":
		w.WriteHeader(http.StatusOK)
	case strings.Contains(path, "/blobs/uploads/"):
		f.Upload(w, r)
	case strings.Contains(path, "/blobs/"):
		f.blob(w, r, path)
	case strings.Contains(path, "/manifests/"):
		f.manifest(w, r, path)
	case strings.HasSuffix(path, "/tags/list"):
		f.tags(w, strings.TrimSuffix(path, "/tags/list"))
	default:
		Refuse(w, 404, "UNSUPPORTED", "no such endpoint")
	}
}

func (f *Registry) blob(w http.ResponseWriter, r *http.Request, path string) {
	repo, d, _ := strings.Cut(path, "/blobs/")
	f.Mu.Lock()
	data, ok := f.Blobs[repo+"@"+d]
	f.Mu.Unlock()
	if !ok {
		Refuse(w, 404, "BLOB_UNKNOWN", "blob unknown to registry")
		return
	}
	w.Header().Set("Docker-Content-Digest", d)
	var from int
	if n, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n == 1 && err == nil && from < len(data) && r.Method == http.MethodGet {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(data[from:])
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if r.Method == http.MethodGet {
		w.Write(data)
	}
}

// Upload answers requests that open, fill, commit or delete an upload session.
func (f *Registry) Upload(w http.ResponseWriter, r *http.Request) {
	repo, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/uploads/")
	location := func(id string) { w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+id+"?_state=a%2Bb") }
	if r.Method == http.MethodPost {
		f.Mu.Lock()
		defer f.Mu.Unlock()
		q := r.URL.Query()
		if data, ok := f.Blobs[q.Get("from")+"@"+q.Get("mount")]; ok {
			f.Blobs[repo+"@"+q.Get("mount")] = data
			w.WriteHeader(201)
			return
		}
		f.next++
		id := fmt.Sprintf("session-%d", f.next)
		f.Sessions[id] = []byte{}
		location(id)
		w.WriteHeader(202)
		return
	}
	if r.URL.RawQuery != "_state=a%2Bb" && !strings.HasPrefix(r.URL.RawQuery, "_state=a%2Bb&digest=") {
		Refuse(w, 400, "BLOB_UPLOAD_INVALID", "query not preserved: "+r.URL.RawQuery)
		return
	}
	body, err := io.ReadAll(r.Body)
	f.Mu.Lock()
	defer f.Mu.Unlock()
	data, ok := f.Sessions[id]
	if !ok {
		Refuse(w, 404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
		return
	}
	if err != nil { // the connection broke
		return
	}
	switch r.Method {
	case http.MethodPatch:
		if len(data) > 0 {
			Refuse(w, 416, "RANGE_INVALID", "session is not empty")
			return
		}
		f.Sessions[id] = body
		location(id)
		w.WriteHeader(202)
	case http.MethodPut:
		data = append(data, body...)
		d := r.URL.Query().Get("digest")
		if digest.FromBytes(data).String() != d {
			Refuse(w, 400, "DIGEST_INVALID", "provided digest did not match uploaded content")
			return
		}
		f.Blobs[repo+"@"+d] = data
		f.Commits[d]++
		delete(f.Sessions, id)
		w.Header().Set("Docker-Content-Digest", d)
		w.WriteHeader(201)
	case http.MethodDelete:
		delete(f.Sessions, id)
		f.Deleted++
		w.WriteHeader(204)
	}
}

func (f *Registry) manifest(w http.ResponseWriter, r *http.Request, path string) {
	repo, tagOrDigest, _ := strings.Cut(path, "/manifests/")
	if r.Method == http.MethodPut {
		data, err := io.ReadAll(r.Body)
		if err != nil { // the connection broke
			return
		}
		f.Mu.Lock()
		defer f.Mu.Unlock()
		f.putManifest(w, repo, tagOrDigest, data, r.Header.Get("Content-Type"))
		return
	}
	f.Mu.Lock()
	defer f.Mu.Unlock()
	data, ok := f.Manifests[repo+":"+tagOrDigest]
	if !ok {
		Refuse(w, 404, "MANIFEST_UNKNOWN", "manifest unknown")
		return
	}
	w.Header().Set("Content-Type", f.Types[repo+":"+tagOrDigest])
	w.Header().Set("Docker-Content-Digest", digest.FromBytes(data).String())
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if r.Method == http.MethodGet {
		w.Write(data)
	}
}

func (f *Registry) putManifest(w http.ResponseWriter, repo, tagOrDigest string, data []byte, mediaType string) {
	d := digest.FromBytes(data).String()
	if strings.Contains(tagOrDigest, ":") && tagOrDigest != d {
		Refuse(w, 400, "DIGEST_INVALID", "provided digest did not match uploaded content")
		return
	}
	if f.Strict {
		doc, err := parse(data)
		if err != nil {
			Refuse(w, 400, "MANIFEST_INVALID", err.Error())
			return
		}
		if missing := f.missing(repo, doc); missing != nil {
			Refuse(w, 400, "MANIFEST_BLOB_UNKNOWN", missing.Error())
			return
		}
	}
	for _, t := range []string{tagOrDigest, d} {
		f.Manifests[repo+":"+t] = data
		f.Types[repo+":"+t] = mediaType
	}
	w.Header().Set("Docker-Content-Digest", d)
	w.WriteHeader(201)
}

func (f *Registry) tags(w http.ResponseWriter, repo string) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	list := struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{repo, []string{}}
	for name := range f.Manifests {
		if tag, ok := strings.CutPrefix(name, repo+":"); ok && !strings.Contains(tag, ":") {
			list.Tags = append(list.Tags, tag)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(list)
}

// document holds the descriptors that a manifest or an index lists.
type document struct {
	Config    *descriptor
	Layers    []descriptor
	Manifests []descriptor
}

type descriptor struct {
	Digest string
	Size   int64
}

func parse(data []byte) (document, error) {
	var doc document
	err := json.Unmarshal(data, &doc)
	return doc, err
}

// missing returns an error if the repository lacks a blob or manifest that doc lists, or if the
// stored blob or manifest has another size.
func (f *Registry) missing(repo string, doc document) error {
	blobs := doc.Layers
	if doc.Config != nil {
		blobs = append(blobs, *doc.Config)
	}
	for _, b := range blobs {
		if data, ok := f.Blobs[repo+"@"+b.Digest]; !ok {
			return fmt.Errorf("blob %s is not there", b.Digest)
		} else if int64(len(data)) != b.Size {
			return fmt.Errorf("blob %s has %d bytes, not %d", b.Digest, len(data), b.Size)
		}
	}
	for _, m := range doc.Manifests {
		if data, ok := f.Manifests[repo+":"+m.Digest]; !ok {
			return fmt.Errorf("manifest %s is not there", m.Digest)
		} else if int64(len(data)) != m.Size {
			return fmt.Errorf("manifest %s has %d bytes, not %d", m.Digest, len(data), m.Size)
		}
	}
	return nil
}

// Tag returns the digest that a tag names. If there is no such tag, it returns "".
func (f *Registry) Tag(repo, tag string) digest.Digest {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	data, ok := f.Manifests[repo+":"+tag]
	if !ok {
		return ""
	}
	return digest.FromBytes(data)
}

// Check returns an error if the image that tagOrDigest names is incomplete, or if
// a manifest or blob does not match its digest.
func (f *Registry) Check(repo, tagOrDigest string) error {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	return f.check(repo, tagOrDigest)
}

func (f *Registry) check(repo, tagOrDigest string) error {
	data, ok := f.Manifests[repo+":"+tagOrDigest]
	if !ok {
		return fmt.Errorf("%s: not there", tagOrDigest)
	}
	if strings.Contains(tagOrDigest, ":") && digest.FromBytes(data).String() != tagOrDigest {
		return fmt.Errorf("%s: it is %s", tagOrDigest, digest.FromBytes(data))
	}
	doc, err := parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", tagOrDigest, err)
	}
	if err := f.missing(repo, doc); err != nil {
		return fmt.Errorf("%s: %w", tagOrDigest, err)
	}
	for _, l := range doc.Layers {
		if sum := fmt.Sprintf("sha256:%x", sha256.Sum256(f.Blobs[repo+"@"+l.Digest])); sum != l.Digest {
			return fmt.Errorf("%s: blob %s is %s", tagOrDigest, l.Digest, sum)
		}
	}
	for _, m := range doc.Manifests {
		if err := f.check(repo, m.Digest); err != nil {
			return fmt.Errorf("%s: %w", tagOrDigest, err)
		}
	}
	return nil
}
