package reputation

import (
	"strings"
	"time"
)

// How long a route is left alone.
const (
	MaxWait       = 24 * time.Hour   // at most, whatever a server says
	MaxPlainWait  = time.Hour        // at most, whatever comes over plain http, where anybody on the way can say it
	ProbeInterval = time.Minute      // between attempts at a proxy while servers stand in for it
	firstBackoff  = 2 * time.Second  // after one failure; doubles with each
	maxBackoff    = 5 * time.Minute  //
	hastyBackoff  = 5 * time.Second  // at most, after a time-out that came too soon to judge the route
	patience      = 2 * time.Second  // a time-out before that is too soon
	waitThrottled = time.Minute      // 429 that names no time
	maxRecordID   = 64               // bytes of the id of a restriction
	waitForbidden = 10 * time.Minute // 451 and 421 that name no time
)

// A routeState is what is remembered of a hop. The zero value is a hop that was never asked.
type routeState struct {
	At       time.Time       `json:"at,omitzero"`        // of the last change; of two states the later one holds
	Failures int             `json:"failures,omitempty"` // in a row
	Until    time.Time       `json:"until,omitzero"`     // left alone, because of Failures
	Held     map[string]hold `json:"held,omitempty"`     // by kind of request, "" for all: told to be left alone
}

// A hold is an order that is honoured.
type hold struct {
	Why    outcome   `json:"why"`
	Until  time.Time `json:"until"`
	Record string    `json:"record,omitempty"` // id of the restriction
}

// maxWait is the longest wait that one reply of a hop can impose: nobody vouches for what comes over plain http.
func (h hop) maxWait() time.Duration {
	if strings.HasPrefix(h.url, "https://") {
		return MaxWait
	}
	return MaxPlainWait
}

// waiting tells whether until is still to come. A time further off than any wait was written by another clock.
func waiting(until, now time.Time) bool { return until.After(now) && until.Sub(now) <= MaxWait }

// came is what earlier requests say of the hop for a request of the given kind: untried if it may be asked. Who insists, a user who waits,
// is not held up by what failed before; orders hold for all.
func (r routeState) came(kind string, now time.Time, insist bool) (outcome, hold) {
	for _, k := range []string{"", kind} {
		if h, ok := r.Held[k]; ok && waiting(h.Until, now) && (h.Why != misdirected || !insist) {
			return h.Why, h
		}
	}
	if r.Failures > 0 && waiting(r.Until, now) && !insist {
		return failed, hold{Why: failed, Until: r.Until}
	}
	return untried, hold{}
}

// ok is the state after an authentic answer to a request of the given kind: orders about other kinds remain.
func (r routeState) ok(now time.Time, kind string) routeState {
	next := routeState{At: now.UTC()}
	for k, h := range r.Held {
		if k != kind && h.Why == restricted && waiting(h.Until, now) {
			if next.Held == nil {
				next.Held = map[string]hold{}
			}
			next.Held[k] = h
		}
	}
	return next
}

// fail is the state after a failure. wait is what the server asked for, 0 for nothing; hasty tells of a time-out that came too soon to judge; standIn
// that servers stand in for this proxy; random is in [0,1).
func (r routeState) fail(now time.Time, wait time.Duration, hasty, standIn bool, random float64) routeState {
	r.At, r.Failures = now.UTC(), min(max(r.Failures, 0), 1000)+1
	d := maxBackoff
	if r.Failures < 9 {
		d = min(d, firstBackoff<<(r.Failures-1))
	}
	if hasty {
		d = min(d, hastyBackoff)
	}
	d = d/2 + time.Duration(random*float64(d/2)) // so that a fleet does not return at once
	if standIn {
		d = ProbeInterval
	}
	r.Until = r.At.Add(min(max(d, wait), MaxWait))
	return r
}

// held is the state after an order: throttled and misdirected are about the whole hop, restricted is about one kind of request.
func (r routeState) held(now time.Time, why outcome, kind, record string, wait time.Duration) routeState {
	least := waitForbidden
	if why == throttled {
		least = waitThrottled
	}
	if wait <= 0 {
		wait = least
	}
	if why != restricted {
		kind = ""
	}
	record = strings.ToValidUTF8(record[:min(len(record), maxRecordID)], "")
	held := map[string]hold{kind: {why, now.UTC().Add(min(max(wait, time.Second), MaxWait)), record}}
	for k, h := range r.Held {
		if _, ok := held[k]; !ok && waiting(h.Until, now) {
			held[k] = h
		}
	}
	return routeState{At: now.UTC(), Held: held}
}
