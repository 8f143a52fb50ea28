package pattern

// What both parsers hold values against, so that a line and a record of the same meaning are both taken or both refused.

func (s *BodySignature) check() *Error {
	if s.Target > TargetOther {
		return fault(KindTarget, "target %d", s.Target).at("target")
	}
	if f := s.Engine.check(); f != nil {
		return f.at("engine")
	}
	sub := s.subsignature()
	if f := sub.check(s.Target); f != nil {
		return f.at("body")
	}
	// ClamAV searches for whole static bodies of these targets by another algorithm, which wants three bytes.
	if p := &s.Body.Parts[0]; len(s.Body.Parts) == 1 && p.onlyBytes() && len(p.Elements[0].Bytes) < 3 {
		if s.Target == TargetAny {
			return fault(KindMalformed, "two bytes alone are too short for target 0").at("body")
		}
		if s.Target == TargetPE && s.Offset.Place != PlaceAny && s.Offset.Shift == 0 {
			return fault(KindLoose, "two bytes alone are too short for target 1 at a fixed offset").at("body")
		}
	}
	return nil
}

func (p *Part) onlyBytes() bool {
	return len(p.Elements) == 1 && p.Elements[0].Op == OpBytes && !p.Before.Set && !p.After.Set && p.Begin.Class == ClassNone && p.End.Class == ClassNone
}

func (r Range) check() *Error {
	if r.Min > r.Max || !r.Set && r != (Range{}) {
		return fault(KindLoose, "range %d-%d holds nothing", r.Min, r.Max)
	}
	return nil
}

// checkEngine is for lines only: what is in a record may be for engines of another level than that of the reader.
func checkEngine(r Range) *Error {
	if r.Set && !r.Holds(Level) {
		return fault(KindEngine, "levels %d to %d, this engine has %d", r.Min, r.Max, Level).at("engine")
	}
	return nil
}

func (l *Logical) check() *Error {
	if l.Target > TargetOther {
		return fault(KindTarget, "target %d", l.Target).at("target")
	}
	if f := l.Engine.check(); f != nil {
		return f.at("attributes")
	}
	if l.extended() && (!l.Engine.Set || l.Engine.Min < 51) {
		return fault(KindMalformed, "attributes other than Target need Engine with a minimum of at least 51").at("attributes")
	}
	if (l.EntryPoint.Set || l.Sections.Set) && !l.Target.executable() {
		return fault(KindMalformed, "EntryPoint and NumberOfSections are for targets 1, 6 and 9").at("attributes")
	}
	for _, r := range []Range{l.FileSize, l.EntryPoint, l.Sections} {
		if f := r.check(); f != nil {
			return f.at("attributes")
		}
	}
	if l.Container > maxFileType {
		return fault(KindAttribute, "file type %d", l.Container).at("attributes")
	}
	if len(l.Intermediates) > MaxIntermediates {
		return fault(KindLimit, "more than %d intermediates", MaxIntermediates).at("attributes")
	}
	for _, t := range l.Intermediates {
		if t == TypeNone || t > maxFileType {
			return fault(KindAttribute, "file type %d", t).at("attributes")
		}
	}
	terms, top := 0, -1
	if f := l.Expression.check(0, &terms, &top); f != nil {
		return f.at("expression")
	}
	if top+1 > MaxSubsignatures {
		return fault(KindMalformed, "more than %d subsignatures", MaxSubsignatures).at("expression")
	}
	if top+1 != len(l.Subsignatures) {
		return fault(KindMalformed, "%d subsignatures, the greatest index is %d", len(l.Subsignatures), top).at("expression")
	}
	volume := 0
	for i := range l.Subsignatures {
		if f := l.Subsignatures[i].check(l.Target); f != nil {
			return f.at(subName(i))
		}
		if volume += l.Subsignatures[i].Body.volume(); volume > MaxBody {
			return fault(KindLimit, "all bodies together have more than %d bytes", MaxBody).at(subName(i))
		}
	}
	return nil
}

// extended tells whether there are attributes that came with functionality level 51.
func (l *Logical) extended() bool {
	return l.FileSize.Set || l.EntryPoint.Set || l.Sections.Set || l.Container != TypeNone || len(l.Intermediates) > 0
}

