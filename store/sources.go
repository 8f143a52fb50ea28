package store

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A SettingsSource is a place that updates come from, and what to show it. Secrets are named here and never held: each is
// read from its file or environment variable when the source is asked. A user name and password in URL are the exception,
// which is why settings.json is its owner's only.
type SettingsSource struct {
	URL        string          `json:"url"`                   // http, https or file
	Basic      *SettingsSecret `json:"basic,omitempty"`       // user name and password
	Bearer     *SettingsSecret `json:"bearer,omitempty"`      // token
	ClientCert *SettingsCert   `json:"client_cert,omitempty"` // for TLS
	CAFile     string          `json:"ca_file,omitempty"`     // PEM; who may vouch for the server, in the place of the system's list
	Proxy      string          `json:"proxy,omitempty"`       // http://HOST:PORT or "direct"; "" for that of the environment
	ProxyBasic *SettingsSecret `json:"proxy_basic,omitempty"` // user name and password for the proxy
	MaxAge     string          `json:"max_age,omitempty"`     // how old a timestamp may be though it expired: "10d", "36h"
}

// A SettingsSecret says where a secret is: in a file or in an environment variable, one of the two.
type SettingsSecret struct {
	User string `json:"user,omitempty"` // of basic and proxy_basic; "" if the secret is USER:PASSWORD
	File string `json:"file,omitempty"` // absolute; a line feed at its end does not count
	Env  string `json:"env,omitempty"`
}

// A SettingsCert says where a client certificate and its key are, both PEM.
type SettingsCert struct {
	File    string `json:"file,omitempty"`     // absolute; the certificate with its chain, and the key unless KeyFile has it
	KeyFile string `json:"key_file,omitempty"` // absolute
	Env     string `json:"env,omitempty"`      // a variable with certificate and key, in the place of File
}

// maxAge bounds MaxAge: metadata that is older than a year protects from nothing.
const maxAge = 366 * 24 * time.Hour

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// Check names the first field that cannot be, and what is wanted. It never repeats what stands where only a
// reference should be.
func (s SettingsSource) Check() error {
	u, err := url.Parse(s.URL)
	if err != nil || len(s.URL) > maxURL || !slices.Contains([]string{"http", "https", "file"}, u.Scheme) {
		return errors.New("url: want an http, https or file URL")
	}
	given := 0
	for _, has := range []bool{s.Basic != nil, s.Bearer != nil, u.User != nil} {
		if has {
			given++
		}
	}
	switch {
	case given > 1:
		return errors.New("basic, bearer and a user name in url exclude each other: keep one")
	case s.Bearer != nil && s.Bearer.User != "":
		return errors.New("bearer.user: a token has no user name")
	case u.Scheme == "file" && (given > 0 || s.ClientCert != nil || s.CAFile != "" || s.Proxy != "" || s.ProxyBasic != nil):
		return errors.New("a file:// source takes no credentials, CA file or proxy")
	case u.Scheme == "http" && (s.ClientCert != nil || s.CAFile != ""):
		return errors.New("client_cert and ca_file need an https:// source")
	case s.ProxyBasic != nil && (s.Proxy == "" || s.Proxy == ProxyDirect):
		return errors.New("proxy_basic: without proxy it has no meaning")
	}
	if err := s.checkParts(); err != nil {
		return err
	}
	_, err = s.Age()
	return err
}

func (s SettingsSource) checkParts() error {
	for _, p := range []struct {
		name   string
		secret *SettingsSecret
	}{{"basic", s.Basic}, {"bearer", s.Bearer}, {"proxy_basic", s.ProxyBasic}} {
		if p.secret == nil {
			continue
		}
		if err := checkReference(p.name, p.secret.File, p.secret.Env); err != nil {
			return err
		}
		if len(p.secret.User) > 256 || strings.ContainsFunc(p.secret.User, func(r rune) bool { return r < ' ' || r == ':' || r == 0x7f }) {
			return fmt.Errorf("%s.user: want a user name without colon", p.name)
		}
	}
	if c := s.ClientCert; c != nil {
		if err := checkReference("client_cert", c.File, c.Env); err != nil {
			return err
		}
		if c.KeyFile != "" && (c.Env != "" || !filepath.IsAbs(c.KeyFile)) {
			return errors.New("client_cert.key_file: want an absolute path beside client_cert.file")
		}
	}
	if s.CAFile != "" && !filepath.IsAbs(s.CAFile) {
		return errors.New("ca_file: want an absolute path")
	}
	return checkProxy(s)
}

// ProxyDirect is the value of SettingsSource.Proxy that leaves the proxies of the environment out.
const ProxyDirect = "direct"

func checkProxy(s SettingsSource) error {
	if s.Proxy == "" || s.Proxy == ProxyDirect {
		return nil
	}
	u, err := url.Parse(s.Proxy)
	switch {
	case err != nil || len(s.Proxy) > maxURL || u.Scheme != "http" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("proxy: want http://HOST:PORT or %q", ProxyDirect)
	case u.User != nil && s.ProxyBasic != nil:
		return errors.New("proxy_basic and a user name in proxy exclude each other: keep one")
	}
	return nil
}

// checkReference wants exactly one place for a secret.
func checkReference(name, file, env string) error {
	switch {
	case (file == "") == (env == ""):
		return fmt.Errorf("%s: want one of file and env, which name the place of the secret", name)
	case file != "" && !filepath.IsAbs(file):
		return fmt.Errorf("%s.file: want an absolute path", name)
	case env != "" && !envName.MatchString(env):
		return fmt.Errorf("%s.env: want the name of an environment variable", name)
	}
	return nil
}

// Age is MaxAge as a duration, 0 for none: whole days ("10d") or what time.ParseDuration takes, up to 366 days.
func (s SettingsSource) Age() (time.Duration, error) {
	if s.MaxAge == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s.MaxAge)
	if days, ok := strings.CutSuffix(s.MaxAge, "d"); ok {
		var n int64
		n, err = strconv.ParseInt(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 || d > maxAge {
		return 0, fmt.Errorf("max_age is %.40q, want a duration such as 36h or 10d, at most 366d", s.MaxAge)
	}
	return d, nil
}
