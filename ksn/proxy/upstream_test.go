package proxy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/proxy"
)

// forge signs with a key that the network does not have.
func forge(s *server) { s.key = testKey(s.t, 99) }

func drop(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

// drip sends a byte now and then, for as long as somebody listens.
func drip(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = w.Write([]byte(" "))
		w.(http.Flusher).Flush()
		time.Sleep(20 * time.Millisecond)
	}
}

func huge(w http.ResponseWriter, _ *http.Request) {
	spaces := bytes.Repeat([]byte{' '}, 64<<10)
	for range 10 << 4 {
		if _, err := w.Write(spaces); err != nil {
			return
		}
	}
}

// bomb is small until somebody unpacks it.
func bomb() http.HandlerFunc {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for range 16 {
		_, _ = z.Write(make([]byte, 1<<20))
	}
	_ = z.Close()
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}
}

// halfway promises more than it sends.
func halfway(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write([]byte(`{"answers":{`))
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// elsewhere sends whoever asks to where the answer is authentic.
func elsewhere(s *server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" {
			http.Redirect(w, r, r.URL.Path+"?again", http.StatusTemporaryRedirect)
			return
		}
		honest := &server{t: s.t, key: s.key, net: s.net, now: s.now, questions: map[protocol.Prefix]int{}, life: s.life, neg: s.neg}
		honest.ServeHTTP(w, r)
	}
}

// retryAfter asks to wait in a header alone, as servers do that are none of ours.
func retryAfter(code int, value string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", value)
		w.WriteHeader(code)
	}
}

// retryAt is retryAfter with a date, so long from now.
func retryAt(code int, d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		retryAfter(code, time.Now().Add(d).UTC().Format(http.TimeFormat))(w, r)
	}
}

const year = 365 * 24 * time.Hour

// What an upstream does wrong is never relayed and never cached; the next upstream answers, and where there is none, the device learns that the proxy has
// no answer. Over real sockets, and by GET and POST.
func TestHostileUpstreams(t *testing.T) {
	for _, c := range []struct {
		name  string
		how   func(*server)
		state proxy.UpstreamState // after one exchange
	}{
		{"another key", forge, proxy.UpstreamFailing},
		{"another prefix", func(s *server) {
			s.about = func(p protocol.Prefix) protocol.Prefix { p.Value ^= 1; return p }
		}, proxy.UpstreamFailing},
		{"another type", func(s *server) {
			s.about = func(p protocol.Prefix) protocol.Prefix { p.Type = protocol.Software; return p }
		}, proxy.UpstreamFailing},
		{"from the future", func(s *server) { s.issued = 11 * time.Minute }, proxy.UpstreamFailing},
		{"expired", func(s *server) { s.issued = -4 * time.Hour }, proxy.UpstreamFailing},
		{"10 MB", func(s *server) { s.refuse = huge }, proxy.UpstreamFailing},
		{"dripped", func(s *server) { s.refuse = drip }, proxy.UpstreamFailing},
		{"a gzip bomb", func(s *server) { s.refuse = bomb() }, proxy.UpstreamFailing},
		{"a redirect", func(s *server) { s.refuse = elsewhere(s) }, proxy.UpstreamFailing},
		{"a broken body", func(s *server) { s.refuse = halfway }, proxy.UpstreamFailing},
		{"no body", func(s *server) { s.refuse = status(200) }, proxy.UpstreamFailing},
		{"202", func(s *server) { s.refuse = status(202) }, proxy.UpstreamFailing},
		{"204", func(s *server) { s.refuse = status(204) }, proxy.UpstreamFailing},
		{"404", func(s *server) { s.refuse = status(404) }, proxy.UpstreamFailing},
		{"418", func(s *server) { s.refuse = status(418) }, proxy.UpstreamFailing},
		{"500", func(s *server) { s.refuse = status(500) }, proxy.UpstreamFailing},
		{"502 of another kind", func(s *server) { s.refuse = status(502) }, proxy.UpstreamFailing},
		{"503 with a wait", func(s *server) { s.refuse = refusal(protocol.CodeUnavailable, time.Minute) }, proxy.UpstreamDown},
		{"503 for a year", func(s *server) { s.refuse = refusal(protocol.CodeUnavailable, year) }, proxy.UpstreamDown},
		{"dropped connections", func(s *server) { s.refuse = drop }, proxy.UpstreamFailing},
		{"401", func(s *server) { s.refuse = refusal(protocol.CodeUnauthorized, 0) }, proxy.UpstreamUnauthorized},
		{"403", func(s *server) { s.refuse = refusal(protocol.CodeForbidden, 0) }, proxy.UpstreamUnauthorized},
		{"421", func(s *server) { s.refuse = refusal(protocol.CodeWrongNetwork, 0) }, proxy.UpstreamWrongNetwork},
	} {
		for _, alone := range []bool{true, false} {
			for _, batch := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/alone=%t/batch=%t", c.name, alone, batch), func(t *testing.T) {
					t.Parallel()
					deadline := time.Minute
					if c.name == "dripped" { // only this one ends by it, and the honest upstream has as long
						deadline = 5 * time.Second
					}
					testHostile(t, c.how, c.state, deadline, alone, batch)
				})
			}
		}
	}
}

