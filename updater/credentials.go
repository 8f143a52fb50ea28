package updater

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"example.org/avdb/osfile"
	"example.org/avdb/store"
)

// maxSecret bounds a file of credentials, in bytes; maxToken what becomes a header of it.
const (
	maxSecret = 256 << 10
	maxToken  = 8 << 10
)

// An access is what a source's credentials came to, for one turn.
type access struct {
	url           *url.URL // of the source, without userinfo
	authorization string   // header; "" for none
	proxy         *url.URL // with the credentials for it; nil for the environment's
	direct        bool     // no proxy at all
	tls           *tls.Config
	elsewhere     *tls.Config // for hosts that a redirect leads to: without the client certificate
	secrets       []string    // what of these must not be printed, though a source sends it back
}

// hide takes secrets out of a text that a source had a part in.
func (a *access) hide(text string) string {
	for _, s := range a.secrets {
		text = hideIn(text, s)
	}
	return text
}

// hideIn takes a secret out of a text, also one that was cut behind enough of it to be worth having.
func hideIn(text, secret string) string {
	start := secret[:min(len(secret), 12)]
	for from := 0; ; {
		i := strings.Index(text[from:], start)
		if i < 0 {
			return text
		}
		i += from
		end := i + len(start)
		for end < len(text) && end-i < len(secret) && text[end] == secret[end-i] {
			end++
		}
		text = text[:i] + hidden + text[end:]
		from = i + len(hidden)
	}
}

// hideErr is err with its text hidden, and err itself where there is nothing to hide.
func (a *access) hideErr(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if a.hide(text) == text {
		return err
	}
	if joined := apart(err); len(joined) > 1 { // they stay apart: each has a kind
		for i := range joined {
			joined[i] = a.hideErr(joined[i])
		}
		return errors.Join(joined...)
	}
	return &bareError{a.hide(text), err}
}

// keepSecret remembers what a header holds, and the password of a pair, also as %q writes them. What is shorter than four bytes stands
// everywhere, and hides nothing.
func (a *access) keepSecret(header, pair string) {
	_, password, _ := strings.Cut(pair, ":")
	_, token, _ := strings.Cut(header, " ")
	for _, s := range []string{token, password} {
		if len(s) < 4 {
			continue
		}
		a.secrets = append(a.secrets, s)
		if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
			a.secrets = append(a.secrets, quoted[1:len(quoted)-1])
		}
	}
}

// resolve reads what the source refers to. Errors name the place and the remedy, never what was read.
func (s Source) resolve(getenv func(string) string) (access, error) {
	u, err := parseSource(s.URL)
	if err != nil {
		return access{}, err
	}
	r := &resolver{source: name(u), getenv: getenv}
	bare := *u
	bare.User = nil
	a := access{url: &bare}
	switch {
	case u.User != nil:
		p, _ := u.User.Password()
		a.authorization = basicHeader(u.User.Username() + ":" + p)
		a.keepSecret(a.authorization, ":"+p)
		if p == "" { // a token in its place
			a.keepSecret("", ":"+u.User.Username())
		}
	case s.Basic != nil:
		pair := r.pair("basic", s.Basic)
		a.authorization = basicHeader(pair)
		a.keepSecret(a.authorization, pair)
	case s.Bearer != Secret{}:
		a.authorization = "Bearer " + r.token("bearer", s.Bearer)
		a.keepSecret(a.authorization, "")
	}
	r.proxy(&a, s)
	r.tls(&a, s)
	return a, r.err
}

func basicHeader(pair string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
}

// own tells whether a request goes to the source itself, and not to where a redirect led.
func (a *access) own(u *url.URL) bool {
	return u.Scheme == a.url.Scheme && strings.EqualFold(hostPort(u), hostPort(a.url))
}

// A resolver reads secrets and keeps the first error.
type resolver struct {
	source string
	getenv func(string) string
	err    error
}

func (r *resolver) fail(place, reason, remedy string) {
	if r.err == nil {
		r.err = &SourceError{Source: r.source, File: place, Reason: reason, Remedy: remedy}
	}
}

// pair is USER:PASSWORD.
func (r *resolver) pair(what string, b *Basic) string {
	text, place := r.read(what, b.Password)
	if b.User != "" {
		text = b.User + ":" + text
	}
	r.oneLine(what, place, text)
	if r.err == nil && !strings.Contains(text, ":") {
		r.fail(place, what+" holds no colon", "write USER:PASSWORD into it, or give the user name beside it")
	}
	return text
}

func (r *resolver) token(what string, s Secret) string {
	text, place := r.read(what, s)
	r.oneLine(what, place, text)
	return text
}

// oneLine wants a text that can stand in a header.
func (r *resolver) oneLine(what, place, text string) {
	if r.err != nil {
		return
	}
	bad := func(c rune) bool { return c < ' ' || c == 0x7f }
	if text == "" || len(text) > maxToken || strings.ContainsFunc(text, bad) {
		r.fail(place, what+" is not one line of text", fmt.Sprintf("write the secret alone into it, at most %d bytes", maxToken))
	}
}

