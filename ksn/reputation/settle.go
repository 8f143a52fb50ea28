package reputation

import (
	"time"

	"example.org/avdb/ksn/protocol"
)

// A part is what became of one key of an object: an answer, or why there is none.
type part struct {
	answer *answer
	source Source
	stale  bool // the answer is past its life, and miss says why there is no newer one
	miss   miss
}

// favours tells whether an answer may speak for an object that the light database suspects: it was made from a database, and from none that is older.
func (o *Object) favours(a *answer) bool { return !o.Suspected || a.release >= max(o.Release, 1) }

// cached is the part that the cache alone gives for a key of the object, and whether it needs no request.
func (o *Object) cached(k *protocol.Key, a *answer, now time.Time) (part, bool) {
	if a == nil {
		return part{}, false
	}
	e, life := a.about(k, o.Size)
	if a.left(life, now) <= 0 {
		return part{}, false
	}
	p := part{answer: a, source: SourceCache}
	if e != nil && e.Verdict.Rank() >= protocol.PotentiallyUnwanted.Rank() || o.favours(a) {
		return p, true
	}
	return p, now.Sub(a.fetched) < askBehind // the server may have caught up by now
}

// stale is the part that an answer past its life gives in the place of an error.
func (o *Object) stale(k *protocol.Key, a *answer, m miss, now time.Time) part {
	if a != nil && (m.why == Unavailable || m.why == Timeout) {
		e, life := a.about(k, o.Size)
		if a.left(life+staleFor(e), now) > 0 {
			return part{answer: a, source: SourceCache, stale: a.left(life, now) <= 0, miss: m}
		}
	}
	return part{miss: m}
}

// judge is the verdict of an object whose keys came out as parts. The worst that any key is known for holds; without a finding, every key must
// have been answered.
func (o *Object) judge(parts []part, now time.Time) Verdict {
	best, open := -1, -1
	var entry *protocol.Entry
	for i := range parts {
		p := &parts[i]
		if p.answer == nil {
			if open < 0 {
				open = i
			}
			continue
		}
		e, _ := p.answer.about(&o.Keys[i], o.Size)
		if (e == nil || e.Verdict.Rank() <= protocol.Trusted.Rank()) && !o.favours(p.answer) {
			if open < 0 {
				open = i
				p.miss = miss{why: ServerBehind, retry: p.answer.fetched.Add(askBehind)}
			}
			continue
		}
		if best < 0 || rank(e) > rank(entry) {
			best, entry = i, e
		}
	}
	if open >= 0 && rank(entry) <= protocol.Trusted.Rank() {
		m := parts[open].miss
		return Verdict{Verdict: protocol.Unknown, Why: m.why, Record: m.record, Retry: m.retry, Remedy: m.remedy, Err: m.err}
	}
	return o.verdict(&parts[best], o.Keys[best], entry, now)
}

func rank(e *protocol.Entry) int {
	if e == nil {
		return protocol.Unknown.Rank()
	}
	return e.Verdict.Rank()
}

// verdict is what an answer says of a key.
func (o *Object) verdict(p *part, k protocol.Key, e *protocol.Entry, now time.Time) Verdict {
	_, life := p.answer.about(&k, o.Size)
	v := Verdict{Verdict: protocol.Unknown, Source: p.source, Release: p.answer.release, Age: max(0, now.Sub(p.answer.issued)),
		Life: max(0, p.answer.left(life, now)), Stale: p.stale}
	if p.stale {
		v.Err = p.miss.err
	}
	if e == nil {
		return v
	}
	v.Verdict, v.Key, v.Name, v.Category, v.Popularity, v.Signer, v.Regions = e.Verdict, k, e.Name, e.Category, e.Popularity, e.Signer, e.Regions
	if e.FirstSeen != nil {
		v.FirstSeen = e.FirstSeen.Time
	}
	return v
}
