package prefilter

import (
	"encoding/binary"
	"math/bits"
)

const (
	ones8     = 0x0101010101010101
	ones16    = 0x0001000100010001
	foldWord  = 0x20 * ones8
	sieveMul  = 0x9e3779b97f4a7c15
	mixAdd    = 0xa0761d6478bd642f
	mixMul    = 0xe7037ed1a0b428db
	maskShift = 38  // the bits of a sieve hash that choose a mask
	maskCount = 512 // masks of a filter
	hidden    = 0xa7
	hiddenAll = hidden * ones8
)

func load64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
func load32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func load16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }

// mix is the hash by which grams are looked up. It shares nothing with the multiplication of the filter: what passes there by chance is not
// likelier to pass here.
func mix(gram uint64) uint64 {
	hi, lo := bits.Mul64(gram^mixAdd, mixMul)
	return hi ^ lo
}

// lower gives ASCII capitals in the eight bytes of x their small letters.
func lower(x uint64) uint64 {
	seven := x & (0x7f * ones8)
	fromA := seven + (0x80-'A')*ones8
	afterZ := seven + (0x7f-'Z')*ones8
	return x | (fromA^afterZ)&^x&(0x80*ones8)>>2
}

// lowerByte does the same to one byte.
func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// filterMasks are the masks of a filter: each has k of the lower 63 bits. The highest is left free, see [sift].
func filterMasks(k uint32) *[maskCount]uint64 {
	m := new([maskCount]uint64)
	var x uint64
	for i := range m {
		for bits.OnesCount64(m[i]) < int(k) {
			x++
			m[i] |= 1 << (mix(x) >> 32 % 63)
		}
	}
	return m
}
