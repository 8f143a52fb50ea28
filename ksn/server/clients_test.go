package server_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/server"
)

func token(name, text string) server.Token {
	return server.Token{Name: name, SHA256: sha256.Sum256([]byte(text))}
}

// from sends a look-up from an address.
func (w *world) from(address string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", prefix(protocol.FileMD5, 24, malware).Path(), http.NoBody)
	r.RemoteAddr = address
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

// What is meant for another network is refused before anything else of it is looked at, on each path of the protocol.
func TestOtherNetworkIsRefused(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Tokens = []server.Token{token("desk", "letmein")} })
	for _, path := range []string{prefix(protocol.FileMD5, 24, malware).Path(), "/v1/l/bad", protocol.PathBatch, protocol.PathInfo, protocol.PathStats} {
		method := "GET"
		if path == protocol.PathBatch || path == protocol.PathStats {
			method = "POST"
		}
		for _, other := range []string{strings.Repeat("0", 64), "x", strings.ToUpper(w.provider.Fingerprint), w.provider.Fingerprint + ", " + w.provider.Fingerprint} {
			rec := w.do(method, path, "{", protocol.NetworkHeader, other, "Authorization", "Bearer letmein")
			if w.problem(rec, protocol.CodeWrongNetwork); strings.Contains(rec.Body.String(), "answers") {
				t.Errorf("%s answers another network: %s", path, rec.Body)
			}
		}
	}
	if len(w.taken) > 0 {
		t.Error("statistics of another network were taken")
	}
	r := httptest.NewRequest("GET", prefix(protocol.FileMD5, 24, malware).Path(), http.NoBody)
	r.Header[protocol.NetworkHeader] = []string{w.provider.Fingerprint, strings.Repeat("0", 64)}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	w.problem(rec, protocol.CodeWrongNetwork)
	w.ask(prefix(protocol.FileMD5, 24, malware), protocol.NetworkHeader, w.provider.Fingerprint, "Authorization", "Bearer letmein")
}

// With tokens, whoever has none learns where to get one and nothing else.
func TestTokens(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Tokens = []server.Token{token("desk", "letmein"), token("lab", "two words")} })
	for _, header := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "bearer  letmein", "Basic letmein", "letmein", "Bearer " + strings.Repeat("x", 2000)} {
		rec := w.do("GET", prefix(protocol.FileMD5, 24, malware).Path(), "", "Authorization", header)
		if p := w.problem(rec, protocol.CodeUnauthorized); rec.Header().Get("WWW-Authenticate") != `Bearer realm="KSN"` ||
			!strings.Contains(p.Detail, "register") || !strings.Contains(p.Detail, "it@example.org") {
			t.Errorf("%q: %v %+v", header, rec.Header(), p)
		}
	}
	for _, path := range []string{protocol.PathInfo, "/v1/l/bad"} {
		w.problem(w.do("GET", path, ""), protocol.CodeUnauthorized)
	}
	for _, path := range []string{protocol.PathBatch, protocol.PathStats} {
		w.problem(w.do("POST", path, "{"), protocol.CodeUnauthorized)
	}
	for _, header := range []string{"Bearer letmein", "bearer letmein", "Bearer two words"} {
		w.ask(prefix(protocol.FileMD5, 24, malware), "Authorization", header)
	}
	r := httptest.NewRequest("GET", protocol.PathInfo, http.NoBody)
	r.Header["Authorization"] = []string{"Bearer letmein", "Bearer letmein"}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	w.problem(rec, protocol.CodeUnauthorized)

	if err := w.SetTokens([]server.Token{token("lab", "two words"), token("lab", "other")}); err == nil {
		t.Error("two tokens with one name are taken")
	}
	if err := w.SetTokens([]server.Token{{Name: "empty", SHA256: sha256.Sum256(nil)}}); err == nil {
		t.Error("the empty token is taken")
	}
	if err := w.SetTokens([]server.Token{token("lab", "two words")}); err != nil {
		t.Fatal(err)
	}
	w.problem(w.do("GET", protocol.PathInfo, "", "Authorization", "Bearer letmein"), protocol.CodeUnauthorized)
	w.ask(prefix(protocol.FileMD5, 24, malware), "Authorization", "Bearer two words")
}

// With tokens the status page is the operator's: it is shown to this machine and to who has a token, to others as soon as there are no tokens.
func TestStatusPageNeedsAToken(t *testing.T) {
	w := newWorld(t, func(c *server.Config) {
		c.Status = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "page") })
		c.Tokens = []server.Token{token("desk", "letmein")}
	})
	w.problem(w.do("GET", "/metrics", ""), protocol.CodeUnauthorized)
	w.problem(w.do("GET", "/status", "", "Authorization", "Bearer wrong"), protocol.CodeUnauthorized)
	if rec := w.do("GET", "/metrics", "", "Authorization", "Bearer letmein"); rec.Body.String() != "page" {
		t.Errorf("with a token: %d %s", rec.Code, rec.Body)
	}
	r := httptest.NewRequest("GET", "/metrics", http.NoBody)
	r.RemoteAddr, r.Host = "127.0.0.1:999", "127.0.0.1:8080"
	rec := httptest.NewRecorder()
	if w.ServeHTTP(rec, r); rec.Body.String() != "page" {
		t.Errorf("from this machine: %d %s", rec.Code, rec.Body)
	}
	if err := w.SetTokens(nil); err != nil {
		t.Fatal(err)
	}
	if rec := w.do("GET", "/metrics", ""); rec.Body.String() != "page" {
		t.Errorf("without tokens: %d %s", rec.Code, rec.Body)
	}
}

