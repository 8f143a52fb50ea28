package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/proxy"
	"example.org/avdb/ksn/serving"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testKey(t testing.TB, seed byte) *protocol.SigningKey {
	t.Helper()
	k, err := protocol.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// provider makes the file of a network whose provider has the key seed, and its reputation key is the next one.
func provider(t testing.TB, seed byte, network string) *protocol.ProviderFile {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	f, err := protocol.SignProvider(protocol.Provider{Schema: protocol.Version, Network: network, Name: "Example Corp", Serial: 1,
		Issued: dbformat.At(now.Add(-24 * time.Hour)), Expires: dbformat.At(now.Add(365 * 24 * time.Hour)), URLs: []string{"https://ksn.example.org"},
		Keys: [][]byte{testKey(t, seed+1).Public()}, Capabilities: []string{protocol.CapabilityStats}}, testKey(t, seed))
	if err != nil {
		t.Fatal(err)
	}
	return &f
}

// A server is a real one of a network: it signs, and remembers what came.
type server struct {
	t   testing.TB
	key *protocol.SigningKey
	net string // fingerprint
	now func() time.Time

	mu        sync.Mutex
	requests  []*http.Request
	bodies    []string
	questions map[protocol.Prefix]int
	life, neg time.Duration
	issued    time.Duration // after now
	pad       int           // entries of each answer besides
	about     func(protocol.Prefix) protocol.Prefix
	refuse    http.HandlerFunc // takes the place of all answers
	wait      chan struct{}    // answers wait for it
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.requests, s.bodies = append(s.requests, r), append(s.bodies, string(body))
	refuse, wait := s.refuse, s.wait
	s.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-r.Context().Done():
		}
	}
	if refuse != nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		refuse(w, r)
		return
	}
	switch {
	case r.Header.Get(protocol.NetworkHeader) != s.net:
		refusal(protocol.CodeWrongNetwork, 0)(w, r)
	case r.URL.Path == protocol.PathInfo:
		_, _ = w.Write(s.info())
	case r.URL.Path == protocol.PathStats:
		w.WriteHeader(http.StatusAccepted)
	case r.URL.Path == protocol.PathBatch:
		list, err := protocol.ParseQuery(body)
		if err != nil {
			refusal(protocol.CodeBadRequest, 0)(w, r)
			return
		}
		_, _ = w.Write(protocol.JoinReplies(s.sign(list...)))
	default:
		part := strings.Split(strings.TrimPrefix(r.URL.Path, protocol.PathLookup), "/")
		p, err := protocol.ParsePrefix(part[0], part[1], part[2])
		if err != nil {
			refusal(protocol.CodeBadRequest, 0)(w, r)
			return
		}
		_, _ = w.Write(s.sign(p))
	}
}

func (s *server) sign(list ...protocol.Prefix) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	head := protocol.Head{V: protocol.Version, Issued: dbformat.At(s.now().Add(s.issued).UTC().Truncate(time.Second)), TTL: uint32(s.life / time.Second),
		NegTTL: uint32(s.neg / time.Second), Release: 7}
	var answers []protocol.Answer
	for _, p := range list {
		s.questions[p]++
		if s.about != nil {
			p = s.about(p)
		}
		a := protocol.Answer{Head: head, Prefix: p}
		for i := range s.pad + 1 {
			key, err := protocol.ParseKey(p.Type, (p.Hex() + strings.Repeat("0", 64))[:2*p.Type.KeySize()-4]+fmt.Sprintf("%04x", i))
			if err != nil {
				s.t.Error(err)
			}
			a.Entries = append(a.Entries, protocol.Entry{Key: key, Verdict: protocol.Untrusted, Name: "Win.Trojan.Example"})
		}
		answers = append(answers, a)
	}
	b, err := protocol.SignReply(answers, s.key)
	if err != nil {
		s.t.Error(err)
	}
	return b
}

func (s *server) info() []byte {
	b, err := protocol.SignInfo(protocol.Info{V: protocol.Version, Network: s.net, Name: "Example", Issued: dbformat.At(s.now().UTC().Truncate(time.Second)),
		TTL: 3600, PrefixBits: 24, MinWait: 300, Capabilities: []string{}}, s.key)
	if err != nil {
		s.t.Error(err)
	}
	return b
}

// change alters the server while it runs.
func (s *server) change(f func(*server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// asked is how many requests came, and the most often that one prefix was asked for.
func (s *server) asked() (requests, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.questions {
		most = max(most, n)
	}
	return len(s.requests), most
}

// refusal answers with a problem.
func refusal(c protocol.Code, wait time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		p := protocol.NewProblem(c, "refused", "", wait)
		p.Record = "record-1"
		w.Header().Set("Content-Type", protocol.ProblemType)
		w.WriteHeader(p.Status)
		_, _ = w.Write(p.Marshal())
	}
}

// A tally is a collector that remembers.
type tally struct {
	mu       sync.Mutex
	outcomes map[string]int
	fates    map[proxy.Fate]int
}

func (c *tally) Request(k proxy.Kind, o proxy.Outcome, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(serving.Kinds(), k) || !slices.Contains(proxy.Outcomes(), o) || took < 0 {
		o = "undeclared " + o
	}
	c.outcomes[string(k)+" "+string(o)]++
}

func (c *tally) Questions(f proxy.Fate, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fates[f] += n
}

func (c *tally) of(f proxy.Fate) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fates[f]
}

func (c *tally) all() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.outcomes)
}

