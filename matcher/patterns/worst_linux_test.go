//go:build check

package patterns

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.org/avdb/filetype"
	"example.org/avdb/pattern"
)

// worstSize is the bytes of the objects that are made to cost as much as they can.
const worstSize = 5 << 20

// worstSteps is what package matcher allows for such an object if it is not told otherwise.
const worstSteps = 1<<26 + worstSize/8

// literals are the static bytes of all parts of all signatures, one after the other.
func literals(all []pattern.Record) (data []byte) {
	for _, r := range all {
		for _, s := range subsignaturesOf(r) {
			for _, v := range s.Variants() {
				for i := range v.Parts {
					for _, l := range v.Parts[i].Literals() {
						data = append(data, l.Bytes...)
					}
				}
			}
		}
	}
	return data
}

// filled is data, and behind it rest as often as it takes.
func filled(data []byte, rest string) []byte {
	if n := worstSize - len(data); n > 0 {
		data = append(data, strings.Repeat(rest, n/len(rest)+1)[:n]...)
	}
	return data[:worstSize]
}

// gapped is signatures whose first part is met nowhere else, and whose second one, at any distance, never comes but has an anchor that all of them have.
func gapped(t testing.TB, n int, anchor string) (all []pattern.Record, data []byte) {
	for i := range n {
		first := fmt.Sprintf("the-first-part-%06d", i)
		all = append(all, body(t, fmt.Sprintf("0:*:%x*%x%s8?", first, anchor, strings.Repeat("??", i))))
		data = append(data, first...)
	}
	return all, filled(data, anchor)
}

// tallied is logical signatures that count matches of a few bytes, and want more than there are.
func tallied(t testing.TB, n int) (all []pattern.Record, data []byte) {
	for i := range n {
		trigger := fmt.Sprintf("the-trigger-%06d", i)
		all = append(all, logical(t, fmt.Sprintf("Target:0;0&1>2000000&2>2000000;%x;%x;%x::i", trigger, "ab", "BC"+string(rune('a'+i%26)))))
		data = append(data, trigger...)
	}
	return all, filled(data, "abcdefghijklm")
}

// BenchmarkWorst scans objects of 5 MiB that are made of what signatures look for, and one of ordinary files: how many times its processor time each of
// them costs, and whether it ends in the limit.
func BenchmarkWorst(b *testing.B) {
	var ordinary []byte
	for _, x := range usr(b, worstSize) {
		ordinary = append(ordinary, x.data...)
	}
	ordinary = ordinary[:worstSize]
	real := mainSignatures(b)
	records := encode(b, real)
	program := Object{Size: worstSize, Kind: filetype.PE, MaxSteps: worstSteps, Layout: &filetype.Layout{Kind: filetype.PE, Entry: 4096,
		Sections: []filetype.Section{{Offset: 1024, Size: 1 << 20}}}}
	plain := Object{Size: worstSize, MaxSteps: worstSteps}
	all := filled(literals(real), "\x00")
	b.Run("literals", func(b *testing.B) { benchmarkWorst(b, records, program, all, ordinary) })
	b.Run("literals-plain", func(b *testing.B) { benchmarkWorst(b, records, plain, all, ordinary) })
	for _, n := range []int{100, 1000} {
		gaps, data := gapped(b, n, "zqzqzqzqzq")
		b.Run(fmt.Sprintf("gaps=%d", n), func(b *testing.B) { benchmarkWorst(b, encode(b, gaps), plain, data, ordinary) })
		gaps, data = gapped(b, n, "zqzqz")
		b.Run(fmt.Sprintf("late-gaps=%d", n), func(b *testing.B) { benchmarkWorst(b, encode(b, gaps), plain, data, ordinary) })
		counts, data := tallied(b, n)
		b.Run(fmt.Sprintf("counts=%d", n), func(b *testing.B) { benchmarkWorst(b, encode(b, counts), plain, data, ordinary) })
	}
}

func benchmarkWorst(b *testing.B, records [][]byte, o Object, data, ordinary []byte) {
	s, err := Build(records, Options{})
	if err != nil {
		b.Fatal(err)
	}
	c := s.NewScanner()
	once := func(data []byte) (Result, time.Duration) {
		begin := cpu(b)
		c.Begin(o)
		for left := data; len(left) > 0; left = left[min(len(left), 256<<10):] {
			c.Write(left[:min(len(left), 256<<10)])
		}
		r, err := c.End(bytes.NewReader(data))
		if err != nil {
			b.Fatal(err)
		}
		return r, cpu(b) - begin
	}
	worst, usual := time.Duration(1<<62), time.Duration(1<<62)
	var r Result
	var steps uint64
	for b.Loop() {
		for range 3 {
			_, used := once(ordinary)
			usual = min(usual, used)
		}
		var used time.Duration
		r, used = once(data)
		worst, steps = min(worst, used), c.steps
	}
	limited := 0.0
	if r.Limited {
		limited = 1
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(worst.Seconds()*1000, "ms")
	b.ReportMetric(float64(worst)/float64(usual), "ratio")
	b.ReportMetric(float64(steps)/1e6, "Msteps")
	b.ReportMetric(float64(worst)/float64(steps), "ns/step")
	b.ReportMetric(limited, "limited")
	b.ReportMetric(float64(len(r.Matched)), "matched")
	b.ReportMetric(float64(len(r.Undecided)), "undecided")
}
