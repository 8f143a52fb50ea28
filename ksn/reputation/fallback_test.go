package reputation

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// The fallback table as devices live it: who is asked, and what the user hears.
func TestFallback(t *testing.T) {
	for _, c := range []struct {
		name         string
		use, instead bool
		proxy        handler
		why          Why
		asked        string // hosts
		source       Source
	}{
		{"no proxy wanted", false, true, serve, Settled, "s1", SourcePrivate},
		{"proxy answers", true, true, serve, Settled, "p1", SourceProxy},
		{"proxies down, servers not permitted", true, false, nil, Unavailable, "p1 p2", ""},
		{"proxies down, servers permitted", true, true, nil, Settled, "p1 p2 s1", SourcePrivate},
		{"proxies fail", true, true, status(502), Settled, "p1 p2 s1", SourcePrivate},
		{"proxies hang", true, true, hang, Settled, "p1 p2 s1", SourcePrivate},
		{"proxies forge", true, true, twist(func(b []byte) []byte { b[20] ^= 1; return b }), Settled, "p1 p2 s1", SourcePrivate},
		{"proxy restricts", true, true, problem(protocol.CodeRestricted, time.Hour), Restricted, "p1", ""},
		{"proxy throttles", true, true, problem(protocol.CodeTooMany, time.Hour), Busy, "p1", ""},
		{"proxy refuses", true, true, problem(protocol.CodeUnauthorized, 0), NotAuthorized, "p1", ""},
		{"proxy forbids", true, true, problem(protocol.CodeForbidden, 0), NotAuthorized, "p1", ""},
		{"proxies of another network", true, true, problem(protocol.CodeWrongNetwork, 0), Misconfigured, "p1 p2", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, protocol.Private)
				w.hosts["p1"], w.hosts["p2"] = c.proxy, c.proxy
				w.routes = RouteSettings{UseProxy: c.use, Proxies: []string{"p1", "p2"}, UseServersIfProxyUnavailable: c.instead}
				client := w.client()
				for i, origin := range ksn.Origins() {
					w.do(func() { w.requests = nil })
					fresh := w.client(func(c *Config) { c.Memory = nil })
					v := fresh.one(origin, file(i))
					var asked []string
					for _, r := range w.sent() {
						asked = append(asked, strings.Fields(r)[0])
					}
					if v.Why != c.why || v.Source != c.source || strings.Join(asked, " ") != c.asked {
						t.Errorf("%s: %+v, asked %q; want %q of %s", origin, v, asked, c.why, c.asked)
					}
					if c.why == Restricted && v.Record != "network-record" || c.why == Busy && v.Retry.IsZero() {
						t.Errorf("%+v names no record or time", v)
					}
				}
				// What was heard holds for the next request too: it asks no further than the first did.
				w.do(func() { w.requests = nil })
				for i := range 5 {
					client.one(ksn.OriginOnAccess, file(100+i))
				}
				for _, r := range w.sent() {
					if host := strings.Fields(r)[0]; !slices.Contains(strings.Fields(c.asked), host) {
						t.Errorf("later requests %q", w.sent())
					}
				}
				if c.why != Settled && len(w.sent()) > len(strings.Fields(c.asked)) {
					t.Errorf("tight retries: %q", w.sent())
				}
			})
		})
	}
}

// A network that restricts files is still asked about URLs, and about files again when it said so.
func TestRestrictedKindsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.hosts["s1"] = func(w *world, r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "/file-") {
				return problem(protocol.CodeRestricted, time.Hour)(w, r)
			}
			return serve(w, r)
		}
		c := w.client()
		url := Object{Keys: []protocol.Key{keyOf(protocol.URL, 1)}}
		for range 2 {
			if v := c.one(ksn.OriginManual, file(1)); v.Why != Restricted {
				t.Errorf("%+v", v)
			}
			if v := c.one(ksn.OriginManual, url); v.Why != Settled {
				t.Errorf("%+v", v)
			}
		}
		if n := len(w.sent()); n != 2 {
			t.Errorf("requests %q", w.sent())
		}
		time.Sleep(time.Hour)
		c.one(ksn.OriginManual, file(1))
		if n := len(w.sent()); n != 3 {
			t.Errorf("requests %q", w.sent())
		}
	})
}

