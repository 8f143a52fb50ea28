package proxy_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/proxy"
)

// An answer is asked for once, relayed as it was signed, and given from the cache until its shortest life ends.
func TestAnswersComeFromTheCacheUntilTheyAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := prefix(protocol.FileSHA256, 0x0a0b0c)
		first := w.do("GET", p.Path(), "")
		w.check(first, p)
		w.pass(10 * time.Minute)
		second := w.do("GET", p.Path(), "")
		w.check(second, p)
		if second.Body.String() != first.Body.String() {
			t.Error("the bytes that were signed have changed")
		}
		h := second.Header()
		if h.Get("Age") < "600" || h.Get("Age") > "602" || h.Get("Cache-Control") != "public, max-age=3595" || h.Get("Vary") != protocol.NetworkHeader {
			t.Errorf("headers %v", h)
		}
		if rec := w.do("GET", p.Path(), "", "If-None-Match", h.Get("Etag")); rec.Code != 304 || rec.Body.Len() > 0 {
			t.Errorf("with the tag: %d", rec.Code)
		}
		if rec := w.do("HEAD", p.Path(), ""); rec.Code != 200 || rec.Body.Len() > 0 || rec.Header().Get("Content-Length") != fmt.Sprint(first.Body.Len()) {
			t.Errorf("HEAD: %d, %v", rec.Code, rec.Header())
		}
		if n, _ := w.server.asked(); n != 1 {
			t.Errorf("%d requests upstream, want 1", n)
		}
		w.pass(50*time.Minute - 4*time.Second) // a second before nothing else is known to be unknown
		w.ask(p)
		if n, _ := w.server.asked(); n != 2 {
			t.Errorf("%d requests upstream, want 2: an answer was given at the end of its life", n)
		}
		if ok, forwarded, cached := w.tally.of(proxy.FateOK), w.tally.of(proxy.FateForwarded), w.tally.of(proxy.FateCached); ok != 2 || forwarded != 2 || cached != 3 {
			t.Errorf("%d ok, %d forwarded, %d from the cache", ok, forwarded, cached)
		}
	})
}

// What holds in part is better than nothing when there is no upstream, and worse than asking. What holds no more is never given.
func TestPartsThatHoldAreGivenInNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := prefix(protocol.FileSHA256, 1)
		w.ask(p)
		w.server.change(func(s *server) { s.refuse = refusal(protocol.CodeUnavailable, 0) })
		w.pass(2 * time.Hour)
		rec := w.do("GET", p.Path(), "")
		w.check(rec, p)
		if got := rec.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control %q", got)
		}
		w.askAll(p)
		w.pass(2*time.Hour - 4*time.Second)
		w.problem(w.do("GET", p.Path(), ""), protocol.CodeUnavailable)
		w.pass(-5 * time.Hour) // the clock was set back to before it was issued
		w.problem(w.do("GET", p.Path(), ""), protocol.CodeUnavailable)
	})
}

// A batch has what the cache has and what is new, in the order of the questions.
func TestBatchesAreMixed(t *testing.T) {
	w := newWorld(t)
	var all []protocol.Prefix
	for i := range protocol.MaxBatch {
		all = append(all, prefix(protocol.Types()[i%5], uint32(i)))
		if i%3 == 0 {
			w.ask(all[i])
		}
	}
	before, _ := w.server.asked()
	w.askAll(all...)
	after, most := w.server.asked()
	if after-before != 3 || most != 1 { // files, URLs, software
		t.Errorf("%d requests for a batch, the same prefix up to %d times", after-before, most)
	}
	w.askAll(all...)
	if n, _ := w.server.asked(); n != after {
		t.Errorf("%d requests for what is known", n-after)
	}
}

