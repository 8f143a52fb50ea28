package prefilter

import (
	"cmp"
	"flag"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// usr gives the files of a Linux distribution's programs, libraries and data to f until it says no. There are two halves without a file in common, each
// in an order that depends on the files' names only: models are learned from half 0, and texts are taken from half 1.
func usr(half uint64, f func(b []byte) bool) {
	type file struct {
		path string
		hash uint64
	}
	var all []file
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec", "/usr/share"} {
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				sum := fnv.New64a()
				sum.Write([]byte(path))
				if h := mix(sum.Sum64()); h%2 == half {
					all = append(all, file{path, h})
				}
			}
			return nil
		})
	}
	slices.SortFunc(all, func(x, y file) int { return cmp.Or(cmp.Compare(x.hash, y.hash), cmp.Compare(x.path, y.path)) })
	for _, x := range all {
		if b, err := os.ReadFile(x.path); err == nil && !f(b) {
			return
		}
	}
}

var (
	makeModel  = flag.String("make-model", "", "where TestMakeDefaultModel writes a model")
	modelGrams = flag.Int("model-grams", 1<<16, "how many grams it has")
)

// TestMakeDefaultModel writes the model that is in the package, from half of a Linux distribution's files, up to 8 MiB of each and 1 GiB in all:
//
//	go test -run TestMakeDefaultModel -make-model default.model
//
// The one in the package is of Debian 12 for amd64 with compilers for C, Go and others. It knows no Windows programs: learn from what is scanned where that
// is at hand.
func TestMakeDefaultModel(t *testing.T) {
	if *makeModel == "" {
		t.Skip("not asked for")
	}
	l := NewLearner()
	left := 1 << 30
	usr(0, func(b []byte) bool {
		b = b[:min(len(b), 8<<20, left)]
		left -= len(b)
		l.Add(b)
		return left > 0
	})
	m := l.Model(*modelGrams)
	if m.Grams() < *modelGrams {
		t.Fatalf("%d grams: there are not enough files", m.Grams())
	}
	if err := os.WriteFile(*makeModel, m.Append(nil), 0o644); err != nil {
		t.Fatal(err)
	}
}

// corpus is a text of n bytes and programs to cut literals from.
func corpus(b *testing.B, n int) (text []byte, programs [][]byte) {
	size := 0
	usr(1, func(f []byte) bool {
		if len(text) < n {
			text = append(text, f[:min(len(f), 4<<20)]...)
		}
		if len(f) > 4096 && string(f[:4]) == "\x7fELF" {
			programs = append(programs, f)
			size += len(f)
		}
		return len(text) < n || size < 256<<20
	})
	if len(text) < n || len(programs) < 50 {
		b.Skip("there are no files of a Linux distribution")
	}
	return text[:n], programs
}

// kinds of literals, of 20 to 60 bytes. Those cut from programs have six different bytes at least: what is left out are paddings, which a signature
// would never consist of. Dropped are those whose window has a gram that is met more often than once in 16 MiB.
func kinds(programs [][]byte) map[string]func(n int) []Literal {
	many := func(n int, next func() []byte) []Literal {
		literals := make([]Literal, n)
		for i := range literals {
			literals[i] = Literal{ID: uint32(i), Bytes: next()}
		}
		return literals
	}
	r := random(1)
	m := DefaultModel()
	cut := func() []byte {
		for {
			p := programs[r.IntN(len(programs))]
			size := 20 + r.IntN(41)
			at := r.IntN(len(p) - size)
			if b := p[at : at+size]; len(slices.Compact(slices.Sorted(slices.Values(b)))) >= 6 {
				return b
			}
		}
	}
	return map[string]func(n int) []Literal{
		"random":    func(n int) []Literal { return many(n, func() []byte { return randomBytes(r, 20+r.IntN(41)) }) },
		"undropped": func(n int) []Literal { return many(n, cut) },
		"dropped": func(n int) []Literal {
			return many(n, func() []byte {
				for {
					if b := cut(); rare(b, m) {
						return b
					}
				}
			})
		},
	}
}

// rare tells whether some window of b has no gram that is met more often than once in 16 MiB.
func rare(b []byte, m *Model) bool {
	run := 0
	for i := 0; i+8 <= len(b); i++ {
		if run++; m.cost(load64(b[i:]), 8) > 1<<(costBits-24) {
			run = 0
		}
		if run == 8 {
			return true
		}
	}
	return false
}

