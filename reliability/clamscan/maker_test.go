//go:build check

package clamscan_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"

	"example.org/avdb/pattern"
)

// maxFile is the size above which no file is made of a signature.
const maxFile = 4 << 20

// A maker makes files that signatures match.
type maker struct{ *rand.Rand }

// A piece is the bytes of one match of a subsignature.
type piece struct {
	bytes  []byte
	start  int   // of the first part
	static []int // places of bytes that must be as they are
	offset pattern.Offset
}

func (m *maker) filler(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.IntN(256))
	}
	return b
}

func (m *maker) class(c pattern.Class, not bool, boundary string) []byte {
	switch {
	case not:
		return []byte{"abcxyz059"[m.IntN(9)]}
	case c == pattern.ClassBoundary:
		return []byte{boundary[m.IntN(len(boundary))]}
	case c == pattern.ClassLine:
		return [][]byte{{'\n'}, {'\r', '\n'}}[m.IntN(2)]
	}
	return []byte{" .-%\x00\xff"[m.IntN(6)]}
}

// elements appends bytes that match.
func (m *maker) elements(p *piece, elements []pattern.Element, nocase bool) {
	for _, e := range elements {
		switch e.Op {
		case pattern.OpBytes:
			for _, c := range []byte(e.Bytes) {
				if nocase && 'a' <= c && c <= 'z' && m.IntN(2) == 0 {
					c -= 0x20
				}
				p.static = append(p.static, len(p.bytes))
				p.bytes = append(p.bytes, c)
			}
		case pattern.OpHigh:
			p.bytes = append(p.bytes, e.Value<<4|byte(m.IntN(16)))
		case pattern.OpLow:
			p.bytes = append(p.bytes, e.Value|byte(m.IntN(16))<<4)
		case pattern.OpAny, pattern.OpSkip:
			p.bytes = append(p.bytes, m.filler(e.Count)...)
		case pattern.OpAlternatives:
			option, at := e.Options[m.IntN(len(e.Options))].Elements, len(p.bytes)
			m.elements(p, option, nocase)
			if e.Not {
				copy(p.bytes[at:], m.filler(len(p.bytes)-at))
			}
		case pattern.OpClass:
			p.bytes = append(p.bytes, m.class(e.Class, e.Not, " -./<@_\n\r\"'=>")...)
		}
	}
}

// piece gives a match of one form of the subsignature.
func (m *maker) piece(s *pattern.Subsignature) (p piece, ok bool) {
	variants := s.Variants()
	v := variants[m.IntN(len(variants))]
	p.offset = s.Offset
	for i, part := range v.Parts {
		if i > 0 {
			least, most := int(part.Gap.Min), int(part.Gap.Max)
			if most == 0 || most > least+40 {
				most = least + 40
			}
			if least > maxFile || len(p.bytes) > maxFile {
				return p, false
			}
			p.bytes = append(p.bytes, m.filler(least+m.IntN(most-least+1))...)
		}
		if a := part.Before; a.Set {
			n := int(a.Min) + m.IntN(int(a.Max-a.Min)+1)
			if back := len(p.bytes) - 1 - n; i > 0 && back >= 0 {
				p.bytes[back] = a.Value
			} else {
				p.bytes = append(append(p.bytes, a.Value), m.filler(n)...)
			}
		}
		if c := part.Begin.Class; c != pattern.ClassNone {
			edge := m.class(c, false, " -./<@_")
			if i == 0 {
				p.bytes = append(p.bytes, 0x80) // what is before a wide character
				p.bytes = append(p.bytes, edge[len(edge)-1])
			} else if n := len(p.bytes); n > 0 {
				p.bytes[n-1] = edge[len(edge)-1]
			}
		}
		if i == 0 {
			p.start = len(p.bytes)
		}
		m.elements(&p, part.Elements, v.Nocase)
		if c := part.End.Class; c != pattern.ClassNone && i == len(v.Parts)-1 {
			p.bytes = append(p.bytes, m.class(c, part.End.Not, "\n\r \"'-/=>_")...)
			p.bytes = append(p.bytes, 0x80)
		}
		if a := part.After; a.Set {
			p.bytes = append(append(p.bytes, m.filler(int(a.Min)+m.IntN(int(a.Max-a.Min)+1))...), a.Value)
		}
	}
	return p, true
}

// counts gives how often each subsignature shall match, so that the expression holds.
func (m *maker) counts(l *pattern.Logical) (n []int, ok bool) {
	n = make([]int, len(l.Subsignatures))
	for round := range 3000 {
		for i := range n {
			n[i] = 0
		}
		if round < 2000 {
			m.satisfy(n, &l.Expression)
		} else {
			for i := range n {
				n[i] = m.IntN(1 + round%4)
			}
		}
		if l.Expression.Evaluate(n) {
			return n, true
		}
	}
	return nil, false
}

