package proxy

import (
	"slices"
	"sync"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// A gate holds back what restrictions forbid.
type gate struct {
	p        *Proxy
	facts    ksn.Facts
	memory   Memory        // nil: what is counted ends with the process
	counted  chan struct{} // holds one signal: there is something to be written soon,
	hurry    chan struct{} // now
	mu       sync.Mutex
	counters ksn.Counters
	stored   ksn.Counters  // as memory has them
	failing  bool          // the last write failed
	wrote    chan struct{} // closed at the end of the next write
}

func newGate(p *Proxy) *gate {
	return &gate{p: p, facts: ksn.Facts{Install: p.c.Install}, counted: make(chan struct{}, 1), hurry: make(chan struct{}, 1), wrote: make(chan struct{})}
}

// pass lets a request go upstream, or says what holds it back.
func (g *gate) pass(s ksn.Service, o ksn.Object, key string) error {
	set := g.p.c.Restrictions()
	if set.Len() == 0 && !set.Unproved() {
		return nil
	}
	now := ksn.TimeUsed(g.p.c.Now(), set.Signed())
	q := g.request(s, o, key)
	g.mu.Lock()
	d, next := decide(q, set, g.facts, now, g.counters)
	if d.Allowed {
		g.counters = next
	}
	g.mu.Unlock()
	if d.Allowed {
		switch {
		case d.Save:
			signal(g.hurry)
		case len(next.Records) > 0:
			signal(g.counted)
		}
		return nil
	}
	e := problem(protocol.CodeRestricted, "restricted", "A restriction holds back what is not in the cache: "+d.Why+".", min(max(0, d.Retry.Sub(now)), maxWait))
	e.Record = d.Record
	return e
}

// now is the time for decisions: never before what was signed.
func (g *gate) now() time.Time { return ksn.TimeUsed(g.p.c.Now(), g.p.c.Restrictions().Signed()) }

func (g *gate) request(s ksn.Service, o ksn.Object, key string) ksn.Request {
	return ksn.Request{Service: s, Object: o, Network: ksn.NetworkKind(g.p.c.Provider.Provider.Network), Route: ksn.RouteProxy, Key: key}
}

// uses lists the requests that go upstream, one of each kind and origin.
func (g *gate) uses() (all []ksn.Request) {
	for _, o := range ksn.Origins() {
		for _, q := range []ksn.Request{g.request(ksn.ServiceInfo, "", ""), g.request(ksn.ServiceStats, "", ""), g.request(ksn.ServiceLookup, ksn.ObjectFile, ""),
			g.request(ksn.ServiceLookup, ksn.ObjectURL, ""), g.request(ksn.ServiceLookup, ksn.ObjectSoftware, "")} {
			q.Origin = o
			all = append(all, q)
		}
	}
	return all
}

// decide lets a request pass that would pass for some origin, since the proxy does not know it: what restrictions say of some origins only, devices
// hold back themselves. Of refusals it is the one that ends first.
func decide(q ksn.Request, set *ksn.Set, f ksn.Facts, now time.Time, c ksn.Counters) (best ksn.Decision, next ksn.Counters) {
	for i, o := range slices.Backward(ksn.Origins()) { // those who wait least come first: what they may, is what most restrictions are about
		q.Origin = o
		d, after := ksn.Forward(q, set, f, now, c)
		if d.Allowed {
			return d, after
		}
		if i == len(ksn.Origins())-1 || d.Retry.Before(best.Retry) {
			best = d
		}
	}
	return best, c
}

// used is what has been counted.
func (g *gate) used() ksn.Counters {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.counters
}

// objectOf is the kind of object that a prefix is about.
func objectOf(t protocol.Type) ksn.Object {
	switch t {
	case protocol.URL:
		return ksn.ObjectURL
	case protocol.Software:
		return ksn.ObjectSoftware
	}
	return ksn.ObjectFile
}