func scanOnce(c *Scanner, text []byte) (hits int) {
	hit := func(Hit) bool { hits++; return true }
	for i := 0; i < len(text); i += 256 << 10 {
		c.Scan(text[i:min(len(text), i+256<<10)], hit)
	}
	c.Finish(hit)
	return hits
}

func benchmarkScan(b *testing.B, literals []Literal, text []byte) {
	begin := time.Now()
	set := mustBuild(b, literals, Options{})
	built := time.Since(begin)
	s, err := Open(set)
	if err != nil {
		b.Fatal(err)
	}
	c := s.NewScanner()
	b.SetBytes(int64(len(text)))
	hits := 0
	for b.Loop() {
		hits = scanOnce(c, text)
	}
	c.Scan(text, func(Hit) bool { return true })
	kib := float64(len(text)) / 1024
	b.ReportMetric(float64(c.looked)/kib, "candidates/KiB")
	b.ReportMetric(float64(hits)/kib, "hits/KiB")
	b.ReportMetric(float64(len(set))/(1<<20), "set-MiB")
	b.ReportMetric(float64(s.FilterSize())/1024, "filter-KiB")
	b.ReportMetric(built.Seconds()*1000, "build-ms")
	c.Reset()
}

// BenchmarkScan scans 64 MiB of files that no model saw.
func BenchmarkScan(b *testing.B) {
	text, programs := corpus(b, 64<<20)
	of := kinds(programs)
	for _, n := range []int{1e3, 1e4, 1e5} {
		for _, kind := range []string{"random", "dropped", "undropped"} {
			literals := of[kind](n)
			b.Run(fmt.Sprintf("literals=%d/kind=%s", n, kind), func(b *testing.B) { benchmarkScan(b, literals, text) })
		}
	}
}

// BenchmarkShort shows what a few literals of another tier cost beside a thousand of the first.
func BenchmarkShort(b *testing.B) {
	text, programs := corpus(b, 64<<20)
	literals := kinds(programs)["dropped"](1000)
	for _, size := range []int{0, 12, 8, 6, 4, 3, 2} {
		with := slices.Clone(literals)
		for i := range 20 {
			if size > 0 {
				with = append(with, Literal{ID: uint32(5000 + i), Bytes: randomBytes(random(uint64(i)), size)})
			}
		}
		b.Run(fmt.Sprintf("short=%d", size), func(b *testing.B) { benchmarkScan(b, with, text) })
	}
	for i := range 20 {
		literals[i].NoCase = true
	}
	b.Run("nocase", func(b *testing.B) { benchmarkScan(b, literals, text) })
}

// BenchmarkWorst scans texts that are made against the set.
func BenchmarkWorst(b *testing.B) {
	_, programs := corpus(b, 1)
	of := kinds(programs)
	for _, n := range []int{1e3, 1e4, 1e5} {
		literals := of["dropped"](n)
		text := make([]byte, 0, 64<<20)
		for len(text) < 32<<20 {
			for _, l := range literals {
				text = append(text, l.Bytes...)
			}
		}
		b.Run(fmt.Sprintf("literals=%d/text=literals", n), func(b *testing.B) { benchmarkScan(b, literals, text[:32<<20]) })
	}
	text := make([]byte, 8<<20)
	for name, literals := range hostile(20000) {
		for fill, c := range map[string]byte{"zeros": 0, "pads": 0x90} {
			for i := range text {
				text[i] = c
			}
			b.Run(fmt.Sprintf("set=%s/text=%s", name, fill), func(b *testing.B) { benchmarkScan(b, literals, text) })
		}
	}
}

// BenchmarkBuild shows what reusing windows saves: a hundredth of the literals is new.
func BenchmarkBuild(b *testing.B) {
	_, programs := corpus(b, 1)
	literals := kinds(programs)["dropped"](101000)
	old := mustOpen(b, literals[:100000], Options{})
	for name, reuse := range map[string]*Set{"new": nil, "reuse": old} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				mustBuild(b, literals[1000:], Options{Reuse: reuse})
			}
		})
	}
	set := mustBuild(b, literals, Options{})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			if _, err := Open(set); err != nil {
				b.Fatal(err)
			}
		}
	})
}
