package reputation

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// Several processes that lease from one day together never pass more than it allows, and a lease for each at most; what they
// give back at their end is there for the next.
func TestProcessesShareADay(t *testing.T) {
	const most, day = 800, 20513 // a lease is 50
	rapid.Check(t, func(t *rapid.T) {
		var stored state
		n := rapid.IntRange(1, 4).Draw(t, "processes")
		type process struct{ base, ours state }
		all := make([]process, n)
		start := func() process {
			p := process{stored.of("n"), stored.of("n")}
			p.ours.Counters = p.ours.Counters.Resume(noon)
			return p
		}
		write := func(p *process) {
			stored = merge(stored, p.base, p.ours, noon)
			p.base, p.ours = stored, stored
		}
		for i := range all {
			all[i] = start()
		}
		passed := int64(0)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			p := &all[rapid.IntRange(0, n-1).Draw(t, "who")]
			for range rapid.IntRange(1, 60).Draw(t, "requests") {
				s := p.ours.Counters.Records["r"]
				if s.Used >= most {
					break
				}
				next := ksn.Counters{Records: map[string]ksn.Spent{"r": {Day: day, Used: s.Used + 1, Leased: s.Leased}}}
				grew := next.Records["r"].Leased < most && next.Records["r"].Leased-next.Records["r"].Used <= 25
				if grew {
					next.Records["r"] = ksn.Spent{Day: day, Used: s.Used + 1, Leased: min(s.Leased+50, most)}
				}
				p.ours.Counters = next
				passed++
				if grew {
					write(p)
				}
			}
			if rapid.IntRange(0, 9).Draw(t, "end") == 0 {
				write(p)
				p.ours.Counters = p.ours.Counters.Settle()
				stored = merge(stored, p.base, p.ours, noon)
				*p = start()
			}
		}
		if limit := int64(most + 50*n); passed > limit {
			t.Fatalf("%d requests of %d passed in %d processes", passed, most, n)
		}
		for i := range all {
			write(&all[i])
			all[i].ours.Counters = all[i].ours.Counters.Settle()
			stored = merge(stored, all[i].base, all[i].ours, noon)
		}
		if got := stored.Counters.Records["r"].Leased; got != passed {
			t.Fatalf("after the end %d count as used, %d were", got, passed)
		}
	})
}

// What several processes count adds up, whatever the order in which they write.
func TestLedgersAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stored ksn.Ledger
		bases, ours := make([]ksn.Ledger, 3), make([]ksn.Ledger, 3)
		asked := int64(0)
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			i := rapid.IntRange(0, 2).Draw(t, "who")
			if rapid.Bool().Draw(t, "write") {
				stored = mergeLedgers(stored, bases[i], ours[i])
				bases[i], ours[i] = stored, mergeLedgers(stored, ksn.Ledger{}, ksn.Ledger{})
				continue
			}
			ours[i].File.Asked++
			by := map[string]int64{"a": 1}
			for id, n := range ours[i].SuppressedBy {
				by[id] += n
			}
			ours[i].SuppressedBy = by
			asked++
		}
		for i := range ours {
			stored = mergeLedgers(stored, bases[i], ours[i])
		}
		if stored.File.Asked != asked || stored.SuppressedBy["a"] != asked {
			t.Fatalf("%+v after %d", stored, asked)
		}
	})
}

// Of two processes each knows what it asked itself, whatever the record says that both wrote: statistics would tell it twice.
func TestLedgerOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.restrict(1, `{"id":"stop","action":"disable","priority":1,"expires":"2000-01-20T00:00:00Z","scope":{"objects":["url"],"networks":["private"]}}`)
		w.client().one(ksn.OriginManual, file(0)) // of before
		time.Sleep(2 * writeDelay)
		a, b := w.client(), w.client()
		for i := range 5 {
			a.one(ksn.OriginManual, file(1+i))
			time.Sleep(2 * writeDelay)
			b.one(ksn.OriginManual, file(100+i))
			b.one(ksn.OriginManual, Object{Keys: []protocol.Key{keyOf(protocol.URL, i)}, Size: -1})
			time.Sleep(2 * writeDelay)
		}
		a.one(ksn.OriginManual, file(50))
		time.Sleep(2 * writeDelay)
		if got := a.Ledger(); !reflect.DeepEqual(got, ksn.Ledger{File: ksn.Tally{Asked: 6, Answered: 6}}) {
			t.Errorf("one client: %+v", got)
		}
		if got := b.Ledger(); !reflect.DeepEqual(got, ksn.Ledger{File: ksn.Tally{Asked: 5, Answered: 5}, URL: ksn.Tally{Suppressed: 5}}) {
			t.Errorf("the other: %+v", got)
		}
		if got := a.Situation().Ledger; got.File.Asked != 12 || got.URL.Suppressed != 5 {
			t.Errorf("the device: %+v", got)
		}
	})
}

