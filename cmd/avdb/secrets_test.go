package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.org/avdb/fixtures"
)

const leak = "s3cretW0rd"

// A secretWorld is a source with credentials that is good or bad in different ways, and a device.
type secretWorld struct {
	mode  atomic.Pointer[string]
	plain *httptest.Server
	tls   *httptest.Server
	proxy *httptest.Server // a forward proxy that leads to plain
	root  string           // file
	sum   string
	ca    string // file
	cert  string // file of certificate and key
	key   string // text that must never be seen
}

func newSecretWorld(t *testing.T) *secretWorld {
	t.Helper()
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	p.Publish(map[string]string{"a.hsb": string(madeUp("a", 50))})
	w := &secretWorld{root: p.RootFile()}
	w.set("good")
	w.sum = fmt.Sprintf("%x", sha256.Sum256(p.Root()))
	h := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch *w.mode.Load() {
		case "refuses":
			rw.Header().Set("WWW-Authenticate", "Basic realm=x")
			rw.WriteHeader(http.StatusUnauthorized)
			return
		case "redirects":
			http.Redirect(rw, r, "ftp://elsewhere.example"+r.URL.Path, http.StatusFound)
			return
		case "busy":
			rw.Header().Set("Retry-After", "3600")
			rw.WriteHeader(http.StatusTooManyRequests)
			return
		case "lies":
			io.WriteString(rw, "{}")
			return
		case "good":
			if r.TLS == nil && !strings.Contains(r.Header.Get("Authorization")+r.Header.Get("Proxy-Authorization"), " ") {
				rw.WriteHeader(http.StatusForbidden)
				return
			}
		}
		r.URL.Host, r.URL.Scheme = "", ""
		p.ServeHTTP(rw, r)
	})
	w.plain = httptest.NewServer(h)
	t.Cleanup(w.plain.Close)
	w.proxy = w.plain // which answers for whatever host it is asked
	w.tls = httptest.NewUnstartedServer(h)
	w.tls.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	w.tls.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	w.tls.StartTLS()
	t.Cleanup(w.tls.Close)
	w.ca = w.file(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.tls.Certificate().Raw}))
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)},
		&x509.Certificate{SerialNumber: big.NewInt(1)}, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	w.key = base64.StdEncoding.EncodeToString(kb)[8:48]
	w.cert = w.file(t, "device.pem", append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})...))
	return w
}

func (w *secretWorld) set(mode string) { w.mode.Store(&mode) }

func (w *secretWorld) file(t *testing.T, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// secretKinds are the ways of giving credentials: a config file, or a URL for init.
func (w *secretWorld) kinds(t *testing.T) map[string]struct{ policy, url, file string } {
	pair, word := w.file(t, "pair", []byte("me:"+leak+"\n")), w.file(t, "word", []byte(leak+"\n"))
	src := func(address, rest string) string {
		return fmt.Sprintf("sources:\n  - url: %s\n    %s\n", address, rest)
	}
	at := strings.Replace(w.plain.URL, "//", "//me:"+leak+"@", 1)
	return map[string]struct{ policy, url, file string }{
		"url":             {url: at},
		"url token":       {url: strings.Replace(w.plain.URL, "//", "//"+leak+"@", 1)},
		"basic file":      {policy: src(w.plain.URL, fmt.Sprintf("basic: {file: %q}", pair)), file: pair},
		"basic user file": {policy: src(w.plain.URL, fmt.Sprintf("basic: {user: me, file: %q}", word)), file: word},
		"basic env":       {policy: src(w.plain.URL, "basic: {user: me, env: SECRET_WORD}")},
		"bearer file":     {policy: src(w.plain.URL, fmt.Sprintf("bearer: {file: %q}", word)), file: word},
		"bearer env":      {policy: src(w.plain.URL, "bearer: {env: SECRET_WORD}")},
		"client cert":     {policy: src(w.tls.URL, fmt.Sprintf("client_cert: {file: %q}\n    ca_file: %q", w.cert, w.ca)), file: w.cert},
		"proxy": {policy: src("http://mirror.test", fmt.Sprintf("proxy: %s\n    proxy_basic: {file: %q}", w.proxy.URL, pair)),
			file: pair},
	}
}

// run runs the program in process and gives all that it printed.
func (w *secretWorld) run(dir, policy string, args ...string) (int, string) {
	var out bytes.Buffer
	env := map[string]string{"AVDB_STATE": filepath.Join(dir, "state"), "AVDB_CONFIG": policy, "SECRET_WORD": leak, "HOME": dir}
	code := run(context.Background(), args, &app{stdin: strings.NewReader(""), stdout: &out, stderr: &out, env: func(n string) string { return env[n] }})
	return code, out.String()
}

// secretShapes are the forms in which a credential could be seen.
func (w *secretWorld) shapes() []string {
	return []string{leak, base64.StdEncoding.EncodeToString([]byte("me:" + leak)), base64.StdEncoding.EncodeToString([]byte(leak + ":")), w.key}
}

// No secret of a source is ever in an output or in a file of the state, whatever kind of credentials it is and whatever
// the source does. Only the URL that init was given stays in settings.json, which is its owner's.
func TestSecretsAreNeverSeen(t *testing.T) {
	w := newSecretWorld(t)
	for name, k := range w.kinds(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			policy := filepath.Join(dir, "avdb.yaml")
			if err := os.WriteFile(policy, []byte(k.policy), 0o600); err != nil {
				t.Fatal(err)
			}
			see := func(want int, args ...string) {
				t.Helper()
				code, out := w.run(dir, policy, args...)
				if code != want {
					t.Fatalf("%s: exit code %d, want %d: %s", strings.Join(args, " "), code, want, out)
				}
				for _, s := range w.shapes() {
					if strings.Contains(out, s) {
						t.Errorf("%q shows the secret: %s", args, out)
					}
				}
			}
			w.set("good")
			given := []string{"init", "--root-sha256", w.sum, "--json"}
			if k.url != "" {
				given = append(given, "--source", k.url)
			}
			see(0, given...)
			for _, mode := range []struct {
				name string
				code int
			}{{"refuses", 13}, {"redirects", 13}, {"lies", 12}, {"good", 0}, {"busy", 14}} {
				w.set(mode.name)
				see(mode.code, "update", "-v", "--json")
				see(mode.code, "update", "-v", "--log-format", "json")
			}
			if k.file != "" {
				os.Chmod(k.file, 0o644)
				os.Remove(filepath.Join(dir, "state", "state.db")) // and the cool-down in it
				see(13, "update", "-v", "--json")
				os.Rename(k.file, k.file+".away")
				see(13, "update", "-v")
				os.Rename(k.file+".away", k.file)
				os.Chmod(k.file, 0o600)
			}
			for _, args := range [][]string{{"status"}, {"status", "--json"}, {"history"}, {"history", "-n", "0", "--json"}, {"config", "show", "--origin"},
				{"config", "show", "--json"}, {"config", "get", "sources"}, {"config", "get", "sources", "--json"}, {"config", "validate"}, {"config", "validate", "--json"}} {
				see(0, args...)
			}
			w.searchState(t, filepath.Join(dir, "state"), k.url != "")
		})
	}
}