func testHostile(t *testing.T, how func(*server), state proxy.UpstreamState, deadline time.Duration, alone, batch bool) {
	network := provider(t, 1, protocol.Global)
	honest := &server{t: t, key: testKey(t, 2), net: network.Fingerprint, now: time.Now, questions: map[protocol.Prefix]int{}, life: 4 * time.Hour, neg: time.Hour}
	hostile := &server{t: t, key: testKey(t, 2), net: network.Fingerprint, now: time.Now, questions: map[protocol.Prefix]int{}, life: 4 * time.Hour, neg: time.Hour}
	how(hostile)
	bad, good := httptest.NewServer(hostile), httptest.NewServer(honest)
	defer bad.Close()
	defer good.Close()
	w := newWorld(t, func(c *proxy.Config) {
		c.Transport, c.Deadline, c.Upstreams = nil, deadline, []string{bad.URL, good.URL}
		if alone {
			c.Upstreams = []string{bad.URL}
		}
	})
	defer w.Close()
	asked := []protocol.Prefix{prefix(protocol.FileSHA256, 0x111110)}
	method, target, body := "GET", asked[0].Path(), ""
	if batch {
		asked = append(asked, prefix(protocol.FileSHA256, 0x222220))
		method, target, body = "POST", protocol.PathBatch, query(t, asked...)
	}
	rec := w.do(method, target, body)
	got := w.State()
	if got.Upstreams[0].State != state || got.Upstreams[0].LastError == "" || strings.Contains(got.Upstreams[0].LastError, "11111") {
		t.Errorf("the upstream is %+v, want %s and an error without the question", got.Upstreams[0], state)
	}
	switch {
	case alone:
		if p := w.problem(rec, protocol.CodeUnavailable); p.Wait < 1 {
			t.Error("no wait")
		}
		if got.Entries > 0 {
			t.Error("the answer is in the cache")
		}
	case batch:
		if _, err := w.keys.OpenAll(rec.Body.Bytes(), asked); err != nil {
			t.Errorf("%d: %v", rec.Code, err)
		}
	default:
		w.check(rec, asked[0])
	}
}