// Many devices that ask for few prefixes cost few questions.
func TestDevicesShareQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.wait = make(chan struct{})
		var devices sync.WaitGroup
		for i := range 1000 {
			devices.Go(func() {
				p := prefix(protocol.FileSHA256, uint32(i%10))
				if i%2 == 0 {
					if rec := w.do("GET", p.Path(), ""); rec.Code != 200 {
						t.Errorf("%d %s", rec.Code, rec.Body)
					}
					return
				}
				if rec := w.do("POST", protocol.PathBatch, query(t, p, prefix(protocol.FileSHA256, uint32((i+1)%10)))); rec.Code != 200 {
					t.Errorf("%d %s", rec.Code, rec.Body)
				}
			})
		}
		synctest.Wait() // until all have asked
		close(w.server.wait)
		devices.Wait()
		n, most := w.server.asked()
		if n > 10 || most > 1 {
			t.Errorf("%d requests upstream, the same prefix %d times; want at most 10, each once", n, most)
		}
		if sum := w.tally.of(proxy.FateForwarded) + w.tally.of(proxy.FateJoined) + w.tally.of(proxy.FateCached); sum != 1500 || w.tally.of(proxy.FateForwarded) != 10 {
			t.Errorf("%d questions were counted, %d forwarded", sum, w.tally.of(proxy.FateForwarded))
		}
	})
}

// When all slots are used, questions of different devices gather for one request; above the queue devices are told to wait, and the cache answers.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *proxy.Config) { c.MaxUpstream, c.Queue = 2, protocol.MaxBatch })
		known := prefix(protocol.URL, 1)
		w.ask(known)
		gate := make(chan struct{})
		w.server.change(func(s *server) { s.wait = gate })
		var devices sync.WaitGroup
		for i := range 2 + protocol.MaxBatch {
			devices.Go(func() {
				if rec := w.do("GET", prefix(protocol.FileMD5, uint32(i)).Path(), ""); rec.Code != 200 {
					t.Errorf("%d %s", rec.Code, rec.Body)
				}
			})
			synctest.Wait()
		}
		p := w.problem(w.do("GET", prefix(protocol.FileMD5, 1000).Path(), ""), protocol.CodeUnavailable)
		if p.Wait < 1 {
			t.Error("no wait")
		}
		w.problem(w.do("POST", protocol.PathBatch, query(t, known, prefix(protocol.FileMD5, 1001))), protocol.CodeUnavailable)
		w.ask(known)
		close(gate)
		devices.Wait()
		if n, _ := w.server.asked(); n != 1+2+1 {
			t.Errorf("%d requests upstream, want 1 before, 2 by GET and 1 batch", n)
		}
	})
}

// A device that gives up takes nothing from another one that waits for the same answer.
func TestDevicesThatGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.wait = make(chan struct{})
		p := prefix(protocol.FileSHA256, 5)
		ctx, giveUp := context.WithCancel(t.Context())
		var devices sync.WaitGroup
		devices.Go(func() {
			w.Proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", p.Path(), nil))
		})
		synctest.Wait()
		devices.Go(func() { w.check(w.do("GET", p.Path(), ""), p) })
		synctest.Wait()
		giveUp()
		synctest.Wait()
		close(w.server.wait)
		devices.Wait()
		if n, _ := w.server.asked(); n != 1 {
			t.Errorf("%d requests upstream, want 1", n)
		}
	})
}

// An upstream that never answers costs a device its patience and no more; Close ends what is under way.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *proxy.Config) { c.MaxUpstream = 1 })
		w.server.wait = make(chan struct{})
		began := time.Now()
		for _, target := range []string{prefix(protocol.URL, 1).Path(), protocol.PathInfo} {
			w.problem(w.do("GET", target, ""), protocol.CodeUnavailable)
		}
		w.problem(w.do("POST", protocol.PathStats, "{}"), protocol.CodeUnavailable)
		if took := time.Since(began); took > 24*time.Second {
			t.Errorf("three requests took %s", took)
		}
		w.pass(time.Hour)
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.problem(w.do("GET", prefix(protocol.URL, 2).Path(), ""), protocol.CodeUnavailable)
		}()
		synctest.Wait()
		began = time.Now()
		w.Close()
		<-done
		w.problem(w.do("GET", prefix(protocol.URL, 3).Path(), ""), protocol.CodeUnavailable)
		w.problem(w.do("GET", protocol.PathInfo, ""), protocol.CodeUnavailable)
		w.problem(w.do("POST", protocol.PathStats, "{}"), protocol.CodeUnavailable)
		if took := time.Since(began); took > 0 {
			t.Errorf("the end took %s", took)
		}
	})
}

