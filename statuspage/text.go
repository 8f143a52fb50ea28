package statuspage

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Lengths in characters after which texts are cut.
const (
	maxText  = 200
	maxTitle = 64
)

// maxMarks is how many combining marks may follow each other: more of them paint over the lines around.
const maxMarks = 2

// clean is s as it may be shown: characters that cannot be seen, that change the direction of others, or that pile up are written as Go writes
// them in a literal, bytes that are not UTF-8 as well, and what is longer than most characters ends in "…". What is clean stays as it is.
func clean(s string, most int) string {
	var out strings.Builder
	n, marks := 0, 0
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		piece := s[:size]
		if unicode.Is(unicode.M, r) {
			marks++
		} else {
			marks = 0
		}
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) || marks > maxMarks {
			piece = strings.Trim(strconv.QuoteToASCII(piece), `"`)
		}
		s = s[size:]
		width := utf8.RuneCountInString(piece)
		if n+width > most || n+width == most && len(s) > 0 {
			out.WriteString("…")
			break
		}
		n += width
		out.WriteString(piece)
	}
	return out.String()
}

// label is a label's value as people read it.
func label(s string) string { return strings.ReplaceAll(s, "_", " ") }

// count groups the digits of n.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 1
	if n < 0 {
		start = 2
	}
	for i := len(s) - 3; i >= start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// decimal is x with at most one digit after the point, and none where three before it say enough.
func decimal(x float64) string {
	if r := math.Round(x); math.Abs(x) >= 100 || math.Abs(x-r) < 0.05 {
		return count(int64(r))
	}
	return strconv.FormatFloat(x, 'f', 1, 64)
}

// three is x, which is not negative, with three digits.
func three(x float64) string {
	switch {
	case x < 9.995:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 99.95:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 0, 64)
}

// trimmed is [three] without noughts at the end of its decimals.
func trimmed(x float64) string {
	s := three(x)
	if strings.Contains(s, ".") {
		s = strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// size is n bytes in the unit that leaves up to four digits.
func size(n int64) string {
	if n < 0 {
		return "-" + size(-max(n, -math.MaxInt64))
	}
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	x, unit := float64(n)/1024, 0
	for x >= 1023.5 && unit < 5 {
		x, unit = x/1024, unit+1
	}
	return three(x) + " " + "KMGTPE"[unit:unit+1] + "iB"
}

// span is a time in seconds in the one or two units that say enough.
func span(s float64) string {
	if s < 0 {
		return "-" + span(-s)
	}
	switch {
	case s == 0:
		return "0 s"
	case s < 0.0009995:
		return trimmed(s*1e6) + " µs"
	case s < 0.9995:
		return trimmed(s*1e3) + " ms"
	case s < 59.95:
		return trimmed(s) + " s"
	}
	whole := int64(math.Min(math.Round(s), 1e12))
	switch {
	case whole < 3600:
		return two(whole/60, "min", whole%60, "s")
	case whole < 24*3600:
		return two(whole/3600, "h", whole%3600/60, "min")
	}
	return two(whole/86400, "d", whole%86400/3600, "h")
}

func two(a int64, unitA string, b int64, unitB string) string {
	if b == 0 {
		return count(a) + " " + unitA
	}
	return fmt.Sprintf("%s %s %d %s", count(a), unitA, b, unitB)
}

// share is a ratio in per cent; neither 0 % nor 100 % is said where it is not exactly that.
func share(x float64) string {
	switch {
	case x > 0 && x < 0.001:
		return "< 0.1 %"
	case x > 0.999 && x < 1:
		return "> 99.9 %"
	}
	return strconv.FormatFloat(x*100, 'f', 1, 64) + " %"
}

// moment is t in RFC 3339 and UTC, in whole seconds.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// distance is how far t is from now, in words.
func distance(t, now time.Time) string {
	d := now.Sub(t).Round(time.Second)
	if d.Abs() >= 2*time.Minute {
		d = d.Round(time.Minute)
	}
	switch {
	case d == 0:
		return "now"
	case d < 0:
		return "in " + span(-d.Seconds())
	}
	return span(d.Seconds()) + " ago"
}
