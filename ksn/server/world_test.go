package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
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
	"example.org/avdb/ksn/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when the tests take place; the time of issue is then a whole minute.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A memory is a database in memory.
type memory struct {
	mu      sync.Mutex
	release uint64
	err     error
	rows    map[dbformat.Algorithm][]server.Known // in order
	urls    []server.Known                        // in order
	visited func()                                // called when a prefix is done
}

func (m *memory) WithPrefixes(a dbformat.Algorithm, bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	return m.with(m.rows[a], bits, values, visit)
}

func (m *memory) WithURLPrefixes(bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	return m.with(m.urls, bits, values, visit)
}

func (m *memory) with(rows []server.Known, bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	release := m.release
	for i, value := range values {
		if m.err != nil {
			return 0, m.err
		}
		at, _ := slices.BinarySearchFunc(rows, value<<(32-bits), func(k server.Known, v uint32) int {
			return int(int64(binary.BigEndian.Uint32(k.Sum[:])) - int64(v))
		})
		for ; at < len(rows) && binary.BigEndian.Uint32(rows[at].Sum[:])>>(32-bits) == value; at++ {
			if !visit(i, rows[at]) {
				return release, nil
			}
		}
		if m.visited != nil {
			m.visited()
		}
	}
	return release, nil
}

func (m *memory) Counts() (server.Counts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, rows := range m.rows {
		n += len(rows)
	}
	return server.Counts{Release: m.release, Files: uint64(n), URLs: uint64(len(m.urls))}, m.err
}

func (m *memory) put(a dbformat.Algorithm, rows ...server.Known) {
	m.rows[a] = append(m.rows[a], rows...)
	slices.SortStableFunc(m.rows[a], func(x, y server.Known) int { return bytes.Compare(x.Sum[:], y.Sum[:]) })
}

// sum is a hash that begins with a number.
func sum(a dbformat.Algorithm, begin uint32, more string) (s [32]byte) {
	h := sha256.Sum256([]byte(more))
	copy(s[:a.Size()], h[:])
	binary.BigEndian.PutUint32(s[:], begin)
	return s
}

func key(t protocol.Type, s [32]byte) protocol.Key { return protocol.Key{Type: t, Sum: s} }

// A source knows entries by heart.
type source struct {
	kind    protocol.Type // of all of them
	entries []protocol.Entry
	err     error
}

func (s *source) Entries(p protocol.Prefix, visit func(protocol.Entry) bool) error {
	for _, e := range s.entries {
		if p.Type == s.kind && p.Covers(e.Key) && !visit(e) {
			break
		}
	}
	return s.err
}

func (s *source) Counts() server.Counts {
	return server.Counts{URLs: uint64(len(s.entries)), Software: 1}
}

// A tally is a collector that remembers.
type tally struct {
	mu                                sync.Mutex
	outcomes                          map[string]int // "kind outcome"
	answers, entries, signed, release int
}

func (c *tally) Request(k server.Kind, o server.Outcome, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes[string(k)+" "+string(o)]++
}

func (c *tally) Answered(answers, entries int, release uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers, c.entries, c.release = c.answers+answers, c.entries+entries, int(release)
}

func (c *tally) Signed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.signed++
}

