package serving

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/ksn/protocol"
)

func batch(t *testing.T, prefixes ...protocol.Prefix) string {
	t.Helper()
	b, err := protocol.MarshalQuery(prefixes)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each request of the protocol reaches its answerer as what it asks, once, and is counted as that.
func TestRequestsReachTheirAnswers(t *testing.T) {
	one := protocol.Prefix{Type: protocol.FileMD5, Bits: 24, Value: 0x0a0b0c}
	for _, c := range []struct {
		method, path, body string
		status             int
		want, counted      string
	}{
		{"GET", one.Path(), "", 200, "file-md5/24/0a0b0c", "lookup ok 200"},
		{"HEAD", one.Path(), "", 200, "", "lookup ok 200"},
		{"POST", protocol.PathBatch, batch(t, one), 200, "[file-md5/24/0a0b0c]", "batch ok 200"},
		{"GET", protocol.PathInfo, "", 200, "info", "info ok 200"},
		{"POST", protocol.PathStats, `{"n":1}`, 202, "", "stats ok 202"},
		{"GET", "/description", "", 200, "all of it", "other ok 200"},
		{"GET", "/healthz", "", 200, "ok\n", "other ok 200"},
		{"GET", "/readyz", "", 200, "ready\n", "other ok 200"},
	} {
		w := newWorld()
		rec := w.do(c.method, c.path, c.body, protocol.NetworkHeader, network)
		if rec.Code != c.status || rec.Body.String() != c.want || !slices.Equal(w.outcome, []string{c.counted}) {
			t.Errorf("%s %s: %d %q, counted %q; want %d %q, %s", c.method, c.path, rec.Code, rec.Body, w.outcome, c.status, c.want, c.counted)
		}
		if c.method == "POST" && c.path == protocol.PathStats && !slices.Equal(w.stats, []string{`application/json {"n":1}`}) {
			t.Errorf("statistics %q", w.stats)
		}
	}
}

// What is no request of the protocol, or meant for another network, reaches nobody.
func TestStrictRequests(t *testing.T) {
	w := newWorld()
	q := batch(t, protocol.Prefix{Type: protocol.URL, Bits: 16, Value: 1})
	for _, c := range []struct {
		method, path, body string
		header             []string
		code               protocol.Code
	}{
		{"GET", aPrefix + "?a=b", "", nil, protocol.CodeBadRequest},
		{"GET", aPrefix + "?", "", nil, protocol.CodeBadRequest},
		{"GET", aPrefix, "body", nil, protocol.CodeBadRequest},
		{"GET", "/v1/l/file-md5/24/%30a0b0c", "", nil, protocol.CodeNotFound},
		{"GET", "/v1/l/file-md5/24/0A0B0C", "", nil, protocol.CodeBadRequest},
		{"GET", "/v1/l/file-md5/024/0a0b0c", "", nil, protocol.CodeBadRequest},
		{"GET", "/v1/l/file-md5/24/0a0b0c/", "", nil, protocol.CodeNotFound},
		{"GET", "/v1/l/file-md5", "", nil, protocol.CodeNotFound},
		{"GET", "//v1/info", "", nil, protocol.CodeNotFound},
		{"GET", "/v1/../v1/info", "", nil, protocol.CodeNotFound},
		{"GET", "/v1/%69nfo", "", nil, protocol.CodeNotFound},
		{"GET", "/", "", nil, protocol.CodeNotFound},
		{"GET", "/status", "", nil, protocol.CodeNotFound},
		{"POST", aPrefix, "{}", nil, protocol.CodeMethod},
		{"GET", protocol.PathBatch, "", nil, protocol.CodeMethod},
		{"PUT", protocol.PathStats, "{}", nil, protocol.CodeMethod},
		{"POST", "/healthz", "{}", nil, protocol.CodeMethod},
		{"POST", "/readyz", "{}", nil, protocol.CodeMethod},
		{"DELETE", "/description", "", nil, protocol.CodeMethod},
		{"POST", protocol.PathBatch, "{}", nil, protocol.CodeBadRequest},
		{"POST", protocol.PathBatch, "", nil, protocol.CodeBadRequest},
		{"POST", protocol.PathBatch + "?a", q, nil, protocol.CodeBadRequest},
		{"POST", protocol.PathBatch, q, []string{"Content-Type", ""}, protocol.CodeBadRequest},
		{"POST", protocol.PathBatch, q, []string{"Content-Type", "text/plain"}, protocol.CodeBadRequest},
		{"POST", protocol.PathBatch, q, []string{"Content-Type", JSONLines}, protocol.CodeBadRequest},
		{"POST", protocol.PathBatch, q, []string{"Content-Type", "application/json; charset=latin1"}, protocol.CodeBadRequest},
		{"POST", protocol.PathBatch, q, []string{"Content-Type", "application/json; v=1"}, protocol.CodeBadRequest},
		{"POST", protocol.PathBatch, q, []string{"Content-Encoding", "gzip"}, protocol.CodeBadRequest},
		{"POST", protocol.PathBatch, strings.Repeat(" ", protocol.MaxQuery+1), nil, protocol.CodeTooLarge},
		{"POST", protocol.PathStats, strings.Repeat(" ", protocol.MaxStats+1), nil, protocol.CodeTooLarge},
		{"GET", aPrefix, "", []string{protocol.NetworkHeader, strings.Repeat("a", 64)}, protocol.CodeWrongNetwork},
		{"GET", aPrefix + "?", "body", []string{protocol.NetworkHeader, strings.ToUpper(network)}, protocol.CodeWrongNetwork},
		{"POST", protocol.PathStats, "", []string{protocol.NetworkHeader, network + ", " + network}, protocol.CodeWrongNetwork},
	} {
		rec := w.do(c.method, c.path, c.body, c.header...)
		if p := problem(t, rec, c.code); c.code == protocol.CodeNotFound && p.Detail != "Look it up." {
			t.Errorf("%s %s: %+v", c.method, c.path, p)
		}
		if allow := rec.Header().Get("Allow"); (c.code == protocol.CodeMethod) != (allow != "") {
			t.Errorf("%s %s: Allow %q", c.method, c.path, allow)
		}
	}
	if w.lookups > 0 || len(w.stats) > 0 {
		t.Errorf("%d look-ups and %d records of statistics got through", w.lookups, len(w.stats))
	}
	for _, kind := range []string{"application/json", "application/json; charset=utf-8", `APPLICATION/JSON;charset="UTF-8"`} {
		if rec := w.do("POST", protocol.PathBatch, q, "Content-Type", kind); rec.Code != 200 {
			t.Errorf("%s: %d %s", kind, rec.Code, rec.Body)
		}
	}
	w = newWorld(func(w *world) { w.NoStats = true })
	problem(t, w.do("POST", protocol.PathStats, "{}"), protocol.CodeNotFound)
	w = newWorld(func(w *world) { w.ready = errors.New("no database") })
	if p := problem(t, w.do("GET", "/readyz", ""), protocol.CodeUnavailable); p.Detail != "no database" || p.Wait < 1 {
		t.Errorf("%+v", p)
	}
}

// A buffer is used again and never shows the end of a body before.
func TestBuffersHoldOneBody(t *testing.T) {
	w, buffer := newWorld(), []byte(nil)
	for _, body := range []string{strings.Repeat("long", 5000), "x", strings.Repeat("y", protocol.MaxStats)} {
		r := httptest.NewRequest("POST", protocol.PathStats, strings.NewReader(body))
		r.Header.Set("Content-Type", JSONLines)
		x := &answering{w.Begin(httptest.NewRecorder(), r), w}
		x.Buffer = buffer
		x.Route(x)
		buffer = x.Buffer
		if got := w.stats[len(w.stats)-1]; got != JSONLines+" "+body {
			t.Errorf("%d bytes came as %.30q", len(body), got)
		}
	}
}

// Who has an answer is told that nothing has changed, by each spelling of If-None-Match and by no other tag.
func TestETag(t *testing.T) {
	w := newWorld()
	tag := w.do("GET", aPrefix, "").Header().Get("ETag")
	for asked, want := range map[string]int{tag: 304, "W/" + tag: 304, "*": 304, `"x", ` + tag + ` ,"y"`: 304, `"x"`: 200, tag[:len(tag)-1]: 200, "": 200} {
		rec := w.do("GET", aPrefix, "", "If-None-Match", asked)
		if rec.Code != want || want == 304 && (rec.Body.Len() > 0 || rec.Header().Get("Content-Type") != "") || rec.Header().Get("Vary") != protocol.NetworkHeader {
			t.Errorf("%s: %d %v", asked, rec.Code, rec.Header())
		}
	}
	if !slices.Contains(w.outcome, "lookup not_modified 304") {
		t.Errorf("counted %q", w.outcome)
	}
	problem(t, w.do("GET", aPrefix+"?", "", "If-None-Match", "*"), protocol.CodeBadRequest)
}

// What a problem repeats of a client's words is bounded and valid UTF-8.
func TestProblemsAreBounded(t *testing.T) {
	w := newWorld(func(w *world) { w.ready = errors.New(strings.Repeat("é", 5000) + "\xff") })
	if p := problem(t, w.do("GET", "/readyz", ""), protocol.CodeUnavailable); len(p.Detail) > maxDetail || strings.Contains(p.Detail, "\ufffd") {
		t.Errorf("%d bytes", len(p.Detail))
	}
}

// A panic before the answer is a problem; one after its beginning cuts the connection, so that no half of an answer looks whole.
func TestPanics(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(func(w *world) {
		w.boom = func(*Exchange) { panic("with a secret") }
		w.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	problem(t, w.do("GET", aPrefix, ""), protocol.CodeUnavailable)
	if !strings.Contains(log.String(), "KSN server: a request ended in a panic") || strings.Contains(log.String(), "secret") {
		t.Errorf("the log: %s", &log)
	}
	cut := func() (v any) {
		defer func() { v = recover() }()
		w.do("GET", aPrefix, "")
		return nil
	}
	w.boom = func(x *Exchange) {
		x.Send(&Response{Kind: JSON, Cache: NoStore, Body: []byte("half")})
		panic("too late")
	}
	if v := cut(); v != http.ErrAbortHandler {
		t.Errorf("the exchange ended with %v", v)
	}
	if want := []string{"lookup unavailable 503", "lookup unavailable 200"}; !slices.Equal(w.outcome, want) {
		t.Errorf("counted %q, want %q", w.outcome, want)
	}
	w.boom = func(*Exchange) { panic(fmt.Errorf("as net/http wants it: %w", http.ErrAbortHandler)) }
	if v, _ := cut().(error); !errors.Is(v, http.ErrAbortHandler) {
		t.Errorf("the exchange ended with %v", v)
	}
}

// All kinds, outcomes and codes that an exchange has by itself are declared.
func TestOutcomes(t *testing.T) {
	all := Outcomes(protocol.CodeRestricted)
	for _, o := range []Outcome{OutcomeOK, OutcomeNotModified, "bad_request", "not_found", "method_not_allowed", "too_large", "wrong_network", "too_many_requests", "unavailable", "restricted"} {
		if !slices.Contains(all, o) {
			t.Errorf("%s is not declared", o)
		}
	}
	if len(all) != 10 || len(Kinds()) != 5 {
		t.Errorf("%v, %v", all, Kinds())
	}
}
