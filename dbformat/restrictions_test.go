package dbformat_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

const fullSource = `{"schema":1,"epoch":12,"records":[{
  "id":"2026-03-ddos-a","action":"limit","priority":100,
  "not_before":"2026-03-01T00:00:00Z","expires":"2026-03-08T00:00:00Z","expire_jitter_s":3600,
  "scope":{"services":["lookup","info","stats"],"objects":["file","url","software"],
           "origins":["on_access","on_demand","manual","background"],"networks":["global"],"routes":["direct","proxy"]},
  "match":{"products":["suite"],"versions":">=2.0.0 <3.0.0","regions":["EU"],"variants":["light"],"modes":["basic"],
           "cohort":{"salt":"x1","from":0,"to":4999}},
  "limit":{"sample_bp":2500,"sample_key":"object",
           "rate":{"requests":30,"per_s":60,"burst":10},"daily_max":2000,"ttl_floor_s":{"trusted":86400}},
  "reason":{"code":"ddos_protection","text":{"en":"Protecting the service","pt-BR":"…"}}}]}`

func TestRestrictionSetRoundTrip(t *testing.T) {
	s, err := dbformat.ParseRestrictionSource([]byte(fullSource))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Encode(); err == nil {
		t.Error("a set without a signing time was encoded for signing")
	}
	signed := dbformat.At(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	s.Signed = &signed
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := dbformat.ParseRestrictionSet(b)
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	later := dbformat.At(signed.Add(time.Hour))
	got.Signed = &later
	if !got.SameContent(s) {
		t.Error("the same content at another time is not the same content")
	}
	got.Records[0].Priority++
	if got.SameContent(s) {
		t.Error("another priority is the same content")
	}
}

// A set with any doubtful record is refused whole, and the text names the record and the field.
func TestRestrictionSourceRefusals(t *testing.T) {
	for _, c := range []struct{ old, new, reason string }{
		{`"epoch":12`, `"epoch":0`, "epoch 0"},
		{`"epoch":12`, `"epoch":12,"signed":"2026-03-01T00:00:00Z"`, "signed"},
		{`"epoch":12`, `"epoch":12,"note":"x"`, "unknown field"},
		{`"schema":1`, `"schema":3`, "schema 3"},
		{`"id":"2026-03-ddos-a"`, `"id":""`, "id"},
		{`"id":"2026-03-ddos-a"`, `"id":"A"`, "id"},
		{`"action":"limit"`, `"action":"enable"`, `action "enable"`},
		{`"action":"limit"`, `"action":"disable"`, "limit: is for the action limit"},
		{`"priority":100`, `"priority":-1`, "priority"},
		{`"expires":"2026-03-08T00:00:00Z",`, ``, "expires: is required"},
		{`"expires":"2026-03-08T00:00:00Z"`, `"expires":"next week"`, "time"},
		{`"not_before":"2026-03-01T00:00:00Z"`, `"not_before":"2026-04-01T00:00:00Z"`, "not_before is not before"},
		{`"expire_jitter_s":3600`, `"expire_jitter_s":9999999`, "expire_jitter_s"},
		{`"services":["lookup","info","stats"]`, `"services":["lookup","lookup"]`, "scope.services"},
		{`"networks":["global"]`, `"networks":["everywhere"]`, "scope.networks"},
		{`>=2.0.0 <3.0.0`, `2.x`, "match.versions"},
		{`"variants":["light"]`, `"variants":["medium"]`, "match.variants"},
		{`"to":4999`, `"to":10000`, "match.cohort"},
		{`"sample_bp":2500`, `"sample_bp":10001`, "sample_bp"},
		{`"sample_key":"object"`, `"sample_key":"day"`, "sample_key"},
		{`"burst":10`, `"burst":0`, "limit.rate"},
		{`{"trusted":86400}`, `{"clean":86400}`, "ttl_floor_s"},
		{`"code":"ddos_protection"`, `"code":"DDoS"`, "reason.code"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			doc := strings.Replace(fullSource, c.old, c.new, 1)
			if doc == fullSource {
				t.Fatalf("nothing to replace: %s", c.old)
			}
			s, err := dbformat.ParseRestrictionSource([]byte(doc))
			if s != nil || !errors.Is(err, dbformat.ErrCorrupt) || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("ParseRestrictionSource = %v, %v; want an error with %q", s, err, c.reason)
			}
		})
	}
	record := `{"id":"a","action":"disable","priority":1,"expires":"2026-03-08T00:00:00Z"}`
	twice := `{"schema":1,"epoch":1,"records":[` + record + "," + record + `]}`
	if _, err := dbformat.ParseRestrictionSource([]byte(twice)); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("the same id twice: %v", err)
	}
}

