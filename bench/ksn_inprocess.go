package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/network"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/reputation"
	"example.org/avdb/ksn/server"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
)

// A database is the state's, as the program gives it to its server.
type database struct{ m *matcher.Matcher }

func (d database) WithPrefixes(a dbformat.Algorithm, bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	return d.m.WithPrefixes(a, bits, values, func(at int, k matcher.Known) bool { return visit(at, server.Known(k)) })
}

func (d database) WithURLPrefixes(bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	return d.m.WithURLPrefixes(bits, values, func(at int, k matcher.Known) bool { return visit(at, server.Known(k)) })
}

func (d database) Content() (c server.Content, release uint64, err error) {
	d.m.URLs()
	g := d.m.Generation()
	copy(c[copy(c[:], g.Light.Digest[:]):], g.Rest.Digest[:])
	return c, g.Version, nil
}

func (d database) Counts() (server.Counts, error) {
	return server.Counts{Release: d.m.Generation().Version, Files: d.m.Counts()[dbformat.SHA256], URLs: d.m.URLs()}, nil
}

// inProcess measures packages: what a server's handler, the database, the client's cache and the gate cost without a connection.
func (w *ksnWorld) inProcess(ctx context.Context, p *page) error {
	s, err := store.Open(filepath.Join(w.dir, "state"), store.Options{})
	if err != nil {
		return err
	}
	m, err := matcher.Open(s, matcher.Options{PUA: true})
	if err != nil {
		return err
	}
	defer m.Close()
	own, err := network.Open(filepath.Join(w.dir, "net"))
	if err != nil {
		return err
	}
	h, err := server.New(server.Config{Provider: &own.Provider, Key: own.Key, Database: database{m}, Limit: server.Limit{PerSecond: -1}})
	if err != nil {
		return err
	}
	w.note("the handler is measured in this process")
	if err := w.handlerCost(p, h); err != nil {
		return err
	}
	w.note("database, cache and gate are measured in this process")
	t := table{title: "Parts", how: "Called one after the other by one goroutine. Processor time is the collector's, too.", columns: []string{"what", "processor time of a call", "on the clock"}}
	if err := errors.Join(w.prefixCost(&t, m), w.cacheHitCost(ctx, p, &t, &own.Provider, h), gateCost(w.pace(), &t)); err != nil {
		return err
	}
	p.tables = append(p.tables, t)
	return nil
}

// A sink is a response that nobody keeps.
type sink struct {
	h      http.Header
	status int
}

// Header, WriteHeader and Write implement [http.ResponseWriter].
func (s *sink) Header() http.Header         { return s.h }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }

// A body is one that can be read again.
type body struct{ bytes.Reader }

// Close implements [io.Closer].
func (*body) Close() error { return nil }

// caller makes a function that has h answer one request after the other, and keeps the first failure in err.
func caller(h http.Handler, requests []*http.Request, bodies [][]byte, err *error) func() {
	w, i := &sink{h: http.Header{}}, 0
	return func() {
		r := requests[i%len(requests)]
		if bodies != nil {
			r.Body.(*body).Reset(bodies[i%len(bodies)])
		}
		i++
		clear(w.h)
		w.status = 0
		h.ServeHTTP(w, r)
		if w.status != http.StatusOK && *err == nil {
			*err = fmt.Errorf("%s %s: status %d", r.Method, r.URL.Path, w.status)
		}
	}
}

