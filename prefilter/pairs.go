package prefilter

// A pairTable is the first stage of the tiers whose grams are looked for at every place or every second one: it says of each two bytes, as a little-endian
// number, where in a gram they stand. The lowest bits are for grams that begin with them, one for each tier of multiples of two, and everyPlace for the
// tier of all places; the bits followsShift above are for grams that go on with them. A byte read and an AND take the place of a hash and a
// filter, and all these tiers share them.
type pairTable [1 << 16]uint8

const (
	pairTiers    = 3 // tiers of multiples of two
	everyPlace   = 1 << pairTiers
	followsShift = 4
	pairBits     = 1<<pairTiers - 1
)

// add puts a gram of h, of a tier with this bit, into the table, with all that is the same after fold.
func (p *pairTable) add(gram []byte, fold byte, bit uint8) {
	either := func(c byte) []byte {
		if fold == 0 {
			return []byte{c}
		}
		return []byte{c | fold, c &^ fold}
	}
	each := func(low, high []byte, bits uint8) {
		for _, l := range low {
			for _, h := range high {
				p[int(l)|int(h)<<8] |= bits
			}
		}
	}
	each(either(gram[0]), either(gram[1]), bit)
	switch follows := bit << followsShift; {
	case bit == everyPlace:
	case len(gram) == 4:
		each(either(gram[2]), either(gram[3]), follows)
	default:
		for c := range 256 {
			if len(gram) == 3 {
				each(either(gram[2]), []byte{byte(c)}, follows)
				continue
			}
			for d := range 256 {
				p[c|d<<8] |= follows
			}
		}
	}
}

// pairs makes the table of the tiers that have one, nil if none has.
func (s *Set) makePairs() *pairTable {
	var p *pairTable
	for _, t := range s.tiers {
		if t.pairBit == 0 {
			continue
		}
		if p == nil {
			p = new(pairTable)
		}
		gram := make([]byte, t.q)
		t.postings(func(posting uint32) {
			l := s.literal(posting >> offsetBits)
			copy(gram, s.content(&l)[posting%(1<<offsetBits):][:t.q])
			hide(gram)
			p.add(gram, byte(t.fold), t.pairBit)
		})
	}
	return p
}

// postings calls f with all postings of t: the records' own ones, and those of the leaves, which are met by reading all nodes in their order.
func (t *tier) postings(f func(posting uint32)) {
	for r := t.records; len(r) > 0; r = r[recordSize:] {
		if load32(r)&recordTree == 0 {
			f(load32(r[4:]))
		}
	}
	for n := t.nodes; len(n) > 0; {
		kind, count := load32(n)&0xff, load32(n)>>8
		n = n[4:]
		for range count {
			if kind == kindLeaf {
				f(load32(n))
				n = n[4:]
				continue
			}
			n = n[8+int(load32(n[4:]))*keySize:]
		}
	}
}

// pairBlock is the number of bytes that are looked at in one step.
const pairBlock = 32

// sift2 writes the places at multiples of two in b that may begin a gram to out, and returns their number and that of the bytes done: all places that have
// eight bytes, or fewer if out has not as many places left as a block has.
func (p *pairTable) sift2(b []byte, out []uint32) (n, done int) {
	for ; len(b)-done >= pairBlock+8; done += pairBlock {
		c := (*[pairBlock + 2]byte)(b[done:])
		v0, v1, v2, v3, v4 := p[load16(c[0:])], p[load16(c[2:])], p[load16(c[4:])], p[load16(c[6:])], p[load16(c[8:])]
		in := v0&(v1>>followsShift) | v1&(v2>>followsShift) | v2&(v3>>followsShift) | v3&(v4>>followsShift)
		v1, v2, v3, v0 = p[load16(c[10:])], p[load16(c[12:])], p[load16(c[14:])], p[load16(c[16:])]
		in |= v4&(v1>>followsShift) | v1&(v2>>followsShift) | v2&(v3>>followsShift) | v3&(v0>>followsShift)
		v1, v2, v3, v4 = p[load16(c[18:])], p[load16(c[20:])], p[load16(c[22:])], p[load16(c[24:])]
		in |= v0&(v1>>followsShift) | v1&(v2>>followsShift) | v2&(v3>>followsShift) | v3&(v4>>followsShift)
		v1, v2, v3, v0 = p[load16(c[26:])], p[load16(c[28:])], p[load16(c[30:])], p[load16(c[32:])]
		in |= v4&(v1>>followsShift) | v1&(v2>>followsShift) | v2&(v3>>followsShift) | v3&(v0>>followsShift)
		if in&pairBits != 0 {
			if len(out)-n < pairBlock/2 {
				return n, done
			}
			n += p.siftBlock2(c, (*[pairBlock / 2]uint32)(out[n:]), uint32(done))
		}
	}
	for ; done+8 <= len(b); done += 2 {
		if n == len(out) {
			return n, done
		}
		if p[load16(b[done:])]&(p[load16(b[done+2:])]>>followsShift)&pairBits != 0 {
			out[n] = uint32(done)
			n++
		}
	}
	return n, done
}

//go:noinline
func (p *pairTable) siftBlock2(c *[pairBlock + 2]byte, out *[pairBlock / 2]uint32, at uint32) int {
	n := 0
	v := p[load16(c[:])]
	for i := 0; i < pairBlock; i += 2 {
		next := p[load16(c[i+2:])]
		out[n%len(out)] = at + uint32(i)
		n += int(v&(next>>followsShift)&pairBits+pairBits) >> pairTiers
		v = next
	}
	return n
}

// sift1 does so for all places and the tier that has them.
func (p *pairTable) sift1(b []byte, out []uint32) (n, done int) {
	for ; len(b)-done >= pairBlock+8; done += pairBlock {
		c := (*[pairBlock + 1]byte)(b[done:])
		in := uint8(0)
		for i := 0; i < pairBlock; i += 8 {
			in |= p[load16(c[i:])] | p[load16(c[i+1:])] | p[load16(c[i+2:])] | p[load16(c[i+3:])]
			in |= p[load16(c[i+4:])] | p[load16(c[i+5:])] | p[load16(c[i+6:])] | p[load16(c[i+7:])]
		}
		if in&everyPlace != 0 {
			if len(out)-n < pairBlock {
				return n, done
			}
			n += p.siftBlock1(c, (*[pairBlock]uint32)(out[n:]), uint32(done))
		}
	}
	for ; done+8 <= len(b); done++ {
		if n == len(out) {
			return n, done
		}
		if p[load16(b[done:])]&everyPlace != 0 {
			out[n] = uint32(done)
			n++
		}
	}
	return n, done
}

//go:noinline
func (p *pairTable) siftBlock1(c *[pairBlock + 1]byte, out *[pairBlock]uint32, at uint32) int {
	n := 0
	for i := range pairBlock {
		out[n%len(out)] = at + uint32(i)
		n += int(p[load16(c[i:])] / everyPlace & 1)
	}
	return n
}
