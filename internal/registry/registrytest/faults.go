package registrytest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault describes one fault: requests of class On fail in the way that Kind names. The first Skip
// of these requests pass, and the next Times of them fail.
type Fault struct {
	On    Class
	Kind  FaultKind
	Skip  int
	Times int
}

// Always is a value for Fault.Times. With it, the fault never ends.
const Always = 1 << 30

// String returns the fault in the form that [ParseScript] reads: CLASS KIND
// [after N] [times N|always].
func (f Fault) String() string {
	s := string(f.On) + " " + string(f.Kind)
	if f.Skip > 0 {
		s += fmt.Sprintf(" after %d", f.Skip)
	}
	switch {
	case f.Times >= Always:
		s += " always"
	case f.Times != 1:
		s += fmt.Sprintf(" times %d", f.Times)
	}
	return s
}

// ParseScript reads faults, separated by newlines or semicolons.
func ParseScript(s string) ([]Fault, error) {
	var all []Fault
	for line := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\n' || r == ';' }) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		f, err := parseFault(words)
		if err != nil {
			return nil, fmt.Errorf("fault %q: %w", strings.TrimSpace(line), err)
		}
		all = append(all, f)
	}
	return all, nil
}

func parseFault(words []string) (Fault, error) {
	if len(words) < 2 {
		return Fault{}, fmt.Errorf("not CLASS KIND [after N] [times N|always]")
	}
	f := Fault{On: Class(words[0]), Kind: FaultKind(words[1]), Times: 1}
	known := false
	for _, k := range kindsOf[f.On] {
		known = known || k == f.Kind
	}
	if !known {
		return Fault{}, fmt.Errorf("no such fault; a %s may have %v", f.On, kindsOf[f.On])
	}
	for rest := words[2:]; len(rest) > 0; {
		if rest[0] == "always" {
			f.Times, rest = Always, rest[1:]
			continue
		}
		if len(rest) < 2 {
			return Fault{}, fmt.Errorf("a number is missing after %s", rest[0])
		}
		n, err := strconv.Atoi(rest[1])
		if err != nil || n < 0 {
			return Fault{}, fmt.Errorf("%s is no number", rest[1])
		}
		switch rest[0] {
		case "after":
			f.Skip = n
		case "times":
			f.Times = n
		default:
			return Fault{}, fmt.Errorf("%s is neither after, times nor always", rest[0])
		}
		rest = rest[2:]
	}
	return f, nil
}

// Class names a class of requests.
type Class string

// These are the classes of requests.
const (
	Any         Class = "any"
	HeadTag     Class = "head-tag"
	GetTag      Class = "get-tag"
	PutTag      Class = "put-tag"
	HeadChild   Class = "head-manifest" // this class and the next two name the manifest by its digest
	GetChild    Class = "get-manifest"
	PutChild    Class = "put-manifest"
	HeadBlob    Class = "head-blob"
	GetBlob     Class = "get-blob"
	OpenUpload  Class = "open-upload"
	Patch       Class = "patch"
	CommitBlob  Class = "commit"
	CloseUpload Class = "close-upload"
	Token       Class = "token"
	ListTags    Class = "list-tags"
)

func classOf(r *http.Request) Class {
	path := r.URL.Path
	byMethod := func(head, get, put Class) Class {
		switch r.Method {
		case http.MethodHead:
			return head
		case http.MethodPut:
			return put
		}
		return get
	}
	switch {
	case path == "/token":
		return Token
	case strings.HasSuffix(path, "/tags/list"):
		return ListTags
	case strings.Contains(path, "/manifests/sha256:"):
		return byMethod(HeadChild, GetChild, PutChild)
	case strings.Contains(path, "/manifests/"):
		return byMethod(HeadTag, GetTag, PutTag)
	case strings.Contains(path, "/blobs/uploads/"):
		switch r.Method {
		case http.MethodPost:
			return OpenUpload
		case http.MethodPatch:
			return Patch
		case http.MethodPut:
			return CommitBlob
		}
		return CloseUpload
	case strings.Contains(path, "/blobs/"):
		return byMethod(HeadBlob, GetBlob, CommitBlob)
	}
	return Any
}

// FaultKind names the way in which a request fails.
type FaultKind string

