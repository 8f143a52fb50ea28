package pattern_test

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"example.org/avdb/pattern"
)

// A writer makes up lines: each construct of the language comes up, in bodies of a few parts.
type writer struct {
	*rand.Rand
	letters bool // static bytes are mostly letters, so that modifiers and boundaries have something to do
}

func newWriter(seed uint64) *writer { return &writer{Rand: rand.New(rand.NewPCG(seed, 7))} }

func (w *writer) byte() byte {
	if w.letters && w.IntN(8) > 0 {
		return "abcdefgABCXYZ019 _-.\n"[w.IntN(21)]
	}
	return byte(w.IntN(256))
}

func (w *writer) static(least, most int) string {
	var b strings.Builder
	for range least + w.IntN(most-least+1) {
		fmt.Fprintf(&b, "%02x", w.byte())
	}
	return b.String()
}

func (w *writer) pick(choices ...string) string { return choices[w.IntN(len(choices))] }

// element gives an element of a part. modified says that negated alternatives are not allowed.
func (w *writer) element(modified bool) string {
	switch w.IntN(12) {
	case 0:
		return "??"
	case 1:
		return fmt.Sprintf("%x?", w.IntN(16))
	case 2:
		return fmt.Sprintf("?%x", w.IntN(16))
	case 3:
		return "(" + w.static(1, 1) + "|" + w.static(1, 1) + "|" + w.static(1, 1) + ")"
	case 4:
		return "(" + w.static(2, 2) + "|" + w.static(2, 2) + ")"
	case 5:
		return "(" + w.static(1, 1) + "|" + w.static(2, 3) + ")"
	case 6:
		return "(" + w.static(2, 2) + "??|" + fmt.Sprintf("%x?", w.IntN(16)) + w.static(1, 1) + ")"
	case 7:
		if !modified {
			return w.pick("!("+w.static(1, 1)+")", "!("+w.static(2, 2)+"|"+w.static(2, 2)+")", "!("+w.static(1, 1)+"|"+w.static(1, 1)+")")
		}
		return w.pick("!(B)", "!(W)")
	case 8:
		return w.pick("(B)", "(W)", "(L)", "!(B)", "!(W)", "!(L)")
	case 9:
		return strings.Repeat("??", 1+w.IntN(5))
	default:
		return w.static(1, 3)
	}
}

func (w *writer) part(modified, bracket, edges bool) string {
	var b strings.Builder
	if edges && w.IntN(6) == 0 {
		b.WriteString(w.pick("(B)", "(L)", "(W)"))
	}
	literal := w.IntN(3)
	for i := range 3 {
		if i == literal {
			b.WriteString(w.static(2, 5))
		} else if w.IntN(2) == 0 {
			b.WriteString(w.element(modified))
		}
	}
	if edges && w.IntN(6) == 0 {
		b.WriteString(w.pick("(B)", "(L)", "(W)", "!(B)", "!(L)", "!(W)"))
	}
	text := b.String()
	if bracket && w.IntN(6) == 0 {
		text = w.static(1, 1) + fmt.Sprintf("[%d-%d]", w.IntN(3), 3+w.IntN(4)) + text
	}
	if bracket && w.IntN(6) == 0 {
		text += fmt.Sprintf("[%d-%d]", w.IntN(3), 3+w.IntN(4)) + w.static(1, 1)
	}
	return text
}

// body gives a hex field. simple ones have neither [n-m] nor boundaries at their edges.
func (w *writer) body(modified, bracket, edges bool) string {
	text := w.part(modified, bracket, edges)
	for range w.IntN(3) {
		gap := w.pick("*", "{-6}", "{4-}", "{2-9}", "{3}", "{5-5}", "{130}", "{128-}", "*")
		text += gap + w.part(modified, bracket, edges)
	}
	return text
}