// While servers stand in for a proxy it is probed once a minute, in the background, and used again as soon as it answers.
func TestProxyIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.routes = RouteSettings{UseProxy: true, Proxies: []string{"p1"}, UseServersIfProxyUnavailable: true}
		w.hosts["p1"] = hang
		c := w.client()
		for i := range 600 { // ten minutes
			began := time.Now()
			if v := c.one(ksn.OriginOnAccess, file(i)); v.Why != Settled {
				t.Fatalf("%+v", v)
			}
			if d := time.Since(began); i > 0 && d > time.Millisecond {
				t.Errorf("look-up %d waits %s for a proxy that is known to be away", i, d)
			}
			time.Sleep(time.Second)
		}
		if n := w.count("p1"); n < 8 || n > 12 {
			t.Errorf("the proxy was asked %d times in ten minutes", n)
		}
		w.do(func() { w.hosts["p1"] = serve })
		time.Sleep(ProbeInterval)
		c.one(ksn.OriginOnAccess, file(1000))
		synctest.Wait()
		if v := c.one(ksn.OriginOnAccess, file(1001)); v.Source != SourceProxy {
			t.Errorf("the proxy is back: %+v", v)
		}
	})
}

// Where info is restricted no probe is sent, and a look-up finds out.
func TestProxyIsProbedByALookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.routes = RouteSettings{UseProxy: true, Proxies: []string{"p1"}, UseServersIfProxyUnavailable: true}
		w.restrict(1, `{"id":"i","action":"disable","priority":1,"expires":"2000-02-01T00:00:00Z","scope":{"services":["info"],"networks":["private"]}}`)
		c := w.client()
		c.one(ksn.OriginOnDemand, file(1))
		w.do(func() { w.hosts["p1"] = serve })
		time.Sleep(ProbeInterval)
		if v := c.one(ksn.OriginOnDemand, file(2)); v.Source != SourceProxy {
			t.Errorf("%+v, asked %q", v, w.sent())
		}
	})
}

// Waits and refusals outlive the process.
func TestWaitsOutliveTheProcess(t *testing.T) {
	for name, h := range map[string]handler{"429": problem(protocol.CodeTooMany, 366*24*time.Hour), "401": problem(protocol.CodeUnauthorized, 0),
		"451": problem(protocol.CodeRestricted, time.Hour), "500": status(500)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, protocol.Private)
				w.hosts["s1"], w.hosts["s2"] = h, h
				c := w.client()
				first := c.one(ksn.OriginOnDemand, file(1))
				c.Close()
				n := len(w.sent())
				c = w.client()
				if v := c.one(ksn.OriginOnDemand, file(1)); v.Why != first.Why || len(w.sent()) != n {
					t.Errorf("%+v then %+v, asked %q", first, v, w.sent())
				}
				w.do(func() { w.hosts["s1"], w.hosts["s2"] = serve, serve })
				time.Sleep(MaxWait)
				if v := c.one(ksn.OriginOnDemand, file(1)); v.Why != Settled {
					t.Errorf("a day later: %+v", v)
				}
			})
		})
	}
}

// What comes over plain http, which anybody on the way can say, keeps a device from asking for an hour at most, however often it was said before. A server
// that TLS vouches for is believed for a day.
func TestPlainHTTPSilencesForAnHour(t *testing.T) {
	year := 366 * 24 * time.Hour
	for name, h := range map[string]handler{"429": problem(protocol.CodeTooMany, year), "429 with a header": status(429, "Retry-After", "31536000"),
		"429 with a date": status(429, "Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), "401": problem(protocol.CodeUnauthorized, year), "403": status(403),
		"451": problem(protocol.CodeRestricted, year), "503": problem(protocol.CodeUnavailable, year), "421": problem(protocol.CodeWrongNetwork, year)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, scheme := range []string{"http", "https"} {
					w := newWorld(t, protocol.Private)
					w.urls(scheme+"://s1", scheme+"://s2")
					w.hosts["s1"], w.hosts["s2"] = h, h
					c := w.client()
					for range 5 {
						c.one(ksn.OriginOnDemand, file(1))
						time.Sleep(MaxPlainWait) // long enough for the next one to be said
					}
					w.do(func() { w.requests = nil })
					c.one(ksn.OriginOnDemand, file(1))
					if said := len(w.sent()) > 0; scheme == "http" && !said {
						t.Fatalf("after %s nothing is asked over http", MaxPlainWait)
					}
					w.do(func() { w.hosts["s1"], w.hosts["s2"] = serve, serve })
					time.Sleep(MaxPlainWait)
					v := c.one(ksn.OriginOnDemand, file(1))
					if name == "401" || name == "403" || name == "421" { // how long is ours to say, and was less than a day
						if scheme == "http" && v.Why != Settled {
							t.Errorf("http: %+v", v)
						}
					} else if heard := v.Why == Settled; heard != (scheme == "http") {
						t.Errorf("%s: an hour later %+v", scheme, v)
					}
				}
			})
		})
	}
}

