package store

import (
	"bytes"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
)

// FuzzCurrent: what parses is encoded as the same bytes; an error comes with nothing.
func FuzzCurrent(f *testing.F) {
	for _, c := range []*Current{
		{Generation: gen(1, 1, 0)},
		{Generation: gen(3, 5, 6), Others: []Generation{gen(2, 3, 4)}, Hold: Hold{Version: 4, All: true, Since: day(9)},
			RolledBack: &RolledBack{From: gen(4, 7, 8), Since: day(9)}},
	} {
		b, err := encodeCurrent(c)
		must(f, err)
		f.Add(b)
	}
	f.Add([]byte(`{"schema":2}`))
	g := gen(3, 5, 6)
	b, err := encodeCurrent(&Current{Generation: g, Others: []Generation{gen(2, 3, 4), gen(1, 7, 0)}, Hold: Hold{Version: 4, Since: day(9)}})
	must(f, err)
	spoil(f, b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCurrent(b)
		if (err == nil) != (c != nil) {
			t.Fatalf("parseCurrent = %v, %v", c, err)
		}
		if err != nil {
			return
		}
		if again, err := encodeCurrent(c); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("encoded as %s, %v", again, err)
		}
	})
}

// FuzzSettings: settings that are read can be written and read again, unchanged.
func FuzzSettings(f *testing.F) {
	v := DefaultSettings()
	v.Install = "00112233445566778899aabbccddeeff"
	b, err := encodeJSON(v)
	must(f, err)
	f.Add(b)
	v.Sources = []SettingsSource{{URL: "https://h/", Basic: &SettingsSecret{User: "u", Env: "X"}, Proxy: "direct", MaxAge: "36h"}}
	b, err = encodeJSON(v)
	must(f, err)
	spoil(f, b)
	f.Add([]byte(`{"schema":1,"install":"00112233445566778899aabbccddeeff","ksn":{"accepted":{"mode":"basic","time":"2026-01-01T00:00:00Z"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v := DefaultSettings()
		if dbformat.DecodeJSON(b, &v) != nil || v.check() != nil {
			return
		}
		first, err := encodeJSON(v)
		must(t, err)
		again := DefaultSettings()
		must(t, dbformat.DecodeJSON(first, &again))
		must(t, again.check())
		second, err := encodeJSON(again)
		must(t, err)
		if !bytes.Equal(first, second) {
			t.Fatalf("written as %s, then as %s", first, second)
		}
	})
}

// FuzzOverrides: overrides that are read are what a store may hold, in order and one for each object, and are the same when they were written and
// read again.
func FuzzOverrides(f *testing.F) {
	known := override(3)
	known.OverrideAbout = aboutMost("Name")
	for _, list := range [][]Override{nil, {known}, {override(1)}, {override(2), override(1)}, {{Key: "file-md5:" + strings.Repeat("0a", 16), Verdict: "untrusted", Since: dbformat.At(day(1))}}} {
		b, err := encodeOverrides(list)
		must(f, err)
		spoil(f, b)
	}
	one, err := encodeOverrides([]Override{override(1)})
	must(f, err)
	for _, c := range [][2]string{{"trusted", "unknown"}, {"trusted", "TRUSTED"}, {"file-sha256", "file-md5"}, {"file-sha256", "url"}, {"000", "00A"}, {"ticket", "a\\u0000b"}, {"ticket", "\xff"},
		{"2026", "1969"}, {"}", "},"}, {"schema", "Schema"}} {
		f.Add([]byte(strings.Replace(string(one), c[0], c[1], 1)))
	}
	f.Add([]byte(strings.Replace(string(one), "    {", "    null, {", 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseOverrides(b)
		if err != nil {
			if list != nil {
				t.Fatalf("%v, and %v", err, list)
			}
			return
		}
		for i, o := range list {
			k, err := protocol.ParseTypedKey(o.Key)
			if err != nil || k.String() != o.Key || i > 0 && o.Key <= list[i-1].Key || o.Verdict.Rank() < 2 || len(o.Note) > dbformat.MaxName || !utf8.ValidString(o.Note) || len(o.Signer) > dbformat.MaxName || len(o.Regions) > protocol.MaxRegions {
				t.Fatalf("override %d is %+v", i, o)
			}
		}
		first, err := encodeOverrides(list)
		must(t, err)
		again, err := parseOverrides(first)
		must(t, err)
		second, err := encodeOverrides(again)
		must(t, err)
		if len(list)+len(again) > 0 && !reflect.DeepEqual(list, again) || !bytes.Equal(first, second) {
			t.Fatalf("written as %s, then as %s", first, second)
		}
	})
}

var scalar = regexp.MustCompile(`("\w+"): ?("[^"]*"|-?\d+|true|false|\[[^]{}[]*\])`)

// spoil adds a JSON document with each of its values absent, null, of a wrong type, negative, huge or twice, and cut.
func spoil(f *testing.F, doc []byte) {
	text := string(doc)
	for _, at := range scalar.FindAllStringSubmatchIndex(text, -1) {
		for _, v := range []string{"null", `""`, "-1", "0", "18446744073709551616", "9007199254740992", "[]", text[at[4]:at[5]] + "," + text[at[2]:at[3]] + ":1"} {
			f.Add([]byte(text[:at[4]] + v + text[at[5]:]))
		}
		f.Add([]byte(strings.Replace(text[:at[0]]+text[at[1]:], ",,", ",", 1)))
		f.Add([]byte(text[:at[1]]))
	}
}

// FuzzSourceURL: what is taken for a source has a scheme that an updater knows, and is written without what stands in a place of a secret.
func FuzzSourceURL(f *testing.F) {
	for _, u := range []string{"", "http://h/", "https://h:443/a?b#c", "file:///srv/x", "ftp://h/", "HTTP://H", "http:", "//h", "https://u:p@h/", "http://[::1]:80/", "javascript:x",
		"http://h/%zz", "https://\x00", "file://host/x", strings.Repeat("h", 5000)} {
		for _, proxy := range []string{"", "direct", "http://p:3128", "socks5://p"} {
			for _, age := range []string{"", "10d", "-1h", "9999d"} {
				f.Add(u, proxy, age, "TOKEN")
			}
		}
	}
	f.Fuzz(func(t *testing.T, u, proxy, age, env string) {
		for _, v := range []SettingsSource{{URL: u}, {URL: u, Proxy: proxy, MaxAge: age}, {URL: u, Proxy: proxy, Bearer: &SettingsSecret{Env: env}},
			{URL: u, Basic: &SettingsSecret{File: env}, ClientCert: &SettingsCert{Env: env}}} {
			if v.Check() != nil {
				continue
			}
			parsed, err := url.Parse(u)
			if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" && parsed.Scheme != "file" {
				t.Fatalf("%q is taken", u)
			}
			if d, err := v.Age(); err != nil || d < 0 || d > maxAge {
				t.Fatalf("%q is an age of %v, %v", age, d, err)
			}
		}
	})
}
