package pattern

import "strings"

// parseExpression reads an expression. Where & and | stand side by side without parentheses, it groups them as clamscan does: outside of
// parentheses the rightmost ones first, inside of them the last one last.
func parseExpression(text string, e *Expression) *Error {
	p := expressionParser{text: text}
	*e = p.level(false, 0)
	if p.fault == nil && p.text != "" {
		p.fail("%q is left", cut(p.text))
	}
	if p.fault != nil {
		*e = Expression{}
	}
	return p.fault
}

// An expressionParser holds what is left of the text. Errors are of [KindLoose], for clamscan takes many texts that no grammar has.
type expressionParser struct {
	text  string
	terms int
	fault *Error
}

func (p *expressionParser) fail(format string, args ...any) {
	if p.fault == nil {
		p.fault = fault(KindLoose, format, args...)
	}
	p.text = ""
}

func (p *expressionParser) next(c byte) bool {
	if p.text != "" && p.text[0] == c {
		p.text = p.text[1:]
		return true
	}
	return false
}

// level reads what is between two parentheses, or the whole text.
func (p *expressionParser) level(inGroup bool, depth int) Expression {
	items := []Expression{p.item(depth)}
	var operators []Term
	for p.fault == nil {
		switch {
		case p.next('&'):
			operators = append(operators, TermAnd)
		case p.next('|'):
			operators = append(operators, TermOr)
		default:
			if inGroup && len(operators) > 0 {
				last := len(operators) - 1
				return join(operators[last], fold(items[:last+1], operators[:last]), items[last+1])
			}
			return fold(items, operators)
		}
		items = append(items, p.item(depth))
	}
	return Expression{}
}

// fold groups from the right.
func fold(items []Expression, operators []Term) Expression {
	e := items[len(items)-1]
	for i := len(operators) - 1; i >= 0; i-- {
		e = join(operators[i], items[i], e)
	}
	return e
}

// join makes one group of what needs no group of its own.
func join(t Term, left, right Expression) Expression {
	e := Expression{Term: t}
	for _, side := range []Expression{left, right} {
		if side.Term == t && side.Compare == CompareNone {
			e.Children = append(e.Children, side.Children...)
		} else {
			e.Children = append(e.Children, side)
		}
	}
	return e
}

// item reads an index or a group, and a comparison.
func (p *expressionParser) item(depth int) Expression {
	if p.terms++; p.terms > MaxTerms || depth > MaxDepth {
		p.fail("more than %d terms, or deeper than %d", MaxTerms, MaxDepth)
		p.fault.Kind = KindLimit
		return Expression{}
	}
	if !p.next('(') {
		e := Expression{Index: int(p.number(MaxSubsignatures - 1))}
		p.compare(&e)
		return e
	}
	e := p.level(true, depth+1)
	if p.fault == nil && !p.next(')') {
		p.fail("a parenthesis is not closed")
	}
	if p.text != "" && strings.IndexByte("=><", p.text[0]) >= 0 {
		if e.Term == TermIndex || e.Compare != CompareNone {
			p.fail("a comparison behind a parenthesis that needs none")
		}
		p.compare(&e)
	}
	return e
}

func (p *expressionParser) compare(e *Expression) {
	switch {
	case p.next('='):
		e.Compare = CompareEqual
	case p.next('>'):
		e.Compare = CompareMore
	case p.next('<'):
		e.Compare = CompareLess
	default:
		return
	}
	e.Count = uint32(p.number(MaxMatches))
	if e.Term != TermIndex && p.next(',') {
		e.Distinct = uint32(p.number(MaxMatches))
	}
}

func (p *expressionParser) number(most uint64) uint64 {
	n := 0
	for n < len(p.text) && '0' <= p.text[n] && p.text[n] <= '9' {
		n++
	}
	v, ok := number(p.text[:n])
	if !ok || v > most {
		p.fail("want a number of at most %d at %q", most, cut(p.text))
		return 0
	}
	p.text = p.text[n:]
	return v
}

// Evaluate tells whether the expression holds for the numbers of matches of each subsignature, in their order.
func (e *Expression) Evaluate(matches []int) bool {
	holds, _, _ := e.evaluate(matches)
	return holds
}

// evaluate also gives how many matches there are in what holds, and by which subsignatures. A group with a comparison passes on its matches but
// not the subsignatures that had them: clamscan forgets these.
func (e *Expression) evaluate(matches []int) (holds bool, count uint64, by uint64) {
	if e.Term == TermIndex {
		n := uint64(matches[e.Index])
		if !e.compares(n) {
			return false, 0, 0
		}
		return true, n, 1 << e.Index
	}
	all, some := true, false
	for i := range e.Children {
		ok, n, ids := e.Children[i].evaluate(matches)
		all, some = all && ok, some || ok
		count, by = count+n, by|ids
	}
	if holds = all; e.Term == TermOr {
		holds = some
	}
	if !holds {
		count, by = 0, 0
	}
	if e.Compare == CompareNone {
		return holds, count, by
	}
	if !e.compares(count) || e.Distinct > 0 && distinct(by) < e.Distinct {
		return false, 0, 0
	}
	return true, count, 0
}

func (e *Expression) compares(n uint64) bool {
	switch e.Compare {
	case CompareEqual:
		return n == uint64(e.Count)
	case CompareMore:
		return n > uint64(e.Count)
	case CompareLess:
		return n < uint64(e.Count)
	}
	return n > 0
}

func distinct(by uint64) (n uint32) {
	for ; by != 0; by &= by - 1 {
		n++
	}
	return n
}
