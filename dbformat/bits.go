package dbformat

import (
	"encoding/binary"
	"math/bits"
)

// A bitWriter appends bits to a buffer, most significant first.
type bitWriter struct {
	buf []byte
	acc uint64 // the n bits that are not yet in buf, right-aligned
	n   uint   // < 8 between calls
}

// write appends the low w bits of v, w <= 56.
func (w *bitWriter) write(v uint64, width uint) {
	w.acc = w.acc<<width | v&(1<<width-1)
	w.n += width
	for w.n >= 8 {
		w.n -= 8
		w.buf = append(w.buf, byte(w.acc>>w.n))
	}
}

// write64 appends the low w bits of v, w <= 64.
func (w *bitWriter) write64(v uint64, width uint) {
	if width > 32 {
		w.write(v>>32, width-32)
		width = 32
	}
	w.write(v, width)
}

// finish pads with zero bits to a whole byte and gives the buffer.
func (w *bitWriter) finish() []byte {
	if w.n > 0 {
		w.buf = append(w.buf, byte(w.acc<<(8-w.n)))
		w.acc, w.n = 0, 0
	}
	return w.buf
}

// bitsAt reads width <= 64 bits at bit pos of b, all of which must lie in b.
func bitsAt(b []byte, pos uint64, width uint) uint64 {
	i, s := pos>>3, uint(pos&7)
	if uint64(len(b)) < i+9 {
		var tail [9]byte
		copy(tail[:], b[min(i, uint64(len(b))):])
		b, i = tail[:], 0
	}
	v := binary.BigEndian.Uint64(b[i:])<<s | uint64(b[i+8])>>(8-s)
	return v >> (64 - width)
}

// packedLen is the number of bytes of rows*width bits.
func packedLen(rows, width int) int { return int((int64(rows)*int64(width) + 7) / 8) }

// paddingZero tells whether the bits of b after the first n are zero; b is just
// long enough for n bits.
func paddingZero(b []byte, n int64) bool {
	return n%8 == 0 || b[len(b)-1]<<(n%8) == 0
}

// copyNibbles copies n half bytes from half byte from of src to half byte to of
// dst, the more significant half of a byte first. The other halves of dst stay.
func copyNibbles(dst []byte, to int, src []byte, from, n int) {
	if n > 0 && to&1 == 1 {
		dst[to>>1] = dst[to>>1]&0xf0 | nibble(src, from)
		to, from, n = to+1, from+1, n-1
	}
	d := dst[to>>1:]
	whole := n >> 1
	if from&1 == 0 {
		copy(d[:whole], src[from>>1:from>>1+whole])
	} else if whole > 0 {
		s := src[from>>1 : from>>1+whole+1]
		for i := range whole {
			d[i] = s[i]<<4 | s[i+1]>>4
		}
	}
	if n&1 == 1 {
		d[whole] = d[whole]&0x0f | nibble(src, from+n-1)<<4
	}
}

func nibble(b []byte, i int) byte {
	if i&1 == 0 {
		return b[i>>1] >> 4
	}
	return b[i>>1] & 0x0f
}

// hashPrefix is the first p <= 64 bits of a hash.
func hashPrefix(hash []byte, p uint8) uint64 {
	return binary.BigEndian.Uint64(hash) >> (64 - p)
}

// sizeWidth is the least number of bytes that holds v, 0 for 0.
func sizeWidth(v uint32) int { return (bits.Len32(v) + 7) / 8 }
