package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"example.org/avdb/ksn/protocol"
)

// newTransport has the limits that one exchange needs besides its deadline and the length of its body.
func newTransport(connections int, deadline time.Duration) *http.Transport {
	return &http.Transport{DialContext: (&net.Dialer{Timeout: deadline, KeepAlive: 30 * time.Second}).DialContext, TLSHandshakeTimeout: deadline,
		ForceAttemptHTTP2: true, MaxIdleConns: 2 * connections, MaxIdleConnsPerHost: connections, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
		MaxResponseHeaderBytes: 64 << 10}
}

// A problemError is a problem for a device.
type problemError struct{ protocol.Problem }

func (e *problemError) Error() string { return e.Title + ": " + e.Detail }

func problem(c protocol.Code, title, detail string, wait time.Duration) *problemError {
	return &problemError{protocol.NewProblem(c, title, detail, wait)}
}

// A failure is why an upstream cannot be used, and another one may be.
type failure struct {
	state UpstreamState // that it leads to in the end
	wait  time.Duration // that the upstream asks for, 0 for none
	err   error
}

func (f *failure) Error() string { return f.err.Error() }

func failed(format string, args ...any) *failure {
	return &failure{state: UpstreamDown, err: fmt.Errorf(format, args...)}
}

// A question is what is sent upstream.
type question struct {
	method, path string
	kind         string // Content-Type of body
	body         []byte
	most         int                                 // bytes of a good answer's body
	open         func(b []byte, now time.Time) error // verifies it and takes it
}

// An upstream is a server, or another proxy.
type upstream struct {
	url string
	mu  sync.Mutex
	b   breaker
}

func (u *upstream) begin(now time.Time) (may, probe bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.b, may, probe = u.b.begin(now)
	return may, probe
}

func (u *upstream) breaker() breaker {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.b
}

// end notes how an exchange went: nil, a refusal (a problemError), errEnded, or a failure.
func (p *Proxy) end(u *upstream, probe bool, err error) {
	now := p.c.Now()
	u.mu.Lock()
	before := u.b.state
	f, isFailure := errors.AsType[*failure](err)
	switch {
	case isFailure:
		u.b = u.b.bad(f, probe, now, p.c.Random())
	case errors.Is(err, errEnded):
		u.b = u.b.abandon(probe)
	default:
		u.b = u.b.good(now)
	}
	after := u.b
	u.mu.Unlock()
	if after.state != before {
		p.c.Log.Info("KSN proxy: upstream", "url", u.url, "state", after.state, "until", after.until, "error", after.last)
	}
}

// errEnded ends exchanges when the proxy does.
var errEnded = errors.New("the proxy ends")

// forward asks the upstreams in order until one answers or refuses; the error is a problem for devices, or errEnded.
func (p *Proxy) forward(ctx context.Context, q *question) error {
	if e := p.held(p.c.Now()); e != nil {
		return e
	}
	p.gate.covered(ctx)
	for _, u := range p.upstreams {
		if ctx.Err() != nil {
			break
		}
		may, probe := u.begin(p.c.Now())
		if !may {
			continue
		}
		err := p.askOne(ctx, u, q)
		p.end(u, probe, err)
		if _, next := errors.AsType[*failure](err); !next {
			return err
		}
	}
	return p.noUpstream()
}

// hold keeps everything back for a while, because an upstream asked for it.
func (p *Proxy) hold(wait time.Duration) { p.heldUntil.Store(p.c.Now().Add(wait).UnixNano()) }

// held is what devices are told meanwhile; nil if nothing is held back.
func (p *Proxy) held(now time.Time) error {
	if wait := time.Duration(p.heldUntil.Load() - now.UnixNano()); wait > 0 && p.heldUntil.Load() != 0 {
		return problem(protocol.CodeTooMany, "too many requests", "The network asks to wait.", min(wait, maxWait))
	}
	return nil
}

// noUpstream is what devices are told when no upstream can be used.
func (p *Proxy) noUpstream() *problemError {
	now, wait := p.c.Now(), maxWait
	for _, u := range p.upstreams {
		wait = min(wait, u.breaker().until.Sub(now))
	}
	return problem(protocol.CodeUnavailable, "no upstream", "The proxy reaches no server of the network.", max(wait, time.Second))
}

