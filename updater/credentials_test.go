package updater

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.org/avdb/signing"
	"example.org/avdb/store"
)

const secret = "pA55w0rd"

func noEnv(string) string { return "" }

// keep writes a file of credentials that its owner alone may read.
func keep(t *testing.T, name, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCredentialsFromEachPlace(t *testing.T) {
	env := func(name string) string { return map[string]string{"TOKEN": secret, "PAIR": "me:" + secret}[name] }
	const basic, bearer = "Basic bWU6cEE1NXcwcmQ=", "Bearer " + secret
	for _, c := range []struct {
		name string
		s    Source
		want string
	}{
		{"in the URL", Source{URL: "https://me:" + secret + "@a.example"}, basic},
		{"basic, file with both", Source{Basic: &Basic{Password: Secret{File: keep(t, "f", "me:"+secret+"\n")}}}, basic},
		{"basic, file with the password", Source{Basic: &Basic{User: "me", Password: Secret{File: keep(t, "f", secret)}}}, basic},
		{"basic, environment", Source{Basic: &Basic{Password: Secret{Env: "PAIR"}}}, basic},
		{"basic, given", Source{Basic: &Basic{User: "me", Password: Secret{Value: secret}}}, basic},
		{"bearer, file", Source{Bearer: Secret{File: keep(t, "f", secret+"\r\n")}}, bearer},
		{"bearer, environment", Source{Bearer: Secret{Env: "TOKEN"}}, bearer},
		{"none", Source{}, ""},
	} {
		if c.s.URL == "" {
			c.s.URL = "https://a.example/db"
		}
		a, err := c.s.resolve(env)
		if err != nil || a.authorization != c.want || a.url.User != nil {
			t.Errorf("%s: %q for %v, %v; want %q", c.name, a.authorization, a.url, err, c.want)
		}
	}
}

// Whatever is wrong with credentials is told with the place and what to do, and never with what was read.
func TestCredentialsThatCannotBeUsed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes and pipes are those of unix")
	}
	open := keep(t, "open", secret)
	os.Chmod(open, 0o604)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := makePipe(pipe); err != nil {
		t.Fatal(err)
	}
	group := keep(t, "group", secret)
	os.Chmod(group, 0o640)
	if _, err := (Source{URL: "https://a.example", Bearer: Secret{File: group}}).resolve(noEnv); err != nil {
		t.Errorf("a file that its group may read: %v, want it used: services run under one", err)
	}
	bearer := func(f string) Source { return Source{Bearer: Secret{File: f}} }
	cert, key := certificate(t, "device")
	for _, c := range []struct {
		name   string
		s      Source
		place  string
		remedy string
	}{
		{"missing", bearer("/nowhere/token"), "/nowhere/token: bearer cannot be read", "make the file"},
		{"readable by all", bearer(open), open + ": bearer can be read by every user", "chmod o= " + open},
		{"pipe", bearer(pipe), pipe, "name a file"},
		{"folder", bearer(t.TempDir()), "no regular file", "name a file"},
		{"empty", bearer(keep(t, "f", " \n")), "is empty", "write the credentials"},
		{"two lines", bearer(keep(t, "f", secret+"\n"+secret)), "not one line", "alone"},
		{"too long", bearer(keep(t, "f", strings.Repeat(secret, 40_000))), "longer than", "alone"},
		{"too long for a header", bearer(keep(t, "f", strings.Repeat(secret, 2000))), "not one line", "alone"},
		{"no colon", Source{Basic: &Basic{Password: Secret{File: keep(t, "f", secret)}}}, "no colon", "USER:PASSWORD"},
		{"no variable", Source{Bearer: Secret{Env: "AVDB_NO_SUCH"}}, "environment variable AVDB_NO_SUCH: bearer is not there", "set it"},
		{"no authority", Source{CAFile: keep(t, "ca", secret)}, "no certificate", "PEM"},
		{"no authority there", Source{CAFile: "/nowhere/ca.pem"}, "/nowhere/ca.pem", "make the file"},
		{"no key", Source{ClientCert: &ClientCert{Cert: Secret{File: keep(t, "c", cert)}}}, "client_cert", "unencrypted"},
		{"key of another", Source{ClientCert: &ClientCert{Cert: Secret{Value: cert}, Key: Secret{File: keep(t, "k", otherKey(t))}}}, "client_cert", "unencrypted"},
		{"key readable by all", Source{ClientCert: &ClientCert{Cert: Secret{Value: cert}, Key: Secret{File: public(t, key)}}}, "every user", "chmod"},
		{"proxy", Source{Proxy: "http://p.example:1", ProxyBasic: &Basic{Password: Secret{File: "/nowhere/p"}}}, "/nowhere/p: proxy_basic", "make the file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.URL = "https://a.example/db"
			_, err := c.s.resolve(noEnv)
			e, ok := errors.AsType[*SourceError](err)
			if !ok || e.Source != "https://a.example/db" || !strings.Contains(err.Error(), c.place) || !strings.Contains(e.Remedy, c.remedy) {
				t.Errorf("error %v (%+v); want one that names %q and %q", err, e, c.place, c.remedy)
			}
			if strings.Contains(fmt.Sprintf("%+v", e), secret) {
				t.Errorf("%v shows what was read", err)
			}
		})
	}
}

