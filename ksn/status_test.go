package ksn_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

// situation is a device on which KSN works.
func situation(t testing.TB) ksn.Situation {
	f := facts(t)
	f.Network = &ksn.Installed{Kind: ksn.NetworkGlobal, Name: "Check"}
	return ksn.Situation{Facts: f, Now: noon, Link: ksn.Link{}.Answered(noon.Add(-time.Minute)), Running: true}
}

// Each state holds with everything wrong that comes after it in the order, and nothing that comes before.
func TestStatesInTheirOrder(t *testing.T) {
	disable := set(t, 1, record("t-1", "disable", 100, `"scope":{"objects":["url"]},"reason":{"code":"test"}`))
	steps := []struct {
		state  ksn.State
		text   string
		reason string
		cause  func(*ksn.Situation)
	}{
		{ksn.StateEnabled, "Enabled", "", func(*ksn.Situation) {}},
		{ksn.StateUnknown, "Enabled, not confirmed", "nothing was asked yet", func(s *ksn.Situation) { s.Link = ksn.Link{} }},
		{ksn.StateRestricted, "Enabled with restrictions", "restriction t-1: test", func(s *ksn.Situation) { s.Set = disable }},
		{ksn.StateUnavailable, "Enabled, servers unavailable", "connection refused", func(s *ksn.Situation) { s.Link = s.Link.Failed(noon, "connection refused", true) }},
		{ksn.StateNotAuthorized, "Not authorized", "register the credential", func(s *ksn.Situation) { s.Facts.Credential = ksn.CredentialRejected }},
		{ksn.StateDisabled, "Disabled", "switched off", func(s *ksn.Situation) { s.Facts.Consent = s.Facts.Consent.Disable(noon) }},
	}
	s := situation(t)
	for _, step := range steps {
		step.cause(&s)
		st := ksn.NewStatus(s)
		if st.State != step.state || st.Text != step.text || !strings.Contains(st.Reason, step.reason) || (st.Reason == "") != (step.reason == "") {
			t.Errorf("state %q, %q, %q; want %q, %q, %q", st.State, st.Text, st.Reason, step.state, step.text, step.reason)
		}
	}
}

// Where restrictions disable every look-up, no route is permitted that could fail: that nobody answered before is not the news.
func TestWhoMayNotAskFindsNobodyUnavailable(t *testing.T) {
	for scope, want := range map[string]ksn.State{
		`"scope":{}`:                             ksn.StateRestricted,
		`"scope":{"objects":["file","url"]}`:     ksn.StateUnavailable,
		`"scope":{"origins":["manual"]}`:         ksn.StateUnavailable,
		`"scope":{"services":["info","stats"]}`:  ksn.StateUnavailable,
		`"scope":{"networks":["private"]}`:       ksn.StateUnavailable,
		`"scope":{"services":["lookup","info"]}`: ksn.StateRestricted,
	} {
		s := situation(t)
		s.Set = set(t, 1, record("t-1", "disable", 100, scope))
		s.Link = s.Link.Failed(noon, "connection refused", true)
		if st := ksn.NewStatus(s); st.State != want {
			t.Errorf("%s: %s, want %s", scope, st.State, want)
		}
	}
}

func TestDisabledSaysWhy(t *testing.T) {
	for reason, f := range map[string]ksn.Facts{
		"no statement is accepted": {},
		"switched off":             {Consent: accepted(t)},
		"switched off by policy":   {Consent: enabled(t, ksn.ModeBasic), Policy: ksn.ModeOff},
	} {
		st := ksn.NewStatus(ksn.Situation{Facts: f, Now: noon})
		if st.State != ksn.StateDisabled || st.Reason != reason || st.Mode != ksn.ModeOff {
			t.Errorf("%+v; want disabled because %s", st, reason)
		}
	}
}

// Without a network nothing is claimed; but a restriction that would hold a request back shows all the same.
func TestNoNetworkInstalled(t *testing.T) {
	s := ksn.Situation{Facts: facts(t), Now: noon}
	st := ksn.NewStatus(s)
	if st.State != ksn.StateUnknown || st.Reason != "no network installed" || st.Network != ksn.NetworkGlobal || st.NetworkInstalled || st.LastOK != nil {
		t.Errorf("NewStatus = %+v", st)
	}
	if st.Counters.File != (ksn.Tally{}) || len(st.Counters.SuppressedBy) != 0 {
		t.Errorf("counters of something that did not happen: %+v", st.Counters)
	}
	s.Set = set(t, 4, record("t-1", "disable", 100, `"reason":{"code":"test"}`))
	if st = ksn.NewStatus(s); st.State != ksn.StateRestricted || st.Text != "Enabled with restrictions" || st.Epoch != 4 {
		t.Errorf("with a restriction: %+v", st)
	}
}

