//go:build check

package damage_test

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

// sector is the distance of the places where files are cut.
const sector = 512

// cutStep is the distance of cells in CI: no multiple of a page.
const cutStep = 61 * sector

// cuts are the lengths that a file of n bytes is cut to, the longest first.
func cuts(n int64) (all []int64) {
	step := int64(sector)
	if os.Getenv("AVDB_CELLS") != "all" {
		step = cutStep
	}
	for at := (n - 1) / step * step; at >= 0; at -= step {
		all = append(all, at)
	}
	return all
}

func (w *writer) cut(t testing.TB, n int64) {
	t.Helper()
	if err := w.file.Truncate(n); err != nil {
		t.Fatal(err)
	}
}

func (w *writer) refill(t testing.TB, from int64) {
	t.Helper()
	if _, err := w.file.WriteAt(w.f.whole[from:], from); err != nil {
		t.Fatal(err)
	}
}

func (m *matrix) tellCut(f *file, n int64, o outcome, why string) {
	m.counts[o]++
	if o >= unknown {
		m.t.Errorf("%s cut to %d bytes: %s: %s", f.name, n, o, why)
	}
}

// TestA8CutFiles cuts files to each multiple of 512 bytes before they are opened. A cut layer must be noticed; without its index
// a generation answers all the same.
func TestA8CutFiles(t *testing.T) {
	g := newGeneration(t, records)
	m := &matrix{t: t}
	start := time.Now()
	for _, f := range g.files {
		w := openWriter(t, f)
		for _, n := range cuts(int64(len(f.whole))) {
			w.cut(t, n)
			o, why := contained(func() (outcome, string) {
				r, o, why := g.open()
				if r == nil {
					return o, why
				}
				defer r.close()
				o = r.everyBlock(g)
				return o, r.why
			})
			m.tellCut(f, n, o, why)
			if o == right && f.name != "index" {
				t.Errorf("%s cut to %d bytes is not noticed", f.name, n)
			}
			if err := f.heal(); err != nil {
				t.Fatal(err)
			}
		}
		w.refill(t, 0)
	}
	t.Logf("A8 cut before it is opened: %d cells, %d noticed, %d answered rightly without the index, %d silent wrong verdicts, %d crashes (%s)",
		m.cells(), m.counts[noticed], m.counts[right], m.counts[silent], m.counts[crashed], time.Since(start).Round(time.Second))
}

func (m *matrix) cells() (n int) {
	for _, c := range m.counts {
		n += c
	}
	return n
}

// TestA8CutWhileMapped cuts files that a matcher has open and mapped. What it reads first after that is proved or faults, and a
// fault is an error of the look-up. What was proved before is not proved again, so that of those bytes only those in pages that
// are gone are noticed; the least that must hold is that nothing crashes.
func TestA8CutWhileMapped(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // a mapped file cannot be cut there
	}
	g := newGeneration(t, records)
	m := &matrix{t: t}
	start, warm, stale := time.Now(), 0, 0
	for _, f := range g.files {
		w := openWriter(t, f)
		for i, n := range cuts(int64(len(f.whole))) {
			// The block that is cut, its neighbours, and the first and the last one.
			at, _ := slices.BinarySearchFunc(f.blocks, n, func(b block, n int64) int { return int(b.end - n) })
			near := []int{0, max(0, at-1), min(at, len(f.blocks)-1), min(at+1, len(f.blocks)-1), len(f.blocks) - 1}
			look := func(r *reader) (o outcome) {
				for _, j := range near {
					b := &f.blocks[j]
					o = max(o, r.reads(b, int(min(max(n-b.start, 0), b.end-b.start-1))))
				}
				return o
			}
			touched := i%4 == 0
			o, why := contained(func() (outcome, string) {
				r, o, why := g.open()
				if r == nil {
					return o, why
				}
				defer r.close()
				if touched {
					if o := look(r); o != right {
						return o, "before the cut: " + r.why
					}
				}
				w.cut(t, n)
				o = look(r)
				return o, r.why
			})
			w.refill(t, n)
			if err := f.heal(); err != nil {
				t.Fatal(err)
			}
			if touched {
				warm++
				if o == silent {
					stale++
					continue
				}
			}
			m.tellCut(f, n, o, why)
		}
	}
	t.Logf("A8 cut while it is mapped: %d cells, %d silent wrong verdicts where nothing had been read before (%d cells), %d where it had (%d cells), %d crashes (%s)",
		m.cells()+stale, m.counts[silent], m.cells()+stale-warm, stale, warm, m.counts[crashed], time.Since(start).Round(time.Second))
}
