package reputation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// MaxStats is the greatest length of what [Client.SendStats] sends, in bytes.
const MaxStats = protocol.MaxStats

// maxOne is the greatest length of a reply to GET /v1/l/…: one answer and its proof.
const maxOne = protocol.MaxAnswer + 4096

// decisionKey is how a transport finds the decision behind a request in its context; tests use it.
type decisionKey struct{}

// NewTransport makes the transport that a Config without one gets. Its limits are tight, it follows the proxy of the environment, and never decompresses.
func NewTransport() *http.Transport {
	d := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            d.DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConnsPerHost:    4,
		MaxConnsPerHost:        16,
		IdleConnTimeout:        2 * time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
}

// send is the one place that calls the transport, and it takes nothing but permits: one for a request for info or statistics, one for each prefix of
// a look-up, all for one hop. Statistics are the body, else body is nil.
func (c *Client) send(ctx context.Context, permits []permit, body []byte) (*http.Response, error) {
	if len(permits) == 0 {
		return nil, errors.New("a request without a permit")
	}
	for _, p := range permits {
		if !p.use() || p.g.hop != permits[0].g.hop || p.g.request.Service != permits[0].g.request.Service {
			return nil, errors.New("a request without a permit of its own")
		}
	}
	g := permits[0].g
	method, path := http.MethodGet, protocol.PathInfo
	switch g.request.Service {
	case ksn.ServiceStats:
		method, path = http.MethodPost, protocol.PathStats
	case ksn.ServiceLookup:
		if path = g.prefix.Path(); len(permits) > 1 {
			prefixes := make([]protocol.Prefix, len(permits))
			for i, p := range permits {
				prefixes[i] = p.g.prefix
			}
			var err error
			if body, err = protocol.MarshalQuery(prefixes); err != nil {
				return nil, err
			}
			method, path = http.MethodPost, protocol.PathBatch
		}
	}
	req, err := http.NewRequestWithContext(context.WithValue(ctx, decisionKey{}, g.decision), method, g.hop.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	c.dress(req, method)
	return c.transport.RoundTrip(req) // not an http.Client: nothing is followed, nothing is remembered
}

// dress sets the headers.
func (c *Client) dress(req *http.Request, method string) {
	req.Header.Set(protocol.NetworkHeader, c.config.Provider.Fingerprint)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", c.config.Agent)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	} else {
		req.Body, req.GetBody = nil, nil
	}
	if token := c.token(); protocol.CheckToken(token) == nil && protocol.Confidential(req.URL) {
		req.Header.Set("Authorization", "Bearer "+token)
	}
}

// A result is what came of an attempt at one hop.
type result struct {
	came   outcome
	body   []byte // with answered: not verified yet
	wait   time.Duration
	record string
	hasty  bool // a time-out that came too soon to judge the hop
	left   bool // we went away: nothing can be said of the hop
	err    error
}

// attempt sends and reads a bounded body as it is: what says that it is compressed is not unpacked, and then verifies as nothing.
func (c *Client) attempt(ctx context.Context, permits []permit, body []byte, limit int64) result {
	began := time.Now()
	fail := func(f Fault, reason string, err error) result {
		hasty := ctx.Err() != nil && time.Since(began) < patience
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			f, reason, err = FaultTimeout, fmt.Sprintf("no answer within %s", time.Since(began).Round(time.Millisecond)), nil
		}
		return result{came: failed, hasty: hasty, left: errors.Is(ctx.Err(), context.Canceled),
			err: &RouteError{URL: permits[0].g.hop.url, Reason: reason, Fault: f, Err: err}}
	}
	resp, err := c.send(ctx, permits, body)
	if err != nil {
		return fail(FaultConnection, "no connection", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		limit = protocol.MaxProblem
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if resp.StatusCode/100 != 2 {
		return c.classify(permits[0].g.hop, resp, b)
	}
	switch {
	case err != nil:
		return fail(FaultConnection, "the answer breaks off", err)
	case int64(len(b)) > limit:
		return fail(FaultLength, fmt.Sprintf("the answer is longer than %d bytes", limit), nil)
	}
	return result{came: answered, body: b}
}

// classify says what an answer without success means. Nothing of it is signed: it can stop requests for a while, and no more.
func (c *Client) classify(h hop, resp *http.Response, body []byte) result {
	p := protocol.ReadProblem(resp.StatusCode, body)
	r := result{came: failed, record: p.Record, wait: max(time.Duration(min(p.Wait, int64(MaxWait/time.Second)))*time.Second, c.retryAfter(resp))}
	r.wait = min(r.wait, h.maxWait())
	reason := strings.ToLower(http.StatusText(resp.StatusCode))
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		r.came = refused
	case http.StatusTooManyRequests:
		r.came = throttled
	case http.StatusUnavailableForLegalReasons:
		r.came = restricted
	case http.StatusMisdirectedRequest:
		r.came, reason = misdirected, "it belongs to another network: correct its address"
	default:
		if resp.StatusCode/100 == 3 {
			reason = "it sends us elsewhere, which is not followed"
		}
	}
	if p.Title != "" {
		reason += " (" + p.Title + ")"
	}
	r.err = &RouteError{URL: h.url, Status: resp.StatusCode, Reason: reason, Record: p.Record}
	return r
}

// retryAfter is what the header of that name asks for, 0 for nothing, at most MaxWait.
func (c *Client) retryAfter(resp *http.Response) time.Duration {
	s := strings.TrimSpace(resp.Header.Get("Retry-After"))
	if s == "" {
		return 0
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Duration(max(0, min(n, int64(MaxWait/time.Second)))) * time.Second
	}
	if strings.Trim(s, "0123456789") == "" {
		return MaxWait // more than a number holds
	}
	at, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(c.now()), MaxWait))
}
