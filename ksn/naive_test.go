package ksn_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

// naive decides as the design reads, sentence by sentence, with no thought of cost: it keeps every request that passed
// and counts them anew each time.
type naive struct {
	set    dbformat.RestrictionSet
	passed []naivePass // oldest first; times do not go back
}

type naivePass struct {
	at      time.Time
	records []string // that were charged
}

// naiveAnswer is what is compared.
type naiveAnswer struct {
	allowed           bool
	stage, record, by string
	retry             time.Time
}

func hashMod(mod int64, fields ...any) int64 {
	var b bytes.Buffer
	for _, f := range fields {
		s := fmt.Sprint(f)
		_ = binary.Write(&b, binary.BigEndian, uint32(len(s)))
		b.WriteString(s)
	}
	sum := sha256.Sum256(b.Bytes())
	n := new(big.Int).SetBytes(sum[:8])
	return n.Mod(n, big.NewInt(mod)).Int64()
}

func (n *naive) decide(q ksn.Request, f ksn.Facts, now time.Time) naiveAnswer {
	if f.Consent.Accepted == nil || f.Policy == ksn.ModeOff {
		return naiveAnswer{stage: "consent"}
	}
	m := f.Consent.Mode
	if f.Policy != "" {
		m = f.Policy
	}
	if m != ksn.ModeBasic && m != ksn.ModeExtended || q.Service == ksn.ServiceStats && m == ksn.ModeBasic {
		return naiveAnswer{stage: "consent"}
	}
	own := ksn.NetworkGlobal
	if f.Network != nil {
		own = f.Network.Kind
	}
	if q.Network != own || f.Credential != "" {
		return naiveAnswer{stage: "credential"}
	}
	deciding := n.deciding(q, f, m, now)
	var worst *naiveAnswer
	for _, r := range deciding {
		a := n.ask(r, q, f, now)
		if a != nil && (worst == nil || a.retry.After(worst.retry)) {
			worst = a
		}
	}
	if worst != nil {
		return *worst
	}
	var all []time.Time
	for _, p := range n.passed {
		all = append(all, p.at)
	}
	if w := waitFor(all, now, 20, 1, 100); w > 0 {
		return naiveAnswer{stage: "ceiling", retry: now.Add(w)}
	}
	pass := naivePass{at: now}
	for _, r := range deciding {
		pass.records = append(pass.records, r.ID)
	}
	n.passed = append(n.passed, pass)
	return naiveAnswer{allowed: true}
}

func (n *naive) deciding(q ksn.Request, f ksn.Facts, m ksn.Mode, now time.Time) []dbformat.Restriction {
	matching := slices.DeleteFunc(slices.Clone(n.set.Records), func(r dbformat.Restriction) bool {
		return !n.about(r, q, f, m) || now.Before(begin(r)) || !now.Before(n.end(r, f))
	})
	highest := -1
	for _, r := range matching {
		highest = max(highest, r.Priority)
	}
	matching = slices.DeleteFunc(matching, func(r dbformat.Restriction) bool { return r.Priority < highest })
	for _, action := range []dbformat.RestrictionAction{dbformat.ActionDisable, dbformat.ActionLimit, dbformat.ActionAllow} {
		some := slices.DeleteFunc(slices.Clone(matching), func(r dbformat.Restriction) bool { return r.Action != action })
		if len(some) > 0 {
			return some
		}
	}
	return nil
}

func begin(r dbformat.Restriction) time.Time {
	if r.NotBefore == nil {
		return time.Time{}
	}
	return r.NotBefore.Time
}

func (n *naive) end(r dbformat.Restriction, f ksn.Facts) time.Time {
	end := r.Expires.Time
	if limit := n.set.Signed.AddDate(0, 0, 30); limit.Before(end) {
		end = limit
	}
	if r.ExpireJitterS != 0 {
		end = end.Add(time.Second * time.Duration(hashMod(int64(r.ExpireJitterS), "avdb ksn expiry", r.ID, f.Install)))
	}
	return end
}

func (n *naive) about(r dbformat.Restriction, q ksn.Request, f ksn.Facts, m ksn.Mode) bool {
	services, networks := r.Scope.Services, r.Scope.Networks
	if services == nil {
		services = []string{"lookup"}
	}
	if networks == nil {
		networks = []string{"global"}
	}
	in := func(list []string, v string) bool { return list == nil || slices.Contains(list, v) }
	if !in(services, string(q.Service)) || !in(networks, string(q.Network)) || !in(r.Scope.Origins, string(q.Origin)) ||
		!in(r.Scope.Routes, string(q.Route)) || q.Service == ksn.ServiceLookup && !in(r.Scope.Objects, string(q.Object)) {
		return false
	}
	if !in(r.Match.Products, f.Product) || !in(r.Match.Regions, f.Region) || !in(r.Match.Modes, string(m)) {
		return false
	}
	if r.Match.Variants != nil && !slices.Contains(r.Match.Variants, f.Variant) {
		return false
	}
	switch r.Match.Versions { // the ranges that the generator uses, written out
	case "":
	case ">=2.0.0 <3.0.0":
		if f.Version[0] != '2' {
			return false
		}
	case "!=2.1.0":
		if f.Version == "2.1.0" {
			return false
		}
	default:
		panic("the generator made a range that is not written out here")
	}
	if c := r.Match.Cohort; c != nil {
		p := int(hashMod(10000, "avdb ksn cohort", c.Salt, f.Install))
		return c.From <= p && p <= c.To
	}
	return true
}

