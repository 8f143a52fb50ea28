package patterntest

import "example.org/avdb/pattern"

// Peculiar names the form of a subsignature that clamscan matches otherwise than its documentation says, as the comment of package pattern lists them; "" for
// none. What depends on the file and not on the form alone is not told.
func Peculiar(s *pattern.Subsignature) string {
	if s.Wide && s.ASCII && len(s.Body.Parts) > 1 {
		return "several parts with wa"
	}
	for _, v := range s.Variants() {
		for i, p := range v.Parts {
			for k, e := range p.Elements {
				switch {
				case e.Op == pattern.OpClass && i == 0 && s.Offset.Place != pattern.PlaceAny:
					return "a class in a first part with an offset"
				case e.Op == pattern.OpClass && e.Class == pattern.ClassLine && !e.Not && k == 0:
					return "(L) before the bytes that a part is found by"
				case e.Op == pattern.OpAlternatives && overlapping(e) && k == 0:
					return "alternatives before the bytes that a part is found by, one of which begins or ends another one"
				}
			}
		}
	}
	return ""
}

// overlapping tells whether an option may begin or end with another one that is shorter.
func overlapping(e pattern.Element) bool {
	for i, o := range e.Options {
		for j, p := range e.Options {
			a, b := steps(o.Elements), steps(p.Elements)
			if i == j || len(a) >= len(b) {
				continue
			}
			head, tail := true, true
			for k, s := range a {
				head = head && s.meets(b[k])
				tail = tail && s.meets(b[len(b)-len(a)+k])
			}
			if head || tail {
				return true
			}
		}
	}
	return false
}

// A step is one byte of an option: its value and which bits of it count.
type step struct{ value, mask byte }

func (s step) meets(o step) bool { return (s.value^o.value)&s.mask&o.mask == 0 }

func steps(elements []pattern.Element) []step {
	var all []step
	for _, e := range elements {
		switch e.Op {
		case pattern.OpBytes:
			for _, c := range []byte(e.Bytes) {
				all = append(all, step{c, 255})
			}
		case pattern.OpHigh:
			all = append(all, step{e.Value << 4, 0xf0})
		case pattern.OpLow:
			all = append(all, step{e.Value, 0x0f})
		case pattern.OpAny:
			for range e.Count {
				all = append(all, step{})
			}
		}
	}
	return all
}
