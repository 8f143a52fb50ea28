//go:build check

package clamscan_test

import (
	"fmt"
	"strings"

	"example.org/avdb/pattern"
)

func (m *maker) pick(choices ...string) string { return choices[m.IntN(len(choices))] }

func (m *maker) hex(least, most int) string {
	return fmt.Sprintf("%x", m.filler(least+m.IntN(most-least+1)))
}

// element gives one element of a part; negated alternatives are for subsignatures without modifiers.
func (m *maker) element(modified bool) string {
	switch m.IntN(11) {
	case 0:
		return strings.Repeat("??", 1+m.IntN(5))
	case 1:
		return fmt.Sprintf("%x?", m.IntN(16))
	case 2:
		return fmt.Sprintf("?%x", m.IntN(16))
	case 3:
		return "(" + m.hex(1, 1) + "|" + m.hex(1, 1) + "|" + m.hex(1, 1) + ")"
	case 4:
		return "(" + m.hex(2, 2) + "|" + m.hex(2, 2) + ")"
	case 5:
		return "(" + m.hex(1, 1) + "|" + m.hex(2, 3) + ")"
	case 6:
		return "(" + m.hex(2, 2) + "??|" + fmt.Sprintf("%x?", m.IntN(16)) + m.hex(1, 1) + ")"
	case 7:
		if modified {
			return m.pick("!(B)", "!(W)")
		}
		return m.pick("!("+m.hex(1, 1)+")", "!("+m.hex(2, 2)+"|"+m.hex(2, 2)+")")
	case 8:
		return m.pick("(B)", "(W)", "(L)", "!(B)", "!(W)", "!(L)")
	}
	return m.hex(1, 3)
}

func (m *maker) body(modified, brackets, edges bool) string {
	var text strings.Builder
	for i := range 1 + m.IntN(3) {
		if i > 0 {
			text.WriteString(m.pick("*", "{-6}", "{4-}", "{2-9}", "{3}", "{5-5}", "{130}", "{128-}", "*"))
		}
		p := m.hex(4, 9)
		if m.IntN(2) == 0 {
			p += m.element(modified)
		}
		if m.IntN(2) == 0 {
			p = m.element(modified) + p
		}
		if edges && m.IntN(6) == 0 {
			p = m.pick("(B)", "(L)", "(W)") + p
		}
		if edges && m.IntN(6) == 0 {
			p += m.pick("(B)", "(L)", "(W)", "!(B)", "!(L)", "!(W)")
		}
		if brackets && m.IntN(6) == 0 {
			p = m.hex(1, 1) + fmt.Sprintf("[%d-%d]", m.IntN(3), 3+m.IntN(4)) + p
		}
		if brackets && m.IntN(6) == 0 {
			p += fmt.Sprintf("[%d-%d]", m.IntN(3), 3+m.IntN(4)) + m.hex(1, 1)
		}
		text.WriteString(p)
	}
	return text.String()
}

func (m *maker) offset(t pattern.Target) string {
	var text string
	switch n := m.IntN(12); {
	case n < 6:
		return "*"
	case n < 7:
		text = fmt.Sprint(m.IntN(4000))
	case n < 8:
		text = fmt.Sprintf("EOF-%d", 30+m.IntN(400))
	case t != pattern.TargetPE && t != pattern.TargetELF && t != pattern.TargetMachO:
		return "*"
	default:
		text = m.pick(fmt.Sprintf("EP+%d", m.IntN(90)), fmt.Sprintf("EP-%d", m.IntN(90)), fmt.Sprintf("S%d+%d", m.IntN(4), m.IntN(90)),
			fmt.Sprintf("SE%d", m.IntN(4)), fmt.Sprintf("SL+%d", m.IntN(90)))
	}
	if m.IntN(2) == 0 {
		text += fmt.Sprintf(",%d", 1+m.IntN(40))
	}
	return text
}

// line makes up a body signature or a logical signature.
func (m *maker) line(name string) (ext, line string) {
	t := []pattern.Target{0, 0, 1, 1, 6, 6, 9, 2, 5, 10, 11, 12}[m.IntN(12)]
	if m.IntN(3) == 0 {
		return ".ndb", fmt.Sprintf("%s:%d:%s:%s", name, t, m.offset(t), m.body(false, true, true))
	}
	n := 1 + m.IntN(4)
	terms, subs := make([]string, n), make([]string, n)
	for i := range n {
		modifiers := m.pick("", "", "", "i", "w", "wa", "iw", "iwa", "f", "fi", "fw", "a")
		plain := modifiers == "" || modifiers == "i"
		subs[i] = m.body(modifiers != "", plain, !strings.Contains(modifiers, "f"))
		if o := m.offset(t); o != "*" {
			subs[i] = o + ":" + subs[i]
		}
		if modifiers != "" {
			subs[i] += "::" + modifiers
		}
		if terms[i] = fmt.Sprint(i); m.IntN(3) == 0 {
			terms[i] += fmt.Sprintf("%c%d", "=><"[m.IntN(3)], m.IntN(4))
		}
	}
	for len(terms) > 1 {
		k := min(len(terms), 2+m.IntN(2))
		group := "(" + strings.Join(terms[:k], m.pick("&", "|")) + ")"
		if m.IntN(3) == 0 {
			group += fmt.Sprintf("%c%d", "=><"[m.IntN(3)], m.IntN(5))
			if m.IntN(3) == 0 {
				group += fmt.Sprintf(",%d", 1+m.IntN(2))
			}
		}
		terms = append(terms[k:], group)
	}
	attributes := fmt.Sprintf("Engine:51-255,Target:%d", t)
	if m.IntN(6) == 0 {
		attributes += fmt.Sprintf(",FileSize:%d-%d", m.IntN(3000), 30000+m.IntN(30000))
	}
	if (t == pattern.TargetPE || t == pattern.TargetELF) && m.IntN(6) == 0 {
		attributes += m.pick(",NumberOfSections:4-7", ",NumberOfSections:6", ",EntryPoint:4500-9000")
	}
	return ".ldb", name + ";" + attributes + ";" + terms[0] + ";" + strings.Join(subs, ";")
}

// excerpt makes a signature of bytes of a file, with wildcards and, often, one byte that is another.
func (m *maker) excerpt(name string, b []byte) (ext, line string) {
	n := 16 + m.IntN(30)
	at := m.IntN(len(b) - n)
	for range 20 { // bytes that do not occur everywhere
		seen := map[byte]bool{}
		for _, c := range b[at : at+n] {
			seen[c] = true
		}
		if len(seen) >= 10 {
			break
		}
		at = m.IntN(len(b) - n)
	}
	text := []byte(fmt.Sprintf("%x", b[at:at+n]))
	for range m.IntN(4) {
		text[8+m.IntN(len(text)-8)] = '?'
	}
	if m.IntN(3) == 0 {
		copy(text[2:], fmt.Sprintf("%02x", b[at+1]^byte(1+m.IntN(255))))
	}
	body := string(text)
	if gap := 20 + 2*m.IntN((len(text)-24)/2); m.IntN(3) == 0 && len(body)-gap > 24 && !strings.Contains(body, "?") {
		body = body[:gap-2] + m.pick("{1-5}", "*", "{-3}") + body[gap:]
	}
	offset := m.pick("*", "*", fmt.Sprint(at), fmt.Sprintf("%d,20", max(0, at-10)), fmt.Sprintf("EOF-%d", len(b)-at))
	t := pattern.Target(filetypeTarget(b))
	return ".ndb", fmt.Sprintf("%s:%d:%s:%s", name, []pattern.Target{t, 0}[m.IntN(2)], offset, body)
}