// A provider file that is there and cannot be used is of its own network: "global" would say that questions go there.
func TestNetworkThatCannotBeUsed(t *testing.T) {
	s := ksn.Situation{Facts: facts(t), Now: noon}
	s.Facts.Unusable = ksn.NetworkPrivate
	st := ksn.NewStatus(s)
	if st.State != ksn.StateUnknown || st.Reason != "the provider file of the private network cannot be used" || st.Network != ksn.NetworkPrivate || st.NetworkInstalled {
		t.Errorf("NewStatus = %+v", st)
	}
}

// Restricted is what limits something that this client would use now, denied or not; nothing else is.
func TestWhatCountsAsRestricted(t *testing.T) {
	private := func(s *ksn.Situation) { s.Facts.Network = &ksn.Installed{Kind: ksn.NetworkPrivate} }
	extended := func(s *ksn.Situation) { s.Facts.Consent = enabled(t, ksn.ModeExtended) }
	proxy := func(s *ksn.Situation) { s.Routes = ksn.Routes(true, false) }
	both := func(s *ksn.Situation) { s.Routes = ksn.Routes(true, true) }
	generous := `"limit":{"daily_max":1000000}`
	for _, c := range []struct {
		name    string
		records string
		change  func(*ksn.Situation)
		want    string // ids
	}{
		{"a limit that nothing reached", record("a", "limit", 1, generous), nil, "a"},
		{"one origin of one object", record("a", "disable", 1, `"scope":{"objects":["url"],"origins":["background"]}`), nil, "a"},
		{"allow", record("a", "allow", 1, ""), nil, ""},
		{"a disable that an allow outranks", record("a", "allow", 2, "") + "," + record("b", "disable", 1, ""), nil, ""},
		{"a disable that an allow outranks in part", record("a", "allow", 2, `"scope":{"objects":["file"]}`) + "," + record("b", "disable", 1, ""), nil, "b"},
		{"another cohort", record("a", "disable", 1, `"match":{"cohort":{"salt":"x1","from":0,"to":7463}}`), nil, ""},
		{"another variant", record("a", "disable", 1, `"match":{"variants":["full"]}`), nil, ""},
		{"ended", `{"id":"a","action":"disable","priority":1,"expires":"2026-03-01T11:00:00Z"}`, nil, ""},
		{"statistics in basic mode", record("a", "disable", 1, `"scope":{"services":["stats"]}`), nil, ""},
		{"statistics in extended mode", record("a", "disable", 1, `"scope":{"services":["stats"]}`), extended, "a"},
		{"the global network, on a private one", record("a", "disable", 1, ""), private, ""},
		{"both networks, on a private one", record("a", "disable", 1, `"scope":{"networks":["global","private"]}`), private, "a"},
		{"the way through a proxy, without one", record("a", "disable", 1, `"scope":{"routes":["proxy"]}`), nil, ""},
		{"the direct way, with a proxy only", record("a", "disable", 1, `"scope":{"routes":["direct"]}`), proxy, ""},
		{"the direct way, with a proxy and servers", record("a", "disable", 1, `"scope":{"routes":["direct"]}`), both, "a"},
		{"info", record("a", "disable", 1, `"scope":{"services":["info"]}`), nil, "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := situation(t)
			s.Set = set(t, 1, c.records)
			if c.change != nil {
				c.change(&s)
			}
			st := ksn.NewStatus(s)
			var ids []string
			for _, r := range st.Restrictions {
				ids = append(ids, r.ID)
			}
			if strings.Join(ids, " ") != c.want || (st.State == ksn.StateRestricted) != (c.want != "") {
				t.Errorf("state %s, restrictions %v; want %q", st.State, ids, c.want)
			}
		})
	}
}