// A refusal is honoured, passed on with at most a day to wait, and asked for nowhere else. What is in the cache is answered.
func TestRefusalsArePassedOn(t *testing.T) {
	for _, c := range []struct {
		name   string
		refuse http.HandlerFunc
		code   protocol.Code
		wait   int64
	}{
		{"429 for a minute", refusal(protocol.CodeTooMany, time.Minute), protocol.CodeTooMany, 60},
		{"429 for a year", refusal(protocol.CodeTooMany, year), protocol.CodeTooMany, 86400},
		{"429 without a wait", status(429), protocol.CodeTooMany, 1},
		{"429 in a header", retryAfter(429, "90"), protocol.CodeTooMany, 90},
		{"429 in a header for ever", retryAfter(429, strings.Repeat("9", 30)), protocol.CodeTooMany, 86400},
		{"429 until a day", retryAt(429, year), protocol.CodeTooMany, 86400},
		{"429 until yesterday", retryAt(429, -year), protocol.CodeTooMany, 1},
		{"429 until nonsense", retryAfter(429, "-1"), protocol.CodeTooMany, 1},
		{"451 for a year", refusal(protocol.CodeRestricted, year), protocol.CodeRestricted, 86400},
		{"451 for good", refusal(protocol.CodeRestricted, 0), protocol.CodeRestricted, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				second := 0
				net := &wires{hosts: map[string]http.Handler{"second": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { second++ })}}
				w := newWorld(t, func(cfg *proxy.Config) {
					cfg.Transport, cfg.Upstreams = net, []string{"http://server", "http://second"}
				})
				net.set("server", w.server)
				known := prefix(protocol.FileSHA256, 1)
				w.ask(known)
				w.server.change(func(s *server) { s.refuse = c.refuse })
				for i := range 3 {
					p := w.problem(w.do("GET", prefix(protocol.FileSHA256, uint32(2+i)).Path(), ""), c.code)
					if p.Wait != c.wait {
						t.Errorf("wait %d, want %d", p.Wait, c.wait)
					}
					if c.code == protocol.CodeRestricted && p.Record != "record-1" {
						t.Errorf("record %q", p.Record)
					}
				}
				w.ask(known)
				if n, _ := w.server.asked(); second > 0 || c.code == protocol.CodeTooMany && n != 2 {
					t.Errorf("%d requests after the first one, %d to the second upstream", n-1, second)
				}
				w.server.change(func(s *server) { s.refuse = nil })
				w.pass(time.Duration(c.wait+1) * time.Second)
				w.ask(prefix(protocol.FileSHA256, 9))
			})
		})
	}
}

// One question that an upstream refuses does not spoil the others of a batch.
func TestWrongQuestionsAreFoundInBatches(t *testing.T) {
	w := newWorld(t)
	wrong := prefix(protocol.FileSHA1, 77)
	w.server.refuse = func(rw http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		if strings.Contains(b.String()+r.URL.Path, wrong.Hex()) {
			refusal(protocol.CodeTooLarge, 0)(rw, r)
			return
		}
		list, err := protocol.ParseQuery(b.Bytes())
		if err != nil {
			part := strings.Split(strings.TrimPrefix(r.URL.Path, protocol.PathLookup), "/")
			p, _ := protocol.ParsePrefix(part[0], part[1], part[2])
			_, _ = rw.Write(w.server.sign(p))
			return
		}
		_, _ = rw.Write(protocol.JoinReplies(w.server.sign(list...)))
	}
	var all []protocol.Prefix
	for i := range 100 {
		all = append(all, prefix(protocol.FileSHA1, uint32(i)))
	}
	w.problem(w.do("POST", protocol.PathBatch, query(t, all...)), protocol.CodeTooLarge)
	n, _ := w.server.asked()
	for _, p := range all {
		if p != wrong {
			w.ask(p)
		}
	}
	if m, _ := w.server.asked(); m != n || n > 20 {
		t.Errorf("%d requests for the batch, %d after it", n, m-n)
	}
	w.problem(w.do("GET", wrong.Path(), ""), protocol.CodeTooLarge)
}

// An upstream that is down is left alone for longer each time, probed by one question, and used again when it is back. The first one of the list is
// preferred again then.
func TestUpstreamsThatDieAndReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &wires{hosts: map[string]http.Handler{}}
		w := newWorld(t, func(c *proxy.Config) { c.Transport = net })
		value := uint32(0)
		next := func() string { value++; return prefix(protocol.URL, value).Path() }
		for range 3 {
			w.problem(w.do("GET", next(), ""), protocol.CodeUnavailable)
		}
		if s := w.State().Upstreams[0]; s.State != proxy.UpstreamDown || w.Ready() == nil {
			t.Errorf("after three failures: %+v, %v", s, w.Ready())
		}
		probes := 0
		net.set("server", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { probes++; rw.WriteHeader(500) }))
		for range 600 {
			w.problem(w.do("GET", next(), ""), protocol.CodeUnavailable)
			w.pass(time.Second)
		}
		if probes < 10 || probes > 20 { // after 1, 2, 4, … 60, 60 seconds
			t.Errorf("%d probes in ten minutes", probes)
		}
		net.set("server", w.server)
		p := w.problem(w.do("GET", next(), ""), protocol.CodeUnavailable)
		w.pass(time.Duration(p.Wait) * time.Second)
		w.server.wait = make(chan struct{})
		var devices sync.WaitGroup
		for range 20 {
			target := next()
			devices.Go(func() { w.do("GET", target, "") })
		}
		synctest.Wait()
		if n, _ := w.server.asked(); n != 1 {
			t.Errorf("%d questions probe, want 1", n)
		}
		close(w.server.wait)
		devices.Wait()
		if rec := w.do("GET", next(), ""); rec.Code != 200 || w.Ready() != nil {
			t.Errorf("after its return: %d, %v", rec.Code, w.Ready())
		}
	})
}