// What would move the cursor of a terminal, break a line or turn the direction of text stands in no text of a set, and
// in no name of a signature.
func TestTextsOfRestrictionsAreOneLineThatReadsAsWritten(t *testing.T) {
	fields := []struct{ old, new, field string }{
		{`"suite"`, `"su%site"`, "match.products"},
		{`"EU"`, `"EU%s"`, "match.regions"},
		{`"x1"`, `"%sx1"`, "match.cohort.salt"},
		{`"en":`, `"e%sn":`, `reason.text: the tag`},
		{`Protecting the`, `Protecting%s the`, `reason.text: "en": the text`},
	}
	try := func(r rune) {
		for _, f := range fields {
			escaped := fmt.Sprintf("\\u%04x", r)
			want := fmt.Sprintf("has the control character %U", r)
			doc := strings.Replace(fullSource, f.old, fmt.Sprintf(f.new, escaped), 1)
			s, err := dbformat.ParseRestrictionSource([]byte(doc))
			if s != nil || !errors.Is(err, dbformat.ErrCorrupt) {
				t.Fatalf("%U in %s was read: %v", r, f.field, err)
			}
			for _, part := range []string{`record 1 ("2026-03-ddos-a")`, f.field, want} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%U in %s: %q, want %q in it", r, f.field, err, part)
				}
			}
			if s, err := dbformat.ParseRestrictionSet(signedSet(t, f.old, fmt.Sprintf(f.new, escaped))); s != nil ||
				!errors.Is(err, dbformat.ErrCorrupt) || !strings.Contains(err.Error(), f.field) || !strings.Contains(err.Error(), want) {
				t.Errorf("%U in %s of a signed set: %v, %v", r, f.field, s, err)
			}
		}
		if err := dbformat.CheckName("Win." + string(r) + "A"); err == nil {
			t.Errorf("%U is allowed in a signature's name", r)
		}
	}
	for _, span := range [][2]rune{{0, 0x1f}, {0x7f, 0x9f}, {0x2028, 0x202e}, {0x2066, 0x2069}, {0x61c, 0x61c}, {0x200e, 0x200f}, {0xfeff, 0xfeff}} {
		for r := span[0]; r <= span[1]; r++ {
			try(r)
		}
	}
	for _, r := range []rune{' ', '~', 0xa0, 0x2027, 0x202f, 0x2065, 0x206a, 'é', 'ш', 'א', 0xfffd, 0x1f6e1} {
		for _, f := range fields {
			doc := strings.Replace(fullSource, f.old, fmt.Sprintf(f.new, string(r)), 1)
			if _, err := dbformat.ParseRestrictionSource([]byte(doc)); err != nil {
				t.Errorf("%U in %s: %v", r, f.field, err)
			}
		}
	}
}

