package registrytest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is one thing that goes wrong: Kind happens to requests of class On, to
// the Times of them after the first Skip.
type Fault struct {
	On    Class
	Kind  Kind
	Skip  int
	Times int
}

// Always is for Fault.Times.
const Always = 1 << 30

// String is what [ParseScript] reads: CLASS KIND [after N] [times N|always].
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

// ParseScript reads faults, one a line or between semicolons.
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
	f := Fault{On: Class(words[0]), Kind: Kind(words[1]), Times: 1}
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

// Class is a class of requests.
type Class string

// The classes.
const (
	Any         Class = "any"
	HeadTag     Class = "head-tag"
	GetTag      Class = "get-tag"
	PutTag      Class = "put-tag"
	HeadChild   Class = "head-manifest" // by digest
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

// Kind is what goes wrong.
type Kind string

// On the way to the registry, which does not see the request, or not all of it.
const (
	Cut         Kind = "cut"          // the connection ends before the body is read
	CutHalf     Kind = "cut-half"     // … in the middle of the body
	Hang        Kind = "hang"         // all is read, nothing is answered
	Stall       Kind = "stall"        // the body is read to its middle, and no further
	Corrupt     Kind = "corrupt"      // a bit of the body flips
	Truncate    Kind = "truncate"     // the body's second half is lost
	Early       Kind = "early"        // success is answered in the middle of the body
	Nonsense    Kind = "nonsense"     // the answer is not HTTP
	HTML        Kind = "html"         // 200 and a page, as some gateways have it
	Busy        Kind = "429"          // with Retry-After
	BusyAtOnce  Kind = "429-bare"     // without
	Error500    Kind = "500"          //
	Error502    Kind = "502"          // with a page of HTML
	Error503    Kind = "503"          // with a date in Retry-After
	Timeout408  Kind = "408"          //
	Forbidden   Kind = "403"          //
	NotThere    Kind = "404"          // although it is
	Range416    Kind = "416"          //
	Expire      Kind = "expire"       // all tokens end before this request
	LoseSession Kind = "lose-session" // all upload sessions are gone
	Redirect    Kind = "redirect"     // 307, to the same place
	Loop        Kind = "loop"         // 307, every time
)

// On the way back: the registry has done what was asked.
const (
	Lost         Kind = "lost"           // the answer does not arrive
	Failed       Kind = "failed"         // the answer is 500
	Forget       Kind = "forget"         // success is answered, and nothing is kept
	WrongDigest  Kind = "wrong-digest"   // Docker-Content-Digest is another's
	WrongLength  Kind = "wrong-length"   // Content-Length is one more
	NoDigest     Kind = "no-digest"      // there is no Docker-Content-Digest
	NoLocation   Kind = "no-location"    // there is no Location
	Absolute     Kind = "absolute"       // Location has scheme and host: no fault
	CutAnswer    Kind = "cut-answer"     // the body ends in its middle
	ShortAnswer  Kind = "short-answer"   // … and the length says so
	FlipAnswer   Kind = "flip-answer"    // a bit of the body flips
	SlowAnswer   Kind = "slow-answer"    // it takes 20 seconds: no fault
	TrickleBytes Kind = "trickle-answer" // a byte a second
	Claim        Kind = "claim"          // 200 though it is not there
)

var (
	any1   = []Kind{Cut, Hang, Nonsense, Busy, BusyAtOnce, Error500, Error502, Error503, Timeout408, Lost, Failed, SlowAnswer, Redirect, Expire}
	body1  = []Kind{CutHalf, Stall, Corrupt, Truncate}
	bytes1 = []Kind{CutAnswer, TrickleBytes, FlipAnswer, ShortAnswer}
)

// kindsOf says what can go wrong with which requests.
var kindsOf = map[Class][]Kind{
	Any:         {Cut, Hang, Error500, Error503, Busy},
	HeadTag:     with(any1, NotThere, WrongDigest, WrongLength, NoDigest),
	GetTag:      with(any1, append([]Kind{NotThere, WrongDigest, NoDigest, HTML}, bytes1...)...),
	PutTag:      with(any1, append([]Kind{WrongDigest, NoDigest, Forget}, body1...)...),
	HeadChild:   with(any1, NotThere, WrongDigest, NoDigest),
	GetChild:    with(any1, append([]Kind{NotThere, HTML}, bytes1...)...),
	PutChild:    with(any1, append([]Kind{NoDigest, Forget}, body1...)...),
	HeadBlob:    with(any1, NotThere, WrongLength, Claim),
	GetBlob:     with(any1, append([]Kind{NotThere, HTML}, bytes1...)...),
	OpenUpload:  with(any1, NoLocation, Absolute),
	Patch:       with(any1, append([]Kind{Early, LoseSession, Range416, NotThere, NoLocation, Absolute}, body1...)...),
	CommitBlob:  with(any1, LoseSession, NotThere, Forget, WrongDigest, NoDigest),
	CloseUpload: {Cut, Hang, Error500, NotThere},
	Token:       {Cut, Hang, Busy, Error500, Error502, Error503, Lost, SlowAnswer, CutAnswer},
	ListTags:    {Cut, Hang, Error500, HTML, Lost, CutAnswer},
}

func with(a []Kind, b ...Kind) []Kind { return append(append([]Kind{}, a...), b...) }

// The classes that a push and a pull consist of. What there is more of, and what
// matters most, stands there more than once.
var (
	PushClasses = []Class{HeadTag, GetTag, PutTag, PutTag, GetChild, PutChild, PutChild, HeadBlob, GetBlob,
		OpenUpload, OpenUpload, Patch, Patch, Patch, CommitBlob, CommitBlob, CommitBlob, HeadChild, CloseUpload, Token}
	PullClasses = []Class{GetTag, GetChild, GetBlob, GetBlob, Token}
)

// Seeded returns 1 to 4 faults that a client can outlive, each of which happens
// once. Most of them are somewhere among the first requests of their class.
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

// Lasting returns a fault that does not go away, perhaps after a good start.
func Lasting(seed uint64, classes []Class) []Fault {
	r := rand.New(rand.NewPCG(seed, 2))
	on := classes[r.IntN(len(classes))]
	kinds := with(kindsOf[on], Forbidden, Loop)
	return []Fault{{On: on, Kind: kinds[r.IntN(len(kinds))], Skip: r.IntN(3), Times: Always}}
}

// Faults is a registry with faults.
type Faults struct {
	Handler  http.Handler
	Registry *Registry // that Handler ends in
	Tokens   *Tokens   // nil where there are none
	Script   []Fault
	Happened func(what string) // if any, is told of each fault

	mu    sync.Mutex
	seen  map[int]int // requests that each fault could have had
	Fired []string    // what happened
}

// NewFaults puts faults before a registry, and before a token server if tokens
// is not nil.
func NewFaults(r *Registry, tokens *Tokens, script []Fault) *Faults {
	f := &Faults{Handler: r, Registry: r, Tokens: tokens, Script: script, seen: map[int]int{}}
	if tokens != nil {
		f.Handler = tokens
	}
	return f
}

// pick returns what happens to r, "" for nothing.
func (f *Faults) pick(r *http.Request) Kind {
	class := classOf(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	kind := Kind("")
	for i, fault := range f.Script {
		if fault.On != class && fault.On != Any {
			continue
		}
		n := f.seen[i]
		f.seen[i]++
		if kind == "" && n >= fault.Skip && n-fault.Skip < fault.Times {
			kind = fault.Kind
			what := fmt.Sprintf("%s %s: %s", r.Method, r.URL.Path, kind)
			if f.Fired = append(f.Fired, what); f.Happened != nil {
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
	switch kind { // what the registry gets
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
	a := &answer{header: http.Header{}, status: http.StatusOK}
	f.Handler.ServeHTTP(a, r)
	f.back(kind, a, w, r)
}

// answers does what keeps a request from the registry, and reports whether kind
// is of that sort.
func (f *Faults) answers(kind Kind, w http.ResponseWriter, r *http.Request) bool {
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
		time.Sleep(5 * time.Minute) // with a body unread, nobody notices that the client went
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

// half reads half of a request's body, or of what comes first of one whose
// length nobody knows.
func half(r *http.Request) {
	n := r.ContentLength / 2
	if n < 0 {
		n = 64
	}
	io.CopyN(io.Discard, r.Body, n)
}

func garble(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2
		panic(http.ErrAbortHandler)
	}
	defer c.Close()
	io.WriteString(c, "\x00\x01 this is no HTTP\r\n\r\n")
}

// back sends the registry's answer, or what becomes of it.
func (f *Faults) back(kind Kind, a *answer, w http.ResponseWriter, r *http.Request) {
	body := a.body.Bytes()
	length := len(body)
	if n, err := strconv.Atoi(a.header.Get("Content-Length")); err == nil {
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
		a.header.Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0123456789abcdef", 4))
	case WrongLength:
		length++
	case NoDigest:
		a.header.Del("Docker-Content-Digest")
	case NoLocation:
		a.header.Del("Location")
	case Absolute:
		if l := a.header.Get("Location"); strings.HasPrefix(l, "/") {
			a.header.Set("Location", "http://"+r.Host+l)
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
	for k, v := range a.header {
		w.Header()[k] = v
	}
	if r.Method == http.MethodHead || len(body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(length))
	}
	w.WriteHeader(a.status)
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

// forget undoes what a request did.
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

// flipped is a body with one bit changed.
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

// answer keeps what a registry answers.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