func TestLedgerStaysSmall(t *testing.T) {
	ours := ksn.Ledger{SuppressedBy: map[string]int64{}}
	for i := range 300 {
		ours.SuppressedBy[fmt.Sprint(i)] = int64(i)
	}
	got := mergeLedgers(ksn.Ledger{}, ksn.Ledger{}, ours).SuppressedBy
	if len(got) != maxRecords || got["299"] != 299 || got["236"] != 236 {
		t.Errorf("%d records remain: %v", len(got), got)
	}
}

// The record fits with the most that restrictions and routes can leave in it, and the daily limits are what goes last.
func TestRecordFits(t *testing.T) {
	far := time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
	s := state{Network: strings.Repeat("f", 64), Ledger: ksn.Ledger{SuppressedBy: map[string]int64{}}, Counters: ksn.Counters{Records: map[string]ksn.Spent{}},
		Routes: map[string]routeState{}}
	for i := range 256 {
		id := fmt.Sprintf("%064d", i)
		s.Counters.Records[id] = ksn.Spent{Rate: ksn.Bucket{Missing: 1e18, At: far.UnixMicro()}, Day: 1e6, Used: 1 << 31, Leased: 1 << 31}
		if i < maxRecords {
			s.Ledger.SuppressedBy[id] = 1 << 62
			r := routeState{At: far, Until: far, Failures: 1000, Held: map[string]hold{}}
			for _, kind := range []string{"", "file", "url", "software", kindInfo, kindStats} {
				r.Held[kind] = hold{Why: misdirected, Until: far, Record: id}
			}
			s.Routes[id[48:]] = r
		}
	}
	days := s
	days.Counters = s.Counters.Settle()
	for id, r := range days.Counters.Records {
		for i := range 3 {
			r.Others = append(r.Others, ksn.Daily{Day: int64(1e6 + i), Used: 1 << 31, Leased: 1 << 31})
		}
		days.Counters.Records[id] = r
	}
	for _, s := range []state{s, days} {
		got := s.fit()
		b, err := json.Marshal(got)
		if err != nil || len(b) > maxState || len(got.Counters.Records) != 256 {
			t.Errorf("%d bytes, %d counters, %v", len(b), len(got.Counters.Records), err)
		}
	}
	if small := (state{Ledger: ksn.Ledger{SuppressedBy: map[string]int64{"a": 1}}}).fit(); len(small.Ledger.SuppressedBy) != 1 {
		t.Error("a record that fits is cut")
	}
}

// FuzzRecord: whatever stands in the place of the record, it silences no route and no credential for longer than a day, and what is written next fits
// and says the same when it is read again.
func FuzzRecord(f *testing.F) {
	r := state{Network: "n", Bits: 24, Routes: map[string]routeState{"a": routeState{}.held(noon, restricted, "file", "r", 0).fail(noon, 0, false, false, 0)}}
	r.Refusal = r.Refusal.refuse(noon, "t", MaxWait, 0)
	r.Counters.Records = map[string]ksn.Spent{"x": {Day: 1, Used: 2, Leased: 3}}
	b, err := json.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"network":"n","refusal":{"count":-5,"token":"t","until":"2026-03-01T12:30:00Z"},"routes":{"a":{"failures":-9,"until":"9999-01-01T00:00:00Z"}},"bits":255}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var read state
		if json.Unmarshal(b, &read) != nil {
			return
		}
		s := merge(read, state{}, read.of("n"), noon) // as a client starts, and writes
		if s.Bits != 0 && (s.Bits < 16 || s.Bits > 32) {
			t.Fatalf("prefixes of %d bits", s.Bits)
		}
		for _, r := range s.Routes {
			for _, next := range []routeState{r, r.ok(noon, "file"), r.fail(noon, 0, false, false, 0.5), r.held(noon, restricted, "file", "r", 0)} {
				for _, kind := range []string{"file", "info", ""} {
					if o, h := next.came(kind, noon, false); o != untried && h.Until.Sub(noon) > MaxWait {
						t.Fatalf("%q until %s", o, h.Until)
					}
				}
			}
		}
		if next := s.Refusal.refuse(noon, "t", MaxWait, 0.5); next.Until.Sub(noon) > MaxWait || !next.holds(noon, "t", false) || next.holds(noon.Add(MaxWait), "t", false) {
			t.Fatalf("%+v", next)
		}
		s.Counters = s.Counters.Resume(noon)
		fitting := s.fit()
		b, err := json.Marshal(fitting)
		if err != nil || len(b) > maxState {
			return // times that JSON cannot say come from no clock, texts without end from no network
		}
		var again state
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatal(err)
		}
		if c, err := json.Marshal(again); err != nil || string(c) != string(b) {
			t.Fatalf("%s is read as %s, %v", b, c, err)
		}
	})
}

