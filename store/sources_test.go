package store

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A source of the settings that makes no sense is refused by the field at fault; what stands where only a reference should is not repeated.
func TestSourcesThatMakeNoSense(t *testing.T) {
	const leak = "s3cret"
	abs, err := filepath.Abs("file")
	must(t, err)
	ref := &SettingsSecret{File: abs}
	for _, c := range []struct {
		text string
		s    SettingsSource
	}{
		{"", SettingsSource{URL: "http://a/b"}},
		{"", SettingsSource{URL: "https://a", Basic: &SettingsSecret{User: "me", Env: "X"}, ClientCert: &SettingsCert{File: abs, KeyFile: abs}, CAFile: abs,
			Proxy: "http://p:1", ProxyBasic: ref, MaxAge: "10d"}},
		{"", SettingsSource{URL: "https://me:x@a", ClientCert: &SettingsCert{Env: "X"}, Proxy: "direct"}},
		{"", SettingsSource{URL: "file:///srv", MaxAge: "366d"}},
		{"url:", SettingsSource{}},
		{"url:", SettingsSource{URL: "ftp://a"}},
		{"url:", SettingsSource{URL: "http://" + strings.Repeat("a", 3000)}},
		{"exclude", SettingsSource{URL: "https://a", Basic: ref, Bearer: ref}},
		{"exclude", SettingsSource{URL: "https://me:" + leak + "@a", Basic: ref}},
		{"bearer.user", SettingsSource{URL: "https://a", Bearer: &SettingsSecret{User: leak, File: abs}}},
		{"basic: want one of", SettingsSource{URL: "https://a", Basic: &SettingsSecret{}}},
		{"basic: want one of", SettingsSource{URL: "https://a", Basic: &SettingsSecret{File: abs, Env: "X"}}},
		{"bearer.file", SettingsSource{URL: "https://a", Bearer: &SettingsSecret{File: leak}}},
		{"bearer.env", SettingsSource{URL: "https://a", Bearer: &SettingsSecret{Env: leak + "="}}},
		{"basic.user", SettingsSource{URL: "https://a", Basic: &SettingsSecret{User: "me:" + leak, File: abs}}},
		{"client_cert.key_file", SettingsSource{URL: "https://a", ClientCert: &SettingsCert{Env: "X", KeyFile: abs}}},
		{"client_cert:", SettingsSource{URL: "https://a", ClientCert: &SettingsCert{KeyFile: abs}}},
		{"ca_file", SettingsSource{URL: "https://a", CAFile: "ca.pem"}},
		{"need an https", SettingsSource{URL: "http://a", CAFile: abs}},
		{"file:// source", SettingsSource{URL: "file:///srv", Proxy: "direct"}},
		{"proxy:", SettingsSource{URL: "https://a", Proxy: "https://me:" + leak + "@p"}},
		{"proxy:", SettingsSource{URL: "https://a", Proxy: "http://me:" + leak + "@p/path"}},
		{"proxy_basic", SettingsSource{URL: "https://a", ProxyBasic: ref}},
		{"proxy_basic", SettingsSource{URL: "https://a", Proxy: "http://me:" + leak + "@p", ProxyBasic: ref}},
		{"max_age", SettingsSource{URL: "https://a", MaxAge: "10 days"}},
		{"max_age", SettingsSource{URL: "https://a", MaxAge: "-1h"}},
		{"max_age", SettingsSource{URL: "https://a", MaxAge: "0d"}},
		{"max_age", SettingsSource{URL: "https://a", MaxAge: "367d"}},
		{"max_age", SettingsSource{URL: "https://a", MaxAge: "99999999999999999999d"}},
	} {
		err := c.s.Check()
		if (err == nil) != (c.text == "") || err != nil && (!strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), leak)) {
			t.Errorf("%+v: %v, want %q", c.s, err, c.text)
		}
	}
	if d, err := (SettingsSource{MaxAge: "10d"}).Age(); d != 240*time.Hour || err != nil {
		t.Errorf("10d is %v, %v", d, err)
	}
}
