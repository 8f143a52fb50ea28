// Package patterntest makes up signatures and files that they match, for the tests of whatever reads, compiles or matches patterns. Only tests import it, as
// they do net/http/httptest.
//
// A [Writer] makes lines of .ndb and .ldb files in which every construct of the language that package pattern takes comes up, lines that are broken, bytes that a
// form of a subsignature matches with its wildcards filled at random, files in which some subsignatures match at the places that their offsets allow, files
// that a whole signature matches, and near misses. What it makes depends on its seed and its fields only. It knows no matcher: whether a file really matches
// is what the reference of package pattern, or clamscan, says.
package patterntest

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"example.org/avdb/pattern"
)

// A Writer makes up lines, matches and files. It belongs to one goroutine.
type Writer struct {
	*rand.Rand

	Alphabet   string // what static bytes are made of, and half of what is between them, so that parts meet and repeat; "" for all bytes
	Noise      int    // one static byte of so many may be any, and what is between them is; 0 for none
	Least      int    // static bytes that are the least of each part: 2 or more
	Most       int    // and the most of their longest run, Least or more
	Reach      int    // offsets are below it, and so are the least sizes of files that signatures ask for
	Containers bool   // some logical signatures ask for a container
}

// New makes a Writer of lines whose static bytes are any bytes, and whose offsets lie in small files.
func New(seed uint64) *Writer {
	return &Writer{Rand: rand.New(rand.NewPCG(seed, 7)), Least: 2, Most: 5, Reach: 60}
}

// Pick gives one of the choices.
func (w *Writer) Pick(choices ...string) string { return choices[w.IntN(len(choices))] }

// Static gives from least to most bytes in hexadecimal.
func (w *Writer) Static(least, most int) string {
	var b strings.Builder
	for range least + w.IntN(most-least+1) {
		c := byte(w.IntN(256))
		if w.Alphabet != "" && (w.Noise == 0 || w.IntN(w.Noise) > 0) {
			c = w.Alphabet[w.IntN(len(w.Alphabet))]
		}
		fmt.Fprintf(&b, "%02x", c)
	}
	return b.String()
}

// element gives an element of a part. Where modified, negated alternatives are not allowed.
func (w *Writer) element(modified bool) string {
	one := func() string { return w.Static(1, 1) }
	switch w.IntN(14) {
	case 0:
		return strings.Repeat("??", 1+w.IntN(5))
	case 1:
		return one()[:1] + "?"
	case 2:
		return "?" + one()[1:]
	case 3:
		return "(" + one() + "|" + one() + "|" + one() + ")"
	case 4:
		return "(" + w.Static(2, 2) + "|" + w.Static(2, 2) + ")"
	case 5:
		return "(" + one() + "|" + w.Static(2, 4) + ")"
	case 6:
		return "(" + w.Static(2, 2) + "??|" + one()[:1] + "?" + one() + ")"
	case 7:
		return "(" + w.Static(2, 2) + "??|" + one() + ")"
	case 8:
		if modified {
			return w.Pick("!(B)", "!(W)")
		}
		return w.Pick("!("+one()+")", "!("+w.Static(2, 2)+"|"+w.Static(2, 2)+")", "!("+one()+"|"+one()+")")
	case 9:
		return w.Pick("(B)", "(W)", "(L)", "!(B)", "!(W)", "!(L)")
	case 10:
		return fmt.Sprintf("{%d}", 1+w.IntN(5))
	}
	return w.Static(1, 3)
}

// part gives a part of a body. Where plain, single bytes at a distance may stand around it, and where edges, boundaries.
func (w *Writer) part(modified, plain, edges bool) string {
	var b strings.Builder
	if edges && w.IntN(6) == 0 {
		b.WriteString(w.Pick("(B)", "(L)", "(W)"))
	}
	literal := w.IntN(3)
	for i := range 3 {
		if i == literal {
			b.WriteString(w.Static(w.Least, w.Least+w.IntN(1+w.IntN(w.Most-w.Least+1)))) // more short runs than long ones
		} else if w.IntN(2) == 0 {
			b.WriteString(w.element(modified))
		}
	}
	if edges && w.IntN(6) == 0 {
		b.WriteString(w.Pick("(B)", "(L)", "(W)", "!(B)", "!(L)", "!(W)"))
	}
	text := b.String()
	if plain && w.IntN(6) == 0 {
		text = w.Static(1, 1) + fmt.Sprintf("[%d-%d]", w.IntN(3), 3+w.IntN(4)) + text
	}
	if plain && w.IntN(6) == 0 {
		text += fmt.Sprintf("[%d-%d]", w.IntN(3), 3+w.IntN(4)) + w.Static(1, 1)
	}
	return text
}

