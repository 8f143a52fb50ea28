package pattern

import "encoding/binary"

// Kinds of records.
const (
	recordBody    = 1
	recordLogical = 2
)

// A Record is what a layer stores of a line: exactly one of both is not nil. Names are stored elsewhere.
type Record struct {
	Body    *BodySignature
	Logical *Logical
}

// AppendRecord appends the canonical bytes of r. It gives an error, and dst as it was, for what no parser of this package gives.
func AppendRecord(dst []byte, r Record) ([]byte, error) {
	before := len(dst)
	switch {
	case r.Body != nil && r.Logical == nil:
		if f := r.Body.check(); f != nil {
			return dst, f
		}
		dst = r.Body.append(dst)
	case r.Logical != nil && r.Body == nil:
		if f := r.Logical.check(); f != nil {
			return dst, f
		}
		dst = r.Logical.append(dst)
	default:
		return dst, fault(KindLoose, "want one of Body and Logical").at("record")
	}
	if len(dst)-before > MaxRecord {
		return dst[:before], fault(KindLimit, "more than %d bytes", MaxRecord).at("record")
	}
	return dst, nil
}

// ParseRecord reads the canonical bytes of one record, all of b. What it gives holds no reference to b.
func ParseRecord(b []byte) (Record, error) {
	if len(b) > MaxRecord {
		return Record{}, fault(KindLimit, "more than %d bytes", MaxRecord).at("record")
	}
	c := cursor{b: b}
	var r Record
	var f *Error
	switch c.u8() {
	case recordBody:
		r.Body = &BodySignature{}
		r.Body.read(&c)
	case recordLogical:
		r.Logical = &Logical{}
		r.Logical.read(&c)
	default:
		c.fail("unknown kind")
	}
	if len(c.b) > 0 {
		c.fail("%d bytes behind the end", len(c.b))
	}
	switch {
	case c.fault != nil:
		f = c.fault
	case r.Body != nil:
		f = r.Body.check()
	default:
		f = r.Logical.check()
	}
	if f != nil {
		return Record{}, f.at("record")
	}
	return r, nil
}

// A cursor reads fields. After the first fault it gives zero values only.
type cursor struct {
	b     []byte
	fault *Error
}

func (c *cursor) fail(format string, args ...any) {
	if c.fault == nil {
		c.fault = fault(KindMalformed, format, args...).at("record")
	}
	c.b = nil
}

func (c *cursor) u8() byte {
	if len(c.b) == 0 {
		c.fail("ends too early")
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

// number reads an unsigned varint in its shortest form.
func (c *cursor) number(most uint64) uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 || n > 1 && c.b[n-1] == 0 || v > most {
		c.fail("a number is cut, not in its shortest form, or above %d", most)
		return 0
	}
	c.b = c.b[n:]
	return v
}

// count reads how many values follow, each of which has at least one byte.
func (c *cursor) count(most int) int {
	n := int(c.number(uint64(most)))
	if n > len(c.b) {
		c.fail("%d values in %d bytes", n, len(c.b))
		return 0
	}
	return n
}

// text takes n bytes.
func (c *cursor) text(n int) string {
	if n > len(c.b) {
		c.fail("%d bytes in %d bytes", n, len(c.b))
		return ""
	}
	taken := string(c.b[:n])
	c.b = c.b[n:]
	return taken
}

const flagEngine = 1 << 0

func (s *BodySignature) append(dst []byte) []byte {
	dst = append(dst, recordBody, byte(s.Target), flag(s.Engine.Set, flagEngine))
	dst = s.Engine.append(dst)
	dst = s.Offset.append(dst)
	return s.Body.append(dst)
}

func (s *BodySignature) read(c *cursor) {
	s.Target = Target(c.u8())
	flags := c.flags(flagEngine)
	s.Engine = c.ranged(flags&flagEngine != 0)
	s.Offset = c.offset()
	s.Body = c.body()
}

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

func (c *cursor) flags(known byte) byte {
	flags := c.u8()
	if flags&^known != 0 {
		c.fail("unknown flags %#x", flags&^known)
	}
	return flags
}

func (r Range) append(dst []byte) []byte {
	if !r.Set {
		return dst
	}
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(r.Min)), uint64(r.Max))
}

func (c *cursor) ranged(set bool) Range {
	if !set {
		return Range{}
	}
	return Range{Set: true, Min: uint32(c.number(maxRange)), Max: uint32(c.number(maxRange))}
}

func (o Offset) append(dst []byte) []byte {
	dst = append(dst, byte(o.Place))
	if o.Place == PlaceAny {
		return dst
	}
	if o.Place == PlaceSection || o.Place == PlaceWholeSection {
		dst = binary.AppendUvarint(dst, uint64(o.Section))
	}
	if o.Place != PlaceWholeSection {
		dst = binary.AppendUvarint(dst, uint64(o.N))
	}
	return binary.AppendUvarint(dst, uint64(o.Shift))
}

