package pattern

// The reference matcher: it follows the words of the package comment one by one, takes its time, and is what faster ones are held against.

// A Header says what became of a file's executable header.
type Header uint8

// The outcomes.
const (
	HeaderNone   Header = iota // the file is no executable
	HeaderParsed               // entry point and sections are known
	HeaderBroken               // it is one, and cannot be parsed
)

// A Section is where a section of an executable lies in the file.
type Section struct {
	Offset, Size uint32 // bytes
}

// Facts are what a signature may ask about a file beside its bytes.
type Facts struct {
	Target     Target // TargetAny for files of no other target
	Header     Header
	EntryPoint uint32 // offset in the file
	Sections   []Section
	Containers []FileType // what the file is in, the nearest first; none for a file of its own
}

// A File is what the reference matcher looks at. For targets 3, 4 and 7 Data is what normalisation made of it, which is the caller's to do.
type File struct {
	Data []byte
	Facts
}

// applies tells whether signatures of the target are for the file.
func (f *File) applies(t Target) bool { return t == TargetAny || t == f.Target }

// Match tells whether the signature matches the file.
func (s *BodySignature) Match(f *File) bool {
	sub := s.subsignature()
	return f.applies(s.Target) && sub.Matches(f) > 0
}

// Match tells whether the signature matches the file, and how often each subsignature does.
func (l *Logical) Match(f *File) (bool, []int) {
	matches := make([]int, len(l.Subsignatures))
	if !f.applies(l.Target) {
		return false, matches
	}
	for i := range l.Subsignatures {
		matches[i] = l.Subsignatures[i].Matches(f)
	}
	return l.Decide(matches, uint64(len(f.Data)), &f.Facts), matches
}

// Decide tells whether the signature holds for a file of its target with that size and these facts, given the matches of each subsignature.
func (l *Logical) Decide(matches []int, size uint64, facts *Facts) bool {
	if !l.Expression.Evaluate(matches) || !l.FileSize.Holds(size) {
		return false
	}
	if l.Container != TypeNone && l.Container != container(facts.Containers, 0) {
		return false
	}
	if len(l.Intermediates) > len(facts.Containers) {
		return false
	}
	nearest := 0
	for i := len(l.Intermediates) - 1; i >= 0; i-- {
		if t := l.Intermediates[i]; t != TypeAny {
			if t != container(facts.Containers, nearest) {
				return false
			}
			nearest++
		}
	}
	if l.EntryPoint.Set || l.Sections.Set {
		return facts.Header == HeaderParsed && l.EntryPoint.Holds(uint64(facts.EntryPoint)) && l.Sections.Holds(uint64(len(facts.Sections)))
	}
	return true
}

func container(around []FileType, i int) FileType {
	if i >= len(around) {
		return TypeAny
	}
	return around[i]
}

// Bounds gives the first and the last place at which a match may start in a file of that size; ok is false if there is none.
func (o Offset) Bounds(size int64, facts *Facts) (first, last int64, ok bool) {
	sections := facts.Sections
	switch o.Place {
	case PlaceAny:
		return 0, size, true
	case PlaceStart:
		first = int64(o.N)
	case PlaceEnd:
		if facts.Header == HeaderBroken { // ClamAV then knows no relative place at all
			return 0, 0, false
		}
		first = size - int64(o.N)
	default:
		if facts.Header != HeaderParsed {
			return 0, 0, false
		}
		first = int64(o.N)
		switch o.Place {
		case PlaceAfterEntry:
			first += int64(facts.EntryPoint)
		case PlaceBeforeEntry:
			first = int64(facts.EntryPoint) - first
		case PlaceLastSection:
			if len(sections) == 0 {
				return 0, 0, false
			}
			first += int64(sections[len(sections)-1].Offset)
		case PlaceSection, PlaceWholeSection:
			if int(o.Section) >= len(sections) {
				return 0, 0, false
			}
			first += int64(sections[o.Section].Offset)
			if o.Place == PlaceWholeSection {
				last = int64(sections[o.Section].Size)
			}
		}
	}
	last += first + int64(o.Shift)
	return first, min(last, size), first >= 0 && first <= size
}

// Matches counts the matches of the subsignature as ClamAV does. Of a body of one part, it is the number of places where a match starts; matches
// overlap, and a place where both the wide and the plain form match counts once. Of several parts, it is the number of places where the last part starts
// behind a chain of all others, for each form.
func (s *Subsignature) Matches(f *File) int {
	variants := s.Variants()
	starts := map[int]bool{}
	chains := 0
	for _, v := range variants {
		last := chain(v, s.Offset, f)
		chains += len(last)
		for _, m := range last {
			starts[m.start] = true
		}
	}
	if len(s.Body.Parts) == 1 {
		return len(starts)
	}
	return chains
}

type match struct{ start, end int }

