package patterns

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"example.org/avdb/pattern"
	"example.org/avdb/prefilter"
)

// Options are what [Compile] may be told; the zero value will do. None of them decides a verdict.
type Options struct {
	Model *prefilter.Model // how common bytes are in what is scanned; nil is the default model

	// Previous is a set of mostly the same records, compiled with the same model. What was planned for each record that is still there is copied from it, which
	// is much cheaper than planning it again; the bytes that come out are the same as without it. A set of another model is of no use and does no harm.
	// The bytes of the previous set must be undamaged, or the new set is damaged as well.
	Previous *Set
}

const (
	maxAnchor  = 64                             // bytes of a part that the prefilter looks for
	maxShift   = 64                             // places that are tested one by one instead of by the prefilter
	maxTargets = int(pattern.TargetOther) + 1   // groups of a set
	never      = int64(1)<<62 - 1               // a place behind every object
	counted    = uint64(pattern.MaxMatches) + 1 // more matches than anything can be compared with
)

// Build makes a set of records in memory: it is [Compile] and [Open].
func Build(records [][]byte, o Options) (*Set, error) {
	b, err := Compile(records, o)
	if err != nil {
		return nil, err
	}
	return Open(b)
}

// Compile makes the bytes of a set, in the format of docs/format/patternset.md, of records as package pattern encodes them: the n-th of them is signature n in
// a [Result]. Those whose range of functionality levels does not hold [pattern.Level] are left out and never match. The same records with the same
// model give the same bytes on every machine. An error names the record; it is the caller's to leave out what is broken.
func Compile(records [][]byte, o Options) ([]byte, error) { return compile(records, o, maxOffsets) }

// compile is Compile with so many offsets that are tested in each object.
func compile(records [][]byte, o Options, offsets int) ([]byte, error) {
	if o.Model == nil {
		o.Model = prefilter.DefaultModel()
	}
	c := compiler{model: o.Model, offsets: offsets}
	sum := sha256.Sum256(o.Model.Append(nil))
	id := [16]byte(sum[:])
	if o.Previous != nil && o.Previous.model == id {
		c.previous = remember(o.Previous)
	}
	for i, r := range records {
		if err := c.add(i, r); err != nil {
			return nil, fmt.Errorf("signature %d: %w", i, err)
		}
	}
	return c.finish(len(records), id)
}

// A unit is what a set says about one record, whatever the others are: what the compiler plans, or copies from a previous set.
type unit struct {
	target pattern.Target
	left   bool // out: it is for engines of another level
	key    [keySize]byte
	head   []byte // hidden; nil of a body signature
	always bool
	subs   []unitSub
}

type unitSub struct {
	offset     pattern.Offset
	most       uint32
	late, open bool
	variants   [][]unitPart
}

type unitPart struct {
	program []byte // hidden
	gap     pattern.Gap
	watched bool
}

// A compiler gathers the units of all records.
type compiler struct {
	model    *prefilter.Model
	offsets  int
	previous *memory // nil for none
	builders [maxTargets]*builder
	unit     unit // that of the record at hand; its memory is used again
	scratch  []byte
}

func (c *compiler) add(ordinal int, record []byte) error {
	key := keyOf(record)
	if !c.previous.recall(key, &c.unit) {
		if err := c.plan(record); err != nil {
			return err
		}
		c.unit.key = key
	}
	u := &c.unit
	if u.left {
		return nil
	}
	b := c.builders[u.target]
	if b == nil {
		b = &builder{known: map[string]uint32{}, watched: map[watchKey]uint32{}, places: map[pattern.Offset][]uint32{}}
		c.builders[u.target] = b
	}
	b.add(ordinal, u)
	return nil
}

// keyOf is how a record is known to a later set.
func keyOf(record []byte) [keySize]byte {
	sum := sha256.Sum256(record)
	return [keySize]byte(sum[:])
}