// check counts the terms and finds the greatest index.
func (e *Expression) check(depth int, terms, top *int) *Error {
	*terms++
	switch {
	case *terms > MaxTerms:
		return fault(KindLimit, "more than %d terms", MaxTerms)
	case depth > MaxDepth:
		return fault(KindLimit, "groups are more than %d deep", MaxDepth)
	case e.Compare > CompareLess || e.Count > MaxMatches || e.Distinct > MaxMatches:
		return fault(KindLimit, "a comparison with more than %d", MaxMatches)
	case e.Compare == CompareNone && (e.Count != 0 || e.Distinct != 0):
		return fault(KindLoose, "a number that nothing is compared with")
	}
	switch e.Term {
	case TermIndex:
		if e.Distinct != 0 || len(e.Children) != 0 || e.Index < 0 || e.Index >= MaxSubsignatures {
			return fault(KindMalformed, "index %d", e.Index)
		}
		*top = max(*top, e.Index)
		return nil
	case TermAnd, TermOr:
	default:
		return fault(KindLoose, "unknown term %d", e.Term)
	}
	if len(e.Children) < 2 || e.Index != 0 {
		return fault(KindLoose, "a group of %d", len(e.Children))
	}
	for i := range e.Children {
		c := &e.Children[i]
		if c.Term == e.Term && c.Compare == CompareNone {
			return fault(KindLoose, "a group in a group of the same operator")
		}
		if f := c.check(depth+1, terms, top); f != nil {
			return f
		}
	}
	return nil
}

func (o Offset) check(t Target) *Error {
	if o.N > MaxDistance || o.Shift > MaxDistance {
		return fault(KindLimit, "more than %d", MaxDistance).at("offset")
	}
	if o.Place > PlaceWholeSection {
		return fault(KindLoose, "unknown place %d", o.Place).at("offset")
	}
	if o.Place >= PlaceAfterEntry && !t.executable() {
		return fault(KindMalformed, "entry points and sections are for targets 1, 6 and 9").at("offset")
	}
	spare := o.Section != 0 && o.Place != PlaceSection && o.Place != PlaceWholeSection ||
		o.N != 0 && (o.Place == PlaceAny || o.Place == PlaceWholeSection) ||
		o.Shift != 0 && o.Place == PlaceAny || o.N == 0 && o.Place == PlaceBeforeEntry
	if spare {
		return fault(KindLoose, "fields that the place has not").at("offset")
	}
	return nil
}

func (s *Subsignature) check(t Target) *Error {
	if f := s.Offset.check(t); f != nil {
		return f
	}
	if s.ASCII && !s.Wide {
		return fault(KindLoose, "ascii without wide says nothing")
	}
	if len(s.Body.Parts) == 0 {
		return fault(KindMalformed, "no body")
	}
	if len(s.Body.Parts) > MaxParts {
		return fault(KindLimit, "more than %d parts", MaxParts)
	}
	bounded := false // whether a {n-m} has been: behind it, {n} is a gap
	for i := range s.Body.Parts {
		p := &s.Body.Parts[i]
		if f := p.Gap.check(i == 0); f != nil {
			return f
		}
		bounded = bounded || p.Gap != Gap{}
		if f := s.checkPart(p, bounded); f != nil {
			return f
		}
	}
	if s.FullWord && (s.Body.Parts[0].Begin.Class != ClassNone || s.Body.Parts[len(s.Body.Parts)-1].End.Class != ClassNone) {
		return fault(KindLoose, "a boundary at an end of a full word")
	}
	// What the elements of a wide body span, and how many they are, is known once it is written out: bound that first.
	if n := s.Body.volume(); n > MaxBody {
		return fault(KindLimit, "a body of %d bytes with all of its alternatives, at most %d are possible", n, MaxBody)
	}
	for _, v := range s.Variants() {
		for i := range v.Parts {
			if f := v.Parts[i].check(t, s.Nocase || s.Wide || s.FullWord); f != nil {
				return f
			}
		}
	}
	return nil
}