// Sixteen exchanges that break at once are one failure of the upstream, and not sixteen for which it is left alone longer and longer.
func TestFailuresAtOnceCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.wait, w.server.refuse = make(chan struct{}), status(500)
		var devices sync.WaitGroup
		for i := range proxy.DefaultMaxUpstream {
			devices.Go(func() { w.problem(w.do("GET", prefix(protocol.URL, uint32(i)).Path(), ""), protocol.CodeUnavailable) })
			synctest.Wait() // until it is on its way: those that come together may go in one request
		}
		close(w.server.wait)
		devices.Wait()
		if s := w.State().Upstreams[0]; s.State != proxy.UpstreamDown || s.Until.Sub(w.now()) > time.Second {
			t.Errorf("left alone for %s", s.Until.Sub(w.now()))
		}
	})
}

// Refused tokens are not tried again at once, and devices never learn of 401.
func TestRefusedTokensBackOff(t *testing.T) {
	w := newWorld(t, func(c *proxy.Config) { c.Token = func() string { return "stale" } })
	w.server.refuse = refusal(protocol.CodeUnauthorized, 0)
	for range 6 * 60 {
		w.problem(w.do("GET", prefix(protocol.URL, 1).Path(), ""), protocol.CodeUnavailable)
		w.pass(10 * time.Second)
	}
	if n, _ := w.server.asked(); n < 4 || n > 7 {
		t.Errorf("%d requests with a refused token in an hour", n)
	}
}

// A credential that no header can hold is not shown, and is no failure of the upstream.
func TestTokensThatNoHeaderHolds(t *testing.T) {
	w := newWorld(t)
	ts := httptest.NewServer(w.server)
	defer ts.Close()
	real := newWorld(t, func(c *proxy.Config) {
		c.Transport, c.Upstreams, c.Token = nil, []string{ts.URL}, func() string { return "of-the\nproxy" }
	})
	defer real.Close()
	if rec := real.do("GET", prefix(protocol.FileSHA256, 1).Path(), ""); rec.Code != 200 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if all := w.server.requests; len(all) != 1 || all[0].Header.Get("Authorization") != "" {
		t.Errorf("%d requests upstream", len(all))
	}
}

// Whatever headers a device sends, an upstream sees the proxy's own and no others.
func TestNothingOfADeviceGoesUpstream(t *testing.T) {
	allowed := []string{"User-Agent", protocol.NetworkHeader, "Authorization", "Content-Type", "Accept-Encoding", "Content-Length"}
	w := newWorld(t, func(c *proxy.Config) { c.Token = func() string { return "of-the-proxy" } })
	ts := httptest.NewServer(w.server)
	defer ts.Close()
	real := newWorld(t, func(c *proxy.Config) {
		c.Transport, c.Upstreams, c.Token = nil, []string{ts.URL}, func() string { return "of-the-proxy" }
	})
	defer real.Close()
	value := uint32(0)
	rapid.Check(t, func(r *rapid.T) {
		value++
		names := rapid.SliceOf(rapid.OneOf(rapid.SampledFrom([]string{"X-Forwarded-For", "Forwarded", "Cookie", "Authorization", "User-Agent", "Via", "X-Real-Ip",
			"Referer", "Origin", "Accept", "Accept-Language", "Traceparent", "X-Request-Id", "Te", "Proxy-Authorization"}),
			rapid.StringMatching(`X-[A-Z][a-z]{1,8}`))).Draw(r, "names")
		var header []string
		for _, n := range names {
			header = append(header, n, "secret-"+rapid.StringMatching(`[ -~]{0,20}`).Draw(r, "value"))
		}
		for _, c := range [][3]string{{"GET", prefix(protocol.FileSHA256, value).Path(), ""}, {"POST", protocol.PathStats, "{}"},
			{"POST", protocol.PathBatch, query(t, prefix(protocol.FileMD5, value), prefix(protocol.FileMD5, value+1<<20))}} {
			if rec := do(real, c[0], c[1], c[2], header...); rec.Code/100 != 2 {
				r.Fatalf("%d %s", rec.Code, rec.Body)
			}
		}
		w.server.mu.Lock()
		defer w.server.mu.Unlock()
		if len(w.server.requests) != 3 {
			r.Fatalf("%d requests upstream", len(w.server.requests))
		}
		for i, up := range w.server.requests {
			for n, v := range up.Header {
				if !slices.Contains(allowed, n) || strings.Contains(strings.Join(v, " "), "secret") {
					r.Errorf("upstream sees %s: %q", n, v)
				}
			}
			if up.Header.Get("Authorization") != "Bearer of-the-proxy" || up.Header.Get("User-Agent") != "avdb-ksn-proxy" || strings.Contains(w.server.bodies[i], "secret") {
				r.Errorf("upstream sees %v", up.Header)
			}
		}
		w.server.requests, w.server.bodies = nil, nil
	})
}

