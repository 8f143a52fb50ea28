package reputation

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// A state is what a client remembers, and its JSON is the record that [Memory] keeps: at most maxState bytes. It holds no keys of
// objects, no addresses and no secrets.
type state struct {
	Network  string                `json:"network"` // fingerprint of the provider that Link, Routes, Refusal and Bits are about
	Link     ksn.Link              `json:"link"`
	Ledger   ksn.Ledger            `json:"ledger"`
	Counters ksn.Counters          `json:"counters"`
	Routes   map[string]routeState `json:"routes,omitempty"` // by routeID
	Refusal  refusal               `json:"refusal,omitzero"`
	Bits     uint8                 `json:"bits,omitempty"` // of prefixes, as the network's signed info says; 0 for the usual
	BitsAt   time.Time             `json:"bits_at,omitzero"`

	InfoUntil time.Time `json:"info_until,omitzero"` // until then that info needs not be asked for again
}

// A refusal is that the operator does not accept us.
type refusal struct {
	At    time.Time `json:"at,omitzero"`    // of the last change
	Until time.Time `json:"until,omitzero"` // not asked again before, zero: accepted
	Count int       `json:"count,omitempty"`
	Token string    `json:"token,omitempty"` // which credential was refused, by tokenID: another one is tried at once
}

const (
	firstRefusal = time.Hour   // after the first refusal; doubles up to MaxWait
	askRefused   = time.Minute // a user who asks again may after that
	maxRecords   = 64          // in Ledger.SuppressedBy
)

// refuse is the next refusal; most is the longest wait.
func (r refusal) refuse(now time.Time, token string, most time.Duration, random float64) refusal {
	if !r.stands(now, token) {
		r.Count = 0
	}
	r.Count = min(max(r.Count, 0), 10)
	d := min(firstRefusal<<r.Count, most)
	d = d*9/10 + time.Duration(random*float64(d/10))
	return refusal{At: now.UTC(), Until: now.UTC().Add(d), Count: r.Count + 1, Token: token}
}

// stands tells whether the refusal is about the credential at hand. One that is further ahead than any wait was written by another clock.
func (r refusal) stands(now time.Time, token string) bool {
	return !r.Until.IsZero() && r.Token == token && r.At.Sub(now) <= MaxWait
}

// holds tells whether nothing may be asked because of it now; who insists may ask a little earlier.
func (r refusal) holds(now time.Time, token string, insist bool) bool {
	if !r.stands(now, token) || insist && now.Sub(r.At).Abs() >= askRefused {
		return false
	}
	return waiting(r.Until, now)
}

// routeID names a hop in the state without telling its address.
func routeID(h hop) string {
	sum := sha256.Sum256([]byte(string(h.route) + " " + h.url))
	return hex.EncodeToString(sum[:8])
}

// tokenID tells one credential from another and is too short to find it by.
func tokenID(network, token string) string {
	sum := sha256.Sum256([]byte("avdb ksn token " + network + " " + token))
	return hex.EncodeToString(sum[:4])
}

// of is the state for a network: nothing that was learnt from another one counts.
func (s state) of(network string) state {
	if s.Network != network {
		s = state{Network: network, Ledger: s.Ledger, Counters: s.Counters}
	}
	if s.Bits < protocol.MinBits || s.Bits > protocol.MaxBits {
		s.Bits = 0
	}
	return s
}