// satisfy raises counts for what a term asks for, if it can be said of that term alone.
func (m *maker) satisfy(n []int, e *pattern.Expression) {
	few := func(least int) int {
		switch e.Compare {
		case pattern.CompareEqual:
			return min(int(e.Count), 5000)
		case pattern.CompareMore:
			return min(int(e.Count), 5000) + 1
		case pattern.CompareLess:
			return m.IntN(min(int(e.Count), 2) + 1)
		}
		return least
	}
	if e.Term == pattern.TermIndex {
		n[e.Index] = max(n[e.Index], few(1))
		return
	}
	if e.Compare != pattern.CompareNone && few(1) == 0 {
		return
	}
	if e.Term == pattern.TermAnd {
		for i := range e.Children {
			m.satisfy(n, &e.Children[i])
		}
		return
	}
	want := max(1, int(e.Distinct))
	if e.Compare != pattern.CompareNone {
		want = max(want, few(1))
	}
	for _, i := range m.Perm(len(e.Children))[:min(want, len(e.Children))] {
		m.satisfy(n, &e.Children[i])
	}
}

// A made file is bytes, and the places in it that are static bytes of a signature.
type made struct {
	data   []byte
	static []int
}

// file makes a file that the signature matches, if the pieces find places in it.
func (m *maker) file(s *signature) (f made, ok bool) {
	l := s.logical
	counts, ok := m.counts(l)
	if !ok {
		return f, false
	}
	var fixed, loose []piece
	reach, start, end, length := 0, 0, 0, 0 // how far pieces at relative offsets go, and from the start, and back from the end
	for i, n := range counts {
		for range n {
			p, ok := m.piece(&l.Subsignatures[i])
			if length += len(p.bytes); !ok || length > maxFile || p.offset.N > maxFile {
				return f, false
			}
			n := int(p.offset.N) + len(p.bytes)
			switch p.offset.Place {
			case pattern.PlaceAny:
				loose = append(loose, p)
				continue
			case pattern.PlaceStart:
				start = max(start, n)
			case pattern.PlaceEnd:
				end = max(end, n)
			default:
				reach = max(reach, n)
			}
			fixed = append(fixed, p)
		}
	}
	data := m.head(l, reach)
	if len(data) < start {
		data = append(data, m.filler(start-len(data)+m.IntN(40))...)
	}
	for _, p := range loose {
		data = append(data, m.filler(2+m.IntN(30))...)
		for _, at := range p.static {
			f.static = append(f.static, len(data)+at)
		}
		data = append(data, p.bytes...)
	}
	data = append(data, m.filler(end+2+m.IntN(100))...)
	if least := int64(l.FileSize.Min); l.FileSize.Set && int64(len(data)) < least {
		if least > maxFile {
			return f, false
		}
		data = append(data, m.filler(int(least)-len(data))...)
	}
	facts := factsOf(data)
	for _, p := range fixed {
		first, last, ok := p.offset.Bounds(int64(len(data)), &facts)
		if last = min(last, int64(len(data)-len(p.bytes)+p.start)); !ok || last < first {
			return f, false
		}
		at := int(first) + m.IntN(min(int(last-first), maxFile)+1) - p.start
		for i, c := range p.bytes {
			if at+i >= 0 {
				data[at+i] = c
			}
		}
		for _, i := range p.static {
			f.static = append(f.static, at+i)
		}
	}
	f.data = data
	return f, l.FileSize.Holds(uint64(len(data)))
}

// miss is the file with one static byte changed.
func (m *maker) miss(f made) made {
	b := bytes.Clone(f.data)
	if at := f.static[m.IntN(len(f.static))]; at < len(b) {
		b[at] ^= byte(1 + m.IntN(255))
	}
	return made{data: b}
}

// head makes the beginning of a file of the signature's target, with sections of at least reach bytes.
func (m *maker) head(l *pattern.Logical, reach int) []byte {
	sections := 4
	for _, s := range l.Subsignatures {
		sections = max(sections, int(s.Offset.Section)+1)
	}
	if l.Sections.Set {
		sections = max(int(l.Sections.Min), min(sections, int(l.Sections.Max)))
	}
	sections = min(sections, 90)
	size := (2*reach + 0x5ff) &^ 0x1ff // an entry point in the middle has reach bytes on both sides
	switch l.Target {
	case pattern.TargetPE:
		return m.pe(l, sections, size)
	case pattern.TargetELF:
		return m.elf(l, sections, size)
	case pattern.TargetMachO:
		return m.macho(sections, size)
	}
	magic := map[pattern.Target]string{pattern.TargetOLE2: "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", pattern.TargetGraphics: "GIF89a", pattern.TargetPDF: "%PDF-1.4\n",
		pattern.TargetFlash: "FWS\x05", pattern.TargetJava: "\xca\xfe\xba\xbe\x00\x00\x00\x34"}[l.Target]
	if magic == "" {
		magic = "\x01\x02\x03\x04\x05\x06\x0e\x0f\x10\x11" // no text, which would be scanned once more in another form
	}
	return append([]byte(magic), m.filler(16+m.IntN(200))...)
}

