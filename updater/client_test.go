package updater

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"example.org/avdb/signing"
)

func TestRetryAfterOfAYearIsACoolDown(t *testing.T) {
	for _, c := range []struct {
		name, header string
		status       int
		until        time.Time
	}{
		{"a year", "31536000", 429, noon.Add(24 * time.Hour)},
		{"overflow", "99999999999999999999999", 503, noon.Add(24 * time.Hour)},
		{"a date", "Sun, 01 Mar 2026 13:00:00 GMT", 503, noon.Add(time.Hour)},
		{"two minutes", "120", 429, noon.Add(2 * time.Minute)},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", c.header)
				w.WriteHeader(c.status)
				w.Write(make([]byte, 1<<20))
			})
			s, tr := sourceAt(t, m.URL, quick())
			for _, f := range []func() error{
				func() error { _, err := s.Fetch(t.Context(), "timestamp.json", 1000); return err },
				func() error { _, err := s.open(t.Context(), targetOf("light/a.bundle", []byte{1}), ignore); return err },
			} {
				err := f()
				cd, ok := errors.AsType[*CoolDownError](err)
				if !ok || !cd.Until.Equal(c.until) || cd.Source != m.URL || !errors.Is(err, ErrCoolDown) || errors.Is(err, ErrUnavailable) {
					t.Errorf("error %v (%+v), want a cool-down until %s", err, cd, c.until)
				}
			}
			if n := len(m.asked()); n != 2 {
				t.Errorf("%d requests, want one for each: a wait above the cap is not retried", n)
			}
			if n := tr.bytes.Load(); n > 2<<10 {
				t.Errorf("%d bytes of error bodies read, want at most 1 KiB each", n)
			}
		})
	}
}

func TestErrorsThatPassAreRetried(t *testing.T) {
	b := []byte("metadata")
	n := 0
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n++; n <= 2 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader([]int{500, 429}[n-1])
			return
		}
		w.Write(b)
	})
	s, _ := sourceAt(t, m.URL, quick())
	if got, err := s.Fetch(t.Context(), "timestamp.json", 1000); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%q, %v; want the third answer", got, err)
	}
}

func TestErrorsThatStayEndTheRetries(t *testing.T) {
	m := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	s, _ := sourceAt(t, m.URL, quick())
	_, err := s.Fetch(t.Context(), "timestamp.json", 1000)
	if se, ok := errors.AsType[*SourceError](err); !ok || se.Status != 500 || se.File != "metadata/timestamp.json" || len(m.asked()) != 3 {
		t.Errorf("error %v after %d requests; want status 500 after 3", err, len(m.asked()))
	}
}

// The walk to the newest root ends at the first that is not there; object stores answer 403 for it.
func TestMissingMetadata(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		absent bool
	}{{"2.root.json", 404, true}, {"2.root.json", 403, true}, {"timestamp.json", 404, true}, {"timestamp.json", 403, false}, {"2.root.json", 500, false}} {
		m := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(c.status) })
		s, _ := sourceAt(t, m.URL, quick())
		_, err := s.Fetch(t.Context(), c.name, 1000)
		if errors.Is(err, signing.ErrNotFound) != c.absent || !errors.Is(err, ErrUnavailable) {
			t.Errorf("%d for %s: %v; want ErrNotFound %v", c.status, c.name, err, c.absent)
		}
	}
}

func TestMetadataLongerThanItMayBe(t *testing.T) {
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	s, tr := sourceAt(t, m.URL, quick())
	_, err := s.Fetch(t.Context(), "timestamp.json", 1000)
	if te, ok := errors.AsType[*TargetError](err); !ok || te.Target != "metadata/timestamp.json" {
		t.Errorf("error %v, want one that names the file", err)
	}
	if n := tr.bytes.Load(); n != 1001 || len(m.asked()) != 1 {
		t.Errorf("%d bytes in %d requests; want the limit and one byte, once", n, len(m.asked()))
	}
}

func TestHeadersWithoutEnd(t *testing.T) {
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 100_000 {
			w.Header().Set(fmt.Sprintf("X-%d", i), "0123456789")
		}
	})
	s, _ := sourceAt(t, m.URL, quick())
	if _, err := s.Fetch(t.Context(), "timestamp.json", 1000); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
}

func TestRedirects(t *testing.T) {
	good := serve(t, plain([]byte("metadata")))
	for _, c := range []struct {
		name string
		to   func(r *http.Request) string
		err  string
	}{
		{"another host", func(*http.Request) string { return good.URL + "/x" }, ""},
		{"loop", func(r *http.Request) string { return r.URL.Path }, "more than 5"},
		{"file", func(*http.Request) string { return "file:///etc/hostname" }, "scheme"},
		{"ftp", func(*http.Request) string { return "ftp://localhost/x" }, "scheme"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, c.to(r), http.StatusFound) })
			s, _ := sourceAt(t, m.URL, quick())
			_, err := s.Fetch(t.Context(), "timestamp.json", 1000)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !errors.Is(err, ErrUnavailable)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if n := len(m.asked()); n > 6 {
				t.Errorf("%d requests, want at most one and five redirects", n)
			}
		})
	}
}

