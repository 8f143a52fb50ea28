package dbformat

import (
	"encoding/binary"
	"fmt"
	"sort"
)

// A PrefixBlock is a view of one block of a light split section: the first p bits
// of each hash, in the order of the rest layer's rows. It refers to the bytes that
// it was parsed from and is safe for concurrent use. Its zero value has no rows.
type PrefixBlock struct {
	ends  []byte // 2^k row numbers, 4 bytes each: where each range ends
	bits  []byte // rows x (p-b) bits
	p, b  uint8
	k     uint8
	index int
	rows  int
}

// ParsePrefixBlock checks the lengths, the range ends and the padding of block
// index of section s, so that no later call can fail; [PrefixBlock.Check] checks the
// order of the rows. The view does not copy data.
func ParsePrefixBlock(data []byte, s *SectionHeader, index int) (PrefixBlock, error) {
	what := func() string { return blockName(s.ID, index) }
	head := 4 << s.K
	switch {
	case !s.ID.Split():
		return PrefixBlock{}, corrupt(what(), -1, "section has no prefixes")
	case len(data) > MaxBlock:
		return PrefixBlock{}, corrupt(what(), MaxBlock, "%d bytes, at most %d are allowed", len(data), MaxBlock)
	case len(data) < head:
		return PrefixBlock{}, corrupt(what(), int64(len(data)), "ends within the range table of %d bytes", head)
	}
	b := PrefixBlock{ends: data[:head:head], bits: data[head:], p: s.P, b: s.B, k: s.K, index: index}
	prev := 0
	for r := range 1 << s.K {
		end := int(binary.BigEndian.Uint32(b.ends[4*r:]))
		if end < prev {
			return PrefixBlock{}, corrupt(what(), int64(4*r), "range ends at row %d, before row %d", end, prev)
		}
		prev = end
	}
	b.rows = prev
	n := int64(b.rows) * int64(b.LowBits())
	if int64(len(b.bits)) != (n+7)/8 {
		return PrefixBlock{}, corrupt(what(), int64(head), "%d bytes of prefixes, %d rows have %d", len(b.bits), b.rows, (n+7)/8)
	}
	if !paddingZero(b.bits, n) {
		return PrefixBlock{}, corrupt(what(), int64(len(data)-1), "padding bits are not zero")
	}
	return b, nil
}

func blockName(id SectionID, index int) string { return fmt.Sprintf("block %s %d", id, index) }

// Check proves that the rows of each range are in order. It reads all of them.
func (b *PrefixBlock) Check(id SectionID) error {
	for r := range b.Ranges() {
		first, end := b.Range(r)
		for i := first + 1; i < end; i++ {
			if b.Low(i) < b.Low(i-1) {
				return corrupt(blockName(id, b.index), -1, "row %d is smaller than the row before it", i)
			}
		}
	}
	return nil
}

// Rows is the number of rows.
func (b *PrefixBlock) Rows() int { return b.rows }

// Ranges is the number of key ranges that the block covers, 2^k. Range r is
// block FirstRange()+r of the same section in the rest layer.
func (b *PrefixBlock) Ranges() int { return 1 << b.k }

// FirstRange is the number of the block's first range in the section.
func (b *PrefixBlock) FirstRange() int { return b.index << b.k }

// Range gives the rows [first, end) of range r of the block: row first+i is row i
// of that range's block in the rest layer.
func (b *PrefixBlock) Range(r int) (first, end int) {
	if r > 0 {
		first = int(binary.BigEndian.Uint32(b.ends[4*(r-1):]))
	}
	return first, int(binary.BigEndian.Uint32(b.ends[4*r:]))
}

// LowBits is the width of what the block holds of each prefix, p-b: the bits before them are the number of the row's range.
func (b *PrefixBlock) LowBits() uint { return uint(b.p - b.b) }

// Low is the last LowBits bits of row i's prefix; i is below Rows. Within a range they do not descend.
func (b *PrefixBlock) Low(i int) uint64 {
	return bitsAt(b.bits, uint64(i)*uint64(b.LowBits()), b.LowBits())
}

// AppendPrefixes appends the p-bit prefixes of all rows, in order.
func (b *PrefixBlock) AppendPrefixes(dst []uint64) []uint64 {
	w := b.LowBits()
	for r := range b.Ranges() {
		first, end := b.Range(r)
		high := uint64(b.FirstRange()+r) << w
		pos := uint64(first) * uint64(w)
		for range end - first {
			dst = append(dst, high|bitsAt(b.bits, pos, w))
			pos += uint64(w)
		}
	}
	return dst
}

// Find gives the rows [first, end) whose prefix is that of hash, which must belong
// to this block: its first b-k bits are the block's index.
func (b *PrefixBlock) Find(hash []byte) (first, end int) {
	v := hashPrefix(hash, b.p)
	w := b.LowBits()
	r := int(v>>w) - b.FirstRange()
	if r < 0 || r >= b.Ranges() {
		return 0, 0
	}
	want := v & (1<<w - 1)
	lo, hi := b.Range(r)
	first = lo + sort.Search(hi-lo, func(i int) bool { return b.Low(lo+i) >= want })
	for end = first; end < hi && b.Low(end) == want; end++ {
	}
	return first, end
}

// A prefixEncoder makes the canonical bytes of prefix blocks one after the other
// in one buffer.
type prefixEncoder struct {
	buf  []byte
	ends []uint32
	low  []uint64
}

func (e *prefixEncoder) reset() { e.ends, e.low = e.ends[:0], e.low[:0] }

// add appends a row to the range that is open; only the low p-b bits of v count.
func (e *prefixEncoder) add(v uint64) { e.low = append(e.low, v) }

// endRange closes the range that is open.
func (e *prefixEncoder) endRange() { e.ends = append(e.ends, uint32(len(e.low))) }

// bytes gives the block; it is valid until the next call.
func (e *prefixEncoder) bytes(width uint) []byte {
	e.buf = e.buf[:0]
	for _, end := range e.ends {
		e.buf = binary.BigEndian.AppendUint32(e.buf, end)
	}
	w := bitWriter{buf: e.buf}
	for _, v := range e.low {
		w.write64(v&(1<<width-1), width)
	}
	e.buf = w.finish()
	return e.buf
}