// merge brings together what is stored and what this process has, at now; base is what was stored when the two were last the same. The result is to be
// stored, and to go on from. What was learnt while the clock was ahead gives way to whatever was learnt since; what is left of it stays, because the
// clock may be behind now.
func merge(stored, base, ours state, now time.Time) state {
	stored, base = stored.of(ours.Network), base.of(ours.Network)
	out := ours
	out.Link = mergeLinks(stored.Link, ours.Link, now)
	out.Ledger = mergeLedgers(stored.Ledger, base.Ledger, ours.Ledger)
	out.Counters = ours.Counters.Merge(base.Counters, stored.Counters, now)
	out.Routes = map[string]routeState{}
	maps.Copy(out.Routes, ours.Routes)
	for id, r := range stored.Routes {
		if learntLater(r.At, out.Routes[id].At, now) {
			out.Routes[id] = r
		}
	}
	if learntLater(stored.Refusal.At, ours.Refusal.At, now) {
		out.Refusal = stored.Refusal
	}
	if learntLater(stored.BitsAt, ours.BitsAt, now) {
		out.Bits, out.BitsAt, out.InfoUntil = stored.Bits, stored.BitsAt, stored.InfoUntil
	}
	return out
}

// learntLater tells whether what was learnt at a is newer than what was at b, zero for never. What is ahead of now is the older one: it was written while the
// clock was ahead.
func learntLater(a, b, now time.Time) bool {
	switch {
	case a.IsZero() || b.IsZero() || ksn.Ahead(a, now) == ksn.Ahead(b, now):
		return a.After(b)
	}
	return ksn.Ahead(b, now)
}

// maxState is what the JSON of a state may take, in bytes.
const maxState = 60 << 10

// fit leaves out what matters least where the record would be too long: with as many restrictions and routes as there can be.
func (s state) fit() state {
	for _, less := range []func(){func() { s.Ledger.SuppressedBy = nil }, func() { s.Routes = nil }, func() { s.Counters = s.Counters.Today() }, func() { s.Counters = ksn.Counters{} }} {
		if b, err := json.Marshal(s); err == nil && len(b) <= maxState {
			break
		}
		less()
	}
	return s
}

// mergeLinks: the last authentic answer holds, and of the failures those after it. What was experienced while the clock was ahead counts only
// where there is nothing else.
func mergeLinks(a, b ksn.Link, now time.Time) ksn.Link {
	if p, q := a.Past(now), b.Past(now); p != (ksn.Link{}) || q != (ksn.Link{}) {
		a, b = p, q
	}
	if b.LastOK.After(a.LastOK) {
		a, b = b, a
	}
	if b.FailedAt.IsZero() || !b.FailedAt.After(a.LastOK) && !b.LastOK.Equal(a.LastOK) {
		return a
	}
	if a.FailedAt.IsZero() {
		b.LastOK = a.LastOK
		return b
	}
	if b.Failures > a.Failures {
		a.LastError, a.Failures = b.LastError, b.Failures
	}
	if b.FailedAt.Before(a.FailedAt) {
		a.FailedAt = b.FailedAt
	}
	a.AllRoutes = a.AllRoutes || b.AllRoutes
	return a
}

// mergeLedgers adds what happened here since base to what is stored.
func mergeLedgers(stored, base, ours ksn.Ledger) ksn.Ledger {
	add := func(s, b, o ksn.Tally) ksn.Tally {
		return ksn.Tally{Asked: s.Asked + o.Asked - b.Asked, Answered: s.Answered + o.Answered - b.Answered,
			Suppressed: s.Suppressed + o.Suppressed - b.Suppressed}
	}
	out := ksn.Ledger{File: add(stored.File, base.File, ours.File), URL: add(stored.URL, base.URL, ours.URL),
		Software: add(stored.Software, base.Software, ours.Software), SuppressedBy: map[string]int64{}}
	maps.Copy(out.SuppressedBy, stored.SuppressedBy)
	for id, n := range ours.SuppressedBy {
		if more := n - base.SuppressedBy[id]; more != 0 {
			out.SuppressedBy[id] += more
		}
	}
	for len(out.SuppressedBy) > maxRecords { // the least go first; which of equals does not matter, if only it is always the same
		ids := slices.Sorted(maps.Keys(out.SuppressedBy))
		delete(out.SuppressedBy, slices.MinFunc(ids, func(a, b string) int { return int(out.SuppressedBy[a] - out.SuppressedBy[b]) }))
	}
	return out
}