func public(t *testing.T, text string) string {
	p := keep(t, "public", text)
	if err := os.Chmod(p, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// No way of printing a Source shows its secrets.
func TestSourcesPrintNoSecrets(t *testing.T) {
	s := Source{URL: "https://me:" + secret + "@a.example/db", Basic: &Basic{"me", Secret{Value: secret}}, Bearer: Secret{Value: secret},
		ClientCert: &ClientCert{Cert: Secret{Value: secret}, Key: Secret{Value: secret}}, Proxy: "http://me:" + secret + "@p.example", ProxyBasic: &Basic{"me", Secret{Value: secret}}}
	var out bytes.Buffer
	for _, v := range []any{s, &s, []Source{s}, map[string]Source{"a": s}, s.Basic, s.Bearer, &s.Bearer, s.ClientCert, s.ProxyBasic, Config{Sources: []Source{s}}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
	}
	for _, v := range []any{s, s.Basic, s.Bearer, s.ClientCert} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	for _, shape := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprint([]byte(secret))} {
		if strings.Contains(out.String(), shape) {
			t.Errorf("the secret was printed as %s", shape)
		}
	}
	if !strings.Contains(out.String(), "https://me:xxxxx@a.example/db") {
		t.Error("the name was not printed")
	}
}

// What a source sends back is hidden as errors write it: quoted, and cut off.
func TestHideWhatComesBack(t *testing.T) {
	const long = `to"ken\of-more-than-sixty-four-letters-as-those-that-hold-claims-are-today`
	a, err := Source{URL: "https://a.example", Bearer: Secret{Value: long}}.resolve(noEnv)
	if err != nil {
		t.Fatal(err)
	}
	for said, want := range map[string]string{
		"said " + long + " twice, " + long:               "said xxxxx twice, xxxxx",
		fmt.Sprintf("said %q.", long):                    `said "xxxxx".`,
		fmt.Sprintf("said %.32q.", long):                 `said "xxxxx".`,
		fmt.Sprintf("said %.20s of it", long):            "said xxxxx of it",
		"to another " + hidden + ", without any of them": "to another " + hidden + ", without any of them",
	} {
		if got := a.hide(said); got != want {
			t.Errorf("%s\nbecomes %s\nwant    %s", said, got, want)
		}
	}
}

// What is hidden keeps its kind, and of several errors each its own.
func TestHiddenErrorsKeepTheirKinds(t *testing.T) {
	a, err := Source{URL: "https://a.example", Bearer: Secret{Value: secret}}.resolve(noEnv)
	if err != nil {
		t.Fatal(err)
	}
	hidden := a.hideErr(errors.Join(&TargetError{Target: "light/a.bundle", Reason: "says " + secret}, &SourceError{Reason: "no " + secret}))
	err = worst([]error{hidden}, 0)
	if !errors.Is(err, signing.ErrUntrusted) || errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "says xxxxx") {
		t.Errorf("error %v, want one that is untrusted and nothing else", err)
	}
	for _, plain := range []error{nil, errors.New("nothing to hide")} {
		if got := a.hideErr(plain); got != plain {
			t.Errorf("%v becomes %v", plain, got)
		}
	}
}

// The name of a source holds no secret, and is one for all spellings of its URL.
func TestSourceName(t *testing.T) {
	for s, want := range map[string]string{
		"https://a.example/db":              "https://a.example/db",
		"https://A.Example/db/":             "https://a.example/db",
		"https://me:" + secret + "@a/db":    "https://me:xxxxx@a/db",
		"https://" + secret + "@a/db":       "https://xxxxx@a/db",
		"https://" + secret + ":@a/db":      "https://xxxxx@a/db",
		"file:///srv/db":                    "file:///srv/db",
		"https://a/db?token=" + secret:      "https://a/db",
		"https://a/db#" + secret:            "https://a/db",
		"https://me:12/" + secret + "@a/db": "https://…",
		"https://me:pa/" + secret + "@a/db": "https://…",
		"https://me:x?" + secret + "@a/db":  "https://…",
		"https:me:" + secret + "@a/db":      "(not shown)",
		"me:" + secret + "@a/db":            "(not shown)",
		secret + " x:/@":                    "(not shown)",
	} {
		got := SourceName(s)
		if got != want || strings.Contains(got, secret) {
			t.Errorf("SourceName(%q) = %q, want %q", s, got, want)
		}
		if err := CheckSource(s); err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("CheckSource(%q): %v shows the secret", s, err)
		}
	}
}

