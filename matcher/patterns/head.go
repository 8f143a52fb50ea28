package patterns

import (
	"encoding/binary"

	"example.org/avdb/pattern"
)

// A head is what a set keeps of a logical signature beside its subsignatures: what it asks of an object, and its expression.
type head []byte

// Flags of a head, which stand behind its size in 2 bytes. A range has 8 bytes, and those that there are follow the flags in this order; then, if flagged, the container, then the number of
// intermediates and these, then the expression.
const (
	flagFileSize = 1 << iota
	flagEntryPoint
	flagSections
	flagContainer
)

func appendHead(dst []byte, l *pattern.Logical) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, bit(l.FileSize.Set, flagFileSize)|bit(l.EntryPoint.Set, flagEntryPoint)|bit(l.Sections.Set, flagSections)|
		bit(l.Container != pattern.TypeNone, flagContainer))
	for _, r := range [...]pattern.Range{l.FileSize, l.EntryPoint, l.Sections} {
		if r.Set {
			dst = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(dst, r.Min), r.Max)
		}
	}
	if l.Container != pattern.TypeNone {
		dst = append(dst, byte(l.Container))
	}
	dst = append(dst, byte(len(l.Intermediates)))
	for _, t := range l.Intermediates {
		dst = append(dst, byte(t))
	}
	hide(dst[start:])
	dst = appendTerm(dst, &l.Expression)
	binary.LittleEndian.PutUint16(dst[start:], uint16(len(dst)-start)^hidden<<8^hidden)
	return dst
}

func (h head) bytes() []byte { return h[:hidden16(h)] }

// appendTerm appends an expression, hidden: a byte term | comparison<<2, 2 bytes index or number of children, with a comparison 4 bytes each for what is
// compared with and how many subsignatures must differ; then the children.
func appendTerm(dst []byte, e *pattern.Expression) []byte {
	start, value := len(dst), e.Index
	if e.Term != pattern.TermIndex {
		value = len(e.Children)
	}
	dst = binary.LittleEndian.AppendUint16(append(dst, byte(e.Term)|byte(e.Compare)<<2), uint16(value))
	if e.Compare != pattern.CompareNone {
		dst = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(dst, e.Count), e.Distinct)
	}
	hide(dst[start:])
	for i := range e.Children {
		dst = appendTerm(dst, &e.Children[i])
	}
	return dst
}

// A term is one that was read.
type term struct {
	term     pattern.Term
	compare  pattern.Compare
	value    int // index, or number of children
	count    uint32
	distinct uint32
}

func readTerm(b []byte) (t term, rest []byte) {
	c := b[0] ^ hidden
	t = term{term: pattern.Term(c & 3), compare: pattern.Compare(c >> 2), value: hidden16(b[1:])}
	b = b[3:]
	if t.compare != pattern.CompareNone {
		t.count, t.distinct = hidden32(b), hidden32(b[4:])
		b = b[8:]
	}
	return t, b
}

// fileSize is the only range that is asked before anything is decoded.
func (h head) fileSize() pattern.Range {
	if (h[2]^hidden)&flagFileSize == 0 {
		return pattern.Range{}
	}
	return pattern.Range{Set: true, Min: hidden32(h[3:]), Max: hidden32(h[7:])}
}

// expression is the bytes of the expression, and of whatever follows it.
func (h head) expression() []byte {
	at := 3
	for _, flag := range [...]byte{flagFileSize, flagEntryPoint, flagSections} {
		if (h[2]^hidden)&flag != 0 {
			at += 8
		}
	}
	if (h[2]^hidden)&flagContainer != 0 {
		at++
	}
	return h[at+1+int(h[at]^hidden):]
}

// logical makes l the signature without its subsignatures: what [pattern.Logical.Decide] asks. It uses the memory again that l has.
func (h head) logical(l *pattern.Logical) {
	b := h[3:]
	for _, x := range [...]struct {
		flag byte
		to   *pattern.Range
	}{{flagFileSize, &l.FileSize}, {flagEntryPoint, &l.EntryPoint}, {flagSections, &l.Sections}} {
		if *x.to = (pattern.Range{}); (h[2]^hidden)&x.flag != 0 {
			*x.to, b = pattern.Range{Set: true, Min: hidden32(b), Max: hidden32(b[4:])}, b[8:]
		}
	}
	if l.Container = pattern.TypeNone; (h[2]^hidden)&flagContainer != 0 {
		l.Container, b = pattern.FileType(b[0]^hidden), b[1:]
	}
	l.Intermediates = l.Intermediates[:0]
	for _, t := range b[1 : 1+int(b[0]^hidden)] {
		l.Intermediates = append(l.Intermediates, pattern.FileType(t^hidden))
	}
	readExpression(h.expression(), &l.Expression, 0)
}

func readExpression(b []byte, e *pattern.Expression, depth int) (rest []byte) {
	if depth > pattern.MaxDepth {
		panic(damage("an expression is too deep"))
	}
	t, b := readTerm(b)
	*e = pattern.Expression{Term: t.term, Compare: t.compare, Count: t.count, Distinct: t.distinct, Children: e.Children[:0]}
	if t.term == pattern.TermIndex {
		e.Index = t.value
		return b
	}
	for i := range t.value {
		if i == cap(e.Children) {
			e.Children = append(e.Children, pattern.Expression{})
		}
		e.Children = e.Children[:i+1]
		b = readExpression(b, &e.Children[i], depth+1)
	}
	return b
}