// plan makes the unit of a record.
func (c *compiler) plan(record []byte) error {
	r, err := pattern.ParseRecord(record)
	if err != nil {
		return err
	}
	u := &c.unit
	*u = unit{subs: u.subs[:0]}
	var engine pattern.Range
	if u.target, engine = targetOf(r); !engine.Holds(uint64(pattern.Level)) {
		u.left = true
		return nil
	}
	plans, enough := plansOf(r)
	for i := range plans {
		plans[i].draw(c.model)
	}
	if r.Logical != nil {
		u.head = appendHead(nil, r.Logical)
		u.always = !settle(plans, head(u.head).expression())
	} else {
		u.always = !settle(plans, appendTerm(nil, &pattern.Expression{}))
	}
	c.scratch = c.scratch[:0]
	for i := range plans {
		p := &plans[i]
		x := unitSub{offset: p.offset, most: enough, late: p.late, open: p.open()}
		for j := range p.variants {
			v := &p.variants[j]
			parts := make([]unitPart, len(v.Parts))
			for k := range v.Parts {
				from := len(c.scratch)
				c.scratch = appendProgram(c.scratch, v, k, &p.anchors[j][k])
				parts[k] = unitPart{program: c.scratch[from:len(c.scratch):len(c.scratch)], gap: v.Parts[k].Gap, watched: !p.late || k == p.triggers[j]}
			}
			x.variants = append(x.variants, parts)
		}
		u.subs = append(u.subs, x)
	}
	return nil
}

func targetOf(r pattern.Record) (pattern.Target, pattern.Range) {
	if r.Body != nil {
		return r.Body.Target, r.Body.Engine
	}
	return r.Logical.Target, r.Logical.Engine
}

// A watchKey is all that decides where a part is verified: of two parts with one key, one is verified for both.
type watchKey struct {
	program uint32
	offset  pattern.Offset // zero if it is looked for anywhere
}

// A builder makes the tables of a group.
type builder struct {
	sections       [sectionCount][]byte
	counts         [sectionCount]uint32
	known          map[string]uint32   // programs by their bytes
	watched        map[watchKey]uint32 // watches
	watches        []watchKey          // by their numbers
	users          []builtUser
	places         map[pattern.Offset][]uint32 // watches
	history, ahead int
}

// A builtUser is a user before those of each watch stand together.
type builtUser struct {
	watch uint32
	link  bool
	user
}

func (b *builder) add(ordinal int, u *unit) {
	n := b.counts[sectionSignatures]
	b.counts[sectionSignatures]++
	at := uint32(none)
	if u.head != nil {
		at = uint32(len(b.sections[sectionHeads]))
		b.sections[sectionHeads] = append(b.sections[sectionHeads], u.head...)
	}
	b.numbers(sectionSignatures, uint32(ordinal), b.counts[sectionSubs], at)
	b.sections[sectionKeys] = append(b.sections[sectionKeys], u.key[:]...)
	if u.always {
		b.numbers(sectionAlways, n)
	}
	for i := range u.subs {
		b.addSub(n, &u.subs[i])
	}
}

func (b *builder) numbers(section int, all ...uint32) {
	for _, n := range all {
		b.sections[section] = binary.LittleEndian.AppendUint32(b.sections[section], n)
	}
}

func (b *builder) addSub(signature uint32, x *unitSub) {
	n := b.counts[sectionSubs]
	b.counts[sectionSubs]++
	b.numbers(sectionSubs, signature, b.counts[sectionChains], x.most)
	b.sections[sectionSubs] = append(appendOffset(b.sections[sectionSubs], x.offset), bit(x.late, flagLate)|bit(x.open, flagOpen))
	for i, parts := range x.variants {
		c := b.counts[sectionChains]
		b.counts[sectionChains]++
		b.numbers(sectionChains, n, b.counts[sectionParts])
		for k := range parts {
			p := &parts[k]
			program, w := b.program(p.program), uint32(none)
			if p.watched {
				w = b.watch(program, k, x.offset)
				u := builtUser{watch: w, link: !x.late && len(parts) > 1, user: user{sub: n, chain: c, part: uint32(k)}}
				if !x.late && len(parts) == 1 && i+1 < len(x.variants) {
					u.part |= userTwice
				}
				b.users = append(b.users, u)
			}
			b.numbers(sectionParts, program, w, p.gap.Min, p.gap.Max)
			b.counts[sectionParts]++
		}
	}
}

// program finds a program, or adds it.
func (b *builder) program(p []byte) uint32 {
	at, ok := b.known[string(p)]
	if !ok {
		at = uint32(len(b.sections[sectionPrograms]))
		b.known[string(p)] = at
		b.sections[sectionPrograms] = append(b.sections[sectionPrograms], p...)
		history, ahead := program(p).around()
		b.history, b.ahead = max(b.history, history), max(b.ahead, ahead)
	}
	return at
}