// A world is a network with one server and one proxy.
type world struct {
	t        testing.TB
	provider *protocol.ProviderFile
	keys     protocol.Keys
	server   *server
	tally    *tally
	clock    time.Duration // that is added to the system's
	mu       sync.Mutex
	*proxy.Proxy
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.clock)
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock += d
}

// wires is a transport without sockets: hosts are handlers.
type wires struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
}

func (t *wires) set(host string, h http.Handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hosts[host] = h
}

func (t *wires) RoundTrip(r *http.Request) (*http.Response, error) {
	t.mu.Lock()
	h := t.hosts[r.URL.Host]
	t.mu.Unlock()
	if h == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	defer r.Body.Close()
	rec, over := httptest.NewRecorder(), make(chan struct{})
	in := r.Clone(r.Context())
	in.RequestURI = in.URL.RequestURI()
	go func() {
		defer close(over)
		h.ServeHTTP(rec, in)
	}()
	<-over
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

func newWorld(t testing.TB, change ...func(*proxy.Config)) *world {
	t.Helper()
	return newWorldOf(t, provider(t, 1, protocol.Global), testKey(t, 2), change...)
}

func newWorldOf(t testing.TB, f *protocol.ProviderFile, k *protocol.SigningKey, change ...func(*proxy.Config)) *world {
	t.Helper()
	w := &world{t: t, provider: f, keys: f.ReputationKeys(), tally: &tally{outcomes: map[string]int{}, fates: map[proxy.Fate]int{}}}
	w.server = &server{t: t, key: k, net: f.Fingerprint, now: w.now, questions: map[protocol.Prefix]int{}, life: 4 * time.Hour, neg: time.Hour}
	c := proxy.Config{Provider: f, Upstreams: []string{"http://server"}, Transport: &wires{hosts: map[string]http.Handler{"server": w.server}}, Collector: w.tally,
		Install: "00112233445566778899aabbccddeeff", Now: w.now, Random: func() float64 { return 0.5 }}
	for _, f := range change {
		f(&c)
	}
	p, err := proxy.New(c)
	if err != nil {
		t.Fatal(err)
	}
	w.Proxy = p
	t.Cleanup(p.Close)
	return w
}

// do sends one request without a connection; header lists names and values.
func (w *world) do(method, target, body string, header ...string) *httptest.ResponseRecorder {
	return do(w.Proxy, method, target, body, header...)
}

func do(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), method, target, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = []string{header[i+1]}
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func prefix(t protocol.Type, value uint32) protocol.Prefix {
	return protocol.Prefix{Type: t, Bits: 24, Value: value}
}

// check demands that a response is an answer to p, authentic and in time.
func (w *world) check(rec *httptest.ResponseRecorder, p protocol.Prefix) protocol.Answer {
	w.t.Helper()
	if rec.Code != 200 {
		w.t.Fatalf("%s: %d %s", p, rec.Code, rec.Body)
	}
	s, err := w.keys.Open(rec.Body.Bytes())
	if err == nil {
		err = s.Answer.CheckTime(w.now())
	}
	if err != nil || s.Answer.Prefix != p {
		w.t.Fatalf("%s was answered for %s: %v", p, s.Answer.Prefix, err)
	}
	return s.Answer
}

// ask gets one answer.
func (w *world) ask(p protocol.Prefix) protocol.Answer {
	w.t.Helper()
	return w.check(w.do("GET", p.Path(), ""), p)
}

func query(t testing.TB, prefixes ...protocol.Prefix) string {
	t.Helper()
	q, err := protocol.MarshalQuery(prefixes)
	if err != nil {
		t.Fatal(err)
	}
	return string(q)
}

// askAll gets a batch, and demands an answer to each question.
func (w *world) askAll(prefixes ...protocol.Prefix) []protocol.Signed {
	w.t.Helper()
	rec := w.do("POST", protocol.PathBatch, query(w.t, prefixes...))
	if rec.Code != 200 {
		w.t.Fatalf("batch: %d %s", rec.Code, rec.Body)
	}
	all, err := w.keys.OpenAll(rec.Body.Bytes(), prefixes)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// problem demands a problem with the code, well formed.
func (w *world) problem(rec *httptest.ResponseRecorder, code protocol.Code) protocol.Problem {
	w.t.Helper()
	p, err := isProblem(rec)
	if err != nil || p.Code != code {
		w.t.Errorf("%d %s: %v, want the problem %s", rec.Code, rec.Body, err, code)
	}
	return p
}

// isProblem tells what is wrong with a problem.
func isProblem(rec *httptest.ResponseRecorder) (p protocol.Problem, err error) {
	h := rec.Header()
	if err := dbformat.DecodeJSON(rec.Body.Bytes(), &p); err != nil {
		return p, err
	}
	switch {
	case h.Get("Content-Type") != protocol.ProblemType, rec.Body.Len() > protocol.MaxProblem:
		return p, fmt.Errorf("%d bytes of %s", rec.Body.Len(), h.Get("Content-Type"))
	case !slices.Contains(proxy.Outcomes(), proxy.Outcome(p.Code)) || p.Code.Status() != rec.Code || p.Status != rec.Code || p.Title == "":
		return p, fmt.Errorf("status %d, in the problem %d, for the code %q", rec.Code, p.Status, p.Code)
	case h.Get("Cache-Control") != "no-store":
		return p, errors.New("caches may keep it")
	case (p.Wait > 0) != (h.Get("Retry-After") == fmt.Sprint(p.Wait)):
		return p, fmt.Errorf("wait %d, Retry-After %q", p.Wait, h.Get("Retry-After"))
	case p.Wait > 24*3600:
		return p, fmt.Errorf("a wait of %d seconds", p.Wait)
	}
	return p, nil
}