func TestSourcesThatMakeNoSense(t *testing.T) {
	b := &Basic{"me", Secret{Value: "x"}}
	for _, c := range []struct {
		s    Source
		text string
	}{
		{Source{URL: "https://a", Basic: b, Bearer: Secret{Value: "x"}}, "exclude"},
		{Source{URL: "https://me:x@a", Basic: b}, "exclude"},
		{Source{URL: "file:///srv", Basic: b}, "no credentials"},
		{Source{URL: "file:///srv", CAFile: "/ca"}, "no credentials"},
		{Source{URL: "http://a", CAFile: "/ca"}, "https"},
		{Source{URL: "http://a", ClientCert: &ClientCert{}}, "https"},
		{Source{URL: "https://a", CAFile: "ca.pem"}, "absolute"},
		{Source{URL: "https://a", Proxy: "https://p"}, "http://HOST"},
		{Source{URL: "https://a", Proxy: "p:3128"}, "http://HOST"},
		{Source{URL: "https://a", Proxy: "direct", ProxyBasic: b}, "needs a Proxy"},
		{Source{URL: "https://a", Proxy: "http://me:x@p", ProxyBasic: b}, "needs a Proxy"},
		{Source{URL: "https://a", MaxAge: -1}, "negative"},
	} {
		if err := c.s.check(); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v: %v, want %q", c.s, err, c.text)
		}
	}
	if err := (Source{URL: "https://a", Basic: b, CAFile: "/ca", Proxy: "http://p:1", ProxyBasic: b, MaxAge: time.Hour}).check(); err != nil {
		t.Error(err)
	}
	if _, err := SourceOf(store.SettingsSource{URL: "https://a", MaxAge: "10d", Basic: &store.SettingsSecret{User: "me", Env: "X"}}); err != nil {
		t.Error(err)
	}
}

// certificate makes a certificate that vouches for itself, and its key, both PEM.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}))
}

func otherKey(t *testing.T) string {
	_, key := certificate(t, "other")
	return key
}

// tlsServer serves over TLS, asks for a client certificate, and says which one it was shown.
func tlsServer(t *testing.T, demand bool, h http.HandlerFunc) (m *mirror, ca string) {
	t.Helper()
	m = unstarted(h)
	m.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	if demand {
		m.TLS.ClientAuth = tls.RequireAnyClientCert
	}
	m.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	m.StartTLS()
	t.Cleanup(m.Close)
	return m, keep(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.Certificate().Raw})))
}

func TestClientCertificateAndAuthority(t *testing.T) {
	cert, key := certificate(t, "device 7")
	both := &ClientCert{Cert: Secret{File: keep(t, "both.pem", cert+key)}}
	apart := &ClientCert{Cert: Secret{File: public(t, cert)}, Key: Secret{File: keep(t, "key.pem", key)}}
	m, ca := tlsServer(t, true, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	for name, c := range map[string]*ClientCert{"one file": both, "two files": apart} {
		s, _ := sourceOf(t, Source{URL: m.URL, ClientCert: c, CAFile: ca}, quick())
		if b, err := s.Fetch(t.Context(), "timestamp.json", 100); err != nil || string(b) != "device 7" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	s, _ := sourceOf(t, Source{URL: m.URL, CAFile: ca}, quick())
	_, err := s.Fetch(t.Context(), "timestamp.json", 100)
	if e, ok := errors.AsType[*SourceError](err); !ok || !strings.Contains(e.Remedy, "client_cert") {
		t.Errorf("without the certificate: %v, want one that says what to name", err)
	}
	s, _ = sourceOf(t, Source{URL: m.URL, ClientCert: both}, quick())
	if _, err := s.Fetch(t.Context(), "timestamp.json", 100); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("without the authority: %v", err)
	}
	s, _ = sourceOf(t, Source{URL: m.URL, CAFile: keep(t, "other.pem", cert)}, quick())
	if _, err := s.Fetch(t.Context(), "timestamp.json", 100); !errors.Is(err, ErrUnavailable) {
		t.Errorf("with another authority: %v", err)
	}
}
