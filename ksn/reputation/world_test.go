package reputation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// A world is a network in memory: hosts that answer, and a transport that fails the test for each request that no decision allows.
type world struct {
	t        testing.TB
	provider *protocol.ProviderFile
	key      *protocol.SigningKey // signs answers

	mu       sync.Mutex
	entries  map[protocol.Key]protocol.Entry
	release  uint64
	ttl, neg uint32
	bits     uint8
	hosts    map[string]handler // by host; others refuse the connection
	requests []string           // "host METHOD path"
	asked    map[protocol.Prefix]int
	headers  []http.Header

	facts  ksn.Facts
	set    *ksn.Set
	routes RouteSettings
	memory *memory
	events chan string
	next   int  // the last object that asks asked about
	learns bool // clients ask for info by themselves; false where a test counts other requests
}

type handler func(w *world, r *http.Request) (*http.Response, error)

const install = "00112233445566778899aabbccddeeff"

func signer(t testing.TB, seed string) *protocol.SigningKey {
	t.Helper()
	k, err := protocol.GenerateKey(strings.NewReader(strings.Repeat(seed, 32)[:32]))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// consent is that of a user who said yes a moment ago.
func consent(t testing.TB, m ksn.Mode) ksn.Consent {
	t.Helper()
	s, err := ksn.FindStatement(ksn.DefaultStatements(), 0, "en")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ksn.Consent{}.Accept(s, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if c, err = c.Enable(m, time.Now()); err != nil {
		t.Fatal(err)
	}
	return c
}

// newWorld makes a network of a kind whose servers are s1 and s2, and which a device uses in basic mode.
func newWorld(t testing.TB, kind string) *world {
	t.Helper()
	w := &world{t: t, key: signer(t, kind+"answers"), entries: map[protocol.Key]protocol.Entry{}, release: 7, ttl: 3600, neg: 600, bits: protocol.DefaultBits,
		hosts: map[string]handler{"s1": serve, "s2": serve}, asked: map[protocol.Prefix]int{}, memory: &memory{}, events: make(chan string, 1000)}
	now := time.Now()
	p := protocol.Provider{Schema: protocol.Version, Network: kind, Name: kind, Serial: 1, Issued: dbformat.At(now.Add(-time.Hour)),
		Expires: dbformat.At(now.Add(365 * 24 * time.Hour)), URLs: []string{"https://s1", "https://s2"}, Keys: [][]byte{w.key.Public()},
		Capabilities: []string{protocol.CapabilityCloudMode, protocol.CapabilityStats}}
	f, err := protocol.SignProvider(p, signer(t, kind+"provider"))
	if err != nil {
		t.Fatal(err)
	}
	w.provider = &f
	w.facts = ksn.Facts{Consent: consent(t, ksn.ModeBasic), Network: Installed(&f), Install: install, Product: "suite", Version: "2.1.0",
		Variant: dbformat.VariantLight}
	return w
}

// client makes a client of the world; it is closed with the test.
func (w *world) client(change ...func(*Config)) *Client {
	w.t.Helper()
	config := Config{
		Facts: func() (ksn.Facts, *ksn.Set) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.facts, w.set
		},
		Provider: w.provider, Memory: w.memory, Transport: w, Running: true, Random: func() float64 { return 0.5 },
		Routes: func() RouteSettings {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.routes
		},
	}
	for _, f := range change {
		f(&config)
	}
	c, err := New(config)
	if err != nil {
		w.t.Fatal(err)
	}
	c.learning = !w.learns
	w.t.Cleanup(func() { c.Close() })
	return c
}

// began is when bubbles of synctest begin.
func (w *world) began() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func (w *world) do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// RoundTrip is the one way out. Nothing passes without the decision that allows it.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if d, ok := r.Context().Value(decisionKey{}).(ksn.Decision); !ok || !d.Allowed {
		w.t.Errorf("%s %s leaves without a decision", r.Method, r.URL)
	}
	w.mu.Lock()
	host := r.URL.Hostname()
	w.requests = append(w.requests, host+" "+r.Method+" "+r.URL.Path)
	w.headers = append(w.headers, r.Header.Clone())
	h := w.hosts[host]
	w.mu.Unlock()
	if h == nil {
		return nil, errors.New("connection refused")
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return h(w, r)
}

