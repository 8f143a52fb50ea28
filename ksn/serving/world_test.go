package serving

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when the tests take place.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var network = strings.Repeat("0f", 32)

const aPrefix = "/v1/l/file-md5/24/0a0b0c"

// A world is a side whose answers say what was asked. It answers one request at a time.
type world struct {
	Side
	now     time.Time
	lookups int // prefixes that were asked about
	entries int // of each answer
	stats   []string
	ready   error
	boom    func(x *Exchange) // at the beginning of each answer
	outcome []string          // "kind outcome status" of each request
}

func newWorld(change ...func(*world)) *world {
	w := &world{now: noon}
	w.Side = Side{Name: "server", Network: network, Hint: "Look it up.", Limit: Limit{PerSecond: -1}, Limiter: NewLimiter(), Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return w.now }, Documents: map[string]*Response{"/description": {Kind: PlainText, Cache: "public", Tag: `"1"`, Body: []byte("all of it")}}}
	for _, f := range change {
		f(w)
	}
	return w
}

// needToken lets "Bearer letmein" and "Bearer vip" in, the second without a limit.
func needToken(w *world) {
	w.Admit = func(h http.Header) (string, Limit, bool) {
		switch h.Get("Authorization") {
		case "Bearer letmein":
			return "desk", Limit{}, true
		case "Bearer vip":
			return "vip", Limit{PerSecond: -1}, true
		}
		return "", Limit{}, false
	}
}

// An answering is one exchange of a world.
type answering struct {
	Exchange
	w *world
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	x := &answering{w.Begin(rw, r), w}
	defer func() {
		cut := x.Ended(recover())
		w.outcome = append(w.outcome, fmt.Sprintf("%s %s %d", x.Kind, x.Outcome, x.Status))
		if cut {
			panic(http.ErrAbortHandler)
		}
	}()
	x.Route(x)
}

func (x *answering) say(format string, args ...any) {
	if x.w.boom != nil {
		x.w.boom(&x.Exchange)
	}
	x.Charge(x.w.entries)
	body := fmt.Appendf(nil, format, args...)
	x.Send(&Response{Kind: JSON, Cache: "public", Tag: Tag(body), Body: body})
}

func (x *answering) Lookup(p protocol.Prefix) {
	x.w.lookups++
	x.say("%s", p)
}

func (x *answering) Batch(prefixes []protocol.Prefix) {
	x.w.lookups += len(prefixes)
	x.say("%v", prefixes)
}

func (x *answering) Info() { x.say("info") }

func (x *answering) Stats(kind string, record []byte) {
	x.w.stats = append(x.w.stats, kind+" "+string(record))
	x.Send(&Response{Status: http.StatusAccepted, Kind: PlainText, Cache: NoStore})
}

func (x *answering) Ready() error { return x.w.ready }

// do sends one request without a connection; header lists names and values, among them "from" and "Host".
func (w *world) do(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", JSON)
	}
	for i := 0; i < len(header); i += 2 {
		switch name, value := header[i], header[i+1]; name {
		case "from":
			r.RemoteAddr = value
		case "Host":
			r.Host = value
		default:
			if r.Header.Del(name); value != "" {
				r.Header.Set(name, value)
			}
		}
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

// problem demands a problem with the code, well formed.
func problem(t *testing.T, rec *httptest.ResponseRecorder, code protocol.Code) protocol.Problem {
	t.Helper()
	var p protocol.Problem
	err, h := dbformat.DecodeJSON(rec.Body.Bytes(), &p), rec.Header()
	switch {
	case err != nil:
	case h.Get("Content-Type") != protocol.ProblemType || rec.Body.Len() > protocol.MaxProblem || h.Get("X-Content-Type-Options") != "nosniff":
		err = fmt.Errorf("%d bytes, %v", rec.Body.Len(), h)
	case p.Code.Status() != rec.Code || p.Status != rec.Code || p.Title == "":
		err = fmt.Errorf("status %d, in the problem %d, for the code %q", rec.Code, p.Status, p.Code)
	case h.Get("Cache-Control") != NoStore:
		err = errors.New("caches may keep it")
	case (p.Wait > 0) != (h.Get("Retry-After") == fmt.Sprint(p.Wait)):
		err = fmt.Errorf("wait %d, Retry-After %q", p.Wait, h.Get("Retry-After"))
	}
	if err != nil || p.Code != code {
		t.Errorf("%d %s: %v, want the problem %s", rec.Code, rec.Body, err, code)
	}
	return p
}
