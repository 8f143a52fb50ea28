package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/server"
)

// pipes is a listener without a network, so that hours of waiting take no time.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.accept <- far
	return near
}

// serve runs a world's server behind NewHTTPServer, within a bubble of synctest.
func serve(t *testing.T, w *world) *pipes {
	t.Helper()
	p := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	s := server.NewHTTPServer(w, nil)
	done := make(chan error)
	go func() { done <- s.Serve(p) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return p
}

// How long a client may hold a connection: whoever drips headers or a body, or never reads, or says nothing at all, is cut off in time.
func TestSlowClients(t *testing.T) {
	for _, c := range []struct {
		name  string
		begin string
		drip  string // each second
		most  time.Duration
	}{
		{"nothing at all", "", "", 5 * time.Second},
		{"dripped headers", "GET /v1/info HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n", 5 * time.Second},
		{"a dripped first line", "GET /", "x", 5 * time.Second},
		{"a dripped body", "POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n", " ", 15 * time.Second},
		{"a dripped body in chunks", "POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", 15 * time.Second},
		{"idle after a request", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "", 90 * time.Second},
		{"a response that nobody reads", "GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n", "deaf", 31 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := serve(t, newWorld(t)).dial()
				defer conn.Close()
				began, over := time.Now(), make(chan struct{})
				deaf := c.drip == "deaf"
				var writer sync.WaitGroup
				writer.Go(func() {
					_, err := io.WriteString(conn, c.begin)
					for err == nil && !deaf && c.drip != "" {
						time.Sleep(time.Second)
						_, err = io.WriteString(conn, c.drip)
					}
				})
				go func() {
					defer close(over)
					if deaf {
						time.Sleep(c.most)
					}
					_, _ = io.Copy(io.Discard, conn)
				}()
				<-over
				if held := time.Since(began); held > c.most+time.Second {
					t.Errorf("held a connection for %s, want at most %s", held, c.most)
				}
				conn.Close()
				writer.Wait()
			})
		})
	}
}

// raw sends bytes to a real server and reads all that comes back: status lines and bodies.
func raw(t *testing.T, address, request string) (responses []*http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		_, _ = io.WriteString(conn, request)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	r := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return responses
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		resp.Body = io.NopCloser(strings.NewReader(string(b)))
		responses = append(responses, resp)
		if resp.Close {
			return responses
		}
	}
}

