package reputation

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"

	"example.org/avdb/ksn/protocol"
)

// Limits of the answer cache.
const (
	CacheBytes        = 16 << 20  // in memory, where the Config says nothing
	maxStored         = 256 << 10 // bytes of an answer that is written to disk
	maxUnwritten      = 1024      // answers that wait to be written; more are left out
	maxUnwrittenBytes = 4 << 20   // and their bytes
	maxLoaded         = 1 << 16   // answers that are taken from disk
)

// A cache keeps answers by prefix. It is safe for concurrent use. Answers from disk stand in it unread until they are asked for, and are verified then.
type cache struct {
	network string // fingerprint
	keys    protocol.Keys
	answers *otter.Cache[protocol.Prefix, *slot]
}

// A slot holds an answer, or the bytes of one that nobody has verified yet.
type slot struct {
	answer *answer
	stored []byte
}

func (s *slot) weight() uint32 {
	n := 256 + len(s.stored)
	if s.answer != nil {
		n += s.answer.size
	}
	return uint32(min(n, math.MaxInt32))
}

func newCache(network string, keys protocol.Keys, size int64) (*cache, error) {
	if size <= 0 {
		size = CacheBytes
	}
	answers, err := otter.New(&otter.Options[protocol.Prefix, *slot]{
		MaximumWeight: uint64(size),
		Weigher:       func(_ protocol.Prefix, s *slot) uint32 { return s.weight() },
		Executor:      func(f func()) { f() }, // no goroutines of its own
	})
	return &cache{network, keys, answers}, err
}

// get gives the answer for a prefix, nil for none. damaged tells that what stood there was not what the network signed: it is gone.
func (c *cache) get(p protocol.Prefix) (a *answer, damaged bool) {
	s, ok := c.answers.GetIfPresent(p)
	if !ok {
		return nil, false
	}
	if s.answer != nil {
		return s.answer, false
	}
	a, err := c.open(p, s.stored)
	if err != nil {
		c.answers.Invalidate(p)
		return nil, true
	}
	c.answers.Set(p, &slot{answer: a})
	return a, false
}

// put keeps a verified answer unless a newer one is there.
func (c *cache) put(a *answer) {
	if s, ok := c.answers.GetIfPresent(a.prefix); ok && s.answer != nil && s.answer.issued.After(a.issued) && s.answer.release >= a.release {
		return
	}
	c.answers.Set(a.prefix, &slot{answer: a})
}

// load takes what stood on disk, unread. It tells whether the key is one of this network's.
func (c *cache) load(e CacheEntry) bool {
	p, ok := c.prefix(e.Key)
	if ok && len(e.Value) <= maxStored {
		c.answers.SetIfAbsent(p, &slot{stored: slices.Clone(e.Value)})
	}
	return ok
}

// key names an entry on disk: answers of two networks never mix.
func (c *cache) key(p protocol.Prefix) string { return c.network[:16] + "/" + p.String() }

// prefix reads what key writes.
func (c *cache) prefix(key string) (protocol.Prefix, bool) {
	if len(key) < 17 || key[:16] != c.network[:16] {
		return protocol.Prefix{}, false
	}
	p, err := protocol.ParseTypedPrefix(key[17:])
	return p, err == nil && c.key(p) == key
}

// An answer on disk is a byte 1, when it was fetched (seconds since 1970, 64 bits), the jitter (a byte), the four floors (seconds, 32 bits each; trusted,
// untrusted, potentially_unwanted, unknown) and the reply that proves it; all numbers are big-endian.
const storedHeader = 1 + 8 + 1 + 16

var errStored = errors.New("a cached answer is damaged")

func encodeStored(reply []byte, fetched time.Time, jitter byte, f floors) []byte {
	b := append(make([]byte, 0, storedHeader+len(reply)), 1)
	b = binary.BigEndian.AppendUint64(b, uint64(fetched.Unix()))
	b = append(b, jitter)
	for _, s := range f {
		b = binary.BigEndian.AppendUint32(b, s)
	}
	return append(b, reply...)
}

// open reads and verifies what encodeStored wrote.
func (c *cache) open(p protocol.Prefix, b []byte) (*answer, error) {
	if len(b) < storedHeader || b[0] != 1 {
		return nil, errStored
	}
	fetched := time.Unix(int64(binary.BigEndian.Uint64(b[1:])), 0).UTC()
	var f floors
	for i := range f {
		f[i] = min(binary.BigEndian.Uint32(b[10+4*i:]), uint32(protocol.MaxTrustedLife/time.Second))
	}
	s, err := c.keys.Open(b[storedHeader:])
	if err != nil {
		return nil, err
	}
	if s.Answer.Prefix != p {
		return nil, errStored
	}
	return newAnswer(s.Answer, fetched, b[9], f), nil
}

// expires is when a stored answer is of no use at all.
func (a *answer) expires() time.Time {
	last := a.issued.Add(a.silence + StaleEmpty)
	for _, k := range a.known {
		if t := a.issued.Add(k.life + staleFor(k.entry)); t.After(last) {
			last = t
		}
	}
	return last
}
