package ksn_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

const testInstall = "00112233445566778899aabbccddeeff"

// lookup is a plain look-up of a file.
func lookup(key string) ksn.Request {
	return ksn.Request{Service: ksn.ServiceLookup, Object: ksn.ObjectFile, Origin: ksn.OriginOnDemand,
		Network: ksn.NetworkGlobal, Route: ksn.RouteDirect, Key: key}
}

// facts are those of a client that may ask.
func facts(t testing.TB) ksn.Facts {
	return ksn.Facts{Consent: enabled(t, ksn.ModeBasic), Install: testInstall, Product: "suite", Version: "2.1.0",
		Region: "EU", Variant: dbformat.VariantLight}
}

// set makes a set, signed at noon, from the records' JSON; it goes the way of a real one through the strict parser.
func set(t testing.TB, epoch int, records string) *ksn.Set {
	t.Helper()
	s, err := dbformat.ParseRestrictionSource(fmt.Appendf(nil, `{"schema":1,"epoch":%d,"records":[%s]}`, epoch, records))
	if err != nil {
		t.Fatal(err)
	}
	signed := dbformat.At(noon)
	s.Signed = &signed
	return compile(t, s)
}

func compile(t testing.TB, s *dbformat.RestrictionSet) *ksn.Set {
	t.Helper()
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := dbformat.ParseRestrictionSet(b)
	if err != nil {
		t.Fatal(err)
	}
	out, err := ksn.NewSet(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// record is the JSON of a record that lives a day from noon.
func record(id, action string, priority int, more string) string {
	if more != "" {
		more = "," + more
	}
	return fmt.Sprintf(`{"id":%q,"action":%q,"priority":%d,"expires":"2026-03-02T12:00:00Z"%s}`, id, action, priority, more)
}

// A set that cannot be proved lets nothing pass, on a device and on a proxy, and says what helps; consent is asked before it, as ever.
func TestNothingIsAllowedByASetThatIsNotProved(t *testing.T) {
	s := ksn.Unproved()
	if s.Len() != 0 || s.Epoch() != 0 || !s.Signed().IsZero() || !s.Unproved() || (*ksn.Set)(nil).Unproved() || set(t, 1, "").Unproved() {
		t.Fatalf("set %+v", s)
	}
	f := facts(t)
	f.Consent = enabled(t, ksn.ModeExtended)
	for _, service := range []ksn.Service{ksn.ServiceLookup, ksn.ServiceInfo, ksn.ServiceStats} {
		for name, gate := range map[string]func(ksn.Request, *ksn.Set, ksn.Facts, time.Time, ksn.Counters) (ksn.Decision, ksn.Counters){
			"decide": ksn.Decide, "decide also": ksn.DecideAlso, "forward": ksn.Forward,
		} {
			q := lookup("a")
			q.Service = service
			d, _ := gate(q, s, f, noon, ksn.Counters{})
			if d.Allowed || d.Stage != ksn.StageRestriction || d.By != "unproved" || !strings.Contains(d.Remedy, "run an update") || d.Deciding == nil {
				t.Errorf("%s, %s: %+v", name, service, d)
			}
			if err := d.Err("lookup"); !errors.Is(err, ksn.ErrRefused) {
				t.Errorf("%s, %s: %v", name, service, err)
			}
		}
	}
	if e := ksn.Explain(lookup("a"), s, f, noon, ksn.Counters{}); e.Decision.Allowed || len(e.Records) != 0 {
		t.Errorf("explained as %+v", e)
	}
	if d, _ := ksn.Decide(lookup("a"), s, ksn.Facts{}, noon, ksn.Counters{}); d.Stage != ksn.StageConsent {
		t.Errorf("without consent: %+v", d)
	}
	in := situation(t)
	in.Set, in.Link = s, in.Link.Failed(noon, "refused", true)
	if st := ksn.NewStatus(in); st.State != ksn.StateRestricted || !strings.Contains(st.Reason, "run an update") || st.Epoch != 0 {
		t.Errorf("status %+v", st)
	}
}

// Zero connections before consent: whatever the records, the counters and the request are.
func TestNothingIsAllowedWithoutConsent(t *testing.T) {
	without := map[string]ksn.Consent{
		"new device":         {},
		"accepted only":      accepted(t),
		"mode without a yes": {Mode: ksn.ModeExtended},
		"declined":           {Mode: ksn.ModeBasic, Declined: &ksn.Refusal{Version: 1}},
		"switched off":       enabled(t, ksn.ModeExtended).Disable(noon),
		"empty acceptance":   {Mode: ksn.ModeBasic, Accepted: &ksn.Acceptance{}},
	}
	g := newGenerator(1)
	for name, c := range without {
		t.Run(name, func(t *testing.T) {
			for range 300 {
				f, s := g.facts(), compile(t, g.set())
				f.Consent = c
				if f.Policy.On() && name == "accepted only" || f.Policy.On() && name == "switched off" {
					f.Policy = "" // an accepted statement and a policy that switches on are consent
				}
				d, after := ksn.Decide(g.request(), s, f, g.time(), ksn.Counters{})
				if d.Allowed || d.Stage != ksn.StageConsent || after.Ceiling != (ksn.Bucket{}) {
					t.Fatalf("Decide = %+v", d)
				}
				remedy := "run `avdb ksn enable`"
				if f.Policy == ksn.ModeOff {
					remedy = "ask who keeps the config file"
				} else if c.Accepted == nil || c.Accepted.Version == 0 {
					remedy = "run `avdb ksn statement accept`, then `avdb ksn enable`"
				}
				if err := d.Err("look-up"); !errors.Is(err, ksn.ErrRefused) || d.Remedy != remedy {
					t.Fatalf("Err = %v, want ErrRefused with the remedy %q", err, remedy)
				}
			}
		})
	}
}

func TestStatisticsNeedExtendedMode(t *testing.T) {
	q := lookup("")
	q.Service, q.Object = ksn.ServiceStats, ""
	f := facts(t)
	if d, _ := ksn.Decide(q, nil, f, noon, ksn.Counters{}); d.Allowed || d.Stage != ksn.StageConsent {
		t.Errorf("statistics in basic mode: %+v", d)
	}
	f.Consent = enabled(t, ksn.ModeExtended)
	if d, _ := ksn.Decide(q, nil, f, noon, ksn.Counters{}); !d.Allowed {
		t.Errorf("statistics in extended mode: %+v", d)
	}
	f.Policy = ksn.ModeBasic
	if d, _ := ksn.Decide(q, nil, f, noon, ksn.Counters{}); d.Allowed {
		t.Error("statistics although policy says basic")
	}
}

// What no accepted statement describes is not sent.
func TestAServiceThatNoStatementCovers(t *testing.T) {
	q := lookup("")
	q.Service = "samples"
	if d, _ := ksn.Decide(q, nil, facts(t), noon, ksn.Counters{}); d.Allowed || d.Stage != ksn.StageConsent {
		t.Errorf("Decide = %+v", d)
	}
}

// A question for one network never goes to another.
func TestNetworksDoNotMix(t *testing.T) {
	private := facts(t)
	private.Network = &ksn.Installed{Kind: ksn.NetworkPrivate}
	if d, _ := ksn.Decide(lookup(""), nil, private, noon, ksn.Counters{}); d.Allowed || d.Stage != ksn.StageCredential {
		t.Errorf("a private device asks global servers: %+v", d)
	}
	q := lookup("")
	q.Network = ksn.NetworkPrivate
	if d, _ := ksn.Decide(q, nil, facts(t), noon, ksn.Counters{}); d.Allowed || d.Stage != ksn.StageCredential {
		t.Errorf("a global device asks private servers: %+v", d)
	}
	if d, _ := ksn.Decide(q, nil, private, noon, ksn.Counters{}); !d.Allowed {
		t.Errorf("a private device asks its own servers: %+v", d)
	}
	for _, c := range []ksn.Credential{ksn.CredentialRejected, ksn.CredentialExpired, "odd"} {
		private.Credential = c
		if d, _ := ksn.Decide(q, nil, private, noon, ksn.Counters{}); d.Allowed || d.Stage != ksn.StageCredential {
			t.Errorf("credential %q: %+v", c, d)
		}
	}
}

func TestPrecedenceOfRecords(t *testing.T) {
	limit := `"limit":{"daily_max":5}`
	for _, c := range []struct {
		name     string
		records  []string
		allowed  bool
		deciding string
	}{
		{"none", nil, true, ""},
		{"disable", []string{record("a", "disable", 1, "")}, false, "a"},
		{"limit", []string{record("a", "limit", 1, limit)}, true, "a"},
		{"allow", []string{record("a", "allow", 1, "")}, true, "a"},
		{"disable beats limit and allow", []string{record("a", "allow", 1, ""), record("b", "limit", 1, limit), record("c", "disable", 1, "")}, false, "c"},
		{"limit beats allow", []string{record("a", "allow", 1, ""), record("b", "limit", 1, limit)}, true, "b"},
		{"a higher allow beats disable", []string{record("a", "allow", 2, ""), record("b", "disable", 1, "")}, true, "a"},
		{"a higher limit hides a lower disable", []string{record("a", "disable", 1, ""), record("b", "limit", 2, limit)}, true, "b"},
		{"several limits all count", []string{record("a", "limit", 1, limit), record("b", "limit", 1, limit), record("c", "limit", 0, limit)}, true, "a b"},
		{"another scope", []string{record("a", "disable", 9, `"scope":{"objects":["url"]}`)}, true, ""},
		{"default scope has no stats", []string{record("a", "disable", 9, `"scope":{"services":["stats","info"]}`)}, true, ""},
		{"default network is global", []string{record("a", "disable", 9, `"scope":{"networks":["private"]}`)}, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, _ := ksn.Decide(lookup("k"), set(t, 1, strings.Join(c.records, ",")), facts(t), noon, ksn.Counters{})
			if d.Allowed != c.allowed || strings.Join(d.Deciding, " ") != c.deciding {
				t.Errorf("Decide = %+v; want allowed %t by %q", d, c.allowed, c.deciding)
			}
			if !d.Allowed && (d.Record != c.deciding || d.By != "disable" || d.Retry.IsZero() || d.Why == "") {
				t.Errorf("a denial without record, reason or retry time: %+v", d)
			}
		})
	}
}

// A denial by a record says which, why in the record's own word, and when to come back; and coming back works.
func TestDenialSaysWhenToRetry(t *testing.T) {
	s := set(t, 1, record("d", "disable", 5, `"expire_jitter_s":3600,"reason":{"code":"ddos_protection"}`)+","+
		record("r", "limit", 4, `"limit":{"rate":{"requests":1,"per_s":7,"burst":1}}`))
	f := facts(t)
	d, c := ksn.Decide(lookup(""), s, f, noon, ksn.Counters{})
	if d.Allowed || d.Record != "d" || d.Code != "ddos_protection" || d.Retry.Before(noon.AddDate(0, 0, 1)) {
		t.Fatalf("Decide = %+v", d)
	}
	refused, ok := errors.AsType[*ksn.RefusedError](d.Err("look-up"))
	if !ok || refused.Record != "d" || !refused.Retry.Equal(d.Retry) {
		t.Errorf("Err = %+v", refused)
	}
	if d, _ := ksn.Decide(lookup(""), s, f, d.Retry.Add(-time.Nanosecond), c); d.Allowed {
		t.Error("allowed just before the retry time")
	}
	if d, _ := ksn.Decide(lookup(""), s, f, d.Retry, c); !d.Allowed {
		t.Errorf("denied at the retry time: %+v", d)
	}
}

// A life longer than 30 days after signing is cut there, and the jitter comes on top.
func TestLifeIsClamped(t *testing.T) {
	s := set(t, 1, `{"id":"long","action":"disable","priority":1,"expires":"2036-01-01T00:00:00Z"},`+
		`{"id":"longer","action":"disable","priority":1,"expires":"2036-01-01T00:00:00Z","expire_jitter_s":604800}`)
	if _, until := s.Window(0, testInstall); !until.Equal(noon.AddDate(0, 0, 30)) {
		t.Errorf("ends %s, want 30 days after signing", until)
	}
	if _, until := s.Window(1, testInstall); until.Before(noon.AddDate(0, 0, 30)) || !until.Before(noon.AddDate(0, 0, 37)) {
		t.Errorf("ends %s, want 30 to 37 days after signing", until)
	}
}

func TestASetWithoutASigningTimeIsRefused(t *testing.T) {
	if s, err := ksn.NewSet(&dbformat.RestrictionSet{Schema: 1, Epoch: 1}); err == nil {
		t.Errorf("NewSet = %v", s)
	}
	if s, err := ksn.NewSet(nil); s != nil || err != nil || s.Len() != 0 || s.Epoch() != 0 {
		t.Errorf("NewSet(nil) = %v, %v", s, err)
	}
}

// A second implementation must roll the same dice. The numbers were computed by a program in another language.
func TestDiceAreAsSpecified(t *testing.T) {
	in := func(from, to int) bool {
		s := set(t, 12, record("a", "disable", 1, fmt.Sprintf(`"match":{"cohort":{"salt":"x1","from":%d,"to":%d}}`, from, to)))
		d, _ := ksn.Decide(lookup(""), s, facts(t), noon, ksn.Counters{})
		return !d.Allowed
	}
	if !in(7464, 7464) || in(0, 7463) || in(7465, 9999) {
		t.Error("the place in the cohort is not 7464")
	}
	at := time.Unix(20513*86400+5000, 0)
	sample := func(bp int) bool {
		s := set(t, 12, fmt.Sprintf(`{"id":"2026-03-ddos-a","action":"limit","priority":1,"expires":"2026-04-02T12:00:00Z","limit":{"sample_bp":%d}}`, bp))
		d, _ := ksn.Decide(lookup("object-1"), s, facts(t), at, ksn.Counters{})
		return d.Allowed
	}
	if sample(1656) || !sample(1657) {
		t.Error("the place in the sample is not 1656")
	}
	s := set(t, 12, `{"id":"2026-03-ddos-a","action":"disable","priority":1,"expires":"2026-03-02T12:00:00Z","expire_jitter_s":3600}`)
	if _, until := s.Window(0, testInstall); !until.Equal(noon.AddDate(0, 0, 1).Add(103 * time.Second)) {
		t.Errorf("ends %s, want 103 s later than it says", until)
	}
}

// spread says whether got is as far from the mean of n draws with probability p as chance allows (five sigma).
func spread(t *testing.T, what string, got, n int, p float64) {
	t.Helper()
	mean, sigma := float64(n)*p, math.Sqrt(float64(n)*p*(1-p))
	if math.Abs(float64(got)-mean) > 5*sigma {
		t.Errorf("%s: %d of %d, want %.0f ± %.0f", what, got, n, mean, 5*sigma)
	}
}

func install(i int) string { return fmt.Sprintf("%032x", i) }

func TestCohortsAreEven(t *testing.T) {
	const n = 20000
	lower := set(t, 1, record("a", "disable", 1, `"match":{"cohort":{"salt":"x1","from":0,"to":2499}}`))
	upper := set(t, 1, record("a", "disable", 1, `"match":{"cohort":{"salt":"x1","from":2500,"to":9999}}`))
	other := set(t, 1, record("a", "disable", 1, `"match":{"cohort":{"salt":"x2","from":0,"to":2499}}`))
	f, in, both := facts(t), 0, 0
	for i := range n {
		f.Install = install(i)
		a, _ := ksn.Decide(lookup(""), lower, f, noon, ksn.Counters{})
		b, _ := ksn.Decide(lookup(""), upper, f, noon, ksn.Counters{})
		c, _ := ksn.Decide(lookup(""), other, f, noon, ksn.Counters{})
		if a.Allowed == b.Allowed {
			t.Fatalf("install %d is in both parts or in none", i)
		}
		if !a.Allowed {
			in++
			if !c.Allowed {
				both++
			}
		}
	}
	spread(t, "installs in a quarter", in, n, 0.25)
	spread(t, "of these in the quarter of another salt", both, in, 0.25)
}

// A fleet does not come back at once: each quarter of the jitter brings back a quarter of it.
func TestExpiryIsSpread(t *testing.T) {
	const n, jitter = 20000, 7200
	s := set(t, 1, record("a", "disable", 1, fmt.Sprintf(`"expire_jitter_s":%d`, jitter)))
	var quarters [4]int
	for i := range n {
		_, until := s.Window(0, install(i))
		late := until.Sub(noon.AddDate(0, 0, 1))
		if late < 0 || late >= jitter*time.Second {
			t.Fatalf("install %d ends %s late", i, late)
		}
		quarters[int(late/time.Second)*4/jitter]++
	}
	for i, got := range quarters {
		spread(t, fmt.Sprintf("quarter %d", i), got, n, 0.25)
	}
}

// Of the objects a quarter passes, each the same way whenever it is asked on a day, and others the next day.
func TestARetryDoesNotRollAgain(t *testing.T) {
	const n = 20000
	s := set(t, 1, `{"id":"a","action":"limit","priority":1,"expires":"2026-03-09T12:00:00Z","limit":{"sample_bp":2500}}`)
	f := facts(t)
	tomorrow := noon.AddDate(0, 0, 1)
	today, both := 0, 0
	for i := range n {
		q := lookup(fmt.Sprint("object ", i))
		first, _ := ksn.Decide(q, s, f, noon, ksn.Counters{})
		for _, at := range []time.Time{noon.Add(time.Second), noon.Add(-11 * time.Hour), noon.Add(11*time.Hour + 59*time.Minute)} {
			if again, _ := ksn.Decide(q, s, f, at, ksn.Counters{}); again.Allowed != first.Allowed {
				t.Fatalf("object %d: %t at noon, %t at %s", i, first.Allowed, again.Allowed, at)
			}
		}
		if !first.Allowed {
			if want := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC); !first.Retry.Equal(want) || first.By != "sample" {
				t.Fatalf("denied by %s until %s, want the sample until %s", first.By, first.Retry, want)
			}
			continue
		}
		today++
		if next, _ := ksn.Decide(q, s, f, tomorrow, ksn.Counters{}); next.Allowed {
			both++
		}
	}
	spread(t, "objects that pass", today, n, 0.25)
	spread(t, "of these the next day", both, today, 0.25)
}

