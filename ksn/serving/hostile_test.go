package serving

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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

// serveOver runs a world behind NewHTTPServer, within a bubble of synctest.
func serveOver(t *testing.T, w *world) *pipes {
	t.Helper()
	p := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	s := NewHTTPServer(w, nil)
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
		{"a response that nobody reads", "GET /description HTTP/1.1\r\nHost: x\r\n\r\n", "deaf", 31 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := serveOver(t, newWorld()).dial()
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
	}
}

// Requests that two machines in a row could read in two ways get one answer, with which the connection ends. None of them is answered as a look-up.
func TestSmuggling(t *testing.T) {
	w := newWorld()
	ts := httptest.NewUnstartedServer(nil)
	ts.Config = NewHTTPServer(w, nil)
	ts.Start()
	defer ts.Close()
	hidden := "GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, c := range map[string]struct {
		request string
		want    []int
	}{
		"two lengths":            {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde" + hidden, []int{400}},
		"length and chunks":      {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, []int{400}},
		"chunks alone":           {"POST /v1/stats HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + hidden, []int{202}},
		"chunks to any path":     {"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, []int{200}},
		"chunks in HTTP/1.0":     {"POST /v1/lookup HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, []int{400}},
		"an odd encoding":        {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + hidden, []int{501}},
		"two encodings":          {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + hidden, []int{501}},
		"a space before a colon": {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nabcde" + hidden, []int{400}},
		"a folded line":          {"GET /v1/info HTTP/1.1\r\nHost: x\r\nA: b\r\n Content-Length: 5\r\n\r\n", []int{200}},
		"a length with a sign":   {"POST /v1/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde" + hidden, []int{400}},
		"a body of GET":          {"GET /v1/info HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde" + hidden, []int{400, 200}},
		"a body of GET in chunk": {"GET /v1/info HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + hidden, []int{400}},
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
			before := w.lookups
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
			if w.lookups != before {
				t.Error("a look-up was answered")
			}
		})
	}
}
