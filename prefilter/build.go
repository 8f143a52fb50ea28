package prefilter

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// A Literal is bytes to look for, and the identifier that hits carry. Several literals may have one identifier, and several identifiers one literal.
type Literal struct {
	ID     uint32
	Bytes  []byte // MinLiteral to MaxLiteral; Build keeps no reference
	NoCase bool   // an ASCII letter matches its capital and its small letter
}

// Options are what [Build] may be told; the zero value will do.
type Options struct {
	// Model says how common grams are in what will be scanned; nil is [DefaultModel]. It decides the speed of a set and not its hits.
	Model *Model
	// Reuse is a set that was built with the same model, from mostly the same literals. Each that is still there keeps its window, the choice of
	// which is the most expensive part of building. The new set finds the same as one made without it, a little slower at worst: old windows do
	// not make room for new literals. One that [Map] opened is checked first.
	Reuse *Set
}

// An entry is a distinct literal while a set is built.
type entry struct {
	bytes  []byte
	noCase bool
	ids    []uint32
	tier   int
	window int // where in bytes it begins, -1 until it is chosen
}

// Build makes the set of these literals, none of them included, in the format of docs/format/prefilter.md. An error names the literal.
func Build(literals []Literal, o Options) ([]byte, error) {
	return build(literals, o, chooseTiers)
}

func build(literals []Literal, o Options, choose func([]entry, *Model) tiersInUse) ([]byte, error) {
	if o.Model == nil {
		o.Model = DefaultModel()
	}
	entries, err := distinct(literals)
	if err != nil {
		return nil, err
	}
	use := choose(entries, o.Model)
	for i := range entries {
		entries[i].tier = use.tierOf(len(entries[i].bytes))
	}
	if o.Reuse != nil {
		if err := o.Reuse.check(); err != nil {
			return nil, err
		}
		o.Reuse.lend(entries)
	}
	for i := range tierCount {
		chooseWindows(entries, i, o.Model)
	}
	return assemble(entries, o.Model), nil
}

