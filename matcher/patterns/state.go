package patterns

import (
	"cmp"
	"slices"

	"example.org/avdb/pattern"
	"example.org/avdb/prefilter"
)

// A state is what a scanner knows about an object and the signatures of a group. Its room follows what objects touched of them.
type state struct {
	*group
	scanner *Scanner
	filter  *prefilter.Scanner
	hit     func(prefilter.Hit) bool
	over    bool // given up
	cut     bool // before all of the object was seen

	watching touched[watchState]
	counts   touched[uint32] // matches of subsignatures, up to as many as make a difference
	chains   touched[uint32] // numbers in progress
	progress []*progress     // those that are used come first
	used     int
	open     []uint32 // signatures that have to be decided, some more than once
	due      []due
	next     int // of due
	events   []event
	spans    int                // of all progress
	recounts touched[recounted] // subsignatures that were counted by reading again
}

// A watchState is what became of a watch in an object.
type watchState struct {
	singles bool  // no match can make a difference to subsignatures of one part any more
	links   bool  // nor to chains
	next    int64 // starts before this were verified
}

// A due is places that are tested once the object has come as far.
type due struct {
	first, last int64
	placed      uint32
}

// An event is a match of a part that is linked into chains.
type event struct {
	start, end int64
	watch      uint32
}

func newState(c *Scanner, g *group) *state {
	s := &state{group: g, scanner: c, filter: g.filter.NewScanner()}
	s.hit = s.anchored
	return s
}

func (s *state) begin() {
	s.watching.reset()
	s.counts.reset()
	s.chains.reset()
	s.recounts.reset()
	s.filter.Reset()
	s.over, s.cut, s.spans, s.next, s.used = false, false, 0, 0, 0
	s.open, s.events, s.due = s.open[:0], s.events[:0], s.due[:0]
	size := s.scanner.object.Size
	for i := range uint32(s.placed) {
		first, last, ok := readOffset(s.row(sectionPlaced, i, placedSize)).Bounds(size, &s.scanner.facts)
		if ok && first < size {
			s.due = append(s.due, due{first, min(last, size-1), i})
		}
	}
	slices.SortFunc(s.due, func(x, y due) int { return cmp.Compare(x.last, y.last) })
	for i := range s.rows(sectionAlways) {
		s.open = append(s.open, s.number(sectionAlways, i))
	}
}

// step counts what costs time, and gives up where it is too much.
func (s *state) step(n uint64) {
	c := s.scanner
	if c.steps += n; c.steps >= c.pause {
		s.ask()
	}
}

// askedEvery is how many steps are made before somebody is asked whether to go on: a few milliseconds.
const askedEvery = 1 << 16

// ask gives up if the steps are too many, or if nobody wants the result any more.
func (s *state) ask() {
	c := s.scanner
	c.pause = c.steps + askedEvery
	if most := c.object.MaxSteps; most > 0 {
		s.over = s.over || c.steps > most
		c.pause = min(c.pause, most+1)
	}
	select {
	case <-c.object.Done:
		s.over = true
	default:
	}
	if s.over {
		c.pause = 0 // for the other group
	}
}

// places tests the places before to.
func (s *state) places(to int64) {
	for ; s.next < len(s.due) && s.due[s.next].last < to && !s.over; s.next++ {
		d := &s.due[s.next]
		p := s.place(d.placed)
		for at := d.first; at <= d.last && !s.over; at++ {
			s.step(uint64(p.lastProbe-p.probes) + uint64(p.lastLoose-p.firstLoose))
			for i := p.probes; i < p.lastProbe; i++ {
				s.probeAt(i, at)
			}
			for i := p.firstLoose; i < p.lastLoose; i++ {
				s.tryAt(s.number(sectionLoose, i), at)
			}
		}
	}
}

// probeAt tries the watches that a probe finds for a place.
func (s *state) probeAt(n uint32, at int64) {
	q, v := s.probe(n), &s.scanner.view
	b := at - v.base + q.distance
	if b+2 > int64(len(v.Bytes)) {
		return
	}
	x, y := v.Bytes[b], v.Bytes[b+1]
	if q.fold {
		x, y = lower(x), lower(y)
	}
	key := pair(x, y)
	bucket := q.buckets + bucketOf(key, q.bits)
	for i, last := s.number(sectionBuckets, bucket), s.number(sectionBuckets, bucket+1); i < last; i++ {
		if k, id := s.found(i); k == key {
			s.tryAt(id, at)
		}
	}
}

// tryAt verifies a watch that has a place.
func (s *state) tryAt(id uint32, at int64) {
	g := s.group.watch(id)
	s.try(id, &g, s.watching.get(id), at)
}

// anchored is called by the prefilter for each anchor in the object, in ascending order of those of one watch: so each start is verified once.
func (s *state) anchored(h prefilter.Hit) bool {
	s.step(1)
	w := s.watching.get(h.ID)
	g := s.group.watch(h.ID)
	least, most := s.program(g.program).lead()
	first := max(h.At-most, w.next, 0)
	for at := first; at <= h.At-least && !s.over; at++ {
		s.try(h.ID, &g, w, at)
	}
	w.next = max(w.next, h.At-least+1)
	return !s.over
}