func (w *world) sent() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.requests)
}

// count is how many requests a host got.
func (w *world) count(host string) int {
	n := 0
	for _, r := range w.sent() {
		if strings.HasPrefix(r, host+" ") {
			n++
		}
	}
	return n
}

// reply makes a response.
func reply(status int, body []byte, header ...string) *http.Response {
	r := &http.Response{StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// serve is an honest server.
func serve(w *world, r *http.Request) (*http.Response, error) {
	if r.Header.Get(protocol.NetworkHeader) != w.provider.Fingerprint {
		return problem(protocol.CodeWrongNetwork, 0)(w, r)
	}
	switch r.URL.Path {
	case protocol.PathStats:
		return reply(204, nil), nil
	case protocol.PathInfo:
		w.mu.Lock()
		defer w.mu.Unlock()
		b, err := protocol.SignInfo(protocol.Info{V: protocol.Version, Network: w.provider.Fingerprint, Name: "n", Issued: dbformat.At(time.Now()), TTL: 3600,
			Release: w.release, PrefixBits: w.bits, MinWait: 60, Capabilities: []string{protocol.CapabilityStats}}, w.key)
		if err != nil {
			return nil, err
		}
		return reply(200, b), nil
	}
	prefixes, err := asked(r)
	if err != nil {
		return reply(400, nil), nil
	}
	answers := w.answers(prefixes, w.key)
	if r.Method == http.MethodPost {
		return reply(200, protocol.JoinReplies(answers...), "Content-Type", "text/html"), nil
	}
	return reply(200, answers[0], "Content-Type", "application/json"), nil
}

// asked reads which prefixes a request is about.
func asked(r *http.Request) ([]protocol.Prefix, error) {
	if r.Method == http.MethodPost {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		return protocol.ParseQuery(b)
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, protocol.PathLookup), "/")
	if len(parts) != 3 {
		return nil, errors.New("no prefix")
	}
	p, err := protocol.ParsePrefix(parts[0], parts[1], parts[2])
	return []protocol.Prefix{p}, err
}

// answer is what the network knows of a prefix.
func (w *world) answer(p protocol.Prefix) protocol.Answer {
	a := protocol.Answer{Head: protocol.Head{V: protocol.Version, Issued: dbformat.At(time.Now()), TTL: w.ttl, NegTTL: w.neg, Release: w.release}, Prefix: p,
		Entries: []protocol.Entry{}}
	for k, e := range w.entries {
		if p.Covers(k) {
			a.Entries = append(a.Entries, e)
		}
	}
	return a
}

// answers signs one reply for each prefix.
func (w *world) answers(prefixes []protocol.Prefix, key *protocol.SigningKey, change ...func(*protocol.Answer)) (all [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range prefixes {
		w.asked[p]++
		a := w.answer(p)
		for _, f := range change {
			f(&a)
		}
		b, err := protocol.SignReply([]protocol.Answer{a}, key)
		if err != nil {
			w.t.Error(err)
		}
		all = append(all, b)
	}
	return all
}

// sign is an honest server but for what change makes of its answers, and the key.
func sign(key *protocol.SigningKey, change ...func(*protocol.Answer)) handler {
	return func(w *world, r *http.Request) (*http.Response, error) {
		prefixes, err := asked(r)
		if err != nil {
			return reply(400, nil), nil
		}
		all := w.answers(prefixes, key, change...)
		if r.Method == http.MethodPost {
			return reply(200, protocol.JoinReplies(all...)), nil
		}
		return reply(200, all[0]), nil
	}
}

// problem is a server that answers with an error.
func problem(code protocol.Code, wait time.Duration, header ...string) handler {
	return func(*world, *http.Request) (*http.Response, error) {
		p := protocol.NewProblem(code, "title", "", wait)
		p.Record = "network-record"
		return reply(code.Status(), p.Marshal(), append(header, "Content-Type", protocol.ProblemType)...), nil
	}
}

func status(code int, header ...string) handler {
	return func(*world, *http.Request) (*http.Response, error) {
		return reply(code, []byte("<html>"), header...), nil
	}
}

// hang never answers.
func hang(_ *world, r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// drip sends a byte a second, for ever.
func drip(_ *world, r *http.Request) (*http.Response, error) {
	resp := reply(200, nil)
	resp.Body = io.NopCloser(dripping{r.Context()})
	return resp, nil
}

type dripping struct{ ctx context.Context }

func (d dripping) Read(b []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		b[0] = ' '
		return 1, nil
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	}
}

// knows lets the network know of a key.
func (w *world) knows(k protocol.Key, v protocol.Verdict, name string) {
	w.do(func() { w.entries[k] = protocol.Entry{Key: k, Verdict: v, Name: name} })
}

// restrict puts a set with the records' JSON in force.
func (w *world) restrict(epoch int, records string) {
	w.t.Helper()
	s, err := dbformat.ParseRestrictionSource(fmt.Appendf(nil, `{"schema":1,"epoch":%d,"records":[%s]}`, epoch, records))
	if err != nil {
		w.t.Fatal(err)
	}
	at := dbformat.At(time.Now())
	s.Signed = &at
	set, err := ksn.NewSet(s)
	if err != nil {
		w.t.Fatal(err)
	}
	w.do(func() { w.set = set })
}

func fileKey(n int) protocol.Key { return keyOf(protocol.FileSHA256, n) }

func keyOf(t protocol.Type, n int) protocol.Key {
	k := protocol.Key{Type: t}
	k.Sum[0], k.Sum[1], k.Sum[2], k.Sum[3] = byte(n>>16), byte(n>>8), byte(n), 1
	for i := 4; i < t.KeySize(); i++ {
		k.Sum[i] = byte(i)
	}
	return k
}

// file is an object that nobody suspects; hit is one that the light database of release 7 suspects.
func file(n int) Object { return Object{Keys: []protocol.Key{fileKey(n)}, Size: -1} }

func hit(n int) Object {
	o := file(n)
	o.Suspected, o.Release, o.Path, o.Name = true, 7, fmt.Sprintf("/f%d", n), "Light"
	return o
}

func (c *Client) one(o ksn.Origin, object Object) Verdict {
	return c.Lookup(context.Background(), o, []Object{object})[0]
}

// A memory is a Memory that goes through JSON as the real one does.
type memory struct {
	mu       sync.Mutex
	record   []byte
	deferred []Deferred
	cache    map[string]CacheEntry
	fail     error
	writes   int
}

func (m *memory) ReadKSN(v any) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil || m.record == nil {
		return false, m.fail
	}
	return true, json.Unmarshal(m.record, v)
}

func (m *memory) UpdateKSN(v any, change func(bool) error) error {
	ok, err := m.ReadKSN(v)
	if err != nil {
		return err
	}
	if err := change(ok); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	m.record, err = json.Marshal(v)
	return err
}

func same(a, b Deferred) bool { return a.Key == b.Key && a.Path == b.Path }

func (m *memory) Defer(list []Deferred) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range list {
		if i := slices.IndexFunc(m.deferred, func(o Deferred) bool { return same(o, d) }); i >= 0 {
			d.Since = m.deferred[i].Since
			m.deferred[i] = d
			continue
		}
		m.deferred = append(m.deferred, d)
	}
	return m.fail
}

func (m *memory) DeferredObjects(n int) ([]Deferred, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n == 0 || n > len(m.deferred) {
		n = len(m.deferred)
	}
	return slices.Clone(m.deferred[:n]), m.fail
}

// queue is what is deferred.
func (m *memory) queue() []Deferred {
	all, _ := m.DeferredObjects(0)
	return all
}

func (m *memory) Undefer(list []Deferred) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deferred = slices.DeleteFunc(m.deferred, func(d Deferred) bool {
		return slices.ContainsFunc(list, func(o Deferred) bool { return same(o, d) })
	})
	return m.fail
}

func (m *memory) ReadCache(visit func(CacheEntry) bool) error {
	m.mu.Lock()
	all := slices.Collect(maps.Values(m.cache))
	m.mu.Unlock()
	for _, e := range all {
		if !visit(e) {
			break
		}
	}
	return m.fail
}

func (m *memory) WriteCache(put []CacheEntry, remove []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cache == nil {
		m.cache = map[string]CacheEntry{}
	}
	for _, e := range put {
		m.cache[e.Key] = e
	}
	for _, k := range remove {
		delete(m.cache, k)
	}
	return m.fail
}

func (m *memory) ClearCache() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cache = nil
	return m.fail
}