// entry is where the entry point shall be: in the middle of the first section, unless the signature says otherwise.
func entry(l *pattern.Logical, first, size int) int {
	at := first + size/2
	if l.EntryPoint.Set {
		at = max(int(l.EntryPoint.Min), min(at, int(l.EntryPoint.Max)))
	}
	return at
}

func (m *maker) pe(l *pattern.Logical, sections, size int) []byte {
	const first = 0x1000
	at := entry(l, first, size)
	size = max(size, (at-first+0x5ff)&^0x1ff)
	if size*sections > maxFile {
		size = max(0x400, maxFile/max(sections, 1)&^0x1ff)
	}
	b := append(make([]byte, first), m.filler(size*sections)...)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], 0x40)
	h := b[0x40:]
	copy(h, "PE\x00\x00")
	le.PutUint16(h[4:], 0x14c)
	le.PutUint16(h[6:], uint16(sections))
	le.PutUint16(h[20:], 224)
	le.PutUint16(h[22:], 0x102)
	span := (uint32(size) + 0xfff) &^ 0xfff
	o := h[24:]
	le.PutUint16(o, 0x10b)
	le.PutUint32(o[16:], uint32(at)) // the first section lies at the same place in memory and in the file
	le.PutUint32(o[20:], 0x1000)
	le.PutUint32(o[28:], 0x400000)
	le.PutUint32(o[32:], 0x1000)
	le.PutUint32(o[36:], 0x200)
	le.PutUint16(o[40:], 4)
	le.PutUint16(o[48:], 4)
	le.PutUint32(o[56:], first+span*uint32(sections))
	le.PutUint32(o[60:], first)
	le.PutUint16(o[68:], 3)
	le.PutUint32(o[92:], 16)
	for i := range sections {
		row := o[224+40*i:]
		copy(row, ".part")
		le.PutUint32(row[8:], uint32(size))
		le.PutUint32(row[12:], first+span*uint32(i))
		le.PutUint32(row[16:], uint32(size))
		le.PutUint32(row[20:], uint32(first+size*i))
		le.PutUint32(row[36:], 0xe0000020)
	}
	return b
}

func (m *maker) elf(l *pattern.Logical, sections, size int) []byte {
	head := 64 + 56 + 64*sections
	at := entry(l, head, size)
	size = max(size, (at-head+0x5ff)&^0x1ff)
	b := append(make([]byte, head), m.filler(size*sections)...)
	le := binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01")
	const base = 0x400000
	le.PutUint16(b[16:], 2)
	le.PutUint16(b[18:], 62)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], uint64(base+at))
	le.PutUint64(b[32:], 64)
	le.PutUint64(b[40:], 64+56)
	for i, v := range []int{64, 56, 1, 64, sections} {
		le.PutUint16(b[52+2*i:], uint16(v))
	}
	ph := b[64:]
	le.PutUint32(ph, 1)
	le.PutUint32(ph[4:], 5)
	for i, v := range []int{0, base, base, len(b), len(b), 0x1000} {
		le.PutUint64(ph[8+8*i:], uint64(v))
	}
	for i := range sections {
		sh := b[64+56+64*i:]
		le.PutUint32(sh[4:], 1)
		le.PutUint64(sh[8:], 6)
		le.PutUint64(sh[16:], uint64(base+head+size*i))
		le.PutUint64(sh[24:], uint64(head+size*i))
		le.PutUint64(sh[32:], uint64(size))
	}
	return b
}

func (m *maker) macho(sections, size int) []byte {
	head := 32 + 72 + 80*sections
	b := append(make([]byte, head), m.filler(size*sections)...)
	le := binary.LittleEndian
	for i, v := range []uint32{0xfeedfacf, 7 | 1<<24, 3, 2, 1, uint32(head - 32)} {
		le.PutUint32(b[4*i:], v)
	}
	c := b[32:]
	le.PutUint32(c, 0x19)
	le.PutUint32(c[4:], uint32(head-32))
	copy(c[8:], "__TEXT")
	le.PutUint32(c[64:], uint32(sections))
	for i := range sections {
		row := c[72+80*i:]
		copy(row, "__part")
		le.PutUint64(row[32:], uint64(0x1000+size*i))
		le.PutUint64(row[40:], uint64(size))
		le.PutUint32(row[48:], uint32(head+size*i))
	}
	return b
}

// factsOf is what offsets need to know of a file.
func factsOf(b []byte) (f pattern.Facts) {
	o, err := objectOf(bytes.NewReader(b), int64(len(b)))
	switch {
	case err != nil || !o.Kind.Executable():
		return f
	case o.Layout == nil:
		f.Header = pattern.HeaderBroken
		return f
	}
	f.Header, f.EntryPoint = pattern.HeaderParsed, o.Layout.Entry
	for _, s := range o.Layout.Sections {
		f.Sections = append(f.Sections, pattern.Section{Offset: s.Offset, Size: s.Size})
	}
	return f
}