// distinct checks literals, sorts them, and joins those that are equal.
func distinct(literals []Literal) ([]entry, error) {
	entries := make([]entry, 0, len(literals))
	for _, l := range literals {
		if len(l.Bytes) < MinLiteral || len(l.Bytes) > MaxLiteral {
			return nil, fmt.Errorf("the literal of identifier %d has %d bytes, want %d to %d: leave it out", l.ID, len(l.Bytes), MinLiteral, MaxLiteral)
		}
		e := entry{bytes: l.Bytes, ids: []uint32{l.ID}, window: -1}
		// A literal without letters is the same under both rules.
		if e.noCase = l.NoCase && slices.ContainsFunc(l.Bytes, isLetter); e.noCase {
			e.bytes = slices.Clone(l.Bytes)
			for i, c := range e.bytes {
				e.bytes[i] = lowerByte(c)
			}
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(x, y entry) int {
		return cmp.Or(compareLiterals(x.bytes, x.noCase, y.bytes, y.noCase), cmp.Compare(x.ids[0], y.ids[0]))
	})
	joined := entries[:0]
	total, ids := 0, 0
	for _, e := range entries {
		if n := len(joined); n > 0 && compareLiterals(joined[n-1].bytes, joined[n-1].noCase, e.bytes, e.noCase) == 0 {
			if last := &joined[n-1]; last.ids[len(last.ids)-1] != e.ids[0] {
				last.ids = append(last.ids, e.ids[0])
				ids++
			}
			continue
		}
		joined = append(joined, e)
		total += len(e.bytes)
		ids++
	}
	if len(joined) > MaxLiterals || total > MaxBytes || ids > MaxIDs {
		return nil, fmt.Errorf("%d literals of %d bytes with %d identifiers, want %d, %d and %d at most: split them into several sets",
			len(joined), total, ids, MaxLiterals, MaxBytes, MaxIDs)
	}
	return joined, nil
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func compareLiterals(x []byte, xNoCase bool, y []byte, yNoCase bool) int {
	c := bytes.Compare(x, y)
	switch {
	case c != 0 || xNoCase == yNoCase:
		return c
	case yNoCase:
		return -1
	}
	return 1
}

// lend gives the entries that s has in the same tier the windows that they have in s. Both are in the same order.
func (s *Set) lend(entries []entry) {
	var plain []byte
	use := s.counts.inUse()
	next := uint32(0)
	for i := range entries {
		e := &entries[i]
		for ; next < s.counts.literals; next++ {
			l := s.literal(next)
			plain = append(plain[:0], s.content(&l)...)
			hide(plain)
			c := compareLiterals(plain, l.flags&flagNoCase != 0, e.bytes, e.noCase)
			if c == 0 && use.tierOf(len(e.bytes)) == e.tier {
				e.window = int(l.window)
			}
			if c >= 0 {
				break
			}
		}
	}
}

func hide(b []byte) {
	for i := range b {
		b[i] ^= hidden
	}
}

// grams calls f with each gram of e at all places where one can stand.
func (e *entry) grams(h shape, fold uint64, from, n int, f func(gram uint64)) {
	keep := h.bits()
	for i := from; i < from+n; i++ {
		f((gramAt(e.bytes, i, h.q) | fold) & keep)
	}
}

// gramAt is the q bytes at this place as a number, with whatever follows them in its higher bytes.
func gramAt(b []byte, at, q int) uint64 {
	if at+8 <= len(b) {
		return load64(b[at:])
	}
	var eight [8]byte
	copy(eight[:], b[at:at+q])
	return load64(eight[:])
}

// chooseWindows gives each entry of a tier that has none the window with the least sum of costs, a gram's being how common it is, times the literals
// that have it too.
func chooseWindows(entries []entry, tier int, m *Model) {
	h := shapes()[tier]
	fold, total, open := uint64(0), 0, false
	for i := range entries {
		if e := &entries[i]; e.tier == tier {
			total += len(e.bytes)
			open = open || e.window < 0
			if e.noCase {
				fold = foldWord
			}
		}
	}
	if !open {
		return
	}
	// How many literals have a gram is counted by hash: two that meet are taken for more common than they are.
	size := min(bits.Len(uint(2*total)), 24)
	shared := make([]uint16, 1<<size)
	for i := range entries {
		if e := &entries[i]; e.tier == tier {
			e.grams(h, fold, 0, len(e.bytes)-h.q+1, func(g uint64) {
				if c := &shared[mix(g)>>(64-size)]; *c < 1<<16-1 {
					*c++
				}
			})
		}
	}
	var costs []uint64
	for i := range entries {
		e := &entries[i]
		if e.tier != tier || e.window >= 0 {
			continue
		}
		costs = costs[:0]
		at := 0
		e.grams(h, fold, 0, len(e.bytes)-h.q+1, func(g uint64) {
			costs = append(costs, m.cost(gramAt(e.bytes, at, h.q), h.q)*uint64(shared[mix(g)>>(64-size)]))
			at++
		})
		best, sum := uint64(0), uint64(0)
		for j, c := range costs {
			sum += c
			if j >= h.s {
				sum -= costs[j-h.s]
			}
			if from := j - h.s + 1; from >= 0 && (from == 0 || sum < best) {
				e.window, best = from, sum
			}
		}
	}
}

// filterLoad is the number of records for a word of a filter that may grow.
const filterLoad = 2

// A key is a gram of a literal's window.
type key struct {
	hash    uint64 // mix of the gram
	gram    uint64
	posting uint32
}

func assemble(entries []entry, m *Model) []byte {
	var c counts
	var tiers [tierCount]builtTier
	for i := range tiers {
		tiers[i] = buildTier(entries, i)
		c.tiers[i] = tiers[i].counts
	}
	for _, e := range entries {
		c.literals++
		c.ids += uint32(len(e.ids))
		c.bytes += uint32(len(e.bytes))
		c.longest = max(c.longest, uint32(len(e.bytes)))
	}
	out := append(make([]byte, 0, c.size()), c.header()...)
	pad := func() { out = append(out, make([]byte, int(padded(int64(len(out))))-len(out))...) }
	var at, id uint32
	for i := range entries {
		e := &entries[i]
		check, checkAt := e.check(m)
		flags := uint16(0)
		if e.noCase {
			flags = flagNoCase
		}
		out = binary.LittleEndian.AppendUint32(out, at)
		out = binary.LittleEndian.AppendUint16(out, uint16(len(e.bytes)))
		out = binary.LittleEndian.AppendUint16(out, flags)
		out = binary.LittleEndian.AppendUint32(out, check)
		out = binary.LittleEndian.AppendUint16(out, uint16(checkAt))
		out = binary.LittleEndian.AppendUint16(out, uint16(e.window))
		out = binary.LittleEndian.AppendUint32(out, id)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(e.ids)))
		at, id = at+uint32(len(e.bytes)), id+uint32(len(e.ids))
	}
	pad()
	for _, e := range entries {
		for _, id := range e.ids {
			out = binary.LittleEndian.AppendUint32(out, id)
		}
	}
	pad()
	from := len(out)
	for _, e := range entries {
		out = append(out, e.bytes...)
	}
	hide(out[from:])
	pad()
	for _, t := range tiers {
		for _, section := range [][]byte{t.filter, t.lines, t.records, t.nodes} {
			out = append(out, section...)
			pad()
		}
	}
	return out
}