func (w *writer) offset(t pattern.Target) string {
	text := ""
	switch n := w.IntN(14); {
	case n < 7:
		return "*"
	case n < 9:
		text = fmt.Sprint(w.IntN(40))
	case n < 10:
		text = fmt.Sprintf("EOF-%d", w.IntN(90))
	case t != pattern.TargetPE && t != pattern.TargetELF:
		return "*"
	default:
		text = w.pick(fmt.Sprintf("EP+%d", w.IntN(40)), fmt.Sprintf("EP-%d", w.IntN(40)), fmt.Sprintf("S%d+%d", w.IntN(4), w.IntN(40)), fmt.Sprintf("SE%d", w.IntN(4)),
			fmt.Sprintf("SL+%d", w.IntN(40)))
	}
	if w.IntN(2) == 0 {
		text += fmt.Sprintf(",%d", 1+w.IntN(40))
	}
	return text
}

func (w *writer) bodyLine(name string, t pattern.Target) string {
	return fmt.Sprintf("%s:%d:%s:%s", name, t, w.offset(t), w.body(false, true, true))
}

func (w *writer) subsignature(t pattern.Target) string {
	modifiers := w.pick("", "", "", "i", "w", "wa", "iw", "iwa", "f", "fi", "fw", "fwa", "a")
	plain := modifiers == "" || modifiers == "i"
	text := w.body(modifiers != "", plain, !strings.Contains(modifiers, "f"))
	if o := w.offset(t); o != "*" || w.IntN(5) == 0 {
		text = o + ":" + text
	}
	if modifiers != "" {
		text += "::" + modifiers
	}
	return text
}

// expression uses each index below n at least once, and some twice.
func (w *writer) expression(n int) string {
	terms := make([]string, n)
	for i := range terms {
		terms[i] = fmt.Sprint(i)
		if w.IntN(3) == 0 {
			terms[i] += fmt.Sprintf("%c%d", "=><"[w.IntN(3)], w.IntN(4))
		}
	}
	if w.IntN(3) == 0 {
		terms = append(terms, fmt.Sprint(w.IntN(n)))
	}
	for len(terms) > 1 {
		k := min(len(terms), 2+w.IntN(2))
		group := "(" + terms[0]
		for _, t := range terms[1:k] {
			group += w.pick("&", "|") + t
		}
		group += ")"
		if w.IntN(2) == 0 {
			group += fmt.Sprintf("%c%d", "=><"[w.IntN(3)], w.IntN(5))
			if w.IntN(3) == 0 {
				group += fmt.Sprintf(",%d", 1+w.IntN(2))
			}
		}
		terms = append(terms[k:], group)
	}
	text := terms[0]
	if w.IntN(2) == 0 && strings.HasPrefix(text, "(") && strings.HasSuffix(text, ")") && strings.Count(text, "(") == 1 {
		text = text[1 : len(text)-1]
	}
	return text
}

func (w *writer) logicalLine(name string, t pattern.Target) string {
	n := 1 + w.IntN(4)
	subs := make([]string, n)
	for i := range subs {
		subs[i] = w.subsignature(t)
	}
	attributes := fmt.Sprintf("Engine:51-255,Target:%d", t)
	if w.IntN(6) == 0 {
		attributes += fmt.Sprintf(",FileSize:%d-%d", w.IntN(300), 300+w.IntN(400))
	}
	return fmt.Sprintf("%s;%s;%s;%s", name, attributes, w.expression(n), strings.Join(subs, ";"))
}

// mutate breaks a line, or makes something else of it.
func (w *writer) mutate(line string) string {
	b := []byte(line)
	start := strings.IndexAny(line, ":;") + 1
	at := start + w.IntN(len(b)-start)
	const alphabet = "0123456789abcdef??**(())||!{}[]--::;;,&=<>BLWiwafESOPF+"
	switch w.IntN(4) {
	case 0:
		b[at] = alphabet[w.IntN(len(alphabet))]
	case 1:
		b = append(b[:at], b[at+1:]...)
	case 2:
		b = append(b[:at], append([]byte{alphabet[w.IntN(len(alphabet))]}, b[at:]...)...)
	case 3:
		end := min(len(b), at+1+w.IntN(6))
		b = append(b[:at], b[end:]...)
	}
	return string(b)
}
