package ksn_test

import (
	"encoding/json"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

// For each record that does not decide, the explanation names the field that keeps it from doing so.
func TestExplainNamesTheField(t *testing.T) {
	for _, c := range []struct{ more, why string }{
		{`"scope":{"services":["stats"]}`, "scope.services"},
		{`"scope":{"objects":["url","software"]}`, "scope.objects"},
		{`"scope":{"origins":["background"]}`, "scope.origins"},
		{`"scope":{"networks":["private"]}`, "scope.networks"},
		{`"scope":{"routes":["proxy"]}`, "scope.routes"},
		{`"match":{"products":["gate"]}`, "match.products"},
		{`"match":{"versions":">=3"}`, "match.versions"},
		{`"match":{"regions":["US"]}`, "match.regions"},
		{`"match":{"variants":["full"]}`, "match.variants"},
		{`"match":{"modes":["extended"]}`, "match.modes"},
		{`"match":{"cohort":{"salt":"x1","from":0,"to":7463}}`, "match.cohort: this install has place 7464"},
		{`"not_before":"2026-03-01T13:00:00Z"`, "begins 2026-03-01T13:00:00Z"},
	} {
		t.Run(c.why, func(t *testing.T) {
			e := ksn.Explain(lookup(""), set(t, 3, record("a", "disable", 1, c.more)), facts(t), noon, ksn.Counters{})
			x := e.Records[0]
			if x.Matches || x.Decides || !strings.Contains(x.Why, c.why) || !e.Decision.Allowed || e.Epoch != 3 {
				t.Errorf("Explain = %+v; want %q and an allowed request", e, c.why)
			}
		})
	}
	ended := ksn.Explain(lookup(""), set(t, 1, record("a", "disable", 1, "")), facts(t), noon.AddDate(0, 0, 1), ksn.Counters{})
	if !strings.Contains(ended.Records[0].Why, "ended 2026-03-02T12:00:00Z") {
		t.Errorf("the end is explained as %q", ended.Records[0].Why)
	}
	never := ksn.Explain(lookup(""), set(t, 1, `{"id":"a","action":"disable","priority":1,"not_before":"2026-05-01T00:00:00Z","expires":"2026-06-01T00:00:00Z"}`), facts(t), noon, ksn.Counters{})
	if !strings.Contains(never.Records[0].Why, "ends before it begins") {
		t.Errorf("a record beyond the 30 days is explained as %q", never.Records[0].Why)
	}
}

func TestExplainSaysWhoOutranks(t *testing.T) {
	s := set(t, 1, strings.Join([]string{
		record("low", "disable", 1, ""), record("weak", "allow", 5, ""),
		record("one", "limit", 5, `"limit":{"daily_max":2,"sample_bp":9999,"rate":{"requests":1,"per_s":2,"burst":3}}`),
		record("two", "limit", 5, `"limit":{"ttl_floor_s":{"trusted":5}}`),
	}, ","))
	e := ksn.Explain(lookup(""), s, facts(t), noon, ksn.Counters{})
	for i, want := range []string{"outranked by one, priority 5", "outranked by one: limit beats allow",
		"lets 9999 of 10000 objects pass; lets 1 requests in 2 s pass, 3 at once; lets 2 requests a day pass", "keeps answers longer"} {
		if x := e.Records[i]; x.Why != want || !x.Matches || x.Decides != (i > 1) {
			t.Errorf("record %d: %+v, want %q", i, x, want)
		}
	}
	b, err := json.Marshal(e)
	if err != nil || !strings.Contains(string(b), `"decision":{"allowed":true,"deciding":["one","two"]}`) {
		t.Errorf("%s, %v", b, err)
	}
}

// Without consent the records are explained all the same, and the decision says what comes first.
func TestExplainWithoutConsent(t *testing.T) {
	f := facts(t)
	f.Consent = ksn.Consent{}
	e := ksn.Explain(lookup(""), set(t, 1, record("a", "disable", 1, "")), f, noon, ksn.Counters{})
	if !e.Records[0].Decides || e.Records[0].Why != "disables the request" || e.Decision.Stage != ksn.StageConsent {
		t.Errorf("Explain = %+v", e)
	}
}

// The range parser against a reading of the same rules that shares nothing with it.
func FuzzVersionRange(f *testing.F) {
	for _, s := range []string{"", ">=2.0.0 <3.0.0", "!=2.1.0", "=1", ">1.2.3.4", "<=0", "> 1", ">=1  <2", "<4294967296", "=01", "1.0", "=1.", "=-1", "=1.2.3.4.5"} {
		for _, v := range []string{"2.1.0", "2 x", "-1", "1+b-c", ""} {
			f.Add(s, v)
		}
	}
	f.Fuzz(func(t *testing.T, text, version string) {
		r, err := dbformat.ParseVersionRange(text)
		ok := true
		terms := strings.Split(text, " ")
		if text == "" {
			terms = nil
		}
		holds := true
		core, _, _ := strings.Cut(strings.ReplaceAll(version, "+", "-"), "-")
		have, number := naiveVersion(core + " ")
		for _, term := range terms {
			digits := strings.IndexFunc(term, func(r rune) bool { return r >= '0' && r <= '9' })
			if digits < 0 {
				ok = false
				break
			}
			want, is := naiveVersion(term[digits:] + " ")
			if !is {
				ok = false
				break
			}
			c := compareVersions(have, want)
			switch term[:digits] {
			case "=":
				holds = holds && c == 0
			case "!=":
				holds = holds && c != 0
			case "<":
				holds = holds && c < 0
			case "<=":
				holds = holds && c <= 0
			case ">":
				holds = holds && c > 0
			case ">=":
				holds = holds && c >= 0
			default:
				ok = false
			}
		}
		ok = ok && len(terms) <= 8 && len(text) <= 200
		if ok != (err == nil) {
			t.Fatalf("ParseVersionRange(%q) = %v, want an error: %t", text, err, !ok)
		}
		if err != nil {
			return
		}
		if want := len(terms) == 0 || number && holds; r.Contains(version) != want {
			t.Fatalf("%q contains %q: %t, want %t", text, version, !want, want)
		}
	})
}

// naiveVersion reads the numbers before the one space that ends s.
func naiveVersion(s string) (v [4]uint64, ok bool) {
	i, digits := 0, 0
	for at, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9':
			if digits > 0 && v[i] == 0 {
				return v, false // leading zero
			}
			v[i] = v[i]*10 + uint64(c-'0')
			digits++
			if v[i] > 1<<32-1 {
				return v, false
			}
		case c == '.' && digits > 0 && i < 3:
			i, digits = i+1, 0
		case c == ' ' && digits > 0:
			return v, at == len(s)-1
		default:
			return v, false
		}
	}
	return v, false
}

func compareVersions(a, b [4]uint64) int {
	for i := range a {
		if a[i] != b[i] {
			if a[i] < b[i] {
				return -1
			}
			return 1
		}
	}
	return 0
}
