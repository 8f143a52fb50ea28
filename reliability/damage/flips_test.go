//go:build check

package damage_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// records is the size of the generation: about 10 MB of files.
const records = 170_000

// A cell is one byte with one bit flipped.
type cell struct {
	at    int64
	block *block // that the byte is in, nil for structure
}

func (c cell) bit() byte { return 1 << (c.at / 3 % 8) }

// A matrix counts cells and tells of those that are not as they should be.
type matrix struct {
	t      *testing.T
	counts [crashed + 1]int
}

func (m *matrix) tell(f *file, c cell, o outcome, why string) {
	m.counts[o]++
	if bad := m.counts[unknown] + m.counts[silent] + m.counts[crashed]; o >= unknown && bad <= 20 {
		m.t.Errorf("%s byte %d bit %#x: %s: %s\n\tagain: AVDB_CELLS=%s:%d go test -tags check -run %s -v ./reliability/damage",
			f.name, c.at, c.bit(), o, why, f.name, c.at, m.t.Name())
	}
}

// A damaged file is written in place, so that the next open sees it.
type writer struct {
	f    *file
	file *os.File
}

func (w *writer) flip(t testing.TB, cells []cell) {
	for _, c := range cells {
		w.put(t, c.at, w.f.whole[c.at]^c.bit())
	}
}

func (w *writer) restore(t testing.TB, cells []cell) {
	for _, c := range cells {
		w.put(t, c.at, w.f.whole[c.at])
	}
	if err := w.f.heal(); err != nil {
		t.Fatal(err)
	}
}

func (w *writer) put(t testing.TB, at int64, b byte) {
	if _, err := w.file.WriteAt([]byte{b}, at); err != nil {
		t.Fatal(err)
	}
}

