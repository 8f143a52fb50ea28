package reputation

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// at runs a process of the device, from its start to its end, whose clock is ahead by so much.
func (w *world) at(ahead time.Duration, f func(*Client)) {
	c := w.client(func(c *Config) { c.Now = func() time.Time { return time.Now().Add(ahead) } })
	f(c)
	if err := c.Close(); err != nil {
		w.t.Error(err)
	}
	time.Sleep(time.Second)
}

// asks is a process that asks about so many objects that nobody asked about before.
func (w *world) asks(ahead time.Duration, objects int) {
	w.at(ahead, func(c *Client) {
		for range objects {
			w.next++
			c.one(ksn.OriginManual, file(w.next))
		}
	})
}

// remembered is the status that a process finds.
func (w *world) remembered() ksn.Status {
	w.t.Helper()
	in, err := Remembered(Config{Facts: func() (ksn.Facts, *ksn.Set) { return w.facts, w.set }, Provider: w.provider, Memory: w.memory})
	if err != nil {
		w.t.Fatal(err)
	}
	return ksn.NewStatus(in)
}

// A day has what it has used up, whatever the clock said in between.
func TestDailyNumbersOutliveAWrongClock(t *testing.T) {
	const hour = time.Hour
	for name, c := range map[string]struct {
		wrong []time.Duration // ahead, one process with one question each
		used  int             // before that
	}{
		"ahead by days":            {[]time.Duration{120 * hour}, 6},
		"ahead, a day half used":   {[]time.Duration{120 * hour}, 3},
		"ahead from the beginning": {[]time.Duration{120 * hour}, 0},
		"ahead by a day":           {[]time.Duration{24 * hour}, 6},
		"ahead by hours":           {[]time.Duration{14 * hour}, 6},
		"ahead twice":              {[]time.Duration{120 * hour, 300 * hour}, 6},
		"behind":                   {[]time.Duration{-120 * hour}, 6},
		"behind, then ahead":       {[]time.Duration{-120 * hour, 120 * hour}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, protocol.Private)
				w.restrict(1, `{"id":"few","action":"limit","priority":1,"expires":"2000-01-30T00:00:00Z","scope":{"networks":["private"]},"limit":{"daily_max":6}}`)
				time.Sleep(11 * hour) // 14 hours ahead is another day
				w.asks(0, c.used)
				for _, d := range c.wrong {
					w.asks(d, 1)
				}
				before := len(w.sent())
				for range 5 {
					w.asks(0, 4)
				}
				if n := len(w.sent()) - before; n != 6-c.used {
					t.Errorf("%d questions were asked, %d of 6 were left", n, 6-c.used)
				}
				time.Sleep(24 * hour)
				before = len(w.sent())
				w.asks(0, 9)
				if n := len(w.sent()) - before; n > 6 || n < 4 { // what a clock ahead used up of it, with two servers, counts
					t.Errorf("%d questions were asked on the next day", n)
				}
			})
		})
	}
}

// What a rate has left is not full in each process until the time comes that a wrong clock said.
func TestRatesOutliveAClockAhead(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, 120 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, protocol.Private)
			w.restrict(1, `{"id":"slow","action":"limit","priority":1,"expires":"2000-01-30T00:00:00Z","scope":{"networks":["private"]},"limit":{"rate":{"requests":1,"per_s":36000,"burst":3}}}`)
			w.asks(ahead, 1)
			before := len(w.sent())
			for range 5 {
				w.asks(0, 2)
			}
			if n := len(w.sent()) - before; n > 3 {
				t.Errorf("ahead by %s: %d questions were asked, want at most one burst", ahead, n)
			}
			time.Sleep(11 * time.Hour)
			before = len(w.sent())
			w.asks(0, 2)
			if n := len(w.sent()) - before; n != 1 {
				t.Errorf("ahead by %s: later %d were asked, want 1", ahead, n)
			}
		})
	}
}

// What a server orders is honoured by all processes to come, whatever went wrong while the clock was ahead.
func TestOrdersOutliveAClockAhead(t *testing.T) {
	for name, order := range map[string]handler{
		"wait":           problem(protocol.CodeTooMany, 3000*time.Second),
		"restricted":     problem(protocol.CodeRestricted, 3000*time.Second),
		"not authorised": problem(protocol.CodeUnauthorized, 0),
	} {
		for earlier, wrong := range map[string]handler{"the same": order, "an error": status(http.StatusServiceUnavailable)} {
			for _, ahead := range []time.Duration{0, 10 * time.Hour, 20 * 24 * time.Hour} {
				t.Run(name+" after "+earlier+" "+ahead.String()+" ahead", func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, protocol.Private)
						w.do(func() { w.hosts["s1"], w.hosts["s2"] = wrong, wrong })
						w.asks(ahead, 1)
						time.Sleep(3 * time.Hour) // the order of an honest clock is over
						w.do(func() { w.hosts["s1"], w.hosts["s2"] = order, order })
						before := len(w.sent())
						for range 5 {
							w.asks(0, 2)
						}
						if n := len(w.sent()) - before; n > 1 {
							t.Errorf("%d requests went out, one was told to wait", n)
						}
					})
				})
			}
		}
	}
}

