package prefilter

// A sieve is a filter as it is scanned with: a Bloom filter whose bits for one gram all lie in one word. A clear bit means present. A gram is in it if
// word and mask have no bit in common; as bit 63 is in no mask, one less than their intersection is negative for exactly these. So a test has no
// branch, its shifts are constants but for one, and tests are joined by OR.
type sieve struct {
	words []uint64 // a power of two of them
	masks *[maskCount]uint64
	bits  uint32 // of a mask
	shift uint64 // 64 minus the logarithm of the number of words
	fold  uint64 // what is OR-ed to eight bytes before they are hashed
	keep  uint64 // the bytes of a gram
}

// fill copies the words of the filter.
func (v *sieve) fill(filter []byte) {
	v.words, v.masks = make([]uint64, len(filter)/8), filterMasks(v.bits)
	for i := range v.words {
		v.words[i] = ^load64(filter[8*i:])
	}
}

// block is the number of bytes that [sift] looks at in one step.
const block = 64

// sift is the inner loop of the tiers with grams at multiples of eight. It tests the grams at multiples of eight in b, as far as whole blocks go, writes the places of those that
// are in the filter to out, and returns their number and the number of bytes done: all whole blocks, or fewer if out has not eight places left.
// It is apart from everything else so that it can be replaced.
func sift(b []byte, v *sieve, out []uint32) (n, done int) {
	words, masks, shift, fold, keep := v.words, v.masks, v.shift&63, v.fold, v.keep
	if len(words) == 0 {
		return 0, len(b) &^ (block - 1)
	}
	last := uint64(len(words) - 1)
	for len(b) >= block {
		c := (*[block]byte)(b)
		h0 := (load64(c[0:]) | fold) & keep * sieveMul
		h1 := (load64(c[8:]) | fold) & keep * sieveMul
		h2 := (load64(c[16:]) | fold) & keep * sieveMul
		h3 := (load64(c[24:]) | fold) & keep * sieveMul
		in := words[h0>>shift&last]&masks[h0>>maskShift%maskCount] - 1
		in |= words[h1>>shift&last]&masks[h1>>maskShift%maskCount] - 1
		in |= words[h2>>shift&last]&masks[h2>>maskShift%maskCount] - 1
		in |= words[h3>>shift&last]&masks[h3>>maskShift%maskCount] - 1
		h0 = (load64(c[32:]) | fold) & keep * sieveMul
		h1 = (load64(c[40:]) | fold) & keep * sieveMul
		h2 = (load64(c[48:]) | fold) & keep * sieveMul
		h3 = (load64(c[56:]) | fold) & keep * sieveMul
		in |= words[h0>>shift&last]&masks[h0>>maskShift%maskCount] - 1
		in |= words[h1>>shift&last]&masks[h1>>maskShift%maskCount] - 1
		in |= words[h2>>shift&last]&masks[h2>>maskShift%maskCount] - 1
		in |= words[h3>>shift&last]&masks[h3>>maskShift%maskCount] - 1
		if int64(in) < 0 {
			if len(out)-n < 8 {
				return n, done
			}
			n += siftBlock(c[:], v, 8, (*[8]uint32)(out[n:]), uint32(done))
		}
		b = b[block:]
		done += block
	}
	return n, done
}

// sift16 is the loop of the tier with grams at multiples of 16, as sift is that of multiples of eight.
func sift16(b []byte, v *sieve, out []uint32) (n, done int) {
	words, masks, shift, fold, keep := v.words, v.masks, v.shift&63, v.fold, v.keep
	if len(words) == 0 {
		return 0, len(b) &^ (2*block - 1)
	}
	last := uint64(len(words) - 1)
	for len(b) >= 2*block {
		c := (*[2 * block]byte)(b)
		h0 := (load64(c[0:]) | fold) & keep * sieveMul
		h1 := (load64(c[16:]) | fold) & keep * sieveMul
		h2 := (load64(c[32:]) | fold) & keep * sieveMul
		h3 := (load64(c[48:]) | fold) & keep * sieveMul
		in := words[h0>>shift&last]&masks[h0>>maskShift%maskCount] - 1
		in |= words[h1>>shift&last]&masks[h1>>maskShift%maskCount] - 1
		in |= words[h2>>shift&last]&masks[h2>>maskShift%maskCount] - 1
		in |= words[h3>>shift&last]&masks[h3>>maskShift%maskCount] - 1
		h0 = (load64(c[64:]) | fold) & keep * sieveMul
		h1 = (load64(c[80:]) | fold) & keep * sieveMul
		h2 = (load64(c[96:]) | fold) & keep * sieveMul
		h3 = (load64(c[112:]) | fold) & keep * sieveMul
		in |= words[h0>>shift&last]&masks[h0>>maskShift%maskCount] - 1
		in |= words[h1>>shift&last]&masks[h1>>maskShift%maskCount] - 1
		in |= words[h2>>shift&last]&masks[h2>>maskShift%maskCount] - 1
		in |= words[h3>>shift&last]&masks[h3>>maskShift%maskCount] - 1
		if int64(in) < 0 {
			if len(out)-n < 8 {
				return n, done
			}
			n += siftBlock(c[:], v, 16, (*[8]uint32)(out[n:]), uint32(done))
		}
		b = b[2*block:]
		done += 2 * block
	}
	return n, done
}

// siftBlock writes down which of the eight grams of a block are in the filter.
//
//go:noinline
func siftBlock(c []byte, v *sieve, step int, out *[8]uint32, at uint32) int {
	n := 0
	for i := 0; i < len(c); i += step {
		out[n&7] = at + uint32(i)
		n += int(v.test(load64(c[i:])))
	}
	return n
}

// test is 1 if the gram that begins with these eight bytes is in the filter.
func (v *sieve) test(w uint64) uint64 {
	h := ((w | v.fold) & v.keep) * sieveMul
	return (v.words[h>>(v.shift&63)&uint64(len(v.words)-1)]&v.masks[h>>maskShift%maskCount] - 1) >> 63
}

// siftEach is the loop of the other tiers, and of what is left over in those with wide steps: it tests the grams at multiples of step in b that have eight bytes
// from their first one.
func siftEach(b []byte, v *sieve, step int, out []uint32) (n, done int) {
	words, masks, shift, fold, keep := v.words, v.masks, v.shift&63, v.fold, v.keep
	if len(words) == 0 {
		return 0, len(b)
	}
	last := uint64(len(words) - 1)
	hash := func(at int) uint64 { return ((load64(b[at:]) | fold) & keep) * sieveMul }
	for ; done+3*step+8 <= len(b); done += 4 * step {
		h0, h1, h2, h3 := hash(done), hash(done+step), hash(done+2*step), hash(done+3*step)
		i0 := words[h0>>shift&last]&masks[h0>>maskShift%maskCount] - 1
		i1 := words[h1>>shift&last]&masks[h1>>maskShift%maskCount] - 1
		i2 := words[h2>>shift&last]&masks[h2>>maskShift%maskCount] - 1
		i3 := words[h3>>shift&last]&masks[h3>>maskShift%maskCount] - 1
		if int64(i0|i1|i2|i3) < 0 {
			if len(out)-n < 4 {
				return n, done
			}
			for i, in := range [4]uint64{i0, i1, i2, i3} {
				out[n] = uint32(done + i*step)
				if int64(in) < 0 {
					n++
				}
			}
		}
	}
	for ; done+8 <= len(b); done += step {
		if n == len(out) {
			return n, done
		}
		if v.test(load64(b[done:])) != 0 {
			out[n] = uint32(done)
			n++
		}
	}
	return n, done
}