// handlerCost is the server's without sockets, for one prefix and for batches of them in turn.
func (w *ksnWorld) handlerCost(p *page, h http.Handler) error {
	var failed error
	var calls []func()
	for _, b := range batches() {
		one, n := w.prefixes(b)
		var requests []*http.Request
		var bodies [][]byte
		if b.size == 1 {
			for range n {
				requests = append(requests, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: one().Path()}, Header: http.Header{}, RemoteAddr: "127.0.0.1:1", Body: http.NoBody})
			}
		} else {
			for range n {
				q, err := protocol.MarshalQuery(several(b.size, one))
				if err != nil {
					return err
				}
				bodies = append(bodies, q)
				requests = append(requests, &http.Request{Method: http.MethodPost, URL: &url.URL{Path: protocol.PathBatch}, RemoteAddr: "127.0.0.1:1",
					Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(q)), Body: &body{}})
			}
		}
		call := caller(h, requests, bodies, &failed)
		for range requests {
			call() // blocks are proved, and their pages mapped, when they are first read
		}
		calls = append(calls, call)
	}
	costs := measure(w.pace().turns, w.pace().slice, calls...)
	if failed != nil {
		return failed
	}
	t := table{title: "Server, the handler alone", how: fmt.Sprintf("The server's handler over the installed database of %s entries, without sockets, in turn. Each prefix has an entry; which were asked before is as above.", count(float64(w.entries))),
		columns: []string{"prefixes", "processor time of a request", "against one", "of a prefix", "on the clock", "against one"}}
	var xs, cpu, five []float64
	for i, b := range batches() {
		c := costs[i]
		t.add(b.String(), nanos(c.cpu), times(c.cpu/costs[0].cpu), nanos(c.cpu/float64(b.size)), nanos(c.wall), times(c.wall/costs[0].wall))
		what := demandBatchHandler
		if b.fresh {
			what = demandNewHandler
		} else {
			xs, cpu, five = append(xs, float64(b.size)), append(cpu, c.cpu/1e3), append(five, 5*costs[0].cpu/1e3)
		}
		if ratio := c.cpu / costs[0].cpu; b.size == 256 {
			p.demand(what, fmt.Sprintf("%s, %s on the clock", times(ratio), times(c.wall/costs[0].wall)), ratio <= 5)
		}
	}
	p.tables = append(p.tables, t)
	d, err := lines("Server: processor time of a request, the handler alone", "prefixes in a request", "microseconds", xs,
		[]series{{"a request", cpu}, {"five times one look-up", five}})
	if err != nil {
		return err
	}
	x, err := render("ksn-batch.svg", "Lines: processor time of a request by its number of prefixes, and five times that of one look-up", d)
	p.pictures = append(p.pictures, x)
	return err
}

// call adds a row about what a call costs.
func (t *table) call(what string, c cost) { t.add(what, nanos(c.cpu), nanos(c.wall)) }

// prefixCost is [matcher.Matcher.WithPrefix].
func (w *ksnWorld) prefixCost(t *table, m *matcher.Matcher) error {
	const n = 1 << 14
	hits, others := several(n/4, w.hit), several(n/4, w.any)
	var failed error
	found := 0
	visit := func(matcher.Known) bool { found++; return true }
	ask := func(list []protocol.Prefix) func() {
		i := 0
		return func() {
			p := list[i%len(list)]
			i++
			if _, err := m.WithPrefix(dbformat.SHA256, p.Bits, p.Value, visit); err != nil {
				failed = err
			}
		}
	}
	asks := []func(){ask(hits), ask(others)}
	for _, f := range asks {
		for range hits {
			f() // what is read for the first time costs more
		}
	}
	costs := measure(w.pace().turns, w.pace().slice, asks...)
	t.call("database: WithPrefix, 24 bits with an entry", costs[0])
	t.call("database: WithPrefix, 24 random bits", costs[1])
	if failed == nil && found == 0 {
		failed = errors.New("WithPrefix finds nothing")
	}
	return failed
}

// A direct transport hands requests to a handler in this process.
type direct struct{ h http.Handler }

// RoundTrip implements [http.RoundTripper].
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &kept{h: http.Header{}, status: http.StatusOK}
	r = r.Clone(r.Context())
	r.RemoteAddr = "127.0.0.1:1"
	if r.Body == nil {
		r.Body = http.NoBody
	}
	d.h.ServeHTTP(w, r)
	return &http.Response{StatusCode: w.status, Status: http.StatusText(w.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.h,
		ContentLength: int64(w.body.Len()), Body: io.NopCloser(&w.body), Request: r}, nil
}

// kept is a response that is read afterwards.
type kept struct {
	h      http.Header
	status int
	body   bytes.Buffer
}

// Header, WriteHeader and Write implement [http.ResponseWriter].
func (k *kept) Header() http.Header         { return k.h }
func (k *kept) WriteHeader(status int)      { k.status = status }
func (k *kept) Write(b []byte) (int, error) { return k.body.Write(b) }

// consenting are the facts of a device whose user said yes to look-ups.
func consenting(network *ksn.Installed) (ksn.Facts, error) {
	now := time.Now()
	s, err := ksn.FindStatement(ksn.DefaultStatements(), 0, "en")
	if err != nil {
		return ksn.Facts{}, err
	}
	c, err := ksn.Consent{}.Accept(s, now)
	if err != nil {
		return ksn.Facts{}, err
	}
	c, err = c.Enable(ksn.ModeBasic, now)
	return ksn.Facts{Consent: c, Network: network, Install: strings.Repeat("01", 16), Product: "suite", Version: "2.1.0", Region: "EU", Variant: dbformat.VariantLight}, err
}