// searchState looks into every file.
func (w *secretWorld) searchState(t *testing.T, dir string, inSettings bool) {
	files := 0
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files++
		found := false
		for _, s := range w.shapes() {
			found = found || bytes.Contains(b, []byte(s))
		}
		if settings := filepath.Base(name) == "settings.json" && inSettings; settings {
			if i, err := d.Info(); err != nil || i.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
				t.Errorf("%s: %v, %v; want its owner alone to read it", name, i.Mode(), err)
			}
			if !found {
				t.Errorf("%s does not hold the URL: this search finds nothing", name)
			}
		} else if found {
			t.Errorf("%s holds the secret", name)
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Errorf("%d files searched, %v", files, err)
	}
}

// A secret that stands where only a reference should is not repeated by the error about it.
func TestConfigErrorsRepeatNoSecret(t *testing.T) {
	w := &secretWorld{key: "-"}
	dir := t.TempDir()
	for _, text := range []string{
		"bearer: " + leak, "basic: me:" + leak, "basic: {user: me, password: " + leak + "}", "bearer: {file: " + leak + "}", "bearer: {env: '" + leak + "-'}",
		"bearer: [" + leak + "]", "client_cert: |\n      " + leak, "proxy: http://me:" + leak + "@p.example", "proxy: 'http://me:" + leak + "@p :1'",
		"proxy_basic: " + leak, "basic: {user: 'me:" + leak + "', env: X}", "token: " + leak, "ca_file: {a: " + leak + "}",
	} {
		name := filepath.Join(dir, "bad.yaml")
		os.WriteFile(name, []byte("sources:\n  - url: https://a.example\n    "+text+"\n"), 0o600)
		for _, args := range [][]string{{"config", "validate", name}, {"config", "validate", name, "--json"}, {"status", "--config", name}} {
			if code, out := w.run(dir, "", args...); code != 2 || strings.Contains(out, leak) || !strings.Contains(out, "bad.yaml:") {
				t.Errorf("%s: exit code %d: %s", text, code, out)
			}
		}
	}
	for _, address := range []string{"http://me:" + leak + "@h/x?y", "http://me:1/" + leak + "@h/x", "http://me:a/" + leak + "@h/", "http://me:" + leak + "@h:port/", "ftp://me:" + leak + "@h/",
		"me:" + leak + "@h", "https://h/db?sig=" + leak} {
		name := filepath.Join(dir, "bad.yaml")
		os.WriteFile(name, []byte("sources: ['"+address+"']\n"), 0o600)
		for _, args := range [][]string{{"config", "validate", name}, {"init", "--source", address, "--root", "r"}, {"update", "--source", address}} {
			if code, out := w.run(dir, "", args...); code != 2 || strings.Contains(out, leak) {
				t.Errorf("%s: exit code %d: %s", address, code, out)
			}
		}
	}
}
