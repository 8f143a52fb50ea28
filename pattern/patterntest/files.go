package patterntest

import (
	"bytes"
	"slices"

	"example.org/avdb/pattern"
)

// noText begins files that clamscan shall take for no text of any kind, which it would scan once more in another form.
const noText = "\x01\x02\x03\x04\x05\x06\x0e\x0f\x10\x11"

// small makes a file of some hundred bytes for the target, with sections that may overlap where it can have them, and tells where its head ends.
func (w *Writer) small(t pattern.Target) (f pattern.File, head int) {
	switch t {
	case pattern.TargetELF:
		head, _ = headSize(t, 4)
		sections := []pattern.Section{{}} // the first one of an ELF file is none
		for i := 1; i < 4; i++ {
			sections = append(sections, pattern.Section{Offset: uint32(head + 20*i + w.IntN(150)), Size: uint32(30 + w.IntN(100))})
		}
		return program(t, w.Filler(900+w.IntN(300)), sections, head+100+w.IntN(200)), head
	case pattern.TargetPE:
		head, _ = headSize(t, 3)
		var sections []pattern.Section
		for i := range 3 {
			sections = append(sections, pattern.Section{Offset: uint32(head + 0x200*i), Size: 0x200})
		}
		return program(t, w.Filler(head+3*0x200+w.IntN(100)), sections, head+60+w.IntN(300)), head
	}
	return pattern.File{Data: append([]byte(noText), w.Filler(60+w.IntN(300))...)}, len(noText)
}

// Some makes a small file for a target, any if it can have no sections, with matches of some of the subsignatures where their offsets allow, or one byte
// behind that; in half of the files a bit of a match is flipped.
func (w *Writer) Some(t pattern.Target, subs []pattern.Subsignature) pattern.File {
	f, head := w.small(t)
	size := len(f.Data)
	type span struct{ from, to int }
	var written []span
	for _, s := range subs {
		for range w.IntN(4) {
			variants := s.Variants()
			m, _ := w.Match(variants[w.IntN(len(variants))], 1<<20)
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
			end := len(f.Data)
			f.Data = put(f.Data, m, at, head) // the header stays what it is
			if s.Offset.Place == pattern.PlaceEnd {
				f.Data = f.Data[:end]
			}
			written = append(written, span{at, min(at+20, len(f.Data))})
		}
	}
	if len(written) > 0 && w.IntN(2) == 0 {
		if s := written[w.IntN(len(written))]; s.from < s.to {
			f.Data[s.from+w.IntN(s.to-s.from)] ^= byte(1 << w.IntN(8))
		}
	}
	return f
}

// put writes a match so that its first part is at a place, but not over the bytes before from. Data grows if need be.
func put(data []byte, m Match, at, from int) []byte {
	for i, c := range m.Bytes {
		switch p := at - m.Start + i; {
		case p < from:
		case p < len(data):
			data[p] = c
		default:
			data = append(data, c)
		}
	}
	return data
}

// A Made file is one for a whole signature.
type Made struct {
	pattern.File
	Static []int // places of its static bytes
}

// Whole makes a file of at most about most bytes that a logical signature matches: of its target, with the sections, entry point and size that it asks for,
// and as many matches of each subsignature as satisfy the expression. A match that lies over another one may spoil it: then the next file is another one. It
// is false if no numbers, bytes or places are found.
func (w *Writer) Whole(l *pattern.Logical, most int) (f Made, ok bool) {
	counts, ok := w.counts(l)
	if !ok {
		return f, false
	}
	type piece struct {
		Match
		offset pattern.Offset
	}
	var fixed, loose []piece
	reach, start, end, length := 0, 0, 0, 0 // how far matches at relative offsets go, and from the start, and back from the end
	for i, n := range counts {
		s := &l.Subsignatures[i]
		for range n {
			variants := s.Variants()
			m, ok := w.Match(variants[w.IntN(len(variants))], most)
			if length += len(m.Bytes); !ok || length > most || int64(s.Offset.N) > int64(most) {
				return f, false
			}
			n := int(s.Offset.N) + len(m.Bytes)
			switch s.Offset.Place {
			case pattern.PlaceAny:
				loose = append(loose, piece{Match: m})
				continue
			case pattern.PlaceStart:
				start = max(start, n)
			case pattern.PlaceEnd:
				end = max(end, n)
			default:
				reach = max(reach, n)
			}
			fixed = append(fixed, piece{m, s.Offset})
		}
	}
	if f.File, ok = w.begin(l, reach, most); !ok {
		return f, false
	}
	if n := len(f.Data); n < start {
		f.Data = append(f.Data, w.Filler(start-n+w.IntN(40))...)
	}
	for _, p := range loose {
		f.Data = append(f.Data, w.Filler(2+w.IntN(30))...)
		for _, at := range p.Static {
			f.Static = append(f.Static, len(f.Data)+at)
		}
		f.Data = append(f.Data, p.Bytes...)
	}
	f.Data = append(f.Data, w.Filler(end+2+w.IntN(100))...)
	if least := int64(l.FileSize.Min); l.FileSize.Set && int64(len(f.Data)) < least {
		if least > int64(most) {
			return f, false
		}
		f.Data = append(f.Data, w.Filler(int(least)-len(f.Data))...)
	}
	for _, p := range fixed {
		first, last, ok := p.offset.Bounds(int64(len(f.Data)), &f.Facts)
		if last = min(last, int64(len(f.Data)-len(p.Bytes)+p.Start)); !ok || last < first {
			return f, false
		}
		at := int(first) + w.IntN(min(int(last-first), most)+1)
		put(f.Data, p.Match, at, 0)
		for _, i := range p.Static {
			f.Static = append(f.Static, at-p.Start+i)
		}
	}
	return f, !l.FileSize.Set || l.FileSize.Holds(uint64(len(f.Data)))
}