// What is still to come is listed apart, in the order in which it begins, and restricts nothing yet.
func TestScheduledRestrictions(t *testing.T) {
	s := situation(t)
	s.Set = set(t, 1, record("late", "disable", 1, `"not_before":"2026-03-01T15:00:00Z"`)+","+
		record("soon", "disable", 1, `"not_before":"2026-03-01T13:00:00Z","reason":{"text":{"en":"Maintenance","de":"Wartung"}}`)+","+
		record("others", "disable", 1, `"not_before":"2026-03-01T13:00:00Z","match":{"regions":["US"]}`)+","+
		`{"id":"never","action":"disable","priority":1,"not_before":"2026-06-01T00:00:00Z","expires":"2026-07-01T00:00:00Z"},`+
		record("allow", "allow", 1, `"not_before":"2026-03-01T13:00:00Z"`))
	s.Language = "de-AT"
	st := ksn.NewStatus(s)
	if st.State != ksn.StateEnabled || len(st.Restrictions) != 0 || len(st.Scheduled) != 2 ||
		st.Scheduled[0].ID != "soon" || st.Scheduled[1].ID != "late" || st.Scheduled[0].Text != "Wartung" || st.Scheduled[0].Reason != "Wartung" {
		t.Errorf("NewStatus = %+v", st)
	}
	s.Now = noon.Add(time.Hour)
	s.Link = s.Link.Answered(s.Now)
	if st = ksn.NewStatus(s); st.State != ksn.StateRestricted || len(st.Scheduled) != 1 {
		t.Errorf("an hour later: %+v", st)
	}
}

// Leaving enabled takes three failures or one sweep of all routes, returning takes one authentic answer.
func TestLinkFailures(t *testing.T) {
	s := situation(t)
	for i, want := range []ksn.State{ksn.StateEnabled, ksn.StateEnabled, ksn.StateUnavailable, ksn.StateUnavailable} {
		s.Link = s.Link.Failed(noon.Add(time.Duration(i)*time.Second), "time-out", false)
		if st := ksn.NewStatus(s); st.State != want || st.LastError != "time-out" {
			t.Errorf("after %d failures: %s", i+1, st.State)
		}
	}
	if st := ksn.NewStatus(s); st.Since == nil || !st.Since.Equal(noon) {
		t.Errorf("unavailable since %v, want the first failure", st.Since)
	}
	s.Link = s.Link.Answered(noon.Add(time.Minute))
	if st := ksn.NewStatus(s); st.State != ksn.StateEnabled || st.LastError != "" {
		t.Errorf("after an answer: %+v", st)
	}
	s.Link = s.Link.Failed(noon.Add(time.Minute), "no route", true)
	if st := ksn.NewStatus(s); st.State != ksn.StateUnavailable {
		t.Errorf("after a sweep: %s", st.State)
	}
}

// An answer proves something for 15 minutes. After that a process that keeps asking knows that the network is gone,
// and one that just began knows nothing.
func TestAnOldAnswer(t *testing.T) {
	for _, c := range []struct {
		age     time.Duration
		running bool
		want    ksn.State
	}{
		{14 * time.Minute, true, ksn.StateEnabled}, {14 * time.Minute, false, ksn.StateEnabled},
		{15 * time.Minute, true, ksn.StateUnavailable}, {15 * time.Minute, false, ksn.StateUnknown},
	} {
		s := situation(t)
		s.Link, s.Running = ksn.Link{}.Answered(noon.Add(-c.age)), c.running
		if st := ksn.NewStatus(s); st.State != c.want {
			t.Errorf("an answer %s old, running %t: %s, want %s", c.age, c.running, st.State, c.want)
		}
	}
}

func TestRestrictedSince(t *testing.T) {
	s := situation(t)
	s.Facts.Consent.Since = nil
	s.Now = noon.Add(2 * time.Hour)
	s.Link = s.Link.Answered(s.Now)
	s.Set = set(t, 1, record("a", "disable", 1, `"not_before":"2026-03-01T13:00:00Z"`))
	if st := ksn.NewStatus(s); st.Since == nil || !st.Since.Equal(noon.Add(time.Hour)) {
		t.Errorf("since %v, want the record's beginning", st.Since)
	}
	s.Set = set(t, 1, record("a", "disable", 1, ""))
	if st := ksn.NewStatus(s); !st.Since.Equal(noon) {
		t.Errorf("since %v, want the signing time", st.Since)
	}
	on := dbformat.At(noon.Add(90 * time.Minute))
	s.Facts.Consent.Since = &on
	if st := ksn.NewStatus(s); !st.Since.Equal(on.Time) {
		t.Errorf("since %v, want when KSN was switched on", st.Since)
	}
}