// What the network offers is asked for once, and kept for as long as the server wants.
func TestInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var devices sync.WaitGroup
		for range 50 {
			devices.Go(func() {
				rec := w.do("GET", protocol.PathInfo, "")
				if _, err := w.keys.OpenInfo(rec.Body.Bytes(), w.provider.Fingerprint, w.now()); err != nil {
					t.Error(rec.Code, err)
				}
			})
		}
		devices.Wait()
		if n, _ := w.server.asked(); n != 1 {
			t.Errorf("%d requests upstream, want 1", n)
		}
		w.pass(6 * time.Minute)
		w.server.change(func(s *server) { s.key = testKey(t, 77) })
		if rec := w.do("GET", protocol.PathInfo, ""); rec.Code != 200 || rec.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("with a forger upstream: %d %v, want what was known", rec.Code, rec.Header())
		}
		w.pass(time.Hour)
		w.problem(w.do("GET", protocol.PathInfo, ""), protocol.CodeUnavailable)
	})
}

// Statistics go through as they are, within their bound.
func TestStats(t *testing.T) {
	w := newWorld(t)
	if rec := w.do("POST", protocol.PathStats, `{"a":1}`, "Content-Type", "application/x-ndjson"); rec.Code != 202 || rec.Body.Len() > 0 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if r := w.server.requests[0]; w.server.bodies[0] != `{"a":1}` || r.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("upstream got %q, %v", w.server.bodies[0], r.Header)
	}
	w.problem(w.do("POST", protocol.PathStats, strings.Repeat("a", protocol.MaxStats+1)), protocol.CodeTooLarge)
	w.server.change(func(s *server) { s.refuse = refusal(protocol.CodeNotFound, 0) })
	w.problem(w.do("POST", protocol.PathStats, "{}"), protocol.CodeNotFound)
}

// A request in chunks is the last one of its connection, also if it is answered from the cache.
func TestChunksEndTheConnection(t *testing.T) {
	w := newWorld(t)
	p := prefix(protocol.FileSHA256, 1)
	w.ask(p)
	for _, encoding := range [][]string{nil, {"chunked"}} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", protocol.PathBatch, strings.NewReader(query(t, p)))
		r.Header.Set("Content-Type", "application/json")
		r.TransferEncoding = encoding
		rec := httptest.NewRecorder()
		if w.ServeHTTP(rec, r); rec.Code != 200 || (rec.Header().Get("Connection") == "close") != (encoding != nil) {
			t.Errorf("%v: %d %v", encoding, rec.Code, rec.Header())
		}
	}
}

// A device that asks without end is told to wait, also for what is in the cache; others are answered. What is known costs nobody more than a request, unless
// it is long.
func TestDevicesHaveLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *proxy.Config) { c.Limit = proxy.Limit{PerSecond: 0.1, Burst: 6} })
		from := func(address string, p protocol.Prefix) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), "GET", p.Path(), http.NoBody)
			r.RemoteAddr = address
			rec := httptest.NewRecorder()
			w.ServeHTTP(rec, r)
			return rec
		}
		p := prefix(protocol.FileSHA256, 1)
		for range 6 {
			w.check(from("192.0.2.7:1", p), p)
		}
		if got := w.problem(from("192.0.2.7:2", p), protocol.CodeTooMany); got.Wait < 9 || got.Wait > 10 {
			t.Errorf("wait %d", got.Wait)
		}
		w.check(from("192.0.2.8:1", p), p)
		w.pass(10 * time.Second)
		w.check(from("192.0.2.7:3", p), p)
		w.server.change(func(s *server) { s.pad = 2 * 1024 })
		long := prefix(protocol.FileSHA256, 2)
		for range 2 { // each is charged two more
			w.check(from("192.0.2.9:1", long), long)
		}
		w.problem(from("192.0.2.9:1", long), protocol.CodeTooMany)
		w.problem(w.do("POST", protocol.PathStats, "", protocol.NetworkHeader, "other"), protocol.CodeWrongNetwork)
		if n, _ := w.server.asked(); n != 2 {
			t.Errorf("%d requests upstream, want 2", n)
		}
		limit := proxy.Limit{PerSecond: 1e-9}
		if p, err := proxy.New(proxy.Config{Provider: w.provider, Limit: limit}); err == nil {
			p.Close()
			t.Errorf("the limit %v is taken", limit)
		}
	})
}