// Signatures survive a chain of proxies, and every hop keeps its own cache.
func TestChains(t *testing.T) {
	w := newWorld(t)
	net := &wires{hosts: map[string]http.Handler{"first": w.Proxy}}
	second := newWorld(t, func(c *proxy.Config) { c.Transport, c.Upstreams = net, []string{"http://first"} })
	all := []protocol.Prefix{prefix(protocol.FileSHA256, 1), prefix(protocol.FileSHA256, 2), prefix(protocol.URL, 3)}
	second.ask(all[0])
	second.askAll(all...)
	rec := second.do("GET", protocol.PathInfo, "")
	if _, err := w.keys.OpenInfo(rec.Body.Bytes(), w.provider.Fingerprint, time.Now()); err != nil {
		t.Error(err)
	}
	if rec := second.do("POST", protocol.PathStats, "{}"); rec.Code != 202 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	n, _ := w.server.asked()
	second.askAll(all...)
	w.askAll(all...)
	if m, most := w.server.asked(); m != n || most != 1 {
		t.Errorf("%d more requests, the same prefix up to %d times", m-n, most)
	}
}

// Proxies of two networks answer no device of the other one, and take no answer of the other one's server.
func TestTwoNetworks(t *testing.T) {
	global := newWorld(t)
	private := newWorldOf(t, provider(t, 11, protocol.Private), testKey(t, 12))
	p := prefix(protocol.FileSHA256, 1)
	for _, c := range []struct{ mine, other *world }{{global, private}, {private, global}} {
		header := []string{protocol.NetworkHeader, c.other.provider.Fingerprint}
		c.mine.ask(p)
		for _, r := range [][3]string{{"GET", p.Path(), ""}, {"GET", protocol.PathInfo, ""}, {"POST", protocol.PathStats, "{}"}, {"POST", protocol.PathBatch, query(t, p)}} {
			c.mine.problem(c.mine.do(r[0], r[1], r[2], header...), protocol.CodeWrongNetwork)
		}
		if n, _ := c.mine.server.asked(); n != 1 {
			t.Errorf("%d requests upstream", n)
		}
		lost := newWorldOf(t, c.mine.provider, testKey(t, 2), func(cfg *proxy.Config) {
			cfg.Transport = &wires{hosts: map[string]http.Handler{"server": c.other.Proxy}}
		})
		lost.problem(lost.do("GET", p.Path(), ""), protocol.CodeUnavailable)
		if s := lost.State().Upstreams[0]; s.State != proxy.UpstreamWrongNetwork {
			t.Errorf("an upstream of another network is %s", s.State)
		}
	}
}