// Scripts read these fields; none of them goes away or is absent for want of a value.
func TestStatusFields(t *testing.T) {
	s := ksn.Situation{Facts: facts(t), CloudMode: true, Now: noon,
		Set: set(t, 1, record("t-1", "disable", 100, `"reason":{"code":"test"}`))}
	b, err := json.Marshal(ksn.NewStatus(s))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"state":"restricted","text":"Enabled with restrictions","network":"global","network_installed":false,"mode":"basic",` +
		`"cloud_mode":true,"cloud_mode_effective":true,"reason":"restriction t-1: test","since":"2026-03-01T12:00:00Z","last_ok":null,` +
		`"statement":2,"epoch":1,"restrictions":[{"id":"t-1","action":"disable","until":"2026-03-02T12:00:00Z","reason":"test"}],"scheduled":[],` +
		`"counters":{"file":{"asked":0,"answered":0,"suppressed":0},"url":{"asked":0,"answered":0,"suppressed":0},` +
		`"software":{"asked":0,"answered":0,"suppressed":0},"suppressed_by":{}}}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	var zero map[string]any
	b, err = json.Marshal(ksn.NewStatus(ksn.Situation{}))
	if err == nil {
		err = json.Unmarshal(b, &zero)
	}
	for _, key := range []string{"state", "text", "network", "mode", "cloud_mode", "cloud_mode_effective", "reason", "since", "last_ok", "restrictions", "scheduled", "counters"} {
		if _, ok := zero[key]; !ok || err != nil {
			t.Errorf("a new device's status has no %q: %s, %v", key, b, err)
		}
	}
}

// Cloud mode takes consent and a network that can be used and does not refuse it; else it stays accepted and says why it has no effect.
func TestCloudMode(t *testing.T) {
	refusing := facts(t)
	refusing.Network = &ksn.Installed{Kind: ksn.NetworkPrivate, RefusesCloudMode: true}
	willing := facts(t)
	willing.Network = &ksn.Installed{Kind: ksn.NetworkPrivate}
	unusable := facts(t)
	unusable.Unusable = ksn.NetworkGlobal
	rejected := willing
	rejected.Credential = ksn.CredentialRejected
	for _, c := range []struct {
		name  string
		on    bool
		facts ksn.Facts
		want  dbformat.Variant
		why   string
	}{
		{"off", false, willing, dbformat.VariantFull, ""},
		{"on", true, willing, dbformat.VariantLight, ""},
		{"no network", true, facts(t), dbformat.VariantLight, ""},
		{"a network that cannot be used", true, unusable, dbformat.VariantFull, "the provider file of the global network cannot be used"},
		{"refused by the network", true, refusing, dbformat.VariantFull, "does not offer cloud mode"},
		{"not authorized changes nothing by itself", true, rejected, dbformat.VariantLight, ""},
		{"no statement", true, ksn.Facts{}, dbformat.VariantFull, "no statement is accepted"},
		{"KSN off", true, ksn.Facts{Consent: accepted(t)}, dbformat.VariantFull, "switched off"},
		{"KSN off by policy", true, ksn.Facts{Consent: enabled(t, ksn.ModeBasic), Policy: ksn.ModeOff}, dbformat.VariantFull, "policy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ksn.WantedVariant(c.on, c.facts); got != c.want {
				t.Errorf("WantedVariant = %s, want %s", got, c.want)
			}
			st := ksn.NewStatus(ksn.Situation{Facts: c.facts, CloudMode: c.on, Now: noon})
			if st.CloudMode != c.on || st.CloudModeEffective != (c.want == dbformat.VariantLight) || !strings.Contains(st.CloudModeReason, c.why) || (c.why == "") != (st.CloudModeReason == "") {
				t.Errorf("NewStatus = %+v; want the reason %q", st, c.why)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	for _, c := range []struct {
		proxy, servers bool
		want           []ksn.Route
	}{
		{false, false, []ksn.Route{ksn.RouteDirect}}, {false, true, []ksn.Route{ksn.RouteDirect}},
		{true, false, []ksn.Route{ksn.RouteProxy}}, {true, true, []ksn.Route{ksn.RouteProxy, ksn.RouteDirect}},
	} {
		if got := ksn.Routes(c.proxy, c.servers); !slices.Equal(got, c.want) {
			t.Errorf("Routes(%t, %t) = %v, want %v", c.proxy, c.servers, got, c.want)
		}
	}
}