// The newest authentic answer of any process ends the failures before it and none after it.
func TestLinksOfProcesses(t *testing.T) {
	old := ksn.Link{}.Answered(noon)
	down := old.Failed(noon.Add(time.Minute), "no", true)
	up := ksn.Link{}.Answered(noon.Add(2 * time.Minute))
	later := old.Failed(noon.Add(3*time.Minute), "again", false)
	for _, c := range []struct {
		a, b, want ksn.Link
	}{
		{old, down, down}, {down, up, up}, {up, ksn.Link{}, up},
		{up, up.Failed(up.LastOK, "at once", false), up.Failed(up.LastOK, "at once", false)},
		{up, later, ksn.Link{LastOK: up.LastOK, FailedAt: later.FailedAt, Failures: 1, LastError: "again"}},
		{down, later, ksn.Link{LastOK: old.LastOK, FailedAt: down.FailedAt, Failures: 1, LastError: "no", AllRoutes: true}},
	} {
		got, back := mergeLinks(c.a, c.b, noon.Add(time.Hour)), mergeLinks(c.b, c.a, noon.Add(time.Hour))
		got.LastError, back.LastError = c.want.LastError, c.want.LastError
		if got != c.want || back != c.want {
			t.Errorf("%+v and %+v make %+v and %+v, want %+v", c.a, c.b, got, back, c.want)
		}
	}
}

// What was learnt from one network is not said of another.
func TestStateOfAnotherNetwork(t *testing.T) {
	s := state{Network: "a", Link: ksn.Link{Failures: 3}, Routes: map[string]routeState{"x": {Failures: 1}}, Refusal: refusal{Until: noon}, Bits: 30,
		Ledger: ksn.Ledger{File: ksn.Tally{Asked: 1}}, Counters: ksn.Counters{Ceiling: ksn.Bucket{At: 1}}}
	got := s.of("b")
	if got.Link != (ksn.Link{}) || got.Routes != nil || got.Refusal != (refusal{}) || got.Bits != 0 {
		t.Errorf("%+v", got)
	}
	if got.Ledger.File.Asked != 1 || got.Counters.Ceiling.At != 1 {
		t.Errorf("counters are the device's, and are gone: %+v", got)
	}
}

// A refused credential is not tried again and again, and another one is tried at once.
func TestRefusedCredential(t *testing.T) {
	r := refusal{}
	for i := range 30 {
		r = r.refuse(noon, "t", MaxWait, 0.5)
		if wait := r.Until.Sub(noon); wait < firstRefusal*8/10 || wait > MaxWait {
			t.Errorf("refusal %d: asked again after %s", i, wait)
		}
	}
	soon := noon.Add(time.Second)
	if !r.holds(soon, "t", false) || !r.holds(soon, "t", true) || !r.holds(noon.Add(time.Hour), "t", false) {
		t.Error("asked although refused")
	}
	if r.holds(noon.Add(askRefused), "t", true) || r.holds(soon, "u", false) || r.holds(noon.Add(MaxWait), "t", false) {
		t.Error("not asked by a user, with another credential, or after a day")
	}
	if !r.stands(noon, "t") || r.stands(noon, "u") {
		t.Error("the refusal is about another credential")
	}
}