func TestSamplingByInstallIgnoresTheObject(t *testing.T) {
	s := set(t, 1, record("a", "limit", 1, `"limit":{"sample_bp":5000,"sample_key":"install"}`))
	f, in := facts(t), 0
	const n = 2000
	for i := range n {
		f.Install = install(i)
		a, _ := ksn.Decide(lookup("one"), s, f, noon, ksn.Counters{})
		b, _ := ksn.Decide(lookup("two"), s, f, noon, ksn.Counters{})
		if a.Allowed != b.Allowed {
			t.Fatalf("install %d may ask about one object and not about another", i)
		}
		if a.Allowed {
			in++
		}
	}
	spread(t, "installs", in, n, 0.5)
}

// ask makes n requests at one time and tells how many pass.
func ask(n int, s *ksn.Set, f ksn.Facts, at time.Time, c ksn.Counters) (passed int, last ksn.Decision, _ ksn.Counters) {
	for range n {
		last, c = ksn.Decide(lookup("k"), s, f, at, c)
		if last.Allowed {
			passed++
		}
	}
	return passed, last, c
}

func TestTheCeilingHoldsWithoutAnyRecord(t *testing.T) {
	f := facts(t)
	n, d, c := ask(150, nil, f, noon, ksn.Counters{})
	if n != ksn.CeilingBurst || d.Stage != ksn.StageCeiling || d.Record != "" || !d.Retry.Equal(noon.Add(50*time.Millisecond)) {
		t.Fatalf("%d of 150 at once pass, then %+v", n, d)
	}
	if n, _, c = ask(150, nil, f, noon.Add(time.Second), c); n != ksn.CeilingRate {
		t.Errorf("%d pass a second later, want %d", n, ksn.CeilingRate)
	}
	allow := set(t, 1, record("a", "allow", 1000, ""))
	if n, _, _ = ask(150, allow, f, noon.Add(2*time.Second), c); n != ksn.CeilingRate {
		t.Errorf("a record that allows lets %d pass, want %d", n, ksn.CeilingRate)
	}
}