// A credential that the operator refuses: not_authorized with what to do, one request an hour at most, and a new credential is tried at once.
func TestRefusedCredentialIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		token := "old"
		w.hosts["s1"] = func(w *world, r *http.Request) (*http.Response, error) {
			if r.Header.Get("Authorization") != "Bearer new" {
				return problem(protocol.CodeUnauthorized, 0)(w, r)
			}
			return serve(w, r)
		}
		c := w.client(func(c *Config) { c.Token = func() string { return token } })
		for i := range 24 * 60 {
			v := c.one(ksn.OriginOnAccess, hit(i%3))
			if v.Why != NotAuthorized || v.Remedy == "" {
				t.Fatalf("%+v", v)
			}
			time.Sleep(time.Minute)
		}
		if n := len(w.sent()); n < 2 || n > 6 {
			t.Errorf("%d requests in a day", n)
		}
		st := ksn.NewStatus(c.Situation())
		if st.State != ksn.StateNotAuthorized || !strings.Contains(st.Reason, "register") {
			t.Errorf("status %+v", st)
		}
		token = "new"
		if v := c.one(ksn.OriginOnAccess, hit(1)); v.Why != Settled {
			t.Errorf("with a new credential: %+v", v)
		}
		if st := ksn.NewStatus(c.Situation()); st.State != ksn.StateEnabled {
			t.Errorf("status %+v", st)
		}
		if strings.Contains(string(w.memory.record), "new") {
			t.Errorf("the record holds the credential: %s", w.memory.record)
		}
	})
}

// An expired provider file ends all requests, and the other network is not asked instead.
func TestExpiredProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		c := w.client()
		time.Sleep(366 * 24 * time.Hour)
		if v := c.one(ksn.OriginManual, file(1)); v.Why != NotAuthorized || len(w.sent()) != 0 {
			t.Errorf("%+v after %q", v, w.sent())
		}
		if st := ksn.NewStatus(c.Situation()); st.State != ksn.StateNotAuthorized {
			t.Errorf("status %+v", st)
		}
	})
}

// The status follows what is lived: three failures or one sweep to leave, one authentic answer to return, silence for 15 minutes.
func TestStatusFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		c := w.client()
		state := func(want ksn.State) {
			t.Helper()
			if st := ksn.NewStatus(c.Situation()); st.State != want {
				t.Errorf("status %s (%s), want %s", st.State, st.Reason, want)
			}
		}
		state(ksn.StateUnknown)
		c.one(ksn.OriginOnDemand, file(1))
		state(ksn.StateEnabled)
		w.do(func() { w.hosts["s1"] = problem(protocol.CodeTooMany, time.Second) }) // an order is no sweep
		for i := range 3 {
			state(ksn.StateEnabled)
			c.one(ksn.OriginOnDemand, file(10+i))
			time.Sleep(2 * time.Second)
		}
		state(ksn.StateUnavailable)
		w.do(func() { w.hosts["s1"] = serve })
		c.one(ksn.OriginOnDemand, file(20))
		state(ksn.StateEnabled)
		w.do(func() { w.hosts["s1"], w.hosts["s2"] = nil, nil })
		c.one(ksn.OriginOnDemand, file(21))
		state(ksn.StateUnavailable)
		c.Close()
		c = w.client()
		state(ksn.StateUnavailable)
		w.do(func() { w.hosts["s2"] = serve })
		time.Sleep(maxBackoff)
		c.one(ksn.OriginOnDemand, file(22))
		state(ksn.StateEnabled)
		time.Sleep(ksn.AnswerLife)
		state(ksn.StateUnavailable)
	})
}

// A daily limit holds over processes that end in order, and its leases are given back.
func TestDailyMaxOverProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.restrict(1, `{"id":"day","action":"limit","priority":1,"expires":"2000-01-02T00:00:00Z","scope":{"networks":["private"]},"limit":{"daily_max":40}}`)
		settled := 0
		for i := range 50 {
			c := w.client()
			if v := c.one(ksn.OriginOnDemand, file(i)); v.Why == Settled {
				settled++
			} else if v.Why != Restricted || v.Record != "day" {
				t.Errorf("%+v", v)
			}
			c.Close()
		}
		if settled != 40 {
			t.Errorf("%d of 40 passed", settled)
		}
		if l := w.client().Situation().Ledger; l.File.Asked != 40 || l.SuppressedBy["day"] != 10 {
			t.Errorf("ledger %+v", l)
		}
	})
}