// The status tells of no moment that is still to come, and what was met while the clock was ahead ends with the first good answer, or where it is a day ahead
// with the clock.
func TestStatusAfterAClockAhead(t *testing.T) {
	for name, wrong := range map[string]handler{
		"an answer":      serve,
		"not authorised": problem(protocol.CodeUnauthorized, 0),
		"unavailable":    status(http.StatusServiceUnavailable),
	} {
		for _, ahead := range []time.Duration{time.Hour, 20 * 24 * time.Hour} {
			t.Run(name+" "+ahead.String()+" ahead", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, protocol.Private)
					w.ttl, w.neg = 7*24*3600, 24*3600
					past := func(when string, states ...ksn.State) {
						t.Helper()
						st := w.remembered()
						for _, at := range []*time.Time{st.Since, st.LastOK} {
							if at != nil && at.After(time.Now()) {
								t.Errorf("%s: %s since %v, last answer %v", when, st.State, st.Since, st.LastOK)
							}
						}
						for _, s := range states {
							if st.State != s {
								t.Errorf("%s: %s (%s), want %s", when, st.State, st.Reason, s)
							}
						}
					}
					w.do(func() { w.hosts["s1"], w.hosts["s2"] = wrong, wrong })
					w.asks(ahead, 1)
					if ahead > MaxWait {
						past("corrected", ksn.StateUnknown)
					} else {
						past("corrected")
						time.Sleep(3 * time.Hour)
					}
					w.do(func() { w.hosts["s1"], w.hosts["s2"] = serve, serve })
					w.asks(0, 3)
					past("after good answers", ksn.StateEnabled)
					w.do(func() {
						w.hosts["s1"], w.hosts["s2"] = status(http.StatusServiceUnavailable), status(http.StatusServiceUnavailable)
					})
					w.asks(0, 3)
					past("after failures", ksn.StateUnavailable)
				})
			})
		}
	}
}

// A clock that was behind takes away nothing that was learnt before, where it learns nothing else.
func TestOrdersOutliveAClockBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		order := problem(protocol.CodeTooMany, 3000*time.Second)
		w.do(func() { w.hosts["s1"], w.hosts["s2"] = order, order })
		w.asks(0, 1)
		before := len(w.sent())
		w.asks(-6*time.Hour, 2)
		w.asks(0, 2)
		if n := len(w.sent()) - before; n != 0 {
			t.Errorf("%d requests went out before their time", n)
		}
	})
}

// Of two experiences the later one holds; one that is ahead of the clock is the older one, and better than none.
func TestLearntLater(t *testing.T) {
	never, old, now, soon, ahead, far := time.Time{}, noon.Add(-time.Hour), noon, noon.Add(time.Minute), noon.Add(ksn.ClockTolerance+1), noon.AddDate(0, 0, 20)
	order := [][2]time.Time{{never, old}, {never, ahead}, {old, now}, {now, soon}, {ahead, far}, {ahead, old}, {far, old}, {far, soon}}
	for _, p := range order {
		if !learntLater(p[1], p[0], noon) || learntLater(p[0], p[1], noon) {
			t.Errorf("%s is not newer than %s", p[1], p[0])
		}
	}
	if learntLater(far, far, noon) || learntLater(never, never, noon) {
		t.Error("a moment is newer than itself")
	}
}

// What is stored of a time to come gives way to what is known now, in each part of the record; where nothing else is known it stays.
func TestMergeWithARecordFromAhead(t *testing.T) {
	far := noon.AddDate(0, 0, 20)
	from := func(at time.Time, n int) state {
		return state{Network: "n", Link: ksn.Link{}.Answered(at), Routes: map[string]routeState{"r": {At: at, Failures: n}}, Refusal: refusal{At: at, Count: n},
			Bits: uint8(20 + n), BitsAt: at}
	}
	for name, c := range map[string]struct {
		stored, ours state
		want         state
	}{
		"ours is of now":       {from(far, 1), from(noon, 2), from(noon, 2)},
		"stored is of now":     {from(noon, 1), from(far, 2), from(noon, 1)},
		"both are from ahead":  {from(far.Add(time.Hour), 1), from(far, 2), from(far.Add(time.Hour), 1)},
		"nothing but ahead":    {from(far, 1), state{Network: "n"}, from(far, 1)},
		"both within an error": {from(noon.Add(ksn.ClockTolerance), 1), from(noon, 2), from(noon.Add(ksn.ClockTolerance), 1)},
	} {
		got := merge(c.stored, state{}, c.ours, noon)
		if got.Link != c.want.Link || got.Routes["r"].Failures != c.want.Routes["r"].Failures || got.Refusal != c.want.Refusal || got.Bits != c.want.Bits || got.BitsAt != c.want.BitsAt {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	failing := ksn.Link{}.Answered(noon.Add(-time.Hour)).Failed(noon, "no", true)
	if got := mergeLinks(ksn.Link{LastOK: noon.Add(-time.Hour), FailedAt: far, Failures: 9}, failing, noon); got != failing {
		t.Errorf("failures from ahead count: %+v", got)
	}
}