// check is the rarest four bytes of e, outside of its window if there are any, and their place; hidden.
func (e *entry) check(m *Model) (word uint32, at int) {
	if len(e.bytes) < 4 {
		return 0, 0
	}
	window := shapes()[e.tier].window()
	best := ^uint64(0)
	for i := 0; i+4 <= len(e.bytes); i++ {
		cost := m.cost(uint64(load32(e.bytes[i:])), 4)
		if i+4 > e.window && i < e.window+window {
			cost += 1 << 48 // any place outside of the window is better
		}
		if cost < best {
			best, at = cost, i
		}
	}
	return load32(e.bytes[at:]) ^ hiddenAll&0xffffffff, at
}

type builtTier struct {
	counts                        tierCounts
	filter, lines, records, nodes []byte
}

func buildTier(entries []entry, tier int) builtTier {
	h := shapes()[tier]
	fold, n := uint64(0), 0
	for _, e := range entries {
		if e.tier == tier {
			n++
			if e.noCase {
				fold = foldWord
			}
		}
	}
	if n == 0 {
		return builtTier{}
	}
	keys := make([]key, 0, n*h.s)
	for i := range entries {
		if e := &entries[i]; e.tier == tier {
			at := e.window
			e.grams(h, fold, e.window, h.s, func(g uint64) {
				keys = append(keys, key{hash: mix(g), gram: g, posting: uint32(i)<<offsetBits | uint32(at)})
				at++
			})
		}
	}
	slices.SortFunc(keys, func(x, y key) int { return cmp.Or(cmp.Compare(x.hash, y.hash), cmp.Compare(x.posting, y.posting)) })
	grams := 0
	for i, k := range keys {
		if i == 0 || k.hash != keys[i-1].hash {
			grams++
		}
	}
	t := builtTier{counts: tierCounts{fold: uint32(fold & 0x20 >> 5)}}
	t.buildTable(entries, h, keys, grams)
	t.buildFilter(keys)
	return t
}

// filterCounts says how many words the filter of a tier with this many records has, two for a record if there is room, and how many bits a mask: the
// more, the more room there is.
func filterCounts(records uint32) (words, masks uint32) {
	words = min(max(64, uint32(1)<<bits.Len32(records/filterLoad)), maxWords)
	switch load := records / words; {
	case load >= 12:
		return words, 2
	case load >= 8:
		return words, 3
	}
	return words, 4
}

func (t *builtTier) buildFilter(keys []key) {
	t.counts.words, t.counts.masks = filterCounts(t.counts.records)
	words := int(t.counts.words)
	masks := filterMasks(t.counts.masks)
	filter := make([]uint64, words)
	shift := 64 - bits.Len(uint(words-1))
	for _, k := range keys {
		hash := k.gram * sieveMul
		filter[hash>>shift] |= masks[hash>>maskShift%maskCount]
	}
	t.filter = make([]byte, 8*words)
	for i, w := range filter {
		binary.LittleEndian.PutUint64(t.filter[8*i:], w)
	}
}

// table splits a hash: line, and what a record keeps of the other bits, the lowest 16 of which are the tag.
func table(hash uint64, lineBits int) (line int, rest uint32) {
	return int(hash >> (64 - lineBits)), uint32(hash << lineBits >> 33)
}

// buildTable makes lines, records and trees of sorted keys.
func (t *builtTier) buildTable(entries []entry, h shape, keys []key, grams int) {
	lines := min(max(1, 1<<bits.Len(uint((grams-1)/8))), maxLines)
	lineBits := bits.Len(uint(lines)) - 1
	t.lines = make([]byte, (lines+1)*lineSize)
	w := treeWriter{shape: h, content: func(literal uint32) ([]byte, bool) { return entries[literal].bytes, entries[literal].noCase }}
	line, records := 0, uint32(0)
	first := uint32(0) // record of the line
	closeLine := func() {
		b := t.lines[line*lineSize:]
		binary.LittleEndian.PutUint32(b, first)
		binary.LittleEndian.PutUint16(b[4:], uint16(min(records-first, lineTags+1)))
		line, first = line+1, records
	}
	for i := 0; i < len(keys); {
		at, rest := table(keys[i].hash, lineBits)
		for line < at {
			closeLine()
		}
		var postings []uint32
		for ; i < len(keys); i++ {
			if l, r := table(keys[i].hash, lineBits); l != at || r != rest {
				break
			}
			postings = append(postings, keys[i].posting)
		}
		slices.Sort(postings)
		if n := int(records - first); n < lineTags {
			binary.LittleEndian.PutUint16(t.lines[line*lineSize+8+2*n:], uint16(rest))
		}
		head, ref := rest<<1, postings[0]
		if len(postings) > 1 {
			head, ref = head|recordTree, w.add(postings)
		}
		t.records = binary.LittleEndian.AppendUint32(t.records, head)
		t.records = binary.LittleEndian.AppendUint32(t.records, ref)
		records++
	}
	for line < lines {
		closeLine()
	}
	binary.LittleEndian.PutUint32(t.lines[lines*lineSize:], records)
	t.nodes = w.words
	t.counts.lines, t.counts.records, t.counts.nodes = uint32(lines), records, uint32(len(w.words)/4)
}