// A restriction may ask for longer lives of answers; they stay within the caps of the protocol.
func TestFloorsOfLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.ttl, w.neg = 60, 60
		w.knows(fileKey(1), protocol.Trusted, "x")
		w.knows(fileKey(2), protocol.Untrusted, "y")
		w.restrict(1, `{"id":"f","action":"limit","priority":1,"expires":"2000-01-31T00:00:00Z","scope":{"networks":["private"]},`+
			`"limit":{"ttl_floor_s":{"trusted":172800,"untrusted":172800}}}`)
		c := w.client()
		c.Lookup(t.Context(), ksn.OriginManual, []Object{file(1), file(2), file(3)})
		for _, x := range []struct {
			after time.Duration
			asked []string
		}{{2 * time.Minute, []string{"3"}}, {23 * time.Hour, nil}, {25 * time.Hour, []string{"2"}}, {49 * time.Hour, []string{"1", "2"}}} {
			time.Sleep(time.Until(w.began().Add(x.after)))
			for n, name := range map[int]string{1: "1", 2: "2", 3: "3"} {
				before := len(w.sent())
				c.one(ksn.OriginManual, file(n))
				if asked := len(w.sent()) > before; n != 3 && asked != slices.Contains(x.asked, name) {
					t.Errorf("after %s object %d was asked: %t", x.after, n, asked)
				}
			}
		}
	})
}

// Statistics go through the gate and along the routes, and say nothing of look-ups.
func TestSendStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		c := w.client()
		if err := c.SendStats(t.Context(), []byte(`{}`)); !errors.Is(err, ksn.ErrRefused) {
			t.Errorf("in basic mode: %v", err)
		}
		w.do(func() { w.facts.Consent = consent(t, ksn.ModeExtended) })
		w.do(func() { w.hosts["s1"] = status(500) })
		if err := c.SendStats(t.Context(), []byte(`{}`)); err != nil {
			t.Error(err)
		}
		if sent := w.sent(); !slices.Equal(sent, []string{"s1 POST /v1/stats", "s2 POST /v1/stats"}) {
			t.Errorf("requests %q", sent)
		}
		w.do(func() { w.hosts["s2"] = status(404) })
		for range 3 { // it takes none, and answers: it is asked again at once, and nothing is held against it
			if err := c.SendStats(t.Context(), []byte(`{}`)); !errors.Is(err, ErrUnwanted) {
				t.Errorf("a server that takes none: %v", err)
			}
		}
		w.do(func() { w.hosts["s2"] = nil })
		if err := c.SendStats(t.Context(), []byte(`{}`)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("nobody is there: %v", err)
		}
		if l := c.Situation().Link; l != (ksn.Link{}) {
			t.Errorf("link %+v", l)
		}
		for _, b := range [][]byte{nil, make([]byte, MaxStats+1)} {
			if err := c.SendStats(t.Context(), b); err == nil {
				t.Errorf("%d bytes were sent", len(b))
			}
		}
	})
}

// Info is verified, remembered for as long as the network asks, and says how long prefixes are from now on.
func TestInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.bits = 32
		c := w.client()
		for range 3 {
			if i, err := c.Info(t.Context()); err != nil || i.Release != 7 {
				t.Fatalf("%+v, %v", i, err)
			}
		}
		c.one(ksn.OriginManual, file(1))
		c.Close()
		w.client().one(ksn.OriginManual, file(2))
		if sent := w.sent(); !slices.Equal(sent, []string{"s1 GET /v1/info", "s1 GET /v1/l/file-sha256/32/00000101", "s1 GET /v1/l/file-sha256/32/00000201"}) {
			t.Errorf("requests %q", sent)
		}
		w.do(func() { w.hosts["s1"] = twist(func(b []byte) []byte { b[30] ^= 1; return b }) })
		time.Sleep(2 * time.Minute)
		c = w.client()
		if _, err := c.Info(t.Context()); err != nil || w.count("s2") != 1 {
			t.Errorf("after a forged info: %v, %q", err, w.sent())
		}
		w.do(func() { w.hosts["s2"] = nil })
		time.Sleep(time.Hour)
		if i, err := c.Info(t.Context()); !errors.Is(err, ErrUnavailable) || i.V != 0 {
			t.Errorf("nobody is there: %+v, %v", i, err)
		}
	})
}

