package proxy_test

import (
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/proxy"
)

// A day has what it has used up, and a rate what it has left, whatever a proxy's clock said in between: over several processes, and a day also within the one
// whose clock is corrected.
func TestCountersOutliveAWrongClock(t *testing.T) {
	const most = 6
	for name, limit := range map[string]dbformat.RestrictionLimit{
		"a day":  {DailyMax: most},
		"a rate": {Rate: &dbformat.RestrictionRate{Requests: 1, PerS: 36000, Burst: most}},
	} {
		for _, wrong := range []time.Duration{5 * 24 * time.Hour, 14 * time.Hour, -5 * 24 * time.Hour} {
			if limit.Rate != nil && wrong < 0 {
				continue // days pass, and fill it
			}
			t.Run(name+" "+wrong.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, asked := &memory{}, uint32(0)
					signed := dbformat.At(time.Now().UTC()) // long ago, so that no clock here is before it
					set, err := ksn.NewSet(&dbformat.RestrictionSet{Schema: 1, Epoch: 3, Signed: &signed, Records: []dbformat.Restriction{
						{ID: "few", Action: dbformat.ActionLimit, Limit: &limit, Expires: dbformat.At(time.Now().UTC().AddDate(0, 0, 29))}}})
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(6*24*time.Hour + 11*time.Hour) // 14 hours ahead is another day
					process := func(ahead time.Duration, questions int, corrected bool) (sent int) {
						w := newWorld(t, func(c *proxy.Config) { c.Memory, c.Restrictions = m, func() *ksn.Set { return set } })
						w.pass(ahead)
						for i := range questions {
							if corrected && i == 1 {
								w.pass(-ahead)
							}
							asked++
							w.do("GET", prefix(protocol.FileSHA256, asked).Path(), "")
						}
						w.Close()
						time.Sleep(time.Second)
						return len(w.server.questions)
					}
					sent := process(0, 3, false)
					process(wrong, 1, false)
					if limit.Rate != nil {
						sent = 0 // a rate fills while time passes: from here it is one burst
					}
					sent += process(0, 1, false)
					if limit.DailyMax > 0 { // one burst is what a process gets whose clock goes back by days
						sent += process(wrong, 3, true) - 1 // the first one was on another day
					}
					for range 3 {
						sent += process(0, 20, false)
					}
					if limit.DailyMax > 0 && sent != most || sent > most {
						t.Errorf("%d questions went upstream, want %d", sent, most)
					}
				})
			})
		}
	}
}
