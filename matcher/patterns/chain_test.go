package patterns

import (
	"math/rand/v2"
	"testing"

	"example.org/avdb/pattern"
)

// A reach admits the places that some match leads to, in few spans, and is settled only when no later match can lead elsewhere.
func TestReachesAdmitWhatMatchesLeadTo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		g := pattern.Gap{Min: uint32(r.IntN(12))}
		if r.IntN(3) > 0 {
			g.Max = max(1, g.Min+uint32(r.IntN(9)))
		}
		var p reach
		p.reset()
		var ends []int64
		for at := int64(0); at < 80; at++ {
			want := false
			for _, end := range ends {
				d := at - end
				want = want || d >= int64(g.Min) && (g.Max == 0 || d <= int64(g.Max))
			}
			first := never
			for _, end := range ends {
				if s := max(at, end+int64(g.Min)); g.Max == 0 || s <= end+int64(g.Max) {
					first = min(first, s)
				}
			}
			if next := p.next(at); next != first {
				t.Fatalf("gap %+v, matches that end at %v: the next from %d on is %d, want %d", g, ends, at, next, first)
			}
			if got := p.admits(at); got != want {
				t.Fatalf("gap %+v, matches that end at %v: %d admitted %v", g, ends, at, got)
			}
			if r.IntN(3) > 0 {
				continue
			}
			end := at + 2 + r.Int64N(6)
			settled := p.settled(g, end)
			before := p.from
			p.add(g, end)
			if ends = append(ends, end); settled && (g.Max != 0 || p.from != before) {
				t.Fatalf("gap %+v: settled, and yet a match that ends at %d adds to %v", g, end, ends)
			}
			if g.Max == 0 {
				continue
			}
			if most := (int(g.Max)+8)/int(g.Max-g.Min+2) + 1; p.live() > most {
				t.Fatalf("gap %+v: %d spans, want %d at most: %v", g, p.live(), most, p.spans)
			}
		}
	}
}