// Prefixes are as long as the network says, which a client learns when it is answered, once in the life of what it said: also after a restart, and of a server
// that answers no others. It asks for it as for everything else: not where a restriction forbids it.
func TestPrefixesAsLongAsTheNetworkSays(t *testing.T) {
	// demanding is a server that refuses prefixes of another length.
	demanding := func(w *world, r *http.Request) (*http.Response, error) {
		w.mu.Lock()
		want := fmt.Sprintf("%sfile-sha256/%d/", protocol.PathLookup, w.bits)
		w.mu.Unlock()
		if strings.HasPrefix(r.URL.Path, protocol.PathLookup) && !strings.HasPrefix(r.URL.Path, want) {
			return problem(protocol.CodeBadRequest, 0)(w, r)
		}
		return serve(w, r)
	}
	for _, bits := range []uint8{20, 28} {
		for name, h := range map[string]handler{"wishes": serve, "demands": demanding} {
			t.Run(fmt.Sprintf("%s %d", name, bits), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, protocol.Private)
					w.learns, w.bits = true, bits
					w.urls("https://s1")
					w.hosts["s1"] = h
					w.knows(fileKey(77), protocol.Untrusted, "Found")
					c := w.client()
					if v := c.one(ksn.OriginOnDemand, file(1)); (v.Why == Settled) != (name == "wishes") {
						t.Errorf("the first question: %+v", v)
					}
					time.Sleep(10 * time.Second)
					for i := range 5 {
						if v := c.one(ksn.OriginOnDemand, file(10000*i+2)); v.Why != Settled {
							t.Errorf("question %d: %+v", i, v)
						}
						time.Sleep(10 * time.Minute)
						if i == 2 {
							c.Close()
							c = w.client()
						}
					}
					if v := c.one(ksn.OriginOnDemand, file(77)); v.Name != "Found" {
						t.Errorf("what is known: %+v", v)
					}
					infos := 0
					for i, r := range w.sent() {
						switch {
						case r == "s1 GET /v1/info":
							infos++
						case i > 0 && !strings.HasPrefix(r, fmt.Sprintf("s1 GET /v1/l/file-sha256/%d/", bits)):
							t.Errorf("request %d: %s", i, r)
						}
					}
					if infos != 1 {
						t.Errorf("info was asked for %d times in %q", infos, w.sent())
					}
					time.Sleep(20 * time.Minute) // its hour is over
					w.do(func() { w.bits, w.hosts["s1"], w.requests = protocol.DefaultBits, serve, nil })
					c.one(ksn.OriginOnDemand, file(50000))
					synctest.Wait()
					c.one(ksn.OriginOnDemand, file(60000))
					if sent := w.sent(); len(sent) != 3 || sent[1] != "s1 GET /v1/info" || !strings.HasPrefix(sent[2], "s1 GET /v1/l/file-sha256/24/") {
						t.Errorf("after the life of info: %q", sent)
					}
				})
			})
		}
	}
	t.Run("restricted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, protocol.Private)
			w.learns, w.bits = true, 28
			w.restrict(1, `{"id":"i","action":"disable","priority":1,"expires":"2000-01-20T00:00:00Z","scope":{"services":["info"],"networks":["private"]}}`)
			c := w.client()
			for i := range 30 {
				c.one(ksn.OriginOnDemand, file(i))
				time.Sleep(time.Minute)
			}
			if err := c.Learn(t.Context()); !errors.Is(err, ksn.ErrRefused) {
				t.Errorf("Learn: %v", err)
			}
			for _, r := range w.sent() {
				if strings.HasSuffix(r, protocol.PathInfo) {
					t.Errorf("request %s", r)
				}
			}
		})
	})
}

// A network whose info is of no use is asked for it seldom, and goes on answering; one that tells us to wait is left alone.
func TestInfoThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		info     handler
		settled  bool
		requests int
	}{
		"none":     {status(404), true, 6},
		"forged":   {twist(func(b []byte) []byte { b[30] ^= 1; return b }), true, 6},
		"throttle": {problem(protocol.CodeTooMany, 24*time.Hour), false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, protocol.Private)
				w.learns = true
				w.hosts["s1"] = func(w *world, r *http.Request) (*http.Response, error) {
					if r.URL.Path == protocol.PathInfo {
						return c.info(w, r)
					}
					return serve(w, r)
				}
				client := w.client()
				for i := range 60 {
					if v := client.one(ksn.OriginOnDemand, file(i)); i > 0 && (v.Why == Settled) != c.settled {
						t.Errorf("question %d: %+v", i, v)
					}
					time.Sleep(time.Minute)
				}
				infos := 0
				for _, r := range w.sent() {
					if strings.HasSuffix(r, protocol.PathInfo) {
						infos++
					}
				}
				if infos != c.requests {
					t.Errorf("info was asked for %d times, want %d", infos, c.requests)
				}
			})
		})
	}
}
