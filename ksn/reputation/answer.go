package reputation

import (
	"bytes"
	"slices"
	"time"

	"example.org/avdb/ksn/protocol"
)

// How long an answer past its life is still given where there is an error instead of a new one.
const (
	StaleUntrusted = 7 * 24 * time.Hour // findings
	StaleTrusted   = 24 * time.Hour
	StaleEmpty     = time.Hour // nothing is known
)

// askBehind is how long an answer from a database that is behind a suspicion is left as it is before the network is asked anew.
const askBehind = time.Minute

// An answer is one that was verified, made ready to be asked. It does not change.
type answer struct {
	prefix  protocol.Prefix
	release uint64
	issued  time.Time
	fetched time.Time
	silence time.Duration // for which it holds that nothing else is known, from issued
	known   []known       // in ascending order of key
	size    int           // bytes that it takes in memory, about
}

// known is one entry whose verdict we understand.
type known struct {
	sum   [32]byte
	life  time.Duration // from issued
	entry *protocol.Entry
}

// floors are the least lives that a restriction asks for, in seconds, by verdict.
type floors [4]uint32

// floorOf is the place of a verdict in floors.
var floorOf = [...]protocol.Verdict{protocol.Trusted, protocol.Untrusted, protocol.PotentiallyUnwanted, protocol.Unknown}

func makeFloors(by map[string]time.Duration) (f floors) {
	for i, v := range floorOf {
		f[i] = uint32(min(max(0, by[string(v)]), protocol.MaxTrustedLife) / time.Second)
	}
	return f
}

// newAnswer takes a verified answer. jitter of 0 to 255 moves lives by -10 % to 10 %: what was asked at once is not asked again at once. Neither
// jitter nor floors move a life above the caps of the protocol.
func newAnswer(a protocol.Answer, fetched time.Time, jitter byte, f floors) *answer {
	out := &answer{prefix: a.Prefix, release: a.Release, issued: a.Issued.Time, fetched: fetched, size: 256}
	life := func(d time.Duration, v protocol.Verdict) time.Duration {
		d = d*9/10 + d/5*time.Duration(jitter)/255
		most := protocol.MaxLife
		if v == protocol.Trusted {
			most = protocol.MaxTrustedLife
		}
		return min(max(d, time.Duration(f[slices.Index(floorOf[:], v)])*time.Second), most)
	}
	out.silence = life(a.Life(nil), protocol.Unknown)
	for i := range a.Entries {
		e := &a.Entries[i]
		out.size += 320 + len(e.Name) + len(e.Category) + len(e.Signer) + 32*len(e.Regions)
		if e.Verdict.Rank() == 0 {
			continue // of a later protocol
		}
		out.known = append(out.known, known{e.Key.Sum, life(a.Life(a.Entries[i:i+1]), e.Verdict), e})
	}
	return out
}

// about gives the worst entry about the key and size, of several the one whose name is first, nil if nothing is known, and how long that holds from
// issued. A negative size is one that is not known. Entries that trust a weak hash are as good as none.
func (a *answer) about(k *protocol.Key, size int64) (*protocol.Entry, time.Duration) {
	if len(a.known) == 0 {
		return nil, a.silence
	}
	i, _ := slices.BinarySearchFunc(a.known, k, func(x known, k *protocol.Key) int { return bytes.Compare(x.sum[:], k.Sum[:]) })
	var worst *protocol.Entry
	life := protocol.MaxTrustedLife
	for ; i < len(a.known) && a.known[i].sum == k.Sum; i++ {
		e := a.known[i].entry
		if e.Size != 0 && size >= 0 && int64(e.Size) != size || e.Verdict == protocol.Trusted && weak(k.Type) {
			continue
		}
		life = min(life, a.known[i].life)
		if worst == nil || e.Verdict.Rank() > worst.Verdict.Rank() || e.Verdict == worst.Verdict && e.Name < worst.Name {
			worst = e
		}
	}
	if worst == nil {
		return nil, a.silence
	}
	return worst, life
}

// staleFor is how long what is known of a key may be given beyond its life.
func staleFor(e *protocol.Entry) time.Duration {
	switch {
	case e == nil || e.Verdict == protocol.Unknown:
		return StaleEmpty
	case e.Verdict == protocol.Trusted:
		return StaleTrusted
	}
	return StaleUntrusted
}

// left is how much of a life remains at now, negative for none; for an answer that our clock places in the future there is none.
func (a *answer) left(life time.Duration, now time.Time) time.Duration {
	ahead := a.issued.Sub(now)
	if ahead > protocol.MaxAhead {
		return -protocol.MaxTrustedLife - StaleUntrusted
	}
	return ahead + life
}