// cacheHitCost is a look-up in the client that its cache answers: a known threat, and a file of which nothing is known.
func (w *ksnWorld) cacheHitCost(ctx context.Context, p *page, t *table, f *protocol.ProviderFile, h http.Handler) error {
	facts, err := consenting(reputation.Installed(f))
	if err != nil {
		return err
	}
	c, err := reputation.New(reputation.Config{Facts: func() (ksn.Facts, *ksn.Set) { return facts, nil }, Provider: f, Transport: direct{h}})
	if err != nil {
		return err
	}
	defer c.Close()
	const n = 16 // requests at once are limited: one batch for each list
	bad, silent := make([]reputation.Object, n), make([]reputation.Object, n)
	for i := range n {
		bad[i] = reputation.Object{Keys: []protocol.Key{w.known[i]}, Size: -1}
		k := protocol.Key{Type: protocol.FileSHA256}
		for at := range k.Sum {
			k.Sum[at] = byte(w.rnd.Uint32())
		}
		silent[i] = reputation.Object{Keys: []protocol.Key{k}, Size: -1}
	}
	for want, list := range map[protocol.Verdict][]reputation.Object{protocol.Untrusted: bad, protocol.Unknown: silent} {
		for range 2 { // from the network, then from the cache
			got := c.Lookup(ctx, ksn.OriginOnDemand, list)
			for try := 0; try < 5 && slices.ContainsFunc(got, func(v reputation.Verdict) bool { return v.Why == reputation.Timeout }); try++ {
				got = c.Lookup(ctx, ksn.OriginOnDemand, list) // a busy machine does not make the deadline each time
			}
			for _, v := range got {
				if v.Verdict != want || v.Why != reputation.Settled {
					return fmt.Errorf("a look-up gives %s (%s, %w), want %s", v.Verdict, v.Why, v.Err, want)
				}
			}
		}
	}
	var failed error
	ask := func(list []reputation.Object, sources ...reputation.Source) func() {
		i := 0
		return func() {
			at := i % len(list)
			i++
			v := c.Lookup(ctx, ksn.OriginOnAccess, list[at:at+1])[0]
			if v.Source != sources[0] && failed == nil {
				failed = fmt.Errorf("a verdict from %q, want one from %q", v.Source, sources[0])
			}
		}
	}
	costs := measure(w.pace().turns, w.pace().slice, ask(bad, reputation.SourceCache), ask(silent, reputation.SourceCache))
	t.call("client: cache hit, a known threat", costs[0])
	t.call("client: cache hit, nothing is known", costs[1])
	worst := max(costs[0].cpu, costs[1].cpu)
	p.demand(demandCacheHit, nanos(worst), worst <= 1000)
	return failed
}

// gateCost is [ksn.Decide] without restrictions, with one that samples, and with as many as a set may have.
func gateCost(pc pace, t *table) error {
	facts, err := consenting(nil)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	record := func(i int, more string) string {
		return fmt.Sprintf(`{"id":"bench-%d","action":"limit","priority":%d,"expires":%q%s}`, i, i+1, now.Add(24*time.Hour).Format(time.RFC3339), more)
	}
	var many []string
	for i := range 256 {
		many = append(many, record(i, fmt.Sprintf(`,"scope":{"networks":["global","private"]},"match":{"products":["product-%d"]},"limit":{"sample_bp":2500}`, i)))
	}
	sets := make([]*ksn.Set, 3)
	for i, records := range []string{1: record(0, `,"scope":{"networks":["global","private"]},"limit":{"sample_bp":2500}`), 2: strings.Join(many, ",")} {
		if records == "" {
			continue
		}
		source, err := dbformat.ParseRestrictionSource(fmt.Appendf(nil, `{"schema":1,"epoch":1,"records":[%s]}`, records))
		if err != nil {
			return err
		}
		signed := dbformat.At(now)
		source.Signed = &signed
		b, err := source.Encode()
		if err != nil {
			return err
		}
		if sets[i], err = ksn.ParseSet(b); err != nil {
			return err
		}
	}
	q := ksn.Request{Service: ksn.ServiceLookup, Object: ksn.ObjectFile, Origin: ksn.OriginOnDemand, Network: ksn.NetworkGlobal, Route: ksn.RouteDirect}
	decide := func(s *ksn.Set) func() {
		i, keys := 0, make([]string, 1024)
		for k := range keys {
			keys[k] = "file-sha256/24/" + strconv.Itoa(100000+k)
		}
		return func() {
			q := q
			q.Key = keys[i%len(keys)]
			i++
			ksn.Decide(q, s, facts, now, ksn.Counters{})
		}
	}
	costs := measure(pc.turns, pc.slice, decide(sets[0]), decide(sets[1]), decide(sets[2]))
	for i, what := range []string{"no restriction", "one that lets a quarter pass", "256, none of which is for this product"} {
		t.call("gate: Decide, "+what, costs[i])
	}
	return nil
}
