package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// A Proxy stands between devices and the servers of one network. Its methods are safe for concurrent use.
type Proxy struct {
	c         Config
	network   string   // fingerprint
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
	p.base, p.cancel = context.WithCancel(context.Background())
	p.gate, p.asker = newGate(p), newAsker(p)
	for _, u := range c.Upstreams {
		p.upstreams = append(p.upstreams, &upstream{url: u, b: breaker{state: UpstreamUnknown}})
	}
	p.client = &http.Client{Transport: c.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	p.exchanges.New = func() any { return &exchange{} }
	return p, nil
}

// Close ends all exchanges with upstreams, and returns when they have ended. What is asked afterwards is answered from the cache only.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
	p.client.CloseIdleConnections()
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

// Counters are what restrictions have counted, for the next process.
func (p *Proxy) Counters() ksn.Counters { return p.gate.used() }

// Ready says why no new answers can be got now; nil if they can, or nothing is known against it.
func (p *Proxy) Ready() error {
	now := p.c.Now()
	if p.c.Provider.Expired(now) {
		return fmt.Errorf("the provider file expired at %s: devices ask no more, until they have a newer one", p.c.Provider.Provider.Expires.Format(time.RFC3339))
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
	*Proxy
	w       http.ResponseWriter
	r       *http.Request
	began   time.Time
	kind    Kind
	outcome Outcome
	status  int // 0 as long as nothing was written
	one     [1]*kept
	prefix  [1]protocol.Prefix
}

// ServeHTTP answers one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := p.exchanges.Get().(*exchange)
	*x = exchange{Proxy: p, w: w, r: r, began: p.c.Now(), kind: KindOther, outcome: OutcomeOK}
	defer x.finish()
	x.route()
}

// finish counts and logs, also after a panic, which ends this request and no other one.
func (x *exchange) finish() {
	p, v := x.Proxy, recover()
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	cut := v != nil && x.status != 0 // what was begun cannot be taken back, only cut off
	if v != nil {
		p.c.Log.Error("KSN proxy: a request ended in a panic", "kind", x.kind, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
		if !cut {
			x.fail(problem(protocol.CodeUnavailable, "internal error", "", waitUnavailable))
		}
		x.outcome = Outcome(protocol.CodeUnavailable)
	}
	took := p.c.Now().Sub(x.began)
	p.c.Collector.Request(x.kind, x.outcome, took)
	if p.c.Log.Enabled(p.base, slog.LevelDebug) {
		p.c.Log.Debug("KSN proxy: request", "kind", x.kind, "outcome", x.outcome, "status", x.status, "seconds", took.Seconds())
	}
	*x = exchange{}
	p.exchanges.Put(x)
	if cut {
		panic(http.ErrAbortHandler)
	}
}

// waitUnavailable is how long devices are asked to wait where that is not computed.
const waitUnavailable = 30 * time.Second

// route sends the request to where it is answered.
func (x *exchange) route() {
	path := x.r.URL.Path
	if x.r.URL.RawPath != "" || x.r.URL.Opaque != "" {
		x.notFound() // another spelling of a path
		return
	}
	switch {
	case strings.HasPrefix(path, protocol.PathLookup):
		x.protocolPath(KindLookup, x.lookup, http.MethodGet, http.MethodHead)
	case path == protocol.PathBatch:
		x.protocolPath(KindBatch, x.batch, http.MethodPost)
	case path == protocol.PathInfo:
		x.protocolPath(KindInfo, x.getInfo, http.MethodGet, http.MethodHead)
	case path == protocol.PathStats:
		x.protocolPath(KindStats, x.relay, http.MethodPost)
	case path == "/healthz":
		x.plainPath(func() { x.send(http.StatusOK, plainText, []byte("ok\n")) })
	case path == "/readyz":
		x.plainPath(x.ready)
	case x.c.Status != nil && slices.Contains([]string{"/", "/status", "/status.json", "/metrics"}, path):
		x.status = http.StatusOK
		x.c.Status.ServeHTTP(x.w, x.r)
	default:
		x.notFound()
	}
}

const (
	plainText = "text/plain; charset=utf-8"
	json      = "application/json"
	jsonLines = "application/x-ndjson"
	noStore   = "no-store"
)

func (x *exchange) notFound() {
	x.fail(problem(protocol.CodeNotFound, "no such path", "There is one spelling of each path.", 0))
}

func (x *exchange) ready() {
	if err := x.Ready(); err != nil {
		x.fail(problem(protocol.CodeUnavailable, "not ready", err.Error(), waitUnavailable))
		return
	}
	x.send(http.StatusOK, plainText, []byte("ready\n"))
}

// plainPath is one that everybody may get.
func (x *exchange) plainPath(answer func()) {
	if x.method(http.MethodGet, http.MethodHead) {
		answer()
	}
}

// protocolPath is one for devices of this network.
func (x *exchange) protocolPath(k Kind, answer func(), methods ...string) {
	x.kind = k
	if x.method(methods...) && x.thisNetwork() && x.strict() {
		answer()
	}
}

func (x *exchange) method(allowed ...string) bool {
	if slices.Contains(allowed, x.r.Method) {
		return true
	}
	x.w.Header().Set("Allow", strings.Join(allowed, ", "))
	x.fail(problem(protocol.CodeMethod, "method not allowed", "Allowed: "+strings.Join(allowed, ", ")+".", 0))
	return false
}

// thisNetwork refuses what is meant for another network, before anything else of it is looked at.
func (x *exchange) thisNetwork() bool {
	for _, meant := range x.r.Header[protocol.NetworkHeader] {
		if meant != x.network {
			x.fail(problem(protocol.CodeWrongNetwork, "wrong network", "This proxy belongs to the network "+x.network+".", 0))
			return false
		}
	}
	return true
}

// strict refuses what no client of the protocol sends, and what a cache or a proxy on the way could take for something else.
func (x *exchange) strict() bool {
	var why string
	switch body := x.r.Method == http.MethodPost; {
	case x.r.URL.RawQuery != "" || x.r.URL.ForceQuery:
		why = "The path takes no query."
	case !body && (x.r.ContentLength != 0 || len(x.r.TransferEncoding) > 0):
		why = "The request must not have a body."
	case len(x.r.Header["Content-Encoding"]) > 0:
		why = "The body must not be compressed."
	default:
		return true
	}
	x.badRequest(why)
	return false
}

func (x *exchange) badRequest(why string) {
	x.fail(problem(protocol.CodeBadRequest, "bad request", why, 0))
}

// fail answers with a problem; what is none becomes one.
func (x *exchange) fail(err error) {
	e, ok := errors.AsType[*problemError](err)
	if !ok {
		e = problem(protocol.CodeUnavailable, "no answer", "", waitUnavailable)
	}
	p := e.Problem
	if len(p.Detail) > protocol.MaxName { // it may be the device's own words
		p.Detail = p.Detail[:protocol.MaxName]
	}
	p.Detail = strings.ToValidUTF8(p.Detail, "")
	x.outcome = Outcome(p.Code)
	if p.Wait > 0 {
		x.w.Header().Set("Retry-After", strconv.FormatInt(p.Wait, 10))
	}
	if p.Code == protocol.CodeTooLarge {
		x.w.Header().Set("Connection", "close") // what is left of the body is not read
	}
	x.send(p.Status, protocol.ProblemType, p.Marshal())
}

// send writes what no cache may keep. A device that goes away meanwhile needs nothing.
func (x *exchange) send(status int, kind string, body []byte) {
	h := x.w.Header()
	h.Set("Cache-Control", noStore)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.status = status
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(body)
	}
}

// Values of headers that are the same for all answers. Nobody changes them.
var (
	valueJSON    = []string{json}
	valueNoSniff = []string{"nosniff"}
	valueNoStore = []string{noStore}
)

// sendKept writes what is kept: the path of a hit, on which nothing is computed that can be kept, too.
func (x *exchange) sendKept(k *kept) {
	h := x.w.Header()
	h["X-Content-Type-Options"] = valueNoSniff
	if k.isFresh(x.began) {
		h["Cache-Control"] = k.caching
		h["Age"] = k.ageAt(x.began)
	} else {
		h["Cache-Control"] = valueNoStore
	}
	h["Etag"], h["Vary"] = k.tag, x.vary
	x.status = http.StatusOK
	if asked := x.r.Header["If-None-Match"]; len(asked) > 0 && matches(asked, k.tag[0]) {
		x.status, x.outcome = http.StatusNotModified, OutcomeNotModified
		x.w.WriteHeader(x.status)
		return
	}
	h["Content-Type"], h["Content-Length"] = valueJSON, k.length
	if x.r.Method == http.MethodHead {
		x.w.WriteHeader(x.status)
		return
	}
	_, _ = x.w.Write(k.body) // without WriteHeader, which would copy all headers
}

// matches tells whether If-None-Match names tag.
func matches(fields []string, tag string) bool {
	for _, f := range fields {
		for one := range strings.SplitSeq(f, ",") {
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}
