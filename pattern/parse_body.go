package pattern

import "strings"

// parseBody reads the hex field of a line into s.Body; the modifiers of s are known. It follows what clamscan does in its order: first {n} are
// written out, then parts are cut at gaps, then single bytes at the ends of each part, then the elements.
func (s *Subsignature) parseBody(text string) *Error {
	if !s.Wide {
		expanded, f := expand(text)
		if f != nil {
			return f
		}
		text = expanded
	}
	var gap Gap
	braces := false // a gap in braces has been: each {n} behind it is one as well
	for {
		end, next, rest, f := cutPart(text, s.Wide && !braces)
		if f != nil {
			return f
		}
		if len(s.Body.Parts) == MaxParts {
			return fault(KindLimit, "more than %d parts", MaxParts)
		}
		p, f := s.parsePart(text[:end])
		if f != nil {
			return f
		}
		p.Gap = gap
		s.Body.Parts = append(s.Body.Parts, p)
		if end == len(text) {
			return nil
		}
		braces = braces || text[end] == '{'
		gap, text = next, rest
	}
}

// small reads {n} of 1 to 127 at the start of text: a row of ??, while a longer one and all others are gaps between parts.
func small(text string) (n, length int) {
	end := strings.IndexByte(text, '}')
	if end < 2 || end > 20 {
		return 0, 0
	}
	v, ok := number(text[1:end])
	if !ok || v < 1 || v > 127 {
		return 0, 0
	}
	return int(v), end + 1
}

// expand writes the small {n} before the first other gap in braces as ??. Behind that one, clamscan takes them for gaps.
func expand(text string) (string, *Error) {
	var b strings.Builder
	for {
		i := strings.IndexByte(text, '{')
		if i < 0 {
			break
		}
		n, length := small(text[i:])
		if n == 0 {
			break
		}
		b.WriteString(text[:i])
		for range n {
			b.WriteString("??")
		}
		if b.Len() > maxText {
			return "", fault(KindLimit, "a body of more than %d digits", maxText)
		}
		text = text[i+length:]
	}
	b.WriteString(text)
	return b.String(), nil
}

// cutPart finds the end of the first part of text, the gap behind it and what follows the gap. end is len(text) for the last part. With skips, a
// small {n} belongs to the part.
func cutPart(text string, skips bool) (end int, gap Gap, rest string, f *Error) {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '(':
			depth++
		case ')':
			depth--
		case '*', '{':
			if text[i] == '{' && skips {
				if n, length := small(text[i:]); n > 0 {
					i += length - 1
					continue
				}
			}
			if depth != 0 {
				return 0, gap, "", fault(KindMalformed, "a gap in an alternative")
			}
			if text[i] == '*' {
				return i, gap, text[i+1:], nil
			}
			stop := strings.IndexByte(text[i:], '}')
			if stop < 0 {
				return 0, gap, "", fault(KindMalformed, "a gap has no end")
			}
			gap, f = parseGap(text[i+1 : i+stop])
			return i, gap, text[i+stop+1:], f
		}
	}
	return len(text), gap, "", nil
}

// parseGap reads what stands in the braces: n, n-m, -m or n-.
func parseGap(text string) (Gap, *Error) {
	least, most, ranged := strings.Cut(text, "-")
	low, okLow := uint64(0), true
	if least != "" {
		low, okLow = number(least)
	}
	high, okHigh := uint64(0), true
	if most != "" {
		high, okHigh = number(most)
	}
	switch {
	case !okLow || !okHigh || text == "":
		return Gap{}, fault(KindLoose, "gap {%s}", cut(text))
	case !ranged:
		high = low
	case least == "" && most == "":
		return Gap{}, fault(KindLoose, "gap {-}, which is *")
	}
	if low > MaxDistance || high > MaxDistance {
		return Gap{}, fault(KindLimit, "a gap of more than %d", MaxDistance)
	}
	if high == 0 && (low == 0 || most != "") {
		return Gap{}, fault(KindLoose, "gap {%s}, which has no upper bound in ClamAV", text)
	}
	return Gap{Min: uint32(low), Max: uint32(high)}, nil
}

// parsePart reads what stands between two gaps.
func (s *Subsignature) parsePart(text string) (p Part, f *Error) {
	if strings.IndexByte(text, '[') >= 0 {
		if s.Wide || s.FullWord {
			return p, fault(KindLoose, "[n-m] in a wide or full-word subsignature")
		}
		if text, f = s.parseAnchors(text, &p); f != nil {
			return Part{}, f
		}
	}
	var b builder
	for i := 0; i < len(text); {
		not := text[i] == '!' && i+1 < len(text) && text[i+1] == '('
		open := i
		if not {
			open++
		}
		if text[open] != '(' {
			n, f := s.parseSimple(&b, text[i:])
			if f != nil {
				return Part{}, f
			}
			i += n
			continue
		}
		length := strings.IndexByte(text[open:], ')')
		if length < 0 {
			return Part{}, fault(KindMalformed, "a parenthesis is not closed")
		}
		inside := text[open+1 : open+length]
		if strings.IndexByte(inside, '(') >= 0 {
			return Part{}, fault(KindNested, "alternatives in an alternative")
		}
		end := open + length + 1
		if class := classOf(inside); class != ClassNone {
			switch {
			case end == len(text):
				p.End = Boundary{class, not}
			case open == 0:
				p.Begin = Boundary{class, false}
			default:
				b.add(Element{Op: OpClass, Class: class, Not: not})
			}
		} else {
			e, f := s.parseOptions(inside, not)
			if f != nil {
				return Part{}, f
			}
			b.add(e)
		}
		i = end
	}
	p.Elements = b.elements()
	return p, nil
}