// volume is how many bytes a body has when all of its alternatives are written one behind the other.
func (b *Body) volume() int {
	n := 0
	for i := range b.Parts {
		for j := range b.Parts[i].Elements {
			e := &b.Parts[i].Elements[j]
			_, most := e.span()
			if e.Op == OpAlternatives {
				most = 0
				for _, o := range e.Options {
					_, m := span(o.Elements)
					most += m
				}
			}
			n += most
		}
	}
	return n
}

func (g Gap) check(first bool) *Error {
	switch {
	case first && g != Gap{}:
		return fault(KindLoose, "a gap before the first part")
	case g.Min > MaxDistance || g.Max > MaxDistance:
		return fault(KindLimit, "a gap of more than %d", MaxDistance)
	case g.Max != 0 && g.Min > g.Max:
		return fault(KindLoose, "gap {%d-%d} holds nothing", g.Min, g.Max)
	}
	return nil
}

// checkPart holds what is written against the one spelling of it.
func (s *Subsignature) checkPart(p *Part, bounded bool) *Error {
	modified := s.Nocase || s.Wide || s.FullWord
	if len(p.Elements) == 0 {
		return fault(KindMalformed, "a part is empty")
	}
	if len(p.Elements) > MaxElements {
		return fault(KindLimit, "a part has more than %d elements", MaxElements)
	}
	for _, a := range []Anchor{p.Before, p.After} {
		switch {
		case !a.Set && a != Anchor{}:
			return fault(KindLoose, "a distance to no byte")
		case !a.Set:
		case s.Wide || s.FullWord:
			return fault(KindLoose, "[n-m] in a wide or full-word subsignature")
		case a.Min > a.Max || a.Max > MaxAnchor:
			return fault(KindMalformed, "distance [%d-%d]", a.Min, a.Max)
		case s.Nocase && a.Value != lower(a.Value):
			return fault(KindLoose, "an upper-case letter where case does not matter")
		}
	}
	if p.Begin.Class > ClassWord || p.End.Class > ClassWord || p.Begin.Not || p.End.Not && p.End.Class == ClassNone {
		return fault(KindLoose, "unknown boundary")
	}
	first, last := &p.Elements[0], &p.Elements[len(p.Elements)-1]
	if first.Op == OpClass && !first.Not && p.Begin.Class == ClassNone || last.Op == OpClass && p.End.Class == ClassNone {
		return fault(KindLoose, "a class at an edge is its boundary")
	}
	return checkElements(p.Elements, s, modified, bounded, false)
}

func checkElements(elements []Element, s *Subsignature, modified, bounded, option bool) *Error {
	for i := range elements {
		e := &elements[i]
		spare := e.Bytes != "" && e.Op != OpBytes || e.Count != 0 && e.Op != OpAny && e.Op != OpSkip || e.Value != 0 && e.Op != OpHigh && e.Op != OpLow ||
			len(e.Options) != 0 && e.Op != OpAlternatives || e.Class != ClassNone && e.Op != OpClass || e.Not && e.Op != OpAlternatives && e.Op != OpClass
		if spare {
			return fault(KindLoose, "fields that the element has not")
		}
		if i > 0 && elements[i-1].Op == e.Op && (e.Op == OpBytes || e.Op == OpAny || e.Op == OpSkip) {
			return fault(KindLoose, "two elements that are one")
		}
		switch e.Op {
		case OpBytes:
			if e.Bytes == "" {
				return fault(KindLoose, "no bytes")
			}
			if len(e.Bytes) > MaxExtent {
				return fault(KindLimit, "a part spans more than %d bytes", MaxExtent)
			}
			for i := 0; s.Nocase && i < len(e.Bytes); i++ {
				if e.Bytes[i] != lower(e.Bytes[i]) {
					return fault(KindLoose, "an upper-case letter where case does not matter")
				}
			}
		case OpHigh, OpLow:
			if e.Value > 15 {
				return fault(KindLoose, "digit %d", e.Value)
			}
		case OpAny, OpSkip:
			if e.Count < 1 {
				return fault(KindLoose, "no wildcard")
			}
			if e.Count > MaxExtent {
				return fault(KindLimit, "a part spans more than %d bytes", MaxExtent)
			}
			if e.Op == OpSkip && (!s.Wide || bounded) {
				return fault(KindLoose, "{n} is a row of ??, or a gap")
			}
		case OpAlternatives:
			if option {
				return fault(KindNested, "alternatives in an alternative")
			}
			if f := e.checkOptions(s, modified, bounded); f != nil {
				return f
			}
		case OpClass:
			if option || e.Class < ClassBoundary || e.Class > ClassWord {
				return fault(KindLoose, "unknown class %d", e.Class)
			}
		default:
			return fault(KindLoose, "unknown element %d", e.Op)
		}
	}
	return nil
}

