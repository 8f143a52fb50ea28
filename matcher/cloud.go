package matcher

import (
	"context"
	"fmt"
	"slices"
	"time"

	"example.org/avdb/dbformat"
)

// A Cloud settles what the light layer alone only suspects. It may be asked from several goroutines at the same time.
//
// Nothing that a cloud does ends or holds up a scan: what it has not settled after 30 seconds stays [Suspected], as do all hits of a
// call that panics or gives an answer of another length.
type Cloud interface {
	// Settle gives one answer for each hit, in their order. It keeps a deadline of its own and ends early when ctx does; the end of
	// the scan ends ctx, and so does the matcher when it waits no longer. hits are its own, 1 to 256 of them; all hits of
	// one object are in one call.
	Settle(ctx context.Context, hits []Hit) []Settled
}

// A Hit is a prefix of the light layer that an object's hash has: one for each algorithm at most.
type Hit struct {
	Algorithm dbformat.Algorithm
	Sum       [32]byte // the whole hash: the first Algorithm.Size() bytes, the others are zero
	Size      int64    // of the object in bytes: signatures of another size do not cover it
	PUA       bool     // potentially unwanted applications are to be reported, too
	Path      string   // of the object, "" where it has none
	Release   uint64   // of the generation with the prefix, 0 if unknown: an older database settles nothing
}

// A Settled is what a cloud says of one hit.
type Settled struct {
	// Verdict is Malicious, Clean or Suspected, which says that the hit is not settled; every other value is taken for it.
	Verdict Verdict
	// Name is that of the signature, with Malicious: of several that cover the object the first in byte order, as the full
	// variant would choose. One that no signature may have ([dbformat.CheckName]) is replaced by [dbformat.DefaultName]; if the generation
	// has it among the ignored names the hit counts as Clean.
	Name   string
	Source string        // what answered: "cloud", "cache", "override", "proxy" …
	Age    time.Duration // since the answer was issued
	Why    string        // why the hit is not settled, with Suspected
}

const (
	// maxHits is how many hits a cloud is asked about in one call.
	maxHits = 256
	// patienceForCloud is how long after it was found a suspicion waits to be settled.
	patienceForCloud = 30 * time.Second
	// grace is how long a call whose context has ended may take to return: the end of a scan waits for it so long, and then it is silent.
	grace = time.Second
)

// A suspicion is one file that only prefixes speak against, itself or members of it: what is asked about it, and what is needed to decide when there are
// answers. It refers to nothing of the generation's files.
type suspicion struct {
	hits   []Hit  // at most maxHits; of each part those of the strongest algorithm first
	parts  []part // the file itself, then members that are suspected, in their order
	full   bool   // a member more is suspected than can be asked about
	ignore ignoreSet
	since  time.Time // when it began to wait
}

// A part is one object of a suspicion.
type part struct {
	hits   int // how many of the suspicion's are its own, behind those of the parts before
	tally  tally
	member string // its path in the file, "" for the file itself
	sha256 string // of the member, in hex
}

// suspect keeps what a cloud can settle of a file that is suspected.
func (l *look) suspect(o *object, t *tally, r *Result) {
	if r.Verdict == Suspected && l.asks() {
		l.open = &suspicion{ignore: l.e.ignore}
		l.open.add(l, o, t, r.Path, "")
	}
}

// suspicion is that of a file which is not suspected itself.
func (l *look) suspicion(t *tally) *suspicion {
	return &suspicion{ignore: l.e.ignore, parts: []part{{tally: *t}}}
}

// add takes one more object that the tally decides to be suspected. Detections that an allow record cancels are not
// asked about. Of objects that there is no more room for one is kept, and not asked about: what it is suspected of stays.
func (s *suspicion) add(l *look, o *object, t *tally, path, member string) {
	if s.full {
		return
	}
	s.full = len(s.hits) > maxHits-len(dbformat.Algorithms())
	p := part{tally: *t, member: member}
	if member != "" {
		p.sha256 = o.sha256()
	}
	for a := dbformat.SHA256; a >= dbformat.MD5 && !s.full; a-- {
		if t.found[a].verdict != Suspected || t.cancels(a) {
			continue
		}
		h := Hit{Algorithm: a, Size: o.size, PUA: l.pua, Path: path, Release: l.release}
		copy(h.Sum[:], o.sum(a))
		s.hits = append(s.hits, h)
		p.hits++
	}
	s.parts = append(s.parts, p)
}