// These faults happen before the registry has received the whole request.
const (
	Cut         FaultKind = "cut"      // the connection ends before the body is read
	CutHalf     FaultKind = "cut-half" // the connection ends in the middle of the body
	Hang        FaultKind = "hang"     // the server reads the whole request and never answers
	Stall       FaultKind = "stall"    // the server reads only half of the body
	Corrupt     FaultKind = "corrupt"  // one bit of the body is changed
	Truncate    FaultKind = "truncate" // the second half of the body is lost
	Early       FaultKind = "early"    // the server answers with success in the middle of the body
	Nonsense    FaultKind = "nonsense" // the answer is not HTTP
	HTML        FaultKind = "html"     // the answer is 200 with a web page, as some gateways send
	Busy        FaultKind = "429"      // status 429 with Retry-After
	BusyAtOnce  FaultKind = "429-bare" // status 429 without Retry-After
	Error500    FaultKind = "500"
	Error502    FaultKind = "502" // status 502 with a web page
	Error503    FaultKind = "503" // status 503 with a date in Retry-After
	Timeout408  FaultKind = "408"
	Forbidden   FaultKind = "403"
	NotThere    FaultKind = "404" // status 404, although the resource exists
	Range416    FaultKind = "416"
	Expire      FaultKind = "expire"       // all tokens expire before this request
	LoseSession FaultKind = "lose-session" // all upload sessions are lost
	Redirect    FaultKind = "redirect"     // one redirect with status 307 to the same address
	Loop        FaultKind = "loop"         // redirects with status 307 to the same address, without end
)

// These faults happen after the registry has handled the request.
const (
	Lost         FaultKind = "lost"           // the answer does not arrive
	Failed       FaultKind = "failed"         // the answer has status 500
	Forget       FaultKind = "forget"         // the answer reports success, but nothing is stored
	WrongDigest  FaultKind = "wrong-digest"   // Docker-Content-Digest is wrong
	WrongLength  FaultKind = "wrong-length"   // Content-Length is too large by one
	NoDigest     FaultKind = "no-digest"      // Docker-Content-Digest is missing
	NoLocation   FaultKind = "no-location"    // Location is missing
	Absolute     FaultKind = "absolute"       // Location contains scheme and host, which the specification allows
	CutAnswer    FaultKind = "cut-answer"     // the connection ends in the middle of the body
	ShortAnswer  FaultKind = "short-answer"   // the body and Content-Length are half as long as they should be
	FlipAnswer   FaultKind = "flip-answer"    // one bit of the body is changed
	SlowAnswer   FaultKind = "slow-answer"    // the answer takes 20 seconds, which is allowed
	TrickleBytes FaultKind = "trickle-answer" // one byte of the body arrives per second
	Claim        FaultKind = "claim"          // status 200, although the resource does not exist
)

var (
	any1   = []FaultKind{Cut, Hang, Nonsense, Busy, BusyAtOnce, Error500, Error502, Error503, Timeout408, Lost, Failed, SlowAnswer, Redirect, Expire}
	body1  = []FaultKind{CutHalf, Stall, Corrupt, Truncate}
	bytes1 = []FaultKind{CutAnswer, TrickleBytes, FlipAnswer, ShortAnswer}
)

// kindsOf lists the kinds of faults that can happen to each class of requests.
var kindsOf = map[Class][]FaultKind{
	Any:         {Cut, Hang, Error500, Error503, Busy},
	HeadTag:     with(any1, NotThere, WrongDigest, WrongLength, NoDigest),
	GetTag:      with(any1, append([]FaultKind{NotThere, WrongDigest, NoDigest, HTML}, bytes1...)...),
	PutTag:      with(any1, append([]FaultKind{WrongDigest, NoDigest, Forget}, body1...)...),
	HeadChild:   with(any1, NotThere, WrongDigest, NoDigest),
	GetChild:    with(any1, append([]FaultKind{NotThere, HTML}, bytes1...)...),
	PutChild:    with(any1, append([]FaultKind{NoDigest, Forget}, body1...)...),
	HeadBlob:    with(any1, NotThere, WrongLength, Claim),
	GetBlob:     with(any1, append([]FaultKind{NotThere, HTML}, bytes1...)...),
	OpenUpload:  with(any1, NoLocation, Absolute),
	Patch:       with(any1, append([]FaultKind{Early, LoseSession, Range416, NotThere, NoLocation, Absolute}, body1...)...),
	CommitBlob:  with(any1, LoseSession, NotThere, Forget, WrongDigest, NoDigest),
	CloseUpload: {Cut, Hang, Error500, NotThere},
	Token:       {Cut, Hang, Busy, Error500, Error502, Error503, Lost, SlowAnswer, CutAnswer},
	ListTags:    {Cut, Hang, Error500, HTML, Lost, CutAnswer},
}