func (e *Element) checkOptions(s *Subsignature, modified, bounded bool) *Error {
	if len(e.Options) == 0 {
		return fault(KindMalformed, "no alternative")
	}
	if len(e.Options) > MaxOptions {
		return fault(KindLimit, "more than %d alternatives", MaxOptions)
	}
	for _, o := range e.Options {
		if len(o.Elements) == 0 {
			return fault(KindLoose, "an empty alternative")
		}
		if f := checkElements(o.Elements, s, modified, bounded, true); f != nil {
			return f
		}
		if _, most := span(o.Elements); most > MaxOptionLength {
			return fault(KindLimit, "an alternative of more than %d bytes", MaxOptionLength)
		}
	}
	if e.Not && (modified || !e.fixed()) {
		return fault(KindMalformed, "negated alternatives must be static, of one length and without modifiers")
	}
	return nil
}

// fixed tells whether all options are static bytes of one length.
func (e *Element) fixed() bool {
	for _, o := range e.Options {
		if len(o.Elements) != 1 || o.Elements[0].Op != OpBytes || len(o.Elements[0].Bytes) != len(e.Options[0].Elements[0].Bytes) {
			return false
		}
	}
	return true
}

// check holds a part of a variant against what ClamAV can load and what can be verified in a bounded time.
func (p *Part) check(t Target, modified bool) *Error {
	if _, most := p.Length(); most > MaxExtent {
		return fault(KindLimit, "a part spans more than %d bytes", MaxExtent)
	}
	run, ways := 0, 1
	for i := range p.Elements {
		e := &p.Elements[i]
		switch e.Op {
		case OpBytes:
			run = max(run, len(e.Bytes))
		case OpAlternatives:
			ways *= e.lengths()
		}
		if ways > MaxWays {
			return fault(KindLimit, "a part can be matched in more than %d ways", MaxWays)
		}
	}
	if run < 2 {
		return fault(KindMalformed, "a part without two static bytes side by side")
	}
	switch t {
	case TargetAny, TargetPE, TargetMail, TargetASCII:
		if !p.prefiltered(modified) {
			return fault(KindMalformed, "for target %d, ClamAV wants two bytes or digits before strings of alternatives and classes", t)
		}
	}
	return nil
}

// lengths counts the different lengths of the options.
func (e *Element) lengths() int {
	n := 0
	for i := range e.Options {
		l, _ := span(e.Options[i].Elements)
		fresh := true
		for j := range e.Options[:i] {
			if m, _ := span(e.Options[j].Elements); m == l {
				fresh = false
				break
			}
		}
		if fresh {
			n++
		}
	}
	return n
}

// prefiltered tells whether ClamAV's prefilter can hold the part: behind the alternatives of strings and the classes that it begins with, and before
// the next of them, there must be two bytes side by side that are not both ??. Without that clamscan refuses the database.
func (p *Part) prefiltered(modified bool) bool {
	const window = 255
	seen, skipped := 0, 0
	wild := true // the byte before is ??, or there is none
	for i := range p.Elements {
		e := &p.Elements[i]
		n, any := 1, false
		switch e.Op {
		case OpBytes:
			n = len(e.Bytes)
		case OpAny:
			n, any = e.Count, true
		case OpAlternatives, OpClass:
			if least, most := e.span(); e.Op == OpClass || modified || !e.fixed() || least != 1 || most != 1 {
				if seen > 0 {
					return false
				}
				skipped++
				continue
			}
		}
		if seen > 0 && seen+skipped < window && !(wild && any) || n > 1 && !any && seen+skipped+1 < window {
			return true
		}
		if seen += n; seen+skipped >= window {
			return false
		}
		wild = any
	}
	return false
}

// lower folds ASCII letters.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