// fixed tells whether an offset leaves so few places that each is tested.
func fixed(o pattern.Offset) bool {
	return o.Place != pattern.PlaceAny && o.Place != pattern.PlaceWholeSection && o.Shift < maxShift
}

// watch finds the watch of a part, or makes it.
func (b *builder) watch(program uint32, part int, o pattern.Offset) uint32 {
	if part > 0 || !fixed(o) {
		o = pattern.Offset{}
	}
	key := watchKey{program, o}
	id, ok := b.watched[key]
	if !ok {
		id = uint32(len(b.watches))
		b.watched[key] = id
		b.watches = append(b.watches, key)
		if o.Place != pattern.PlaceAny {
			b.places[o] = append(b.places[o], id)
		}
	}
	return id
}

func (b *builder) programAt(at uint32) program { return b.sections[sectionPrograms][at:] }

// finish makes the tables that need all signatures.
func (b *builder) finish(m *prefilter.Model, offsets int) error {
	b.numbers(sectionSignatures, none, b.counts[sectionSubs], none)
	b.numbers(sectionSubs, none, b.counts[sectionChains], 0, 0, 0, 0)
	b.numbers(sectionChains, none, b.counts[sectionParts])
	slices.SortStableFunc(b.users, func(x, y builtUser) int {
		return cmp.Or(cmp.Compare(x.watch, y.watch), cmp.Compare(bit(x.link, 1), bit(y.link, 1)))
	})
	next := 0
	for id, w := range b.watches {
		first := next
		for ; next < len(b.users) && b.users[next].watch == uint32(id) && !b.users[next].link; next++ {
		}
		b.numbers(sectionWatches, w.program, uint32(first), uint32(next))
		for ; next < len(b.users) && b.users[next].watch == uint32(id); next++ {
		}
	}
	b.numbers(sectionWatches, none, uint32(next), uint32(next))
	for _, u := range b.users {
		b.numbers(sectionUsers, u.sub, u.chain, u.part)
	}
	placed := b.placeAll(m, offsets)
	literals := make([]prefilter.Literal, 0, len(b.watches))
	for id, w := range b.watches {
		if placed[uint32(id)] {
			continue
		}
		p := b.programAt(w.program)
		literals = append(literals, prefilter.Literal{ID: uint32(id), Bytes: p.anchorBytes(), NoCase: p.nocase()})
	}
	var err error
	b.sections[sectionFilter], err = prefilter.Build(literals, prefilter.Options{Model: m})
	return err
}

// maxOffsets is how many offsets are tested in each object whatever stands there, as they make an object of few bytes expensive.
const maxOffsets = 32

// placeAll makes the tables of what is tested at offsets, and gives the watches that are. Parts at those offsets that most signatures have are, and parts
// whose anchors would cost too much. The others are cheaper to look for: where they are, their offset is held against the place.
func (b *builder) placeAll(m *prefilter.Model, most int) (placed map[uint32]bool) {
	placed = map[uint32]bool{}
	offsets := make([]pattern.Offset, 0, len(b.places))
	for o := range b.places {
		offsets = append(offsets, o)
	}
	byField := func(x, y pattern.Offset) int {
		return cmp.Or(cmp.Compare(x.Place, y.Place), cmp.Compare(x.Section, y.Section), cmp.Compare(x.N, y.N), cmp.Compare(x.Shift, y.Shift))
	}
	slices.SortFunc(offsets, func(x, y pattern.Offset) int {
		return cmp.Or(cmp.Compare(len(b.places[y]), len(b.places[x])), byField(x, y))
	})
	for _, o := range offsets[min(most, len(offsets)):] {
		b.places[o] = slices.DeleteFunc(b.places[o], func(id uint32) bool {
			anchor := b.programAt(b.watches[id].program).anchorBytes()
			_, _, cost := m.Rarest(anchor)
			return len(anchor) >= early && cost <= earlyCost
		})
	}
	slices.SortFunc(offsets, byField)
	for _, o := range offsets {
		if len(b.places[o]) == 0 {
			continue
		}
		for _, id := range b.places[o] {
			placed[id] = true
		}
		b.sections[sectionPlaced] = append(appendOffset(b.sections[sectionPlaced], o), 0)
		b.numbers(sectionPlaced, b.counts[sectionProbes], b.counts[sectionLoose])
		b.placeProbes(b.places[o])
	}
	b.sections[sectionPlaced] = append(b.sections[sectionPlaced], make([]byte, 12)...)
	b.numbers(sectionPlaced, b.counts[sectionProbes], b.counts[sectionLoose])
	return placed
}