// chain gives the matches of the last part that have matches of all parts before them, at distances that the gaps allow.
func chain(v Variant, o Offset, f *File) []match {
	first, last, ok := o.Bounds(int64(len(f.Data)), &f.Facts)
	if !ok {
		return nil
	}
	var before []match
	for i, p := range v.Parts {
		var found []match
		for start := range len(f.Data) {
			if i == 0 && (int64(start) < first || int64(start) > last) {
				continue
			}
			end, ok := matchHere(p, v.Nocase, f.Data, start)
			if ok && (i == 0 || follows(before, p.Gap, start)) {
				found = append(found, match{start, end})
			}
		}
		before = found
	}
	return before
}

func follows(before []match, g Gap, start int) bool {
	for _, m := range before {
		d := start - m.end
		if d >= int(g.Min) && (g.Max == 0 || d <= int(g.Max)) {
			return true
		}
	}
	return false
}

// matchHere matches a part at one place of a whole file.
func matchHere(p Part, nocase bool, data []byte, start int) (end int, ok bool) {
	if !beginsHere(p.Begin, data, start) || !nearHere(p.Before, nocase, data, start, true) {
		return 0, false
	}
	ends := []int{start} // all places where the elements so far may end, the preferred one first
	for _, e := range p.Elements {
		var next []int
		for _, at := range ends {
			for _, n := range lengthsHere(e, nocase, data[at:]) {
				if !contains(next, at+n) {
					next = append(next, at+n)
				}
			}
		}
		ends = next
	}
	for _, end := range ends {
		if endsHere(p.End, data, end) && nearHere(p.After, nocase, data, end, false) {
			return end, true
		}
	}
	return 0, false
}

func contains(all []int, n int) bool {
	for _, v := range all {
		if v == n {
			return true
		}
	}
	return false
}

// lengthsHere gives how many bytes at the start of data an element can match.
func lengthsHere(e Element, nocase bool, data []byte) []int {
	yes := func(ok bool) []int {
		if ok {
			return []int{1}
		}
		return nil
	}
	if len(data) == 0 {
		return nil
	}
	switch e.Op {
	case OpBytes:
		if len(data) < len(e.Bytes) {
			return nil
		}
		for i := range len(e.Bytes) {
			c := data[i]
			if nocase && 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			if c != e.Bytes[i] {
				return nil
			}
		}
		return []int{len(e.Bytes)}
	case OpHigh:
		return yes(data[0]>>4 == e.Value)
	case OpLow:
		return yes(data[0]&15 == e.Value)
	case OpAny:
		if len(data) < e.Count {
			return nil
		}
		return []int{e.Count}
	case OpAlternatives:
		var all []int
		for _, o := range e.Options {
			length := 0
			for _, inner := range o.Elements {
				n := lengthsHere(inner, nocase, data[length:])
				if n == nil {
					length = -1
					break
				}
				length += n[0]
			}
			if length >= 0 {
				all = append(all, length)
			}
		}
		if !e.Not {
			return all
		}
		if n := len(e.Options[0].Elements[0].Bytes); all == nil && n <= len(data) {
			return []int{n}
		}
	case OpClass:
		switch e.Class {
		case ClassBoundary:
			return yes((opens(data[0]) || closes(data[0])) != e.Not)
		case ClassWord:
			return yes(alphanumeric(data[0]) == e.Not)
		case ClassLine:
			crlf := len(data) > 1 && data[0] == '\r' && data[1] == '\n'
			if crlf && !e.Not {
				return []int{2}
			}
			return yes((data[0] == '\n' || crlf) != e.Not)
		}
	}
	return nil
}

func beginsHere(b Boundary, data []byte, at int) bool {
	if at == 0 {
		return true
	}
	before := data[at-1]
	switch b.Class {
	case ClassBoundary:
		return opens(before)
	case ClassLine:
		return before == '\n'
	case ClassWord:
		return !alphanumeric(before)
	case ClassWideWord:
		return at == 1 || before != 0 || !alphanumeric(data[at-2])
	}
	return true
}

func endsHere(b Boundary, data []byte, at int) bool {
	rest := data[at:]
	holds := len(rest) == 0
	switch b.Class {
	case ClassNone:
		return true
	case ClassBoundary:
		holds = holds || closes(rest[0])
	case ClassLine:
		holds = holds || rest[0] == '\n' || len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n'
	case ClassWord:
		holds = holds || !alphanumeric(rest[0])
	case ClassWideWord:
		holds = holds || !alphanumeric(rest[0]) || len(rest) > 1 && rest[1] != 0
	}
	return holds != b.Not
}

// nearHere looks for a single byte before or behind at.
func nearHere(a Anchor, nocase bool, data []byte, at int, before bool) bool {
	if !a.Set {
		return true
	}
	for d := int(a.Min); d <= int(a.Max); d++ {
		i := at + d
		if before {
			i = at - 1 - d
		}
		if i < 0 || i >= len(data) {
			continue
		}
		c := data[i]
		if nocase && 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c == a.Value {
			return true
		}
	}
	return false
}
