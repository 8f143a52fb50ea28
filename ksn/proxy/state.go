package proxy

import (
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

// A State is what there is to see of a proxy at one moment, besides what it counts.
type State struct {
	NotReady     string    // why no new answers can be got; empty if they can
	Held         time.Time // an upstream asks to wait until then; zero if none does
	Entries      int       // answers in the cache; of some the life may be over
	Bytes        int64     // that they take, about
	Waiting      int       // questions that no request upstream has taken yet
	Requests     int       // workers that send requests for look-ups upstream
	Devices      int       // requests of devices that wait
	Upstreams    []Upstream
	Epoch        uint64 // of the restrictions in force, 0 for none
	Restrictions []InForce
}

// An Upstream is a server or another proxy as it is seen from here.
type Upstream struct {
	URL       string
	State     UpstreamState
	Since     time.Time // of State; zero if it was never asked
	Until     time.Time // it is left alone until then; zero if it is asked
	LastOK    time.Time // its last good answer; zero if there was none
	LastError string    // the last one there was, also if it is over; it may hold words of the upstream's host
	LastErrAt time.Time
}

// InForce is a restriction that decides for something that the devices behind this proxy ask, if only for one origin.
type InForce struct {
	ID     string
	Until  time.Time
	Code   string // of the reason
	Effect string // in a few words
}

// State takes a look. It waits for nobody but those who count.
func (p *Proxy) State() State {
	now := p.c.Now()
	s := State{Restrictions: p.inForce(now)}
	if err := p.Ready(); err != nil {
		s.NotReady = err.Error()
	}
	if p.held(now) != nil {
		s.Held = time.Unix(0, p.heldUntil.Load()).UTC()
	}
	s.Entries, s.Bytes = p.cache.size()
	p.asker.mu.Lock()
	s.Waiting, s.Requests, s.Devices = p.asker.queued, p.asker.workers, p.asker.devices
	p.asker.mu.Unlock()
	for _, u := range p.upstreams {
		b := u.breaker()
		s.Upstreams = append(s.Upstreams, Upstream{u.url, b.state, b.since, b.until, b.lastOK, b.last, b.lastAt})
	}
	s.Epoch = p.c.Restrictions().Epoch()
	return s
}

// inForce lists the restrictions that decide for something now.
func (p *Proxy) inForce(now time.Time) (list []InForce) {
	set := p.c.Restrictions()
	now = ksn.TimeUsed(now, set.Signed())
	seen := map[string]bool{}
	for _, q := range p.gate.uses() {
		for i, r := range ksn.Explain(q, set, p.gate.facts, now, ksn.Counters{}).Records {
			if r.Decides && r.Action != dbformat.ActionAllow && !seen[r.ID] {
				seen[r.ID] = true
				list = append(list, InForce{r.ID, r.Until, set.Record(i).Reason.Code, r.Why})
			}
		}
	}
	return list
}