// A probing is the two bytes that a probe finds a watch by.
type probing struct {
	distance uint16
	fold     bool
	key      uint16
	watch    uint32
}

func (b *builder) placeProbes(watches []uint32) {
	var all []probing
	for _, id := range watches {
		p := b.programAt(b.watches[id].program)
		if q, ok := p.probe(); ok {
			q.watch = id
			all = append(all, q)
			continue
		}
		b.numbers(sectionLoose, id)
		b.counts[sectionLoose]++
	}
	slices.SortStableFunc(all, func(x, y probing) int {
		return cmp.Or(cmp.Compare(x.distance, y.distance), cmp.Compare(bit(x.fold, 1), bit(y.fold, 1)))
	})
	for len(all) > 0 {
		n := 1
		for ; n < len(all) && all[n].distance == all[0].distance && all[n].fold == all[0].fold; n++ {
		}
		size := byte(min(bits.Len(uint(n-1)), 16))
		b.sections[sectionProbes] = append(binary.LittleEndian.AppendUint16(b.sections[sectionProbes], all[0].distance), bit(all[0].fold, 1), size)
		b.numbers(sectionProbes, uint32(len(b.sections[sectionBuckets])/4))
		b.counts[sectionProbes]++
		same := all[:n]
		slices.SortStableFunc(same, func(x, y probing) int {
			return cmp.Or(cmp.Compare(bucketOf(x.key, size), bucketOf(y.key, size)), cmp.Compare(x.key, y.key))
		})
		next := 0
		for bucket := range uint32(1) << size {
			b.numbers(sectionBuckets, uint32(len(b.sections[sectionFound])/foundSize))
			for ; next < n && bucketOf(same[next].key, size) == bucket; next++ {
				b.sections[sectionFound] = binary.LittleEndian.AppendUint16(b.sections[sectionFound], same[next].key^hidden<<8^hidden)
				b.sections[sectionFound] = append(b.sections[sectionFound], 0, 0)
				b.numbers(sectionFound, same[next].watch)
			}
		}
		b.numbers(sectionBuckets, uint32(len(b.sections[sectionFound])/foundSize))
		all = all[n:]
	}
}

func pair(a, b byte) uint16 { return uint16(a) | uint16(b)<<8 }

func (c *compiler) finish(records int, model [16]byte) ([]byte, error) {
	size, history, ahead := int64(setHead), 0, 0
	for t, b := range c.builders {
		if b == nil {
			continue
		}
		if err := b.finish(c.model, c.offsets); err != nil {
			return nil, fmt.Errorf("signatures of target %d: %w", t, err)
		}
		for i, s := range b.sections {
			rows := int64(len(s)) / int64(rowSizes()[i])
			if rows >= none {
				return nil, fmt.Errorf("signatures of target %d: a table has %d rows, want less than %d: split them into several sets", t, rows, uint32(none))
			}
			size += padded(int64(len(s)))
		}
		history, ahead = max(history, b.history), max(ahead, b.ahead)
	}
	out := make([]byte, setHead, size)
	copy(out, magic)
	binary.LittleEndian.PutUint32(out[8:], version)
	binary.LittleEndian.PutUint32(out[12:], uint32(maxTargets))
	binary.LittleEndian.PutUint64(out[16:], uint64(size))
	binary.LittleEndian.PutUint32(out[24:], uint32(records))
	binary.LittleEndian.PutUint32(out[28:], uint32(history+3*maxAnchor+maxShift))
	binary.LittleEndian.PutUint32(out[32:], uint32(ahead))
	binary.LittleEndian.PutUint32(out[36:], planVersion)
	copy(out[40:], model[:])
	binary.LittleEndian.PutUint32(out[56:], uint32(pattern.Level))
	for t, b := range c.builders {
		if b == nil {
			continue
		}
		for i, s := range b.sections {
			binary.LittleEndian.PutUint32(out[headerSize+t*groupSize+4*i:], uint32(len(s)/rowSizes()[i]))
			out = append(out, s...)
			out = append(out, make([]byte, padded(int64(len(s)))-int64(len(s)))...)
		}
	}
	return out, nil
}
