package ksn

import (
	"fmt"
	"maps"
	"time"

	"example.org/avdb/dbformat"
)

// A Stage is a step of the gate.
type Stage string

// The stages, in the order in which they are asked.
const (
	StageConsent     Stage = "consent"
	StageCredential  Stage = "credential"
	StageRestriction Stage = "restriction"
	StageCeiling     Stage = "ceiling"
)

// A Decision says whether a request may be sent now. What it denies is to be reported as unknown, never as trusted, and
// not to be cached as a verdict.
type Decision struct {
	Allowed  bool                     `json:"allowed"`
	Stage    Stage                    `json:"stage,omitempty"`  // that refused
	Record   string                   `json:"record,omitempty"` // id of the restriction that refused
	By       string                   `json:"by,omitempty"`     // what of it did: disable, sample, rate, daily_max; unproved: the set, without a record
	Code     string                   `json:"code,omitempty"`   // the record's reason code
	Why      string                   `json:"why,omitempty"`    // in a few words
	Remedy   string                   `json:"remedy,omitempty"` // what a user can do
	Retry    time.Time                `json:"retry,omitzero"`   // not before; zero if time alone does not help
	Deciding []string                 `json:"deciding"`         // ids of the restrictions that counted
	TTLFloor map[string]time.Duration `json:"-"`                // allowed: least life of an answer in the cache, by verdict
	Save     bool                     `json:"-"`                // Counters took a lease: write them soon
}

// Err is nil for what is allowed, else a [RefusedError] about what.
func (d Decision) Err(what string) error {
	if d.Allowed {
		return nil
	}
	return &RefusedError{What: what, Why: d.Why, Remedy: d.Remedy, Record: d.Record, Retry: d.Retry}
}

// Decide is the gate: whether the request may be sent at now, and the counters afterwards. It is a pure function; s may be nil, c is
// not changed, and a denied request costs nothing. now is [TimeUsed]. What is known locally (overrides, signatures,
// caches) is asked before the gate: a restriction hides no known answer. What a network answered counts only with consent ([Withheld]).
func Decide(q Request, s *Set, f Facts, now time.Time, c Counters) (Decision, Counters) {
	if deny := refuse(q, f); deny != nil {
		return *deny, c
	}
	d, next := Forward(q, s, f, now, c)
	if !d.Allowed {
		return d, c
	}
	ceiling := c.Ceiling.refill(ceilingRate(), now)
	if w := ceiling.wait(ceilingRate()); w > 0 {
		return Decision{Stage: StageCeiling, Why: fmt.Sprintf("more than %d requests a second", CeilingRate), Retry: now.Add(w), Deciding: d.Deciding}, c
	}
	next.Ceiling = ceiling.take(ceilingRate())
	return d, next
}

// DecideAlso is [Decide] for a further question of a request that Decide has allowed: consent, credential and restrictions are asked for each question; the
// ceiling counts requests, so that it has no part in this.
func DecideAlso(q Request, s *Set, f Facts, now time.Time, c Counters) (Decision, Counters) {
	if deny := refuse(q, f); deny != nil {
		return *deny, c
	}
	return Forward(q, s, f, now, c)
}

// Forward is the gate of a proxy: whether the restrictions let a request of others pass, and the counters afterwards. Consent and credentials are
// asked on the devices, and a ceiling for one of them is none for many. What it counts is what all devices behind the proxy do
// together. Records that match by mode find none.
func Forward(q Request, s *Set, f Facts, now time.Time, c Counters) (Decision, Counters) {
	d := Decision{Deciding: []string{}}
	if s.Unproved() {
		return Decision{Stage: StageRestriction, By: "unproved", Why: whyUnproved, Remedy: remedyUnproved, Deciding: []string{}}, c
	}
	won := s.winners(q, f, now)
	for _, i := range won {
		d.Deciding = append(d.Deciding, s.records[i].ID)
	}
	g := gate{q, s, f, now, c}
	if deny, ok := g.denied(won); ok {
		deny.Deciding = d.Deciding
		return deny, c
	}
	d.Allowed = true
	d.Save = g.charge(won)
	d.TTLFloor = g.ttlFloor(won)
	return d, g.c
}

func ceilingRate() dbformat.RestrictionRate {
	return dbformat.RestrictionRate{Requests: CeilingRate, PerS: 1, Burst: CeilingBurst}
}

func denial(stage Stage, why, remedy string) *Decision {
	return &Decision{Stage: stage, Why: why, Remedy: remedy, Deciding: []string{}}
}

// Withheld is the first stage of the gate alone: nil where the user's consent covers the service, else the denial of every request for it. What was learnt
// through the service has no say either without consent. It is a pure function.
func Withheld(s Service, f Facts) *Decision {
	mode, why := f.InForce()
	switch {
	case f.Policy != "" && !f.Policy.On():
		return denial(StageConsent, "KSN is off: "+why, "ask who keeps the config file")
	case !mode.On() && !f.Consent.hasAccepted():
		return denial(StageConsent, "KSN is off: "+why, "run `avdb ksn statement accept`, then `avdb ksn enable`")
	case !mode.On():
		return denial(StageConsent, "KSN is off: "+why, "run `avdb ksn enable`")
	case f.Consent.Accepted.Version < s.statement():
		return denial(StageConsent, fmt.Sprintf("the accepted statement %d does not cover %q", f.Consent.Accepted.Version, s),
			"accept a newer statement that does")
	case s == ServiceStats && mode != ModeExtended:
		return denial(StageConsent, "statistics are sent in extended mode only", "run `avdb ksn enable --mode extended`")
	}
	return nil
}

