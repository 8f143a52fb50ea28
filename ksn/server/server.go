package server

import (
	"crypto/sha256"
	"encoding/base64"
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

	"golang.org/x/time/rate"

	"example.org/avdb/docs/api"
	"example.org/avdb/ksn/protocol"
)

// A Server answers for one network. Its methods are safe for concurrent use.
type Server struct {
	c         Config
	network   string // fingerprint
	offers    []string
	step      time.Duration
	api       response
	overrides atomic.Pointer[overrideSet]
	tokens    atomic.Pointer[tokenSet]
	clients   *limiter
	warned    atomic.Int64 // when a failure was logged last, in nanoseconds since 1970
	pool      sync.Pool    // of *scratch
}

// New makes a server. The error says what is wrong with c.
func New(c Config) (*Server, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("KSN server: %w", err)
	}
	s := &Server{c: c, network: c.Provider.Fingerprint, step: c.Lives.step(), clients: newLimiter(MaxClients)}
	s.pool.New = func() any { return &scratch{} }
	s.offers = slices.DeleteFunc(slices.Clone(c.Provider.Provider.Capabilities), func(name string) bool {
		return name == protocol.CapabilityStats && c.Intake == nil
	})
	s.api = response{kind: "application/yaml", cache: "public, max-age=3600", body: []byte(api.OpenAPI)}
	s.api.tag = tagOf(s.api.body)
	if err := errors.Join(s.SetOverrides(c.Overrides), s.SetTokens(c.Tokens)); err != nil {
		return nil, err
	}
	return s, nil
}

// SetOverrides replaces all overrides, for the requests that come after it. On an error the old ones stay.
func (s *Server) SetOverrides(list []Override) error {
	set, err := newOverrideSet(list)
	if err != nil {
		return fmt.Errorf("KSN server: %w", err)
	}
	s.overrides.Store(&set)
	return nil
}

// SetTokens replaces all tokens, for the requests that come after it. With none, everybody may ask. On an error the old ones stay.
func (s *Server) SetTokens(list []Token) error {
	set, err := newTokenSet(list, s.c.Limit)
	if err != nil {
		return fmt.Errorf("KSN server: %w", err)
	}
	s.tokens.Store(&set)
	return nil
}

// Ready says why no answers can be given now; nil if they can.
func (s *Server) Ready() error {
	if s.c.Provider.Expired(s.c.Now()) {
		return fmt.Errorf("the provider file expired at %s: clients ask no more, until they have a newer one", s.c.Provider.Provider.Expires.Format(time.RFC3339))
	}
	if _, err := s.c.Database.Counts(); err != nil {
		return fmt.Errorf("no database: %w", err)
	}
	return nil
}

// A response is what is sent where there is no problem.
type response struct {
	status int // 0 for 200
	kind   string
	cache  string // Cache-Control
	tag    string // ETag, "" for none
	body   []byte
}

