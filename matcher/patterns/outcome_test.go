package patterns

import (
	"fmt"
	"strings"
	"testing"
)

// What an expression says for some numbers is never called impossible before they are known.
func TestNothingPossibleIsRuledOut(t *testing.T) {
	held, ruled := 0, 0
	for seed := range uint64(400) {
		w := newWriter(seed)
		n := 1 + w.IntN(5)
		text := w.expression(n)
		e := &logical(t, fmt.Sprintf("Target:2;%s;%s", text, strings.Join(strings.Split(strings.Repeat("616263 ", n-1)+"616263", " "), ";"))).Logical.Expression
		for range 200 {
			matches, known := make([]int, n), make([]int, n)
			for i := range matches {
				matches[i] = w.IntN(2) * w.IntN(8)
				if known[i] = matches[i]; w.IntN(2) == 0 {
					known[i] = unknown
				}
			}
			holds, may := e.Evaluate(matches), possible(appendTerm(nil, e), known)
			if holds && !may {
				t.Fatalf("%s holds for %v and is ruled out for %v", text, matches, known)
			}
			if holds {
				held++
			} else if !may {
				ruled++
			}
		}
	}
	if held < 1000 || ruled < 1000 {
		t.Errorf("%d hold, %d are ruled out: the expressions test little", held, ruled)
	}
}
