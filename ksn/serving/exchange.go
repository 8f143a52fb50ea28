package serving

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"example.org/avdb/ksn/protocol"
)

// A Side is what all exchanges of a server or a proxy have in common. It must not change once requests are answered; its functions are called by
// many goroutines at once and must not wait. Name, Network, Limiter, Log and Now are required.
type Side struct {
	Name    string // "server" or "proxy", in texts for clients and for the log
	Network string // fingerprint
	Hint    string // what whoever asks for a path that does not exist is told

	Limit   Limit                      // of each client whose token has none of its own
	Client  func(*http.Request) string // names who sends a request without a token, in 128 bytes; nil: by its address
	Limiter *Limiter

	// Admit names the token that a request carries, and its limit, zero for that of all clients. Where no tokens are needed the name is empty; where
	// one is missing or not known, known is false. nil: none are ever needed.
	Admit   func(http.Header) (name string, l Limit, known bool)
	Contact string // of whom to ask for a token, "" for nobody

	Documents map[string]*Response // that everybody may get, by path
	Status    http.Handler         // the status page; nil: none
	NoStats   bool                 // no statistics are taken

	Log *slog.Logger
	Now func() time.Time
}

// An Answerer makes the answers of one [Exchange], which are written with the methods of that Exchange, or without it where [Exchange.Status] is set. At
// most one method is called for a request.
type Answerer interface {
	Lookup(p protocol.Prefix)
	Batch(prefixes []protocol.Prefix) // 1 to protocol.MaxBatch of them
	Info()
	// Stats gets 1 to protocol.MaxStats bytes of the Content-Type kind, which are in Exchange.Buffer.
	Stats(kind string, record []byte)
	// Ready says why no answers can be given now; nil if they can.
	Ready() error
}

// An Exchange is one request on its way to an answer. It is a value that one goroutine uses.
type Exchange struct {
	W       http.ResponseWriter
	R       *http.Request
	Began   time.Time
	Kind    Kind
	Outcome Outcome
	Status  int    // 0 as long as nothing was written
	Buffer  []byte // that bodies are read into from its beginning, and grown if need be; nil is one too

	side *Side
	who  client
	rate *rate.Limiter // of who, nil for none
}

// Begin is the exchange of a request that came just now. Nothing may be written to w before.
func (s *Side) Begin(w http.ResponseWriter, r *http.Request) Exchange {
	if endsConnection(r) {
		w.Header().Set("Connection", "close")
	}
	return Exchange{W: w, R: r, Began: s.Now(), Kind: KindOther, Outcome: OutcomeOK, side: s}
}

// endsConnection tells whether no other request may follow r on its connection: the length of r may be read in two ways, so that what comes after it
// need not be what the machine in front takes it for. net/http keeps no Content-Length beside a Transfer-Encoding, and of a request of HTTP/1.0 neither
// shows whether there was a Transfer-Encoding; clients of the protocol send neither kind.
func endsConnection(r *http.Request) bool {
	return len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1)
}

// Client names who sent the request, for logs: "token NAME", an address, or what Side.Client says.
func (x *Exchange) Client() string { return x.who.String() }

// Ended takes what recover gave when the exchange ended. A panic is logged, and answered with a problem if nothing was written yet; if
// something was, cut is true, and the caller must panic with http.ErrAbortHandler when it has done what else it has to do. That panic itself goes on at once.
func (x *Exchange) Ended(v any) (cut bool) {
	if v == nil {
		return false
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	x.side.Log.Error("KSN "+x.side.Name+": a request ended in a panic", "kind", x.Kind, "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
	if cut = x.Status != 0; !cut { // what was begun cannot be taken back, only cut off
		x.Fail(protocol.NewProblem(protocol.CodeUnavailable, "internal error", "", WaitUnavailable))
	}
	x.Outcome = Outcome(protocol.CodeUnavailable)
	return cut
}

// WaitUnavailable is how long clients are asked to wait where that is not computed.
const WaitUnavailable = 30 * time.Second

// Charge lets the client wait for answers with so many entries before its next request.
func (x *Exchange) Charge(entries int) { charge(x.rate, x.Began, entries/chargeEach) }

// chargeEach is for how many entries a client is charged one more request.
const chargeEach = 1024

// Media types, and what keeps caches away.
const (
	JSON      = "application/json"
	JSONLines = "application/x-ndjson"
	PlainText = "text/plain; charset=utf-8"
	NoStore   = "no-store"
)

// A Response is what is sent where there is no problem.
type Response struct {
	Status int    // 0 for 200
	Kind   string // Content-Type
	Cache  string // Cache-Control
	Tag    string // ETag, "" for none: only 200 has one
	Body   []byte
}

// Tag is a strong ETag.
func Tag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`
}

// Send writes a response, or 304 to who has it; a client that goes away meanwhile needs none.
func (x *Exchange) Send(a *Response) {
	h := x.W.Header()
	h.Set("Cache-Control", a.Cache)
	h.Set("X-Content-Type-Options", "nosniff")
	if a.Tag != "" {
		h.Set("ETag", a.Tag)
		h.Set("Vary", protocol.NetworkHeader)
		if a.Status == 0 && x.NotModified(a.Tag) {
			return
		}
	}
	h.Set("Content-Type", a.Kind)
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	x.Status = max(a.Status, http.StatusOK)
	x.W.WriteHeader(x.Status)
	if x.R.Method != http.MethodHead {
		_, _ = x.W.Write(a.Body)
	}
}

// NotModified answers 304 if the client has what tag stands for. Headers besides are the caller's.
func (x *Exchange) NotModified(tag string) bool {
	asked := x.R.Header["If-None-Match"]
	if len(asked) == 0 || !matches(asked, tag) {
		return false
	}
	x.Status, x.Outcome = http.StatusNotModified, OutcomeNotModified
	x.W.WriteHeader(x.Status)
	return true
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

// maxDetail bounds what a problem says, which may be the client's own words: nobody reads more than protocol.MaxProblem.
const maxDetail = protocol.MaxName

// Fail answers with a problem.
func (x *Exchange) Fail(p protocol.Problem) {
	if len(p.Detail) > maxDetail {
		p.Detail = p.Detail[:maxDetail]
	}
	p.Detail = strings.ToValidUTF8(p.Detail, "")
	x.Outcome = Outcome(p.Code)
	if p.Wait > 0 {
		x.W.Header().Set("Retry-After", strconv.FormatInt(p.Wait, 10))
	}
	if p.Code == protocol.CodeTooLarge {
		x.W.Header().Set("Connection", "close") // what is left of the body is not read
	}
	x.Send(&Response{Status: p.Status, Kind: protocol.ProblemType, Cache: NoStore, Body: p.Marshal()})
}

// BadRequest answers that the request breaks the protocol.
func (x *Exchange) BadRequest(why string) {
	x.Fail(protocol.NewProblem(protocol.CodeBadRequest, "bad request", why, 0))
}
