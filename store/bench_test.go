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

func diskBytes(b *testing.B, s *Store, r *release) (size int64) {
	for _, m := range []*dbformat.MemLayer{r.light, r.rest} {
		i, err := os.Stat(s.layerPath(m.Header().Digest()))
		must(b, err)
		size += i.Size()
	}
	return size
}
