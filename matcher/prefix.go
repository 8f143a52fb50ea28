package matcher

import (
	"encoding/binary"
	"sort"

	"example.org/avdb/dbformat"
)

// A prefixView is a parsed block of a light split section, ready for questions about single rows.
// [dbformat.PrefixBlock] finds rows by hash; the tag lines already know the row, and
// one comparison there costs one cache line instead of a search. So the view keeps the columns
// of the block that dbformat has checked: 2^k range ends of 4 bytes, then p-b bits a row.
type prefixView struct {
	dbformat.PrefixBlock
	bits  []byte
	width uint
}

func parsePrefixes(data []byte, s *dbformat.SectionHeader, index int) (prefixView, error) {
	b, err := dbformat.ParsePrefixBlock(data, s, index)
	if err != nil {
		return prefixView{}, err
	}
	return prefixView{PrefixBlock: b, bits: data[4<<s.K:], width: uint(s.P - s.B)}, nil
}

// low is the last p-b bits of row i's prefix; i is below Rows.
func (v *prefixView) low(i int) uint64 {
	pos := uint(i) * v.width
	at, shift := pos>>3, pos&7
	if at+9 > uint(len(v.bits)) {
		var end [9]byte
		copy(end[:], v.bits[min(at, uint(len(v.bits))):])
		return lowBits(&end, shift, v.width)
	}
	return lowBits((*[9]byte)(v.bits[at:]), shift, v.width)
}

// lowBits reads width bits from bit shift on, most significant first.
func lowBits(b *[9]byte, shift, width uint) uint64 {
	v := binary.BigEndian.Uint64(b[:])<<shift | uint64(b[8])>>(8-shift)
	return v >> (64 - width)
}

// seek is the first row in [from, end) whose low bits are not less than want. It looks at from
// itself first, then ever further: the rows behind an overflowed line are nearly always
// decided by the first one.
func (v *prefixView) seek(from, end int, want uint64) int {
	if from >= end || v.low(from) >= want {
		return from
	}
	step := 1
	for from+step < end && v.low(from+step) < want {
		from += step
		step *= 2
	}
	// from is less than want; the answer is behind it, at from+step at the latest.
	last := min(from+step, end)
	return from + 1 + sort.Search(last-from-1, func(i int) bool { return v.low(from+1+i) >= want })
}