// Each client has its own limit, is told how long to wait, and is let in again after that.
func TestLimits(t *testing.T) {
	w := newWorld(t, func(c *server.Config) {
		c.Limit = server.Limit{PerSecond: 0.5, Burst: 3}
		vip := token("vip", "letmein")
		vip.Limit = server.Limit{PerSecond: -1}
		c.Tokens = []server.Token{vip, token("desk", "slow")}
	})
	refused := func(rec *httptest.ResponseRecorder, wait int64) {
		t.Helper()
		if p := w.problem(rec, protocol.CodeTooMany); p.Wait != wait {
			t.Errorf("wait %d, want %d", p.Wait, wait)
		}
	}
	// A token is a client wherever it comes from; guessing tokens is limited by address.
	for i := range 3 {
		if rec := w.from(fmt.Sprintf("192.0.2.%d:1000", i), "Authorization", "Bearer slow"); rec.Code != 200 {
			t.Errorf("request %d: %d", i, rec.Code)
		}
		w.problem(w.from("192.0.2.77:1000", "Authorization", fmt.Sprint("Bearer guess ", i)), protocol.CodeUnauthorized)
	}
	refused(w.from("192.0.2.99:1000", "Authorization", "Bearer slow"), 2)
	refused(w.from("192.0.2.77:1001", "Authorization", "Bearer guess"), 2)
	for range 50 {
		if rec := w.from("192.0.2.77:1000", "Authorization", "Bearer letmein"); rec.Code != 200 {
			t.Fatalf("without a limit: %d", rec.Code)
		}
	}
	w.now = noon.Add(1500 * time.Millisecond)
	refused(w.from("192.0.2.99:1000", "Authorization", "Bearer slow"), 1)
	w.now = noon.Add(2 * time.Second)
	if rec := w.from("192.0.2.99:1000", "Authorization", "Bearer slow"); rec.Code != 200 {
		t.Errorf("after the wait: %d", rec.Code)
	}
	// Without tokens it is the address, of which an IPv6 user has 2^64.
	if err := w.SetTokens(nil); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		for _, address := range []string{fmt.Sprintf("[2001:db8::%d]:9", i), fmt.Sprintf("192.0.2.1:%d", i), fmt.Sprintf("[::ffff:192.0.2.2]:%d", i+1)} {
			if rec := w.from(address); rec.Code != 200 {
				t.Errorf("%s: %d", address, rec.Code)
			}
		}
	}
	for _, address := range []string{"[2001:db8::ffff:1]:9", "192.0.2.1:9", "192.0.2.2:9"} {
		refused(w.from(address), 2)
	}
	if rec := w.from("[2001:db8:0:1::1]:9"); rec.Code != 200 {
		t.Errorf("another network: %d", rec.Code)
	}
	// Paths for load balancers are not limited.
	for range 10 {
		if rec := w.do("GET", "/healthz", ""); rec.Code != 200 {
			t.Errorf("healthz: %d", rec.Code)
		}
	}
}

// Answers with very many entries are charged for.
func TestLongAnswersAreCharged(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Limit = server.Limit{PerSecond: 1, Burst: 5} })
	for i := range 3 * 1024 {
		w.db.rows[dbformat.MD5] = append(w.db.rows[dbformat.MD5], server.Known{Sum: sum(dbformat.MD5, 0xee000000, fmt.Sprint(i)), Name: "x"})
	}
	w.db.put(dbformat.MD5)
	w.ask(prefix(protocol.FileMD5, 24, 0xee000000)) // 1 + 3
	w.ask(prefix(protocol.FileMD5, 24, malware))
	if p := w.problem(w.do("GET", protocol.PathInfo, ""), protocol.CodeTooMany); p.Wait != 1 {
		t.Errorf("wait %d", p.Wait)
	}
}

// The log says nothing of who asked or what, unless that is configured, and nothing at all above debug level while all is well.
func TestLogIsSilentAboutPeople(t *testing.T) {
	for _, configured := range []bool{false, true} {
		var out bytes.Buffer
		w := newWorld(t, func(c *server.Config) {
			c.Log, c.LogRequests = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), configured
			c.Tokens = []server.Token{token("desk-of-ann", "letmein")}
		})
		p := prefix(protocol.FileSHA256, 24, malware)
		w.ask(p, "Authorization", "Bearer letmein")
		q, err := protocol.MarshalQuery([]protocol.Prefix{p})
		if err != nil {
			t.Fatal(err)
		}
		w.do("POST", protocol.PathBatch, string(q), "Authorization", "Bearer letmein")
		w.do("POST", protocol.PathStats, `{"secret":"record"}`, "Authorization", "Bearer letmein")
		w.from("192.0.2.55:99")
		text := out.String()
		if n := strings.Count(text, `"KSN request"`); n != 4 || strings.Count(text, `"level":"DEBUG"`) != 4 {
			t.Errorf("%d lines:\n%s", n, text)
		}
		for _, secret := range []string{"0a0b0c", "desk-of-ann", "192.0.2.55"} {
			if strings.Contains(text, secret) != configured {
				t.Errorf("configured %v, the log and %q:\n%s", configured, secret, text)
			}
		}
		if strings.Contains(text, "letmein") || strings.Contains(text, "secret") || strings.Contains(text, "Win.Trojan") {
			t.Errorf("the log tells secrets:\n%s", text)
		}
	}
}