func (c *cursor) offset() (o Offset) {
	o.Place = Place(c.u8())
	if o.Place == PlaceAny {
		return o
	}
	if o.Place == PlaceSection || o.Place == PlaceWholeSection {
		o.Section = uint16(c.number(MaxSection))
	}
	if o.Place != PlaceWholeSection {
		o.N = uint32(c.number(MaxDistance))
	}
	o.Shift = uint32(c.number(MaxDistance))
	return o
}

// Flags of a part; the classes of its boundaries are at bits 2 and 4.
const (
	flagBefore = 1 << 0
	flagAfter  = 1 << 1
	flagEndNot = 1 << 6
	flagsPart  = 0x7f
)

func (b Body) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b.Parts)))
	for i := range b.Parts {
		p := &b.Parts[i]
		if i > 0 {
			dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(p.Gap.Min)), uint64(p.Gap.Max))
		}
		dst = append(dst, flag(p.Before.Set, flagBefore)|flag(p.After.Set, flagAfter)|byte(p.Begin.Class)<<2|byte(p.End.Class)<<4|flag(p.End.Not, flagEndNot))
		for _, a := range []Anchor{p.Before, p.After} {
			if a.Set {
				dst = append(dst, a.Value, a.Min, a.Max)
			}
		}
		dst = appendElements(dst, p.Elements)
	}
	return dst
}

func (c *cursor) body() (b Body) {
	for i := range c.count(MaxParts) {
		var p Part
		if i > 0 {
			p.Gap = Gap{Min: uint32(c.number(MaxDistance)), Max: uint32(c.number(MaxDistance))}
		}
		flags := c.flags(flagsPart)
		for _, a := range []struct {
			flag byte
			to   *Anchor
		}{{flagBefore, &p.Before}, {flagAfter, &p.After}} {
			if flags&a.flag != 0 {
				*a.to = Anchor{Set: true, Value: c.u8(), Min: c.u8(), Max: c.u8()}
			}
		}
		p.Begin.Class, p.End = Class(flags>>2&3), Boundary{Class(flags >> 4 & 3), flags&flagEndNot != 0}
		p.Elements = c.elements(true)
		if c.fault != nil {
			return Body{}
		}
		b.Parts = append(b.Parts, p)
	}
	return b
}

// Codes of elements: the low four bits of the number before each; what is above them is how many bytes, wildcards or options, or which digit.
const (
	codeBytes = iota + 1
	codeHigh
	codeLow
	codeAny
	codeSkip
	codeAlternatives
	codeNot
	codeBoundary
	codeLine
	codeWord
	codeBits = 4
)

func appendElements(dst []byte, elements []Element) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(elements)))
	for i := range elements {
		e := &elements[i]
		put := func(code, value int) { dst = binary.AppendUvarint(dst, uint64(value)<<codeBits|uint64(code)) }
		switch e.Op {
		case OpBytes:
			put(codeBytes, len(e.Bytes))
			dst = append(dst, e.Bytes...)
		case OpHigh:
			put(codeHigh, int(e.Value))
		case OpLow:
			put(codeLow, int(e.Value))
		case OpAny:
			put(codeAny, e.Count)
		case OpSkip:
			put(codeSkip, e.Count)
		case OpAlternatives:
			put(codeAlternatives+int(flag(e.Not, 1)), len(e.Options))
			for _, o := range e.Options {
				dst = appendElements(dst, o.Elements)
			}
		case OpClass:
			put(codeBoundary+int(e.Class-ClassBoundary), int(flag(e.Not, 1)))
		}
	}
	return dst
}

// elements reads those of a part, or those of an option, which are simple.
func (c *cursor) elements(part bool) []Element {
	var all []Element
	for range c.count(MaxElements) {
		head := c.number(MaxExtent<<codeBits | 1<<codeBits - 1)
		code, value := int(head&(1<<codeBits-1)), int(head>>codeBits)
		var e Element
		switch code {
		case codeBytes:
			e = Element{Op: OpBytes, Bytes: c.text(value)}
		case codeHigh, codeLow:
			e = Element{Op: OpHigh + Op(code-codeHigh), Value: byte(min(value, 255))}
		case codeAny, codeSkip:
			e = Element{Op: OpAny + Op(code-codeAny), Count: value}
		case codeAlternatives, codeNot:
			e = Element{Op: OpAlternatives, Not: code == codeNot}
			if !part || value > MaxOptions || value > len(c.b) {
				c.fail("%d alternatives in an alternative, or too many", value)
				return nil
			}
			for range value {
				e.Options = append(e.Options, Option{c.elements(false)})
			}
		case codeBoundary, codeLine, codeWord:
			e = Element{Op: OpClass, Class: ClassBoundary + Class(code-codeBoundary), Not: value == 1}
			if value > 1 {
				c.fail("unknown flags of a class")
			}
		default:
			c.fail("unknown element %d", code)
		}
		if c.fault != nil {
			return nil
		}
		all = append(all, e)
	}
	return all
}

