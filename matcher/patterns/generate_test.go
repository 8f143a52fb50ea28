package patterns

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"example.org/avdb/filetype"
	"example.org/avdb/pattern"
)

// A writer makes up signatures and objects. Its alphabet is small, so that parts meet, overlap and repeat.
type writer struct {
	*rand.Rand
	alphabet string
}

func newWriter(seed uint64) *writer {
	w := &writer{Rand: rand.New(rand.NewPCG(seed, 11))}
	w.alphabet = w.pick("ab", "abcAB \x00", "abcdefghXYZ019 _-.\n\r\x00\x80\xff", "\x90\x00\xcc")
	return w
}

func (w *writer) pick(choices ...string) string { return choices[w.IntN(len(choices))] }

func (w *writer) static(least, most int) string {
	var b strings.Builder
	for range least + w.IntN(most-least+1) {
		fmt.Fprintf(&b, "%02x", w.alphabet[w.IntN(len(w.alphabet))])
	}
	return b.String()
}

func (w *writer) element(modified bool) string {
	switch w.IntN(11) {
	case 0:
		return w.pick("??", "????")
	case 1:
		return fmt.Sprintf("%c?", w.static(1, 1)[0])
	case 2:
		return fmt.Sprintf("?%c", w.static(1, 1)[1])
	case 3:
		return "(" + w.static(1, 1) + "|" + w.static(1, 1) + ")"
	case 4:
		return "(" + w.static(1, 1) + "|" + w.static(2, 4) + ")"
	case 5:
		return "(" + w.static(2, 2) + "??|" + w.static(1, 1) + ")"
	case 6:
		if modified {
			return w.pick("!(B)", "!(W)")
		}
		return w.pick("!("+w.static(1, 1)+")", "!("+w.static(2, 2)+"|"+w.static(2, 2)+")")
	case 7:
		return w.pick("(B)", "(W)", "(L)", "!(B)", "!(W)", "!(L)")
	case 8:
		return fmt.Sprintf("{%d}", 1+w.IntN(5))
	default:
		return w.static(1, 3)
	}
}

func (w *writer) part(modified, bracket, edges bool) string {
	text := ""
	if edges && w.IntN(7) == 0 {
		text += w.pick("(B)", "(L)", "(W)")
	}
	literal := w.IntN(3)
	for i := range 3 {
		if i == literal {
			text += w.static(2, 2+w.IntN(w.IntN(80)+3))
		} else if w.IntN(2) == 0 {
			text += w.element(modified)
		}
	}
	if edges && w.IntN(7) == 0 {
		text += w.pick("(B)", "(L)", "(W)", "!(B)", "!(L)", "!(W)")
	}
	if bracket && w.IntN(7) == 0 {
		text = w.static(1, 1) + fmt.Sprintf("[%d-%d]", w.IntN(3), 3+w.IntN(4)) + text
	}
	if bracket && w.IntN(7) == 0 {
		text += fmt.Sprintf("[%d-%d]", w.IntN(3), 3+w.IntN(4)) + w.static(1, 1)
	}
	return text
}

func (w *writer) body(modified, bracket, edges bool) string {
	text := w.part(modified, bracket, edges)
	for range w.IntN(4) {
		text += w.pick("*", "{-6}", "{4-}", "{2-9}", "{3-3}", "{5-40}", "{130}", "{128-}", "*") + w.part(modified, bracket, edges)
	}
	return text
}

func (w *writer) offset(t pattern.Target) string {
	text := ""
	switch n := w.IntN(14); {
	case n < 6:
		return "*"
	case n < 8:
		text = fmt.Sprint(w.IntN(300))
	case n < 10:
		text = fmt.Sprintf("EOF-%d", w.IntN(300))
	case t != pattern.TargetPE && t != pattern.TargetELF:
		return "*"
	default:
		text = w.pick(fmt.Sprintf("EP+%d", w.IntN(40)), fmt.Sprintf("EP-%d", w.IntN(40)), fmt.Sprintf("S%d+%d", w.IntN(4), w.IntN(40)), fmt.Sprintf("SE%d", w.IntN(4)),
			fmt.Sprintf("SL+%d", w.IntN(40)))
	}
	if w.IntN(2) == 0 {
		text += fmt.Sprintf(",%d", 1+w.IntN(200))
	}
	return text
}