// Requests that two machines in a row could read in two ways get one answer, or the connection ends. None of them is answered as a look-up.
func TestSmuggling(t *testing.T) {
	w := newWorld(t)
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = server.NewHTTPServer(w, nil)
	ts.Start()
	defer ts.Close()
	hidden := "GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, c := range map[string]struct {
		request string
		want    []int
	}{
		"two lengths":            {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde" + hidden, []int{400}},
		"length and chunks":      {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, []int{400, 200}},
		"an odd encoding":        {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + hidden, []int{501}},
		"two encodings":          {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + hidden, []int{501}},
		"a space before a colon": {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nabcde" + hidden, []int{400}},
		"a folded line":          {"GET /v1/info HTTP/1.1\r\nHost: x\r\nA: b\r\n Content-Length: 5\r\n\r\n", []int{200}},
		"a length with a sign":   {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde" + hidden, []int{400}},
		"a body of GET":          {"GET /v1/info HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde" + hidden, []int{400, 200}},
		"a body of GET in chunk": {"GET /v1/info HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + hidden, []int{400, 200}},
		"NUL in a header":        {"GET /v1/info HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", []int{400}},
		"NUL in a path":          {"GET /v1/info\x00 HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		"no host":                {"GET /v1/info HTTP/1.1\r\n\r\n", []int{400}},
		"two hosts":              {"GET /v1/info HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", []int{400}},
		"a whole URL":            {"GET http://other.example/v1/l/x HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		"asterisk":               {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		"a tunnel":               {"CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n", []int{404}},
		"headers without end":    {"GET /v1/info HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 40) + "\r\n", []int{431}},
		"an old protocol":        {"GET /v1/info\r\n\r\n", []int{400}},
		"a very long body":       {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999999999\r\n\r\n" + strings.Repeat(" ", 1<<20) + hidden, []int{413}},
		"a long body in chunks":  {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n" + strings.Repeat(" ", 1<<20) + hidden, []int{413}},
		"a body that ends early": {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", []int{400}},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.tally.answers
			var got []int
			for _, resp := range raw(t, ts.Listener.Addr().String(), c.request) {
				got = append(got, resp.StatusCode)
				if h := resp.Header; h.Get("Server")+h.Get("Set-Cookie") != "" {
					t.Errorf("%v", h)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
			if w.tally.answers != before {
				t.Error("a look-up was answered")
			}
		})
	}
}

// The caller's TLS is used, with HTTP/2, and the answers that come through it are the same.
func TestOverTLS(t *testing.T) {
	w := newWorld(t)
	other := httptest.NewTLSServer(http.NotFoundHandler()) // has a certificate to borrow
	defer other.Close()
	s := server.NewHTTPServer(w, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: other.TLS.Certificates})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.ServeTLS(listener, "", "") }()
	defer func() { s.Close(); <-done }()
	client := other.Client()
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	defer client.CloseIdleConnections()
	p := prefix(protocol.FileMD5, 24, malware)
	for _, method := range []string{"GET", "HEAD"} {
		r, err := http.NewRequestWithContext(t.Context(), method, "https://"+listener.Addr().String()+p.Path(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := w.do(method, p.Path(), "").Body.String(); err != nil || string(b) != want || resp.ProtoMajor != 2 || resp.TLS.Version != tls.VersionTLS13 || resp.StatusCode != 200 {
			t.Errorf("%s over %s: %d %s, %v", method, resp.Proto, resp.StatusCode, b, err)
		}
	}
}

// Many clients at once, while overrides, tokens and the database change: each answer is whole. The race detector looks on.
func TestAtOnce(t *testing.T) {
	w := newWorld(t)
	w.now = noon
	stop, group := make(chan struct{}), sync.WaitGroup{}
	one := key(protocol.FileSHA256, sum(dbformat.SHA256, malware, "one"))
	group.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := errors.Join(w.SetOverrides([]server.Override{{Key: one, Verdict: protocol.Trusted}}), w.SetTokens([]server.Token{token("desk", "letmein")}), w.SetOverrides(nil)); err != nil {
				t.Error(err)
			}
			w.db.mu.Lock()
			w.db.release++
			w.db.mu.Unlock()
		}
	})
	p, q := prefix(protocol.FileSHA256, 24, malware), prefix(protocol.FileSHA256, 24, several)
	body, err := protocol.MarshalQuery([]protocol.Prefix{p, q})
	if err != nil {
		t.Fatal(err)
	}
	var good atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 100 {
				if a := w.ask(p, "Authorization", "Bearer letmein"); len(a.Entries) != 1 {
					t.Errorf("%d entries", len(a.Entries))
				}
				rec := w.do("POST", protocol.PathBatch, string(body), "Authorization", "Bearer letmein")
				if rec.Code == 503 {
					continue // the database changed twice
				}
				all, err := w.keys.OpenAll(rec.Body.Bytes(), []protocol.Prefix{p, q})
				if err != nil || all[0].Answer.Release != all[1].Answer.Release {
					t.Errorf("%v, %d", err, rec.Code)
				}
				good.Add(1)
			}
		})
	}
	clients.Wait()
	close(stop)
	group.Wait()
	if good.Load() == 0 {
		t.Error("no batch was answered")
	}
}

// A path and a body, whatever they are, give an answer that verifies and is for the question, or a problem with a known code.
func FuzzRequests(f *testing.F) {
	w := newWorld(f, func(c *server.Config) { c.Intake = nil })
	for _, x := range exchanges(w) {
		if len(x.body) < 4096 {
			f.Add(x.method == "POST", strings.TrimSuffix(x.path, "?"), []byte(x.body), "")
		}
	}
	f.Add(false, "/v1/l/software/32/00000000", []byte{}, w.provider.Fingerprint)
	f.Add(true, "/v1/lookup", []byte(`{"v":1,"queries":[{"type":"file-md5","bits":16,"prefix":"0a0b"}]}`), strings.Repeat("0", 64))
	f.Fuzz(func(t *testing.T, post bool, path string, body []byte, network string) {
		method := "GET"
		if post {
			method = "POST"
		}
		r, err := http.NewRequestWithContext(context.Background(), method, "http://x", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		if r.URL, err = r.URL.Parse(path); err != nil || r.URL.Path == "/openapi.yaml" || r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
			return
		}
		r.Header.Set("Content-Type", "application/json")
		if network != "" {
			r.Header.Set(protocol.NetworkHeader, network)
		}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		if rec.Code != 200 {
			if _, err := isProblem(rec.Code, rec.Header(), rec.Body.Bytes()); err != nil {
				t.Fatalf("%s %q %q: %d %s: %v", method, path, body, rec.Code, rec.Body, err)
			}
			return
		}
		if network != "" && network != w.provider.Fingerprint {
			t.Fatalf("answered the network %q", network)
		}
		switch {
		case r.URL.Path == protocol.PathInfo:
			_, err = w.keys.OpenInfo(rec.Body.Bytes(), w.provider.Fingerprint, w.now)
		case post:
			var asked []protocol.Prefix
			if asked, err = protocol.ParseQuery(body); err == nil {
				_, err = w.keys.OpenAll(rec.Body.Bytes(), asked)
			}
		default:
			var s protocol.Signed
			if s, err = w.keys.Open(rec.Body.Bytes()); err == nil && s.Answer.Of().Path() != r.URL.Path {
				err = fmt.Errorf("the answer is for %s", s.Answer.Of())
			}
		}
		if err != nil {
			t.Fatalf("%s %q %q: %v", method, path, body, err)
		}
	})
}
