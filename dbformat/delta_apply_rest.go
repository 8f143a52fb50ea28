package dbformat

import (
	"io"
	"math"
	"slices"
)

// ApplyRestDelta turns the rest layer oldRest into the one that belongs to newLight and gives its blocks to
// sink in order. lightDelta is the delta that made newLight of oldLight, nil if they are
// equal. The header that it returns is computed from these blocks; the caller compares its
// digest with the signed one. Memory and errors as of [ApplyLightDelta].
func ApplyRestDelta(oldLight, newLight, oldRest LayerReader, lightDelta, r io.Reader, sink Sink) (*Header, error) {
	b, err := readDelta("rest delta", r)
	if err != nil {
		return nil, err
	}
	d, err := parseDelta(b, kindRestDelta, dictsOf(oldRest))
	if err != nil {
		return nil, err
	}
	if err := d.leads(oldRest.Header().Digest(), nil); err != nil {
		return nil, err
	}
	light, err := readLightEdits(oldLight, newLight, lightDelta)
	if err != nil {
		return nil, err
	}
	if len(d.edits) == 0 && len(light.edits) == 0 {
		return nil, corrupt(d.what, deltaHeadLen, "changes nothing")
	}
	if err := CheckPair(oldLight.Header(), oldRest.Header()); err != nil {
		return nil, err
	}
	asm := newAssembler(d.what, Rest, sink)
	a := restApplier{asm: asm, oldLight: oldLight, oldRest: oldRest, newLight: newLight}
	h := newLight.Header()
	for i := range d.edits {
		if _, _, ok := h.Section(d.edits[i].id); !ok && d.edits[i].id.Split() {
			return nil, d.edits[i].failed(asm, "the light layer has no such section")
		}
	}
	for _, id := range restSections(h, oldRest.Header(), d) {
		var err error
		if id.Placed() {
			err = applySection(asm, oldRest, id, d.find(id))
		} else {
			i, _, _ := h.Section(id)
			err = a.section(i, light.find(id), d.find(id))
		}
		if err != nil {
			return nil, err
		}
	}
	return d.result(asm)
}

// restSections lists the ids of what the new rest layer can have: the split sections of the new light layer, and the placed ones of the
// old rest layer and of the delta.
func restSections(newLight, oldRest *Header, d *delta) []SectionID {
	ids := d.sections(&Header{Sections: slices.Concat(newLight.Sections, oldRest.Sections)})
	return slices.DeleteFunc(ids, func(id SectionID) bool {
		if id.Split() {
			_, _, ok := newLight.Section(id)
			return !ok
		}
		_, _, ok := oldRest.Section(id)
		return !ok && d.find(id) == nil
	})
}

// readLightEdits reads the light delta that the rest delta leans on.
func readLightEdits(from, to LayerReader, r io.Reader) (*delta, error) {
	a, b := from.Header().Digest(), to.Header().Digest()
	if r == nil {
		if a != b {
			return nil, corrupt("rest delta", -1, "needs the light delta: the light layers differ")
		}
		return &delta{}, nil
	}
	data, err := readDelta("light delta", r)
	if err != nil {
		return nil, err
	}
	d, err := parseDelta(data, kindLightDelta, dictsOf(from))
	if err != nil {
		return nil, err
	}
	return d, d.leads(a, &b)
}

type restApplier struct {
	asm                         *assembler
	oldLight, newLight, oldRest LayerReader
}

// section writes the section that belongs to section i of the new light layer. light
// and rest are what the deltas say of it, nil for nothing.
func (a *restApplier) section(i int, light, rest *edit) error {
	s := &a.newLight.Header().Sections[i]
	j, old, was := a.oldRest.Header().Section(s.ID)
	l, _, _ := a.oldLight.Header().Section(s.ID)
	to := SectionHeader{ID: s.ID, P: s.P, B: s.B, Pair: a.newLight.Header().Root(i)}
	if light == nil && rest == nil && was {
		if old.Pair != to.Pair {
			return corrupt(a.asm.what, -1, "section %s: light changed, its delta says nothing", s.ID)
		}
		return copySection(a.asm, a.oldRest, j, *old)
	}
	if err := a.check(s, old, light, rest); err != nil {
		return err
	}
	if err := a.asm.begin(to); err != nil {
		return err
	}
	e := restEdit{a: a, m: newPrefixMerge(a.asm, light), w: newRowWriter(a.asm), width: uint(s.P - s.B), rest: &edit{}}
	if rest != nil {
		e.rest = rest
	}
	if was {
		if err := e.old(l, j, old.B != s.B); err != nil {
			return err
		}
	}
	if err := e.m.come(math.MaxUint64, e.add); err != nil {
		return err
	}
	if err := e.w.to(1 << s.B); err != nil {
		return err
	}
	return a.asm.end()
}

