package reputation

import (
	"context"
	"testing"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/store"
)

var _ Memory = (*store.Store)(nil)

// With the real store: what a client learnt, counts and defers is there for the next one, and for one beside it.
func TestRealStore(t *testing.T) {
	w := newWorld(t, protocol.Private)
	w.knows(fileKey(1), protocol.Untrusted, "Bad")
	s, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	with := func(c *Config) { c.Memory = s }
	c, beside := w.client(with), w.client(with)
	if v := c.one(ksn.OriginOnDemand, hit(1)); v.Verdict != protocol.Untrusted {
		t.Fatalf("%+v", v)
	}
	beside.one(ksn.OriginOnDemand, file(2))
	w.do(func() { w.hosts = nil })
	if v := beside.one(ksn.OriginOnDemand, hit(3)); v.Why != Unavailable {
		t.Fatalf("%+v", v)
	}
	for _, x := range []*Client{c, beside} {
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
	c = w.client(with)
	if l := c.Situation().Ledger.File; l.Asked != 3 || l.Answered != 2 {
		t.Errorf("ledger %+v", l)
	}
	if st := ksn.NewStatus(c.Situation()); st.State != ksn.StateUnavailable {
		t.Errorf("status %+v", st)
	}
	if d, err := s.DeferredObjects(0); err != nil || len(d) != 1 || d[0].Path != "/f3" || d[0].Name != "Light" {
		t.Errorf("deferred %+v, %v", d, err)
	}
	c.Lookup(context.Background(), ksn.OriginOnAccess, nil)
	for end := time.Now().Add(time.Minute); c.cache.answers.EstimatedSize() < 2 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if v := c.one(ksn.OriginOnDemand, hit(1)); v.Verdict != protocol.Untrusted || v.Source != SourceCache {
		t.Errorf("%+v", v)
	}
}
