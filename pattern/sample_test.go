package pattern_test

import (
	"encoding/binary"
	"slices"

	"example.org/avdb/pattern"
)

// elements gives bytes that match.
func (w *writer) elements(elements []pattern.Element, nocase bool) []byte {
	var b []byte
	for _, e := range elements {
		switch e.Op {
		case pattern.OpBytes:
			for _, c := range []byte(e.Bytes) {
				if nocase && 'a' <= c && c <= 'z' && w.IntN(2) == 0 {
					c -= 0x20
				}
				b = append(b, c)
			}
		case pattern.OpHigh:
			b = append(b, e.Value<<4|byte(w.IntN(16)))
		case pattern.OpLow:
			b = append(b, e.Value|byte(w.IntN(16))<<4)
		case pattern.OpAny:
			for range e.Count {
				b = append(b, byte(w.IntN(256)))
			}
		case pattern.OpAlternatives:
			option := w.elements(e.Options[w.IntN(len(e.Options))].Elements, nocase)
			if e.Not {
				for i := range option {
					option[i] = byte(w.IntN(256))
				}
			}
			b = append(b, option...)
		case pattern.OpClass:
			b = append(b, w.class(e.Class, e.Not, " -./<@_\n\r\"'=>")...)
		}
	}
	return b
}

// class gives a byte or two of a class.
func (w *writer) class(c pattern.Class, not bool, boundary string) []byte {
	switch {
	case not:
		return []byte{"abcxyz059"[w.IntN(9)]}
	case c == pattern.ClassBoundary:
		return []byte{boundary[w.IntN(len(boundary))]}
	case c == pattern.ClassLine:
		return [][]byte{{'\n'}, {'\r', '\n'}}[w.IntN(2)]
	}
	return []byte{" .-%\x00\xff"[w.IntN(6)]}
}

// write puts a match of the variant into data, its first part at the given place, and gives the data and where the match ends.
func (w *writer) write(data []byte, v pattern.Variant, at int) []byte {
	for i, p := range v.Parts {
		if i > 0 {
			least, most := int(p.Gap.Min), int(p.Gap.Max)
			if most == 0 || most > least+20 {
				most = least + 20
			}
			at += least + w.IntN(most-least+1)
		}
		body := w.elements(p.Elements, v.Nocase)
		put := func(at int, b []byte) {
			for len(data) < at+len(b) {
				data = append(data, byte(w.IntN(256)))
			}
			for i, c := range b {
				if at+i >= 0 {
					data[at+i] = c
				}
			}
		}
		put(at, body)
		if c := p.Begin.Class; c != pattern.ClassNone && at > 0 {
			edge := w.class(c, false, " -./<@_")
			put(at-1, edge[len(edge)-1:])
		}
		end := at + len(body)
		if c := p.End.Class; c != pattern.ClassNone && w.IntN(4) > 0 {
			put(end, w.class(c, p.End.Not, "\n\r \"'-/=>_"))
		}
		if a := p.Before; a.Set {
			put(at-1-int(a.Min)-w.IntN(int(a.Max-a.Min)+1), []byte{a.Value})
		}
		if a := p.After; a.Set {
			put(end+int(a.Min)+w.IntN(int(a.Max-a.Min)+1), []byte{a.Value})
		}
		at = end
	}
	return data
}

// filler gives bytes that no scanner takes for text.
func (w *writer) filler(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		switch w.IntN(4) {
		case 0:
			b[i] = "abcXYZ .-\n"[w.IntN(10)]
		case 1:
			b[i] = byte(w.IntN(3)) * 0x80
		default:
			b[i] = byte(w.IntN(256))
		}
	}
	return b
}

// noText begins files so that clamscan takes them for no text of any kind, which it would scan once more in another form.
const noText = "\x01\x02\x03\x04\x05\x06\x0e\x0f\x10\x11"

// object gives a file with matches of some of the subsignatures, and perhaps with a byte of them changed.
func (w *writer) object(target pattern.Target, subs []pattern.Subsignature) pattern.File {
	f := pattern.File{Data: append([]byte(noText), w.filler(60+w.IntN(300))...)}
	head := len(noText)
	switch target {
	case pattern.TargetELF:
		f, head = w.elf(), elfHead
	case pattern.TargetPE:
		f, head = w.pe(), peHead
	}
	size := len(f.Data)
	type span struct{ from, to int }
	var written []span
	for _, s := range subs {
		for range w.IntN(4) {
			variants := s.Variants()
			v := variants[w.IntN(len(variants))]
			first, last, ok := s.Offset.Bounds(int64(len(f.Data)), &f.Facts)
			if !ok {
				continue
			}
			at := int(first + w.Int64N(last-first+1))
			if w.IntN(8) == 0 {
				at++
			}
			if at < head {
				at = head + w.IntN(size-head)
			}
			before := slices.Clone(f.Data)
			f.Data = w.write(f.Data, v, at)
			copy(f.Data[:head], before[:head]) // the header stays what it is
			if s.Offset.Place == pattern.PlaceEnd && len(f.Data) > len(before) {
				f.Data = f.Data[:len(before)]
			}
			written = append(written, span{at, min(at+20, len(f.Data))})
		}
	}
	if len(written) > 0 && w.IntN(2) == 0 {
		s := written[w.IntN(len(written))]
		if s.to > s.from {
			if i := s.from + w.IntN(s.to-s.from); i >= head && i < len(f.Data) {
				f.Data[i] ^= byte(1 << w.IntN(8))
			}
		}
	}
	return f
}

const elfHead = 64 + 56 + 4*64

