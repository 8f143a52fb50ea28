package updater

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/signing"
)

// A redirect takes no credentials along: not to another host, not to another port, not to a name below the source's.
func TestCredentialsStayWithTheirHost(t *testing.T) {
	var mu sync.Mutex
	var seen []http.Header
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Header.Clone())
		mu.Unlock()
		io.WriteString(w, "metadata")
	})
	for name, s := range map[string]Source{
		"userinfo": {},
		"basic":    {Basic: &Basic{"me", Secret{Value: secret}}},
		"bearer":   {Bearer: Secret{Value: secret}},
	} {
		t.Run(name, func(t *testing.T) {
			given := 0
			m := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" {
					given++
				}
				http.Redirect(w, r, other.URL+"/x", http.StatusFound)
			})
			s.URL = m.URL
			if name == "userinfo" {
				s.URL = strings.Replace(m.URL, "//", "//me:"+secret+"@", 1)
			}
			src, _ := sourceOf(t, s, quick())
			seen = nil
			if _, err := src.Fetch(t.Context(), "timestamp.json", 100); err != nil {
				t.Fatal(err)
			}
			if _, err := src.open(t.Context(), targetOf("light/a.bundle", []byte("metadata")), ignore); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if given < 2 || len(seen) < 2 {
				t.Fatalf("%d requests with credentials to the source, %d to the other host; want both asked", given, len(seen))
			}
			for _, h := range seen {
				for k, v := range h {
					all := strings.Join(v, " ")
					if k == "Authorization" || strings.Contains(all, secret) || strings.Contains(all, base64.StdEncoding.EncodeToString([]byte("me:"+secret))) {
						t.Errorf("the other host got %s: %s", k, all)
					}
				}
			}
		})
	}
}

func TestCredentialsGoToTheirOriginOnly(t *testing.T) {
	a, err := Source{URL: "https://a.example/db"}.resolve(noEnv)
	if err != nil {
		t.Fatal(err)
	}
	for to, own := range map[string]bool{
		"https://a.example/x": true, "https://A.example:443/x": true,
		"http://a.example/x": false, "https://a.example:444/x": false, "https://b.a.example/x": false, "https://a.example.b/x": false,
	} {
		r, _ := http.NewRequest("GET", to, nil)
		if a.own(r.URL) != own {
			t.Errorf("%s: own is %v, want %v", to, !own, own)
		}
	}
}

// A host that a redirect leads to may ask for the client certificate, and gets none.
func TestClientCertificateStaysWithItsHost(t *testing.T) {
	shown := 0
	count := func(r *http.Request) { shown += len(r.TLS.PeerCertificates) }
	other, _ := tlsServer(t, false, func(w http.ResponseWriter, r *http.Request) { count(r); io.WriteString(w, "metadata") })
	m, ca := tlsServer(t, true, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	cert, key := certificate(t, "device 7")
	s, _ := sourceOf(t, Source{URL: m.URL, CAFile: ca, ClientCert: &ClientCert{Cert: Secret{Value: cert + key}}}, quick())
	if b, err := s.Fetch(t.Context(), "timestamp.json", 100); err != nil || string(b) != "metadata" {
		t.Fatalf("%q, %v", b, err)
	}
	if shown != 0 || len(other.asked()) != 1 {
		t.Errorf("the other host was asked %d times and shown %d certificates", len(other.asked()), shown)
	}
}

func TestRedirectFromHTTPSToHTTPIsRefused(t *testing.T) {
	plainHTTP := serve(t, func(w http.ResponseWriter, r *http.Request) { t.Error("the request came over http") })
	m, ca := tlsServer(t, false, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plainHTTP.URL, http.StatusFound) })
	s, _ := sourceOf(t, Source{URL: m.URL, CAFile: ca, Bearer: Secret{Value: secret}}, quick())
	if _, err := s.Fetch(t.Context(), "timestamp.json", 100); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "from https to http") {
		t.Errorf("error %v", err)
	}
}