func TestRedirectPolicy(t *testing.T) {
	ask := func(to string, via ...string) error {
		var list []*http.Request
		for _, v := range via {
			r, _ := http.NewRequest("GET", v, nil)
			list = append(list, r)
		}
		r, _ := http.NewRequest("GET", to, nil)
		return redirectPolicy(5)(r, list)
	}
	for _, c := range []struct {
		to   string
		via  []string
		good bool
	}{
		{"https://b.example/x", []string{"http://a.example/x"}, true},
		{"http://b.example/x", []string{"http://a.example/x"}, true},
		{"http://a.example/x", []string{"https://a.example/x"}, false},
		{"http://a.example/x", []string{"http://a.example/x", "https://a.example/x"}, false},
		{"http://127.0.0.1/x", []string{"http://a.example/x"}, false},
		{"http://localhost:80/x", []string{"http://a.example/x"}, false},
		{"http://x.localhost/x", []string{"http://a.example/x"}, false},
		{"http://[::1]/x", []string{"http://a.example/x"}, false},
		{"http://[::ffff:127.0.0.1]/x", []string{"http://a.example/x"}, false},
		{"http://169.254.169.254/latest/meta-data", []string{"http://a.example/x"}, false},
		{"http://[fe80::1]/x", []string{"http://a.example/x"}, false},
		{"http://0.0.0.0/x", []string{"http://a.example/x"}, false},
		{"http://127.0.0.1/y", []string{"http://127.0.0.1/x"}, true},
		{"http://127.0.0.1:81/y", []string{"http://localhost:80/x"}, true},
		{"http://169.254.169.254/latest/meta-data", []string{"http://127.0.0.1/x"}, false},
		{"http://0.0.0.0/x", []string{"http://localhost/x"}, false},
		{"http://LOCALHOST./x", []string{"http://a.example/x"}, false},
		{"http://169.254.1.2/y", []string{"http://169.254.1.2/x"}, true},
	} {
		if err := ask(c.to, c.via...); (err == nil) != c.good {
			t.Errorf("%v to %s: %v, want followed %v", c.via, c.to, err, c.good)
		}
	}
}

// A redirect to a name that resolves to this machine gets no further than one to its address.
func TestRedirectToANameOfThisMachine(t *testing.T) {
	m := serve(t, plain([]byte("secret")))
	u, _ := url.Parse(m.URL)
	pin := new(hostPin)
	pin.set(u, false)
	d := new(dialer)
	ctx := withExchange(t.Context(), &exchange{moved: pin})
	if c, err := d.DialContext(ctx, "tcp", u.Host); !errors.As(err, new(*redirectError)) {
		t.Errorf("connected to %s (%v, %v)", u.Host, c, err)
	}
	other, _ := url.Parse("http://elsewhere.example")
	pin.set(other, false)
	c, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		t.Fatalf("a proxy on this machine is refused: %v", err)
	}
	c.Close()
}

func TestRateLimitHoldsForBodies(t *testing.T) {
	b := content(60_000)
	m := serve(t, plain(b))
	s, _ := sourceAt(t, m.URL, quick())
	s.meter.limiter = rate.NewLimiter(100_000, 20_000)
	start := time.Now()
	mustOpen(t, s, targetOf("light/a.bundle", b), b)
	if took := time.Since(start); took < 300*time.Millisecond {
		t.Errorf("60000 bytes in %s at 100000 a second with a burst of 20000", took)
	}
}

func TestTLSBelow12AndCredentialsInErrors(t *testing.T) {
	if v := newTLS(t).MinVersion; v != 0x0303 {
		t.Errorf("least TLS version %#x, want 1.2", v)
	}
	s, _ := sourceAt(t, "http://user:hunter2@127.0.0.1:1", quick())
	_, err := s.Fetch(t.Context(), "timestamp.json", 10)
	if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v; want ErrUnavailable without the password", err)
	}
}

func newTLS(t *testing.T) *tls.Config {
	a, err := Source{URL: "https://a.example"}.resolve(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	return a.tls
}

// A transport sets the protocols in its TLS configuration when it is first used: two that shared one would write it while the other dials.
func TestTransportsShareNoTLSConfiguration(t *testing.T) {
	s, _ := sourceAt(t, "https://127.0.0.1:1", quick())
	own, elsewhere := s.meter.next.(*http.Transport).TLSClientConfig, s.meter.elsewhere.(*http.Transport).TLSClientConfig
	if own == nil || own == elsewhere {
		t.Errorf("configurations %p and %p, want two", own, elsewhere)
	}
}
