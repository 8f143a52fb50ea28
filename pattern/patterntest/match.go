package patterntest

import "example.org/avdb/pattern"

// Subsignatures gives the subsignatures of a record; a body signature is one.
func Subsignatures(r pattern.Record) []pattern.Subsignature {
	if r.Logical != nil {
		return r.Logical.Subsignatures
	}
	return []pattern.Subsignature{{Offset: r.Body.Offset, Body: r.Body.Body}}
}

// A Match is bytes that a form of a subsignature matches.
type Match struct {
	Bytes  []byte
	Start  int   // where the first part begins: what is before it stands around it
	Static []int // places of bytes that must be as they are
}

// Match makes bytes that a form of a subsignature matches, nearly always: what takes the place of a negated alternative may be that alternative, and one
// boundary of ten is left out. It is false for a match of more than about most bytes, of which it gives the beginning.
func (w *Writer) Match(v pattern.Variant, most int) (m Match, ok bool) {
	end := 0 // of the part before, behind which may be what stands around it
	for i, p := range v.Parts {
		before, edge := 0, []byte(nil) // what is in front of the part: a byte so far away, and a boundary
		if a := p.Before; a.Set {
			before = 1 + int(a.Min) + w.IntN(int(a.Max-a.Min)+1)
		}
		if c := p.Begin.Class; c != pattern.ClassNone && w.IntN(10) > 0 {
			edge = []byte{0x80, 0} // the first one is what is before a wide character
			b := w.class(c, false, " -./<@_")
			edge[1] = b[len(b)-1]
		}
		start := max(before, len(edge))
		if i > 0 {
			least, longest := int(p.Gap.Min), int(p.Gap.Max)
			if longest == 0 || longest > least+40 {
				longest = least + 40
			}
			if least > most || len(m.Bytes) > most {
				return m, false
			}
			least = max(least, min(longest, len(m.Bytes)-end+max(before, len(edge)/2)))
			start, edge = end+least+w.IntN(longest-least+1), edge[len(edge)/2:]
		}
		m.Bytes = append(m.Bytes, w.Filler(max(0, start-len(m.Bytes)))...)[:start]
		copy(m.Bytes[max(0, start-len(edge)):], edge)
		if before > 0 && start >= before {
			m.Bytes[start-before] = p.Before.Value
		}
		if i == 0 {
			m.Start = start
		}
		w.elements(&m, p.Elements, v.Nocase)
		end = len(m.Bytes)
		if c := p.End.Class; c != pattern.ClassNone && w.IntN(10) > 0 {
			if m.Bytes = append(m.Bytes, w.class(c, p.End.Not, "\n\r \"'-/=>_")...); i == len(v.Parts)-1 {
				m.Bytes = append(m.Bytes, 0x80)
			}
		}
		if a := p.After; a.Set {
			at := end + int(a.Min) + w.IntN(int(a.Max-a.Min)+1)
			m.Bytes = append(m.Bytes, w.Filler(max(0, at+1-len(m.Bytes)))...)
			m.Bytes[at] = a.Value
		}
	}
	return m, true
}

// elements appends bytes that match.
func (w *Writer) elements(m *Match, elements []pattern.Element, nocase bool) {
	for _, e := range elements {
		switch e.Op {
		case pattern.OpBytes:
			for _, c := range []byte(e.Bytes) {
				if nocase && 'a' <= c && c <= 'z' && w.IntN(2) == 0 {
					c -= 0x20
				}
				m.Static = append(m.Static, len(m.Bytes))
				m.Bytes = append(m.Bytes, c)
			}
		case pattern.OpHigh:
			m.Bytes = append(m.Bytes, e.Value<<4|byte(w.IntN(16)))
		case pattern.OpLow:
			m.Bytes = append(m.Bytes, e.Value|byte(w.IntN(16))<<4)
		case pattern.OpAny, pattern.OpSkip:
			m.Bytes = append(m.Bytes, w.Filler(e.Count)...)
		case pattern.OpAlternatives:
			option, at, static := e.Options[w.IntN(len(e.Options))].Elements, len(m.Bytes), len(m.Static)
			if w.elements(m, option, nocase); e.Not {
				copy(m.Bytes[at:], w.Filler(len(m.Bytes)-at))
				m.Static = m.Static[:static]
			}
		case pattern.OpClass:
			m.Bytes = append(m.Bytes, w.class(e.Class, e.Not, " -./<@_\n\r\"'=>")...)
		}
	}
}

// class gives a byte or two of a class.
func (w *Writer) class(c pattern.Class, not bool, boundary string) []byte {
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

// Filler gives n bytes that mean nothing: half of them from the alphabet if there is one without noise, else so mixed that no scanner takes many of them for
// text.
func (w *Writer) Filler(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		if b[i] = byte(w.IntN(256)); w.IntN(2) > 0 {
			continue
		}
		switch {
		case w.Alphabet != "" && w.Noise == 0:
			b[i] = w.Alphabet[w.IntN(len(w.Alphabet))]
		case w.IntN(2) == 0:
			b[i] = "abcXYZ .-\n"[w.IntN(10)]
		default:
			b[i] &= 0x80
		}
	}
	return b
}
