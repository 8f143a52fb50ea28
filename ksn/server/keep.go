package server

import (
	"sync"
	"sync/atomic"
	"time"

	"example.org/avdb/ksn/protocol"
)

// A basis is what answers are made from, beside the prefix: for as long as it is the same, so are they.
type basis struct {
	content   Content
	overrides *overrideSet
}

// A kept answer is one of a batch as it was spelled. It does not change. The zero value is none.
type kept struct {
	answer  protocol.Spelled
	entries int
	life    time.Duration // of the entry or the silence that holds for the shortest time, from the time of issue
}

func (k *kept) is() bool { return k.answer.Len() > 0 }

// perKept is what a kept answer takes besides its bytes, about.
const perKept = 160

// maxKeptAnswer is the longest answer that is kept, in bytes.
const maxKeptAnswer = 16 << 10

// askedBits are of the number of questions that are remembered, a few bytes each: of two in one place the last one.
const askedBits = 17

// A keep has the answers of batches that were spelled and hashed before, all of one basis: only the head of a reply tells the time. What is asked about
// once takes no room: an answer is kept the second time. When there is no room left it begins anew. It is safe for concurrent use.
type keep struct {
	most  int // bytes
	asked [1 << askedBits]atomic.Uint32

	mu      sync.RWMutex
	of      basis
	answers map[uint64]kept // by the prefix's number
	bytes   int             // of answers
}

// newKeep is nil, which keeps nothing, for less than 1 byte.
func newKeep(most int) *keep {
	if most < 1 {
		return nil
	}
	return &keep{most: most, answers: map[uint64]kept{}}
}

// find fills got with what is kept for prefixes, and tells how many are missing. touched means nothing: it is there so that what is touched is read.
func (k *keep) find(of basis, prefixes []protocol.Prefix, got []kept) (missing int, touched byte) {
	clear(got)
	if !k.read(of, prefixes, got) {
		return len(got), 0
	}
	for i := range got { // one waits for memory, and not one after the other
		touched += got[i].answer.Touch()
	}
	for i := range got {
		if !got[i].is() {
			missing++
		}
	}
	return missing, touched
}

// read fills got with what is kept of a basis; false if that is another one.
func (k *keep) read(of basis, prefixes []protocol.Prefix, got []kept) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.of != of {
		return false
	}
	for i := range prefixes {
		got[i] = k.answers[prefixes[i].Number()]
	}
	return true
}

// wants tells whether the answer for p, which is not there, is to be kept: it is not the first time that it is missing.
func (k *keep) wants(p protocol.Prefix) bool {
	h := p.Number() * 0x9e3779b97f4a7c15
	at, mark := &k.asked[h>>(64-askedBits)], uint32(h>>8)|1
	if at.Load() == mark {
		return true
	}
	at.Store(mark)
	return false
}

// put keeps answers, of which some may be none. What is kept of another basis goes.
func (k *keep) put(of basis, prefixes []protocol.Prefix, answers []kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of != of {
		k.of, k.answers, k.bytes = of, map[uint64]kept{}, 0
	}
	for i, p := range prefixes {
		a, n := answers[i], p.Number()
		size := a.answer.Len() + perKept
		_, has := k.answers[n]
		if has || !a.is() || a.answer.Len() > maxKeptAnswer || size > k.most {
			continue
		}
		if k.bytes+size > k.most {
			clear(k.answers)
			k.bytes = 0
		}
		k.answers[n] = a
		k.bytes += size
	}
}
