package statuspage_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"example.org/avdb/statuspage"
)

var paths = []string{"/", "/status", "/status.json", "/metrics", "/healthz", "/readyz"}

func TestMethods(t *testing.T) {
	h := newProxy(t).Handler()
	for _, path := range paths {
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW", "get"} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", path, nil)
			r.Method = method
			h.ServeHTTP(w, r)
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow %q", method, path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
	for _, path := range []string{"/statuses", "/status/", "/status.json/", "/metrics/x", "//", "/../status", "/debug/pprof/", ""} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = path
		h.ServeHTTP(w, r)
		if w.Code != http.StatusNotFound {
			t.Errorf("%q: %d", path, w.Code)
		}
	}
}

// Over a real connection: the headers that every answer has, those that none has, and HEAD with the headers of GET and no body.
func TestHeaders(t *testing.T) {
	s := httptest.NewServer(newProxy(t).Handler())
	defer s.Close()
	defer s.Client().CloseIdleConnections()
	for _, path := range append(paths, "/nothing") {
		var headers []http.Header
		for _, method := range []string{"GET", "HEAD"} {
			r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || (len(body) == 0) != (method == "HEAD") {
				t.Errorf("%s %s: %d bytes, %v", method, path, len(body), err)
			}
			h := resp.Header
			headers = append(headers, h)
			for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
				"Cross-Origin-Resource-Policy": "same-origin", "Server": "", "X-Powered-By": "", "Set-Cookie": "", "Access-Control-Allow-Origin": ""} {
				if got := h.Get(name); got != want {
					t.Errorf("%s %s: %s: %q, want %q", method, path, name, got, want)
				}
			}
			if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; ") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s %s: policy %q", method, path, csp)
			}
		}
		if get, head := headers[0].Get("Content-Type"), headers[1].Get("Content-Type"); get == "" || get != head {
			t.Errorf("%s: type %q, and %q for HEAD", path, get, head)
		}
	}
}

// The page runs nothing, fetches nothing, and its style is the one that the policy names.
func TestPageNeedsNothing(t *testing.T) {
	_, header, page := get(t, newProxy(t).Handler(), "/status")
	for _, bad := range []string{"<script", "javascript:", " style=", "src=", "url(", "@import", "<iframe", "<object", "<form", "set-cookie", "ZgotmplZ"} {
		if strings.Contains(strings.ToLower(page), strings.ToLower(bad)) {
			t.Errorf("the page has %q", bad)
		}
	}
	if on := regexp.MustCompile(`(?i)<[^>]*\son[a-z]+\s*=`).FindString(page); on != "" {
		t.Errorf("a handler: %s", on)
	}
	for _, link := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if l := link[1]; strings.Contains(l, "//") && !strings.HasPrefix(html.UnescapeString(l), "data:image/svg+xml,") || strings.HasPrefix(l, "/") {
			t.Errorf("a link that leaves, or that breaks behind a prefix: %s", l)
		}
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(page)
	if len(style) != 2 {
		t.Fatal("no style")
	}
	digest := sha256.Sum256([]byte(style[1]))
	if csp := header.Get("Content-Security-Policy"); !strings.Contains(csp, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(digest[:])+"';") {
		t.Errorf("the policy %q does not name the style of the page, %x", csp, digest)
	}
}

func TestRefresh(t *testing.T) {
	h := newProxy(t).Handler()
	const meta = `<meta http-equiv="refresh" content="10">`
	for path, want := range map[string]bool{"/": true, "/status": true, "/status?refresh=off": false, "/?refresh=off": false,
		"/status?refresh=1": true, "/status?refresh=off&x=1": true} {
		_, _, page := get(t, h, path)
		if strings.Contains(page, meta) != want {
			t.Errorf("%s: want refresh %v", path, want)
		}
		if strings.Contains(page, "x=1") || strings.Contains(page, "refresh=1") {
			t.Errorf("%s: the page repeats what was asked", path)
		}
	}
}

func TestReadiness(t *testing.T) {
	p := newProxy(t)
	h := p.Handler()
	if code, _, body := get(t, h, "/readyz"); code != 200 || body != "ready\n" {
		t.Errorf("%d %q", code, body)
	}
	p.notReady = "no database is installed\nHTTP/1.1 200 OK"
	if code, _, body := get(t, h, "/readyz"); code != 503 || body != `not ready: no database is installed\nHTTP/1.1 200 OK`+"\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, _, body := get(t, h, "/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	_, _, page := get(t, h, "/")
	_, _, j := get(t, h, "/status.json")
	_, _, metrics := get(t, h, "/metrics")
	if !strings.Contains(page, `<span class="state critical">not ready</span> <bdi>no database is installed`) ||
		!strings.Contains(j, `"level":"critical","ready":false,"not_ready":"no database`) || !strings.Contains(metrics, "\navdb_ksn_proxy_ready 0\n") {
		t.Error("page, JSON or metrics do not say it")
	}
}

