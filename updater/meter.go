package updater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// An exchange says what a request is for, to the layers below grab and retryablehttp, which know
// nothing of signed lengths. It travels in the request's context.
type exchange struct {
	length   int64     // signed length of the file, or the limit for one whose length is not signed
	progress func(int) // told of each piece of a body that arrives; may be nil
	moved    *hostPin  // set when a redirect leads to another host
}

type exchangeKey struct{}

func withExchange(ctx context.Context, e *exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, e)
}

func exchangeOf(ctx context.Context) *exchange {
	e, _ := ctx.Value(exchangeKey{}).(*exchange)
	return e
}

// Traffic counts what crossed the network.
type traffic struct {
	requests atomic.Int64
	bytes    atomic.Int64
}

// A meter is the lowest layer of ours: it sits between retryablehttp and the transport, sees every single
// request (retries, redirects and HEAD among them), counts it, and holds the guards that the libraries
// above lack:
//   - headers that do not end in time, a body that stalls or drips;
//   - a body longer than what was signed, cut at the first byte too many;
//   - a 200 where a range was asked for, or a 206 of another range, which grab would append blindly;
//   - a Content-Encoding that nobody asked for.
//
// It also adds the credentials, to requests to the source itself only: above it nobody has them, so that no
// redirect can carry them along.
type meter struct {
	next      http.RoundTripper // to the source itself
	elsewhere http.RoundTripper // to where a redirect leads
	own       bool              // both were made by this package
	access    access
	limits    Limits
	limiter   *rate.Limiter // nil for none
	traffic   *traffic
}

// A protocolError is an answer that no retry makes better: the source does not speak HTTP as it should.
type protocolError struct{ reason string }

func (e *protocolError) Error() string { return e.reason }

// errTooLong says that a body went on after the signed length.
var errTooLong = errors.New("longer than what was signed")

// A slowError says that a source was waited for in vain.
type slowError struct{ what string }

func (e *slowError) Error() string   { return e.what }
func (e *slowError) Timeout() bool   { return true }
func (e *slowError) Temporary() bool { return true }

// RoundTrip makes one request.
func (m *meter) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	tooSlow := &slowError{fmt.Sprintf("no complete answer within %s", m.limits.Header)}
	timer := time.AfterFunc(m.limits.Header, func() { cancel(tooSlow) })
	m.traffic.requests.Add(1)
	resp, err := m.send(req.WithContext(ctx))
	timer.Stop()
	if err != nil {
		if context.Cause(ctx) == error(tooSlow) {
			err = tooSlow
		}
		cancel(err)
		return nil, err
	}
	b := &body{inner: resp.Body, meter: m, ctx: ctx, cancel: cancel, left: errorBody, soft: true}
	resp.Body = b
	if e := exchangeOf(req.Context()); e != nil && req.Method == http.MethodGet && resp.StatusCode/100 == 2 {
		expect, err := checkAnswer(req, resp, e)
		if err != nil {
			resp.Body.Close()
			return nil, err
		}
		b.left, b.soft, b.progress = expect+1, false, e.progress
	}
	return resp, nil
}

// send chooses the way of a request and what it may carry.
func (m *meter) send(req *http.Request) (*http.Response, error) {
	if !m.access.own(req.URL) {
		return m.elsewhere.RoundTrip(req)
	}
	if m.access.authorization != "" {
		req.Header = req.Header.Clone() // it is the caller's, who makes redirects of it
		req.Header.Set("Authorization", m.access.authorization)
	}
	return m.next.RoundTrip(req)
}

// CloseIdleConnections lets retryablehttp drop connections after an error; those of a transport that the
// host program lent stay as they are.
func (m *meter) CloseIdleConnections() {
	for _, t := range []http.RoundTripper{m.next, m.elsewhere} {
		if c, ok := t.(interface{ CloseIdleConnections() }); ok && m.own {
			c.CloseIdleConnections()
		}
	}
}