// parseAnchors takes a single byte and its distance from either end of a part.
func (s *Subsignature) parseAnchors(text string, p *Part) (string, *Error) {
	one := func(pair, between string) (a Anchor, f *Error) {
		least, most, ranged := strings.Cut(between, "-")
		low, ok := number(least)
		high := low
		if ranged && ok {
			high, ok = number(most)
		}
		if !ok {
			return a, fault(KindLoose, "distance [%s]", cut(between))
		}
		if low > high || high > MaxAnchor {
			return a, fault(KindMalformed, "distance [%s]", cut(between))
		}
		if strings.Contains(pair, "?") {
			return a, fault(KindLoose, "a wildcard next to [n-m], which ClamAV does not look at")
		}
		v, ok := hexByte(pair)
		if !ok {
			return a, fault(KindMalformed, "%q is no byte", pair)
		}
		if s.Nocase {
			v = lower(v)
		}
		return Anchor{Set: true, Value: v, Min: uint8(low), Max: uint8(high)}, nil
	}
	for range 2 {
		open := strings.IndexByte(text, '[')
		if open < 0 {
			break
		}
		length := strings.IndexByte(text[open:], ']')
		if length < 0 {
			return "", fault(KindMalformed, "a bracket is not closed")
		}
		between, rest := text[open+1:open+length], text[open+length+1:]
		var f *Error
		switch {
		case open == 2 && !p.Before.Set:
			p.Before, f = one(text[:2], between)
			text = rest
		case len(rest) == 2 && !p.After.Set:
			p.After, f = one(rest, between)
			text = text[:open]
		default:
			return "", fault(KindMalformed, "[n-m] is for a single byte at an end of a part")
		}
		if f != nil {
			return "", f
		}
	}
	if strings.ContainsAny(text, "[]") {
		return "", fault(KindMalformed, "[n-m] is for a single byte at an end of a part")
	}
	return text, nil
}

func classOf(inside string) Class {
	switch inside {
	case "B":
		return ClassBoundary
	case "L":
		return ClassLine
	case "W":
		return ClassWord
	}
	return ClassNone
}

// parseSimple reads two digits or a small {n}, and gives how much of text that was.
func (s *Subsignature) parseSimple(b *builder, text string) (int, *Error) {
	if text[0] == '{' {
		n, length := small(text)
		if n == 0 {
			return 0, fault(KindMalformed, "a gap in an alternative")
		}
		b.add(Element{Op: OpSkip, Count: n})
		return length, nil
	}
	if len(text) < 2 {
		return 0, fault(KindMalformed, "half a byte")
	}
	high, low := digit(text[0]), digit(text[1])
	switch {
	case text[:2] == "??":
		b.add(Element{Op: OpAny, Count: 1})
	case text[1] == '?' && high < 16:
		b.add(Element{Op: OpHigh, Value: high})
	case text[0] == '?' && low < 16:
		b.add(Element{Op: OpLow, Value: low})
	case high < 16 && low < 16:
		v := high<<4 | low
		if s.Nocase {
			v = lower(v)
		}
		b.bytes = append(b.bytes, v)
	default:
		return 0, fault(KindMalformed, "%q is no byte", text[:2])
	}
	return 2, nil
}

// parseOptions reads what stands in parentheses.
func (s *Subsignature) parseOptions(inside string, not bool) (Element, *Error) {
	if inside == "" {
		return Element{}, fault(KindMalformed, "empty parentheses")
	}
	e := Element{Op: OpAlternatives, Not: not}
	for more := true; more; {
		var option string
		option, inside, more = strings.Cut(inside, "|")
		if option == "" {
			return Element{}, fault(KindLoose, "an empty alternative")
		}
		if len(e.Options) == MaxOptions {
			return Element{}, fault(KindLimit, "more than %d alternatives", MaxOptions)
		}
		var b builder
		for option != "" {
			n, f := s.parseSimple(&b, option)
			if f != nil {
				return Element{}, f
			}
			option = option[n:]
		}
		e.Options = append(e.Options, Option{b.elements()})
	}
	return e, nil
}

// digit gives the value of a hex digit, 255 for everything else.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func hexByte(pair string) (byte, bool) {
	high, low := digit(pair[0]), digit(pair[1])
	return high<<4 | low, high|low < 16
}

// number reads 1 to 10 digits and nothing else.
func number(text string) (v uint64, ok bool) {
	if len(text) < 1 || len(text) > 10 {
		return 0, false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		v = v*10 + uint64(text[i]-'0')
	}
	return v, true
}

// cut shortens what an error quotes.
func cut(text string) string {
	if len(text) > 24 {
		return text[:24] + "…"
	}
	return text
}
