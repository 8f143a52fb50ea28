package patterns

import (
	"fmt"
	"strings"
	"testing"
)

// What an expression says for some numbers is never called impossible before they are known, and what it does not say for all never certain.
func TestNothingPossibleIsRuledOut(t *testing.T) {
	held, ruled, sure := 0, 0, 0
	for seed := range uint64(400) {
		w := newWriter(seed)
		n := 1 + w.IntN(5)
		text := w.Expression(n)
		e := &logical(t, fmt.Sprintf("Target:2;%s;%s", text, strings.Join(strings.Split(strings.Repeat("616263 ", n-1)+"616263", " "), ";"))).Logical.Expression
		for range 200 {
			matches, known := make([]int, n), make([]int, n)
			for i := range matches {
				matches[i] = w.IntN(2) * w.IntN(8)
				switch known[i] = matches[i]; w.IntN(4) {
				case 0:
					known[i] = unknown
				case 1:
					known[i] = atLeast(w.IntN(matches[i] + 1))
				}
			}
			holds := e.Evaluate(matches)
			may, mayNot := foresee(appendTerm(nil, e), known)
			if holds && !may || !holds && !mayNot {
				t.Fatalf("%s: %t for %v, and may %t, may not %t for %v", text, holds, matches, may, mayNot, known)
			}
			switch {
			case holds:
				held++
				if !mayNot {
					sure++
				}
			case !may:
				ruled++
			}
		}
	}
	if held < 1000 || ruled < 1000 || sure < 1000 {
		t.Errorf("%d hold, %d of them for sure, %d are ruled out: the expressions test little", held, sure, ruled)
	}
}