// checkAnswer compares a successful answer with what was asked for and tells how many bytes of body it may have.
func checkAnswer(req *http.Request, resp *http.Response, e *exchange) (int64, error) {
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return 0, &protocolError{fmt.Sprintf("the answer is encoded as %.32q though nothing but the file itself was asked for", enc)}
	}
	asked := req.Header.Get("Range")
	if asked == "" {
		if resp.StatusCode != http.StatusOK {
			return 0, &protocolError{fmt.Sprintf("status %d to a request for the whole file", resp.StatusCode)}
		}
		return e.length, nil
	}
	from, ok := parseOffset(strings.TrimSuffix(strings.TrimPrefix(asked, "bytes="), "-"))
	if !ok || from >= e.length {
		return 0, &protocolError{fmt.Sprintf("range %q of a file of %d bytes", asked, e.length)}
	}
	if resp.StatusCode != http.StatusPartialContent {
		return 0, &rangeError{fmt.Sprintf("status %d to a request for a part of the file", resp.StatusCode)}
	}
	got, ok := parseContentRange(resp.Header.Get("Content-Range"))
	if !ok || got.First != from || got.Last != e.length-1 || got.Total != -1 && got.Total != e.length {
		return 0, &rangeError{fmt.Sprintf("the part %.64q instead of bytes %d-%d/%d",
			resp.Header.Get("Content-Range"), from, e.length-1, e.length)}
	}
	return e.length - from, nil
}

// A rangeError is an answer to a request for a range that would spoil the partial file. Without the partial
// file the same source may do.
type rangeError struct{ reason string }

func (e *rangeError) Error() string { return e.reason }

// A body counts, times and cuts what a source sends.
type body struct {
	inner    io.ReadCloser
	meter    *meter
	ctx      context.Context
	cancel   context.CancelCauseFunc
	left     int64 // bytes that may still be read; the last one of them is the one too many unless soft
	soft     bool  // ends quietly at the limit: the body of an error
	progress func(int)

	waited time.Duration // since bytes was zero
	bytes  int64
}

// Read gives at most what was signed. A body that goes on is an error at its first byte too many, which is not
// handed on.
func (b *body) Read(p []byte) (int, error) {
	if b.left <= 0 {
		if b.soft {
			return 0, io.EOF
		}
		return 0, errTooLong
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	if l := b.meter.limiter; l != nil && len(p) > l.Burst() {
		p = p[:l.Burst()]
	}
	n, err := b.timed(p)
	b.meter.traffic.bytes.Add(int64(n))
	b.left -= int64(n)
	if b.left == 0 && !b.soft {
		n--
		err = errTooLong
	}
	if b.progress != nil && n > 0 {
		b.progress(n)
	}
	if l := b.meter.limiter; l != nil && n > 0 && (err == nil || err == io.EOF) {
		if late := l.WaitN(b.ctx, n); late != nil {
			err = late
		}
	}
	return n, err
}

// timed reads once. Only the time spent here counts as waiting, not that of the disk or of our own rate limit.
func (b *body) timed(p []byte) (int, error) {
	limits := b.meter.limits
	stalled := &slowError{fmt.Sprintf("nothing arrived for %s", limits.Idle)}
	timer := time.AfterFunc(limits.Idle, func() { b.cancel(stalled) })
	start := time.Now()
	n, err := b.inner.Read(p)
	timer.Stop()
	b.waited += time.Since(start)
	b.bytes += int64(n)
	if err != nil && err != io.EOF && context.Cause(b.ctx) == error(stalled) {
		return n, stalled
	}
	if b.waited >= limits.Idle {
		if b.bytes < limits.IdleBytes && err == nil {
			err = &slowError{fmt.Sprintf("%d bytes in %s of waiting, want at least %d", b.bytes, limits.Idle, limits.IdleBytes)}
			b.cancel(err)
		}
		b.waited, b.bytes = 0, 0
	}
	return n, err
}

// Close ends the exchange; what was not read is not waited for.
func (b *body) Close() error {
	b.cancel(context.Canceled)
	return b.inner.Close()
}