// Flags of a logical signature beside flagEngine.
const (
	flagFileSize = 1 << (iota + 1)
	flagEntryPoint
	flagSections
	flagContainer
	flagIntermediates
	flagsLogical = 1<<(iota+1) - 1
)

func (l *Logical) append(dst []byte) []byte {
	dst = append(dst, recordLogical, byte(l.Target), flag(l.Engine.Set, flagEngine)|flag(l.FileSize.Set, flagFileSize)|flag(l.EntryPoint.Set, flagEntryPoint)|
		flag(l.Sections.Set, flagSections)|flag(l.Container != TypeNone, flagContainer)|flag(len(l.Intermediates) > 0, flagIntermediates))
	for _, r := range []Range{l.Engine, l.FileSize, l.EntryPoint, l.Sections} {
		dst = r.append(dst)
	}
	if l.Container != TypeNone {
		dst = append(dst, byte(l.Container))
	}
	if n := len(l.Intermediates); n > 0 {
		dst = append(dst, byte(n))
		for _, t := range l.Intermediates {
			dst = append(dst, byte(t))
		}
	}
	dst = l.Expression.append(dst)
	dst = append(dst, byte(len(l.Subsignatures)))
	for i := range l.Subsignatures {
		dst = l.Subsignatures[i].append(dst)
	}
	return dst
}

func (l *Logical) read(c *cursor) {
	l.Target = Target(c.u8())
	flags := c.flags(flagsLogical)
	l.Engine = c.ranged(flags&flagEngine != 0)
	l.FileSize = c.ranged(flags&flagFileSize != 0)
	l.EntryPoint = c.ranged(flags&flagEntryPoint != 0)
	l.Sections = c.ranged(flags&flagSections != 0)
	if flags&flagContainer != 0 {
		if l.Container = FileType(c.u8()); l.Container == TypeNone {
			c.fail("a container of no type")
		}
	}
	if flags&flagIntermediates != 0 {
		n := c.count(MaxIntermediates)
		if n == 0 {
			c.fail("no intermediates")
		}
		for range n {
			l.Intermediates = append(l.Intermediates, FileType(c.u8()))
		}
	}
	terms := 0
	l.Expression = c.expression(0, &terms)
	for range c.count(MaxSubsignatures) {
		s := c.subsignature()
		if c.fault != nil {
			return
		}
		l.Subsignatures = append(l.Subsignatures, s)
	}
}

// Flags of a subsignature.
const (
	flagNocase = 1 << iota
	flagWide
	flagASCII
	flagFullWord
	flagsSub = 1<<iota - 1
)

func (s *Subsignature) append(dst []byte) []byte {
	dst = append(dst, flag(s.Nocase, flagNocase)|flag(s.Wide, flagWide)|flag(s.ASCII, flagASCII)|flag(s.FullWord, flagFullWord))
	dst = s.Offset.append(dst)
	return s.Body.append(dst)
}

func (c *cursor) subsignature() Subsignature {
	flags := c.flags(flagsSub)
	return Subsignature{Nocase: flags&flagNocase != 0, Wide: flags&flagWide != 0, ASCII: flags&flagASCII != 0, FullWord: flags&flagFullWord != 0,
		Offset: c.offset(), Body: c.body()}
}

// A term is a number: its kind in two bits, its comparison in two, and above them the index or the number of children.
func (e *Expression) append(dst []byte) []byte {
	value := e.Index
	if e.Term != TermIndex {
		value = len(e.Children)
	}
	dst = binary.AppendUvarint(dst, uint64(value)<<4|uint64(e.Compare)<<2|uint64(e.Term))
	if e.Compare != CompareNone {
		dst = binary.AppendUvarint(dst, uint64(e.Count))
		if e.Term != TermIndex {
			dst = binary.AppendUvarint(dst, uint64(e.Distinct))
		}
	}
	for i := range e.Children {
		dst = e.Children[i].append(dst)
	}
	return dst
}

func (c *cursor) expression(depth int, terms *int) (e Expression) {
	if *terms++; *terms > MaxTerms || depth > MaxDepth {
		c.fail("more than %d terms, or deeper than %d", MaxTerms, MaxDepth)
		return e
	}
	head := c.number(MaxTerms<<4 | 15)
	e.Term, e.Compare = Term(head&3), Compare(head>>2&3)
	if e.Compare != CompareNone {
		e.Count = uint32(c.number(MaxMatches))
		if e.Term != TermIndex {
			e.Distinct = uint32(c.number(MaxMatches))
		}
	}
	if e.Term == TermIndex {
		e.Index = int(head >> 4)
		return e
	}
	for range head >> 4 {
		child := c.expression(depth+1, terms)
		if c.fault != nil {
			return Expression{}
		}
		e.Children = append(e.Children, child)
	}
	return e
}
