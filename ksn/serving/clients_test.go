package serving

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.org/avdb/ksn/protocol"
)

// Each client has its own limit, is told how long to wait, and is let in again after that.
func TestLimits(t *testing.T) {
	w := newWorld(func(w *world) { w.Limit = Limit{PerSecond: 0.5, Burst: 3} })
	refused := func(address string, wait int64) {
		t.Helper()
		if p := problem(t, w.do("GET", aPrefix, "", "from", address), protocol.CodeTooMany); p.Wait != wait {
			t.Errorf("%s: wait %d, want %d", address, p.Wait, wait)
		}
	}
	for i := range 3 {
		for _, address := range []string{fmt.Sprintf("[2001:db8::%d]:9", i), fmt.Sprintf("192.0.2.1:%d", i), fmt.Sprintf("[::ffff:192.0.2.2]:%d", i+1), "@"} {
			if rec := w.do("GET", aPrefix, "", "from", address); rec.Code != 200 {
				t.Errorf("%s: %d", address, rec.Code)
			}
		}
	}
	for _, address := range []string{"[2001:db8::ffff:1]:9", "192.0.2.1:9", "192.0.2.2:9", "no address either"} {
		refused(address, 2)
	}
	if rec := w.do("GET", aPrefix, "", "from", "[2001:db8:0:1::1]:9"); rec.Code != 200 {
		t.Errorf("another network: %d", rec.Code)
	}
	w.now = noon.Add(1500 * time.Millisecond)
	refused("192.0.2.1:9", 1)
	w.now = noon.Add(2 * time.Second)
	if rec := w.do("GET", aPrefix, "", "from", "192.0.2.1:9"); rec.Code != 200 {
		t.Errorf("after the wait: %d", rec.Code)
	}
	// Paths for load balancers are not limited, and what is meant for another network costs nothing.
	for range 10 {
		if rec := w.do("GET", "/healthz", ""); rec.Code != 200 {
			t.Errorf("healthz: %d", rec.Code)
		}
		problem(t, w.do("GET", aPrefix, "", protocol.NetworkHeader, "other", "from", "198.51.100.7:1"), protocol.CodeWrongNetwork)
	}
	if rec := w.do("GET", aPrefix, "", "from", "198.51.100.7:1"); rec.Code != 200 {
		t.Errorf("after requests of another network: %d", rec.Code)
	}
}

// A token is a client wherever it comes from, may have a limit of its own, and guessing tokens is limited by address.
func TestLimitsOfTokens(t *testing.T) {
	w := newWorld(needToken, func(w *world) { w.Limit, w.Contact = Limit{PerSecond: 1, Burst: 2}, "it@example.org" })
	for i := range 2 {
		if rec := w.do("GET", aPrefix, "", "Authorization", "Bearer letmein", "from", fmt.Sprintf("192.0.2.%d:1", i)); rec.Code != 200 {
			t.Errorf("%d", rec.Code)
		}
		rec := w.do("GET", aPrefix, "", "Authorization", "Bearer guess", "from", "192.0.2.9:1")
		if p := problem(t, rec, protocol.CodeUnauthorized); rec.Header().Get("WWW-Authenticate") != `Bearer realm="KSN"` || !strings.Contains(p.Detail, "it@example.org") {
			t.Errorf("%v %+v", rec.Header(), p)
		}
	}
	problem(t, w.do("GET", aPrefix, "", "Authorization", "Bearer letmein", "from", "192.0.2.3:1"), protocol.CodeTooMany)
	problem(t, w.do("GET", aPrefix, "", "Authorization", "Bearer guess", "from", "192.0.2.9:2"), protocol.CodeTooMany)
	for range 10 {
		if rec := w.do("GET", aPrefix, "", "Authorization", "Bearer vip", "from", "192.0.2.9:1"); rec.Code != 200 {
			t.Errorf("without a limit: %d", rec.Code)
		}
	}
}

