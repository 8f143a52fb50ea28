package pattern

// A Variant is one form in which a subsignature is matched, with nothing left to interpret: wide bodies are spelled out with their NULs,
// full words have their boundaries, and no element is an OpSkip. A matcher indexes and verifies variants.
type Variant struct {
	Body
	Nocase bool // static bytes, single bytes and options are lower case and match both
}

// Variants gives the forms of s, one or, for wide with ascii, two: the wide one first. Elements are shared with s where they are the same.
func (s *Subsignature) Variants() []Variant {
	plain := Variant{Body: s.Body, Nocase: s.Nocase}
	if s.FullWord {
		plain.Parts = append([]Part(nil), s.Body.Parts...)
		plain.Parts[0].Begin = Boundary{Class: ClassWord}
		plain.Parts[len(plain.Parts)-1].End = Boundary{Class: ClassWord}
	}
	if !s.Wide {
		return []Variant{plain}
	}
	wide := Variant{Body: Body{Parts: make([]Part, len(plain.Parts))}, Nocase: s.Nocase}
	for i, p := range plain.Parts {
		p.Elements = widen(p.Elements)
		p.Begin, p.End = widenBoundary(p.Begin), widenBoundary(p.End)
		wide.Parts[i] = p
	}
	if !s.ASCII {
		return []Variant{wide}
	}
	narrow := Variant{Body: Body{Parts: append([]Part(nil), plain.Parts...)}, Nocase: s.Nocase}
	for i := range narrow.Parts {
		narrow.Parts[i].Elements = skipped(narrow.Parts[i].Elements)
	}
	return []Variant{wide, narrow}
}

func widenBoundary(b Boundary) Boundary {
	if b.Class == ClassWord {
		b.Class = ClassWideWord
	}
	return b
}

// widen puts a NUL behind each character.
func widen(elements []Element) []Element {
	var b builder
	for _, e := range elements {
		switch e.Op {
		case OpBytes:
			wide := make([]byte, 2*len(e.Bytes))
			for i := range len(e.Bytes) {
				wide[2*i] = e.Bytes[i]
			}
			b.add(Element{Op: OpBytes, Bytes: string(wide)})
		case OpHigh, OpLow:
			b.add(e)
			b.add(Element{Op: OpBytes, Bytes: "\x00"})
		case OpAny:
			for range e.Count {
				b.add(Element{Op: OpAny, Count: 1})
				b.add(Element{Op: OpBytes, Bytes: "\x00"})
			}
		case OpSkip:
			b.add(Element{Op: OpAny, Count: e.Count})
		case OpAlternatives:
			b.add(mapOptions(e, widen))
		case OpClass:
			b.add(e)
		}
	}
	return b.elements()
}

// skipped turns {n} into ??.
func skipped(elements []Element) []Element {
	var b builder
	for _, e := range elements {
		switch e.Op {
		case OpSkip:
			e.Op = OpAny
		case OpAlternatives:
			e = mapOptions(e, skipped)
		}
		b.add(e)
	}
	return b.elements()
}

func mapOptions(e Element, f func([]Element) []Element) Element {
	options := make([]Option, len(e.Options))
	for i, o := range e.Options {
		options[i] = Option{f(o.Elements)}
	}
	e.Options = options
	return e
}

// A builder joins elements of one kind that stand side by side: that is the only spelling of them.
type builder struct {
	done  []Element
	bytes []byte // static bytes that are not in done yet
}

func (b *builder) flush() {
	if len(b.bytes) > 0 {
		b.done = append(b.done, Element{Op: OpBytes, Bytes: string(b.bytes)})
		b.bytes = b.bytes[:0]
	}
}

func (b *builder) add(e Element) {
	if e.Op == OpBytes {
		b.bytes = append(b.bytes, e.Bytes...)
		return
	}
	b.flush()
	if n := len(b.done); n > 0 && (e.Op == OpAny || e.Op == OpSkip) && b.done[n-1].Op == e.Op {
		b.done[n-1].Count += e.Count
		return
	}
	b.done = append(b.done, e)
}

func (b *builder) elements() []Element {
	b.flush()
	return b.done
}

// span gives how many bytes elements match, at least and at most.
func span(elements []Element) (least, most int) {
	for i := range elements {
		l, m := elements[i].span()
		least, most = least+l, most+m
	}
	return least, most
}

func (e *Element) span() (least, most int) {
	switch e.Op {
	case OpBytes:
		return len(e.Bytes), len(e.Bytes)
	case OpHigh, OpLow:
		return 1, 1
	case OpAny, OpSkip:
		return e.Count, e.Count
	case OpClass:
		if e.Class == ClassLine && !e.Not {
			return 1, 2
		}
		return 1, 1
	}
	for i, o := range e.Options {
		l, m := span(o.Elements)
		if i == 0 || l < least {
			least = l
		}
		most = max(most, m)
	}
	return least, most
}

// Length gives how many bytes a match of the part spans, at least and at most. What its boundaries and single bytes look at is not counted.
func (p *Part) Length() (least, most int) { return span(p.Elements) }

// Reach gives how many bytes before the start and behind the end of a match the part looks at.
func (p *Part) Reach() (before, after int) {
	switch p.Begin.Class {
	case ClassBoundary, ClassLine, ClassWord:
		before = 1
	case ClassWideWord:
		before = 2
	}
	switch p.End.Class {
	case ClassBoundary, ClassWord:
		after = 1
	case ClassLine, ClassWideWord:
		after = 2
	}
	if p.Before.Set {
		before = max(before, int(p.Before.Max)+1)
	}
	if p.After.Set {
		after = max(after, int(p.After.Max)+1)
	}
	return before, after
}

// A Literal is a run of static bytes of a part: each match of the part has it, at Least to Most bytes behind its start.
type Literal struct {
	Bytes       string // lower case in a nocase variant, where both cases match
	Least, Most int
}

// Literals lists the maximal runs of static bytes of the part, in their order. Those of alternatives are not among them. There is one of at
// least two bytes.
func (p *Part) Literals() []Literal {
	var all []Literal
	least, most := 0, 0
	for i := range p.Elements {
		e := &p.Elements[i]
		if e.Op == OpBytes {
			all = append(all, Literal{e.Bytes, least, most})
		}
		l, m := e.span()
		least, most = least+l, most+m
	}
	return all
}