func TestRateAndDailyMaximumBothCount(t *testing.T) {
	s := set(t, 1, `{"id":"a","action":"limit","priority":1,"expires":"2026-03-09T12:00:00Z",`+
		`"limit":{"rate":{"requests":30,"per_s":60,"burst":10},"daily_max":25}}`)
	f := facts(t)
	n, d, c := ask(20, s, f, noon, ksn.Counters{})
	if n != 10 || d.By != "rate" || !d.Retry.Equal(noon.Add(2*time.Second)) {
		t.Fatalf("%d at once, then %+v", n, d)
	}
	n, d, c = ask(20, s, f, noon.Add(time.Minute), c)
	if n != 10 || d.By != "rate" {
		t.Fatalf("a minute later %d, then %+v", n, d)
	}
	n, d, c = ask(20, s, f, noon.Add(2*time.Minute), c)
	if n != 5 || d.By != "daily_max" || !d.Retry.Equal(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)) {
		t.Fatalf("two minutes later %d, then %+v", n, d)
	}
	if n, _, _ = ask(20, s, f, noon.AddDate(0, 0, 1), c); n != 10 {
		t.Errorf("the next day %d, want 10", n)
	}
}

// What one limit of several refuses uses up nothing of the others.
func TestADeniedRequestCostsNothing(t *testing.T) {
	s := set(t, 1, record("a", "limit", 1, `"limit":{"daily_max":3}`)+","+
		record("b", "limit", 1, `"limit":{"rate":{"requests":1,"per_s":10,"burst":1}}`))
	f := facts(t)
	_, _, c := ask(50, s, f, noon, ksn.Counters{})
	if used := c.Records["a"].Used; used != 1 {
		t.Errorf("one request passed, %d of the day are used", used)
	}
	d, after := ksn.Decide(lookup(""), s, f, noon, c)
	if d.Allowed || d.Record != "b" || fmt.Sprint(after) != fmt.Sprint(c) {
		t.Errorf("Decide = %+v, and the counters went from %v to %v", d, c, after)
	}
}