func with(a []FaultKind, b ...FaultKind) []FaultKind {
	return append(append([]FaultKind{}, a...), b...)
}

// These are the classes of requests in a push and a pull. Frequent and important classes are listed
// several times, so that Seeded chooses them more often.
var (
	PushClasses = []Class{HeadTag, GetTag, PutTag, PutTag, GetChild, PutChild, PutChild, HeadBlob, GetBlob,
		OpenUpload, OpenUpload, Patch, Patch, Patch, CommitBlob, CommitBlob, CommitBlob, HeadChild, CloseUpload, Token}
	PullClasses = []Class{GetTag, GetChild, GetBlob, GetBlob, Token}
)

// Seeded returns 1 to 4 faults, each of which happens once. A client can recover from these faults.
// Most of them happen to the first requests of their class.
func Seeded(seed uint64, classes []Class) []Fault {
	r := rand.New(rand.NewPCG(seed, 1))
	faults := make([]Fault, 1+r.IntN(4))
	for i := range faults {
		on := classes[r.IntN(len(classes))]
		kinds := kindsOf[on]
		f := Fault{On: on, Kind: kinds[r.IntN(len(kinds))], Times: 1}
		switch on {
		case OpenUpload, Patch, CommitBlob, GetBlob:
			f.Skip = r.IntN(5)
		case HeadBlob, PutChild, GetChild:
			f.Skip = r.IntN(2)
		}
		faults[i] = f
	}
	return faults
}

// Lasting returns a fault that never ends. A few requests may succeed before the fault begins.
func Lasting(seed uint64, classes []Class) []Fault {
	r := rand.New(rand.NewPCG(seed, 2))
	on := classes[r.IntN(len(classes))]
	kinds := with(kindsOf[on], Forbidden, Loop)
	return []Fault{{On: on, Kind: kinds[r.IntN(len(kinds))], Skip: r.IntN(3), Times: Always}}
}

// Faults is a registry with faults.
type Faults struct {
	Handler  http.Handler
	Registry *Registry // the registry behind Handler
	Tokens   *Tokens   // nil if there is no token server
	Script   []Fault
	Happened func(what string) // called for each fault that happens; may be nil

	mu    sync.Mutex
	seen  map[int]int // number of requests of a fault's class so far; the key is the fault's index
	fired []string    // the faults that happened
}

// NewFaults puts faults in front of a registry. If tokens is not nil, it puts them in front of the
// token server too.
func NewFaults(r *Registry, tokens *Tokens, script []Fault) *Faults {
	f := &Faults{Handler: r, Registry: r, Tokens: tokens, Script: script, seen: map[int]int{}}
	if tokens != nil {
		f.Handler = tokens
	}
	return f
}

// Fired returns the faults that happened. The server may still answer a request that the client
// gave up, so more can follow.
func (f *Faults) Fired() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.fired)
}

// pick returns the fault that happens to the request r. If no fault happens, it returns "".
func (f *Faults) pick(r *http.Request) FaultKind {
	class := classOf(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	kind := FaultKind("")
	for i, fault := range f.Script {
		if fault.On != class && fault.On != Any {
			continue
		}
		n := f.seen[i]
		f.seen[i]++
		if kind == "" && n >= fault.Skip && n-fault.Skip < fault.Times {
			kind = fault.Kind
			what := fmt.Sprintf("%s %s: %s", r.Method, r.URL.Path, kind)
			if f.fired = append(f.fired, what); f.Happened != nil {
				f.Happened(what)
			}
		}
	}
	return kind
}

// ServeHTTP implements http.Handler.
func (f *Faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := f.pick(r)
	if kind == "" {
		f.Handler.ServeHTTP(w, r)
		return
	}
	if f.answers(kind, w, r) {
		return
	}
	switch kind { // these faults change the request that the registry receives
	case Corrupt:
		r.Body = io.NopCloser(&flipped{r: r.Body})
	case Truncate:
		data, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(data[:len(data)/2]))
	case Expire:
		if f.Tokens != nil {
			f.Tokens.Revoke()
		}
	case LoseSession:
		f.Registry.Mu.Lock()
		clear(f.Registry.Sessions)
		f.Registry.Mu.Unlock()
	}
	a := httptest.NewRecorder()
	f.Handler.ServeHTTP(a, r)
	f.back(kind, a, w, r)
}