// ask is nil if the record lets the request pass.
func (n *naive) ask(r dbformat.Restriction, q ksn.Request, f ksn.Facts, now time.Time) *naiveAnswer {
	deny := func(by string, retry time.Time) *naiveAnswer {
		if end := n.end(r, f); retry.After(end) {
			retry = end
		}
		return &naiveAnswer{stage: "restriction", record: r.ID, by: by, retry: retry}
	}
	tomorrow := now.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)
	today := int64(now.UTC().Truncate(24*time.Hour).Sub(time.Unix(0, 0)).Hours() / 24)
	if r.Action == dbformat.ActionDisable {
		return deny("disable", n.end(r, f))
	}
	if r.Action == dbformat.ActionAllow {
		return nil
	}
	if r.Limit.SampleBP > 0 {
		key := q.Key
		if r.Limit.SampleKey == "install" {
			key = ""
		}
		if hashMod(10000, "avdb ksn sample", r.ID, n.set.Epoch, f.Install, key, today) >= int64(r.Limit.SampleBP) {
			return deny("sample", tomorrow)
		}
	}
	var times []time.Time
	for _, p := range n.passed {
		if slices.Contains(p.records, r.ID) {
			times = append(times, p.at)
		}
	}
	if r.Limit.DailyMax > 0 {
		used := int64(0)
		for _, at := range times {
			if at.UTC().Format(time.DateOnly) == now.UTC().Format(time.DateOnly) {
				used++
			}
		}
		if used >= r.Limit.DailyMax {
			return deny("daily_max", tomorrow)
		}
	}
	if rate := r.Limit.Rate; rate != nil {
		if w := waitFor(times, now, int64(rate.Requests), int64(rate.PerS), int64(rate.Burst)); w > 0 {
			return deny("rate", now.Add(w))
		}
	}
	return nil
}

// waitFor plays a token bucket from its beginning, with exact fractions.
func waitFor(passed []time.Time, now time.Time, requests, per, burst int64) time.Duration {
	rate := big.NewRat(requests, per*1e6) // tokens a microsecond
	full := new(big.Rat).SetInt64(burst)
	tokens := new(big.Rat).Set(full)
	var last int64
	move := func(to time.Time) {
		gain := new(big.Rat).SetInt64(to.UnixMicro() - last)
		if tokens.Add(tokens, gain.Mul(gain, rate)); tokens.Cmp(full) > 0 {
			tokens.Set(full)
		}
		last = to.UnixMicro()
	}
	for _, at := range passed {
		move(at)
		tokens.Sub(tokens, big.NewRat(1, 1))
	}
	move(now)
	missing := new(big.Rat).Sub(big.NewRat(1, 1), tokens)
	if missing.Sign() <= 0 {
		return 0
	}
	missing.Quo(missing, rate)
	us := new(big.Int).Add(missing.Num(), missing.Denom())
	us.Sub(us, big.NewInt(1)).Quo(us, missing.Denom())
	return time.Duration(us.Int64()) * time.Microsecond
}

// The gate and the naive one agree on random triples of request, set and client (1e5 of them with the build tag check), in
// sequences that use up rates and days; and whatever the set, it allows nothing that no set would refuse.
func TestGateAgainstTheNaiveOne(t *testing.T) {
	seen, decisions := map[string]int{}, 0
	for i := range gateSequences {
		g := newGenerator(uint64(i) + 100)
		raw := g.set()
		s := compile(t, raw)
		n := naive{set: *raw}
		f := g.facts()
		now := g.time()
		var c, free ksn.Counters
		length := 50
		if g.rush = i%(gateSequences/8) == 0; g.rush {
			length = 200 // beyond the ceiling's burst
		}
		for j := range length {
			q := g.request()
			decisions++
			if g.IntN(4) == 0 && !g.rush {
				f = g.facts()
			}
			now = now.Add(g.step())
			var got, open ksn.Decision
			got, c = ksn.Decide(q, s, f, now, c)
			want := n.decide(q, f, now)
			have := naiveAnswer{got.Allowed, string(got.Stage), got.Record, got.By, got.Retry}
			if have.retry.Equal(want.retry) {
				have.retry = want.retry
			}
			if have != want {
				t.Fatalf("sequence %d, request %d at %s: %+v\nfacts %+v\ngate  %+v\nnaive %+v\nset %+v", i, j, now, q, f, have, want, raw)
			}
			if open, free = ksn.Decide(q, nil, f, now, free); got.Allowed && !open.Allowed && open.Stage != ksn.StageCeiling {
				t.Fatalf("sequence %d: the set allows what consent or credential refuse: %+v", i, q)
			}
			seen[want.stage+" "+want.by]++
			if j%8 != 0 {
				continue
			}
			e := ksn.Explain(q, s, f, now, c)
			if len(e.Records) != len(raw.Records) {
				t.Fatalf("%d records explained, there are %d", len(e.Records), len(raw.Records))
			}
			if got.Stage != ksn.StageConsent && got.Stage != ksn.StageCredential {
				var decides []string
				for _, x := range e.Records {
					if x.Decides {
						decides = append(decides, x.ID)
					}
					if x.Why == "" || x.Decides && !x.Matches {
						t.Fatalf("explained as %+v", x)
					}
				}
				if !slices.Equal(decides, got.Deciding) && len(decides)+len(got.Deciding) > 0 {
					t.Fatalf("explained as decided by %v, decided by %v", decides, got.Deciding)
				}
			}
		}
	}
	t.Logf("%d decisions: %v", decisions, seen)
	for _, kind := range []string{" ", "consent ", "credential ", "restriction disable", "restriction sample", "restriction rate", "restriction daily_max", "ceiling "} {
		if seen[kind] < 50 {
			t.Errorf("only %d decisions of the kind %q: the test does not test it", seen[kind], kind)
		}
	}
}
