package reputation

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// listening makes a world whose only server is behind a real socket.
func listening(t *testing.T, h func(http.ResponseWriter, *http.Request, *world), secure bool) (*world, *httptest.Server) {
	t.Helper()
	w := newWorld(t, protocol.Private)
	start := httptest.NewServer
	if secure {
		start = httptest.NewTLSServer
	}
	s := start(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) { h(out, r, w) }))
	t.Cleanup(s.Close)
	w.urls(s.URL)
	return w, s
}

// urls gives the provider other servers.
func (w *world) urls(all ...string) {
	w.t.Helper()
	p := w.provider.Provider
	p.URLs = all
	f, err := protocol.SignProvider(p, signer(w.t, p.Network+"provider"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.provider = &f
}

// Over a real socket: which step fails first, for each step that can.
func TestCheckConnection(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	closed.Close()
	honest := func(out http.ResponseWriter, r *http.Request, w *world) {
		b, err := protocol.SignInfo(protocol.Info{V: 1, Network: w.provider.Fingerprint, Issued: dbformat.At(time.Now()), TTL: 60, PrefixBits: 24,
			Capabilities: []string{}}, w.key)
		if err != nil {
			w.t.Error(err)
		}
		_, _ = out.Write(b)
	}
	says := func(status int, body string) func(http.ResponseWriter, *http.Request, *world) {
		return func(out http.ResponseWriter, _ *http.Request, _ *world) {
			out.WriteHeader(status)
			_, _ = out.Write([]byte(body))
		}
	}
	for _, c := range []struct {
		name   string
		serve  func(http.ResponseWriter, *http.Request, *world)
		secure bool
		url    string
		failed string
		ok     []string // steps that went well
	}{
		{"all is well", honest, false, "", "", []string{StepTCP, StepAuthorisation, StepAnswer}},
		{"a certificate of nobody", honest, true, "", StepTLS, []string{StepTCP}},
		{"nobody listens", honest, false, nobody, StepTCP, nil},
		{"no such host", honest, false, "http://no-such-host.invalid", StepDNS, nil},
		{"not known there", says(401, ""), false, "", StepAuthorisation, []string{StepTCP}},
		{"another network", says(421, ""), false, "", StepAuthorisation, []string{StepTCP}},
		{"something else answers", says(200, "hello"), false, "", StepAnswer, []string{StepTCP}},
		{"out of order", says(503, ""), false, "", StepAnswer, []string{StepTCP}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, s := listening(t, c.serve, c.secure)
			if c.url != "" {
				w.urls(c.url)
			}
			tr := NewTransport()
			tr.Proxy = nil
			tr.DialContext = (&net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("no name server in this test")
			}}}).DialContext
			defer tr.CloseIdleConnections()
			defer s.CloseClientConnections()
			client := w.client(func(c *Config) { c.Transport = tr })
			got := client.CheckConnection(t.Context())
			var ok []string
			for _, s := range got.Steps {
				if s.OK {
					ok = append(ok, s.Name)
				} else if s.Error == "" {
					t.Errorf("step %+v says nothing", s)
				}
			}
			if got.OK != (c.failed == "") || got.Failed != c.failed || !slices.Equal(ok, c.ok) {
				t.Errorf("%+v; want %q to fail after %q", got, c.failed, c.ok)
			}
			if got.OK && got.Info.V != 1 {
				t.Errorf("info %+v", got.Info)
			}
		})
	}
}

// Who told us to come back later is not asked before that, by a user who waits neither: the check names who it was, until when, and what to do.
func TestCheckConnectionNamesTheCoolDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.urls("https://s1", "http://s2")
		w.hosts["s1"], w.hosts["s2"] = nil, problem(protocol.CodeTooMany, 366*24*time.Hour)
		c := w.client()
		until := time.Now().Add(MaxPlainWait)
		for i, want := range []int{2, 1, 1} { // requests: s1 is out of order and tried by hand, s2 was told to be left alone
			w.do(func() { w.requests = nil })
			got := c.CheckConnection(t.Context())
			last := got.Steps[len(got.Steps)-1]
			if got.OK || got.Failed != StepCoolDown || got.Why != Busy || last.Name != StepCoolDown || last.URL != "http://s2" || !last.Retry.Equal(until) ||
				!strings.Contains(last.Error, "s2") || !strings.Contains(last.Remedy, "https") {
				t.Errorf("check %d: %+v", i, got)
			}
			if n := len(w.sent()); n != want {
				t.Errorf("check %d asked %q", i, w.sent())
			}
			time.Sleep(time.Minute)
		}
		if _, err := c.Info(t.Context()); !errors.Is(err, ErrCoolDown) || !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "not before "+until.UTC().Format(time.RFC3339)) {
			t.Errorf("Info: %v", err)
		}
		time.Sleep(MaxPlainWait)
		w.do(func() { w.hosts["s2"] = nil })
		if _, err := c.Info(t.Context()); errors.Is(err, ErrCoolDown) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("Info of servers that are out of order: %v", err)
		}
	})
}

// A real transport obeys the limits too: a body that drips or never ends, headers that do, and a redirect to elsewhere.
func TestHostileServersOnASocket(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	for name, h := range map[string]func(http.ResponseWriter, *http.Request, *world){
		"drips": func(out http.ResponseWriter, r *http.Request, _ *world) {
			for r.Context().Err() == nil {
				_, _ = out.Write([]byte(" "))
				_ = http.NewResponseController(out).Flush()
				time.Sleep(20 * time.Millisecond)
			}
		},
		"never ends": func(out http.ResponseWriter, r *http.Request, _ *world) {
			for b := make([]byte, 1<<16); r.Context().Err() == nil; {
				if _, err := out.Write(b); err != nil {
					return
				}
			}
		},
		"long headers": func(out http.ResponseWriter, _ *http.Request, _ *world) {
			out.Header().Set("X", strings.Repeat("x", 1<<20))
		},
		"says nothing": func(_ http.ResponseWriter, r *http.Request, _ *world) { <-r.Context().Done() },
		"sends elsewhere": func(out http.ResponseWriter, r *http.Request, _ *world) {
			http.Redirect(out, r, other.URL, http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := listening(t, h, false)
			tr := NewTransport()
			tr.Proxy = nil
			defer tr.CloseIdleConnections()
			defer s.CloseClientConnections()
			c := w.client(func(c *Config) { c.Transport = tr })
			began := time.Now()
			v := c.one(ksn.OriginOnAccess, hit(1))
			if d := time.Since(began); v.Why == Settled || d > DeadlineOnAccess+300*time.Millisecond {
				t.Errorf("%+v after %s", v, d)
			}
		})
	}
	if elsewhere > 0 {
		t.Errorf("%d requests were led elsewhere", elsewhere)
	}
}

// A caller who leaves earlier than the deadline is not kept, and blames nobody: the request goes on, and its answer is there for the next one.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.hosts["s1"] = func(w *world, r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return serve(w, r)
		}
		c := w.client()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		if v := c.Lookup(ctx, ksn.OriginManual, []Object{hit(1)})[0]; v.Why != Timeout || time.Since(began) != 50*time.Millisecond {
			t.Errorf("%+v after %s", v, time.Since(began))
		}
		if l := c.Situation().Link; l.Failures != 0 {
			t.Errorf("link %+v", l)
		}
		time.Sleep(time.Second)
		if v := c.one(ksn.OriginOnAccess, hit(1)); v.Why != Settled || v.Source != SourceCache {
			t.Errorf("%+v", v)
		}
	})
}