func TestDecideLeavesItsCountersAlone(t *testing.T) {
	s := set(t, 1, record("a", "limit", 1, `"limit":{"daily_max":30}`))
	_, _, c := ask(3, s, facts(t), noon, ksn.Counters{})
	before := fmt.Sprint(c)
	ask(5, s, facts(t), noon, c)
	if after := fmt.Sprint(c); after != before {
		t.Errorf("counters changed from %s to %s", before, after)
	}
}

// Restarts do not refill a day, and no request waits for a write: whenever the process dies, it made at most what the
// record allows, if each lease was written before the one after it was taken.
func TestADayIsLeasedInSixteenths(t *testing.T) {
	const most = 160
	s := set(t, 1, record("a", "limit", 1, fmt.Sprintf(`"limit":{"daily_max":%d}`, most)))
	f := facts(t)
	rnd := rand.New(rand.NewPCG(7, 7))
	for range 50 {
		var c, written ksn.Counters
		total, restarts, writes, at := 0, 0, 0, noon
		for {
			at = at.Add(time.Second)
			d, next := ksn.Decide(lookup(""), s, f, at, c)
			if !d.Allowed {
				break
			}
			total, c = total+1, next
			if d.Save {
				writes++
				b, err := json.Marshal(c)
				if err != nil {
					t.Fatal(err)
				}
				written = ksn.Counters{}
				if err := json.Unmarshal(b, &written); err != nil {
					t.Fatal(err)
				}
			}
			if rnd.IntN(20) == 0 {
				c = written.Resume(noon)
				restarts++
			}
		}
		if total > most {
			t.Fatalf("%d requests with %d restarts, the record allows %d", total, restarts, most)
		}
		if lost := most - total; lost > restarts*(most/16+most/32) {
			t.Fatalf("%d restarts lost %d requests", restarts, lost)
		}
		if writes > 17+restarts {
			t.Fatalf("%d writes with %d restarts", writes, restarts)
		}
	}
	n, _, c := ask(50, s, f, noon, ksn.Counters{})
	if back := c.Settle().Resume(noon); back.Records["a"].Used != int64(n) {
		t.Errorf("after an orderly end %d are used, want %d", back.Records["a"].Used, n)
	}
}