func (w *writer) subsignature(t pattern.Target) string {
	modifiers := w.pick("", "", "", "i", "w", "wa", "wa", "iw", "iwa", "f", "fi", "fwa")
	plain := modifiers == "" || modifiers == "i"
	text := w.body(modifiers != "", plain, !strings.Contains(modifiers, "f"))
	if o := w.offset(t); o != "*" {
		text = o + ":" + text
	}
	if modifiers != "" {
		text += "::" + modifiers
	}
	return text
}

// expression uses each index below n at least once.
func (w *writer) expression(n int) string {
	terms := make([]string, n)
	for i := range terms {
		terms[i] = fmt.Sprint(i)
		if w.IntN(3) == 0 {
			terms[i] += fmt.Sprintf("%c%d", "=><"[w.IntN(3)], w.IntN(6))
		}
	}
	for len(terms) > 1 {
		k := min(len(terms), 2+w.IntN(2))
		group := "(" + strings.Join(terms[:k], w.pick("&", "|")) + ")"
		if w.IntN(2) == 0 {
			if group += fmt.Sprintf("%c%d", "=><"[w.IntN(3)], w.IntN(9)); w.IntN(3) == 0 {
				group += fmt.Sprintf(",%d", 1+w.IntN(3))
			}
		}
		terms = append(terms[k:], group)
	}
	return terms[0]
}

// record makes up a signature for files of a target, or of any.
func (w *writer) record(t pattern.Target) pattern.Record {
	for {
		if w.IntN(4) == 0 {
			t = pattern.TargetAny
		}
		if w.IntN(3) == 0 {
			if _, s, err := pattern.ParseBodyLine(fmt.Sprintf("A:%d:%s:%s", t, w.offset(t), w.body(false, true, true))); err == nil {
				return pattern.Record{Body: &s}
			}
			continue
		}
		n := 1 + w.IntN(4)
		subs := make([]string, n)
		for i := range subs {
			subs[i] = w.subsignature(t)
		}
		attributes := fmt.Sprintf("Engine:51-255,Target:%d", t)
		if w.IntN(8) == 0 {
			attributes += fmt.Sprintf(",FileSize:%d-%d", w.IntN(300), 300+w.IntN(4000))
		}
		if w.IntN(8) == 0 {
			attributes += ",Container:CL_TYPE_" + w.pick("ZIP", "ANY")
		}
		if _, l, err := pattern.ParseLogicalLine(fmt.Sprintf("A;%s;%s;%s", attributes, w.expression(n), strings.Join(subs, ";"))); err == nil {
			return pattern.Record{Logical: &l}
		}
	}
}

// records makes up some signatures; parts of them are the same now and then.
func (w *writer) records(t pattern.Target, n int) []pattern.Record {
	var all []pattern.Record
	for range n {
		r := w.record(t)
		if len(all) > 0 && w.IntN(4) == 0 {
			from := all[w.IntN(len(all))]
			if from.Logical != nil && r.Logical != nil && from.Logical.Target == r.Logical.Target {
				k := min(len(from.Logical.Subsignatures), len(r.Logical.Subsignatures))
				copy(r.Logical.Subsignatures[:k], from.Logical.Subsignatures)
			}
		}
		all = append(all, r)
	}
	return all
}

func encode(t testing.TB, all []pattern.Record) [][]byte {
	t.Helper()
	var records [][]byte
	for _, r := range all {
		b, err := pattern.AppendRecord(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, b)
	}
	return records
}

func subsignaturesOf(r pattern.Record) []pattern.Subsignature {
	if r.Logical != nil {
		return r.Logical.Subsignatures
	}
	return []pattern.Subsignature{{Offset: r.Body.Offset, Body: r.Body.Body}}
}

// elements gives bytes that match, mostly.
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
			b = append(b, w.filler(e.Count)...)
		case pattern.OpAlternatives:
			option := w.elements(e.Options[w.IntN(len(e.Options))].Elements, nocase)
			if e.Not {
				option = w.filler(len(option))
			}
			b = append(b, option...)
		case pattern.OpClass:
			b = append(b, w.class(e.Class, e.Not)...)
		}
	}
	return b
}

