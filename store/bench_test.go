package store

import (
	"fmt"
	"os"
	"testing"

	"example.org/avdb/dbformat"
)

var benchSizes = []int{100_000, 1_000_000}

// BenchmarkInstall writes both layers of a release, proves them, and makes them current.
func BenchmarkInstall(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			r := newRelease(b, 1, n, 1)
			b.SetBytes(r.light.Header().Bytes() + r.rest.Header().Bytes())
			b.ReportAllocs()
			var size int64
			for b.Loop() {
				b.StopTimer()
				s := newStore(b)
				b.StartTimer()
				must(b, install(s, r, dbformat.VariantFull))
				b.StopTimer()
				size = diskBytes(b, s, r)
				must(b, os.RemoveAll(s.dir))
				b.StartTimer()
			}
			b.ReportMetric(float64(size)/float64(n), "bytes/record")
		})
	}
}

// BenchmarkOpen opens the current generation: headers, leaf tables and page trees are proved, no block is read.
func BenchmarkOpen(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			s, r := newStore(b), newRelease(b, 1, n, 1)
			must(b, install(s, r, dbformat.VariantFull))
			b.ReportAllocs()
			for b.Loop() {
				_, light, rest, err := s.OpenCurrent()
				must(b, err)
				light.Close()
				rest.Close()
			}
			b.ReportMetric(float64(diskBytes(b, s, r))/float64(n), "bytes/record")
		})
	}
}

// BenchmarkVerify proves every block of the current generation.
func BenchmarkVerify(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			s, r := newStore(b), newRelease(b, 1, n, 1)
			must(b, install(s, r, dbformat.VariantFull))
			b.SetBytes(r.light.Header().Bytes() + r.rest.Header().Bytes())
			for b.Loop() {
				_, err := s.Verify(false, nil)
				must(b, err)
			}
		})
	}
}

// BenchmarkDropDamaged proves the one generation that is kept beside the current one and shares no layer with it.
func BenchmarkDropDamaged(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			s, kept := newStore(b), newRelease(b, 1, n, 1)
			must(b, install(s, kept, dbformat.VariantFull))
			must(b, install(s, newRelease(b, 2, 1000, 2), dbformat.VariantFull))
			b.SetBytes(kept.light.Header().Bytes() + kept.rest.Header().Bytes())
			for b.Loop() {
				dropped, err := s.DropDamaged(b.Context())
				must(b, err)
				if len(dropped) > 0 {
					b.Fatal("a sound generation was let go of")
				}
			}
		})
	}
}

func diskBytes(b *testing.B, s *Store, r *release) (size int64) {
	for _, m := range []*dbformat.MemLayer{r.light, r.rest} {
		i, err := os.Stat(s.layerPath(m.Header().Digest()))
		must(b, err)
		size += i.Size()
	}
	return size
}

// answers are n entries as a client caches them: a key, and an answer of about 300 bytes.
func answers(n, from int) []CacheEntry {
	list := make([]CacheEntry, n)
	for i := range list {
		v := make([]byte, 300)
		for j := range v {
			v[j] = byte(i >> (j % 24))
		}
		list[i] = CacheEntry{fmt.Sprintf("file-sha256/24/%06x", (from+i)*7919%(1<<24)), v, day(101)}
	}
	return list
}

// BenchmarkWriteCache writes 1000 entries into a cache that holds so many already.
func BenchmarkWriteCache(b *testing.B) {
	for _, n := range []int{0, 10_000, 100_000} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			s := newStore(b)
			must(b, s.WriteCache(answers(n, 0), nil))
			whole, err := os.ReadFile(s.cachePath())
			if n > 0 {
				must(b, err)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				list := answers(1000, n)
				must(b, s.ClearCache())
				if n > 0 {
					must(b, os.WriteFile(s.cachePath(), whole, 0o600))
				}
				b.StartTimer()
				must(b, s.WriteCache(list, nil))
			}
		})
	}
}

// BenchmarkReadCache visits each of 100000 entries.
func BenchmarkReadCache(b *testing.B) {
	const n = 100_000
	s := newStore(b)
	must(b, s.WriteCache(answers(n, 0), nil))
	b.ReportAllocs()
	for b.Loop() {
		seen := 0
		must(b, s.ReadCache(func(CacheEntry) bool { seen++; return true }))
		if seen != n {
			b.Fatalf("%d entries", seen)
		}
	}
}

// BenchmarkDefer queues 100 objects while 9000 wait.
func BenchmarkDefer(b *testing.B) {
	s := newStore(b)
	var list []Deferred
	for i := range 9000 {
		list = append(list, Deferred{Key: objectKey(i), Path: fmt.Sprintf("/home/somebody/documents/file%d", i), Name: "Test.Family-1"})
	}
	must(b, s.Defer(list))
	for b.Loop() {
		must(b, s.Defer(list[:100]))
	}
}

// BenchmarkOverrides reads as many as there may be.
func BenchmarkOverrides(b *testing.B) {
	s := newStore(b)
	list := make([]Override, MaxOverrides)
	for i := range list {
		list[i] = override(i)
	}
	must(b, s.UpdateOverrides(func([]Override) ([]Override, error) { return list, nil }))
	for b.Loop() {
		_, err := s.Overrides()
		must(b, err)
	}
}
