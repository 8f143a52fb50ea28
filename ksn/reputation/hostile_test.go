package reputation

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// text is a server that says the same to everything.
func text(status int, body string, header ...string) handler {
	return func(*world, *http.Request) (*http.Response, error) {
		return reply(status, []byte(body), header...), nil
	}
}

// endless is a body that never ends.
func endless(status int, read *atomic.Int64) handler {
	return func(_ *world, r *http.Request) (*http.Response, error) {
		resp := reply(status, nil)
		resp.Body = io.NopCloser(zeros{read})
		return resp, nil
	}
}

type zeros struct{ n *atomic.Int64 }

func (z zeros) Read(b []byte) (int, error) {
	clear(b)
	z.n.Add(int64(len(b)))
	return len(b), nil
}

// twist is an honest server whose reply's bytes are changed on the way.
func twist(change func([]byte) []byte) handler {
	return func(w *world, r *http.Request) (*http.Response, error) {
		resp, err := serve(w, r)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(resp.Body)
		return reply(200, change(b)), err
	}
}

// A hostileServer is a way in which a server, a proxy or who is between can be against us.
type hostileServer struct {
	name  string
	serve func(w *world) handler
}

func hostileServers(t testing.TB) []hostileServer {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 10<<20)); err != nil {
		t.Fatal(err)
	}
	z.Close()
	plain := func(h handler) func(*world) handler { return func(*world) handler { return h } }
	year := "31536000"
	elsewhere := fileKey(99).Prefix(protocol.DefaultBits)
	return []hostileServer{
		{"never answers", plain(hang)},
		{"drips", plain(drip)},
		{"refuses connections", plain(nil)},
		{"garbage", plain(text(200, "\x00\xff garbage"))},
		{"empty", plain(text(200, ""))},
		{"no content", plain(text(204, ""))},
		{"a page", plain(text(200, "<html>log in here</html>", "Content-Type", "text/html"))},
		{"10 MB", plain(text(200, strings.Repeat(" ", 10<<20)))},
		{"10 MB of error", plain(text(500, strings.Repeat(" ", 10<<20)))},
		{"endless", plain(endless(200, new(atomic.Int64)))},
		{"endless error", plain(endless(503, new(atomic.Int64)))},
		{"gzip bomb", plain(text(200, bomb.String(), "Content-Encoding", "gzip"))},
		{"gzip bomb that says nothing", plain(text(200, bomb.String()))},
		{"nested", plain(text(200, strings.Repeat(`{"answers":{`, 100_000)))},
		{"nested lists", plain(text(200, strings.Repeat("[", 1<<20)))},
		{"redirect", plain(text(302, "", "Location", "https://elsewhere/v1/lookup"))},
		{"redirect for ever", plain(text(308, "", "Location", "/"))},
		{"another key", func(w *world) handler { return sign(signer(t, "mallory"), trustAll) }},
		{"another prefix", func(w *world) handler {
			return sign(w.key, func(a *protocol.Answer) { a.Prefix, a.Entries = elsewhere, []protocol.Entry{} })
		}},
		{"from the future", func(w *world) handler {
			return sign(w.key, func(a *protocol.Answer) { a.Issued = dbformat.At(time.Now().Add(time.Hour)) }, trustAll)
		}},
		{"replayed after its life", func(w *world) handler {
			return sign(w.key, func(a *protocol.Answer) { a.Issued = dbformat.At(time.Now().Add(-8 * 24 * time.Hour)) }, trustAll)
		}},
		{"with a life of none", func(w *world) handler {
			return sign(w.key, func(a *protocol.Answer) { a.TTL, a.NegTTL = 0, 0 }, trustAll)
		}},
		{"from an older database", func(w *world) handler { return sign(w.key, func(a *protocol.Answer) { a.Release = 6 }, trustAll) }},
		{"a byte changed", plain(twist(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }))},
		{"under the head of a newer database", plain(twist(func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte(`"release":7}`), []byte(`"release":9}`))
		}))},
		{"under a longer life", plain(twist(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"ttl":3600,`), []byte(`"ttl":9999,`)) }))},
		{"cut", plain(twist(func(b []byte) []byte { return b[:len(b)-1] }))},
		{"a field twice", plain(twist(func(b []byte) []byte { return append([]byte(`{"answers":{},`), b[1:]...) }))},
		{"something after it", plain(twist(func(b []byte) []byte { return append(b, "{}"...) }))},
		{"429 for a year", plain(problem(protocol.CodeTooMany, 366*24*time.Hour, "Retry-After", year))},
		{"429 until a date", plain(text(429, "", "Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"))},
		{"429 for more than a number", plain(text(429, "", "Retry-After", strings.Repeat("9", 40)))},
		{"429 for a negative time", plain(text(429, `{"wait":-5}`, "Retry-After", "-1"))},
		{"451", plain(problem(protocol.CodeRestricted, time.Hour))},
		{"401", plain(problem(protocol.CodeUnauthorized, 0))},
		{"403", plain(status(403))},
		{"421", plain(problem(protocol.CodeWrongNetwork, 0))},
		{"404", plain(status(404))},
		{"500", plain(status(500))},
		{"503 for a year", plain(problem(protocol.CodeUnavailable, 366*24*time.Hour, "Retry-After", year))},
		{"a status that is none", plain(status(999))},
	}
}

// trustAll says of whatever is asked that it is trusted.
func trustAll(a *protocol.Answer) {
	for n := range 4 {
		if k := fileKey(n); a.Prefix.Covers(k) {
			a.Entries = []protocol.Entry{{Key: k, Verdict: protocol.Trusted}}
		}
	}
}

// Whatever servers do: no suspicion ends as clean, nothing is trusted, look-ups are back by their deadlines, and nobody else is asked than the two servers.
func TestHostileServers(t *testing.T) {
	for _, h := range hostileServers(t) {
		t.Run(h.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, protocol.Private)
				w.learns = true
				w.hosts["s1"] = h.serve(w)
				w.hosts["s2"] = h.serve(w)
				c := w.client()
				for _, o := range ksn.Origins() {
					began := time.Now()
					got := c.Lookup(context.Background(), o, []Object{hit(0), hit(1), hit(2)})
					got = append(got, c.one(o, hit(3)))
					for i, v := range got {
						if v.Verdict != protocol.Unknown || v.Why == Settled {
							t.Errorf("%s, object %d: %+v", o, i, v)
						}
					}
					if d := time.Since(began); d > 2*Deadline(o) {
						t.Errorf("%s: two look-ups took %s", o, d)
					}
					time.Sleep(time.Minute)
				}
				for _, r := range w.sent() {
					if !strings.HasPrefix(r, "s1 ") && !strings.HasPrefix(r, "s2 ") {
						t.Errorf("request %s", r)
					}
				}
				if c.cache.answers.EstimatedSize() > 4 {
					t.Errorf("%d answers are cached", c.cache.answers.EstimatedSize())
				}

				// A day later at most the network is asked again, and believed again.
				w.do(func() { w.hosts["s1"], w.hosts["s2"] = serve, serve })
				time.Sleep(MaxWait)
				if v := c.one(ksn.OriginOnDemand, hit(0)); v.Why != Settled {
					t.Errorf("a day later: %+v", v)
				}
			})
		})
	}
}

// Among hostile proxies and servers a good one still answers, if the fallback table lets it be reached.
func TestOneGoodServerAmongHostileOnes(t *testing.T) {
	final := map[string]bool{"429 for a year": true, "429 until a date": true, "429 for more than a number": true, "429 for a negative time": true,
		"451": true, "401": true, "403": true, "from an older database": true}
	for _, h := range hostileServers(t) {
		t.Run(h.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, origin := range []ksn.Origin{ksn.OriginOnAccess, ksn.OriginManual} {
					w := newWorld(t, protocol.Private)
					w.hosts["s1"] = h.serve(w)
					v := w.client().one(origin, hit(1))
					if good := v.Why == Settled; good == final[h.name] {
						t.Errorf("%s: %+v, asked %q", origin, v, w.sent())
					}
				}
			})
		})
	}
}

// Of a reply without end no more is read than the longest one has, and nothing of it is kept.
func TestHostileRepliesTakeNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		var read atomic.Int64
		w.hosts["s1"], w.hosts["s2"] = endless(200, &read), endless(503, &read)
		c := w.client()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range 4 {
			c.Lookup(t.Context(), ksn.OriginManual, []Object{hit(2 * i), hit(2*i + 1)})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
			t.Errorf("%d bytes remain", grown)
		}
		if n, most := read.Load(), int64(4*(protocol.MaxReplies+protocol.MaxProblem+64<<10)); n == 0 || n > most {
			t.Errorf("%d bytes were read, want at most %d", n, most)
		}
	})
}

// Devices of one network never reach another: both are there and listen, and settings, failures and proxies are whatever they are.
func TestPrivateNeverReachesGlobal(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		own := rapid.SampledFrom([]string{protocol.Private, protocol.Global}).Draw(r, "own")
		behaviours := []handler{serve, nil, hang, status(500), problem(protocol.CodeWrongNetwork, 0), problem(protocol.CodeTooMany, time.Second),
			problem(protocol.CodeRestricted, time.Second), problem(protocol.CodeUnauthorized, 0), text(302, "", "Location", "https://foreign/"),
			text(200, "x"), twist(func(b []byte) []byte { return b[1:] })}
		routes := RouteSettings{UseProxy: rapid.Bool().Draw(r, "use_proxy"), UseServersIfProxyUnavailable: rapid.Bool().Draw(r, "servers"),
			Proxies: rapid.SliceOfN(rapid.SampledFrom([]string{"p1", "p2", "http://p3", "foreign-proxy", "bad address"}), 0, 3).Draw(r, "proxies")}
		draws := make([]int, 5)
		for i := range draws {
			draws[i] = rapid.IntRange(0, len(behaviours)-1).Draw(r, "host")
		}
		steps := rapid.SliceOfN(rapid.IntRange(0, 6), 1, 12).Draw(r, "steps")
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, own)
			w.learns = true
			kind := map[string]string{protocol.Private: protocol.Global, protocol.Global: protocol.Private}[own]
			other := newWorld(t, kind)
			for i, host := range []string{"s1", "s2", "p1", "p2", "p3"} {
				w.hosts[host] = behaviours[draws[i]]
			}
			w.routes = routes
			foreign := 0
			w.hosts["foreign"] = func(*world, *http.Request) (*http.Response, error) { foreign++; return serve(other, httpNone) }
			// The other network's proxy is there because somebody configured it. It must learn nothing but that it is not meant.
			w.hosts["foreign-proxy"] = func(_ *world, q *http.Request) (*http.Response, error) { return serve(other, q) }
			c := w.client(func(c *Config) { c.Token = func() string { return "t" } })
			for i, s := range steps {
				switch s {
				case 0:
					_, _ = c.Info(t.Context())
				case 1:
					c.CheckConnection(t.Context())
				case 2:
					_ = c.SendStats(t.Context(), []byte("{}"))
				case 3:
					time.Sleep(2 * time.Minute)
				default:
					c.Lookup(t.Context(), ksn.Origins()[i%4], []Object{hit(i), file(i + 50)})
				}
			}
			c.Close() // the last probe is over
			if foreign > 0 || len(other.asked) > 0 {
				t.Errorf("%d requests to foreign servers, %d foreign answers; sent %q", foreign, len(other.asked), w.sent())
			}
			for i, h := range w.headers {
				if h.Get(protocol.NetworkHeader) != w.provider.Fingerprint {
					t.Errorf("%s does not name its network", w.requests[i])
				}
			}
			direct := !routes.UseProxy || routes.UseServersIfProxyUnavailable
			for _, q := range w.sent() {
				if strings.HasPrefix(q, "s") && !direct {
					t.Errorf("%s although servers are not permitted", q)
				}
			}
		})
	})
}

var httpNone = &http.Request{Header: http.Header{}}

// A device that was moved to a private network asks nothing through a client of the global one that still runs.
func TestNetworkChangedUnderAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		c := w.client()
		w.do(func() { w.facts.Network = &ksn.Installed{Kind: ksn.NetworkPrivate} })
		if v := c.one(ksn.OriginManual, file(1)); v.Why != NotAuthorized || len(w.sent()) != 0 {
			t.Errorf("%+v after %q", v, w.sent())
		}
		if _, err := New(Config{Facts: c.config.Facts, Provider: w.provider, Kind: ksn.NetworkPrivate}); err == nil {
			t.Error("a global provider file serves a device whose settings say private")
		}
	})
}

// The one place that calls the transport is send.
func TestOnePlaceSends(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	calls := map[string]int{}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{".RoundTrip(", "http.Client", "http.Get", "http.Post", "http.DefaultClient", ".Do(req", "net.Dial(", "&grant{"} {
			calls[word] += strings.Count(string(b), word)
		}
	}
	if got := fmt.Sprint(calls); got != fmt.Sprint(map[string]int{".RoundTrip(": 1, "http.Client": 1, "http.Get": 0, "http.Post": 0, "http.DefaultClient": 0,
		".Do(req": 0, "net.Dial(": 0, "&grant{": 1}) { // the client is in a comment
		t.Errorf("who sends, and who permits, has changed: %v", calls)
	}
}