func (w *writer) class(c pattern.Class, not bool) string {
	switch {
	case not:
		return w.pick("a", "x", "0", "Z")
	case c == pattern.ClassLine:
		return w.pick("\n", "\r\n")
	}
	return w.pick(" ", ".", "-", "\x00")
}

// chain gives bytes that the parts of a variant match, mostly.
func (w *writer) chain(v pattern.Variant) []byte {
	var b []byte
	for i, p := range v.Parts {
		if i > 0 {
			most := int(p.Gap.Max)
			if most == 0 {
				most = int(p.Gap.Min) + 20
			}
			b = append(b, w.filler(int(p.Gap.Min)+w.IntN(most-int(p.Gap.Min)+1))...)
		}
		if p.Before.Set {
			b = append(append(b, p.Before.Value), w.filler(int(p.Before.Min))...)
		}
		if p.Begin.Class != pattern.ClassNone && w.IntN(3) > 0 {
			c := w.class(p.Begin.Class, false)
			b = append(b, c[len(c)-1])
		}
		b = append(b, w.elements(p.Elements, v.Nocase)...)
		if p.End.Class != pattern.ClassNone && w.IntN(3) > 0 {
			b = append(b, w.class(p.End.Class, p.End.Not)...)
		}
		if p.After.Set {
			b = append(append(b, w.filler(int(p.After.Min))...), p.After.Value)
		}
	}
	return b
}

func (w *writer) filler(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		if b[i] = byte(w.IntN(256)); w.IntN(2) == 0 {
			b[i] = w.alphabet[w.IntN(len(w.alphabet))]
		}
	}
	return b
}

// object makes a file of about n bytes of matches, near misses, overlaps and other bytes.
func (w *writer) object(all []pattern.Record, n int) []byte {
	b := w.filler(w.IntN(10))
	for len(b) < n {
		subs := subsignaturesOf(all[w.IntN(len(all))])
		s := &subs[w.IntN(len(subs))]
		variants := s.Variants()
		found := w.chain(variants[w.IntN(len(variants))])
		switch w.IntN(8) {
		case 0: // a near miss
			found[w.IntN(len(found))] ^= 1 << w.IntN(8)
		case 1: // cut off
			found = found[:w.IntN(len(found))]
		case 2: // over the end of what is there
			b = b[:len(b)-w.IntN(min(len(b), 6)+1)]
		case 3: // several times
			found = append(found, found...)
		}
		b = append(b, found...)
		b = append(b, w.filler(w.IntN(1+w.IntN(60)))...)
	}
	if w.IntN(3) == 0 {
		b = b[:w.IntN(len(b))+1]
	}
	// At fixed places as well.
	for _, r := range all {
		for _, s := range subsignaturesOf(r) {
			first, last, ok := s.Offset.Bounds(int64(len(b)), &pattern.Facts{})
			if !ok || s.Offset.Place == pattern.PlaceAny || w.IntN(2) > 0 {
				continue
			}
			v := s.Variants()[0]
			copy(b[first+w.Int64N(last-first+1):], w.chain(v))
		}
	}
	return b
}

// facts makes up what is known about an object of n bytes and a target.
func (w *writer) facts(t pattern.Target, n int) Object {
	o := Object{Size: int64(n)}
	if w.IntN(3) == 0 {
		zip, _ := pattern.FileTypeOf("CL_TYPE_ZIP")
		o.Containers = []pattern.FileType{zip}
	}
	switch t {
	case pattern.TargetPE:
		o.Kind = filetype.PE
	case pattern.TargetELF:
		o.Kind = filetype.ELF
	case pattern.TargetOLE2:
		o.Kind = filetype.OLE2
	}
	if o.Kind.Executable() && w.IntN(8) > 0 {
		o.Layout = &filetype.Layout{Kind: o.Kind, Entry: uint32(w.IntN(n + 10))}
		for range w.IntN(5) {
			o.Layout.Sections = append(o.Layout.Sections, filetype.Section{Offset: uint32(w.IntN(n + 10)), Size: uint32(w.IntN(n + 10))})
		}
	}
	return o
}

func randomBytes(w *writer, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.IntN(256))
	}
	return b
}