// A forward proxy that knows all hosts, wants credentials, and says what it was asked.
func forwardProxy(t *testing.T, to *mirror, user string) *mirror {
	t.Helper()
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(user))
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user != "" && r.Header.Get("Proxy-Authorization") != want {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		inner, err := net.Dial("tcp", to.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer inner.Close()
		if r.Method != http.MethodConnect {
			r.Header.Del("Proxy-Authorization")
			r.Write(inner)
			io.Copy(hijack(t, w), inner)
			return
		}
		outer := hijack(t, w)
		io.WriteString(outer, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(inner, outer)
		io.Copy(outer, inner)
	})
}

func hijack(t *testing.T, w http.ResponseWriter) net.Conn {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestProxyOfASource(t *testing.T) {
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		io.WriteString(w, "from "+r.Host+r.Header.Get("Proxy-Authorization"))
	})
	p := forwardProxy(t, m, "me:"+secret)
	basic := &Basic{"me", Secret{Value: secret}}
	for name, s := range map[string]Source{
		"apart":      {Proxy: p.URL, ProxyBasic: basic},
		"in its URL": {Proxy: strings.Replace(p.URL, "//", "//me:"+secret+"@", 1)},
	} {
		s.URL = "http://mirror.test/db" // which only the proxy can reach
		src, _ := sourceOf(t, s, quick())
		if b, err := src.Fetch(t.Context(), "timestamp.json", 100); err != nil || string(b) != "from mirror.test" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	for _, address := range []string{"http://mirror.test/db", "https://mirror.test/db"} {
		src, _ := sourceOf(t, Source{URL: address, Proxy: p.URL}, quick())
		_, err := src.Fetch(t.Context(), "timestamp.json", 100)
		if e, ok := errors.AsType[*SourceError](err); !ok || !strings.Contains(e.Remedy, "proxy_basic") {
			t.Errorf("%s, no credentials: %v", address, err)
		}
		src, _ = sourceOf(t, Source{URL: address, Proxy: p.URL, ProxyBasic: &Basic{"me", Secret{Value: secret + "x"}}}, quick())
		if _, err = src.Fetch(t.Context(), "timestamp.json", 100); err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "proxy") {
			t.Errorf("%s, wrong credentials: %v", address, err)
		}
	}
	src, _ := sourceOf(t, Source{URL: "http://mirror.test/db", Proxy: "http://me:" + secret + "@127.0.0.1:1"}, quick())
	if _, err := src.Fetch(t.Context(), "timestamp.json", 100); !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), secret) {
		t.Errorf("no proxy there: %v", err)
	}
}

// Through a tunnel TLS is with the source, and so are the client certificate and the credentials.
func TestProxyTunnel(t *testing.T) {
	m, ca := tlsServer(t, true, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName+" "+r.Header.Get("Authorization"))
	})
	p := forwardProxy(t, m, "")
	cert, key := certificate(t, "device 7")
	s, _ := sourceOf(t, Source{URL: strings.Replace(m.URL, "127.0.0.1", "example.com", 1), Proxy: p.URL, CAFile: ca,
		ClientCert: &ClientCert{Cert: Secret{Value: cert + key}}, Bearer: Secret{Value: secret}}, quick())
	if b, err := s.Fetch(t.Context(), "timestamp.json", 100); err != nil || string(b) != "device 7 Bearer "+secret {
		t.Errorf("%q, %v", b, err)
	}
}

func TestElsewhereHasNoClientCertificate(t *testing.T) {
	cert, key := certificate(t, "device 7")
	a, err := Source{URL: "https://a.example", ClientCert: &ClientCert{Cert: Secret{Value: cert + key}}}.resolve(noEnv)
	if err != nil || len(a.tls.Certificates) != 1 || len(a.elsewhere.Certificates) != 0 || a.tls.MinVersion != tls.VersionTLS12 || a.elsewhere.MinVersion != tls.VersionTLS12 {
		t.Errorf("%+v, %v", a.tls, err)
	}
}