// refuse is the part of the gate that no record can open: consent, then credential. Nil lets the request go on.
func refuse(q Request, f Facts) *Decision {
	if deny := Withheld(q.Service, f); deny != nil {
		return deny
	}
	switch {
	case q.Network != f.kind():
		return denial(StageCredential, fmt.Sprintf("the request is for the network %q, this device belongs to %q", q.Network, f.kind()), "")
	case f.Credential == CredentialRejected:
		return denial(StageCredential, "the operator of the network does not accept this device",
			"register the credential with the operator of the network")
	case f.Credential == CredentialExpired:
		return denial(StageCredential, "the provider file of the network has expired", "install a newer provider file")
	case f.Credential != CredentialAccepted:
		return denial(StageCredential, fmt.Sprintf("the credential is in the unknown state %q", f.Credential), "")
	}
	return nil
}

// gate is one decision in progress.
type gate struct {
	q   Request
	s   *Set
	f   Facts
	now time.Time
	c   Counters
}

// denied asks the deciding records, without using anything up. Of several that deny, the one that does so longest is named.
func (g *gate) denied(won []int) (Decision, bool) {
	var worst Decision
	found := false
	for _, i := range won {
		by, why, retry := g.ask(i)
		if by == "" {
			continue
		}
		r := &g.s.records[i]
		if _, until := g.s.Window(i, g.f.Install); retry.IsZero() || retry.After(until) {
			retry = until
		}
		if found && !retry.After(worst.Retry) {
			continue
		}
		found = true
		worst = Decision{Stage: StageRestriction, Record: r.ID, By: by, Code: r.Reason.Code, Why: why, Retry: retry.UTC()}
	}
	return worst, found
}

// ask says what of record i holds the request back now, "" for nothing, and when that ends if before the record does.
func (g *gate) ask(i int) (by, why string, retry time.Time) {
	r := &g.s.records[i]
	switch r.Action {
	case dbformat.ActionAllow:
		return "", "", time.Time{}
	case dbformat.ActionLimit:
	default:
		return "disable", "such requests are disabled", time.Time{}
	}
	l := r.Limit
	if !g.s.sampled(r, g.q, g.f.Install, g.now) {
		return "sample", fmt.Sprintf("only %d of %d such requests are let through today", l.SampleBP, places), nextDay(g.now)
	}
	spent := g.c.Records[r.ID].today(g.now)
	if l.DailyMax > 0 && spent.Used >= l.DailyMax {
		return "daily_max", fmt.Sprintf("%d such requests were made today", l.DailyMax), nextDay(g.now)
	}
	if l.Rate != nil {
		if w := spent.Rate.refill(*l.Rate, g.now).wait(*l.Rate); w > 0 {
			return "rate", fmt.Sprintf("more than %d such requests in %d seconds", l.Rate.Requests, l.Rate.PerS), g.now.Add(w)
		}
	}
	return "", "", time.Time{}
}

// charge uses up what the request takes of each deciding limit, and forgets records that the set no longer has.
func (g *gate) charge(won []int) (grew bool) {
	if !g.counts(won) {
		return false
	}
	known := map[string]bool{}
	for i := range g.s.Len() {
		known[g.s.records[i].ID] = true
	}
	next := map[string]Spent{}
	maps.Copy(next, g.c.Records)
	maps.DeleteFunc(next, func(id string, _ Spent) bool { return !known[id] })
	for _, i := range won {
		r := &g.s.records[i]
		if r.Limit == nil || r.Limit.Rate == nil && r.Limit.DailyMax == 0 {
			continue
		}
		spent := next[r.ID].today(g.now)
		if r.Limit.Rate != nil {
			spent.Rate = spent.Rate.refill(*r.Limit.Rate, g.now).take(*r.Limit.Rate)
		}
		if r.Limit.DailyMax > 0 {
			var more bool
			spent, more = spent.lease(r.Limit.DailyMax)
			grew = grew || more
		}
		next[r.ID] = spent
	}
	g.c.Records = next
	return grew
}

// counts tells whether any of the deciding records counts requests.
func (g *gate) counts(won []int) bool {
	for _, i := range won {
		if l := g.s.records[i].Limit; l != nil && (l.Rate != nil || l.DailyMax > 0) {
			return true
		}
	}
	return false
}

// ttlFloor is the least life of answers that the deciding records ask for: the longest of each verdict.
func (g *gate) ttlFloor(won []int) map[string]time.Duration {
	var floor map[string]time.Duration
	for _, i := range won {
		l := g.s.records[i].Limit
		if l == nil {
			continue
		}
		for verdict, s := range l.TTLFloorS {
			if floor == nil {
				floor = map[string]time.Duration{}
			}
			floor[verdict] = max(floor[verdict], time.Duration(s)*time.Second)
		}
	}
	return floor
}