// answers answers a request that the fault keeps from the registry. It reports whether kind is such
// a fault.
func (f *Faults) answers(kind FaultKind, w http.ResponseWriter, r *http.Request) bool {
	switch kind {
	case Cut:
		panic(http.ErrAbortHandler)
	case CutHalf:
		half(r)
		panic(http.ErrAbortHandler)
	case Hang:
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	case Stall:
		half(r)
		time.Sleep(5 * time.Minute) // the server does not notice a closed connection while the body is unread
		panic(http.ErrAbortHandler)
	case Early:
		half(r)
		w.WriteHeader(http.StatusAccepted)
	case Nonsense:
		garble(w)
	case HTML:
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html>Welcome</html>")
	case Busy:
		w.Header().Set("Retry-After", "3")
		Refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "slow down")
	case Error503:
		w.Header().Set("Retry-After", time.Now().Add(4*time.Second).UTC().Format(http.TimeFormat))
		Refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE", "back soon")
	case Error502:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, "<html>bad gateway</html>")
	case BusyAtOnce:
		Refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "slow down")
	case Error500, Timeout408, Forbidden, NotThere, Range416:
		status, _ := strconv.Atoi(string(kind))
		Refuse(w, status, "UNKNOWN", "no reason")
	case Claim:
		w.Header().Set("Docker-Content-Digest", r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
		w.WriteHeader(http.StatusOK)
	case Redirect, Loop:
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Location", r.URL.String())
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		return false
	}
	return true
}

// half reads half of a request's body. If the body's length is unknown, half reads 64 bytes.
func half(r *http.Request) {
	n := r.ContentLength / 2
	if n < 0 {
		n = 64
	}
	io.CopyN(io.Discard, r.Body, n)
}

func garble(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // the connection uses HTTP/2
		panic(http.ErrAbortHandler)
	}
	defer c.Close()
	io.WriteString(c, "\x00\x01 this is no HTTP\r\n\r\n")
}

// back sends the registry's answer after the fault has changed it.
func (f *Faults) back(kind FaultKind, a *httptest.ResponseRecorder, w http.ResponseWriter, r *http.Request) {
	body := a.Body.Bytes()
	length := len(body)
	if n, err := strconv.Atoi(a.Header().Get("Content-Length")); err == nil {
		length = n
	}
	cut := false
	switch kind {
	case Lost:
		panic(http.ErrAbortHandler)
	case Failed:
		Refuse(w, http.StatusInternalServerError, "UNKNOWN", "it was done all the same")
		return
	case Forget:
		f.forget(r)
	case WrongDigest:
		a.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0123456789abcdef", 4))
	case WrongLength:
		length++
	case NoDigest:
		a.Header().Del("Docker-Content-Digest")
	case NoLocation:
		a.Header().Del("Location")
	case Absolute:
		if l := a.Header().Get("Location"); strings.HasPrefix(l, "/") {
			a.Header().Set("Location", "http://"+r.Host+l)
		}
	case CutAnswer:
		body, cut = body[:len(body)/2], true
	case ShortAnswer:
		body = body[:len(body)/2]
		length = len(body)
	case FlipAnswer:
		if len(body) > 0 {
			body[len(body)/2] ^= 4
		}
	case SlowAnswer:
		time.Sleep(20 * time.Second)
	}
	for k, v := range a.Header() {
		w.Header()[k] = v
	}
	if r.Method == http.MethodHead || len(body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(length))
	}
	w.WriteHeader(a.Code)
	if kind == TrickleBytes {
		trickle(w, r, body)
		return
	}
	w.Write(body)
	if cut {
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func trickle(w http.ResponseWriter, r *http.Request, body []byte) {
	for _, b := range body {
		if _, err := w.Write([]byte{b}); err != nil || r.Context().Err() != nil {
			panic(http.ErrAbortHandler)
		}
		http.NewResponseController(w).Flush()
		time.Sleep(time.Second)
	}
}

// forget deletes the blob or manifest that the request r stored.
func (f *Faults) forget(r *http.Request) {
	reg := f.Registry
	reg.Mu.Lock()
	defer reg.Mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	if repo, target, ok := strings.Cut(path, "/manifests/"); ok {
		delete(reg.Manifests, repo+":"+target)
		return
	}
	if repo, _, ok := strings.Cut(path, "/blobs/uploads/"); ok {
		delete(reg.Blobs, repo+"@"+r.URL.Query().Get("digest"))
	}
}

// flipped is a body with one flipped bit.
type flipped struct {
	r    io.Reader
	done bool
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if n > 0 && !f.done {
		f.done = true
		p[n/2] ^= 1
	}
	return n, err
}
