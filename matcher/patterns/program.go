package patterns

import (
	"encoding/binary"
	"slices"

	"example.org/avdb/pattern"
)

// A program is a part in the bytes that a set keeps of it: what is verified where an anchor was met. It is read where it lies, which may be a mapped file, and
// never decoded into anything with pointers. Its layout is in docs/format/patternset.md.
type program []byte

// hidden is XORed to each byte of programs and heads, so that no file of ours holds what an engine detects.
const hidden = 0xa7

// Fields of a program's head.
const (
	programSize     = 0  // 4: of all of it
	programFlags    = 4  // 1
	programClasses  = 5  // 1: at the start, and at the end above that
	programElements = 6  // 2
	programLeast    = 8  // 2: bytes of a match
	programMost     = 10 // 2
	programFirst    = 12 // 2: how far behind the start of a match the anchor stands, at least
	programLast     = 14 // 2: and at most
	programAnchor   = 16 // 4: where in the program the bytes of the anchor are
	programLength   = 20 // 1: how many they are
	programBefore   = 21 // 3: the byte before, least and greatest distance
	programBehind   = 24 // 3
	programProbe    = 27 // 4: where in the program the first two static bytes are that stand at one distance from the start; 0: there are none
	programDistance = 31 // 2: that distance
	programHead     = 33
)

const (
	flagNocase = 1 << iota
	flagBefore
	flagBehind
	flagEndNot
)

// Elements: a byte with the code, and for each code what follows.
const (
	codeBytes        = iota + 1 // 2: how many; they follow
	codeHigh                    // 1
	codeLow                     // 1
	codeAny                     // 2: how many
	codeClass                   // 1: the class, plus 128 if negated
	codeAlternatives            // 4: bytes of all of them; 2: how many; each with 2: elements, and these
	codeNot                     // likewise
	optionHead       = 7        // of codeAlternatives and codeNot: the code and both numbers
)

func hide(b []byte) {
	for i := range b {
		b[i] ^= hidden
	}
}

func hidden16(b []byte) int    { return int(binary.LittleEndian.Uint16(b) ^ hidden<<8 ^ hidden) }
func hidden32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) ^ hidden*0x01010101 }

// appendProgram appends the program of a part, hidden.
func appendProgram(dst []byte, v *pattern.Variant, part int, a *anchor) []byte {
	p := &v.Parts[part]
	start := len(dst)
	least, most := p.Length()
	dst = append(dst, 0, 0, 0, 0, bit(v.Nocase, flagNocase)|bit(p.Before.Set, flagBefore)|bit(p.After.Set, flagBehind)|bit(p.End.Not, flagEndNot),
		byte(p.Begin.Class)|byte(p.End.Class)<<4)
	for _, n := range [...]int{len(p.Elements), least, most, a.least, a.most} {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(n))
	}
	dst = append(dst, 0, 0, 0, 0, byte(a.size), p.Before.Value, p.Before.Min, p.Before.Max, p.After.Value, p.After.Min, p.After.Max, 0, 0, 0, 0, 0, 0)
	literals, literal := p.Literals(), 0
	for i := range p.Elements {
		if e := &p.Elements[i]; e.Op == pattern.OpBytes {
			if literal == a.literal {
				binary.LittleEndian.PutUint32(dst[start+programAnchor:], uint32(len(dst)-start+3+a.from))
			}
			if l := &literals[literal]; l.Least == l.Most && len(l.Bytes) >= 2 && binary.LittleEndian.Uint32(dst[start+programProbe:]) == 0 {
				binary.LittleEndian.PutUint32(dst[start+programProbe:], uint32(len(dst)-start+3))
				binary.LittleEndian.PutUint16(dst[start+programDistance:], uint16(l.Least))
			}
			literal++
		}
		dst = appendElement(dst, &p.Elements[i])
	}
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	hide(dst[start:])
	return dst
}

func bit(set bool, flag byte) byte {
	if set {
		return flag
	}
	return 0
}

func appendElement(dst []byte, e *pattern.Element) []byte {
	switch e.Op {
	case pattern.OpBytes:
		dst = binary.LittleEndian.AppendUint16(append(dst, codeBytes), uint16(len(e.Bytes)))
		return append(dst, e.Bytes...)
	case pattern.OpHigh:
		return append(dst, codeHigh, e.Value)
	case pattern.OpLow:
		return append(dst, codeLow, e.Value)
	case pattern.OpClass:
		return append(dst, codeClass, byte(e.Class)|bit(e.Not, 128))
	case pattern.OpAlternatives:
		start := len(dst)
		dst = append(dst, codeAlternatives+bit(e.Not, 1), 0, 0, 0, 0)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(e.Options)))
		for i := range e.Options {
			dst = binary.LittleEndian.AppendUint16(dst, uint16(len(e.Options[i].Elements)))
			for j := range e.Options[i].Elements {
				dst = appendElement(dst, &e.Options[i].Elements[j])
			}
		}
		binary.LittleEndian.PutUint32(dst[start+1:], uint32(len(dst)-start-optionHead))
		return dst
	}
	return binary.LittleEndian.AppendUint16(append(dst, codeAny), uint16(e.Count)) // a variant has no OpSkip
}

