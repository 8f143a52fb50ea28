package reputation

import (
	"context"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// A Hit is a file that the light database suspects.
type Hit struct {
	Algorithm dbformat.Algorithm // of the signature whose prefix it has
	Sum       [32]byte           // the first Algorithm.Size() bytes
	Size      int64              // in bytes
	PUA       bool               // potentially unwanted software is reported too
	Path      string
	Release   uint64 // of the database
}

// A HitVerdict is what became of a [Hit].
type HitVerdict string

// The verdicts of hits.
const (
	Malicious HitVerdict = "malicious"
	Clean     HitVerdict = "clean"
	Suspected HitVerdict = "suspected" // not settled
)

// A HitSettled is the verdict of a [Hit] with its reason.
type HitSettled struct {
	Verdict HitVerdict
	Name    string        // of the threat
	Source  string        // "cloud", "proxy", "cache", "override"
	Age     time.Duration // since the answer was made
	Why     string        // not settled: why; stale: so
}

// Settle gives what the network knows of hits, one for each, in their order and by the deadline of the origin.
func (c *Client) Settle(ctx context.Context, origin ksn.Origin, hits []Hit) []HitSettled {
	objects := make([]Object, len(hits))
	for i := range hits {
		h := &hits[i]
		objects[i] = Object{Size: h.Size, Suspected: true, Release: h.Release, Path: h.Path}
		if n := h.Algorithm.Size(); n > 0 {
			if k, err := protocol.NewKey(protocol.FileType(h.Algorithm), h.Sum[:n]); err == nil {
				objects[i].Keys = []protocol.Key{k}
			}
		}
	}
	out := make([]HitSettled, len(hits))
	for i, v := range c.Lookup(ctx, origin, objects) {
		out[i] = settle(v, hits[i].PUA)
	}
	return out
}

// settle says a verdict in a scanner's words: an object of which nothing is known is one that no signature of the full database is about.
func settle(v Verdict, pua bool) HitSettled {
	s := HitSettled{Verdict: Clean, Source: string(v.Source), Age: v.Age, Why: string(v.Why)}
	if v.Source == SourceGlobal || v.Source == SourcePrivate {
		s.Source = "cloud"
	}
	if v.Stale {
		s.Why = "stale"
	}
	switch {
	case v.Why != Settled:
		s.Verdict = Suspected
	case v.Verdict == protocol.Untrusted, v.Verdict == protocol.PotentiallyUnwanted && pua:
		s.Verdict, s.Name = Malicious, v.Name
	}
	return s
}
