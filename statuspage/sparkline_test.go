package statuspage

import (
	"encoding/binary"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestSparkline(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name      string
		values    []float64
		low, high float64
		want      sparkline
	}{
		{"nothing", nil, 0, 1, sparkline{}},
		{"nothing known", []float64{nan, nan}, 0, 1, sparkline{}},
		{"one value", []float64{1}, 0, 1, sparkline{Line: "M2 2h0", Area: "M2 24L2 2L2 24Z"}},
		{"a rise", []float64{0, 5, 10}, 0, 10, sparkline{Line: "M2 22h0L60 12L118 2", Area: "M2 24L2 22L60 12L118 2L118 24Z"}},
		{"a dot between gaps", []float64{nan, 5, nan}, 0, 10, sparkline{Line: "M60 12h0", Area: "M60 24L60 12L60 24Z"}},
		{"a gap", []float64{10, nan, 10}, 0, 10, sparkline{Line: "M2 2h0M118 2h0", Area: "M2 24L2 2L2 24ZM118 24L118 2L118 24Z"}},
		{"nothing happened", []float64{0, 0}, 0, 0, sparkline{Line: "M2 22h0L118 22", Area: "M2 24L2 22L118 22L118 24Z"}},
		{"outside", []float64{-5, 50}, 0, 10, sparkline{Line: "M2 22h0L118 2", Area: "M2 24L2 22L118 2L118 24Z"}},
		{"the widest range", []float64{-math.MaxFloat64, math.MaxFloat64}, -math.MaxFloat64, math.MaxFloat64,
			sparkline{Line: "M2 22h0L118 2", Area: "M2 24L2 22L118 2L118 24Z"}},
	} {
		if got := draw(c.values, c.low, c.high); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// Whatever the values are, paths are what SVG understands, within their box, with one point for each value that is known, from left to right.
func FuzzSparkline(f *testing.F) {
	seed := func(vs ...float64) []byte {
		var b []byte
		for _, v := range vs {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
		return b
	}
	f.Add(seed(1, 2, math.NaN(), 3), 0.0, 3.0)
	f.Add(seed(math.Inf(1), -1, 5e-324), -1.0, math.MaxFloat64)
	f.Add(seed(math.Inf(1), math.Inf(-1), 0), math.Inf(-1), math.Inf(1))
	f.Add(seed(), math.NaN(), math.Inf(-1))
	path := regexp.MustCompile(`^(M[0-9.]+ [0-9.]+h0(L[0-9.]+ [0-9.]+)*)*$`)
	area := regexp.MustCompile(`^(M[0-9.]+ [0-9.]+(L[0-9.]+ [0-9.]+)+Z)*$`)
	f.Fuzz(func(t *testing.T, b []byte, low, high float64) {
		var values []float64
		known := 0
		for ; len(b) >= 8 && len(values) < 200; b = b[8:] {
			v := math.Float64frombits(binary.LittleEndian.Uint64(b))
			if values = append(values, v); !math.IsNaN(v) {
				known++
			}
		}
		s := draw(values, low, high)
		if !path.MatchString(s.Line) || !area.MatchString(s.Area) {
			t.Fatalf("draw(%v, %v, %v) = %+v", values, low, high, s)
		}
		points := strings.FieldsFunc(strings.ReplaceAll(s.Line, "h0", ""), func(r rune) bool { return r == 'M' || r == 'L' })
		if len(points) != known {
			t.Fatalf("%d points for %d values: %s", len(points), known, s.Line)
		}
		last := 0.0
		for _, p := range points {
			a, b, _ := strings.Cut(p, " ")
			x, errX := strconv.ParseFloat(a, 64)
			y, errY := strconv.ParseFloat(b, 64)
			if errX != nil || errY != nil || x < last || x > sparkWidth || y < sparkEdge || y > sparkHeight-sparkEdge {
				t.Fatalf("point %q of %s", p, s.Line)
			}
			last = x
		}
	})
}
