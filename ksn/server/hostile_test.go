package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/server"
	"example.org/avdb/ksn/serving"
)

// The caller's TLS is used, with HTTP/2, and the answers that come through it are the same.
func TestOverTLS(t *testing.T) {
	w := newWorld(t)
	other := httptest.NewTLSServer(http.NotFoundHandler()) // has a certificate to borrow
	defer other.Close()
	s := serving.NewHTTPServer(w, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: other.TLS.Certificates})
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

// A request in chunks is answered like others, and is the last one of its connection.
func TestChunksEndTheConnection(t *testing.T) {
	w := newWorld(t)
	p := prefix(protocol.FileMD5, 24, malware)
	body, err := protocol.MarshalQuery([]protocol.Prefix{p})
	if err != nil {
		t.Fatal(err)
	}
	for _, encoding := range [][]string{nil, {"chunked"}} {
		r := httptest.NewRequest("POST", protocol.PathBatch, strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		r.TransferEncoding = encoding
		rec := httptest.NewRecorder()
		if w.ServeHTTP(rec, r); rec.Code != 200 || (rec.Header().Get("Connection") == "close") != (encoding != nil) {
			t.Errorf("%v: %d %v", encoding, rec.Code, rec.Header())
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
	f.Add(true, "/v1/lookup", []byte(`{"v":1,"queries":["file-md5/16/0a0b"]}`), strings.Repeat("0", 64))
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
			if s, err = w.keys.Open(rec.Body.Bytes()); err == nil && s.Answer.Prefix.Path() != r.URL.Path {
				err = fmt.Errorf("the answer is for %s", s.Answer.Prefix)
			}
		}
		if err != nil {
			t.Fatalf("%s %q %q: %v", method, path, body, err)
		}
	})
}