// What a status means depends on the kind of source and on what was asked for.
func TestStatusByKindOfSource(t *testing.T) {
	b := content(2000)
	target := targetOf("light/a.bundle", b)
	for _, c := range []struct {
		name         string
		code         int
		root, notNow bool   // the walk over the roots ends; for the timestamp it does, too
		remedy       string // for the timestamp
		target       string // what is said of a target
	}{
		{"web server", 404, true, true, "", "unavailable there"},
		{"web server, gone", 410, true, true, "", "unavailable there"},
		{"object store", 403, true, false, "basic, bearer or client_cert", "unavailable there"},
		{"wants credentials", 401, false, false, "basic, bearer or client_cert", "it wants credentials"},
		{"failing", 500, false, false, "", "internal server error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := sourceAt(t, serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(c.code) }).URL, quick())
			_, err := s.Fetch(t.Context(), "2.root.json", 100)
			if errors.Is(err, signing.ErrNotFound) != c.root || !errors.Is(err, ErrUnavailable) {
				t.Errorf("next root: %v, want ErrNotFound %v", err, c.root)
			}
			_, err = s.Fetch(t.Context(), "timestamp.json", 100)
			e, ok := errors.AsType[*SourceError](err)
			if !ok || errors.Is(err, signing.ErrNotFound) != c.notNow || e.Status != c.code || (c.remedy == "") != (e.Remedy == "") || !strings.Contains(e.Remedy, c.remedy) {
				t.Errorf("timestamp: %v (%+v)", err, e)
			}
			_, err = s.open(t.Context(), target, ignore)
			if e, ok := errors.AsType[*SourceError](err); !ok || e.Status != c.code || !strings.Contains(e.Reason, c.target) || !strings.Contains(e.File, target.Path) {
				t.Errorf("target: %v (%+v)", err, e)
			}
			if _, err = s.small(t.Context(), target, 1<<20); !errors.Is(err, ErrUnavailable) {
				t.Errorf("small target: %v", err)
			}
		})
	}
}

// A body that breaks off at whatever byte is taken up there by the next run: nothing is fetched twice.
func TestResumeAtEachByte(t *testing.T) {
	b := content(700)
	target := targetOf("light/a.bundle", b)
	cut := 0
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if cut < 0 {
			plain(b)(w, r)
			return
		}
		w.Header().Set("Content-Length", "700")
		w.Write(b[:cut])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	l := quick()
	l.Retries, l.Resumes = -1, -1
	first, _ := sourceAt(t, m.URL, l)
	for k := range len(b) {
		cut = k
		if _, err := first.open(t.Context(), target, ignore); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("cut at %d: %v, want ErrUnavailable", k, err)
		}
		if n := sizeOf(partial(first, target)); n != int64(k) {
			t.Fatalf("cut at %d: %d bytes kept", k, n)
		}
		cut = -1
		next, tr := sourceAt(t, m.URL, l)
		next.downloads = first.downloads
		f, err := next.open(t.Context(), target, ignore)
		if err != nil {
			t.Fatalf("cut at %d: the next run: %v", k, err)
		}
		got, _ := io.ReadAll(f)
		f.done(true)
		next.close()
		if n := tr.bytes.Load(); !bytes.Equal(got, b) || n != int64(len(b)-k) {
			t.Fatalf("cut at %d: %d bytes fetched, want the missing %d", k, n, len(b)-k)
		}
	}
}

// A name server that never answers costs no more than a source that never does.
func TestNameThatNeverResolves(t *testing.T) {
	mute, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", mute.LocalAddr().String())
	}}
	s, _ := sourceOf(t, Source{URL: "http://mirror.test", Proxy: "direct"}, hasty())
	s.meter.next.(*http.Transport).DialContext = (&dialer{net.Dialer{Resolver: resolver}}).DialContext
	start := time.Now()
	if _, err := s.Fetch(t.Context(), "timestamp.json", 100); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %s with a limit of two seconds", took)
	}
}
