package matcher

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/store"
)

// benchDevice has a full generation of n SHA-256 signatures installed, index included.
func benchDevice(b testing.TB, n int) (*device, *dbformat.Content) {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	records := make([]dbformat.Record, n)
	for i := range records {
		r := &records[i]
		for j := 0; j < 32; j += 8 {
			binary.LittleEndian.PutUint64(r.Hash[j:], rng.Uint64())
		}
		r.Size, r.Name = 1+rng.Uint32N(1<<22), fmt.Sprintf("Win.Trojan.Agent-%d", 1_000_000+rng.IntN(9_000_000))
	}
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{
		dbformat.ClassHash.Section(dbformat.SHA256): records,
	}}
	light, rest, err := dbformat.Build(c, dbformat.ChooseParams(c, nil))
	if err != nil {
		b.Fatal(err)
	}
	d := newDevice(b)
	d.install(b, 1, light, rest)
	return d, c
}

func perCount(b *testing.B, run func(b *testing.B, d *device, c *dbformat.Content)) {
	for _, n := range []int{100_000, 1_000_000} {
		d, c := benchDevice(b, n)
		run(b, d, c)
	}
}

func name(c *dbformat.Content, more string) string {
	return fmt.Sprintf("records=%d%s", len(c.Sections[dbformat.ClassHash.Section(dbformat.SHA256)]), more)
}

// BenchmarkOpen: with the index stored as an update leaves it, and without one that can be stored.
func BenchmarkOpen(b *testing.B) {
	perCount(b, func(b *testing.B, d *device, c *dbformat.Content) {
		if err := prepareIndex(d, d.current.Generation); err != nil {
			b.Fatal(err)
		}
		for index, from := range map[string]generations{"stored": d, "built": without{d}} {
			b.Run(name(c, "/index="+index), func(b *testing.B) {
				b.ReportAllocs()
				var bytes, records int64
				for b.Loop() {
					m, err := open(from, Options{}, time.Hour)
					if err != nil {
						b.Fatal(err)
					}
					e := m.now.Load().engine
					bytes, records = e.IndexBytes(), int64(e.Records())
					m.Close()
				}
				b.ReportMetric(float64(bytes)/float64(records), "bytes/record")
			})
		}
	})
}

// without has no stored indexes.
type without struct{ *device }

func (without) OpenIndex(string) (*store.IndexFile, error) { return nil, store.ErrNoIndex }

func (without) PutIndex(string, iter.Seq[[]byte]) error { return os.ErrPermission }

func BenchmarkLookupHit(b *testing.B) {
	perCount(b, func(b *testing.B, d *device, c *dbformat.Content) {
		for _, variant := range []dbformat.Variant{dbformat.VariantLight, dbformat.VariantFull} {
			b.Run(name(c, "/variant="+string(variant)), func(b *testing.B) {
				m := benchMatcher(b, d, variant)
				records := c.Sections[dbformat.ClassHash.Section(dbformat.SHA256)]
				rng := rand.New(rand.NewPCG(2, 2))
				b.ReportAllocs()
				for b.Loop() {
					r := &records[rng.IntN(len(records))]
					if got, err := m.Lookup(dbformat.SHA256, r.Hash[:], int64(r.Size)); err != nil || !got.Verdict.Finding() {
						b.Fatalf("%+v, %v", got, err)
					}
				}
			})
		}
	})
}

func BenchmarkLookupMiss(b *testing.B) {
	perCount(b, func(b *testing.B, d *device, c *dbformat.Content) {
		for _, parallel := range []bool{false, true} {
			b.Run(name(c, fmt.Sprintf("/parallel=%t", parallel)), func(b *testing.B) {
				m := benchMatcher(b, d, dbformat.VariantFull)
				b.ReportAllocs()
				miss := func(seed uint64, more func() bool) {
					sum := make([]byte, 32)
					rng := rand.New(rand.NewPCG(seed, 3))
					for more() {
						binary.LittleEndian.PutUint64(sum, rng.Uint64())
						if got, _ := m.Lookup(dbformat.SHA256, sum, 1000); got.Verdict != Clean {
							b.Errorf("%+v", got)
						}
					}
				}
				if !parallel {
					miss(1, b.Loop)
					return
				}
				b.RunParallel(func(pb *testing.PB) { miss(rand.Uint64(), pb.Next) })
			})
		}
	})
}

// BenchmarkLookupMany looks 1024 hashes up at once, others each time.
func BenchmarkLookupMany(b *testing.B) {
	perCount(b, func(b *testing.B, d *device, c *dbformat.Content) {
		b.Run(name(c, ""), func(b *testing.B) {
			m := benchMatcher(b, d, dbformat.VariantFull)
			const some = 32 * 1024
			sums := make([]byte, 64*some)
			randomHash(rand.New(rand.NewPCG(4, 3)), sums)
			visit := func(_ int, r Result) bool { b.Errorf("%+v", r); return true }
			b.ReportAllocs()
			for at := 0; b.Loop(); at = (at + some) % len(sums) {
				if err := m.LookupMany(dbformat.SHA256, sums[at:at+some], nil, visit); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/hash")
		})
	})
}

func BenchmarkScanFile(b *testing.B) {
	perCount(b, func(b *testing.B, d *device, c *dbformat.Content) {
		for _, size := range []int{4 << 10, 16 << 20} {
			b.Run(name(c, fmt.Sprintf("/size=%d", size)), func(b *testing.B) {
				m := benchMatcher(b, d, dbformat.VariantFull)
				path := filepath.Join(b.TempDir(), "f")
				if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					if r := m.ScanFile(b.Context(), path); r.Verdict != Clean {
						b.Fatalf("%+v", r)
					}
				}
			})
		}
	})
}

func benchMatcher(b *testing.B, d *device, v dbformat.Variant) *Matcher {
	b.Helper()
	g := d.current.Generation
	if v == dbformat.VariantLight {
		g.Rest = nil
	}
	m, err := open(fixed{d, g}, Options{}, recheckDefault)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	return m
}

// fixed says that one generation is current.
type fixed struct {
	*device
	g store.Generation
}

func (f fixed) Current() (store.Current, error) { return store.Current{Generation: f.g}, nil }