// restrictions makes a set of records.
func restrictions(t *testing.T, records ...dbformat.Restriction) *ksn.Set {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	signed := dbformat.At(now.Add(-time.Hour))
	for i := range records {
		records[i].Expires = dbformat.At(now.Add(48 * time.Hour))
	}
	s, err := ksn.NewSet(&dbformat.RestrictionSet{Schema: 1, Epoch: 3, Signed: &signed, Records: records})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Restrictions hold back what would go upstream, with the record's id, and never what is in the cache.
func TestRestrictions(t *testing.T) {
	var set *ksn.Set
	var private bool
	make := func(t *testing.T) *world {
		f := provider(t, 1, map[bool]string{false: protocol.Global, true: protocol.Private}[private])
		return newWorldOf(t, f, testKey(t, 2), func(c *proxy.Config) { c.Restrictions = func() *ksn.Set { return set } })
	}
	disable := dbformat.Restriction{ID: "ddos", Action: dbformat.ActionDisable}
	known, unknown := prefix(protocol.FileSHA256, 1), prefix(protocol.FileSHA256, 2)

	t.Run("unproved", func(t *testing.T) {
		set = nil
		w := make(t)
		w.ask(known)
		set = ksn.Unproved()
		if err := w.Ready(); err == nil || w.State().NotReady == "" {
			t.Error("a proxy that passes nothing on is ready")
		}
		w.ask(known)
		w.problem(w.do("GET", unknown.Path(), ""), protocol.CodeRestricted)
	})
	t.Run("disable", func(t *testing.T) {
		set = nil
		w := make(t)
		w.ask(known)
		set = restrictions(t, disable)
		p := w.problem(w.do("GET", unknown.Path(), ""), protocol.CodeRestricted)
		if p.Record != "ddos" || p.Wait < 3600 || p.Wait > 86400 {
			t.Errorf("%+v", p)
		}
		w.ask(known)
		w.problem(w.do("POST", protocol.PathBatch, query(t, known, unknown)), protocol.CodeRestricted)
		if rec := w.do("POST", protocol.PathStats, "{}"); rec.Code != 202 {
			t.Errorf("statistics, which are not restricted: %d", rec.Code)
		}
		if n, _ := w.server.asked(); n != 2 || w.tally.of(proxy.FateRejected) != 2 {
			t.Errorf("%d requests upstream, %d rejected", n, w.tally.of(proxy.FateRejected))
		}
		if in := w.State().Restrictions; len(in) != 1 || in[0].ID != "ddos" || in[0].Until.IsZero() || in[0].Effect == "" {
			t.Errorf("in force: %+v", in)
		}
	})
	t.Run("scopes", func(t *testing.T) {
		for name, c := range map[string]struct {
			private bool
			scope   dbformat.RestrictionScope
			held    bool
		}{
			"a private network":        {true, dbformat.RestrictionScope{}, false},
			"both networks":            {true, dbformat.RestrictionScope{Networks: []string{"global", "private"}}, true},
			"URLs":                     {false, dbformat.RestrictionScope{Objects: []string{"url"}}, false},
			"files":                    {false, dbformat.RestrictionScope{Objects: []string{"file"}}, true},
			"direct requests":          {false, dbformat.RestrictionScope{Routes: []string{"direct"}}, false},
			"requests through proxies": {false, dbformat.RestrictionScope{Routes: []string{"proxy"}}, true},
			"background":               {false, dbformat.RestrictionScope{Origins: []string{"background"}}, false},
			"all origins":              {false, dbformat.RestrictionScope{Origins: []string{"background", "manual", "on_access", "on_demand"}}, true},
		} {
			r := disable
			r.Scope = c.scope
			set, private = restrictions(t, r), c.private
			w := make(t)
			if rec := w.do("GET", unknown.Path(), ""); (rec.Code == 451) != c.held {
				t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
			}
		}
		private = false
	})
	t.Run("info and statistics", func(t *testing.T) {
		r := disable
		r.Scope.Services = []string{"info", "stats"}
		set = restrictions(t, r)
		w := make(t)
		w.problem(w.do("GET", protocol.PathInfo, ""), protocol.CodeRestricted)
		w.problem(w.do("POST", protocol.PathStats, "{}"), protocol.CodeRestricted)
		w.ask(unknown)
	})
	t.Run("a daily number is counted in questions, and what is allowed of a batch goes on", func(t *testing.T) {
		set = restrictions(t, dbformat.Restriction{ID: "few", Action: dbformat.ActionLimit, Limit: &dbformat.RestrictionLimit{DailyMax: 3}})
		w := make(t)
		all := []protocol.Prefix{prefix(protocol.FileSHA256, 10), prefix(protocol.FileSHA256, 11), prefix(protocol.FileSHA256, 12), prefix(protocol.FileSHA256, 13)}
		w.problem(w.do("POST", protocol.PathBatch, query(t, all...)), protocol.CodeRestricted)
		for _, p := range all[:3] {
			w.ask(p)
		}
		w.problem(w.do("GET", all[3].Path(), ""), protocol.CodeRestricted)
		if used := w.Counters().Records["few"].Used; used != 3 {
			t.Errorf("%d questions were counted", used)
		}
	})
}

// A panic in what the proxy is given ends in a problem for those who asked, and in nothing else.
func TestPanicsAreContained(t *testing.T) {
	broken := true
	boom := func() {
		if broken {
			panic("boom")
		}
	}
	for name, change := range map[string]func(*proxy.Config){
		"token":        func(c *proxy.Config) { c.Token = func() string { boom(); return "" } },
		"restrictions": func(c *proxy.Config) { c.Restrictions = func() *ksn.Set { boom(); return nil } },
		"transport": func(c *proxy.Config) {
			t := c.Transport
			c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) { boom(); return t.RoundTrip(r) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			broken = true
			w := newWorld(t, change)
			ask := func() (codes []int) {
				for _, c := range [][3]string{{"GET", prefix(protocol.FileSHA256, 1).Path(), ""}, {"GET", protocol.PathInfo, ""}, {"POST", protocol.PathStats, "{}"},
					{"POST", protocol.PathBatch, query(t, prefix(protocol.URL, 1), prefix(protocol.URL, 2))}} {
					codes = append(codes, w.do(c[0], c[1], c[2]).Code)
				}
				return codes
			}
			if got := ask(); !slices.Equal(got, []int{503, 503, 503, 503}) {
				t.Errorf("broken: %v", got)
			}
			broken = false
			w.pass(time.Minute)
			if got := ask(); !slices.Equal(got, []int{200, 200, 202, 200}) {
				t.Errorf("mended: %v", got)
			}
		})
	}
}