// Behind a load balancer the operator says who is who.
func TestNamedClients(t *testing.T) {
	w := newWorld(func(w *world) {
		w.Limit = Limit{PerSecond: 1, Burst: 1}
		w.Client = func(r *http.Request) string { return r.Header.Get("X-Real-Ip") }
	})
	for _, name := range []string{"a", "b"} {
		if rec := w.do("GET", aPrefix, "", "X-Real-Ip", name); rec.Code != 200 {
			t.Errorf("%s: %d", name, rec.Code)
		}
	}
	problem(t, w.do("GET", aPrefix, "", "X-Real-Ip", "a", "from", "192.0.2.2:1"), protocol.CodeTooMany)
}

// Answers with very many entries are charged for.
func TestLongAnswersAreCharged(t *testing.T) {
	w := newWorld(func(w *world) { w.Limit, w.entries = Limit{PerSecond: 1, Burst: 5}, 3*1024+1023 })
	w.do("GET", aPrefix, "") // 1 + 3
	w.entries = 0
	if rec := w.do("GET", aPrefix, ""); rec.Code != 200 {
		t.Errorf("%d", rec.Code)
	}
	if p := problem(t, w.do("GET", aPrefix, ""), protocol.CodeTooMany); p.Wait != 1 {
		t.Errorf("wait %d", p.Wait)
	}
}

// A flood of addresses does not grow the memory, and does not free the client that keeps asking.
func TestFloodOfClients(t *testing.T) {
	w := newWorld(func(w *world) { w.Limit = Limit{PerSecond: 0.001, Burst: 1} })
	if rec := w.do("GET", aPrefix, "", "from", "198.51.100.1:1"); rec.Code != 200 {
		t.Fatal(rec.Code)
	}
	for i := range 3 * MaxClients {
		w.do("GET", protocol.PathInfo, "", "from", fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255))
		if i%1000 == 0 {
			problem(t, w.do("GET", aPrefix, "", "from", "198.51.100.1:1"), protocol.CodeTooMany)
		}
	}
	if n := max(len(w.Limiter.clients), w.Limiter.order.Len()); n > MaxClients {
		t.Errorf("%d clients are remembered, the limit is %d", n, MaxClients)
	}
}