// tagOf is a strong ETag.
func tagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`
}

// An exchange is one request on its way to an answer.
type exchange struct {
	*Server
	*scratch
	w       http.ResponseWriter
	r       *http.Request
	began   time.Time
	kind    Kind
	outcome Outcome
	status  int // 0 as long as nothing was written
	who     client
	rate    *rate.Limiter // of who, nil for none
	answers int
	entries int
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{Server: s, w: w, r: r, began: s.c.Now(), kind: KindOther, outcome: OutcomeOK}
	x.scratch = s.pool.Get().(*scratch)
	defer x.end()
	x.route()
}

// end counts and logs, also after a panic, which ends this request and no other one.
func (x *exchange) end() {
	v := recover()
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	cut := v != nil && x.status != 0 // what was begun cannot be taken back, only cut off
	if v != nil {
		x.c.Log.Error("KSN server: a request ended in a panic", "kind", x.kind, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
		if !cut {
			x.fail(protocol.NewProblem(protocol.CodeUnavailable, "internal error", "", waitUnavailable))
		}
		x.outcome, x.scratch = Outcome(protocol.CodeUnavailable), &scratch{} // what it used may be in any state
	}
	x.scratch.reset()
	x.pool.Put(x.scratch)
	took := x.c.Now().Sub(x.began)
	x.c.Collector.Request(x.kind, x.outcome, took)
	if x.c.Log.Enabled(x.r.Context(), slog.LevelDebug) {
		args := []any{"kind", x.kind, "outcome", x.outcome, "status", x.status, "answers", x.answers, "entries", x.entries, "seconds", took.Seconds()}
		if x.c.LogRequests {
			args = append(args, "method", x.r.Method, "path", x.r.URL.Path, "client", x.who.String())
		}
		x.c.Log.Debug("KSN request", args...)
	}
	if cut {
		panic(http.ErrAbortHandler)
	}
}

// warnEach is how often a failure is logged: a broken database fails every request.
const warnEach = time.Minute

func (x *exchange) warn(err error) {
	last := x.warned.Load()
	if x.began.UnixNano()-last < int64(warnEach) && last != 0 || !x.warned.CompareAndSwap(last, x.began.UnixNano()) {
		return
	}
	if errors.Is(err, protocol.ErrInvalid) && !x.c.LogRequests {
		err = errors.New("the database or a source says what breaks the protocol") // which key it is about would tell who asks for what
	}
	x.c.Log.Warn("KSN server: no answer", "kind", x.kind, "error", err)
}

// How long clients are asked to wait where that is not computed.
const (
	waitUnavailable = 30 * time.Second
	waitChanging    = time.Second
)

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
		x.protocolPath(KindInfo, x.info, http.MethodGet, http.MethodHead)
	case path == protocol.PathStats && x.c.Intake != nil:
		x.protocolPath(KindStats, x.stats, http.MethodPost)
	case path == "/openapi.yaml":
		x.plainPath(func() { x.send(&x.api) })
	case path == "/healthz":
		x.plainPath(func() { x.send(&response{kind: plainText, cache: noStore, body: []byte("ok\n")}) })
	case path == "/readyz":
		x.plainPath(x.ready)
	case x.c.Status != nil && slices.Contains([]string{"/", "/status", "/status.json", "/metrics"}, path):
		x.status = http.StatusOK
		x.c.Status.ServeHTTP(x.w, x.r)
	case path == protocol.PathStats:
		x.kind = KindStats
		x.fail(protocol.NewProblem(protocol.CodeNotFound, "no statistics", "This server takes no statistics.", 0))
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
	x.fail(protocol.NewProblem(protocol.CodeNotFound, "no such path", "The paths are described in /openapi.yaml; there is one spelling of each.", 0))
}

func (x *exchange) ready() {
	if err := x.Ready(); err != nil {
		x.fail(protocol.NewProblem(protocol.CodeUnavailable, "not ready", err.Error(), waitUnavailable))
		return
	}
	x.send(&response{kind: plainText, cache: noStore, body: []byte("ready\n")})
}

// plainPath is one that everybody may get.
func (x *exchange) plainPath(answer func()) {
	if x.method(http.MethodGet, http.MethodHead) {
		answer()
	}
}

// protocolPath is one for clients of this network, within their limits.
func (x *exchange) protocolPath(k Kind, answer func(), methods ...string) {
	x.kind = k
	if x.method(methods...) && x.thisNetwork() && x.admitted() && x.strict() {
		answer()
	}
}

func (x *exchange) method(allowed ...string) bool {
	if slices.Contains(allowed, x.r.Method) {
		return true
	}
	x.w.Header().Set("Allow", strings.Join(allowed, ", "))
	x.fail(protocol.NewProblem(protocol.CodeMethod, "method not allowed", "Allowed: "+strings.Join(allowed, ", ")+".", 0))
	return false
}

// thisNetwork refuses what is meant for another network, before anything else of it is looked at.
func (x *exchange) thisNetwork() bool {
	for _, meant := range x.r.Header[protocol.NetworkHeader] {
		if meant != x.network {
			x.fail(protocol.NewProblem(protocol.CodeWrongNetwork, "wrong network", "This server belongs to the network "+x.network+".", 0))
			return false
		}
	}
	return true
}

// admitted asks for the token, where tokens are configured, and counts the request.
func (x *exchange) admitted() bool {
	limit, known := x.c.Limit, true
	if tokens := *x.tokens.Load(); len(tokens) > 0 {
		var t Token
		if t, known = tokens.find(x.r.Header); known {
			x.who, limit = client{token: t.Name}, t.Limit
		}
	}
	if x.who == (client{}) {
		x.who = clientOf(x.r, x.c.Client)
	}
	x.rate = x.clients.of(x.who, limit)
	if wait := take(x.rate, x.began); wait > 0 {
		x.fail(protocol.NewProblem(protocol.CodeTooMany, "too many requests", "Wait, and ask for several prefixes at once.", wait))
		return false
	}
	if !known {
		x.w.Header().Set("WWW-Authenticate", `Bearer realm="KSN"`)
		detail := "A token is missing or not known: register this installation with the provider of the network"
		if contact := x.c.Provider.Provider.Contact; contact != "" {
			detail += " (" + contact + ")"
		}
		x.fail(protocol.NewProblem(protocol.CodeUnauthorized, "unauthorized", detail+".", 0))
	}
	return known
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
	x.fail(protocol.NewProblem(protocol.CodeBadRequest, "bad request", why, 0))
}

// maxDetail bounds what a problem says, which may be the client's own words: nobody reads more than protocol.MaxProblem.
const maxDetail = protocol.MaxName

// fail answers with a problem.
func (x *exchange) fail(p protocol.Problem) {
	if len(p.Detail) > maxDetail {
		p.Detail = p.Detail[:maxDetail]
	}
	p.Detail = strings.ToValidUTF8(p.Detail, "")
	x.outcome = Outcome(p.Code)
	if p.Wait > 0 {
		x.w.Header().Set("Retry-After", strconv.FormatInt(p.Wait, 10))
	}
	if p.Code == protocol.CodeTooLarge {
		x.w.Header().Set("Connection", "close") // what is left of the body is not read
	}
	x.send(&response{status: p.Status, kind: protocol.ProblemType, cache: noStore, body: p.Marshal()})
}

// send writes a response; the client that goes away meanwhile needs none.
func (x *exchange) send(a *response) {
	h := x.w.Header()
	h.Set("Cache-Control", a.cache)
	h.Set("X-Content-Type-Options", "nosniff")
	x.status = max(a.status, http.StatusOK)
	if a.tag != "" {
		h.Set("ETag", a.tag)
		h.Set("Vary", protocol.NetworkHeader)
		if a.status == 0 && matches(x.r.Header["If-None-Match"], a.tag) {
			x.status, x.outcome = http.StatusNotModified, OutcomeNotModified
			x.w.WriteHeader(x.status)
			return
		}
	}
	h.Set("Content-Type", a.kind)
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	x.w.WriteHeader(x.status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(a.body)
	}
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
