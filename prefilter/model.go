package prefilter

import (
	"cmp"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// A Model says how common a gram is in what will be scanned. The windows of a set are chosen by it, which decides how many candidates there are in
// each KiB: a poor model is worth more than none, and a good one many times a poor one. It is immutable and safe for concurrent use.
//
// It knows two things: how probable each byte is after each other byte, and which grams of eight bytes are common. A gram of eight bytes that is not
// among them costs what its bytes in a row would, but no more than a gram that was not seen often enough to be told apart from chance; shorter
// grams cost what their bytes in a row do.
type Model struct {
	first  [256]uint8   // rarity of a byte
	next   [65536]uint8 // rarity of the higher byte of the number after the lower one
	unseen uint8        // least rarity of a gram that is not in the table
	keys   []uint32     // open addressing over a power of two; 0 is free
	values []uint8      // rarity
	grams  int
}

// A rarity is -8 times the logarithm to base 2 of a probability, at most 255.

// MaxModelGrams is the greatest number of common grams of a [Model].
const MaxModelGrams = 1 << 22

const costBits = 36 // a cost of 1 is a probability of 2^-36

//go:embed default.model
var defaultModel []byte

// DefaultModel is learned from programs, libraries and data of a Linux distribution; how is documented and repeatable, see TestMakeDefaultModel. It
// is made anew by each call, in about a millisecond.
func DefaultModel() *Model {
	m, err := ParseModel(defaultModel)
	if err != nil {
		panic("prefilter: the embedded model is damaged: " + err.Error())
	}
	return m
}

// cost is the probability of a gram of q bytes at some place, in 2^-36, and a little more: even one that will not be met has a price, its place in
// the filter, and of two such the one whose bytes go together more seldom is better.
func (m *Model) cost(gram uint64, q int) uint64 {
	r := int(m.first[byte(gram)])
	for i := range q - 1 {
		r += int(m.next[uint16(gram>>(8*i))])
	}
	if q == 8 {
		r = max(r, int(m.unseen))
		if v := m.find(modelKey(gram)); v != 0 {
			r = int(v)
		}
	} else if run := gram & 0xff * ones8; (gram^run)<<(64-8*q) == 0 {
		// Runs of one byte are longer than pairs let expect: this one is met wherever a longer one is.
		if v := m.find(modelKey(run)); v != 0 {
			r = min(r, int(v))
		}
	}
	return chance(r) + uint64(1024-min(r, 1024))/8
}

// chance is 2^(36-r/8).
func chance(r int) uint64 {
	eighths := [8]uint64{65536, 60097, 55109, 50535, 46341, 42495, 38968, 35734} // 2^(16-i/8)
	return eighths[r%8] << costBits >> 16 >> (r / 8)
}

// rarity is -8 log2(n/of), for 0 < n <= of.
func rarity(n, of uint64) uint8 {
	return uint8(min(255, max(0, log8(of)-log8(n))))
}

// log8 is 8 log2(n), rounded down, by integers: floating point is not the same on every machine.
func log8(n uint64) int {
	whole := bits.Len64(n) - 1
	m := n << (63 - whole) >> 32 // 1 to 2, with 31 bits of fraction
	l := whole
	for range 3 {
		m = m * m >> 31
		l <<= 1
		if m >= 1<<32 {
			l++
			m >>= 1
		}
	}
	return l
}

// modelKey is how a gram is known in the table; never 0.
func modelKey(gram uint64) uint32 { return uint32(mix(gram)>>32) | 1 }

func (m *Model) find(k uint32) uint8 {
	last := uint32(len(m.keys) - 1)
	for i := k >> 1 & last; ; i = (i + 1) & last {
		if m.keys[i] == k {
			return m.values[i]
		}
		if m.keys[i] == 0 {
			return 0
		}
	}
}

// fill makes the table of n keys, which each gives once.
func (m *Model) fill(n int, each func(put func(k uint32, r uint8))) {
	size := 1 << bits.Len(uint(2*n+1))
	m.keys, m.values, m.grams = make([]uint32, size), make([]uint8, size), n
	each(func(k uint32, r uint8) {
		i := k >> 1 & uint32(size-1)
		for ; m.keys[i] != 0; i = (i + 1) & uint32(size-1) {
		}
		m.keys[i], m.values[i] = k, r
	})
}

// Rarest finds the bytes of a literal by which [Build] would best recognise it, if no other literal had them: where they begin, how many they are, and
// how many candidates they make of a byte of ordinary text, in units of 2^-36. Who may choose among several literals takes the one that costs least.
// A literal of less than [MinLiteral] bytes has none.
func (m *Model) Rarest(literal []byte) (at, size int, cost uint64) {
	tier := usual().tierOf(len(literal))
	if tier == tierCount {
		return 0, 0, 1<<64 - 1
	}
	h := shapes()[tier]
	at, cost = m.rarest(literal, h)
	return at, h.window(), cost
}

// rarest does so for the windows of one shape.
func (m *Model) rarest(literal []byte, h shape) (at int, cost uint64) {
	sum := uint64(0)
	gram := func(i int) uint64 { return m.cost(gramAt(literal, i, h.q), h.q) }
	for i := 0; i+h.q <= len(literal); i++ {
		sum += gram(i)
		from := i - h.s + 1
		if from > 0 {
			sum -= gram(from - 1)
		}
		if from == 0 || from > 0 && sum < cost {
			at, cost = from, sum
		}
	}
	return at, cost / uint64(h.s)
}

// Grams is the number of common grams that m knows.
func (m *Model) Grams() int { return m.grams }

const (
	modelMagic   = "AVDBgram"
	modelVersion = 1
	modelHead    = 8 + 4 + 4 + 1 + 256 + 65536
)

// ErrModel is matched by the errors of [ParseModel].
var ErrModel = errors.New("no usable prefilter model")

// Append appends m in the format of docs/format/prefilter.md.
func (m *Model) Append(b []byte) []byte {
	b = append(b, modelMagic...)
	b = binary.LittleEndian.AppendUint32(b, modelVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.grams))
	b = append(b, m.unseen)
	b = append(b, m.first[:]...)
	b = append(b, m.next[:]...)
	keys := make([]uint32, 0, m.grams)
	for _, k := range m.keys {
		if k != 0 {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	last := uint32(0)
	for _, k := range keys {
		b = binary.AppendUvarint(b, uint64(k/2-last))
		b = append(b, m.find(k))
		last = k/2 + 1
	}
	return b
}

// ParseModel reads what [Model.Append] wrote; there is one encoding of each model. An error matches [ErrModel].
func ParseModel(b []byte) (*Model, error) {
	bad := func(what string) (*Model, error) { return nil, fmt.Errorf("%w: %s", ErrModel, what) }
	if len(b) < modelHead || string(b[:8]) != modelMagic || load32(b[8:]) != modelVersion {
		return bad("the header is not there")
	}
	m := &Model{unseen: b[16]}
	n := int(load32(b[12:]))
	b = b[17:]
	b = b[copy(m.first[:], b):]
	b = b[copy(m.next[:], b):]
	if n > MaxModelGrams || n > len(b)/2 {
		return bad("it counts more grams than it has")
	}
	what := ""
	m.fill(n, func(put func(k uint32, r uint8)) {
		next := uint64(0)
		for range n {
			d, size := binary.Uvarint(b)
			if size <= 0 || size >= len(b) || size > 1 && b[size-1] == 0 || d >= 1<<31-next || b[size] == 0 {
				what = "a gram is damaged"
				return
			}
			put(uint32(next+d)<<1|1, b[size])
			next += d + 1
			b = b[size+1:]
		}
	})
	if what == "" && len(b) != 0 {
		what = "it goes on after its end"
	}
	if what != "" {
		return bad(what)
	}
	return m, nil
}

// A Learner makes a model of samples. It needs some 100 MiB of memory whatever it is given. It belongs to one goroutine.
type Learner struct {
	pairs   [65536]uint64
	bytes   uint64
	keys    []uint64 // grams by open addressing; values of 0 are free
	counts  []uint32
	used    int
	dropped uint32 // grams that were seen no more often than this may have been forgotten
	seen    uint64 // grams
}

// learnerSize is the number of places for grams, a power of two, of which three in four are used at most.
const learnerSize = 1 << 23

// NewLearner returns one that has seen nothing.
func NewLearner() *Learner {
	return newLearner(learnerSize)
}

func newLearner(size int) *Learner {
	return &Learner{keys: make([]uint64, size), counts: make([]uint32, size)}
}

// Add learns from one sample, such as a whole file: only grams at multiples of eight in it count, as only they are tested in a scan. Samples should
// look like what is scanned, tens of MiB of it and more. Their order makes a difference only if they hold more than some six million different grams.
func (l *Learner) Add(sample []byte) {
	for i := range len(sample) - 1 {
		l.pairs[load16(sample[i:])]++
	}
	l.bytes += uint64(max(0, len(sample)-1))
	for ; len(sample) >= 8; sample = sample[8:] {
		l.seen++
		l.count(load64(sample), 1)
		if l.used > len(l.keys)/4*3 {
			l.forget()
		}
	}
}

func (l *Learner) count(gram uint64, n uint32) {
	last := uint64(len(l.keys) - 1)
	i := mix(gram) & last
	for ; l.counts[i] != 0; i = (i + 1) & last {
		if l.keys[i] == gram {
			l.counts[i] = uint32(min(uint64(l.counts[i])+uint64(n), 1<<32-1))
			return
		}
	}
	l.keys[i], l.counts[i] = gram, n
	l.used++
}

// forget makes room: the grams that were seen least often go.
func (l *Learner) forget() {
	keys, counts := l.keys, l.counts
	l.dropped++
	for {
		kept := 0
		for _, c := range counts {
			if c > l.dropped {
				kept++
			}
		}
		if kept <= len(keys)/2 {
			break
		}
		l.dropped++
	}
	l.keys, l.counts, l.used = make([]uint64, len(keys)), make([]uint32, len(keys)), 0
	for i, c := range counts {
		if c > l.dropped {
			l.count(keys[i], c)
		}
	}
}

// Model returns what was learned, with at most this many common grams: the more, the better the choice of windows and the larger the model. The learner
// may go on learning.
func (l *Learner) Model(grams int) *Model {
	m := &Model{unseen: 255}
	var firsts, follows [256]uint64
	for p, n := range l.pairs {
		firsts[byte(p)] += n
	}
	for p, n := range l.pairs {
		m.next[p] = rarity(n+1, firsts[byte(p)]+256)
		follows[p>>8] += n
	}
	for c := range m.first {
		m.first[c] = rarity(follows[c]+1, l.bytes+256)
	}
	type common struct {
		key   uint32
		count uint32
	}
	var all []common
	for i, c := range l.counts {
		if c >= 2 && c > l.dropped {
			all = append(all, common{modelKey(l.keys[i]), c})
		}
	}
	// Two grams with one key are one, with the count of the more common one.
	slices.SortFunc(all, func(x, y common) int { return cmp.Or(cmp.Compare(x.key, y.key), cmp.Compare(y.count, x.count)) })
	all = slices.CompactFunc(all, func(x, y common) bool { return x.key == y.key })
	slices.SortFunc(all, func(x, y common) int { return cmp.Or(cmp.Compare(y.count, x.count), cmp.Compare(x.key, y.key)) })
	least := uint64(1)
	if most := max(0, min(grams, MaxModelGrams)); len(all) > most {
		least = uint64(all[most].count)
		all = all[:most]
	}
	m.unseen = rarity(min(least, l.seen+1), l.seen+1)
	m.fill(len(all), func(put func(k uint32, r uint8)) {
		for _, g := range all {
			put(g.key, max(1, rarity(uint64(g.count), l.seen)))
		}
	})
	return m
}
