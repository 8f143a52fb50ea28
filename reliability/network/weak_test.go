//go:build check && linux

package network

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"example.org/avdb/updater"
)

// onLoopback is a transport without the product's guards. Only the network of the tests is open to it.
func onLoopback() *http.Transport {
	return &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: 64 << 20,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			if to, err := netip.ParseAddrPort(c.RemoteAddr().String()); err != nil || !to.Addr().IsLoopback() {
				c.Close()
				return nil, errors.New("not on this machine")
			}
			return c, nil
		}}
}

// A greedy transport reads what a source sends before anybody asks for it, as one does that unpacks or caches.
type greedy struct{ *http.Transport }

// RoundTrip makes one request.
func (g greedy) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := g.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp, nil
}

// The oracle finds each weakness that a client can have: a matrix that passes for every client proves nothing.
func TestTheMatrixFindsWeakClients(t *testing.T) {
	w := begin(t)
	with := func(rt http.RoundTripper) client { return func(c *updater.Config) { c.Transport = rt } }
	patient := func(c *updater.Config) {
		c.Limits.Update, c.Limits.Header, c.Limits.Idle = time.Hour, time.Hour, time.Hour
	}
	believing, old, eager := onLoopback(), onLoopback(), onLoopback()
	believing.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	old.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS10}
	unbounded := onLoopback()
	t.Cleanup(func() {
		for _, rt := range []*http.Transport{believing, old, eager, unbounded} {
			rt.CloseIdleConnections()
		}
	})
	n := 0
	for _, c := range []struct {
		weakness  string
		client    client
		behaviour string
		found     string // part of what the oracle must say
	}{
		{"waits for ever for headers", patient, "header dripped", "its deadline is"},
		{"waits for ever for a body", patient, "body stalled", "its deadline is"},
		{"waits for ever at a byte a second", patient, "body at 1 byte/s", "its deadline is"},
		{"reads headers of any length", with(unbounded), "1 MiB of headers", "bytes of one answer were taken"},
		{"reads any number of headers", with(unbounded), "100,000 headers", "bytes of one answer were taken"},
		{"reads on after the signed length", with(greedy{eager}), "endless chunked", "bytes of one answer were taken"},
		{"reads on while a length is announced", with(greedy{eager}), "endless with length", "bytes of one answer were taken"},
		{"unpacks what comes encoded", with(greedy{eager}), "Content-Encoding zstd bomb", "bytes of one answer were taken"},
		{"believes an expired certificate", with(believing), "expired certificate", `the run came to "updated"`},
		{"believes another host's certificate", with(believing), "other host's certificate", `the run came to "updated"`},
		{"speaks TLS 1.0", with(old), "TLS 1.0", `the run came to "updated"`},
		{"follows a redirect by name to this machine", with(unbounded), "redirect to loopback or 169.254.169.254", "whereto no redirect may lead"},
	} {
		n++
		for _, file := range kinds {
			t.Run(c.weakness+"/"+file, func(t *testing.T) {
				t.Parallel()
				b := *named(t, c.behaviour)
				b.limits = func(l *updater.Limits) {
					if strings.HasPrefix(c.weakness, "waits") {
						l.Update = 2 * time.Second
					} else {
						l.Header = 30 * time.Second
					}
				}
				r := alone(t, w, &b, file, c.client)
				for _, v := range r.found {
					if strings.Contains(v, c.found) {
						return
					}
				}
				t.Errorf("a client that %s is not found out: %q", c.weakness, r.found)
			})
		}
	}
	t.Logf("B proof: %d weaknesses, each shown for three files", n)
}

// The same for what a run leaves: a generation that nobody signed for this moment, a floor that went back, a stray file.
func TestTheMatrixFindsWrongStates(t *testing.T) {
	w := begin(t)
	h := honest(t, w, w.newer)
	other := *w
	other.newGen = w.oldGen
	other.otherGen = w.oldGen
	r := &run{w: &other, device: w.device(t), honest: h, client: product, limits: limits()}
	if r.update(t); !r.says("neither the old nor a new generation") {
		t.Errorf("a foreign generation is not found: %q", r.found)
	}
	r = &run{w: w, device: w.device(t)}
	r.report.Result, r.err = updater.ResultFailed, errors.New("for the test")
	if r.judgeState(t, map[string]uint64{"timestamp": 1 << 40}); !r.says("went back") || !r.says("the report says") {
		t.Errorf("a lost floor or a false report is not found: %q", r.found)
	}
}

func (r *run) says(s string) bool {
	for _, v := range r.found {
		if strings.Contains(v, s) {
			return true
		}
	}
	return false
}

func named(t *testing.T, s string) *behaviour {
	t.Helper()
	for _, b := range behaviours {
		if b.name == s {
			return b
		}
	}
	t.Fatalf("no behaviour %q", s)
	return nil
}
