package updater

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"example.org/avdb/store"
)

// newTransport is what is used where the host program lends none; config is that of a.tls or a.elsewhere.
func newTransport(l Limits, a *access, config *tls.Config) *http.Transport {
	d := &dialer{net.Dialer{Timeout: l.Header, KeepAlive: 15 * time.Second}}
	return &http.Transport{
		Proxy:                  a.proxyOf,
		DialContext:            d.DialContext,
		TLSClientConfig:        config.Clone(), // a transport writes into its own when it is first used
		TLSHandshakeTimeout:    l.Header,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // a length is signed for the file as it is
		MaxResponseHeaderBytes: l.HeaderBytes,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
	}
}

// newClient puts retryablehttp over the meter. Its traps are closed here: no log, our own back-off that
// never waits longer than it should, the last answer handed on.
func newClient(m *meter, source string, now func() time.Time, random func() float64) *retryablehttp.Client {
	l := m.limits
	return &retryablehttp.Client{
		HTTPClient:   &http.Client{Transport: m, CheckRedirect: redirectPolicy(l.Redirects)},
		RetryMax:     l.Retries,
		RetryWaitMin: l.RetryWait,
		RetryWaitMax: l.RetryWaitMax,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
		CheckRetry: func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			if err != nil {
				return mayPass(err), nil
			}
			if wait, ok := toldToWait(resp, now()); ok && wait > l.RetryAfter {
				return false, coolDown(source, resp, wait, l, now())
			}
			return resp.StatusCode == http.StatusTooManyRequests ||
				resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented, nil
		},
		Backoff: func(least, most time.Duration, attempt int, resp *http.Response) time.Duration {
			if wait, ok := toldToWait(resp, now()); ok {
				return wait + time.Duration(random()*float64(l.RetryWait))
			}
			return backoff(least, most, attempt, random())
		},
	}
}

// backoff doubles from least to most with each attempt and takes between half and all of it, so that a fleet that
// failed together does not return together.
func backoff(least, most time.Duration, attempt int, random float64) time.Duration {
	d := most
	if attempt < 16 && least<<attempt < most {
		d = least << attempt
	}
	return d/2 + time.Duration(random*float64(d/2))
}

// toldToWait reads Retry-After where it has a meaning.
func toldToWait(resp *http.Response, now time.Time) (time.Duration, bool) {
	if resp == nil || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0, false
	}
	return parseRetryAfter(resp.Header.Get("Retry-After"), now)
}

// coolDown is the error for a source that asks to be left alone: for at most l.CoolDown, whatever it says.
func coolDown(source string, resp *http.Response, wait time.Duration, l Limits, now time.Time) *CoolDownError {
	return &CoolDownError{Source: source, Until: now.Add(min(wait, l.CoolDown)).UTC().Truncate(time.Second),
		Reason: fmt.Sprintf("status %d with Retry-After %.64q", resp.StatusCode, resp.Header.Get("Retry-After"))}
}

// mayPass tells whether a failed request is worth another try. What this machine's disk did is not.
func mayPass(err error) bool {
	for _, final := range []any{new(*store.Error), new(*fs.PathError), new(*protocolError), new(*rangeError), new(*redirectError), new(*slowError), new(*tls.CertificateVerificationError),
		new(x509.UnknownAuthorityError), new(x509.HostnameError), new(x509.CertificateInvalidError), new(tls.AlertError)} {
		if errors.As(err, final) {
			return false
		}
	}
	if errors.Is(err, errTooLong) || errors.Is(err, ErrCoolDown) {
		return false
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return false
	}
	return true
}

// A redirectError is a redirect that is not followed.
type redirectError struct{ reason string }

func (e *redirectError) Error() string { return "redirect not followed: " + e.reason }

// redirectPolicy follows at most most redirects, over http and https only, never from https to http, never from elsewhere to this
// machine, and never to another host on its link, where the metadata services of clouds are: a source must not be able to make an
// endpoint speak to services that only it can reach.
func redirectPolicy(most int) func(req *http.Request, via []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		first := via[0].URL
		switch {
		case len(via) > most:
			return &redirectError{fmt.Sprintf("more than %d in a row", most)}
		case req.URL.Scheme != "http" && req.URL.Scheme != "https":
			return &redirectError{fmt.Sprintf("to the scheme %.16q", req.URL.Scheme)}
		case req.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
			return &redirectError{"from https to http"}
		case req.URL.Hostname() == first.Hostname():
			return nil
		case isLink(req.URL.Hostname()), isLoopback(req.URL.Hostname()) && !isLoopback(first.Hostname()):
			return &redirectError{fmt.Sprintf("from %.100s to the local address %.100s", first.Hostname(), req.URL.Hostname())}
		}
		if e := exchangeOf(req.Context()); e != nil && e.moved != nil {
			e.moved.set(req.URL, isLoopback(first.Hostname()))
		}
		return nil
	}
}

// isLoopback tells whether a host, by its name alone, is this machine.
func isLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.Unmap().IsLoopback()
}

// isLink tells whether a host is an address that only this machine's link, or nobody, has.
func isLink(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && linkAddr(ip)
}

func linkAddr(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsUnspecified()
}

// A dialer refuses to connect to local addresses for a host that a redirect led to, so that a name that resolves to such
// an address does not get around the redirect policy. A proxy on this machine stays usable: it is not
// the host that the redirect named.
type dialer struct{ net.Dialer }

// DialContext connects to addr, a host and a port.
func (d *dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	e := exchangeOf(ctx)
	if e == nil || e.moved == nil || !e.moved.is(addr) {
		return d.Dialer.DialContext(ctx, network, addr)
	}
	strict := d.Dialer
	strict.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || linkAddr(ap.Addr()) || ap.Addr().Unmap().IsLoopback() && !e.moved.loopback.Load() {
			return &redirectError{fmt.Sprintf("%s is the local address %s", addr, address)}
		}
		return nil
	}
	return strict.DialContext(ctx, network, addr)
}

// A hostPin remembers to which host a redirect led. It is shared by the goroutines of one request.
type hostPin struct {
	addr     atomic.Pointer[string]
	loopback atomic.Bool // the source is on this machine, and may lead to other ports of it
}

func (p *hostPin) set(u *url.URL, loopback bool) {
	s := hostPort(u)
	p.loopback.Store(loopback)
	p.addr.Store(&s)
}

func (p *hostPin) is(addr string) bool {
	s := p.addr.Load()
	return s != nil && *s == addr
}

// hostPort is the address that a transport dials for u.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