// A server that hangs in Status keeps a look waiting, but does not gather waiting requests for ever; and healthz does not need it.
func TestStatusThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		c, err := statuspage.New(statuspage.Config{Title: "T", Server: "t", Status: func() statuspage.Status { <-hang; return statuspage.Status{} }})
		if err != nil {
			t.Fatal(err)
		}
		h := c.Handler()
		first := make(chan int)
		go func() { code, _, _ := get(t, h, "/status"); first <- code }()
		synctest.Wait()
		for _, path := range []string{"/status", "/status.json", "/metrics", "/readyz"} {
			began := time.Now()
			if code, _, body := get(t, h, path); code != 503 || !strings.HasPrefix(body, "not ready: the server has been asked") || time.Since(began) != 5*time.Second {
				t.Errorf("%s: %d %q after %v", path, code, body, time.Since(began))
			}
		}
		if code, _, _ := get(t, h, "/healthz"); code != 200 {
			t.Errorf("healthz: %d", code)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { c.Run(ctx); close(ended) }()
		time.Sleep(61 * time.Second) // Run waits as well
		cancel()
		<-ended
		close(hang)
		if code := <-first; code != 200 {
			t.Errorf("the first: %d", code)
		}
		if code, _, _ := get(t, h, "/status"); code != 200 {
			t.Errorf("afterwards: %d", code)
		}
	})
}

// A Status that panics spoils one answer, not the next.
func TestStatusThatPanics(t *testing.T) {
	broken := true
	c, err := statuspage.New(statuspage.Config{Title: "T", Server: "t", Status: func() statuspage.Status {
		if broken {
			panic("a bug")
		}
		return statuspage.Status{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() != "a bug" {
				t.Error("no panic")
			}
		}()
		get(t, c.Handler(), "/status")
	}()
	broken = false
	if code, _, _ := get(t, c.Handler(), "/status"); code != 200 {
		t.Error(code)
	}
}

// Run notes each minute of the clock, at its end, and ends with its context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &statuspage.Metrics{}
		n := m.Counters(statuspage.Family{Name: "x", Title: "X", Help: "X."}).With()
		var asked atomic.Int32
		time.Sleep(20 * time.Second)
		c, err := statuspage.New(statuspage.Config{Title: "T", Server: "t", Metrics: m, Status: func() statuspage.Status { asked.Add(1); return statuspage.Status{} }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { c.Run(ctx); close(ended) }()
		n.Add(5)
		time.Sleep(39 * time.Second)
		synctest.Wait()
		if n := asked.Load(); n != 0 {
			t.Errorf("asked %d times before the minute was over", n)
		}
		for i := range 3 {
			time.Sleep(time.Minute) // a second before the end of the next one
			n.Add(int64(10 * (i + 1)))
		}
		synctest.Wait()
		_, _, body := get(t, c.Handler(), "/status.json")
		if !strings.Contains(body, `"value":65,"per_minute":[5,10,20]`) {
			t.Error(body)
		}
		cancel()
		<-ended
		if n := asked.Load(); n != 4 {
			t.Errorf("asked %d times, want once a minute and for one look", n)
		}
	})
}

// Counting, sampling and looking at once: for the race detector, and nothing is lost.
func TestConcurrency(t *testing.T) {
	p := newProxy(t)
	h := p.Handler()
	counter, histogram := p.answers.With("file", "ok"), p.durations.With("by_server")
	before := counter.Value()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 5000 {
				counter.Inc()
				histogram.Observe(time.Duration(i) * time.Microsecond)
				p.inFlight.Add(int64(1 - i%2*2))
			}
		})
		wg.Go(func() {
			for i := range 12 {
				if code, _, body := get(t, h, paths[i%len(paths)]); code != 200 {
					t.Errorf("%s: %d %s", paths[i%len(paths)], code, body)
				}
				p.Sample(noon.Add(time.Duration(i) * time.Minute))
			}
		})
	}
	wg.Wait()
	if n := counter.Value() - before; n != 20_000 {
		t.Errorf("%d counted, want 20000", n)
	}
}