// counts gives how often each subsignature shall match, so that the expression holds.
func (w *Writer) counts(l *pattern.Logical) (n []int, ok bool) {
	n = make([]int, len(l.Subsignatures))
	for round := range 3000 {
		clear(n)
		if round < 2000 {
			w.satisfy(n, &l.Expression)
		} else {
			for i := range n {
				n[i] = w.IntN(1 + round%4)
			}
		}
		if l.Expression.Evaluate(n) {
			return n, true
		}
	}
	return nil, false
}

// satisfy raises counts for what a term asks for, if it can be said of that term alone.
func (w *Writer) satisfy(n []int, e *pattern.Expression) {
	few := func(least int) int {
		switch e.Compare {
		case pattern.CompareEqual:
			return min(int(e.Count), 5000)
		case pattern.CompareMore:
			return min(int(e.Count), 5000) + 1
		case pattern.CompareLess:
			return w.IntN(min(int(e.Count), 2) + 1)
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
			w.satisfy(n, &e.Children[i])
		}
		return
	}
	want := max(1, int(e.Distinct))
	if e.Compare != pattern.CompareNone {
		want = max(want, few(1))
	}
	for _, i := range w.Perm(len(e.Children))[:min(want, len(e.Children))] {
		w.satisfy(n, &e.Children[i])
	}
}

// begin makes the beginning of a file of the signature's target, with an entry point that has at least reach bytes on both sides, and sections of as many, if they
// fit into most.
func (w *Writer) begin(l *pattern.Logical, reach, most int) (f pattern.File, ok bool) {
	sections := 4
	for _, s := range l.Subsignatures {
		sections = max(sections, int(s.Offset.Section)+1)
	}
	if l.Sections.Set {
		sections = max(int(l.Sections.Min), min(sections, int(l.Sections.Max)))
	}
	sections = min(sections, 90)
	head, executable := headSize(l.Target, sections)
	if !executable {
		magic := map[pattern.Target]string{pattern.TargetOLE2: "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", pattern.TargetGraphics: "GIF89a", pattern.TargetPDF: "%PDF-1.4\n",
			pattern.TargetFlash: "FWS\x05", pattern.TargetJava: "\xca\xfe\xba\xbe\x00\x00\x00\x34"}[l.Target]
		if magic == "" {
			magic = noText
		}
		return pattern.File{Data: append([]byte(magic), w.Filler(16+w.IntN(200))...), Facts: pattern.Facts{Target: l.Target}}, true
	}
	size := (2*reach + 0x5ff) &^ 0x1ff
	entry := head + size/2
	if l.EntryPoint.Set {
		entry = max(int(l.EntryPoint.Min), min(entry, int(l.EntryPoint.Max)))
	}
	size = max(size, (entry-head+0x5ff)&^0x1ff)
	if size*sections > most {
		size = max(0x400, most/max(sections, 1)&^0x1ff)
	}
	if entry < head || entry >= head+size {
		return f, false
	}
	return w.Program(l.Target, sections, size, entry-head), true
}

// Program makes an executable file for the target, which is PE, ELF or Mach-O, of sections of size bytes each, which for PE is a multiple of 512, one behind
// the other; its entry point is at a place in the first one, as far as it has one.
func (w *Writer) Program(t pattern.Target, sections, size, entry int) pattern.File {
	head, _ := headSize(t, sections)
	var all []pattern.Section
	for i := range sections {
		all = append(all, pattern.Section{Offset: uint32(head + size*i), Size: uint32(size)})
	}
	return program(t, w.Filler(head+size*sections), all, head+entry)
}

// Miss is the file with one static byte changed; it has some.
func (w *Writer) Miss(f Made) []byte {
	b := bytes.Clone(f.Data)
	static := slices.DeleteFunc(slices.Clone(f.Static), func(at int) bool { return at < 0 || at >= len(b) })
	b[static[w.IntN(len(static))]] ^= byte(1 + w.IntN(255))
	return b
}
