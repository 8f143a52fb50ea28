package reputation

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
)

// An answer is used for its life and no longer, give or take a tenth, and never beyond the caps of the protocol.
func TestLivesOfAnswers(t *testing.T) {
	at := dbformat.At(noon)
	k := func(n int) protocol.Key { return keyOf(protocol.FileSHA256, n) }
	base := protocol.Answer{Head: protocol.Head{V: 1, Issued: at, TTL: 1000, NegTTL: 100}, Prefix: protocol.Prefix{Type: protocol.FileSHA256, Bits: 16}, Entries: []protocol.Entry{
		{Key: k(1), Verdict: protocol.Trusted, TTL: 1 << 31}, {Key: k(2), Verdict: protocol.Untrusted, TTL: 1 << 31}, {Key: k(3), Verdict: protocol.Untrusted},
		{Key: k(4), Verdict: protocol.Untrusted, TTL: 10}, {Key: k(4), Size: 5, Verdict: protocol.Trusted, TTL: 20}}}
	for jitter := range 256 {
		a := newAnswer(base, noon, byte(jitter), floors{})
		for n, want := range map[int]time.Duration{0: 100 * time.Second, 3: 1000 * time.Second, 4: 10 * time.Second} {
			k := keyOf(protocol.FileSHA256, n)
			if _, got := a.about(&k, -1); got < want*9/10 || got > want*11/10 {
				t.Errorf("jitter %d: key %d lives %s, want %s", jitter, n, got, want)
			}
		}
		for n, most := range map[int]time.Duration{1: protocol.MaxTrustedLife, 2: protocol.MaxLife} {
			k := keyOf(protocol.FileSHA256, n)
			if _, got := a.about(&k, -1); got > most || got < most*9/10 {
				t.Errorf("jitter %d: key %d lives %s, the cap is %s", jitter, n, got, most)
			}
		}
	}
	early := newAnswer(base, noon, 0, floors{})
	if early.left(early.silence, noon.Add(-protocol.MaxAhead)) <= 0 || early.left(early.silence+StaleUntrusted, noon.Add(-time.Hour)) > 0 {
		t.Error("a clock that was set back makes old answers last")
	}
	a := newAnswer(base, noon, 128, makeFloors(map[string]time.Duration{"trusted": 99 * 24 * time.Hour, "untrusted": 99 * 24 * time.Hour, "unknown": 99 * 24 * time.Hour}))
	for n, want := range map[int]time.Duration{0: protocol.MaxLife, 1: protocol.MaxTrustedLife, 3: protocol.MaxLife} {
		k := keyOf(protocol.FileSHA256, n)
		if _, got := a.about(&k, -1); got != want {
			t.Errorf("key %d under a floor lives %s, want %s", n, got, want)
		}
	}
}

// A new answer is asked for after the life of the old one; what is not known is cached too.
func TestCacheEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.knows(fileKey(1), protocol.Untrusted, "x")
		c := w.client()
		for _, x := range []struct {
			n       int
			after   time.Duration
			request bool
		}{{1, 0, true}, {2, 0, true}, {1, 0, false}, {2, 8 * time.Minute, false}, {2, 4 * time.Minute, true}, {1, 40 * time.Minute, false}, {1, 20 * time.Minute, true}} {
			time.Sleep(x.after)
			n := len(w.sent())
			if v := c.one(ksn.OriginOnDemand, file(x.n)); v.Why != Settled || len(w.sent()) > n != x.request {
				t.Errorf("%+v: %+v, request %t", x, v, len(w.sent()) > n)
			}
		}
	})
}

// Where there is an error in the place of an answer, an old one is given for a while, says so and says its age. A denial gives none.
func TestStaleAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.ttl, w.neg = 60, 60
		w.knows(fileKey(1), protocol.Untrusted, "x")
		w.knows(fileKey(2), protocol.Trusted, "y")
		c := w.client()
		c.Lookup(t.Context(), ksn.OriginManual, []Object{file(1), file(2), hit(3)})
		w.do(func() { w.hosts["s1"], w.hosts["s2"] = nil, nil })
		began := time.Now()
		for _, x := range []struct {
			after time.Duration
			stale []bool // of objects 1 to 3
		}{{2 * time.Minute, []bool{true, true, true}}, {time.Hour, []bool{true, true, true}}, {time.Hour + 2*time.Minute, []bool{true, true, false}},
			{24 * time.Hour, []bool{true, true, false}}, {24*time.Hour + 2*time.Minute, []bool{true, false, false}},
			{7 * 24 * time.Hour, []bool{true, false, false}}, {7*24*time.Hour + 2*time.Minute, []bool{false, false, false}}} {
			time.Sleep(time.Until(began.Add(x.after)))
			for i, v := range c.Lookup(t.Context(), ksn.OriginManual, []Object{file(1), file(2), hit(3)}) {
				if v.Stale != x.stale[i] || v.Stale != (v.Why == Settled) || v.Stale && (v.Source != SourceCache || v.Age < x.after || v.Err == nil || v.Life != 0) {
					t.Errorf("after %s, object %d: %+v", x.after, i+1, v)
				}
				if want := [3]protocol.Verdict{protocol.Untrusted, protocol.Trusted, protocol.Unknown}[i]; v.Stale && v.Verdict != want || !v.Stale && v.Verdict != protocol.Unknown {
					t.Errorf("after %s, object %d: %+v", x.after, i+1, v)
				}
			}
		}
	})
}

func TestDenialGivesNoStaleAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.ttl = 60
		w.knows(fileKey(2), protocol.Trusted, "y")
		c := w.client()
		c.one(ksn.OriginManual, file(2))
		time.Sleep(2 * time.Minute)
		w.restrict(1, `{"id":"r","action":"disable","priority":1,"expires":"2000-01-02T00:00:00Z","scope":{"networks":["private"]}}`)
		if v := c.one(ksn.OriginManual, file(2)); v.Why != Restricted || v.Verdict != protocol.Unknown {
			t.Errorf("%+v", v)
		}
	})
}

// Answers outlive the process, and each is verified again: what somebody changed on disk is no answer, and is removed.
func TestCacheOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.knows(fileKey(1), protocol.Untrusted, "x")
		w.knows(fileKey(2), protocol.Untrusted, "y")
		c := w.client()
		c.Lookup(t.Context(), ksn.OriginManual, []Object{file(1), file(2), file(3)})
		c.Close()
		if n := len(w.memory.cache); n != 3 {
			t.Fatalf("%d answers on disk", n)
		}
		key := c.cache.key(fileKey(2).Prefix(24))
		e := w.memory.cache[key]
		e.Value = bytes.Replace(e.Value, []byte(`"untrusted"`), []byte(`"trusted"`), 1)
		w.memory.cache[key] = e
		w.memory.cache["odd"] = CacheEntry{Key: "odd", Value: e.Value, Expires: e.Expires}
		moved := strings.Replace(key, fileKey(2).Prefix(24).Hex(), fileKey(4).Prefix(24).Hex(), 1)
		w.memory.cache[moved] = CacheEntry{Key: moved, Value: w.memory.cache[c.cache.key(fileKey(1).Prefix(24))].Value, Expires: e.Expires}
		w.do(func() { w.hosts["s1"], w.hosts["s2"] = nil, nil })
		c = w.client()
		c.Lookup(t.Context(), ksn.OriginOnAccess, nil) // starts to read
		synctest.Wait()
		if v := c.one(ksn.OriginManual, file(1)); v.Verdict != protocol.Untrusted || v.Source != SourceCache || v.Stale {
			t.Errorf("%+v", v)
		}
		for _, n := range []int{2, 4} {
			if v := c.one(ksn.OriginManual, file(n)); v.Verdict != protocol.Unknown || v.Why != Unavailable {
				t.Errorf("a forged answer %d: %+v", n, v)
			}
		}
		c.Close()
		if w.memory.cache[key].Key != "" || w.memory.cache[moved].Key != "" {
			t.Error("damaged answers stay on disk")
		}
	})
}

// Another network's answers are not read, whoever signed them.
func TestCachesOfNetworksDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		private, global := newWorld(t, protocol.Private), newWorld(t, protocol.Global)
		private.knows(fileKey(1), protocol.Trusted, "x")
		c := private.client()
		c.one(ksn.OriginManual, file(1))
		c.Close()
		global.memory = private.memory
		global.hosts = nil
		c = global.client()
		c.Lookup(t.Context(), ksn.OriginManual, nil)
		synctest.Wait()
		if v := c.one(ksn.OriginManual, file(1)); v.Why != Unavailable {
			t.Errorf("%+v", v)
		}
	})
}

// The cache stays within its bytes whatever is put in.
func TestCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		c, err := newCache(w.provider.Fingerprint, w.provider.ReputationKeys(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		var many []protocol.Entry
		for i := range protocol.MaxEntries {
			k := protocol.Key{Type: protocol.FileSHA256}
			binary.BigEndian.PutUint64(k.Sum[24:], uint64(i))
			many = append(many, protocol.Entry{Key: k, Verdict: protocol.Untrusted, Name: "n"})
		}
		for i := range 5000 {
			a := protocol.Answer{Head: protocol.Head{Issued: dbformat.At(noon), TTL: 60}, Prefix: protocol.Prefix{Type: protocol.FileSHA256, Bits: 16, Value: uint32(i)}}
			if i%100 == 0 {
				a.Entries = many
			}
			c.put(newAnswer(a, noon, 0, floors{}))
			c.load(CacheEntry{Key: c.key(protocol.Prefix{Type: protocol.URL, Bits: 32, Value: uint32(i)}), Value: make([]byte, 2000)})
		}
		c.answers.CleanUp()
		if n := c.answers.WeightedSize(); n > 1<<20 {
			t.Errorf("%d bytes", n)
		}
	})
}

