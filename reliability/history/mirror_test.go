//go:build check

package history

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// A source is what one place that updates come from is in one step.
type source struct {
	tree  int    // of the graph; -1 is somebody else's repository
	mixed int    // where its metadata below the timestamp comes from another state: that state's index + 1; 0 for no mixing
	lie   string // what it does to the files of a class, "" for nothing: an honest mirror of its tree
	class string // of files: timestamp, root, metadata, release, set, light, rest, all
	times int    // how often it lies; 0 for always
	at    uint64 // where, for lies that have a place
}

func (s source) String() string {
	var b strings.Builder
	if s.tree < 0 {
		b.WriteString("somebody else's")
	} else {
		fmt.Fprintf(&b, "state %d", s.tree)
	}
	if s.mixed > 0 {
		fmt.Fprintf(&b, " under the timestamp of which is state %d", s.mixed-1)
	}
	if s.lie != "" {
		fmt.Fprintf(&b, ", %s: %s", s.class, s.lie)
		if s.times > 0 {
			fmt.Fprintf(&b, " (%d times)", s.times)
		}
		fmt.Fprintf(&b, " @%d", s.at)
	}
	return b.String()
}

// clean tells whether a source serves one state as it was published.
func (s source) clean() bool { return s.lie == "" && s.mixed == 0 && s.tree >= 0 }

// withholdsRoots tells whether a source says that there is no further root where there is one.
func (s source) withholdsRoots() bool {
	return (s.class == "root" || s.class == "all") && (s.lie == "403" || s.lie == "404" || s.lie == "410")
}

// The lies of a mirror. Those of one that never answers take time and are told by another row of the matrix.
var lies = []string{"refuses", "resets", "cuts", "short", "flips", "other bytes", "longer", "endless", "empty", "page", "gzip", "200 for range",
	"206 elsewhere", "redirects away", "redirects to file", "redirects to loopback", "redirects in circles", "206 unasked",
	"403", "404", "410", "416", "429", "429 for an hour", "429 for a year", "429 for longer", "500", "503", "503 for an hour"}

var classes = []string{"timestamp", "root", "metadata", "release", "set", "light", "rest", "layers", "all"}

func classOf(name string) string {
	switch {
	case name == "metadata/timestamp.json":
		return "timestamp"
	case strings.HasSuffix(name, ".root.json"):
		return "root"
	case strings.HasPrefix(name, "metadata/"):
		return "metadata"
	case strings.HasSuffix(name, ".release.json"):
		return "release"
	case strings.HasPrefix(name, "targets/restrictions/"):
		return "set"
	case strings.HasPrefix(name, "targets/light/"):
		return "light"
	}
	return "rest"
}

func (s source) concerns(name string) bool {
	c := classOf(name)
	return s.class == "all" || s.class == c || s.class == "layers" && (c == "light" || c == "rest")
}

// limitOf is how much of a file may be read, the true length or, where none is signed, the role's limit.
func limitOf(name string, content []byte) int {
	switch classOf(name) {
	case "timestamp":
		return signing.MaxTimestamp
	case "root":
		return signing.MaxRoot
	case "metadata":
		return max(signing.MaxTargets, signing.MaxSnapshot)
	case "set":
		return max(len(content), dbformat.MaxRestrictionSet)
	case "release":
		return max(len(content), dbformat.MaxReleaseRecord)
	}
	return len(content)
}

// A network is all sources of one step without a socket: an http.RoundTripper. Host N.test is source N.
type network struct {
	g       *graph
	sources []source

	mu       sync.Mutex
	dead     bool // the process died: nothing is sent any more
	told     []int
	requests int
	whole    map[string]int // answers with a whole layer file, by class
	layers   int            // requests for layer files
	excess   []string       // answers that were read too far
}

var errRefused = errors.New("connection refused")

// RoundTrip answers one request.
func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.requests++
	host, _, _ := strings.Cut(r.URL.Host, ".")
	i, err := strconv.Atoi(strings.TrimPrefix(host, "away"))
	if n.dead || err != nil || i >= len(n.sources) {
		return nil, errRefused
	}
	s := n.sources[i]
	name := strings.TrimPrefix(r.URL.Path, "/")
	content, found := n.content(s, name)
	c := classOf(name)
	if c == "light" || c == "rest" {
		n.layers++
	}
	lying := s.lie != "" && !strings.HasPrefix(host, "away") && s.concerns(name)
	if lying && s.times > 0 {
		if n.told[i] >= s.times {
			lying = false
		}
		n.told[i]++
	}
	a := &answer{n: n, r: r, name: name, content: content, found: found, s: s, host: i}
	if lying {
		return a.lie()
	}
	return a.honest()
}

// content is what an honest mirror of the source's state would send.
func (n *network) content(s source, name string) ([]byte, bool) {
	t := n.g.other
	if s.tree >= 0 {
		t = n.g.trees[s.tree]
	}
	if s.mixed > 0 && name != "metadata/timestamp.json" {
		t = n.g.trees[s.mixed-1]
	}
	b, ok := t.files[name]
	return b, ok
}

// An answer is one answer in the making.
type answer struct {
	n       *network
	r       *http.Request
	name    string
	content []byte
	found   bool
	s       source
	host    int
}

func (a *answer) send(status int, body io.Reader, length int64, header ...string) (*http.Response, error) {
	h := http.Header{"Accept-Ranges": {"bytes"}}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	if a.r.Method == http.MethodHead {
		body = bytes.NewReader(nil)
	}
	b := &counted{r: body, n: a.n, name: a.name, limit: limitOf(a.name, a.content) + 64<<10}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: b, ContentLength: length, Request: a.r}, nil
}

