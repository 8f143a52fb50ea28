package updater

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"example.org/avdb/store"
)

// A Source is a place that updates come from, and what it is shown. Credentials go to the scheme, host and port of URL only, never
// to where a redirect leads. None of them is printed: whatever way a Source is formatted, logged or encoded, it
// gives its [Source.Name].
type Source struct {
	URL        string        // http://, https:// or file://, the folder that holds metadata/ and targets/; userinfo counts as Basic
	Basic      *Basic        // user name and password; nil for none
	Bearer     Secret        // token; zero for none. Basic and Bearer exclude each other
	ClientCert *ClientCert   // for TLS; nil for none
	CAFile     string        // absolute path of PEM certificates that may vouch for the server, in the place of the system's
	Proxy      string        // http://HOST:PORT, "direct" for none; "" for that of the environment
	ProxyBasic *Basic        // for the proxy; nil for none
	MaxAge     time.Duration // how old a timestamp may be though it expired; 0 for none
}

// A Basic is a user name and a password. With User "" the secret is both, with a colon between.
type Basic struct {
	User     string
	Password Secret
}

// A ClientCert is a certificate with its chain and its key, both PEM.
type ClientCert struct {
	Cert Secret
	Key  Secret // zero if Cert holds the key, too
}

// A Secret is a text that is never printed, or the place where it is read at each use. At most one field is set.
type Secret struct {
	Value string
	File  string // an absolute path; others must not be able to read it
	Env   string // an environment variable
}

// hidden stands where a secret would.
const hidden = "xxxxx"

// Format prints no secret, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// MarshalJSON prints no secret.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// LogValue prints no secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// Name is the URL without what could be a secret: by it the source is known in reports, errors and state.
func (s Source) Name() string { return SourceName(s.URL) }

// Format prints the source's name, whatever the verb.
func (s Source) Format(f fmt.State, _ rune) { io.WriteString(f, s.Name()) }

// MarshalJSON gives the source's name.
func (s Source) MarshalJSON() ([]byte, error) { return json.Marshal(s.Name()) }

// LogValue is the source's name.
func (s Source) LogValue() slog.Value { return slog.StringValue(s.Name()) }

// Sources makes sources of plain URLs.
func Sources(urls ...string) []Source {
	list := make([]Source, len(urls))
	for i, u := range urls {
		list[i].URL = u
	}
	return list
}

// SourceOf makes a source of one of the settings. It reads no file: that is done at each use.
func SourceOf(s store.SettingsSource) (Source, error) {
	src := Source{URL: s.URL, Basic: basicOf(s.Basic), CAFile: s.CAFile, Proxy: s.Proxy, ProxyBasic: basicOf(s.ProxyBasic)}
	if s.Bearer != nil {
		src.Bearer = Secret{File: s.Bearer.File, Env: s.Bearer.Env}
	}
	if c := s.ClientCert; c != nil {
		src.ClientCert = &ClientCert{Cert: Secret{File: c.File, Env: c.Env}, Key: Secret{File: c.KeyFile}}
	}
	if err := CheckSource(s.URL); err != nil {
		return Source{}, err
	}
	if err := s.Check(); err != nil {
		return Source{}, fmt.Errorf("source %s: %w", src.Name(), err)
	}
	src.MaxAge, _ = s.Age()
	return src, nil
}

func basicOf(s *store.SettingsSecret) *Basic {
	if s == nil {
		return nil
	}
	return &Basic{User: s.User, Password: Secret{File: s.File, Env: s.Env}}
}

// SourceName is a source's URL as it may be shown to anybody: without password, query and fragment, in one spelling. A
// user name without a password is a token as likely as a name, and goes, too.
func SourceName(s string) string {
	u, err := parseSource(s)
	if err != nil {
		return shown(s)
	}
	return name(u)
}

