package patterns

import (
	"fmt"
	"io"

	"example.org/avdb/pattern"
)

const (
	maxReadings = 4         // times that an object is read again for a group
	again       = 128 << 10 // bytes that are read at once for that, beside what a verification needs around them
	maxAgain    = 1 << 18   // spans of one chain in a reading
	maxSpans    = 1 << 19   // and of all of them
	readSteps   = 32        // bytes of a reading that count as a step
	soughtSteps = 4         // steps that it costs to get ready for a part
)

// A recounted subsignature is one that readings counted.
type recounted struct {
	count    uint32 // matches, at least that many
	known    bool   // there are no more, or more make no difference
	hopeless bool   // a chain leaves more open than a reading can keep
}

// A reading is an object read once more, for all subsignatures of a group that have to be counted: for so many that one could not afford a pass for each of them. Its
// room follows what objects touched, and is used again.
type reading struct {
	state    *state
	recounts []recount
	tracks   []track
	sought   []sought
	claims   []claim
	programs touched[uint32] // numbers of sought, by program
	index    gramIndex
	progress []*progress // those that are used come first
	used     int
	spans    int // of all tracks
	left     int // recounts that may still find more

	buffer []byte // what is read at once, and what verifications need around it
	window pattern.Window
	from   int64 // where it begins in the object
	at     int64 // the gram at hand
}

// A recount is a subsignature that is counted.
type recount struct {
	sub          uint32
	count, most  uint32
	start, limit int64 // where its first parts may start, both included
	first, last  int   // tracks, the last one not included
	done         bool  // more matches make no difference, or cannot come, or cannot be told
	lost         bool  // the last: there were too many spans
	hopeless     bool  // of one of its chains alone
}

// A track is a chain that is followed.
type track struct {
	recount  int
	claims   uint32  // the first, of its first part; those of the others follow
	plain    program // of a wide form of one part: that of the plain form, where it does not count; else nil
	spans    int
	progress *progress // nil of a chain of one part
}

// A sought part is one that is looked for, whoever it belongs to.
type sought struct {
	program     program
	nocase      bool
	run         []byte // some of its bytes, hidden
	least, most int64  // how far behind a start these stand
	next        int64  // starts before this were tried
	claims      uint32 // the first of those that wait, none if none does
	users       int    // claims that may wait yet
	gram        int    // where in them the gram is that it is found by
	key         uint32 // that gram
	link        uint32 // the next one that is found under the same hash
}

// A claim is a place of a sought part in a track.
type claim struct {
	sought, track, part uint32
	gap                 pattern.Gap // between this part and the next one
	last                bool        // there is no next one
	settled             bool        // another match makes no difference to where the next one may start
	waits               bool        // it is one of those that the part is tried for
	link                uint32      // the next one of those
}

// begin forgets the reading before.
func (k *reading) begin(s *state) {
	k.state = s
	k.recounts, k.tracks, k.sought, k.claims = k.recounts[:0], k.tracks[:0], k.sought[:0], k.claims[:0]
	k.programs.reset()
	k.used, k.spans, k.left = 0, 0, 0
}

// release gives up what one object may need much of, and what the caller owns.
func (k *reading) release() {
	for _, p := range k.progress[:k.used] {
		p.begin(0)
	}
	clear(k.sought) // they point into the set
	clear(k.tracks)
	k.state, k.window = nil, pattern.Window{}
}

// add has a subsignature counted whose first parts may start at start to limit.
func (k *reading) add(n uint32, sub *sub, start, limit int64) {
	x := recount{sub: n, most: sub.most, start: start, limit: limit, first: len(k.tracks), last: len(k.tracks) + int(sub.last-sub.first)}
	for i := sub.first; i < sub.last; i++ {
		k.addTrack(len(k.recounts), i, i+1 < sub.last)
	}
	k.recounts = append(k.recounts, x)
	k.left++
}