func openWriter(t testing.TB, f *file) *writer {
	w, err := os.OpenFile(f.keep, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return &writer{f, w}
}

// cellsOf are every step-th byte of a file, step a multiple of 3.
func (f *file) cellsOf(step int64) (cells []cell) {
	i := 0
	for at := int64(0); at < int64(len(f.whole)); at += step {
		for i < len(f.blocks) && f.blocks[i].end <= at {
			i++
		}
		c := cell{at: at}
		if i < len(f.blocks) && f.blocks[i].start <= at && !f.blocks[i].opening {
			c.block = &f.blocks[i]
		}
		cells = append(cells, c)
	}
	return cells
}

// alone judges cells with their flips all made, by what look does; it is one process from its beginning to its end.
func (g *generation) alone(t testing.TB, w *writer, cells []cell, look func(r *reader) outcome) (outcome, string) {
	w.flip(t, cells)
	defer w.restore(t, cells)
	return contained(func() (outcome, string) {
		r, o, why := g.open()
		if r == nil {
			return o, why
		}
		defer r.close()
		o = look(r)
		return o, r.why
	})
}

// structure judges cells outside of blocks: headers, tables, pages of the tree, what is free or unused. Every one may be read by
// every look-up, so that a block of each is looked up. If all answers are right with many bits flipped, each cell is right; if
// not, halves are judged, down to the single cell.
func (m *matrix) structure(g *generation, w *writer, cells []cell) {
	o, why := g.alone(m.t, w, cells, func(r *reader) outcome { return r.everyBlock(g) })
	switch {
	case o == right:
		m.counts[right] += len(cells)
	case len(cells) == 1:
		m.tell(w.f, cells[0], o, why)
	default:
		m.structure(g, w, cells[:len(cells)/2])
		m.structure(g, w, cells[len(cells)/2:])
	}
}

// group is the number of structure cells that are flipped at once at first.
const group = 64

// blocks judges cells inside of blocks, one of each block at once: what is looked up of one block reads no byte of another.
func (m *matrix) blocks(g *generation, w *writer, cells []cell) {
	w.flip(m.t, cells)
	judged := 0
	o, why := contained(func() (outcome, string) {
		r, o, why := g.open()
		if r == nil {
			return o, why
		}
		defer r.close()
		for _, c := range cells {
			r.why = ""
			o := r.reads(c.block, int(c.at-c.block.start))
			m.tell(w.f, c, o, r.why)
			judged++
		}
		return right, ""
	})
	w.restore(m.t, cells)
	switch {
	case judged == len(cells):
	case len(cells) == 1:
		m.tell(w.f, cells[0], o, why)
	default:
		for i := range cells[judged:] {
			m.blocks(g, w, cells[judged+i:][:1])
		}
	}
}

// rounds makes groups of cells that each have one cell of a block at the most.
func rounds(cells []cell) (all [][]cell) {
	nth := map[*block]int{}
	for _, c := range cells {
		n := nth[c.block]
		if n == len(all) {
			all = append(all, nil)
		}
		all[n] = append(all[n], c)
		nth[c.block] = n + 1
	}
	return all
}

// TestA8FlippedBytes flips one bit of every third byte of a generation's files, all of them with AVDB_CELLS=all. Without it, a
// sample is judged cell by cell, each alone.
func TestA8FlippedBytes(t *testing.T) {
	g := newGeneration(t, records)
	m := &matrix{t: t}
	start, total := time.Now(), 0
	env := os.Getenv("AVDB_CELLS")
	if name, at, one := strings.Cut(env, ":"); one {
		n, err := strconv.ParseInt(at, 10, 64)
		f := g.file(name)
		if err != nil || f == nil || n < 0 || n >= int64(len(f.whole)) {
			t.Fatalf("AVDB_CELLS=%s names no cell", env)
		}
		w := openWriter(t, f)
		o, why := g.alone(t, w, []cell{{at: n}}, func(r *reader) outcome { return r.everything(g) })
		m.tell(f, cell{at: n}, o, why)
		t.Logf("%s: %s", o, why)
		return
	}
	for _, f := range g.files {
		w := openWriter(t, f)
		step := int64(3)
		if env != "all" {
			step *= 1201
		}
		cells := f.cellsOf(step)
		total += len(cells)
		inside, outside := split(cells)
		before := time.Now()
		if env == "all" {
			for c := range slices.Chunk(outside, group) {
				m.structure(g, w, c)
			}
			t.Logf("%s: %d cells outside of blocks in %s", f.name, len(outside), time.Since(before).Round(time.Second))
			for _, c := range rounds(inside) {
				m.blocks(g, w, c)
			}
		} else {
			for i := range outside {
				m.structure(g, w, outside[i:i+1])
			}
			for i := range inside {
				m.blocks(g, w, inside[i:i+1])
			}
		}
		t.Logf("%s: %d bytes, %d cells in %s", f.name, len(f.whole), len(cells), time.Since(before).Round(time.Millisecond))
	}
	judged := 0
	for _, n := range m.counts {
		judged += n
	}
	if judged != total {
		t.Errorf("%d cells were judged, there are %d", judged, total)
	}
	t.Logf("A8 one bit of a byte flipped: %d cells, %d noticed, %d without effect, %d silent wrong verdicts, %d other errors, %d crashes (%s)",
		total, m.counts[noticed], m.counts[right], m.counts[silent], m.counts[unknown], m.counts[crashed], time.Since(start).Round(time.Second))
}

func split(cells []cell) (inside, outside []cell) {
	for _, c := range cells {
		if c.block != nil {
			inside = append(inside, c)
		} else {
			outside = append(outside, c)
		}
	}
	return inside, outside
}

// TestA8CellsAreIndependent checks what the grouping rests on: for a sample of cells, each one alone with every record looked up,
// nothing is wrong, the cell's own look-ups tell as much as all, and a full verification notices a flip in any block.
func TestA8CellsAreIndependent(t *testing.T) {
	g := newGeneration(t, records/8)
	m := &matrix{t: t}
	n := 0
	for _, f := range g.files {
		w := openWriter(t, f)
		for _, c := range f.cellsOf(3 * (int64(len(f.whole))/3/60 + 1)) {
			all, why := g.alone(t, w, []cell{c}, func(r *reader) outcome { return r.everything(g) })
			m.tell(f, c, all, why)
			own := func(r *reader) outcome { return r.everyBlock(g) }
			if c.block != nil {
				own = func(r *reader) outcome { return r.reads(c.block, int(c.at-c.block.start)) }
			}
			if o, _ := g.alone(t, w, []cell{c}, own); o != all {
				t.Errorf("%s byte %d: all look-ups: %s, its own: %s", f.name, c.at, all, o)
			}
			n++
		}
	}
	t.Logf("A8 cells alone, every record looked up: %d cells, %d noticed, %d silent wrong verdicts, %d crashes",
		n, m.counts[noticed], m.counts[silent], m.counts[crashed])
}