// A status page that panics halfway looks like no page, and not like an empty one.
func TestWhatAPanicLeftIsCutOff(t *testing.T) {
	w := newWorld(t, func(c *proxy.Config) {
		c.Status = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("half")); panic("boom") })
	})
	ts := httptest.NewServer(w.Proxy)
	defer ts.Close()
	if resp, err := ts.Client().Get(ts.URL + "/status"); err == nil { //nolint:noctx // loopback
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%d %q", resp.StatusCode, b)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The cache stays within its bytes, whatever comes.
func TestTheCacheIsBounded(t *testing.T) {
	w := newWorld(t, func(c *proxy.Config) { c.CacheBytes = 1 << 20 })
	w.server.pad = 100
	var all []protocol.Prefix
	for i := range 4 * protocol.MaxBatch {
		all = append(all, prefix(protocol.FileSHA256, uint32(i)))
	}
	for list := range slices.Chunk(all, protocol.MaxBatch) {
		w.askAll(list...)
	}
	deadline := time.Now().Add(time.Minute) // otter evicts in the background
	for w.State().Bytes > 1<<20 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if s := w.State(); s.Bytes > 1<<20 || s.Entries < 10 {
		t.Errorf("%d answers in %d bytes", s.Entries, s.Bytes)
	}
}

// Answers that are too long for one response are a problem and no broken response.
func TestTooMuchToSay(t *testing.T) {
	w := newWorld(t)
	w.server.pad = 4000
	var all []protocol.Prefix
	for i := range 20 {
		all = append(all, prefix(protocol.FileSHA256, uint32(i)))
		w.ask(all[i])
	}
	w.askAll(all[:10]...)
	w.problem(w.do("POST", protocol.PathBatch, query(t, all...)), protocol.CodeTooLarge)
}

// Whatever a device asks, it gets an answer that verifies for its question, or a problem with a code that is known.
func FuzzRequests(f *testing.F) {
	p := prefix(protocol.FileSHA256, 0x0a0b0c)
	q, _ := protocol.MarshalQuery([]protocol.Prefix{p, prefix(protocol.URL, 7)})
	for _, s := range []struct{ method, target, body string }{{"GET", p.Path(), ""}, {"POST", protocol.PathBatch, string(q)}, {"GET", protocol.PathInfo, ""},
		{"GET", "/v1/l/file-md5/16/0a0b", ""}, {"GET", "/v1/l/url/31/00000002", ""}, {"GET", "/v1/l/url/31/00000001", ""}, {"HEAD", p.Path(), ""},
		{"POST", protocol.PathStats, "{}"}, {"GET", p.Path() + "?x", ""}, {"GET", "/v1/l/%2e%2e/24/0a0b0c", ""}, {"POST", protocol.PathBatch, `{"v":1,"queries":[]}`}} {
		f.Add(s.method, s.target, s.body)
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, method, target, body string) {
		r, err := http.NewRequest(method, "http://proxy"+target, strings.NewReader(body)) //nolint:noctx // no connection
		if err != nil || r.URL.Host != "proxy" {
			return
		}
		r.RequestURI = target
		r.Header.Set("Content-Type", "application/json")
		if method != http.MethodPost && body == "" {
			r.Body, r.ContentLength = http.NoBody, 0
		}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		if err := fits(w, r, body, rec); err != nil {
			t.Errorf("%s %q %q: %d %q: %v", method, target, body, rec.Code, rec.Body, err)
		}
	})
}