func testKey(t testing.TB, seed byte) *protocol.SigningKey {
	t.Helper()
	k, err := protocol.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// provider makes the file of a network with two reputation keys, 2 and 3.
func provider(t testing.TB) *protocol.ProviderFile {
	t.Helper()
	f, err := protocol.SignProvider(protocol.Provider{Schema: protocol.Version, Network: protocol.Private, Name: "Example Corp", Serial: 1,
		Issued: dbformat.At(noon.Add(-24 * time.Hour)), Expires: dbformat.At(noon.Add(365 * 24 * time.Hour)), URLs: []string{"https://ksn.example.org"},
		Keys: [][]byte{testKey(t, 2).Public(), testKey(t, 3).Public()}, Capabilities: []string{protocol.CapabilityCloudMode, protocol.CapabilityStats},
		Contact: "it@example.org"}, testKey(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	return &f
}

// A world is a server with all that it knows, at noon.
type world struct {
	t        testing.TB
	now      time.Time
	provider *protocol.ProviderFile
	keys     protocol.Keys
	db       *memory
	src      *source
	tally    *tally
	taken    []string // statistics
	takeErr  error
	*server.Server
}

// Take is the world's intake.
func (w *world) Take(_ context.Context, kind string, record []byte) error {
	if w.takeErr == nil {
		w.taken = append(w.taken, kind+" "+string(record))
	}
	return w.takeErr
}

const (
	malware = 0x0a0b0c01 // the first bits of what the database knows
	several = 0x0a0b0d00
	allowed = 0x0a0b0e00
	nothing = 0x00000000 // nothing is known that begins like this
)

var urlKey = sum(dbformat.SHA256, malware, "phish.example/login")

func newWorld(t testing.TB, change ...func(*server.Config)) *world {
	t.Helper()
	w := &world{t: t, now: noon, provider: provider(t), tally: &tally{outcomes: map[string]int{}},
		db: &memory{release: 7, rows: map[dbformat.Algorithm][]server.Known{}}}
	w.keys = w.provider.ReputationKeys()
	for _, a := range dbformat.Algorithms() {
		w.db.put(a, server.Known{Sum: sum(a, malware, "one"), Size: 1234, Name: "Win.Trojan.Example-1"},
			server.Known{Sum: sum(a, several, "pua"), Name: "Unwanted.Toolbar", PUA: true},
			server.Known{Sum: sum(a, several+1, "two"), Name: `Odd.Name "<&>\`},
			server.Known{Sum: sum(a, several+1, "two"), Size: 5, Name: "Sized"},
			server.Known{Sum: sum(a, allowed, "good"), Allowed: true},
			server.Known{Sum: sum(a, allowed, "good"), Name: "False.Positive"})
	}
	w.db.urls = []server.Known{{Sum: sum(dbformat.SHA256, several, "listed.example/"), Name: "URL.SHA256.0a0b0d00"}}
	seen := dbformat.At(noon.Add(-48 * time.Hour))
	w.src = &source{kind: protocol.URL, entries: []protocol.Entry{{Key: key(protocol.URL, urlKey), Verdict: protocol.Untrusted, Name: "Phishing.Example", Category: "phishing",
		FirstSeen: &seen, Popularity: 1000, Regions: []string{"DE"}, TTL: 600}}}
	c := server.Config{Provider: w.provider, Key: testKey(t, 2), Database: w.db, Sources: []server.Source{w.src}, Intake: w, Collector: w.tally,
		Limit: server.Limit{PerSecond: -1}, Now: func() time.Time { return w.now }}
	for _, f := range change {
		f(&c)
	}
	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	w.Server = s
	return w
}

// do sends one request without a connection; header lists names and values.
func (w *world) do(method, target, body string, header ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		if r.Header.Del(header[i]); header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

func prefix(t protocol.Type, bits uint8, value uint32) protocol.Prefix {
	return protocol.Prefix{Type: t, Bits: bits, Value: value >> (32 - bits)}
}

// ask gets one answer, and demands that it verifies and is for the question.
func (w *world) ask(p protocol.Prefix, header ...string) protocol.Answer {
	w.t.Helper()
	rec := w.do("GET", p.Path(), "", header...)
	if rec.Code != 200 {
		w.t.Fatalf("%s: %d %s", p, rec.Code, rec.Body)
	}
	s, err := w.keys.Open(rec.Body.Bytes())
	if err != nil {
		w.t.Fatal(err)
	}
	if s.Answer.Prefix != p {
		w.t.Fatalf("%s was answered for %s", s.Answer.Prefix, p)
	}
	if err := s.Answer.CheckTime(w.now); err != nil {
		w.t.Fatal(err)
	}
	return s.Answer
}

// askAll sends a batch.
func (w *world) askAll(prefixes ...protocol.Prefix) []protocol.Signed {
	w.t.Helper()
	q, err := protocol.MarshalQuery(prefixes)
	if err != nil {
		w.t.Fatal(err)
	}
	rec := w.do("POST", protocol.PathBatch, string(q))
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
	p, err := isProblem(rec.Code, rec.Header(), rec.Body.Bytes())
	if err != nil || p.Code != code {
		w.t.Errorf("%d %s: %v, want the problem %s", rec.Code, rec.Body, err, code)
	}
	return p
}

// isProblem tells what is wrong with a problem.
func isProblem(status int, h http.Header, body []byte) (p protocol.Problem, err error) {
	if err := dbformat.DecodeJSON(body, &p); err != nil {
		return p, err
	}
	known := slices.Contains(server.Outcomes(), server.Outcome(p.Code))
	switch {
	case h.Get("Content-Type") != protocol.ProblemType, len(body) > protocol.MaxProblem:
		return p, fmt.Errorf("%d bytes of %s", len(body), h.Get("Content-Type"))
	case !known || p.Code.Status() != status || p.Status != status || p.Title == "":
		return p, fmt.Errorf("status %d, in the problem %d, for the code %q", status, p.Status, p.Code)
	case h.Get("Cache-Control") != "no-store":
		return p, errors.New("caches may keep it")
	case (p.Wait > 0) != (h.Get("Retry-After") == fmt.Sprint(p.Wait)):
		return p, fmt.Errorf("wait %d, Retry-After %q", p.Wait, h.Get("Retry-After"))
	}
	return p, nil
}