// Many looks at once ask the server one at a time.
func TestStatusIsAskedOneAtATime(t *testing.T) {
	var mu sync.Mutex
	inside := 0
	c, err := statuspage.New(statuspage.Config{Title: "T", Server: "t", Status: func() statuspage.Status {
		if !mu.TryLock() {
			t.Error("asked twice at once")
			return statuspage.Status{}
		}
		defer mu.Unlock()
		inside++
		time.Sleep(time.Millisecond)
		return statuspage.Status{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() { get(t, c.Handler(), paths[i%len(paths)]) })
	}
	wg.Wait()
	if inside != 25 {
		t.Errorf("asked %d times for 30 looks, of which 5 were healthz", inside)
	}
}

// What others may write — the addresses and errors of other servers — is shown as text, whatever it is, and no longer than it may be.
func TestHostileTexts(t *testing.T) {
	hostile := []string{
		`</title></style><script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, "a\r\nSet-Cookie: x=y",
		"\x00\x1b[2J\x07", "file\u202egpj.exe", "\u2067right\u2069", `{{.Style}}`, `]]>-->`, "\xff\xfe\xed\xa0\x80", strings.Repeat("A", 100_000),
		"e" + strings.Repeat("\u0301", 5000), "\" 1\navdb_ksn_proxy_ready 1\n",
	}
	_, _, harmless := get(t, hostileProxy(t, "x").Handler(), "/status")
	for _, s := range hostile {
		t.Run(fmt.Sprintf("%.20q", s), func(t *testing.T) { checkHostile(t, hostileProxy(t, s).Handler(), harmless) })
	}
	c, err := statuspage.New(statuspage.Config{Title: hostile[0], Version: hostile[12], Server: "ksn_proxy", Status: func() statuspage.Status {
		long := statuspage.Table{Title: hostile[1]}
		long.Columns = append(long.Columns, hostile...)
		for range 100_000 {
			long.Rows = append(long.Rows, []statuspage.Value{statuspage.Text(hostile[0]), statuspage.State(-5, hostile[5])})
		}
		long.Rows[0] = nil
		s := statuspage.Section{Title: hostile[0], Tables: []statuspage.Table{long, {}, {Rows: [][]statuspage.Value{{}, {statuspage.Count(1)}}}}}
		for range 1000 {
			s.Rows = append(s.Rows, statuspage.Row{Name: hostile[2], Value: statuspage.Text(hostile[6])})
		}
		st := statuspage.Status{}
		for range 100 {
			st.Sections, st.Problems = append(st.Sections, s), append(st.Problems, statuspage.Problem{Text: hostile[3]})
		}
		return st
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		_, _, body := get(t, c.Handler(), path)
		if len(body) > 4<<20 {
			t.Errorf("%s: %d bytes", path, len(body))
		}
		if strings.Contains(body, "<script") || path == "/metrics" && strings.Contains(body, "\navdb_ksn_proxy_ready 1\navdb_ksn_proxy_ready 1") {
			t.Errorf("%s: not escaped", path)
		}
	}
}

// hostileProxy has s wherever others may write.
func hostileProxy(t *testing.T, s string) *proxy {
	t.Helper()
	p := newProxy(t)
	p.routeError, p.notReady, p.problems = s, s, []statuspage.Problem{{Level: 77, Text: s}}
	return p
}

// checkHostile holds a page with hostile texts against one with harmless ones in their place.
func checkHostile(t *testing.T, h http.Handler, harmless string) {
	t.Helper()
	_, _, page := get(t, h, "/status")
	if got, want := readPage(t, page).tags, readPage(t, harmless).tags; !slices.Equal(got, want) {
		t.Errorf("other tags than with harmless texts: %q, want %q", got, want)
	}
	if more := len(page) - len(harmless); more > 8000 {
		t.Errorf("the page grew by %d bytes", more)
	}
	if i := strings.IndexFunc(page, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("the page holds %.10q", page[i:])
	}
	_, _, body := get(t, h, "/status.json")
	if !json.Valid([]byte(body)) || strings.ContainsAny(body, "<>") || strings.Count(body, "\n") != 1 {
		t.Error("the JSON is not one line of JSON without tags")
	}
	_, _, metrics := get(t, h, "/metrics")
	if strings.Contains(metrics, "\navdb_ksn_proxy_ready 1\n") {
		t.Error("a text became a metric")
	}
}

// Requests as they come over a connection, bodies and all, and one answer to each.
func TestRawRequests(t *testing.T) {
	s := httptest.NewServer(newProxy(t).Handler())
	defer s.Close()
	for request, want := range map[string]string{
		"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":                              "HTTP/1.1 200 OK",
		"GET /readyz HTTP/1.0\r\n\r\n":                                                              "HTTP/1.0 200 OK",
		"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello":    "HTTP/1.1 200 OK",
		"POST /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello":   "HTTP/1.1 405 Method Not Allowed",
		"GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":                   "HTTP/1.1 404 Not Found",
		"GET http://other.example/status HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n":      "HTTP/1.1 200 OK",
		"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: gzip, x\r\n\r\n": "HTTP/1.1 200 OK",
	} {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		b := bufio.NewReader(conn)
		line, err := b.ReadString('\n')
		rest, _ := io.ReadAll(b)
		conn.Close()
		if err != nil || strings.TrimSpace(line) != want || strings.Contains(string(rest), "Content-Encoding") {
			t.Errorf("%q: %q, %v", request, line, err)
		}
	}
}