// elf makes an ELF file of 64 bits with an entry point and sections, which ClamAV can parse.
func (w *writer) elf() pattern.File {
	size := 900 + w.IntN(300)
	b := append(make([]byte, elfHead), w.filler(size-elfHead)...)
	le := binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01")
	const base = 0x400000
	entry := elfHead + 100 + w.IntN(200)
	le.PutUint16(b[16:], 2)
	le.PutUint16(b[18:], 62)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], uint64(base+entry))
	le.PutUint64(b[32:], 64)
	le.PutUint64(b[40:], 64+56)
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	le.PutUint16(b[58:], 64)
	le.PutUint16(b[60:], 4)
	ph := b[64:]
	le.PutUint32(ph, 1)
	le.PutUint32(ph[4:], 5)
	le.PutUint64(ph[16:], base)
	le.PutUint64(ph[24:], base)
	le.PutUint64(ph[32:], uint64(size))
	le.PutUint64(ph[40:], uint64(size))
	le.PutUint64(ph[48:], 0x1000)
	f := pattern.File{Data: b, Facts: pattern.Facts{Target: pattern.TargetELF, Header: pattern.HeaderParsed, EntryPoint: uint32(entry)}}
	for i := range 4 {
		s := pattern.Section{}
		if i > 0 {
			s = pattern.Section{Offset: uint32(elfHead + 20*i + w.IntN(150)), Size: uint32(30 + w.IntN(100))}
			sh := b[64+56+64*i:]
			le.PutUint32(sh[4:], 1)
			le.PutUint64(sh[8:], 6)
			le.PutUint64(sh[16:], uint64(base)+uint64(s.Offset))
			le.PutUint64(sh[24:], uint64(s.Offset))
			le.PutUint64(sh[32:], uint64(s.Size))
		}
		f.Sections = append(f.Sections, s)
	}
	return f
}

const peHead = 0x200

// pe makes a PE file of 32 bits with three sections, which ClamAV can parse.
func (w *writer) pe() pattern.File {
	const sections = 3
	b := append(make([]byte, peHead), w.filler(sections*0x200+w.IntN(100))...)
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], 0x40)
	h := b[0x40:]
	copy(h, "PE\x00\x00")
	le.PutUint16(h[4:], 0x14c)
	le.PutUint16(h[6:], sections)
	le.PutUint16(h[20:], 224)
	le.PutUint16(h[22:], 0x102)
	entry := 0x200 + 60 + w.IntN(300)
	o := h[24:]
	le.PutUint16(o, 0x10b)
	le.PutUint32(o[16:], uint32(0x1000+entry-0x200))
	le.PutUint32(o[20:], 0x1000)
	le.PutUint32(o[28:], 0x400000)
	le.PutUint32(o[32:], 0x1000)
	le.PutUint32(o[36:], 0x200)
	le.PutUint16(o[40:], 4)
	le.PutUint16(o[48:], 4)
	le.PutUint32(o[56:], 0x1000*(sections+1))
	le.PutUint32(o[60:], peHead)
	le.PutUint16(o[68:], 3)
	le.PutUint32(o[92:], 16)
	f := pattern.File{Data: b, Facts: pattern.Facts{Target: pattern.TargetPE, Header: pattern.HeaderParsed, EntryPoint: uint32(entry)}}
	for i := range sections {
		s := o[224+40*i:]
		copy(s, []byte{'.', 's', byte('0' + i)})
		le.PutUint32(s[8:], 0x200)
		le.PutUint32(s[12:], uint32(0x1000*(i+1)))
		le.PutUint32(s[16:], 0x200)
		le.PutUint32(s[20:], uint32(0x200*(i+1)))
		le.PutUint32(s[36:], 0x60000020)
		f.Sections = append(f.Sections, pattern.Section{Offset: uint32(0x200 * (i + 1)), Size: 0x200})
	}
	return f
}

// peculiar tells of subsignatures that ClamAV is known to match in another way than it says; the package comment lists them.
func peculiar(s pattern.Subsignature) bool {
	if s.Wide && s.ASCII && len(s.Body.Parts) > 1 {
		return true
	}
	for _, v := range s.Variants() {
		for i, p := range v.Parts {
			for k, e := range p.Elements {
				if e.Op == pattern.OpClass && (i == 0 && s.Offset.Place != pattern.PlaceAny || e.Class == pattern.ClassLine && !e.Not) {
					return true
				}
				if e.Op == pattern.OpAlternatives && overlapping(e) && k == 0 {
					return true
				}
			}
		}
	}
	return false
}

// overlapping tells whether an option may begin or end with another one that is shorter.
func overlapping(e pattern.Element) bool {
	for i, o := range e.Options {
		for j, p := range e.Options {
			a, b := steps(o.Elements), steps(p.Elements)
			if i == j || len(a) >= len(b) {
				continue
			}
			head, tail := true, true
			for k, s := range a {
				head = head && s.meets(b[k])
				tail = tail && s.meets(b[len(b)-len(a)+k])
			}
			if head || tail {
				return true
			}
		}
	}
	return false
}

// A step is one byte of an option: its value and which bits of it count.
type step struct{ value, mask byte }

func (s step) meets(o step) bool { return (s.value^o.value)&s.mask&o.mask == 0 }

func steps(elements []pattern.Element) []step {
	var all []step
	for _, e := range elements {
		switch e.Op {
		case pattern.OpBytes:
			for _, c := range []byte(e.Bytes) {
				all = append(all, step{c, 255})
			}
		case pattern.OpHigh:
			all = append(all, step{e.Value << 4, 0xf0})
		case pattern.OpLow:
			all = append(all, step{e.Value, 0x0f})
		case pattern.OpAny:
			for range e.Count {
				all = append(all, step{})
			}
		}
	}
	return all
}
