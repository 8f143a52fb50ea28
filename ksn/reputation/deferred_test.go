package reputation

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/matcher"
)

// told collects what the client tells of deferred objects.
type told struct {
	mu  sync.Mutex
	all map[string]Verdict
}

func (s *told) settled(d Deferred, v Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]Verdict{}
	}
	s.all[d.Path] = v
}

// A suspicion that nothing settles is queued once, with what it was, and asked again by itself when the network is back.
func TestSuspicionsAreAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.knows(fileKey(1), protocol.Untrusted, "Bad")
		w.hosts["s1"], w.hosts["s2"] = nil, nil
		var s told
		c := w.client(func(c *Config) { c.OnSettled = s.settled })
		nameless, odd := hit(5), hit(2)
		nameless.Path, odd.Name = "", "a\nb" // nobody could say what it was; the name is none
		for range 3 {
			c.Lookup(t.Context(), ksn.OriginOnAccess, []Object{hit(1), odd, file(3), nameless})
		}
		time.Sleep(2 * writeDelay)
		if d := w.memory.queue(); len(d) != 2 || d[0].Key != fileKey(1).String() || d[0].Path != "/f1" || d[0].Name != "Light" || d[0].Release != 7 || d[0].Since.IsZero() {
			t.Fatalf("deferred %+v", d)
		}
		w.do(func() { w.hosts["s1"] = serve })
		time.Sleep(maxBackoff)
		if v := c.one(ksn.OriginOnDemand, file(4)); v.Why != Settled {
			t.Fatalf("%+v", v)
		}
		synctest.Wait()
		if len(s.all) != 2 || s.all["/f1"].Verdict != protocol.Untrusted || s.all["/f2"].Verdict != protocol.Unknown || s.all["/f2"].Why != Settled {
			t.Errorf("told %+v", s.all)
		}
		if len(w.memory.queue()) != 0 {
			t.Errorf("%+v remain", w.memory.queue())
		}
	})
}

// What a server that is behind cannot settle stays in the queue until it has caught up; a changed database has it asked again.
func TestDeferredUntilTheServerCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.release = 6
		var s told
		c := w.client(func(c *Config) { c.OnSettled = s.settled })
		c.one(ksn.OriginOnDemand, hit(1))
		since := time.Now()
		time.Sleep(2 * askBehind)
		c.DatabaseChanged()
		synctest.Wait()
		if d := w.memory.queue(); len(d) != 1 || d[0].Tries != 1 || d[0].Since.After(since) || len(s.all) != 0 {
			t.Errorf("deferred %+v, told %+v", d, s.all)
		}
		w.do(func() { w.release = 7 })
		time.Sleep(2 * askBehind)
		c.DatabaseChanged()
		synctest.Wait()
		if len(w.memory.queue()) != 0 || len(s.all) != 1 {
			t.Errorf("deferred %+v, told %+v", w.memory.queue(), s.all)
		}
	})
}

// A long queue is drained within the ceiling of requests, and one that nobody answers ends the attempt at once, with the reason.
func TestDrainAsksInSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		var all []Deferred
		for i := range 1000 {
			all = append(all, Deferred{Key: fileKey(i).String(), Path: "p", Size: -1, Release: 7})
		}
		all = append(all, Deferred{Key: "nonsense"})
		if err := w.memory.Defer(all); err != nil {
			t.Fatal(err)
		}
		c := w.client()
		n := 0
		w.hosts["s1"], w.hosts["s2"] = nil, nil
		left, err := c.DrainDeferred(t.Context(), func(Deferred, Verdict) { n++ })
		if !errors.Is(err, ErrUnavailable) || left != 1001 || n != 0 || len(w.sent()) > 4 {
			t.Errorf("left %d, %v, told %d, %d requests", left, err, n, len(w.sent()))
		}
		w.do(func() { w.hosts["s1"] = serve })
		time.Sleep(maxBackoff)
		began := time.Now()
		left, err = c.DrainDeferred(t.Context(), func(Deferred, Verdict) { n++ })
		if err != nil || left != 0 || n != 1000 || len(w.memory.queue()) != 0 {
			t.Errorf("left %d, %v, told %d", left, err, n)
		}
		if d := time.Since(began); d > 10*time.Second { // five requests: the ceiling counts these
			t.Errorf("1000 objects took %s", d)
		}
		w.do(func() { w.facts.Consent = ksn.Consent{} })
		if err := w.memory.Defer(all[:1]); err != nil {
			t.Fatal(err)
		}
		c2 := w.client(func(c *Config) { c.Override = nil; c.CacheBytes = 1 })
		if _, err := c2.DrainDeferred(t.Context(), func(Deferred, Verdict) {}); !errors.Is(err, ksn.ErrRefused) {
			t.Errorf("without consent: %v", err)
		}
	})
}

// The scanner's view: what the network knows of a hit, and never clean where it could not tell.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		md5 := keyOf(protocol.FileMD5, 1)
		w.knows(md5, protocol.Untrusted, "Bad")
		w.knows(fileKey(2), protocol.PotentiallyUnwanted, "Tool")
		c := w.client()
		h := func(a dbformat.Algorithm, k protocol.Key, release uint64, pua bool) matcher.Hit {
			return matcher.Hit{Algorithm: a, Sum: k.Sum, Size: 10, PUA: pua, Path: "/x", Release: release}
		}
		hits := []matcher.Hit{h(dbformat.MD5, md5, 7, false), h(dbformat.SHA256, fileKey(2), 7, false), h(dbformat.SHA256, fileKey(2), 7, true),
			h(dbformat.SHA256, fileKey(3), 7, false), h(dbformat.SHA256, fileKey(3), 8, false), h(9, fileKey(3), 7, false)}
		want := []matcher.Settled{{Verdict: matcher.Malicious, Name: "Bad", Source: "cloud"}, {Verdict: matcher.Clean, Source: "cloud"}, {Verdict: matcher.Malicious, Name: "Tool", Source: "cloud"},
			{Verdict: matcher.Clean, Source: "cloud"}, {Verdict: matcher.Suspected, Why: string(ServerBehind)}, {Verdict: matcher.Suspected, Why: string(Invalid)}}
		for i, got := range c.Cloud(ksn.OriginOnDemand).Settle(t.Context(), hits) {
			if got.Age = 0; got != want[i] {
				t.Errorf("hit %d: %+v, want %+v", i, got, want[i])
			}
		}
		if got := c.Cloud(ksn.OriginOnDemand).Settle(t.Context(), hits[:1])[0]; got.Source != "cache" || got.Verdict != matcher.Malicious {
			t.Errorf("%+v", got)
		}
	})
}