// fits tells why a response is none to its request.
func fits(w *world, r *http.Request, body string, rec *httptest.ResponseRecorder) error {
	switch {
	case r.Method == http.MethodHead:
		if rec.Body.Len() > 0 {
			return fmt.Errorf("a body for HEAD")
		}
		return nil
	case rec.Code >= 400:
		_, err := isProblem(rec)
		return err
	case strings.HasPrefix(r.URL.Path, protocol.PathLookup):
		s, err := w.keys.Open(rec.Body.Bytes())
		if got := s.Answer.Prefix.Path(); err == nil && got != r.RequestURI {
			err = fmt.Errorf("an answer for %s", got)
		}
		return err
	case r.URL.Path == protocol.PathBatch:
		list, err := protocol.ParseQuery([]byte(body))
		if err == nil {
			_, err = w.keys.OpenAll(rec.Body.Bytes(), list)
		}
		return err
	case r.URL.Path == protocol.PathInfo:
		_, err := w.keys.OpenInfo(rec.Body.Bytes(), w.provider.Fingerprint, time.Now())
		return err
	case r.URL.Path == protocol.PathStats && rec.Code == 202, r.URL.Path == "/healthz", r.URL.Path == "/readyz":
		return nil
	}
	return fmt.Errorf("no request of the protocol")
}

// benchmarks

// sink is a response that nobody keeps.
type sink struct {
	h http.Header
	n int
}

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Write(b []byte) (int, error) { s.n += len(b); return len(b), nil }

// What a hit costs in the handler, and as many prefixes of a batch that is in the cache.
func BenchmarkHit(b *testing.B) {
	w := newWorld(b, func(c *proxy.Config) { c.Now, c.Collector, c.Limit = nil, nil, proxy.Limit{PerSecond: 1e9, Burst: 1e9} })
	w.server.pad = 2
	p := prefix(protocol.FileSHA256, 0x0a0b0c)
	w.ask(p)
	b.Run("via=handler", func(b *testing.B) {
		b.ReportAllocs()
		r := httptest.NewRequestWithContext(b.Context(), "GET", p.Path(), nil)
		r.Header.Set(protocol.NetworkHeader, w.provider.Fingerprint)
		s := &sink{h: http.Header{}}
		for b.Loop() {
			clear(s.h)
			w.ServeHTTP(s, r)
		}
		if s.n == 0 {
			b.Error("nothing was answered")
		}
	})
	b.Run("via=socket", func(b *testing.B) { benchmarkSocket(b, w.Proxy, p.Path(), w.provider.Fingerprint) })
	b.Run("via=socket/static", func(b *testing.B) { // what net/http costs without us
		body := w.do("GET", p.Path(), "").Body.Bytes()
		benchmarkSocket(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body)
		}), p.Path(), w.provider.Fingerprint)
	})
}

// benchmarkSocket sends the same request again and again over one connection of a real socket, as a plain client does that parses nothing.
func benchmarkSocket(b *testing.B, h http.Handler, path, network string) {
	b.ReportAllocs()
	ts := httptest.NewServer(h)
	defer ts.Close()
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: proxy\r\n" + protocol.NetworkHeader + ": " + network + "\r\n\r\n")
	buf := make([]byte, 64<<10)
	length := 0
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if length == 0 { // the first response tells how long each is
			time.Sleep(20 * time.Millisecond)
			length, err = conn.Read(buf)
		} else {
			_, err = io.ReadFull(conn, buf[:length])
		}
		if err != nil || !bytes.HasPrefix(buf, []byte("HTTP/1.1 200")) {
			b.Fatalf("%v %q", err, buf[:20])
		}
	}
}