// addTrack adds a chain, behind which that of the plain form may stand.
func (k *reading) addTrack(recount int, n uint32, wide bool) {
	s := k.state
	c := s.chain(n)
	t := track{recount: recount, claims: uint32(len(k.claims))}
	parts := c.last - c.first
	if parts > 1 {
		if k.used == len(k.progress) {
			k.progress = append(k.progress, &progress{})
		}
		t.progress = k.progress[k.used]
		t.progress.begin(int(parts))
		k.used++
	} else if wide {
		t.plain = s.program(s.part(s.chain(n + 1).first).program)
	}
	for i := range parts {
		x := claim{track: uint32(len(k.tracks)), part: i, last: i == parts-1}
		if !x.last {
			x.gap = s.part(c.first + i + 1).gap
		}
		x.sought = k.soughtOf(s.part(c.first + i).program)
		k.sought[x.sought].users++
		k.claims = append(k.claims, x)
		s.step(soughtSteps)
	}
	k.await(t.claims)
	k.tracks = append(k.tracks, t)
}

// soughtOf finds the sought part with the program at a place of the set, or makes it.
func (k *reading) soughtOf(program uint32) uint32 {
	known := k.programs.used
	at := k.programs.get(program)
	if k.programs.used > known {
		*at = uint32(len(k.sought))
		q := sought{program: k.state.program(program), claims: none}
		q.nocase = q.program.nocase()
		k.sought = append(k.sought, q)
	}
	return *at
}

// await has a part tried for a claim.
func (k *reading) await(n uint32) {
	if x := &k.claims[n]; !x.waits && !x.settled {
		q := &k.sought[x.sought]
		x.waits, x.link, q.claims = true, q.claims, n
	}
}

// read reads the object through r, as far as it takes.
func (k *reading) read(r io.ReaderAt) error {
	s := k.state
	c := s.scanner
	if k.buffer == nil {
		k.buffer = make([]byte, again+c.set.history+c.set.ahead)
	}
	k.index.begin(len(k.sought))
	if err := k.sample(r); err != nil {
		return err
	}
	for i := range k.sought {
		s.step(uint64(k.index.add(k.sought, uint32(i))) / workSteps)
	}
	size := c.object.Size
	at := size
	for i := range k.recounts {
		at = min(at, k.recounts[i].start)
	}
	for at < size && k.left > 0 && !s.over {
		k.from = max(0, at-c.set.history)
		b := k.buffer[:min(int64(len(k.buffer)), size-k.from)]
		if err := k.fetch(r, b, k.from); err != nil {
			return err
		}
		to := k.from + int64(len(b))
		k.window = pattern.Window{Bytes: b, Start: k.from == 0, End: to == size}
		if to < size {
			to -= c.set.ahead
		}
		k.index.scan(k, int(at-k.from), int(to-k.from))
		at = to
		k.retire(at - c.set.history)
	}
	return nil
}

// fetch reads all of b at a place of the object.
func (k *reading) fetch(r io.ReaderAt, b []byte, at int64) error {
	k.state.step(uint64(len(b)) / readSteps)
	got, err := r.ReadAt(b, at)
	if got == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = fmt.Errorf("%w: it ends at byte %d of %d: scan it again when nothing writes to it", ErrSize, at+int64(got), k.state.scanner.object.Size)
	}
	return err
}

// sample tells the index what is common in the object, by pieces from everywhere in it: the more of them, the more depends on what is chosen by that.
func (k *reading) sample(r io.ReaderAt) error {
	const length = 2 << 10
	size, pieces := k.state.scanner.object.Size, int64(min(16+len(k.sought)/16, 256))
	for i := range pieces {
		b := k.buffer[:min(length, size/pieces, int64(len(k.buffer)))]
		if err := k.fetch(r, b, size/pieces*i); err != nil {
			return err
		}
		k.index.observe(b)
	}
	return nil
}

// retire ends recounts that cannot find more, as every start before at was tried.
func (k *reading) retire(at int64) {
	k.state.step(uint64(len(k.recounts)) / workSteps)
	for i := range k.recounts {
		x := &k.recounts[i]
		if x.done || at <= x.limit {
			continue
		}
		waiting := false
		for j := x.first; j < x.last && !waiting; j++ {
			waiting = k.waits(&k.tracks[j], at)
		}
		if !waiting {
			k.finish(x)
		}
	}
}

// waits tells whether some part of a track behind the first one may start from at on.
func (k *reading) waits(t *track, at int64) bool {
	if t.progress == nil {
		return false
	}
	for i := 1; i < len(t.progress.reaches); i++ {
		if k.reached(t, uint32(i), at) < never {
			return true
		}
	}
	return false
}