// Where tokens are needed the status page is for who has one, and for this machine; neither a front on this machine nor a page in a browser here, whose name
// leads here of late, opens it to the world, and tokens cannot be guessed by asking for it.
func TestWhoSeesTheStatusPage(t *testing.T) {
	page := func(w *world) {
		w.Status = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, "page "+r.URL.Path) })
	}
	named := func(w *world) { w.Client = func(*http.Request) string { return "somebody" } }
	none := func(w *world) { w.Admit = func(http.Header) (string, Limit, bool) { return "", Limit{}, true } }
	far, here := []string{"from", "192.0.2.1:1"}, []string{"from", "127.0.0.1:1", "Host", "127.0.0.1:8080"}
	with := func(from []string, more ...string) []string { return append(append([]string{}, from...), more...) }
	for name, c := range map[string]struct {
		world  []func(*world)
		header []string
		want   int
	}{
		"no tokens at all":            {nil, far, 200},
		"no tokens at the moment":     {[]func(*world){none}, far, 200},
		"from afar":                   {[]func(*world){needToken}, far, 401},
		"from afar with a token":      {[]func(*world){needToken}, with(far, "Authorization", "Bearer letmein"), 200},
		"from afar with another":      {[]func(*world){needToken}, with(far, "Authorization", "Bearer x"), 401},
		"from here":                   {[]func(*world){needToken}, here, 200},
		"from here by IPv6":           {[]func(*world){needToken}, []string{"from", "[::1]:1", "Host", "[::1]:8080"}, 200},
		"from here, mapped":           {[]func(*world){needToken}, []string{"from", "[::ffff:127.0.0.1]:1", "Host", "localhost"}, 200},
		"from here by another name":   {[]func(*world){needToken}, with(here, "Host", "rebound.example:8080"), 401},
		"from afar by our name":       {[]func(*world){needToken}, with(far, "Host", "localhost:8080"), 401},
		"by another name, a token":    {[]func(*world){needToken}, with(here, "Host", "ksn.example", "Authorization", "Bearer letmein"), 200},
		"by another name, no tokens":  {nil, with(here, "Host", "rebound.example"), 200},
		"from here for somebody":      {[]func(*world){needToken}, with(here, "X-Forwarded-For", "192.0.2.1"), 401},
		"from here for somebody else": {[]func(*world){needToken}, with(here, "Forwarded", "for=192.0.2.1"), 401},
		"from a named client":         {[]func(*world){needToken, named}, here, 401},
		"from nowhere":                {[]func(*world){needToken}, []string{"from", "@", "Host", "localhost"}, 401},
	} {
		for _, path := range []string{"/", "/status", "/status.json", "/metrics"} {
			rec := newWorld(append(c.world, page)...).do("GET", path, "", c.header...)
			if rec.Code != c.want || (rec.Body.String() == "page "+path) != (c.want == 200) {
				t.Errorf("%s: %s: %d %s, want %d", name, path, rec.Code, rec.Body, c.want)
			}
			if c.want == 401 {
				problem(t, rec, protocol.CodeUnauthorized)
			}
		}
	}
	w := newWorld(needToken, page, func(w *world) { w.Limit = Limit{PerSecond: 1, Burst: 1} })
	problem(t, w.do("GET", "/metrics", "", far...), protocol.CodeUnauthorized)
	problem(t, w.do("GET", "/metrics", "", far...), protocol.CodeTooMany)
	for _, path := range []string{"/healthz", "/readyz", "/description"} {
		if rec := w.do("GET", path, "", far...); rec.Code != 200 {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}

// Only what leads to this machine whatever DNS says opens the status page without a token: a name that somebody else can let lead here does not.
func TestHostsOfThisMachine(t *testing.T) {
	for _, host := range []string{"localhost", "localhost:8080", "LocalHost:1", "127.0.0.1", "127.0.0.1:65535", "127.8.9.10", "[::1]", "[::1]:80", "[::ffff:127.0.0.1]:80"} {
		if !isLoopback(host) {
			t.Errorf("%q is not this machine", host)
		}
	}
	for _, host := range []string{"", ":80", "rebound.example", "rebound.example:8080", "localhost.rebound.example", "127.0.0.1.rebound.example:80", "rebound.example:127.0.0.1",
		"localhost:80.rebound.example", "localhost:", "localhost:99999", "localhost:-1", "rebound.example#localhost", "0.0.0.0", "0.0.0.0:80", "[::]:80", "192.0.2.1",
		"[2001:db8::1]:80", "::1", "[::1", "::1]", "]", "[]", "[]:80", "[::1]x:80", "127.1", "2130706433", "127.0.0.1:80:80"} {
		if isLoopback(host) {
			t.Errorf("%q is this machine", host)
		}
	}
}

// Limits that cannot be are refused.
func TestLimitCheck(t *testing.T) {
	for _, l := range []Limit{{PerSecond: 1e-9}, {PerSecond: 1e10}, {Burst: -1}, {Burst: 1e9 + 1}, {PerSecond: math.NaN()}} {
		if l.Check() == nil {
			t.Errorf("%v is taken", l)
		}
	}
	for _, l := range []Limit{{}, {PerSecond: -1}, {PerSecond: 0.001, Burst: 1}, {PerSecond: 1e9, Burst: 1e9}} {
		if err := l.Check(); err != nil {
			t.Errorf("%v: %v", l, err)
		}
	}
	if l := (Limit{Burst: 7}).OrElse(Limit{PerSecond: 2, Burst: 3}); l != (Limit{PerSecond: 2, Burst: 7}) {
		t.Errorf("%v", l)
	}
}
