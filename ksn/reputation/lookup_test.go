package reputation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// Each verdict arrives with its reason, from the servers and then from the cache.
func TestLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.knows(fileKey(1), protocol.Untrusted, "Win.Worm")
		w.knows(fileKey(2), protocol.Trusted, "Editor")
		w.knows(fileKey(3), protocol.PotentiallyUnwanted, "Tool")
		c := w.client()
		want := []protocol.Verdict{protocol.Unknown, protocol.Untrusted, protocol.Trusted, protocol.PotentiallyUnwanted}
		for round, source := range []Source{SourcePrivate, SourceCache} {
			got := c.Lookup(t.Context(), ksn.OriginOnDemand, []Object{file(0), file(1), file(2), file(3)})
			for i, v := range got {
				if v.Verdict != want[i] || v.Why != Settled || v.Source != source || v.Release != 7 || v.Stale || v.Life <= 0 {
					t.Errorf("round %d, object %d: %+v", round, i, v)
				}
			}
			if got[1].Name != "Win.Worm" || got[1].Key != fileKey(1) {
				t.Errorf("round %d: %+v", round, got[1])
			}
		}
		if sent := w.sent(); len(sent) != 1 || sent[0] != "s1 POST /v1/lookup" {
			t.Errorf("requests %q, want one batch", sent)
		}
	})
}

// A question names its prefix and network and nothing that could be more of the object; one question is a GET, and each prefix of a batch stands once.
func TestWhatAQuestionSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		c := w.client(func(c *Config) { c.Token = func() string { return "secret" } })
		c.one(ksn.OriginManual, file(0xabcdef))
		if sent := w.sent(); len(sent) != 1 || sent[0] != "s1 GET /v1/l/file-sha256/24/abcdef" {
			t.Errorf("requests %q", sent)
		}
		h := w.headers[0]
		if h.Get(protocol.NetworkHeader) != w.provider.Fingerprint || h.Get("Authorization") != "Bearer secret" || h.Get("Accept-Encoding") != "identity" {
			t.Errorf("headers %v", h)
		}
		twins := []Object{file(1), file(1), file(1), file(2)}
		twins[1].Keys[0].Sum[9] = 99 // another object with the same prefix
		c.Lookup(t.Context(), ksn.OriginManual, twins)
		if n := w.asked[fileKey(1).Prefix(24)]; n != 1 || len(w.sent()) != 2 {
			t.Errorf("a prefix was asked %d times in %q", n, w.sent())
		}
	})
}

// The secret is not shown in clear on a wire.
func TestTokenStaysOffPlainHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		w.hosts["p"], w.hosts["127.0.0.1"] = serve, serve
		for address, want := range map[string]string{"http://p": "", "https://p": "Bearer secret", "http://127.0.0.1:1": "Bearer secret"} {
			w.do(func() { w.headers, w.routes = nil, RouteSettings{UseProxy: true, Proxies: []string{address}} })
			w.client(func(c *Config) { c.Token = func() string { return "secret" }; c.Memory = nil }).one(ksn.OriginManual, file(1))
			if got := w.headers[0].Get("Authorization"); got != want {
				t.Errorf("%s is shown %q, want %q", address, got, want)
			}
		}
	})
}

// A credential that no header can hold makes no client; one that changes into such a one later is not shown, and is no failure of the network.
func TestTokensThatNoHeaderHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		token := "secret"
		var config Config
		c := w.client(func(c *Config) { c.Token = func() string { return token }; config = *c })
		token = "sec\nret"
		if other, err := New(config); err == nil || strings.Contains(err.Error(), "ret") {
			if other != nil {
				other.Close()
			}
			t.Errorf("error %v", err)
		}
		c.one(ksn.OriginManual, file(1))
		if n, got := len(w.sent()), w.headers[0].Get("Authorization"); n != 1 || got != "" {
			t.Errorf("%d requests, shown %q", n, got)
		}
	})
}