func (p program) nocase() bool { return (p[programFlags]^hidden)&flagNocase != 0 }

// shortest is the bytes of the shortest match.
func (p program) shortest() int64 { return int64(hidden16(p[programLeast:])) }

// lead is how far behind the start of a match the anchor stands.
func (p program) lead() (least, most int64) {
	return int64(hidden16(p[programFirst:])), int64(hidden16(p[programLast:]))
}

// anchor gives the bytes of the anchor, hidden.
func (p program) anchor() []byte {
	at, size := hidden32(p[programAnchor:]), uint32(p[programLength]^hidden)
	return p[at : at+size]
}

// runs gives f the runs of static bytes, hidden, that stand at one distance from the start of a match, and that distance twice.
func (p program) runs(f func(run []byte, least, most int64)) {
	distance := int64(0)
	b := p[programHead:]
	for range hidden16(p[programElements:]) {
		size := 2
		switch b[0] ^ hidden {
		case codeBytes:
			n := hidden16(b[1:])
			size = 3 + n
			f(b[3:size:size], distance, distance)
			distance += int64(n)
		case codeAny:
			size = 3
			distance += int64(hidden16(b[1:]))
		case codeHigh, codeLow:
			distance++
		default: // its length may differ
			return
		}
		b = b[size:]
	}
}

// anchorBytes is a copy of them in clear.
func (p program) anchorBytes() []byte {
	b := slices.Clone(p.anchor())
	hide(b)
	return b
}

// probe gives two bytes of the part that stand at one distance from its start, if there are such.
func (p program) probe() (q probing, ok bool) {
	at := hidden32(p[programProbe:])
	if at == 0 {
		return q, false
	}
	return probing{distance: uint16(hidden16(p[programDistance:])), fold: p.nocase(), key: uint16(hidden16(p[at:]))}, true
}

// around gives how many bytes a verification may ask for before the start of a match, and from there on.
func (p program) around() (history, ahead int) {
	v := pattern.Variant{Body: pattern.Body{Parts: make([]pattern.Part, 1)}}
	p.edges(&v.Parts[0])
	before, after := v.Parts[0].Reach()
	longest := hidden16(p[programMost:])
	return longest + before, longest + after
}

// edges gives q what p asks at its edges, and no elements.
func (p program) edges(q *pattern.Part) {
	flags, classes := p[programFlags]^hidden, p[programClasses]^hidden
	*q = pattern.Part{Begin: pattern.Boundary{Class: pattern.Class(classes & 15)}, End: pattern.Boundary{Class: pattern.Class(classes >> 4), Not: flags&flagEndNot != 0}}
	if b := p[programBefore:]; flags&flagBefore != 0 {
		q.Before = pattern.Anchor{Set: true, Value: b[0] ^ hidden, Min: b[1] ^ hidden, Max: b[2] ^ hidden}
	}
	if b := p[programBehind:]; flags&flagBehind != 0 {
		q.After = pattern.Anchor{Set: true, Value: b[0] ^ hidden, Min: b[1] ^ hidden, Max: b[2] ^ hidden}
	}
}

// A verifier runs programs. What edges and classes mean is asked of package pattern, through a variant of one part that is kept for it.
type verifier struct {
	edge    pattern.Variant
	parts   [1]pattern.Part
	element [1]pattern.Element
	window  pattern.Window
	nocase  bool
	lengths []int // of the options that were tried, of all alternatives that are under way

	// What the match at hand cost: elements that were looked at, and bytes of them that were compared.
	work, compared int
}

const (
	// workSteps is how many elements of a part count as a step, beyond the step for the verification.
	workSteps = 8
	// compareSteps is how many equal bytes do.
	compareSteps = 128
)

// steps is what the last match cost, beyond the step for the verification.
func (r *verifier) steps() uint64 { return uint64(r.work)/workSteps + uint64(r.compared)/compareSteps }

// maxWork is more elements than a verification can look at: all alternatives of a body have at most MaxBody bytes, and those of one part are run through at
// most MaxWays times.
const maxWork = 2 * pattern.MaxWays * pattern.MaxBody

// match tells whether the part of a program matches from w.Bytes[at] on, and where its match ends: as [pattern.Variant.MatchPart] does.
func (r *verifier) match(p program, w pattern.Window, at int) (end int, ok bool) {
	if at < 0 || at > len(w.Bytes) {
		return 0, false
	}
	r.window, r.nocase, r.lengths, r.work, r.compared = w, p.nocase(), r.lengths[:0], 0, 0
	elements := hidden16(p[programElements:])
	if p[programFlags]^hidden <= flagNocase && p[programClasses] == hidden {
		return r.run(p[programHead:], elements, at, nil)
	}
	if !r.edgeHolds(p, at, true) {
		return 0, false
	}
	return r.run(p[programHead:], elements, at, p)
}

