package ksn

import (
	"fmt"
	"time"

	"example.org/avdb/dbformat"
)

// An Explanation says how the gate comes to its decision on a request.
type Explanation struct {
	Time     time.Time           `json:"time"`
	Epoch    uint64              `json:"epoch"` // of the set, 0 for none
	Request  Request             `json:"request"`
	Records  []RecordExplanation `json:"records"` // in the order of the set
	Decision Decision            `json:"decision"`
}

// A RecordExplanation says whether and why one restriction applies to a request.
type RecordExplanation struct {
	ID       string                     `json:"id"`
	Action   dbformat.RestrictionAction `json:"action"`
	Priority int                        `json:"priority"`
	From     time.Time                  `json:"from,omitzero"` // zero: from the beginning
	Until    time.Time                  `json:"until"`         // on this install
	Matches  bool                       `json:"matches"`       // it is about this request, now
	Decides  bool                       `json:"decides"`       // and nothing outranks it
	Why      string                     `json:"why"`           // what keeps it from matching or deciding, or what it does
}

// Explain says for each restriction whether it applies to the request at now and why, and what [Decide]
// would decide. It uses nothing up.
func Explain(q Request, s *Set, f Facts, now time.Time, c Counters) Explanation {
	e := Explanation{Time: now.UTC(), Epoch: s.Epoch(), Request: q, Records: []RecordExplanation{}}
	e.Decision, _ = Decide(q, s, f, now, c)
	won := s.winners(q, f, now)
	for i := range s.Len() {
		r := &s.records[i]
		x := RecordExplanation{ID: r.ID, Action: r.Action, Priority: r.Priority}
		x.From, x.Until = s.Window(i, f.Install)
		x.From, x.Until = x.From.UTC(), x.Until.UTC()
		x.Matches, x.Why = s.matches(i, q, f, now)
		if x.Matches {
			best := &s.records[won[0]]
			switch {
			case best.Priority > r.Priority:
				x.Why = fmt.Sprintf("outranked by %s, priority %d", best.ID, best.Priority)
			case strength(best.Action) > strength(r.Action):
				x.Why = fmt.Sprintf("outranked by %s: %s beats %s", best.ID, best.Action, r.Action)
			default:
				x.Decides = true
				x.Why = effect(r)
			}
		}
		e.Records = append(e.Records, x)
	}
	return e
}

// effect says what a deciding record does.
func effect(r *dbformat.Restriction) string {
	l := r.Limit
	if r.Action == dbformat.ActionAllow {
		return "lets the request pass"
	}
	if l == nil {
		return "disables the request"
	}
	text, sep := "", ""
	add := func(format string, args ...any) {
		text += sep + fmt.Sprintf(format, args...)
		sep = "; "
	}
	if l.SampleBP > 0 {
		key := "objects"
		if l.SampleKey == "install" {
			key = "installs"
		}
		add("lets %d of %d %s pass", l.SampleBP, places, key)
	}
	if l.Rate != nil {
		add("lets %d requests in %d s pass, %d at once", l.Rate.Requests, l.Rate.PerS, l.Rate.Burst)
	}
	if l.DailyMax > 0 {
		add("lets %d requests a day pass", l.DailyMax)
	}
	if len(l.TTLFloorS) > 0 {
		add("keeps answers longer")
	}
	return text
}
