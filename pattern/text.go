package pattern

import (
	"fmt"
	"strconv"
	"strings"
)

// String gives the canonical line without its name: TARGET:OFFSET:HEX[:minFL[:maxFL]]. With a name and a colon before it,
// [ParseBodyLine] gives the same value again.
func (s *BodySignature) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:%s:%s", s.Target, s.Offset, s.Body)
	if s.Engine.Set {
		fmt.Fprintf(&b, ":%d", s.Engine.Min)
		if s.Engine.Max != maxRange {
			fmt.Fprintf(&b, ":%d", s.Engine.Max)
		}
	}
	return b.String()
}

// String gives the canonical line without its name: ATTRIBUTES;EXPRESSION;SUBSIGNATURE… With a name and a semicolon before it,
// [ParseLogicalLine] gives the same value again.
func (l *Logical) String() string {
	var b strings.Builder
	separator := ""
	attribute := func(name, value string) {
		b.WriteString(separator + name + ":" + value)
		separator = ","
	}
	ranged := func(name string, r Range) {
		if r.Set {
			attribute(name, fmt.Sprintf("%d-%d", r.Min, r.Max))
		}
	}
	ranged("Engine", l.Engine)
	attribute("Target", strconv.Itoa(int(l.Target)))
	ranged("FileSize", l.FileSize)
	ranged("EntryPoint", l.EntryPoint)
	ranged("NumberOfSections", l.Sections)
	if l.Container != TypeNone {
		attribute("Container", l.Container.String())
	}
	if len(l.Intermediates) > 0 {
		names := make([]string, len(l.Intermediates))
		for i, t := range l.Intermediates {
			names[i] = t.String()
		}
		attribute("Intermediates", strings.Join(names, ">"))
	}
	b.WriteByte(';')
	b.WriteString(l.Expression.String())
	for i := range l.Subsignatures {
		b.WriteByte(';')
		b.WriteString(l.Subsignatures[i].String())
	}
	return b.String()
}

// String gives the offset field of a line.
func (o Offset) String() string {
	var text string
	switch o.Place {
	case PlaceAny:
		return "*"
	case PlaceStart:
		text = fmt.Sprint(o.N)
	case PlaceEnd:
		text = fmt.Sprintf("EOF-%d", o.N)
	case PlaceAfterEntry:
		text = fmt.Sprintf("EP+%d", o.N)
	case PlaceBeforeEntry:
		text = fmt.Sprintf("EP-%d", o.N)
	case PlaceSection:
		text = fmt.Sprintf("S%d+%d", o.Section, o.N)
	case PlaceLastSection:
		text = fmt.Sprintf("SL+%d", o.N)
	case PlaceWholeSection:
		text = fmt.Sprintf("SE%d", o.Section)
	}
	if o.Shift != 0 {
		text += fmt.Sprintf(",%d", o.Shift)
	}
	return text
}

// String gives the text that a subsignature has in a line.
func (s *Subsignature) String() string {
	text := s.Body.String()
	if s.Offset.Place != PlaceAny {
		text = s.Offset.String() + ":" + text
	}
	modifiers := ""
	for _, m := range []struct {
		set  bool
		name string
	}{{s.Nocase, "i"}, {s.Wide, "w"}, {s.ASCII, "a"}, {s.FullWord, "f"}} {
		if m.set {
			modifiers += m.name
		}
	}
	if modifiers != "" {
		text += "::" + modifiers
	}
	return text
}

// String gives the hex field of a line.
func (b Body) String() string {
	var w strings.Builder
	for i := range b.Parts {
		p := &b.Parts[i]
		if i > 0 {
			w.WriteString(p.Gap.String())
		}
		if p.Before.Set {
			fmt.Fprintf(&w, "%02x[%d-%d]", p.Before.Value, p.Before.Min, p.Before.Max)
		}
		w.WriteString(p.Begin.String())
		writeElements(&w, p.Elements)
		w.WriteString(p.End.String())
		if p.After.Set {
			fmt.Fprintf(&w, "[%d-%d]%02x", p.After.Min, p.After.Max, p.After.Value)
		}
	}
	return w.String()
}

// String gives the gap as it stands in a body. {n-n} and not {n}, for that may be a row of ??.
func (g Gap) String() string {
	switch {
	case g == Gap{}:
		return "*"
	case g.Max == 0:
		return fmt.Sprintf("{%d-}", g.Min)
	case g.Min == 0:
		return fmt.Sprintf("{-%d}", g.Max)
	}
	return fmt.Sprintf("{%d-%d}", g.Min, g.Max)
}

// String gives the boundary as it stands in a body, "" for none.
func (b Boundary) String() string {
	text := ""
	if b.Not {
		text = "!"
	}
	switch b.Class {
	case ClassBoundary:
		return text + "(B)"
	case ClassLine:
		return text + "(L)"
	case ClassWord, ClassWideWord:
		return text + "(W)"
	}
	return ""
}

func writeElements(w *strings.Builder, elements []Element) {
	for i := range elements {
		switch e := &elements[i]; e.Op {
		case OpBytes:
			fmt.Fprintf(w, "%x", e.Bytes)
		case OpHigh:
			fmt.Fprintf(w, "%x?", e.Value)
		case OpLow:
			fmt.Fprintf(w, "?%x", e.Value)
		case OpAny:
			for range e.Count {
				w.WriteString("??")
			}
		case OpSkip:
			for n := e.Count; n > 0; n -= 127 {
				fmt.Fprintf(w, "{%d}", min(n, 127))
			}
		case OpAlternatives:
			if e.Not {
				w.WriteByte('!')
			}
			for i, o := range e.Options {
				w.WriteByte("(|"[min(i, 1)])
				writeElements(w, o.Elements)
			}
			w.WriteByte(')')
		case OpClass:
			w.WriteString(Boundary{e.Class, e.Not}.String())
		}
	}
}

// String gives the expression of a line, with parentheses around each group but the outermost, which has some only if it has a comparison.
func (e *Expression) String() string {
	var w strings.Builder
	e.write(&w, true)
	return w.String()
}

func (e *Expression) write(w *strings.Builder, outermost bool) {
	if e.Term == TermIndex {
		fmt.Fprint(w, e.Index)
	} else {
		parentheses := !outermost || e.Compare != CompareNone
		if parentheses {
			w.WriteByte('(')
		}
		for i := range e.Children {
			if i > 0 {
				w.WriteByte(" &|"[min(e.Term, TermOr)])
			}
			e.Children[i].write(w, false)
		}
		if parentheses {
			w.WriteByte(')')
		}
	}
	if e.Compare != CompareNone {
		fmt.Fprintf(w, "%c%d", " =><"[min(e.Compare, CompareLess)], e.Count)
		if e.Distinct != 0 {
			fmt.Fprintf(w, ",%d", e.Distinct)
		}
	}
}
