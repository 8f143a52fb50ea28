package patterns

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"example.org/avdb/filetype"
	"example.org/avdb/pattern"
)

// An item is a file that is scanned.
type item struct {
	object Object
	data   []byte
}

// usr is n bytes of the files of a Linux distribution, in an order that depends on their names only, with what is known about each.
func usr(b *testing.B, n int) []item {
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
				all = append(all, file{path, sum.Sum64()})
			}
			return nil
		})
	}
	slices.SortFunc(all, func(x, y file) int { return cmp.Or(cmp.Compare(x.hash, y.hash), cmp.Compare(x.path, y.path)) })
	var items []item
	size := 0
	for _, f := range all {
		data, err := os.ReadFile(f.path)
		if err != nil || len(data) > 4<<20 {
			continue
		}
		o := Object{Size: int64(len(data)), Kind: filetype.Detect(data, int64(len(data)))}
		if o.Kind.Executable() {
			o.Layout, _ = filetype.Read(bytes.NewReader(data), o.Size, o.Kind)
		}
		items = append(items, item{o, data})
		if size += len(data); size >= n {
			return items
		}
	}
	b.Skip("there are no files of a Linux distribution")
	return nil
}

// cpu is the processor time that this process used. On a machine that others use as well it says what the clock cannot.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkScan(b *testing.B, records [][]byte) {
	items := usr(b, 64<<20)
	begin := cpu(b)
	s, err := Build(records, Options{})
	if err != nil {
		b.Fatal(err)
	}
	built := cpu(b) - begin
	c := s.NewScanner()
	size, matched, undecided, steps := 0, 0, 0, uint64(0)
	begin = cpu(b)
	for b.Loop() {
		size, matched, undecided, steps = 0, 0, 0, 0
		for _, x := range items {
			c.Begin(x.object)
			for left := x.data; len(left) > 0; left = left[min(len(left), 256<<10):] {
				c.Write(left[:min(len(left), 256<<10)])
			}
			r, err := c.End(bytes.NewReader(x.data))
			if err != nil {
				b.Fatal(err)
			}
			size += len(x.data)
			steps += c.steps
			matched += len(r.Matched)
			undecided += len(r.Undecided)
		}
	}
	used := (cpu(b) - begin).Seconds() / float64(b.N)
	kib := float64(size) / 1024
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(size)/used/1e9, "GB/s")
	b.ReportMetric(float64(len(records)), "signatures")
	b.ReportMetric(float64(steps)/kib, "steps/KiB")
	b.ReportMetric(float64(matched), "matched")
	b.ReportMetric(float64(undecided), "undecided")
	b.ReportMetric(float64(len(items)), "files")
	b.ReportMetric(built.Seconds()*1000, "build-ms")
	watches, filter, set, offsets := 0, 0, 0, 0
	for _, g := range s.groups {
		if g != nil {
			watches, filter, set, offsets = watches+int(g.rows(sectionWatches))-1, filter+g.filter.FilterSize(), set+g.filter.Size(), offsets+g.placed
		}
	}
	b.ReportMetric(float64(watches), "parts")
	b.ReportMetric(float64(offsets), "offsets")
	b.ReportMetric(float64(filter)/1024, "filter-KiB")
	b.ReportMetric(float64(set)/(1<<20), "set-MiB")
}

// BenchmarkScan scans 64 MiB of files for signatures whose bytes are random: parts of 8 to 40 bytes, some with gaps and wildcards.
func BenchmarkScan(b *testing.B) {
	for _, n := range []int{1e3, 1e4} {
		w := newWriter(5)
		var all []pattern.Record
		for i := range n {
			hex := func(n int) string { return fmt.Sprintf("%x", randomBytes(w, n)) }
			line := fmt.Sprintf("%d:*:%s", i%2, hex(16+w.IntN(25)))
			switch i % 4 {
			case 1:
				line = fmt.Sprintf("%d:*:%s{2-40}%s*%s", i%2*6, hex(8+w.IntN(20)), hex(8+w.IntN(20)), hex(10))
			case 2:
				line = fmt.Sprintf("%d:EP+%d:%s??(00|ff)%s", 1, w.IntN(20), hex(2+w.IntN(20)), hex(8+w.IntN(20)))
			}
			all = append(all, body(b, line))
		}
		records := encode(b, all)
		b.Run(fmt.Sprintf("signatures=%d", n), func(b *testing.B) { benchmarkScan(b, records) })
	}
}

// BenchmarkSmallObjects scans objects of 1 KiB: what an object costs beside its bytes must not grow with the signatures.
func BenchmarkSmallObjects(b *testing.B) {
	for _, n := range []int{1000, 20_000, 100_000} {
		w := newWriter(7)
		var all []pattern.Record
		for i := range n {
			hex := fmt.Sprintf("%x", randomBytes(w, 20+w.IntN(41)))
			offset := "*"
			switch i % 8 {
			case 1:
				offset = fmt.Sprintf("EP+%d", w.IntN(2+w.IntN(2000)))
			case 3:
				offset = fmt.Sprintf("EOF-%d", w.IntN(2+w.IntN(2000)))
			case 5:
				offset = fmt.Sprint(w.IntN(2 + w.IntN(2000)))
			}
			all = append(all, body(b, fmt.Sprintf("%d:%s:%s", i%2, offset, hex)))
		}
		s := mustBuild(b, all)
		data := randomBytes(w, 1024)
		b.Run(fmt.Sprintf("signatures=%d", n), func(b *testing.B) {
			c := s.NewScanner()
			o := Object{Size: int64(len(data)), Kind: filetype.PE, Layout: &filetype.Layout{Kind: filetype.PE, Entry: 100}}
			b.ReportAllocs()
			for b.Loop() {
				c.Begin(o)
				c.Write(data)
				if _, err := c.End(nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