// The standard limit is above what many of this project's devices behind one address ask.
func TestStandardLimitIsGenerous(t *testing.T) {
	w := newWorld(t)
	p := prefix(protocol.FileSHA256, 1)
	for range proxy.DefaultBurst {
		if rec := w.do("GET", p.Path(), ""); rec.Code != 200 {
			t.Fatal(rec.Code)
		}
	}
}

// Everything that is no request of the protocol gets its problem, and nothing of it goes upstream.
func TestStrictRequests(t *testing.T) {
	w := newWorld(t)
	path := prefix(protocol.FileSHA256, 1).Path()
	for _, c := range []struct {
		method, target, body string
		header               []string
		code                 protocol.Code
	}{
		{"GET", path + "?a=b", "", nil, protocol.CodeBadRequest},
		{"GET", path + "?", "", nil, protocol.CodeBadRequest},
		{"GET", path, "body", nil, protocol.CodeBadRequest},
		{"GET", "/v1/l/file-sha256/24/%30a0b0c", "", nil, protocol.CodeNotFound},
		{"GET", "/v1/l/file-sha256/24/0A0B0C", "", nil, protocol.CodeBadRequest},
		{"GET", "/v1/l/file-sha256/024/0a0b0c", "", nil, protocol.CodeBadRequest},
		{"GET", "/v1/l/file-sha256/12/0a0", "", nil, protocol.CodeBadRequest},
		{"GET", "/v1/l/mail/24/0a0b0c", "", nil, protocol.CodeBadRequest},
		{"GET", "/v1/l/file-sha256/24/0a0b0c/", "", nil, protocol.CodeNotFound},
		{"GET", "//v1/info", "", nil, protocol.CodeNotFound},
		{"GET", "/v1/../v1/info", "", nil, protocol.CodeNotFound},
		{"GET", "/", "", nil, protocol.CodeNotFound},
		{"POST", path, "{}", nil, protocol.CodeMethod},
		{"DELETE", "/v1/info", "", nil, protocol.CodeMethod},
		{"CONNECT", "/healthz", "", nil, protocol.CodeMethod},
		{"GET", "/v1/lookup", "", nil, protocol.CodeMethod},
		{"POST", "/v1/lookup", "{}", nil, protocol.CodeBadRequest},
		{"POST", "/v1/lookup", "", nil, protocol.CodeBadRequest},
		{"POST", "/v1/lookup", "{}", []string{"Content-Type", "text/plain"}, protocol.CodeBadRequest},
		{"POST", "/v1/lookup", query(t, prefix(protocol.URL, 1)), []string{"Content-Encoding", "gzip"}, protocol.CodeBadRequest},
		{"POST", "/v1/lookup", strings.Repeat(" ", protocol.MaxQuery+1), nil, protocol.CodeTooLarge},
		{"GET", path, "", []string{protocol.NetworkHeader, strings.Repeat("a", 64)}, protocol.CodeWrongNetwork},
		{"POST", "/v1/stats", "{}", []string{protocol.NetworkHeader, ""}, protocol.CodeWrongNetwork},
	} {
		w.problem(w.do(c.method, c.target, c.body, c.header...), c.code)
	}
	if n, _ := w.server.asked(); n != 0 {
		t.Errorf("%d requests went upstream", n)
	}
	for k, n := range w.tally.all() {
		if strings.Contains(k, "undeclared") {
			t.Errorf("%d times %s", n, k)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if rec := w.do("GET", path, ""); rec.Code != 200 {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}

// A status page is shown where there is one, and nowhere else.
func TestStatusPage(t *testing.T) {
	w := newWorld(t, func(c *proxy.Config) {
		c.Status = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("page " + r.URL.Path)) })
	})
	if rec := w.do("GET", "/metrics", ""); rec.Body.String() != "page /metrics" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w.problem(w.do("GET", "/status/x", ""), protocol.CodeNotFound)
}