func (a *answer) status(code int, header ...string) (*http.Response, error) {
	return a.send(code, strings.NewReader("no\n"), 3, header...)
}

// from is the first byte that was asked for; 0 for a whole file.
func (a *answer) from() int {
	v, ok := strings.CutPrefix(a.r.Header.Get("Range"), "bytes=")
	if !ok {
		return 0
	}
	from, err := strconv.Atoi(strings.TrimSuffix(v, "-"))
	if err != nil {
		return 0
	}
	return from
}

func (a *answer) honest() (*http.Response, error) {
	if !a.found {
		return a.status(http.StatusNotFound)
	}
	return a.bytes(a.content)
}

// bytes sends b, or the part of it that was asked for.
func (a *answer) bytes(b []byte) (*http.Response, error) {
	if from := a.from(); from > 0 {
		if from >= len(b) {
			return a.status(http.StatusRequestedRangeNotSatisfiable)
		}
		return a.part(b, from)
	}
	if c := classOf(a.name); a.r.Method == http.MethodGet && (c == "light" || c == "rest") && strings.HasSuffix(a.name, ".bundle") {
		a.n.whole[c]++
	}
	return a.send(http.StatusOK, bytes.NewReader(b), int64(len(b)))
}

func (a *answer) part(b []byte, from int) (*http.Response, error) {
	return a.send(http.StatusPartialContent, bytes.NewReader(b[from:]), int64(len(b)-from),
		"Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b)-1, len(b)))
}

// place is where in the file the lie is.
func (a *answer) place() int {
	if len(a.content) == 0 {
		return 0
	}
	return int(a.s.at % uint64(len(a.content)))
}

func (a *answer) lie() (*http.Response, error) {
	switch l := a.s.lie; {
	case l == "refuses":
		return nil, errRefused
	case l[0] >= '4' && l[0] <= '5':
		return a.refusal(l)
	case strings.HasPrefix(l, "redirects"):
		return a.redirect(l)
	case !a.found:
		return a.status(http.StatusNotFound)
	}
	return a.altered(a.s.lie)
}

func (a *answer) refusal(l string) (*http.Response, error) {
	code, err := strconv.Atoi(l[:3])
	if err != nil {
		panic(err) // the list above
	}
	switch l[3:] {
	case " for an hour":
		return a.status(code, "Retry-After", "3600")
	case " for a year":
		return a.status(code, "Retry-After", "31536000")
	case " for longer":
		return a.status(code, "Retry-After", "99999999999999999999")
	}
	return a.status(code)
}

func (a *answer) redirect(l string) (*http.Response, error) {
	to := map[string]string{
		"redirects away":        fmt.Sprintf("http://away%d.test/%s", a.host, a.name),
		"redirects to file":     "file:///etc/hostname",
		"redirects to loopback": "http://127.0.0.1/" + a.name,
		"redirects in circles":  fmt.Sprintf("http://%d.test/%s", a.host, a.name),
	}[l]
	return a.status(http.StatusFound, "Location", to)
}

func (a *answer) altered(l string) (*http.Response, error) {
	b, at := a.content, a.place()
	switch l {
	case "resets":
		return a.send(http.StatusOK, io.MultiReader(bytes.NewReader(b[:at]), broken{}), int64(len(b)))
	case "cuts":
		return a.send(http.StatusOK, io.MultiReader(bytes.NewReader(b[:at]), broken{io.ErrUnexpectedEOF}), int64(len(b)))
	case "short":
		return a.bytes(b[:at])
	case "flips":
		b = bytes.Clone(b)
		b[at] ^= 1 << (a.s.at >> 32 % 8)
		return a.bytes(b)
	case "other bytes":
		return a.bytes(bytes.Repeat([]byte{byte(a.s.at)}, len(b)))
	case "longer":
		return a.bytes(append(slices.Clip(b), make([]byte, 1+a.s.at%5000)...))
	case "endless":
		return a.send(http.StatusOK, io.MultiReader(bytes.NewReader(b), zeroes{}), -1)
	case "empty":
		return a.send(http.StatusOK, bytes.NewReader(nil), 0)
	case "page":
		return a.bytes([]byte("<!DOCTYPE html><html><body>Please sign in.</body></html>\n"))
	case "gzip":
		return a.send(http.StatusOK, bytes.NewReader(b), int64(len(b)), "Content-Encoding", "gzip")
	case "200 for range":
		return a.send(http.StatusOK, bytes.NewReader(b), int64(len(b)))
	case "206 elsewhere":
		if a.from() == 0 {
			return a.bytes(b)
		}
		return a.part(b, at)
	case "206 unasked":
		return a.part(b, at)
	}
	panic("no lie " + l)
}

// broken ends a body as a lost connection does.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return 0, errors.New("connection reset by peer")
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// counted is a body that knows how far it may be read.
type counted struct {
	r     io.Reader
	n     *network
	name  string
	read  int
	limit int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p[:min(len(p), 64<<10)])
	before := c.read
	if c.read += n; c.read > c.limit && before <= c.limit {
		c.n.mu.Lock()
		c.n.excess = append(c.n.excess, fmt.Sprintf("%s was read beyond %d bytes", c.name, c.limit))
		c.n.mu.Unlock()
	}
	return n, err
}

func (c *counted) Close() error { return nil }