func (r *verifier) edgeHolds(p program, at int, begin bool) bool {
	q := &r.parts[0]
	p.edges(q)
	if begin {
		q.End, q.After = pattern.Boundary{}, pattern.Anchor{}
	} else {
		q.Begin, q.Before = pattern.Boundary{}, pattern.Anchor{}
	}
	r.edge.Parts, r.edge.Nocase = r.parts[:], r.nocase
	_, ok := r.edge.MatchPart(0, r.window, at)
	return ok
}

// run matches the first of the elements in p from there on; edges is the program if it asks anything at its end.
func (r *verifier) run(p []byte, elements, at int, edges program) (end int, ok bool) {
	for ; elements > 0; elements-- {
		if code := p[0] ^ hidden; code != codeAlternatives && code != codeNot {
			n, size := r.simple(p, at)
			if n < 0 {
				return 0, false
			}
			at, p = at+n, p[size:]
			continue
		}
		size, count, tried := int(hidden32(p[1:])), hidden16(p[5:]), len(r.lengths)
		if count > pattern.MaxOptions {
			panic(damage("a part has too many alternatives"))
		}
		negated, option, rest := p[0]^hidden == codeNot, p[optionHead:], p[optionHead+size:]
		if negated {
			n := hidden16(option[3:]) // they are static and of one length
			for range count {
				m, size := r.option(option, at)
				if option = option[size:]; m == n {
					return 0, false
				}
			}
			if at += n; at > len(r.window.Bytes) {
				return 0, false
			}
			p = rest
			continue
		}
		for range count {
			n, size := r.option(option, at)
			if option = option[size:]; n < 0 || slices.Contains(r.lengths[tried:], n) { // one of that length has been tried
				continue
			}
			r.lengths = append(r.lengths, n)
			if end, ok := r.run(rest, elements-1, at+n, edges); ok {
				return end, true
			}
		}
		r.lengths = r.lengths[:tried]
		return 0, false
	}
	if edges != nil && !r.edgeHolds(edges, at, false) {
		return 0, false
	}
	return at, true
}

// option gives the length of an option's match, -1 for none, and of its program.
func (r *verifier) option(p []byte, at int) (n, size int) {
	size = 2
	for range hidden16(p) {
		m, s := r.simple(p[size:], at+max(n, 0))
		if size += s; n >= 0 {
			if n += m; m < 0 {
				n = -1
			}
		}
	}
	return n, size
}

// simple gives the length of the match of an element that is no alternative, -1 for none, and of its program.
func (r *verifier) simple(p []byte, at int) (n, size int) {
	if r.work++; r.work > maxWork {
		panic(damage("a part takes too long"))
	}
	b := r.window.Bytes
	switch p[0] ^ hidden {
	case codeBytes:
		n = hidden16(p[1:])
		size = 3 + n
		if at+n > len(b) {
			return -1, size
		}
		equal := common(b[at:at+n], p[3:size], r.nocase)
		if r.compared += equal; equal < n {
			return -1, size
		}
		return n, size
	case codeAny:
		if n = hidden16(p[1:]); at+n > len(b) {
			return -1, 3
		}
		return n, 3
	case codeHigh:
		if at < len(b) && b[at]>>4 == p[1]^hidden {
			return 1, 2
		}
		return -1, 2
	case codeLow:
		if at < len(b) && b[at]&15 == p[1]^hidden {
			return 1, 2
		}
		return -1, 2
	case codeClass:
		c := p[1] ^ hidden
		r.element[0] = pattern.Element{Op: pattern.OpClass, Class: pattern.Class(c & 127), Not: c&128 != 0}
		r.parts[0] = pattern.Part{Elements: r.element[:]}
		r.edge.Parts, r.edge.Nocase = r.parts[:], r.nocase
		end, ok := r.edge.MatchPart(0, r.window, at)
		if !ok {
			return -1, 2
		}
		return end - at, 2
	}
	panic(damage("an element is unknown"))
}

// common is how many of the first bytes of text are the hidden ones of with, which are as many; in small letters if case does not matter. Of eight bytes that differ it says none.
func common(text, with []byte, nocase bool) (n int) {
	if nocase {
		for i, c := range text {
			if lower(c)^hidden != with[i] {
				return i
			}
		}
		return len(text)
	}
	for ; n+8 <= len(text); n += 8 {
		if binary.LittleEndian.Uint64(text[n:])^hidden*0x0101010101010101 != binary.LittleEndian.Uint64(with[n:]) {
			return n
		}
	}
	for ; n < len(text); n++ {
		if text[n]^hidden != with[n] {
			return n
		}
	}
	return n
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}
