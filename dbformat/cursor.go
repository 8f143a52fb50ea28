package dbformat

import (
	"encoding/binary"
	"math/bits"
)

// A cursor reads fields from the bytes of one encoding. After the first error it
// gives zero values only, so that callers may check once for several fields.
type cursor struct {
	what string // for errors
	b    []byte // what is left
	off  int64  // of b[0]
	err  error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = corrupt(c.what, c.off, format, args...)
	}
	c.b = nil
}

// take gives the next n bytes where they are.
func (c *cursor) take(n int64, field string) []byte {
	if c.err != nil {
		return nil
	}
	if n < 0 || n > int64(len(c.b)) {
		c.fail("%s has %d bytes, %d are left", field, n, len(c.b))
		return nil
	}
	v := c.b[:n:n]
	c.b, c.off = c.b[n:], c.off+n
	return v
}

func (c *cursor) u8(field string) byte {
	if b := c.take(1, field); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16(field string) uint16 {
	if b := c.take(2, field); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32(field string) uint32 {
	if b := c.take(4, field); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64(field string) uint64 {
	if b := c.take(8, field); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// uvarint reads a number of at most limit: groups of seven bits, least significant first,
// the high bit of a byte says that another follows; the shortest form only.
func (c *cursor) uvarint(limit uint64, field string) uint64 {
	if c.err != nil {
		return 0
	}
	v, n := binary.Uvarint(c.b)
	switch {
	case n <= 0:
		c.fail("%s is not a number", field)
		return 0
	case n > 1 && c.b[n-1] == 0:
		c.fail("%s is not in its shortest form", field)
		return 0
	case v > limit:
		c.fail("%s is %d, at most %d is possible", field, v, limit)
		return 0
	}
	c.b, c.off = c.b[n:], c.off+int64(n)
	return v
}

// end proves that nothing is left.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.fail("%d bytes after the end", len(c.b))
	}
	return c.err
}

// riceParam is the number of low bits of a gap that are stored as they are, for n
// values below span: about the logarithm of the mean gap. It follows from what
// both sides know, so that it is not stored and there is one encoding.
func riceParam(span uint64, n int) uint {
	if n == 0 || span == 0 {
		return 0
	}
	mean := span / uint64(n)
	if mean == 0 {
		return 0
	}
	return uint(bits.Len64(mean) - 1)
}

// A riceWriter codes ascending values below span as gaps: the gap's high part in unary
// (that many zero bits, then a one), the low part in riceParam bits.
type riceWriter struct {
	bitWriter
	k    uint
	next uint64 // least value that may come
	step uint64 // 1 if values ascend strictly, else 0
}

// newRiceWriter appends n values to dst; strict says that no two are alike.
func newRiceWriter(dst []byte, span uint64, n int, strict bool) riceWriter {
	w := riceWriter{bitWriter: bitWriter{buf: dst}, k: riceParam(span, n)}
	if strict {
		w.step = 1
	}
	return w
}

func (w *riceWriter) add(v uint64) {
	gap := v - w.next
	w.next = v + w.step
	for q := gap >> w.k; ; q -= 32 {
		if q < 32 {
			w.write(1, uint(q)+1)
			break
		}
		w.write(0, 32)
	}
	w.write64(gap&(1<<w.k-1), w.k)
}

// A riceReader reads what a riceWriter wrote.
type riceReader struct {
	b    []byte
	pos  uint64 // in bits
	k    uint
	left int    // values to come
	next uint64 // least value that may come
	span uint64
	step uint64
}

func newRiceReader(b []byte, span uint64, n int, strict bool) riceReader {
	r := riceReader{b: b, k: riceParam(span, n), left: n, span: span}
	if strict {
		r.step = 1
	}
	return r
}

// read gives the next value; false if there is none below span or the bits end.
func (r *riceReader) read() (uint64, bool) {
	end := uint64(len(r.b)) * 8
	var q uint64
	for {
		if r.pos >= end {
			return 0, false
		}
		w := bitsAt(r.b, r.pos, 56)
		if w != 0 {
			z := uint64(bits.LeadingZeros64(w) - 8)
			q += z
			r.pos += z + 1
			break
		}
		q += 56
		r.pos += 56
	}
	if r.pos+uint64(r.k) > end || q > r.span>>r.k {
		return 0, false
	}
	gap := q<<r.k | bitsAt(r.b, r.pos, r.k)
	r.pos += uint64(r.k)
	if r.next >= r.span || gap >= r.span-r.next {
		return 0, false
	}
	v := r.next + gap
	r.next = v + r.step
	r.left--
	return v, true
}

// closed tells whether all values were read and nothing but padding is left.
func (r *riceReader) closed() bool {
	return r.left == 0 && (r.pos+7)/8 == uint64(len(r.b)) && paddingZero(r.b, int64(r.pos))
}
