package serving

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"example.org/avdb/ksn/protocol"
)

// Route has a answer the request, or answers it itself.
func (x *Exchange) Route(a Answerer) {
	path := x.R.URL.Path
	switch {
	case x.R.URL.RawPath != "" || x.R.URL.Opaque != "":
		x.notFound() // another spelling of a path
	case strings.HasPrefix(path, protocol.PathLookup):
		if x.asks(KindLookup, http.MethodGet, http.MethodHead) {
			x.lookup(a)
		}
	case path == protocol.PathBatch:
		if x.asks(KindBatch, http.MethodPost) {
			x.batch(a)
		}
	case path == protocol.PathInfo:
		if x.asks(KindInfo, http.MethodGet, http.MethodHead) {
			a.Info()
		}
	case path == protocol.PathStats && x.side.NoStats:
		x.Kind = KindStats
		x.Fail(protocol.NewProblem(protocol.CodeNotFound, "no statistics", "This "+x.side.Name+" takes no statistics.", 0))
	case path == protocol.PathStats:
		if x.asks(KindStats, http.MethodPost) {
			x.stats(a)
		}
	default:
		x.otherPath(a, path)
	}
}

// otherPath is one that is no part of the protocol.
func (x *Exchange) otherPath(a Answerer, path string) {
	document := x.side.Documents[path]
	switch {
	case document != nil:
	case path == "/healthz":
		document = &Response{Kind: PlainText, Cache: NoStore, Body: []byte("ok\n")}
	case path == "/readyz":
		if x.method(http.MethodGet, http.MethodHead) {
			x.ready(a)
		}
		return
	case x.side.Status != nil && slices.Contains([]string{"/", "/status", "/status.json", "/metrics"}, path):
		if x.maySeeStatus() {
			x.Status = http.StatusOK
			x.side.Status.ServeHTTP(x.W, x.R)
		}
		return
	default:
		x.notFound()
		return
	}
	if x.method(http.MethodGet, http.MethodHead) {
		x.Send(document)
	}
}

func (x *Exchange) notFound() {
	x.Fail(protocol.NewProblem(protocol.CodeNotFound, "no such path", x.side.Hint, 0))
}

func (x *Exchange) ready(a Answerer) {
	if err := a.Ready(); err != nil {
		x.Fail(protocol.NewProblem(protocol.CodeUnavailable, "not ready", err.Error(), WaitUnavailable))
		return
	}
	x.Send(&Response{Kind: PlainText, Cache: NoStore, Body: []byte("ready\n")})
}

// lookup reads GET /v1/l/{type}/{bits}/{prefix}.
func (x *Exchange) lookup(a Answerer) {
	typ, rest, _ := strings.Cut(strings.TrimPrefix(x.R.URL.Path, protocol.PathLookup), "/")
	bits, digits, ok := strings.Cut(rest, "/")
	if !ok || strings.Contains(digits, "/") {
		x.notFound()
		return
	}
	p, err := protocol.ParsePrefix(typ, bits, digits)
	if err != nil {
		x.BadRequest(err.Error())
		return
	}
	a.Lookup(p)
}

// batch reads POST /v1/lookup.
func (x *Exchange) batch(a Answerer) {
	if _, ok := x.readBody(protocol.MaxQuery, JSON); !ok {
		return
	}
	prefixes, err := protocol.ParseQuery(x.Buffer)
	if err != nil {
		x.BadRequest(err.Error())
		return
	}
	a.Batch(prefixes)
}

// stats reads POST /v1/stats.
func (x *Exchange) stats(a Answerer) {
	if kind, ok := x.readBody(protocol.MaxStats, JSON, JSONLines); ok {
		a.Stats(kind, x.Buffer)
	}
}

// asks lets a request of the protocol pass that is meant for this network, within its client's limits.
func (x *Exchange) asks(k Kind, methods ...string) bool {
	x.Kind = k
	return x.method(methods...) && x.thisNetwork() && x.admitted() && x.strict()
}

