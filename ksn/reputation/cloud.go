package reputation

import (
	"context"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/matcher"
)

// Cloud gives the client to a scanner that waits as the origin says.
func (c *Client) Cloud(origin ksn.Origin) matcher.Cloud { return cloud{c, origin} }

type cloud struct {
	client *Client
	origin ksn.Origin
}

// Settle is that of [matcher.Cloud].
func (c cloud) Settle(ctx context.Context, hits []matcher.Hit) []matcher.Settled {
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
	out := make([]matcher.Settled, len(hits))
	for i, v := range c.client.Lookup(ctx, c.origin, objects) {
		out[i] = v.Settle(hits[i].PUA)
	}
	return out
}

// Settle says a verdict in a scanner's words; with pua potentially unwanted software is reported, too. An object of which nothing is known is one
// that no signature of the full database is about.
func (v Verdict) Settle(pua bool) matcher.Settled {
	s := matcher.Settled{Verdict: matcher.Clean, Source: string(v.Source), Age: v.Age, Why: string(v.Why)}
	if v.Source == SourceGlobal || v.Source == SourcePrivate {
		s.Source = "cloud"
	}
	switch {
	case v.Why != Settled:
		s.Verdict = matcher.Suspected
	case v.Verdict == protocol.Untrusted, v.Verdict == protocol.PotentiallyUnwanted && pua:
		s.Verdict, s.Name = matcher.Malicious, v.Name
	}
	return s
}