// Nothing that waits for a disk grows without bound, and a disk that fails stops no look-up.
func TestMemoryThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, protocol.Private)
		w.memory.fail = context.DeadlineExceeded
		w.hosts["s2"] = nil
		c := w.client()
		for i := range 1200 {
			if v := c.one(ksn.OriginOnDemand, hit(i)); v.Why != Settled {
				t.Fatalf("%+v", v)
			}
			time.Sleep(50 * time.Millisecond)
		}
		w.do(func() { w.hosts["s1"] = nil })
		for i := range 1200 {
			c.one(ksn.OriginOnAccess, hit(10_000+i))
		}
		c.mu.Lock()
		waiting, suspicions := len(c.unwritten), len(c.deferred)
		c.mu.Unlock()
		if waiting > maxUnwritten || suspicions > maxPostponed {
			t.Errorf("%d answers and %d suspicions wait", waiting, suspicions)
		}
		if err := c.Close(); err == nil {
			t.Error("Close says nothing of a disk that failed")
		}
		if _, err := c.DrainDeferred(t.Context(), func(Deferred, Verdict) {}); err != nil {
			t.Error(err)
		}
		if v := c.one(ksn.OriginOnAccess, file(77_777)); v.Why != Unavailable {
			t.Errorf("after Close: %+v", v)
		}
	})
}

// FuzzStored: what stands in cache.db is an answer of this network about the very prefix, or nothing. What is read says the same when it is written again.
func FuzzStored(f *testing.F) {
	w := newWorld(f, protocol.Private)
	c, err := newCache(w.provider.Fingerprint, w.provider.ReputationKeys(), 0)
	if err != nil {
		f.Fatal(err)
	}
	p := fileKey(1).Prefix(24)
	w.knows(fileKey(1), protocol.Untrusted, "x")
	then := func(a *protocol.Answer) { a.Issued = dbformat.At(noon) }
	good := encodeStored(w.answers([]protocol.Prefix{p}, w.key, then)[0], noon, 9, floors{1, 2, 3, 4})
	other := encodeStored(w.answers([]protocol.Prefix{fileKey(2).Prefix(24)}, w.key, then)[0], noon, 9, floors{})
	f.Add(good)
	f.Add(other)
	f.Add(encodeStored(w.answers([]protocol.Prefix{p}, signer(f, "mallory"), then)[0], noon, 9, floors{}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := c.open(p, b)
		if err != nil {
			if a != nil {
				t.Fatal("an error and an answer")
			}
			return
		}
		if a.prefix != p || a.release != 7 || !a.issued.Equal(noon) {
			t.Fatalf("an answer that the network did not give: %q", b)
		}
		k := fileKey(1)
		if e, life := a.about(&k, -1); e == nil || e.Verdict != protocol.Untrusted || life > protocol.MaxLife {
			t.Fatalf("%+v lives %s", e, life)
		}
	})
}

// FuzzCacheKey: a key on disk names one prefix, and each prefix has one key.
func FuzzCacheKey(f *testing.F) {
	w := newWorld(f, protocol.Private)
	c, err := newCache(w.provider.Fingerprint, protocol.Keys{}, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.key(fileKey(1).Prefix(17)))
	f.Add(c.key(keyOf(protocol.URL, 5).Prefix(32)) + "/")
	f.Add("")
	f.Fuzz(func(t *testing.T, key string) {
		if p, ok := c.prefix(key); ok && c.key(p) != key {
			t.Fatalf("%q and %q name %s", key, c.key(p), p)
		}
	})
}

// BenchmarkLookup is what a scan waits for when the answer is known: budget 1 µs.
func BenchmarkLookup(b *testing.B) {
	w := newWorld(b, protocol.Private)
	w.knows(fileKey(1), protocol.Untrusted, "x")
	c := w.client(func(c *Config) { c.Memory = nil })
	url := Object{}
	for i := range 4 {
		url.Keys = append(url.Keys, keyOf(protocol.URL, i))
	}
	for _, x := range []struct {
		name string
		o    Object
	}{{"keys=1/found=true", file(1)}, {"keys=1/found=false", hit(2)}, {"keys=4/found=false", url}} {
		c.one(ksn.OriginOnDemand, x.o)
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			list := []Object{x.o}
			for b.Loop() {
				if v := c.Lookup(context.Background(), ksn.OriginOnAccess, list); v[0].Source != SourceCache {
					b.Fatalf("%+v", v[0])
				}
			}
		})
	}
}
