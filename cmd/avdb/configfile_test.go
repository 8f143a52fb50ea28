package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.org/avdb/store"
)

// A policy holds what its file says, with the lines that say it.
func TestPolicyValues(t *testing.T) {
	got, err := parsePolicy("avdb.yaml", []byte(`
sources:
  - https://a.example/db
  - url: file:///srv/db
cloud_mode: true
ksn: {mode: extended, proxies: [p1, "p2:1"]}
update:
  limit_rate: 3k
  jitter: 1m30s
scan:
  jobs: 4
`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]policyValue{
		"sources":           {[]store.SettingsSource{{URL: "https://a.example/db"}, {URL: "file:///srv/db"}}, 2},
		"cloud_mode":        {true, 5},
		"ksn.mode":          {"extended", 6},
		"ksn.proxies":       {[]string{"p1", "p2:1"}, 6},
		"update.limit_rate": {int64(3 << 10), 8},
		"update.jitter":     {90 * time.Second, 9},
		"scan.jobs":         {int64(4), 11},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("parsePolicy = %v\nwant %v", got, want)
	}
}

// The example in docs/SOURCES.md is a config file, and each of its keys is read.
func TestDocumentedSources(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("its paths are absolute on unix only")
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "SOURCES.md"))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(doc)) {
		if rest, ok := strings.CutPrefix(line, "    "); ok {
			text.WriteString(rest)
		}
	}
	got, err := parsePolicy("SOURCES.md", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	want := []store.SettingsSource{
		{URL: "https://mirror1.example.net/avdb"},
		{URL: "https://mirror2.example.net/avdb", Basic: &store.SettingsSecret{User: "endpoint", File: "/etc/avdb/mirror2.password"}, CAFile: "/etc/avdb/ca.pem"},
		{URL: "https://mirror3.example.net/avdb", Bearer: &store.SettingsSecret{Env: "AVDB_MIRROR3_TOKEN"}, Proxy: "http://proxy.example.net:3128",
			ProxyBasic: &store.SettingsSecret{File: "/etc/avdb/proxy.credentials"}},
		{URL: "https://mirror4.example.net/avdb", ClientCert: &store.SettingsCert{File: "/etc/avdb/device.pem", KeyFile: "/etc/avdb/device.key"}, Proxy: "direct"},
		{URL: "file:///media/avdb", MaxAge: "20d"},
	}
	if !reflect.DeepEqual(got["sources"].value, want) {
		t.Errorf("sources are %+v, want %+v", got["sources"].value, want)
	}
}

// Whatever is wrong with a config file is told with its line, and the file is not used
// in part.
func TestPolicyProblems(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		line       int
		text       string
	}{
		{"unknown section", "scam:\n  pua: true\n", 1, `unknown key "scam"`},
		{"unknown key", "scan:\n  puma: true\n", 2, `unknown key "scan.puma"`},
		{"wrong type", "scan: {pua: {a: 1}}\n", 1, "scan.pua is mapping"},
		{"no value", "scan:\n  pua:\n", 2, "scan.pua is null"},
		{"negative", "scan:\n  jobs: -1\n", 2, `scan.jobs is "-1"`},
		{"too big", "update:\n  limit_rate: 99999999999G\n", 2, "update.limit_rate is"},
		{"text for list", "ksn:\n  proxies: p1\n", 2, "ksn.proxies is string, want a list"},
		{"list of lists", "ksn:\n  proxies: [[a]]\n", 2, "ksn.proxies holds sequence"},
		{"no sources", "sources: []\n", 1, "empty list"},
		{"source without host", "sources: ['http:///x']\n", 1, "has no host"},
		{"source with password", "sources: ['http://u:p@h/x']\n", 1, "holds a user name or password"},
		{"source field", "sources:\n  - ulr: http://h/\n", 2, `unknown key "ulr" of a source`},
		{"list as file", "- a\n- b\n", 1, "want keys and values"},
		{"alias", "scan:\n  pua: &x true\ncloud_mode: *x\n", 2, "scan.pua is anchor"},
		{"merge key", "scan:\n  <<: {pua: true}\n", 2, "no plain text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parsePolicy("f", []byte(c.yaml))
			var e *configError
			if !errors.As(err, &e) {
				t.Fatalf("parsePolicy = %v, %v; want a configError", got, err)
			}
			p := e.problems[0]
			if got != nil || p.Line != c.line || !strings.Contains(p.Text, c.text) || p.Advice == "" {
				t.Errorf("parsePolicy = %v, %+v; want line %d, %q and a remedy", got, p, c.line, c.text)
			}
		})
	}
}

// The password of a source never reaches an error.
func TestPolicyHidesPasswords(t *testing.T) {
	_, err := parsePolicy("f", []byte("sources: ['http://u:secret@h/x']\n"))
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("parsePolicy: %v; want an error without the password", err)
	}
}

// Every input is an error or a policy, never both.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte("scan: {pua: true}\nsources: [http://h/]\n"))
	f.Add([]byte("? a\n: b\n---\n- &a [*a]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		values, err := parsePolicy("f", b)
		if err != nil {
			var e *configError
			if !errors.As(err, &e) || len(e.problems) == 0 || values != nil {
				t.Fatalf("parsePolicy = %v, %v", values, err)
			}
			return
		}
		for name, v := range values {
			k, ok := findKey(name)
			if !ok {
				t.Fatalf("unknown key %q", name)
			}
			if k.kind == kindSources || k.kind == kindList {
				continue
			}
			if again, err := k.parse(k.text(v.value)); err != nil || again != v.value {
				t.Fatalf("%s: %v is read back as %v, %v", name, v.value, again, err)
			}
		}
	})
}