// signedSet gives the canonical bytes of fullSource, signed, with one text replaced by an escaped one; canonical bytes
// spell some characters as they are.
func signedSet(t *testing.T, old, escaped string) []byte {
	t.Helper()
	s, err := dbformat.ParseRestrictionSource([]byte(fullSource))
	if err != nil {
		t.Fatal(err)
	}
	signed := dbformat.At(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	s.Signed = &signed
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var set dbformat.RestrictionSet
	if err := json.Unmarshal(bytes.Replace(b, []byte(old), []byte(escaped), 1), &set); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(&set); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

func TestVersionRange(t *testing.T) {
	for _, c := range []struct {
		r, v string
		want bool
	}{
		{"", "anything", true},
		{">=2.0.0 <3.0.0", "2.0.0", true},
		{">=2.0.0 <3.0.0", "2.99.1", true},
		{">=2.0.0 <3.0.0", "3.0.0", false},
		{">=2.0.0 <3.0.0", "1.9.9", false},
		{">=2 <3", "2.5", true},
		{"=1.2.3", "1.2.3-rc1", true},
		{"!=1.2.3", "1.2.3", false},
		{">1.2", "1.2.0.1", true},
		{"<=1.2", "1.10", false},
		{">=1", "devel", false},
	} {
		r, err := dbformat.ParseVersionRange(c.r)
		if err != nil {
			t.Fatalf("%q: %v", c.r, err)
		}
		if got := r.Contains(c.v); got != c.want {
			t.Errorf("%q contains %q: %t, want %t", c.r, c.v, got, c.want)
		}
	}
	for _, s := range []string{" ", "1.0", ">= 1.0", ">=1.0  <2.0", ">=01", "~1", ">=1.2.3.4.5", ">=4294967296", "=>1", strings.Repeat(">=1 ", 8) + ">=1"} {
		if r, err := dbformat.ParseVersionRange(s); err == nil {
			t.Errorf("ParseVersionRange(%q) = %v, want an error", s, r)
		}
	}
}

func FuzzParseRestrictions(f *testing.F) {
	seedDocument(f, fullSource)
	s, err := dbformat.ParseRestrictionSource([]byte(fullSource))
	if err != nil {
		f.Fatal(err)
	}
	signed := dbformat.At(time.Unix(1e9, 0))
	s.Signed = &signed
	b, err := s.Encode()
	if err != nil {
		f.Fatal(err)
	}
	seedDocument(f, string(b))
	for _, match := range []string{">=2.0.0", "<1.2.3.4", "<=1.0.0 >0.1.0", "!=3.0.0", "=3.0.0", ">=1.2.3.4.5", ">=01.0.0", "1.0.0", strings.Repeat(">=1.0.0 ", 9)} {
		seedDocument(f, strings.Replace(fullSource, ">=2.0.0 <3.0.0", match, 1))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := dbformat.ParseRestrictionSet(b); err == nil {
			if again, err := s.Encode(); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("re-encoded as %s, %v", again, err)
			}
		}
		s, err := dbformat.ParseRestrictionSource(b)
		if err != nil {
			if s != nil || !errors.Is(err, dbformat.ErrCorrupt) {
				t.Fatalf("ParseRestrictionSource = %v, %v; want nil and ErrCorrupt", s, err)
			}
			return
		}
		for _, r := range s.Records {
			if v, err := dbformat.ParseVersionRange(r.Match.Versions); err != nil || v.Contains("no version") && r.Match.Versions != "" || v.Contains("2.0.0-rc1") != v.Contains("2.0.0") {
				t.Fatalf("the range %q: %v", r.Match.Versions, err)
			}
		}
		if !s.SameContent(s) {
			t.Fatal("a set differs from itself")
		}
		signed := dbformat.At(time.Unix(1e9, 0))
		s.Signed = &signed
		out, err := s.Encode()
		if err != nil {
			if len(b) < dbformat.MaxRestrictionSet/2 {
				t.Fatalf("a set that was read cannot be signed: %v", err)
			}
			return
		}
		if _, err := dbformat.ParseRestrictionSet(out); err != nil {
			t.Fatalf("a signed set cannot be read: %v\n%s", err, out)
		}
	})
}

// A list that is written and empty says what a list that is left out says. Once it was signed as an empty object, which no endpoint takes.
func TestEmptyListsInASourceCanBeSigned(t *testing.T) {
	for _, field := range []string{`"scope":{"services":[]}`, `"scope":{}`, `"match":{"products":[],"regions":[]}`, `"match":{}`, `"reason":{"text":{}}`, `"reason":{}`} {
		s, err := dbformat.ParseRestrictionSource([]byte(`{"schema":1,"epoch":1,"records":[{"id":"a","action":"disable","expires":"2026-03-08T00:00:00Z",` + field + `}]}`))
		if err != nil {
			t.Fatalf("%s: %v", field, err)
		}
		signed := dbformat.At(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
		s.Signed = &signed
		b, err := s.Encode()
		if err != nil {
			t.Fatalf("%s: %v", field, err)
		}
		if _, err := dbformat.ParseRestrictionSet(b); err != nil {
			t.Errorf("%s: signed as %s: %v", field, b, err)
		}
	}
}