// check proves that what the deltas say fits the layers and each other.
func (a *restApplier) check(s, old *SectionHeader, light, rest *edit) error {
	added := 0
	if light != nil {
		added = light.added.left
		if light.p != s.P || old != nil && old.P != s.P || light.op&opKind == opDrop {
			return light.failed(a.asm, "does not lead to the light layer")
		}
		if light.op&opRemoved != 0 && (old == nil || light.rows != old.Rows()) {
			return light.failed(a.asm, "%d rows before, the layer has others", light.rows)
		}
	}
	if rest == nil {
		if added > 0 {
			return light.failed(a.asm, "%d rows come, the rest delta has none", added)
		}
		return nil
	}
	switch {
	case rest.p != s.P:
		return rest.failed(a.asm, "prefix width %d, the layer has %d", rest.p, s.P)
	case rest.rowsAdd.left() != added:
		return rest.failed(a.asm, "%d rows come, %d in light", rest.rowsAdd.left(), added)
	case rest.op&opReplaced != 0 && (old == nil || rest.rows != old.Rows()):
		return rest.failed(a.asm, "%d rows before, the layer has others", rest.rows)
	}
	return nil
}

// A restEdit makes one section of the new rest layer.
type restEdit struct {
	a     *restApplier
	m     *prefixMerge
	w     *rowWriter
	width uint // p-b of the new section
	rest  *edit
	row   row // of an addition
}

// add writes the next added row, whose prefix is v.
func (e *restEdit) add(v uint64) error {
	e.rest.rowsAdd.next(&e.row)
	return e.w.add(v>>e.width, &e.row)
}

// old walks through the old section: its prefixes in light, its rows in rest.
func (e *restEdit) old(light, rest int, recut bool) error {
	prefixes := &e.a.oldLight.Header().Sections[light]
	for i := range prefixes.Blocks {
		b, err := loadPrefixBlock(e.a.oldLight, light, i)
		if err != nil {
			return err
		}
		for r := range b.Ranges() {
			if err := e.oldRange(b, r, rest, recut); err != nil {
				return err
			}
		}
	}
	return nil
}

// oldRange walks through range r of light block b, which is one block of the old rest section.
func (e *restEdit) oldRange(b PrefixBlock, r, rest int, recut bool) error {
	first, end := b.Range(r)
	rng := uint64(b.FirstRange() + r)
	rows, data, err := loadRowBlock(e.a.oldRest, rest, int(rng))
	if err != nil {
		return err
	}
	if rows.Rows() != end-first {
		return corrupt(blockName(rows.id, int(rng)), 0, "%d rows, light has %d", rows.Rows(), end-first)
	}
	rep := &e.rest.replaced
	until := (rng + 1) << b.LowBits()
	if !recut && e.m.untouched(rows.Rows(), until) && (!rep.more || rep.next >= e.m.rank+uint64(rows.Rows())) {
		if err := e.w.to(rng); err != nil {
			return err
		}
		e.m.skip(rows.Rows())
		e.w.rng++
		return e.a.asm.put(data, rows.Rows())
	}
	scan := rowScan{b: rows}
	var v row
	for i := first; scan.next(&v); i++ {
		prefix := rng<<b.LowBits() | b.Low(i)
		rank := e.m.rank
		stays, err := e.m.old(prefix, e.add)
		if err != nil {
			return err
		}
		if rep.more && rep.next == rank {
			if !stays {
				return e.rest.failed(e.a.asm, "row %d goes and is replaced", rank)
			}
			if !rep.apply(&v) {
				return e.rest.failed(e.a.asm, "row %d is replaced by itself", rank)
			}
		}
		if stays {
			if err := e.w.add(prefix>>e.width, &v); err != nil {
				return err
			}
		}
	}
	return e.m.come(until, e.add)
}