// askOne asks one upstream. The error is nil, a failure, a problemError for devices, or errEnded.
func (p *Proxy) askOne(ctx context.Context, u *upstream, q *question) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = failed("a panic of type %T", v)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, p.c.Deadline)
	defer cancel()
	resp, err := p.client.Do(p.request(ctx, u, q))
	if err == nil {
		err = p.read(resp, q)
	}
	if err == nil || isProblem(err) {
		return err
	}
	if p.base.Err() != nil {
		return errEnded
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL, which holds the question
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return failed("no answer within %s", p.c.Deadline)
	}
	return failed("%w", err)
}

// request makes what goes upstream. No header of a device is in it.
func (p *Proxy) request(ctx context.Context, u *upstream, q *question) *http.Request {
	var body io.Reader
	if q.body != nil {
		body = bytes.NewReader(q.body)
	}
	r, err := http.NewRequestWithContext(ctx, q.method, u.url+q.path, body)
	if err != nil {
		panic(err) // a URL that was checked and a path of ours
	}
	r.Header = http.Header{"User-Agent": {p.c.Agent}, protocol.NetworkHeader: {p.network}, "Accept-Encoding": {"identity"}}
	if q.body != nil {
		r.Header["Content-Type"] = []string{q.kind}
	}
	if token := p.c.Token(); protocol.CheckToken(token) == nil && protocol.Confidential(r.URL) {
		r.Header["Authorization"] = []string{"Bearer " + token}
	}
	return r
}

// read takes what came, bounded.
func (p *Proxy) read(resp *http.Response, q *question) error {
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && (q.open != nil || resp.StatusCode != http.StatusAccepted) {
		b, _ := readAtMost(resp.Body, protocol.MaxProblem) // what comes says little, what does not come nothing
		return p.refusal(resp, b, q)
	}
	switch {
	case q.open == nil:
		return nil
	case resp.Uncompressed || len(resp.Header["Content-Encoding"]) > 0:
		return failed("a compressed answer, which nobody asked for")
	case resp.ContentLength > int64(q.most):
		return failed("an answer of %d bytes, the limit is %d", resp.ContentLength, q.most)
	}
	b, err := readAtMost(resp.Body, q.most)
	if err != nil {
		return err // it broke off
	}
	if len(b) > q.most {
		return failed("an answer of more than %d bytes", q.most)
	}
	if err := q.open(b, p.c.Now()); err != nil {
		return failed("%w", err)
	}
	return nil
}

// readAtMost reads no more than one byte beyond most.
func readAtMost(r io.Reader, most int) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, int64(most)+1))
}

// refusal is what an answer other than 200 means: a problem for the device where the question, or its time, is at fault, else a failure of the upstream.
func (p *Proxy) refusal(resp *http.Response, body []byte, q *question) error {
	said := protocol.ReadProblem(resp.StatusCode, body)
	wait := waitOf(resp.Header, said, p.c.Now())
	status := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	f := failed("it answers %s", status)
	switch said.Code {
	case protocol.CodeBadRequest, protocol.CodeTooLarge:
		return problem(said.Code, "refused upstream", said.Detail, 0)
	case protocol.CodeNotFound:
		if q.path == protocol.PathStats {
			return problem(said.Code, "no statistics", "This network takes no statistics.", 0)
		}
	case protocol.CodeTooMany:
		wait = max(wait, time.Second)
		p.hold(wait)
		return problem(said.Code, "too many requests", "The network asks to wait.", wait)
	case protocol.CodeRestricted:
		e := problem(said.Code, "restricted", "A restriction of the network holds such requests back.", wait)
		e.Record = said.Record
		return e
	case protocol.CodeUnauthorized, protocol.CodeForbidden:
		f.state, f.err = UpstreamUnauthorized, fmt.Errorf("it does not accept the proxy's token (%s)", status)
	case protocol.CodeWrongNetwork:
		f.state, f.err = UpstreamWrongNetwork, fmt.Errorf("it does not belong to the network %s", p.network)
	case protocol.CodeUnavailable:
		f.wait = wait
	}
	return f
}

// waitOf is how long an upstream asks to wait, at most maxWait.
func waitOf(h http.Header, said protocol.Problem, now time.Time) time.Duration {
	wait := time.Duration(min(said.Wait, math.MaxInt64/int64(time.Second))) * time.Second
	if after := h.Get("Retry-After"); wait == 0 && after != "" {
		if n, err := strconv.ParseUint(after, 10, 32); err == nil {
			wait = time.Duration(n) * time.Second
		} else if t, err := http.ParseTime(after); err == nil {
			wait = t.Sub(now)
		} else if len(after) > 9 && isDigits(after) {
			wait = maxWait
		}
	}
	return min(max(wait, 0), maxWait)
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