func (k *reading) grow(t *track, spans int) {
	t.spans += spans
	k.spans += spans
}

// finish ends a recount, whose parts nobody needs any more.
func (k *reading) finish(x *recount) {
	x.done = true
	k.left--
	for i := x.first; i < x.last; i++ {
		t := &k.tracks[i]
		if t.progress != nil {
			t.progress.begin(len(t.progress.reaches))
		}
		k.grow(t, -t.spans)
		for n := t.claims; ; n++ {
			k.sought[k.claims[n].sought].users--
			if k.claims[n].last {
				break
			}
		}
	}
}

// candidate tries the starts that belong to a gram of a sought part, which is at b[at]. Grams come in ascending order. So do the starts of one part then; and
// whatever part before it ends at one of them or before has its own gram before that, so that its matches are known.
func (k *reading) candidate(q *sought, at int) {
	b, first := k.window.Bytes, at-q.gram
	if first < 0 || first+len(q.run) > len(b) || common(b[first:first+len(q.run)], q.run, q.nocase) < len(q.run) {
		return
	}
	k.at = k.from + int64(at)
	place := k.from + int64(first)
	for start := max(place-q.most, q.next, 0); start <= place-q.least && q.claims != none && !k.state.over; start++ {
		k.try(q, start)
	}
	q.next = max(q.next, place-q.least+1)
}

// try verifies a part at one place, and tells those tracks that admit it there.
func (k *reading) try(q *sought, start int64) {
	s := k.state
	v := &s.scanner.verifier
	end, ok := v.match(q.program, k.window, int(start-k.from))
	s.step(1 + v.steps())
	if !ok {
		return
	}
	for link := &q.claims; *link != none; {
		s.step(1)
		x := &k.claims[*link]
		next := k.nextOf(x, start)
		if next == never { // it is back when the part before it matches
			x.waits = false
			*link = x.link
			continue
		}
		link = &x.link // before that, another claim of the track may go
		if next == start {
			k.advance(x, start, k.from+int64(end))
		}
	}
}

// nextOf is the first place from start on where a track admits a part.
func (k *reading) nextOf(x *claim, start int64) int64 {
	t := &k.tracks[x.track]
	switch c := &k.recounts[t.recount]; {
	case c.done || x.settled:
		return never
	case x.part > 0:
		return k.reached(t, x.part, start)
	case start > c.limit:
		return never
	default:
		return max(start, c.start)
	}
}

// reached is the first place from start on where a part behind the first one may start.
func (k *reading) reached(t *track, part uint32, start int64) int64 {
	r := &t.progress.reaches[part]
	was := r.live()
	next := r.next(start)
	k.grow(t, r.live()-was)
	return next
}

// advance takes a match of a part through a track.
func (k *reading) advance(x *claim, start, end int64) {
	t := &k.tracks[x.track]
	c := &k.recounts[t.recount]
	switch {
	case c.done: // by another track of it
	case !x.last:
		k.open(t, x, start, end)
		if t.spans > maxAgain || k.spans > maxSpans {
			c.lost, c.hopeless = true, t.spans > maxAgain
			k.finish(c)
		}
	case c.most > 1 && k.twice(t, start):
	default:
		if c.count++; c.count >= c.most {
			k.finish(c)
		}
	}
}

// open has the next part of a track start where a match of one leads.
func (k *reading) open(t *track, x *claim, start, end int64) {
	next := t.claims + x.part + 1
	q := &k.sought[k.claims[next].sought]
	k.reached(t, x.part+1, max(0, k.at-int64(q.gram)-q.most)) // forgets what is before all starts that are still to come
	r := &t.progress.reaches[x.part+1]
	was := r.live()
	k.state.step(r.add(x.gap, end))
	k.grow(t, r.live()-was)
	k.await(next)
	x.settled = r.settled(x.gap, start+k.sought[x.sought].program.shortest())
}

// twice tells whether the plain form of a track matches at the same place, where the wide one does not count.
func (k *reading) twice(t *track, start int64) bool {
	if t.plain == nil {
		return false
	}
	v := &k.state.scanner.verifier
	_, ok := v.match(t.plain, k.window, int(start-k.from))
	k.state.step(1 + v.steps())
	return ok
}