// body gives a hex field.
func (w *Writer) body(modified, plain, edges bool) string {
	text := w.part(modified, plain, edges)
	for range w.IntN(4) {
		text += w.Pick("*", "{-6}", "{4-}", "{2-9}", "{3}", "{3-3}", "{5-40}", "{130}", "{128-}", "*") + w.part(modified, plain, edges)
	}
	return text
}

// offset gives an offset that signatures of the target may have.
func (w *Writer) offset(t pattern.Target) string {
	text, near := "", min(w.Reach, 90)
	switch n := w.IntN(14); {
	case n < 7:
		return "*"
	case n < 9:
		text = fmt.Sprint(w.IntN(w.Reach))
	case n < 10:
		text = fmt.Sprintf("EOF-%d", w.IntN(w.Reach))
	case t != pattern.TargetPE && t != pattern.TargetELF && t != pattern.TargetMachO:
		return "*"
	default:
		text = w.Pick(fmt.Sprintf("EP+%d", w.IntN(near)), fmt.Sprintf("EP-%d", w.IntN(near)), fmt.Sprintf("S%d+%d", w.IntN(4), w.IntN(near)),
			fmt.Sprintf("SE%d", w.IntN(4)), fmt.Sprintf("SL+%d", w.IntN(near)))
	}
	if w.IntN(2) == 0 {
		text += fmt.Sprintf(",%d", 1+w.IntN(w.Reach))
	}
	return text
}

// BodyLine makes up a line of a .ndb file. Package pattern takes most of them.
func (w *Writer) BodyLine(name string, t pattern.Target) string {
	return fmt.Sprintf("%s:%d:%s:%s", name, t, w.offset(t), w.body(false, true, true))
}

func (w *Writer) subsignature(t pattern.Target) string {
	modifiers := w.Pick("", "", "", "i", "w", "wa", "wa", "iw", "iwa", "f", "fi", "fw", "fwa", "a")
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

// Expression makes up a logical expression that has each index below n at least once.
func (w *Writer) Expression(n int) string {
	terms := make([]string, n)
	for i := range terms {
		terms[i] = fmt.Sprint(i)
		if w.IntN(3) == 0 {
			terms[i] += fmt.Sprintf("%c%d", "=><"[w.IntN(3)], w.IntN(6))
		}
	}
	if w.IntN(3) == 0 {
		terms = append(terms, fmt.Sprint(w.IntN(n)))
	}
	for len(terms) > 1 {
		k := min(len(terms), 2+w.IntN(2))
		group := "(" + terms[0]
		for _, t := range terms[1:k] {
			group += w.Pick("&", "|") + t
		}
		group += ")"
		if w.IntN(2) == 0 {
			group += fmt.Sprintf("%c%d", "=><"[w.IntN(3)], w.IntN(9))
			if w.IntN(3) == 0 {
				group += fmt.Sprintf(",%d", 1+w.IntN(3))
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

// LogicalLine makes up a line of a .ldb file. Package pattern takes most of them.
func (w *Writer) LogicalLine(name string, t pattern.Target) string {
	n := 1 + w.IntN(4)
	subs := make([]string, n)
	for i := range subs {
		subs[i] = w.subsignature(t)
	}
	attributes := fmt.Sprintf("Engine:51-255,Target:%d", t)
	if w.IntN(6) == 0 {
		attributes += fmt.Sprintf(",FileSize:%d-%d", w.IntN(w.Reach), w.Reach+w.IntN(10*w.Reach))
	}
	if (t == pattern.TargetPE || t == pattern.TargetELF) && w.IntN(6) == 0 {
		attributes += w.Pick(",NumberOfSections:4-7", ",NumberOfSections:3", fmt.Sprintf(",EntryPoint:%d-%d", w.Reach, 10*w.Reach))
	}
	if w.Containers && w.IntN(8) == 0 {
		attributes += ",Container:CL_TYPE_" + w.Pick("ZIP", "ANY")
	}
	return fmt.Sprintf("%s;%s;%s;%s", name, attributes, w.Expression(n), strings.Join(subs, ";"))
}

// Line makes up a line that package pattern takes, and gives the record that it says, and the extension of its file: "ndb" for one in three, or "ldb".
func (w *Writer) Line(name string, t pattern.Target) (extension, line string, r pattern.Record) {
	for {
		if w.IntN(3) == 0 {
			line := w.BodyLine(name, t)
			if _, s, err := pattern.ParseBodyLine(line); err == nil {
				return "ndb", line, pattern.Record{Body: &s}
			}
			continue
		}
		line := w.LogicalLine(name, t)
		if _, l, err := pattern.ParseLogicalLine(line); err == nil {
			return "ldb", line, pattern.Record{Logical: &l}
		}
	}
}

// Mutate breaks a line behind its name, or makes something else of it.
func (w *Writer) Mutate(line string) string {
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