func TestConfigsThatCannotWork(t *testing.T) {
	f := provider(t, 1, protocol.Global)
	for name, c := range map[string]proxy.Config{
		"no provider":           {},
		"a bad upstream":        {Provider: f, Upstreams: []string{"ftp://x"}},
		"an upstream of a path": {Provider: f, Upstreams: []string{"http://x/"}},
		"an upstream twice":     {Provider: f, Upstreams: []string{"http://x", "http://x"}},
		"a short queue":         {Provider: f, Queue: 10},
		"no time":               {Provider: f, Deadline: time.Nanosecond},
		"too many at once":      {Provider: f, MaxUpstream: 5000},
		"no memory":             {Provider: f, CacheBytes: -1},
	} {
		if p, err := proxy.New(c); err == nil {
			p.Close()
			t.Errorf("%s: no error", name)
		}
	}
	p, err := proxy.New(proxy.Config{Provider: f})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}

// The status page tells what was counted, what is wrong with upstreams, and what is restricted; and it is there before the proxy.
func TestWhatTheStatusPageTells(t *testing.T) {
	m := proxy.NewMetrics()
	var p *proxy.Proxy
	page, err := m.Page("1.0.0", func() *proxy.Proxy { return p }, nil)
	if err != nil {
		t.Fatal(err)
	}
	set := restrictions(t, dbformat.Restriction{ID: "no-urls", Action: dbformat.ActionDisable, Scope: dbformat.RestrictionScope{Objects: []string{"url"}}})
	w := newWorld(t, func(c *proxy.Config) {
		c.Collector, c.Status, c.Restrictions = m, page.Handler(), func() *ksn.Set { return set }
	})
	get := func(path string) string { return w.do("GET", path, "").Body.String() }
	contains := func(path string, all ...string) {
		t.Helper()
		got := get(path)
		for _, s := range all {
			if !strings.Contains(got, s) {
				t.Errorf("%s does not tell %q:\n%s", path, s, got)
			}
		}
	}
	contains("/status.json", "the proxy begins")
	p = w.Proxy
	w.ask(prefix(protocol.FileSHA256, 1))
	w.ask(prefix(protocol.FileSHA256, 1))
	w.problem(w.do("GET", prefix(protocol.URL, 1).Path(), ""), protocol.CodeRestricted)
	contains("/metrics", `avdb_ksn_proxy_questions_total{fate="from_cache"} 1`, `avdb_ksn_proxy_questions_total{fate="forwarded"} 1`,
		`avdb_ksn_proxy_questions_total{fate="ok"} 1`, `avdb_ksn_proxy_questions_total{fate="rejected"} 1`, "avdb_ksn_proxy_in_cache 1", "avdb_ksn_proxy_ready 1",
		`avdb_ksn_proxy_requests_total{kind="lookup",outcome="restricted"} 1`, "avdb_ksn_proxy_undeclared_total 0")
	contains("/status", "http://server", "no-urls", w.provider.Fingerprint)
	w.server.change(func(s *server) { s.refuse = refusal(protocol.CodeWrongNetwork, 0) })
	w.problem(w.do("GET", prefix(protocol.FileSHA256, 2).Path(), ""), protocol.CodeUnavailable)
	contains("/status.json", `"critical"`, "belongs to another network", "wrong_network")
	contains("/metrics", "avdb_ksn_proxy_ready 0", `avdb_ksn_proxy_problems{level="critical"} 1`)
	if rec := w.do("GET", "/readyz", ""); rec.Code != 503 {
		t.Errorf("/readyz: %d", rec.Code)
	}
}
