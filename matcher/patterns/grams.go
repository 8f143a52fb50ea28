package patterns

import (
	"math"
	"math/bits"
)

// A gramIndex finds sought parts by one gram of each: four of its bytes, or two where no run has more. It is made for one reading of an object, for as
// many parts as this touched, in less time than a prefilter would take; and it chooses grams that are rare in that very object.
type gramIndex struct {
	common []uint32 // by the hash of a gram: parts that are found by it, and above shareBits how often it was seen in the object
	filter []uint64 // bits for the grams that some part is found by
	heads  []uint32 // the first part with a hash
	bits   int      // of the filter: 1<<bits
	slots  int      // of heads: 1<<slots
	pairs  bool     // some parts are found by two bytes
	quads  bool     // some are by four
}

const (
	commonBits = 16
	shareBits  = 20
	seenOften  = 64  // times that a gram is somewhere else for each time that it was seen in a sample, more or less
	maxGrams   = 256 // that are looked at for a part
	folded     = 0x20202020
)

// gramOf folds four bytes: capitals become small letters, and other bytes something else. So a gram is where it is worth to compare, and nowhere where a part is not.
func gramOf(four uint32) uint32 { return four | folded }

// pairOf does so for two bytes. It is never the same as a gram of four.
func pairOf(two uint32) uint32 { return two&0xffff | folded&0xffff }

func hashOf(gram uint32, bits int) uint32 { return gram * 0x9e3779b1 >> (32 - bits) }

// begin makes an index for so many parts.
func (x *gramIndex) begin(parts int) {
	x.slots = min(max(6, bits.Len(uint(parts))), 20)
	x.bits = min(x.slots+4, 20)
	x.common = cleared(x.common, 1<<commonBits, 0)
	x.filter = cleared(x.filter, 1<<(x.bits-6), 0)
	x.heads = cleared(x.heads, 1<<x.slots, none)
	x.pairs, x.quads = false, false
}

// cleared gives n times v, in the memory of s if it is enough.
func cleared[T any](s []T, n int, v T) []T {
	if cap(s) < n {
		s = make([]T, n)
	}
	s = s[:n]
	for i := range s {
		s[i] = v
	}
	return s
}

// observe takes bytes of the object, some hundred KiB at most.
func (x *gramIndex) observe(b []byte) {
	for i := 0; i+4 <= len(b); i++ {
		if v := &x.common[hashOf(gramOf(load32(b[i:])), commonBits)]; *v < 1<<31 {
			*v += 1 << shareBits
		}
	}
}

// cost is how many candidates more there are with another part that is found by a gram, more or less; of grams that are nowhere, that with the fewest parts costs least.
func (x *gramIndex) cost(gram uint32) uint64 {
	v := x.common[hashOf(gram, commonBits)]
	return (seenOften*uint64(v>>shareBits) + 1) * (uint64(v&(1<<shareBits-1)) + 1)
}

// add has part n found by its best gram. It gives the number of grams that it looked at.
func (x *gramIndex) add(all []sought, n uint32) (looked int) {
	q := &all[n]
	best := uint64(math.MaxUint64)
	choose := func(run []byte, least, most int64) {
		for i := 0; i+4 <= len(run) && looked < maxGrams; i++ {
			looked++
			gram := gramOf(load32(run[i:]) ^ hidden*0x01010101)
			if cost := x.cost(gram) * uint64(most-least+1); cost < best {
				best = cost
				q.run, q.least, q.most, q.gram, q.key = run, least, most, i, gram
			}
		}
	}
	anchor := q.program.anchor()
	least, most := q.program.lead()
	choose(anchor, least, most)
	q.program.runs(choose)
	if looked > 0 {
		x.common[hashOf(q.key, commonBits)]++
		x.quads = true
	} else {
		q.run, q.least, q.most, q.gram, q.key = anchor, least, most, 0, pairOf(uint32(hidden16(anchor)))
		x.pairs = true
	}
	head := &x.heads[hashOf(q.key, x.slots)]
	q.link, *head = *head, n
	h := hashOf(q.key, x.bits)
	x.filter[h>>6] |= 1 << (h & 63)
	return looked
}

// scan tells k of the grams in its window that begin at from to to, in ascending order.
func (x *gramIndex) scan(k *reading, from, to int) {
	b, filter := k.window.Bytes, x.filter
	whole := max(from, min(to, len(b)-3))
	for i := from; i < whole; i++ {
		four := load32(b[i:])
		if h := hashOf(gramOf(four), x.bits); x.quads && filter[h>>6]>>(h&63)&1 != 0 {
			x.found(k, gramOf(four), i)
		}
		if !x.pairs {
			continue
		}
		if h := hashOf(pairOf(four), x.bits); filter[h>>6]>>(h&63)&1 != 0 {
			x.found(k, pairOf(four), i)
		}
	}
	for i := whole; x.pairs && i < min(to, len(b)-1); i++ {
		x.found(k, pairOf(uint32(load16(b[i:]))), i)
	}
}

// found goes through the parts that may have a gram which is at b[at], and drops those that nobody needs.
func (x *gramIndex) found(k *reading, gram uint32, at int) {
	for link := &x.heads[hashOf(gram, x.slots)]; *link != none && !k.state.over; {
		q := &k.sought[*link]
		if q.users == 0 {
			*link = q.link
			continue
		}
		if q.key == gram {
			if k.state.step(1); q.claims != none {
				k.candidate(q, at)
			}
		}
		link = &q.link
	}
}