func (x *Exchange) method(allowed ...string) bool {
	if slices.Contains(allowed, x.R.Method) {
		return true
	}
	x.W.Header().Set("Allow", strings.Join(allowed, ", "))
	x.Fail(protocol.NewProblem(protocol.CodeMethod, "method not allowed", "Allowed: "+strings.Join(allowed, ", ")+".", 0))
	return false
}

// thisNetwork refuses what is meant for another network, before anything else of it is looked at.
func (x *Exchange) thisNetwork() bool {
	for _, meant := range x.R.Header[protocol.NetworkHeader] {
		if meant != x.side.Network {
			x.Fail(protocol.NewProblem(protocol.CodeWrongNetwork, "wrong network", "This "+x.side.Name+" belongs to the network "+x.side.Network+".", 0))
			return false
		}
	}
	return true
}

// admitted asks for the token, where one is needed, and counts the request. Guessing tokens is limited as asking is.
func (x *Exchange) admitted() bool {
	limit, known := Limit{}, true
	if x.side.Admit != nil {
		x.who.token, limit, known = x.side.Admit(x.R.Header)
	}
	if x.who.token == "" {
		x.who = clientOf(x.R, x.side.Client)
	}
	x.rate = x.side.Limiter.of(x.who, limit.OrElse(x.side.Limit))
	if wait := take(x.rate, x.Began); wait > 0 {
		x.Fail(protocol.NewProblem(protocol.CodeTooMany, "too many requests", "Wait, and ask for several prefixes at once.", wait))
		return false
	}
	if !known {
		x.W.Header().Set("WWW-Authenticate", `Bearer realm="KSN"`)
		detail := "A token is missing or not known: register this installation with the provider of the network"
		if x.side.Contact != "" {
			detail += " (" + x.side.Contact + ")"
		}
		x.Fail(protocol.NewProblem(protocol.CodeUnauthorized, "unauthorized", detail+".", 0))
	}
	return known
}

// maySeeStatus tells whether the status page is shown: where tokens are needed only to who has one, or to this machine.
func (x *Exchange) maySeeStatus() bool {
	if x.side.Admit == nil || x.fromThisMachine() {
		return true
	}
	if name, _, known := x.side.Admit(x.R.Header); known && name == "" {
		return true
	}
	return x.admitted()
}

// fromThisMachine tells whether nobody but users of this machine can have sent the request, as far as it shows: whoever passes on what others
// send connects from here too, so that a request that names others does not count. Nor does one that calls this machine by any other name: a page of
// somebody else in a browser here reaches it under that page's own name, which its author lets lead here, and may then read the response.
func (x *Exchange) fromThisMachine() bool {
	a, ok := addressOf(x.R)
	return ok && a.IsLoopback() && isLoopback(x.R.Host) && x.side.Client == nil && len(x.R.Header["Forwarded"]) == 0 && len(x.R.Header["X-Forwarded-For"]) == 0
}

// isLoopback tells whether a Host, with or without a port, leads to this machine whatever DNS says: it is localhost or a loopback address.
func isLoopback(host string) bool {
	if !strings.Contains(host[strings.LastIndex(host, "]")+1:], ":") {
		host += ":80"
	}
	name, port, err := net.SplitHostPort(host)
	if _, notPort := strconv.ParseUint(port, 10, 16); err != nil || notPort != nil {
		return false
	}
	a, err := netip.ParseAddr(name)
	return strings.EqualFold(name, "localhost") || err == nil && a.Unmap().IsLoopback()
}

// strict refuses what no client of the protocol sends, and what a cache or a proxy on the way could take for something else.
func (x *Exchange) strict() bool {
	var why string
	switch body := x.R.Method == http.MethodPost; {
	case x.R.URL.RawQuery != "" || x.R.URL.ForceQuery:
		why = "The path takes no query."
	case !body && (x.R.ContentLength != 0 || len(x.R.TransferEncoding) > 0):
		why = "The request must not have a body."
	case len(x.R.Header["Content-Encoding"]) > 0:
		why = "The body must not be compressed."
	default:
		return true
	}
	x.BadRequest(why)
	return false
}