// settle decides anew with the answers, one for each hit, and writes to the result what has changed: the file's own verdict, or the first of the strongest
// ones of its members if that is a stronger finding.
func (s *suspicion) settle(r *Result, answers []Settled) {
	var (
		best finding
		by   *Settled // what best rests on
		at   *part    // where it is
	)
	oldest := &answers[0]
	for i := range answers {
		if answers[i].Age > oldest.Age {
			oldest = &answers[i]
		}
	}
	hits := s.hits
	for i := range s.parts {
		p := &s.parts[i]
		f, a := s.decide(p, hits[:p.hits], answers[:p.hits])
		hits, answers = hits[p.hits:], answers[p.hits:]
		if i == 0 || outdoes(f.verdict, best.verdict) {
			best, by, at = f, a, p
		}
	}
	r.Verdict, r.Name, r.Signature, r.Member, r.MemberSHA256 = best.verdict, best.name, "", at.member, at.sha256
	if best.verdict.Finding() {
		r.Signature = signatureOf(best.section)
	}
	switch {
	case best.verdict == Malicious:
		r.answered(by)
	case best.verdict == Suspected && by == nil:
		r.Why = "more of its members are suspected than are asked about"
	case best.verdict == Suspected:
		r.Why = by.Why
	case best.verdict == Clean:
		r.answered(oldest)
	}
	if r.Err != nil && r.Verdict == Clean {
		r.Verdict = Failed
	}
}

// decide decides about one part with the answers to its hits. An allow record cancels what a cloud says as it cancels what a section says.
func (s *suspicion) decide(p *part, hits []Hit, answers []Settled) (f finding, by *Settled) {
	var all [dbformat.SHA256 + 1]*Settled
	for i := range hits {
		h, a := &hits[i], &answers[i]
		all[h.Algorithm] = a
		f := &p.tally.found[h.Algorithm]
		switch a.Verdict {
		case Clean:
			*f = finding{}
		case Malicious:
			name := properName(a.Name, h.Algorithm, &h.Sum)
			if s.ignore.has(name) {
				*f = finding{}
				continue
			}
			f.verdict, f.name = Malicious, name
		}
	}
	f = p.tally.decide()
	return f, all[f.section.Algorithm()]
}

// answered says whose answer the verdict is.
func (r *Result) answered(a *Settled) { r.Source, r.Age = a.Source, int64(a.Age/time.Second) }

// now asks about one object at once and for itself alone. Nothing happens where there is no suspicion.
func (s *suspicion) now(ctx context.Context, c Cloud, r *Result) {
	if s == nil {
		return
	}
	call := ask(ctx, c, patienceForCloud, s)
	s.settle(r, call.answers)
	within(grace, call.returned)
}

// An asked is a call of a cloud as far as it came.
type asked struct {
	answers  []Settled       // always a usable one for each hit
	gaveUp   bool            // the cloud did not answer in time
	returned <-chan struct{} // closed when its function has ended
}

// ask puts the hits of suspicions to a cloud in one call, and comes back when there is an answer, when ctx ends or after limit,
// whatever the cloud does.
func ask(ctx context.Context, c Cloud, limit time.Duration, list ...*suspicion) asked {
	var hits []Hit
	for _, s := range list {
		hits = append(hits, s.hits...)
	}
	call, cancel := context.WithCancel(ctx)
	answer, returned := make(chan []Settled, 1), make(chan struct{})
	n := len(hits)
	go func() {
		defer close(returned)
		defer cancel()
		guarded(call, c, hits, answer)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var why string
	select {
	case got := <-answer:
		return asked{usable(got), false, returned}
	case <-timer.C:
		why = fmt.Sprintf("the cloud has not answered within %s", patienceForCloud)
	case <-ctx.Done():
		why = "the scan ended before the cloud answered"
	}
	cancel()
	return asked{unsettled(n, why), true, returned}
}

// guarded calls the cloud and always gives one answer for each hit, be it that the call panicked or ended its goroutine.
func guarded(ctx context.Context, c Cloud, hits []Hit, answer chan<- []Settled) {
	n := len(hits)
	got := unsettled(n, "the cloud gave no answer")
	defer func() {
		if p := recover(); p != nil {
			got = unsettled(n, fmt.Sprintf("the cloud failed: %.200s", fmt.Sprint(p)))
		}
		answer <- got
	}()
	all := c.Settle(ctx, hits)
	if len(all) != n {
		got = unsettled(n, fmt.Sprintf("the cloud gave %d answers to %d hits", len(all), n))
		return
	}
	got = slices.Clone(all)
}

// unsettled are n answers that leave everything as it is.
func unsettled(n int, why string) []Settled {
	return slices.Repeat([]Settled{{Verdict: Suspected, Why: why}}, n)
}

// usable puts right what a cloud must not say.
func usable(answers []Settled) []Settled {
	for i := range answers {
		a := &answers[i]
		a.Age = max(0, a.Age)
		switch a.Verdict {
		case Malicious, Clean:
			if a.Source == "" {
				a.Source = SourceCloud
			}
		case Suspected:
			if a.Why == "" {
				a.Why = "the cloud could not tell"
			}
		default:
			*a = Settled{Verdict: Suspected, Why: fmt.Sprintf("the cloud gave the unknown verdict %.40q", string(a.Verdict))}
		}
	}
	return answers
}
