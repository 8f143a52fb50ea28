package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdFingerprintOf puts the SHA-256 of a file into a variable: fingerprint1 VARIABLE FILE.
func cmdFingerprintOf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fingerprint1 VARIABLE FILE")
	}
	ts.Setenv(args[0], fmt.Sprintf("%x", sha256.Sum256([]byte(ts.ReadFile(args[1])))))
}

// cmdGuarded serves a folder to who knows user name and password: guarded VARIABLE DIR USER:PASSWORD.
func cmdGuarded(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: guarded VARIABLE DIR USER:PASSWORD")
	}
	files := http.FileServer(http.Dir(ts.MkAbs(args[1])))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u+":"+p != args[2] {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		files.ServeHTTP(w, r)
	}))
	ts.Defer(srv.Close)
	ts.Setenv(args[0], srv.URL)
}

// cmdPolicy writes a config file with one source: policy FILE URL KEY VALUE, the value being the inside of a mapping; or
// policy FILE URL max_age.
func cmdPolicy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: policy FILE URL KEY [VALUE]")
	}
	text := "max_age: 10d"
	if len(args) == 4 {
		text = args[2] + ": {" + args[3] + "}"
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("sources:\n  - url: "+args[1]+"\n    "+text+"\n"), 0o644))
}

// cmdWithBasic gives the first source in settings.json the user name me and a password of the environment:
// withbasic FILE VARIABLE.
func cmdWithBasic(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: withbasic FILE VARIABLE")
	}
	var v map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	v["sources"].([]any)[0].(map[string]any)["basic"] = map[string]any{"user": "me", "env": args[1]}
	b, err := json.Marshal(v)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// cmdSecure serves a folder over TLS and writes the certificate of who vouches for it: secure VARIABLE DIR FILE.
func cmdSecure(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: secure VARIABLE DIR FILE")
	}
	srv := httptest.NewTLSServer(http.FileServer(http.Dir(ts.MkAbs(args[1]))))
	ts.Defer(srv.Close)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o644))
	ts.Setenv(args[0], srv.URL)
}

// cmdForward starts a forward proxy that knows one host, mirror.test, with the files of a folder, and writes a line for
// each request: forward VARIABLE DIR LOG.
func cmdForward(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: forward VARIABLE DIR LOG")
	}
	files, log := http.FileServer(http.Dir(ts.MkAbs(args[1]))), ts.MkAbs(args[2])
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err == nil {
			fmt.Fprintln(f, r.Method, r.URL)
			f.Close()
		}
		if !strings.HasPrefix(r.Host, "mirror.test") {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		files.ServeHTTP(w, r)
	}))
	ts.Defer(srv.Close)
	ts.Setenv(args[0], srv.URL)
}

// cmdProxied writes a config file with one source and its proxy: proxied FILE URL PROXY.
func cmdProxied(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: proxied FILE URL PROXY")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("sources:\n  - url: "+args[1]+"\n    proxy: "+args[2]+"\n"), 0o644))
}

// cmdOld is cmdSecure with a server that speaks no newer TLS than 1.1: old VARIABLE DIR FILE.
func cmdOld(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: old VARIABLE DIR FILE")
	}
	srv := httptest.NewUnstartedServer(http.FileServer(http.Dir(ts.MkAbs(args[1]))))
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	ts.Defer(srv.Close)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o644))
	ts.Setenv(args[0], srv.URL)
}

// cmdAny names a server on loopback by the address that no proxy is spared for: any VARIABLE URL.
func cmdAny(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: any VARIABLE URL")
	}
	ts.Setenv(args[0], strings.Replace(args[1], "127.0.0.1", "0.0.0.0", 1))
}
