package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/serving"
)

// A Proxy stands between devices and the servers of one network. Its methods are safe for concurrent use.
type Proxy struct {
	c         Config
	network   string // fingerprint
	side      *serving.Side
	vary      []string // header
	keys      protocol.Keys
	cache     *cache
	gate      *gate
	asker     *asker
	upstreams []*upstream
	client    *http.Client
	heldUntil atomic.Int64 // nanoseconds since 1970
	infos     singleflight.Group
	info      atomic.Pointer[kept]
	stats     chan struct{} // holds a token for each record on its way
	exchanges sync.Pool     // of *exchange

	base   context.Context // of all exchanges with upstreams
	cancel context.CancelFunc
	mu     sync.Mutex // guards closed
	closed bool
	wg     sync.WaitGroup
	ending sync.Once
}

// New makes a proxy. The error says what is wrong with c.
func New(c Config) (*Proxy, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("KSN proxy: %w", err)
	}
	kept, err := newCache(c.CacheBytes)
	if err != nil {
		return nil, fmt.Errorf("KSN proxy: cache: %w", err)
	}
	p := &Proxy{c: c, network: c.Provider.Fingerprint, vary: []string{protocol.NetworkHeader}, keys: c.Provider.ReputationKeys(), cache: kept,
		stats: make(chan struct{}, max(1, c.MaxUpstream/4))}
	p.side = &serving.Side{Name: "proxy", Network: p.network, Hint: "There is one spelling of each path.", Limit: c.Limit, Client: c.Client, Limiter: serving.NewLimiter(),
		Status: c.Status, Log: c.Log, Now: c.Now}
	p.base, p.cancel = context.WithCancel(context.Background())
	p.gate, p.asker = newGate(p), newAsker(p)
	for _, u := range c.Upstreams {
		p.upstreams = append(p.upstreams, &upstream{url: u, b: breaker{state: UpstreamUnknown}})
	}
	p.client = &http.Client{Transport: c.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	p.exchanges.New = func() any { return &exchange{} }
	p.gate.remember(c.Memory)
	return p, nil
}

// Close ends all exchanges with upstreams, writes what restrictions have counted, and returns when all that has ended. What is asked afterwards is
// answered from the cache only.
func (p *Proxy) Close() {
	p.ending.Do(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.cancel()
		p.wg.Wait()
		p.client.CloseIdleConnections()
		if p.gate.memory != nil && len(p.gate.used().Records) > 0 {
			p.gate.write(true)
		}
	})
}

// begin takes part in what Close waits for, unless it was called.
func (p *Proxy) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.wg.Add(1)
	}
	return !p.closed
}

// Ready says why no new answers can be got now; nil if they can, or nothing is known against it.
func (p *Proxy) Ready() error {
	now := p.c.Now()
	if p.c.Provider.Expired(now) {
		return fmt.Errorf("the provider file expired at %s: devices ask no more, until they have a newer one", p.c.Provider.Provider.Expires.Format(time.RFC3339))
	}
	if p.c.Restrictions().Unproved() {
		return errors.New("the restrictions cannot be proved: only what is in the cache is answered, until an update of the database puts the signed ones back")
	}
	for _, u := range p.upstreams {
		if u.breaker().until.IsZero() {
			return nil
		}
	}
	return errors.New("no upstream can be used: only what is in the cache is answered")
}

// An exchange is one request of a device on its way to an answer.
type exchange struct {
	serving.Exchange
	*Proxy
	one    [1]*kept
	prefix [1]protocol.Prefix
}

// ServeHTTP answers one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := p.exchanges.Get().(*exchange)
	*x = exchange{Exchange: p.side.Begin(w, r), Proxy: p}
	defer x.finish()
	x.Route(x)
}

// finish counts and logs, also after a panic, which ends this request and no other one.
func (x *exchange) finish() {
	cut := x.Ended(recover())
	p, took := x.Proxy, x.c.Now().Sub(x.Began)
	p.c.Collector.Request(x.Kind, x.Outcome, took)
	if p.c.Log.Enabled(p.base, slog.LevelDebug) {
		p.c.Log.Debug("KSN proxy: request", "kind", x.Kind, "outcome", x.Outcome, "status", x.Status, "seconds", took.Seconds())
	}
	*x = exchange{}
	p.exchanges.Put(x)
	if cut {
		panic(http.ErrAbortHandler)
	}
}

// fail answers with a problem; what is none becomes one.
func (x *exchange) fail(err error) {
	e, ok := errors.AsType[*problemError](err)
	if !ok {
		e = problem(protocol.CodeUnavailable, "no answer", "", serving.WaitUnavailable)
	}
	x.Fail(e.Problem)
}

// send writes what no cache may keep.
func (x *exchange) send(status int, kind string, body []byte) {
	x.Send(&serving.Response{Status: status, Kind: kind, Cache: serving.NoStore, Body: body})
}

// Values of headers that are the same for all answers. Nobody changes them.
var (
	valueJSON    = []string{serving.JSON}
	valueNoSniff = []string{"nosniff"}
	valueNoStore = []string{serving.NoStore}
)

// sendKept writes what is kept: the path of a hit, on which nothing is computed that can be kept, too.
func (x *exchange) sendKept(k *kept) {
	h := x.W.Header()
	h["X-Content-Type-Options"] = valueNoSniff
	if k.isFresh(x.Began) {
		h["Cache-Control"] = k.caching
		h["Age"] = k.ageAt(x.Began)
	} else {
		h["Cache-Control"] = valueNoStore
	}
	h["Etag"], h["Vary"] = k.tag, x.vary
	if x.NotModified(k.tag[0]) {
		return
	}
	x.Status = http.StatusOK
	h["Content-Type"], h["Content-Length"] = valueJSON, k.length
	if x.R.Method == http.MethodHead {
		x.W.WriteHeader(x.Status)
		return
	}
	_, _ = x.W.Write(k.body) // without WriteHeader, which would copy all headers
}