// A clock that is set back a little refills no bucket, and one that is set back by days closes none until then.
func TestClockJumps(t *testing.T) {
	s := set(t, 1, `{"id":"a","action":"limit","priority":1,"expires":"2026-03-31T12:00:00Z","limit":{"rate":{"requests":10,"per_s":10,"burst":10},"daily_max":1000}}`)
	f := facts(t)
	later := noon.AddDate(0, 0, 9)
	n, _, c := ask(20, s, f, later, ksn.Counters{})
	if n != 10 {
		t.Fatalf("%d pass", n)
	}
	if n, _, _ := ask(20, s, f, later.Add(-9*time.Second), c); n != 0 {
		t.Errorf("set back by 9 s, the bucket holds %d", n)
	}
	if n, _, c = ask(20, s, f, noon, c); n != 10 {
		t.Errorf("set back by 9 days, the bucket holds %d, want one burst", n)
	}
	if n, _, _ = ask(20, s, f, noon.Add(time.Second), c); n != 1 {
		t.Errorf("a second after that it holds %d, want 1", n)
	}
}

// The rate with the greatest numbers that a record may hold does not overflow.
func TestExtremeRates(t *testing.T) {
	f := facts(t)
	for _, rate := range []string{`"requests":1,"per_s":1000000,"burst":1000000`, `"requests":1000000,"per_s":1,"burst":1000000`, `"requests":1,"per_s":1000000,"burst":1`} {
		s := set(t, 1, record("a", "limit", 1, `"limit":{"rate":{`+rate+`}}`))
		c := ksn.Counters{Records: map[string]ksn.Spent{}}
		c.Records["a"] = ksn.Spent{Rate: ksn.Bucket{Missing: math.MaxInt64, At: noon.UnixMicro()}}
		d, _ := ksn.Decide(lookup(""), s, f, noon, c)
		if d.Allowed || !d.Retry.After(noon) {
			t.Errorf("%s: an empty bucket lets a request pass: %+v", rate, d)
		}
		for _, b := range []ksn.Bucket{{}, {Missing: math.MinInt64, At: math.MinInt64}, {Missing: math.MaxInt64, At: math.MaxInt64}} {
			c.Records["a"] = ksn.Spent{Rate: b}
			if d, _ := ksn.Decide(lookup(""), s, f, noon, c); !d.Allowed {
				t.Errorf("%s: a bucket from another time lets none pass: %+v", rate, d)
			}
		}
	}
}

