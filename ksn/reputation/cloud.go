package reputation

import (
	"context"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// A Cloud settles what the light layer alone only suspects, for a scanner.
type Cloud interface {
	// Settle gives one answer for each hit, in their order, by a deadline of its own.
	Settle(ctx context.Context, hits []Hit) []HitSettled
}

// A Hit is a file that the light database suspects.
type Hit struct {
	Algorithm dbformat.Algorithm // of the signature whose prefix it has
	Sum       [32]byte           // the first Algorithm.Size() bytes
	Size      int64              // in bytes
	PUA       bool               // potentially unwanted software is reported too
	Path      string
	Release   uint64 // of the database, 0 if unknown
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
	Why     string        // with Suspected: the [Why]
}

// Cloud gives the client to a scanner that waits as the origin says.
func (c *Client) Cloud(origin ksn.Origin) Cloud { return cloud{c, origin} }

type cloud struct {
	client *Client
	origin ksn.Origin
}

// Settle is that of [Cloud].
func (c cloud) Settle(ctx context.Context, hits []Hit) []HitSettled {
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
	for i, v := range c.client.Lookup(ctx, c.origin, objects) {
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
	switch {
	case v.Why != Settled:
		s.Verdict = Suspected
	case v.Verdict == protocol.Untrusted, v.Verdict == protocol.PotentiallyUnwanted && pua:
		s.Verdict, s.Name = Malicious, v.Name
	}
	return s
}