// try verifies a watch at one place, unless it can make no difference.
func (s *state) try(id uint32, g *watch, w *watchState, at int64) {
	singles, links := !w.singles && g.singles < g.links, !w.links && g.links < g.last
	if !singles && !links {
		return
	}
	s.step(1)
	v := &s.scanner.view
	end, ok := s.scanner.verifier.match(s.program(g.program), v.Window, int(at-v.base))
	s.step(s.scanner.verifier.steps())
	if !ok {
		return
	}
	if singles {
		w.singles = !s.single(g, at)
	}
	if links {
		s.link(g, w, event{at, int64(end) + v.base, id})
	}
}

// single counts a match of a part for all subsignatures that are this part, or have it as a trigger. It tells whether another match could make a difference.
func (s *state) single(g *watch, at int64) (more bool) {
	s.step(uint64(g.links - g.singles))
	for i := g.singles; i < g.links; i++ {
		u := s.user(i)
		if s.sated(u.sub) {
			continue
		}
		in, later := true, true
		if u.part&^userTwice == 0 {
			in, later = s.within(u.sub, at)
		}
		more = more || later
		if !in || u.part&userTwice != 0 && s.enough(u.sub) > 1 && s.twice(u.chain, at) {
			continue
		}
		s.count(u.sub, 1)
		more = more || !s.sated(u.sub)
	}
	return more
}

// twice tells whether the plain form behind a wide one matches at the same place.
func (s *state) twice(wide uint32, at int64) bool {
	v := &s.scanner.view
	_, ok := s.scanner.verifier.match(s.program(s.part(s.chain(wide+1).first).program), v.Window, int(at-v.base))
	s.step(1 + s.scanner.verifier.steps())
	return ok
}

// within tells whether a match may start at a place, and whether one may start behind it.
func (s *state) within(n uint32, at int64) (in, later bool) {
	o := s.sub(n).offset
	if o.Place == pattern.PlaceAny {
		return true, true
	}
	first, last, ok := o.Bounds(s.scanner.object.Size, &s.scanner.facts)
	return ok && first <= at && at <= last, ok && at < last
}

// sated tells whether a subsignature matched as often as makes a difference.
func (s *state) sated(sub uint32) bool {
	c := s.counts.find(sub)
	return c != nil && *c >= s.enough(sub)
}

// count adds matches of a subsignature, and has its signature decided.
func (s *state) count(sub uint32, n uint32) {
	known := s.counts.used
	c := s.counts.get(sub)
	if *c += n; s.counts.used > known {
		s.open = append(s.open, s.sub(sub).signature)
	}
}

// link keeps a match of a part of chains until it is in order with the matches of the others.
func (s *state) link(g *watch, w *watchState, e event) {
	if len(s.events)+s.spans < maxKept {
		s.events = append(s.events, e)
		return
	}
	for i := g.links; i < g.last; i++ {
		s.step(1)
		s.lose(s.user(i).chain)
	}
	w.links = true
}

// lose gives a chain up: its subsignature has to be counted again, unless it has been matched often enough or will be by another chain.
func (s *state) lose(n uint32) {
	p := s.follower(n)
	if p.lost {
		return
	}
	for i := range p.reaches {
		s.spans -= p.reaches[i].live()
		p.reaches[i].reset()
	}
	p.lost = true
	s.count(s.chain(n).sub, 0)
}

// follower is the progress of a chain.
func (s *state) follower(n uint32) *progress {
	known := s.chains.used
	at := s.chains.get(n)
	if s.chains.used > known {
		if s.used == len(s.progress) {
			s.progress = append(s.progress, &progress{})
		}
		c := s.chain(n)
		s.progress[s.used].begin(int(c.last - c.first))
		*at = uint32(s.used)
		s.used++
	}
	return s.progress[*at]
}

// follow takes the matches that start before a place, in order, through their chains. All of them are known.
func (s *state) follow(to int64) {
	if len(s.events) == 0 {
		return
	}
	slices.SortFunc(s.events, func(x, y event) int { return cmp.Compare(x.start, y.start) })
	n := 0
	for ; n < len(s.events) && s.events[n].start < to; n++ {
		e := &s.events[n]
		if w := s.watching.get(e.watch); !w.links && !s.over {
			w.links = !s.extend(e)
		}
	}
	s.events = s.events[:copy(s.events, s.events[n:])]
}

// extend adds a match to all chains that it belongs to. It tells whether a later match of its part could make a difference.
func (s *state) extend(e *event) (more bool) {
	g := s.group.watch(e.watch)
	s.step(uint64(g.last - g.links))
	for i := g.links; i < g.last; i++ {
		u := s.user(i)
		if s.sated(u.sub) {
			continue
		}
		p := s.follower(u.chain)
		if p.lost {
			continue
		}
		if u.part == 0 {
			in, later := s.within(u.sub, e.start)
			if !in {
				more = more || later
				continue
			}
		} else {
			r := &p.reaches[u.part]
			was := r.live()
			in := r.admits(e.start)
			s.spans += r.live() - was
			if !in {
				more = true
				continue
			}
		}
		if int(u.part) == len(p.reaches)-1 {
			s.count(u.sub, 1)
			more = more || !s.sated(u.sub)
			continue
		}
		r, gap := &p.reaches[u.part+1], s.part(s.chain(u.chain).first+u.part+1).gap
		was := r.live()
		s.step(r.add(gap, e.end))
		s.spans += r.live() - was
		if s.spans > maxKept {
			s.lose(u.chain)
			continue
		}
		more = more || !r.settled(gap, e.start+s.program(g.program).shortest())
	}
	return more
}