func TestTTLFloorIsTheLongest(t *testing.T) {
	s := set(t, 1, record("a", "limit", 1, `"limit":{"ttl_floor_s":{"trusted":60,"unknown":7}}`)+","+
		record("b", "limit", 1, `"limit":{"ttl_floor_s":{"trusted":90}}`)+","+
		record("c", "limit", 0, `"limit":{"ttl_floor_s":{"trusted":1000}}`))
	d, _ := ksn.Decide(lookup(""), s, facts(t), noon, ksn.Counters{})
	if len(d.TTLFloor) != 2 || d.TTLFloor["trusted"] != 90*time.Second || d.TTLFloor["unknown"] != 7*time.Second {
		t.Errorf("TTLFloor = %v", d.TTLFloor)
	}
}

// Counters forget the records of sets that are gone, so that they cannot grow without end.
func TestCountersForgetOldRecords(t *testing.T) {
	f, c := facts(t), ksn.Counters{}
	for i := range 300 {
		s := set(t, i+1, record(fmt.Sprint("r", i), "limit", 1, `"limit":{"daily_max":9}`))
		_, c = ksn.Decide(lookup(""), s, f, noon.Add(time.Duration(i)*time.Second), c)
	}
	if len(c.Records) != 1 {
		t.Errorf("counters hold %d records, want 1", len(c.Records))
	}
}

func TestTimeUsedNeverGoesBeforeASignedTime(t *testing.T) {
	later := noon.Add(time.Hour)
	if !ksn.TimeUsed(noon, later).Equal(later) || !ksn.TimeUsed(later, noon).Equal(later) || !ksn.TimeUsed(noon, time.Time{}).Equal(noon) {
		t.Error("TimeUsed is not the later of both")
	}
}

// A proxy asks restrictions and nothing else: devices without consent are not its matter, and many may ask at once. What a restriction
// forbids it forbids the proxy too.
func TestForwardAsksRestrictionsAlone(t *testing.T) {
	var c ksn.Counters
	for i := range 10 * ksn.CeilingBurst {
		var d ksn.Decision
		if d, c = ksn.Forward(lookup("x"), nil, ksn.Facts{}, noon, c); !d.Allowed {
			t.Fatalf("request %d: %+v", i, d)
		}
	}
	s := set(t, 1, record("off", "disable", 1, ""))
	if d, _ := ksn.Forward(lookup("x"), s, ksn.Facts{}, noon, c); d.Allowed || d.Record != "off" || d.Stage != ksn.StageRestriction {
		t.Errorf("%+v", d)
	}
}
