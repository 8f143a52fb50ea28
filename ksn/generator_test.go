package ksn_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

// generator makes random sets, clients and requests from few values, so that they meet.
type generator struct {
	*rand.Rand
	rush bool // a hundred requests in half a second
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 3))}
}

// some picks an element.
func some[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// list is nil most of the time, else a part of the words, in their order.
func list[T any](g *generator, of ...T) []T {
	if g.IntN(3) > 0 {
		return nil
	}
	var l []T
	for _, w := range of {
		if g.IntN(2) == 0 {
			l = append(l, w)
		}
	}
	return l
}

func (g *generator) set() *dbformat.RestrictionSet {
	signed := dbformat.At(noon)
	s := &dbformat.RestrictionSet{Schema: 1, Epoch: uint64(1 + g.IntN(3)), Signed: &signed, Records: []dbformat.Restriction{}}
	for i := range g.IntN(5) {
		s.Records = append(s.Records, g.record(fmt.Sprint("r", i)))
	}
	return s
}

func (g *generator) record(id string) dbformat.Restriction {
	days := func(n int) dbformat.Time {
		return dbformat.At(noon.Add(time.Duration(n)*24*time.Hour + time.Duration(g.IntN(86400))*time.Second))
	}
	r := dbformat.Restriction{ID: id, Priority: g.IntN(3), Expires: days(2 + g.IntN(40)), ExpireJitterS: some(g, 0, 0, 1, 3600, 604800)}
	r.Action = some(g, dbformat.ActionDisable, dbformat.ActionLimit, dbformat.ActionLimit, dbformat.ActionLimit, dbformat.ActionAllow)
	if g.IntN(2) == 0 {
		t := days(-2 + g.IntN(4))
		if t.Before(r.Expires.Time) {
			r.NotBefore = &t
		}
	}
	r.Scope = dbformat.RestrictionScope{
		Services: list(g, "lookup", "info", "stats"), Objects: list(g, "file", "url", "software"),
		Origins:  list(g, "on_access", "on_demand", "manual", "background"),
		Networks: list(g, "global", "private"), Routes: list(g, "direct", "proxy"),
	}
	r.Match = dbformat.RestrictionMatch{
		Products: list(g, "suite", "gate"), Versions: some(g, "", "", "", ">=2.0.0 <3.0.0", "!=2.1.0"), Regions: list(g, "EU", "US"),
		Variants: list(g, dbformat.VariantLight, dbformat.VariantFull), Modes: list(g, "basic", "extended"),
	}
	if g.IntN(4) == 0 {
		from := g.IntN(10000)
		r.Match.Cohort = &dbformat.RestrictionCohort{Salt: some(g, "a", "b"), From: from, To: from + g.IntN(10000-from)}
	}
	if r.Action == dbformat.ActionLimit {
		r.Limit = g.limit()
	}
	return r
}

func (g *generator) limit() *dbformat.RestrictionLimit {
	l := &dbformat.RestrictionLimit{}
	if g.IntN(3) == 0 {
		l.SampleBP, l.SampleKey = 1+g.IntN(9999), some(g, "", "object", "install")
	}
	if g.IntN(2) == 0 {
		l.Rate = &dbformat.RestrictionRate{Requests: 1 + g.IntN(7), PerS: 1 + g.IntN(90), Burst: 1 + g.IntN(9)}
	}
	if g.IntN(2) == 0 || l.SampleBP == 0 && l.Rate == nil {
		l.DailyMax = int64(1 + g.IntN(20))
	}
	return l
}

func (g *generator) facts() ksn.Facts {
	at := dbformat.At(noon)
	a := &ksn.Acceptance{Version: 1 + g.IntN(2), Language: "en", SHA256: dbformat.Digest{1}, Time: at, Mode: ksn.ModeOff}
	f := ksn.Facts{
		Consent: ksn.Consent{Mode: some(g, ksn.ModeBasic, ksn.ModeExtended), Since: &at, Accepted: a},
		Install: install(g.IntN(3)), Product: some(g, "suite", "gate", ""), Version: some(g, "2.0.0", "2.1.0", "3.0.0"),
		Region: some(g, "EU", "US", ""), Variant: some(g, dbformat.VariantLight, dbformat.VariantFull),
	}
	switch g.IntN(30) {
	case 0:
		f.Consent = ksn.Consent{Mode: f.Consent.Mode}
	case 1:
		f.Consent.Mode = some(g, ksn.ModeOff, "")
	case 2:
		f.Policy = some(g, ksn.ModeOff, ksn.ModeBasic, ksn.ModeExtended)
	case 3:
		f.Credential = some(g, ksn.CredentialExpired, ksn.CredentialRejected)
	}
	if g.IntN(3) == 0 {
		f.Network = &ksn.Installed{Kind: some(g, ksn.NetworkGlobal, ksn.NetworkGlobal, ksn.NetworkPrivate)}
	}
	return f
}

func (g *generator) request() ksn.Request {
	q := ksn.Request{
		Service: ksn.ServiceLookup, Object: some(g, ksn.Objects()...), Origin: some(g, ksn.Origins()...),
		Network: ksn.NetworkGlobal, Route: some(g, ksn.RouteDirect, ksn.RouteProxy), Key: fmt.Sprint(g.IntN(20)),
	}
	if g.IntN(6) == 0 {
		q.Service, q.Object = some(g, ksn.ServiceInfo, ksn.ServiceStats), ""
	}
	if g.IntN(6) == 0 {
		q.Network = ksn.NetworkPrivate
	}
	return q
}

// time is a moment near the life of the records.
func (g *generator) time() time.Time {
	return noon.Add(time.Duration(g.Int64N(int64(6*24*time.Hour))) - 12*time.Hour)
}

// step is how long after a request the next one comes: mostly little, sometimes days.
func (g *generator) step() time.Duration {
	switch n := g.IntN(40); {
	case g.rush:
		return time.Duration(g.IntN(10_000_000))
	case n == 0:
		return time.Duration(g.Int64N(int64(20 * 24 * time.Hour)))
	case n < 6:
		return time.Duration(g.Int64N(int64(3 * time.Hour)))
	}
	return time.Duration(g.Int64N(int64(8 * time.Second)))
}