func name(u *url.URL) string {
	if u.User == nil {
		return u.String()
	}
	v := *u
	if p, has := u.User.Password(); has && p != "" {
		v.User = url.UserPassword(u.User.Username(), hidden)
	} else {
		v.User = url.User(hidden)
	}
	return v.String()
}

// shown is what may be said of a text that should have been a URL: where a slip of the pen moved a password, nobody knows.
func shown(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || strings.ContainsAny(u.Path+u.Opaque+u.Host, "@"):
		scheme, _, ok := strings.Cut(s, "://")
		if !ok || len(scheme) > 16 || strings.ContainsAny(scheme, "@:/") {
			return "(not shown)"
		}
		return scheme + "://…"
	case u.Opaque != "":
		return u.Scheme + ":…"
	}
	return name(&url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host, Path: u.Path})
}

// CheckSource tells why s cannot be a source's URL: it must be http://, https:// or file:// with an absolute path,
// without query and fragment. The error shows no password.
func CheckSource(s string) error {
	_, err := parseSource(s)
	return err
}

func parseSource(s string) (*url.URL, error) {
	bad := func(what string) (*url.URL, error) {
		return nil, fmt.Errorf("source %.200q %s", shown(s), what)
	}
	u, err := url.Parse(s)
	if err != nil { // whose text repeats parts of s
		return bad("is no URL; give http://, https:// or file://, with %2F, %3F, %23 and %40 for / ? # and @ in a password")
	}
	switch {
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return bad("has a query or a fragment; give the folder that holds metadata/ and targets/")
	case u.Opaque != "":
		return bad("has no //; give http://, https:// or file://")
	case u.Scheme == "http" || u.Scheme == "https":
		if u.Hostname() == "" {
			return bad("has no host")
		}
		if strings.Contains(u.Path, "@") && u.User == nil {
			return bad("has a @ behind its host; write %2F for a / in a password, and %40 for a @ in a path")
		}
	case u.Scheme == "file":
		if u.Host != "" && u.Host != "localhost" || !strings.HasPrefix(u.Path, "/") || u.User != nil {
			return bad("is no local absolute path; write file:///folder")
		}
	default:
		return bad(fmt.Sprintf("has the scheme %.16q; give http://, https:// or file://", u.Scheme))
	}
	u.Host = strings.ToLower(u.Host)
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

// check tells what cannot be in a source that a program made.
func (s Source) check() error {
	u, err := parseSource(s.URL)
	if err != nil {
		return err
	}
	bad := func(what string) error { return fmt.Errorf("source %s: %s", name(u), what) }
	given := 0
	for _, has := range []bool{s.Basic != nil, s.Bearer != Secret{}, u.User != nil} {
		if has {
			given++
		}
	}
	proxy, perr := url.Parse(s.Proxy)
	switch {
	case given > 1:
		return bad("Basic, Bearer and a user name in URL exclude each other")
	case u.Scheme == "file" && (given > 0 || s.onTransport()):
		return bad("a file:// source takes no credentials, CA file or proxy")
	case u.Scheme == "http" && (s.ClientCert != nil || s.CAFile != ""):
		return bad("ClientCert and CAFile need https://")
	case s.CAFile != "" && !filepath.IsAbs(s.CAFile):
		return bad("CAFile must be an absolute path")
	case s.Proxy != "" && s.Proxy != store.ProxyDirect && (perr != nil || proxy.Scheme != "http" || proxy.Hostname() == ""):
		return bad("Proxy must be http://HOST:PORT or \"direct\"")
	case s.ProxyBasic != nil && (s.Proxy == "" || s.Proxy == store.ProxyDirect || proxy.User != nil):
		return bad("ProxyBasic needs a Proxy without a user name")
	case s.MaxAge < 0:
		return bad("MaxAge is negative")
	}
	return nil
}

// onTransport tells whether the source asks for something that only a transport of its own can do.
func (s Source) onTransport() bool {
	return s.ClientCert != nil || s.CAFile != "" || s.Proxy != "" || s.ProxyBasic != nil
}