// Override, then cache, then gate: a restriction hides no known answer, and an override asks nobody.
func TestLookupOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		w.knows(fileKey(1), protocol.Untrusted, "Bad")
		w.knows(fileKey(2), protocol.Untrusted, "Bad")
		c := w.client(func(c *Config) {
			c.Override = func(k protocol.Key) (protocol.Verdict, string, bool) {
				return protocol.Trusted, "ours", k == fileKey(2) || k.Type == protocol.FileMD5
			}
		})
		c.one(ksn.OriginManual, file(1))
		n := len(w.sent())
		w.restrict(1, fmt.Sprintf(`{"id":"stop","action":"disable","priority":1,"expires":%q}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
		if v := c.one(ksn.OriginManual, file(1)); v.Verdict != protocol.Untrusted || v.Source != SourceCache {
			t.Errorf("a restriction hides a known answer: %+v", v)
		}
		if v := c.one(ksn.OriginManual, file(2)); v.Verdict != protocol.Trusted || v.Source != SourceOverride || v.Name != "ours" {
			t.Errorf("override: %+v", v)
		}
		v := c.one(ksn.OriginManual, file(3))
		if v.Verdict != protocol.Unknown || v.Why != Restricted || v.Record != "stop" || v.Retry.IsZero() {
			t.Errorf("restricted: %+v", v)
		}
		weakly := Object{Keys: []protocol.Key{keyOf(protocol.FileMD5, 4)}}
		if v := c.one(ksn.OriginManual, weakly); v.Source == SourceOverride {
			t.Errorf("an override trusts an MD5: %+v", v)
		}
		if len(w.sent()) != n {
			t.Errorf("requests %q", w.sent()[n:])
		}
		l := c.Situation().Ledger
		if l.File.Suppressed != 2 || l.SuppressedBy["stop"] != 2 || l.File.Asked != 1 || l.File.Answered != 1 {
			t.Errorf("ledger %+v", l)
		}
	})
}

// Zero requests before consent, after it was taken back, and after the network was removed, whatever is asked for.
func TestNoRequestWithoutConsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		yes := w.facts
		c := w.client(func(c *Config) { c.OnSettled = func(Deferred, Verdict) {} })
		everything := func(n int, want Why) {
			t.Helper()
			for i, o := range ksn.Origins() {
				if v := c.one(o, hit(n+i)); v.Why != want || v.Verdict != protocol.Unknown {
					t.Errorf("%s: %+v", o, v)
				}
			}
			if _, err := c.Info(t.Context()); err == nil {
				t.Error("info was given")
			}
			if err := c.SendStats(t.Context(), []byte("{}")); err == nil {
				t.Error("statistics were sent")
			}
			if s := c.CheckConnection(t.Context()); s.OK || s.Failed != StepGate {
				t.Errorf("connection %+v", s)
			}
			c.DatabaseChanged()
			synctest.Wait()
		}
		w.do(func() { w.facts.Consent = ksn.Consent{} })
		everything(10, Disabled)
		w.do(func() { w.facts = yes; w.facts.Network = nil })
		everything(20, NoNetwork)
		if n := len(w.sent()); n != 0 {
			t.Fatalf("requests %q", w.sent())
		}
		w.do(func() { w.facts = yes })
		if v := c.one(ksn.OriginManual, file(1)); v.Why != Settled {
			t.Fatalf("after consent: %+v", v)
		}
		n := len(w.sent())
		w.do(func() { w.facts.Consent = w.facts.Consent.Disable(time.Now()) })
		everything(30, Disabled)
		if len(w.sent()) != n {
			t.Errorf("requests after disable: %q", w.sent()[n:])
		}
	})
}

// Consent that is taken back while a request is on its way ends it there: no second route is asked.
func TestConsentTakenBackOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		w.hosts["s1"] = func(w *world, r *http.Request) (*http.Response, error) {
			w.do(func() { w.facts.Consent = w.facts.Consent.Disable(time.Now()) })
			return reply(500, nil), nil
		}
		if v := w.client().one(ksn.OriginManual, file(1)); v.Why != Disabled || len(w.sent()) != 1 {
			t.Errorf("%+v after %q", v, w.sent())
		}
	})
}

// Answers that were kept are the network's, and what waits to be asked is for it: while no statement of it is accepted the cache tells nothing, not even in the
// place of an error, and no suspicion is put down. Overrides are the administrator's, and go on.
func TestNothingIsKeptOrToldWithoutConsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.ttl, w.neg = 60, 60
		w.knows(fileKey(1), protocol.Untrusted, "Bad")
		c := w.client(func(c *Config) {
			c.Override = func(k protocol.Key) (protocol.Verdict, string, bool) {
				return protocol.Trusted, "ours", k == fileKey(9)
			}
		})
		yes := w.facts.Consent
		no := yes
		no.Accepted = nil // the network has another statement now
		if v := c.one(ksn.OriginManual, file(1)); v.Verdict != protocol.Untrusted {
			t.Fatalf("%+v", v)
		}
		n := len(w.sent())
		w.do(func() { w.facts.Consent = no })
		for i, o := range ksn.Origins() {
			for _, object := range []Object{file(1), hit(1), hit(10 + i)} {
				if v := c.one(o, object); v.Why != Disabled || v.Verdict != protocol.Unknown || v.Source != SourceNone || v.Remedy == "" {
					t.Errorf("%s, %s: %+v", o, object.Path, v)
				}
			}
			if v := c.one(o, file(9)); v.Source != SourceOverride {
				t.Errorf("%s, overridden: %+v", o, v)
			}
		}
		time.Sleep(2 * writeDelay)
		if len(w.sent()) != n || len(w.memory.queue()) != 0 {
			t.Errorf("requests %q, deferred %+v", w.sent()[n:], w.memory.queue())
		}
		w.do(func() { w.facts.Consent = yes })
		if v := c.one(ksn.OriginManual, file(1)); v.Source != SourceCache || len(w.sent()) != n {
			t.Errorf("with consent again: %+v", v)
		}

		time.Sleep(2 * time.Minute) // an answer past its life would be given in the place of the error
		w.do(func() {
			w.hosts["s1"] = nil
			w.hosts["s2"] = func(w *world, _ *http.Request) (*http.Response, error) {
				w.do(func() { w.facts.Consent = no })
				return nil, errors.New("connection refused")
			}
		})
		if v := c.one(ksn.OriginManual, hit(1)); v.Why != Disabled || v.Verdict != protocol.Unknown || v.Stale {
			t.Errorf("taken back on the way: %+v", v)
		}
		c.Close()
		if d := w.memory.queue(); len(d) != 0 {
			t.Errorf("deferred %+v", d)
		}
	})
}

// Questions that wait from before consent ended stay as they were: nothing is asked, and nothing is written of them.
func TestDeferredAreLeftAloneWithoutConsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.hosts["s1"], w.hosts["s2"] = nil, nil
		c := w.client()
		c.one(ksn.OriginOnDemand, hit(1))
		time.Sleep(2 * writeDelay)
		n := len(w.sent())
		w.do(func() { w.facts.Consent.Accepted = nil })
		left, err := c.DrainDeferred(t.Context(), func(d Deferred, v Verdict) { t.Errorf("settled %+v: %+v", d, v) })
		if left != 1 || !errors.Is(err, ksn.ErrRefused) || len(w.sent()) != n {
			t.Errorf("%d left, %v, requests %q", left, err, w.sent()[n:])
		}
		if d := w.memory.queue(); len(d) != 1 || d[0].Tries != 0 {
			t.Errorf("deferred %+v", d)
		}
	})
}

// Nothing else in the package can send: a permit is used once, and the zero one never.
func TestNothingIsSentWithoutAPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		c := w.client()
		h := hop{ksn.RouteDirect, "https://s1"}
		q := ksn.Request{Service: ksn.ServiceLookup, Origin: ksn.OriginManual}
		p, _ := c.ask(q, h, fileKey(1).Prefix(24), false)
		other, _ := c.ask(q, hop{ksn.RouteProxy, "https://s2"}, fileKey(2).Prefix(24), false)
		if _, err := c.send(t.Context(), []permit{p}, nil); err != nil {
			t.Fatal(err)
		}
		for name, permits := range map[string][]permit{"none": nil, "zero": {{}}, "used": {p}, "of two hops": {other, p}, "twice": {other, other},
			"denied": {{&grant{hop: h, prefix: fileKey(1).Prefix(24), request: q}}}} {
			if _, err := c.send(t.Context(), permits, nil); err == nil {
				t.Errorf("sent with %s", name)
			}
		}
		if n := len(w.sent()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// The light database suspects an object. What is known settles it; silence does only if the answer is new enough; no server that is behind erases it.
func TestSuspicions(t *testing.T) {
	for _, c := range []struct {
		name    string
		release uint64
		typ     protocol.Type
		verdict protocol.Verdict // of the network, "" for silence
		want    protocol.Verdict
		why     Why
	}{
		{"silence of the same release", 7, protocol.FileSHA256, "", protocol.Unknown, Settled},
		{"silence of a later one", 8, protocol.FileSHA256, "", protocol.Unknown, Settled},
		{"silence from behind", 6, protocol.FileSHA256, "", protocol.Unknown, ServerBehind},
		{"silence without a database", 0, protocol.FileSHA256, "", protocol.Unknown, ServerBehind},
		{"silence without a database, hit of an unknown release", 0, protocol.FileSHA256, "", protocol.Unknown, ServerBehind},
		{"a finding from behind", 6, protocol.FileSHA256, protocol.Untrusted, protocol.Untrusted, Settled},
		{"unwanted, from behind", 6, protocol.FileMD5, protocol.PotentiallyUnwanted, protocol.PotentiallyUnwanted, Settled},
		{"trusted", 7, protocol.FileSHA256, protocol.Trusted, protocol.Trusted, Settled},
		{"trusted from behind", 6, protocol.FileSHA256, protocol.Trusted, protocol.Unknown, ServerBehind},
		{"trusted by MD5", 7, protocol.FileMD5, protocol.Trusted, protocol.Unknown, Settled},
		{"trusted by SHA-1, from behind", 6, protocol.FileSHA1, protocol.Trusted, protocol.Unknown, ServerBehind},
		{"unknown said from behind", 6, protocol.FileSHA256, protocol.Unknown, protocol.Unknown, ServerBehind},
		{"silence about a URL", 7, protocol.URL, "", protocol.Unknown, Settled},
		{"silence about a URL from behind", 6, protocol.URL, "", protocol.Unknown, ServerBehind},
		{"silence about a URL without a database", 0, protocol.URL, "", protocol.Unknown, ServerBehind},
		{"a listed URL from behind", 6, protocol.URL, protocol.Untrusted, protocol.Untrusted, Settled},
		{"a verdict of a later protocol", 7, protocol.FileSHA256, "excellent", protocol.Unknown, Settled},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, protocol.Global)
				w.release = c.release
				k := keyOf(c.typ, 1)
				if c.verdict != "" {
					w.knows(k, c.verdict, "n")
				}
				o := hit(1)
				if strings.Contains(c.name, "unknown release") {
					o.Release = 0
				}
				o.Keys = []protocol.Key{k}
				client := w.client()
				for range 2 { // from the network, then from the cache
					if v := client.one(ksn.OriginOnDemand, o); v.Verdict != c.want || v.Why != c.why {
						t.Errorf("%+v", v)
					}
				}
				if n := len(w.sent()); n != 1 {
					t.Errorf("%d requests: a server that is behind is asked again and again", n)
				}
				client.Close()
				if deferred := len(w.memory.queue()); (c.why != Settled) != (deferred == 1) {
					t.Errorf("%d deferred", deferred)
				}
			})
		})
	}
}

// An answer that is cached from an older database gives no clean verdict of a later suspicion, and is replaced when the server has caught up.
func TestCachedAnswerFromBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		c := w.client()
		later := hit(1)
		later.Release = 9
		if v := c.one(ksn.OriginOnDemand, hit(1)); v.Why != Settled {
			t.Fatalf("%+v", v)
		}
		if v := c.one(ksn.OriginOnDemand, later); v.Why != ServerBehind {
			t.Errorf("release 7 settles a suspicion of release 9: %+v", v)
		}
		w.do(func() {
			w.release = 9
			w.entries[fileKey(1)] = protocol.Entry{Key: fileKey(1), Verdict: protocol.Untrusted, Name: "New"}
		})
		time.Sleep(askBehind)
		if v := c.one(ksn.OriginOnDemand, later); v.Verdict != protocol.Untrusted || len(w.sent()) != 2 {
			t.Errorf("%+v after %q", v, w.sent())
		}
	})
}

// A size that is known tells objects of one key apart; of contradicting entries the worst holds.
func TestSizesAndContradictions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		k := fileKey(1)
		w.hosts["s1"] = sign(w.key, func(a *protocol.Answer) {
			for _, e := range []protocol.Entry{{Verdict: protocol.Trusted}, {Verdict: protocol.Untrusted, Size: 100}, {Verdict: protocol.PotentiallyUnwanted, Size: 200},
				{Verdict: protocol.Trusted, Size: 200}, {Verdict: "zzz", Size: 300}} {
				e.Key = k
				a.Entries = append(a.Entries, e)
			}
		})
		c := w.client()
		for size, want := range map[int64]protocol.Verdict{-1: protocol.Untrusted, 100: protocol.Untrusted, 200: protocol.PotentiallyUnwanted, 300: protocol.Trusted} {
			if v := c.one(ksn.OriginManual, Object{Keys: []protocol.Key{k}, Size: size}); v.Verdict != want {
				t.Errorf("size %d: %+v, want %s", size, v, want)
			}
		}
	})
}

// Of several keys of an object the worst verdict wins; without a finding all must have been answered.
func TestSeveralKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		key := func(n int) protocol.Key { return keyOf(protocol.URL, n) }
		w.knows(key(1), protocol.Trusted, "host")
		w.knows(key(2), protocol.Untrusted, "path")
		w.knows(key(3), protocol.PotentiallyUnwanted, "tool")
		c := w.client()
		url := func(n ...int) (o Object) {
			for _, i := range n {
				o.Keys = append(o.Keys, key(i))
			}
			return o
		}
		for _, x := range []struct {
			o    Object
			want protocol.Verdict
			key  protocol.Key
		}{
			{url(9, 1), protocol.Trusted, key(1)}, {url(2, 9, 1), protocol.Untrusted, key(2)}, {url(1, 2, 3), protocol.Untrusted, key(2)},
			{url(1, 3), protocol.PotentiallyUnwanted, key(3)}, {url(8, 9), protocol.Unknown, protocol.Key{}},
		} {
			if v := c.one(ksn.OriginManual, x.o); v.Verdict != x.want || v.Key != x.key || v.Why != Settled {
				t.Errorf("%v: %+v", x.o.Keys, v)
			}
		}
		w.do(func() { clear(w.hosts) })
		if v := c.one(ksn.OriginManual, url(1, 77)); v.Verdict != protocol.Unknown || v.Why != Unavailable {
			t.Errorf("one expression is trusted, nobody can tell of the other: %+v", v)
		}
		if v := c.one(ksn.OriginManual, url(77, 3)); v.Verdict != protocol.PotentiallyUnwanted || v.Why != Settled {
			t.Errorf("a finding needs no other answers: %+v", v)
		}
		l := c.Situation().Ledger
		if l.URL.Asked == 0 || l.File.Asked != 0 || l.Software.Asked != 0 {
			t.Errorf("kinds are not counted separately: %+v", l)
		}
	})
}

func TestObjectsThatAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		c := w.client()
		for name, o := range map[string]Object{"no key": {}, "two kinds": {Keys: []protocol.Key{fileKey(1), keyOf(protocol.URL, 1)}},
			"odd type": {Keys: []protocol.Key{{Type: "x"}}}, "too many": {Keys: make([]protocol.Key, MaxKeys+1)}} {
			if v := c.one(ksn.OriginManual, o); v.Why != Invalid || v.Verdict != protocol.Unknown {
				t.Errorf("%s: %+v", name, v)
			}
		}
		if len(w.sent()) != 0 {
			t.Errorf("requests %q", w.sent())
		}
	})
}

// Questions that are under way are not asked again, and questions of many callers go together.
func TestCallersShareRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		w.hosts["s1"] = func(w *world, r *http.Request) (*http.Response, error) {
			time.Sleep(100 * time.Millisecond)
			return serve(w, r)
		}
		c := w.client()
		var all sync.WaitGroup
		for i := range 90 {
			all.Go(func() {
				if v := c.one(ksn.OriginOnDemand, file(i/3)); v.Why != Settled {
					t.Errorf("%+v", v)
				}
			})
		}
		all.Wait()
		for p, n := range w.asked {
			if n != 1 {
				t.Errorf("%s was asked %d times", p, n)
			}
		}
		if n := len(w.sent()); n > 4 || len(w.asked) != 30 {
			t.Errorf("%d requests for %d prefixes", n, len(w.asked))
		}
	})
}

// Whoever waits when the client is closed hears so at once, and afterwards what is known is still known.
func TestCloseWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		w.knows(fileKey(1), protocol.Untrusted, "x")
		c := w.client()
		c.one(ksn.OriginManual, file(1))
		w.do(func() { w.hosts["s1"], w.hosts["s2"] = hang, hang })
		var all sync.WaitGroup
		for i := range 300 {
			all.Go(func() {
				if v := c.one(ksn.Origins()[i%4], hit(100+i)); v.Why == Settled {
					t.Errorf("%+v", v)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
		if d := time.Since(began); d > 0 {
			t.Errorf("closing took %s", d)
		}
		n := len(w.sent())
		if v := c.one(ksn.OriginManual, file(1)); v.Verdict != protocol.Untrusted || v.Source != SourceCache {
			t.Errorf("%+v", v)
		}
		if v := c.one(ksn.OriginManual, file(2)); v.Why != Unavailable || len(w.sent()) != n {
			t.Errorf("%+v", v)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if l := c.Situation().Link; l.Failures > 0 {
			t.Errorf("our own end counts as a failure of the network: %+v", l)
		}
	})
}

// What is above our ceiling waits for it where somebody has the time, and is unknown where not. The ceiling counts requests, however many questions
// one has.
func TestCeiling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Global)
		c := w.client()
		var objects []Object
		for i := range 1000 {
			objects = append(objects, file(i))
		}
		began := time.Now()
		for i, v := range c.Lookup(context.Background(), ksn.OriginOnDemand, objects) {
			if v.Why != Settled {
				t.Fatalf("object %d: %+v", i, v)
			}
		}
		if d := time.Since(began); d > time.Second || len(w.sent()) > 5 {
			t.Errorf("1000 objects took %s and %d requests", d, len(w.sent()))
		}
		ask := func(o ksn.Origin, from, n int) (busy int) {
			for i := range n {
				if v := c.Lookup(context.Background(), o, []Object{file(from + i)})[0]; v.Why == Busy && !v.Retry.IsZero() {
					busy++
				} else if v.Why != Settled {
					t.Fatalf("request %d: %+v", i, v)
				}
			}
			return busy
		}
		if busy := ask(ksn.OriginOnAccess, 2000, 180); busy < 70 {
			t.Errorf("%d of 180 requests are above the ceiling", busy)
		}
		if busy := ask(ksn.OriginOnDemand, 3000, 40); busy != 0 {
			t.Errorf("%d of 40 requests did not wait", busy)
		}
		if d := time.Since(began); d < time.Second {
			t.Errorf("40 requests above the ceiling took %s", d)
		}
	})
}
