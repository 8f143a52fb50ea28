package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.org/avdb/docs/api"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/serving"
)

// A Server answers for one network. Its methods are safe for concurrent use.
type Server struct {
	c         Config
	side      *serving.Side
	offers    []string
	step      time.Duration
	overrides atomic.Pointer[overrideSet]
	teller    Teller // nil: nothing is kept
	keep      *keep
	tokens    atomic.Pointer[tokenSet]
	warned    atomic.Int64 // when a failure was logged last, in nanoseconds since 1970
	pool      sync.Pool    // of *exchange
}

// New makes a server. The error says what is wrong with c.
func New(c Config) (*Server, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("KSN server: %w", err)
	}
	s := &Server{c: c, step: c.Lives.step()}
	if t, ok := c.Database.(Teller); ok && len(c.Sources) == 0 {
		if s.keep = newKeep(c.KeepBytes); s.keep != nil {
			s.teller = t
		}
	}
	s.pool.New = func() any { return &exchange{scratch: &scratch{}} }
	s.offers = slices.DeleteFunc(slices.Clone(c.Provider.Provider.Capabilities), func(name string) bool {
		return name == protocol.CapabilityStats && c.Intake == nil
	})
	description := &serving.Response{Kind: "application/yaml", Cache: "public, max-age=3600", Body: []byte(api.OpenAPI)}
	description.Tag = serving.Tag(description.Body)
	s.side = &serving.Side{Name: "server", Network: c.Provider.Fingerprint, Hint: "The paths are described in /openapi.yaml; there is one spelling of each.",
		Limit: c.Limit, Client: c.Client, Limiter: serving.NewLimiter(), Admit: s.admit, Contact: c.Provider.Provider.Contact,
		Documents: map[string]*serving.Response{"/openapi.yaml": description}, Status: c.Status, NoStats: c.Intake == nil, Log: c.Log, Now: c.Now}
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
	if old := s.overrides.Load(); old == nil || !reflect.DeepEqual(*old, set) { // what was answered by the same ones stays kept
		s.overrides.Store(&set)
	}
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

// An exchange is one request on its way to an answer.
type exchange struct {
	serving.Exchange
	*Server
	*scratch
	answers int
	entries int
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := s.pool.Get().(*exchange)
	x.Exchange, x.Server = s.side.Begin(w, r), s
	defer x.end()
	x.Buffer = x.body
	x.Route(x)
}

// end counts and logs, also after a panic, which ends this request and no other one.
func (x *exchange) end() {
	v := recover()
	cut := x.Ended(v)
	took := x.c.Now().Sub(x.Began)
	x.c.Collector.Request(x.Kind, x.Outcome, took)
	if x.c.Log.Enabled(x.R.Context(), slog.LevelDebug) {
		args := []any{"kind", x.Kind, "outcome", x.Outcome, "status", x.Status, "answers", x.answers, "entries", x.entries, "seconds", took.Seconds()}
		if x.c.LogRequests {
			args = append(args, "method", x.R.Method, "path", x.R.URL.Path, "client", x.Client())
		}
		x.c.Log.Debug("KSN request", args...)
	}
	pool, kept := &x.pool, x.scratch
	if kept.body = x.Buffer; v != nil {
		kept = &scratch{} // what it used may be in any state
	}
	kept.reset()
	*x = exchange{scratch: kept}
	pool.Put(x)
	if cut {
		panic(http.ErrAbortHandler)
	}
}

// warnEach is how often a failure is logged: a broken database fails every request.
const warnEach = time.Minute

func (x *exchange) warn(err error) {
	last := x.warned.Load()
	if x.Began.UnixNano()-last < int64(warnEach) && last != 0 || !x.warned.CompareAndSwap(last, x.Began.UnixNano()) {
		return
	}
	if errors.Is(err, protocol.ErrInvalid) && !x.c.LogRequests {
		err = errors.New("the database or a source says what breaks the protocol") // which key it is about would tell who asks for what
	}
	x.c.Log.Warn("KSN server: no answer", "kind", x.Kind, "error", err)
}

// waitChanging is how long clients are asked to wait while the database changes.
const waitChanging = time.Second