// read gives a secret without the line feed at its end, and the place that it was read from.
func (r *resolver) read(what string, s Secret) (text, place string) {
	switch {
	case r.err != nil:
		return "", ""
	case s.File != "":
		return strings.TrimRight(string(r.file(what, s.File, true)), "\r\n"), s.File
	case s.Env != "":
		text, place = r.getenv(s.Env), "environment variable "+s.Env
		if text == "" {
			r.fail(place, what+" is not there", "set it for the user and the service that update")
		}
		return strings.TrimRight(text, "\r\n"), place
	}
	return s.Value, what
}

// file reads a file of credentials: a plain one, of bounded length, and where it is secret one that the rest of the world cannot
// read, as ssh demands. The group may: services run under one.
func (r *resolver) file(what, path string, secret bool) []byte {
	f, err := osfile.Open(path)
	if _, ok := errors.AsType[*osfile.IrregularError](err); ok {
		r.fail(path, what+" is no regular file", "name a file")
		return nil
	}
	if err != nil {
		remedy := "make the file, or correct its name in the configuration"
		if errors.Is(err, fs.ErrPermission) {
			remedy = "let the user that updates read it"
		}
		reason := what + " cannot be read"
		if n, ok := errors.AsType[syscall.Errno](err); ok {
			reason += ": " + n.Error()
		}
		r.fail(path, reason, remedy)
		return nil
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		r.fail(path, what+" cannot be read", "check the disk")
		return nil
	case secret && osfile.KnownToAll(st):
		r.fail(path, fmt.Sprintf("%s can be read by every user of this machine (mode %04o) and is not used", what, st.Mode().Perm()), "run chmod o= "+path)
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		r.fail(path, what+" cannot be read", "check the disk")
	case len(b) > maxSecret:
		r.fail(path, fmt.Sprintf("%s is longer than %d bytes", what, maxSecret), "name the file that holds the credentials alone")
	case len(strings.TrimSpace(string(b))) == 0:
		r.fail(path, what+" is empty", "write the credentials into it")
	}
	if r.err != nil {
		return nil
	}
	return b
}

func (r *resolver) proxy(a *access, s Source) {
	switch s.Proxy {
	case "":
		return
	case store.ProxyDirect:
		a.direct = true
		return
	}
	p, err := url.Parse(s.Proxy)
	if err != nil { // whose text could repeat a password
		r.fail("", "its proxy is no URL", "write http://HOST:PORT")
		return
	}
	if s.ProxyBasic != nil {
		user, password, _ := strings.Cut(r.pair("proxy_basic", s.ProxyBasic), ":")
		p.User = url.UserPassword(user, password)
	}
	if p.User != nil {
		password, _ := p.User.Password()
		pair := p.User.Username() + ":" + password
		a.keepSecret(basicHeader(pair), pair)
	}
	a.proxy = p
}

// tls makes the configurations for the source's host and for hosts that a redirect leads to.
func (r *resolver) tls(a *access, s Source) {
	a.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	a.elsewhere = a.tls
	if s.CAFile == "" && s.ClientCert == nil {
		return
	}
	a.elsewhere = a.tls.Clone()
	if s.CAFile != "" {
		b := r.file("ca_file", s.CAFile, false)
		a.tls.RootCAs = x509.NewCertPool()
		if b != nil && !a.tls.RootCAs.AppendCertsFromPEM(b) {
			r.fail(s.CAFile, "ca_file holds no certificate", "name a file with certificates in PEM")
		}
		if all, err := x509.SystemCertPool(); err == nil {
			all.AppendCertsFromPEM(b)
			a.elsewhere.RootCAs = all
		}
	}
	if c := s.ClientCert; c != nil {
		cert, place := r.pem("client_cert", c.Cert, c.Key == Secret{})
		key := cert
		if (c.Key != Secret{}) {
			key, place = r.pem("client_cert's key", c.Key, true)
		}
		if r.err != nil {
			return
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil { // whose text says what kind of block was missing, not what was there
			r.fail(place, "client_cert: "+strings.TrimPrefix(err.Error(), "tls: "), "name a certificate and its key, unencrypted, both in PEM")
			return
		}
		a.tls.Certificates = []tls.Certificate{pair}
	}
}

// pem gives a certificate or a key. Only one that holds a key is a secret.
func (r *resolver) pem(what string, s Secret, secret bool) (b []byte, place string) {
	if s.File != "" && r.err == nil {
		return r.file(what, s.File, secret), s.File
	}
	text, place := r.read(what, s)
	return []byte(text), place
}

// proxyOf chooses the proxy of a request. A value of the environment that is no URL is ignored; what is refused is told without it, since
// it may hold a password.
func (a *access) proxyOf(req *http.Request) (*url.URL, error) {
	switch {
	case a.direct:
		return nil, nil
	case a.proxy != nil:
		return a.proxy, nil
	}
	p, err := http.ProxyFromEnvironment(req)
	if err != nil {
		return nil, &protocolError{"HTTP_PROXY is not used where REQUEST_METHOD is set, too: a client of a web server could have set it; set proxy for this source"}
	}
	if p != nil && p.Scheme == "https" && len(a.tls.Certificates) > 0 {
		return nil, &protocolError{"the proxy of the environment speaks TLS and could ask for the client certificate; set proxy for this source"}
	}
	return p, nil
}
