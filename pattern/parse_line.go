package pattern

import (
	"fmt"
	"strings"
)

// ParseBodyLine reads a line of a .ndb or .ndu file, without its end: NAME:TARGET:OFFSET:HEX[:minFL[:maxFL]]. What the name may hold beside
// having 1 to 255 bytes is for the caller to judge. On an error, which is an [*Error], the name is given as far as the line has one, and the signature is zero.
func ParseBodyLine(line string) (name string, s BodySignature, err error) {
	if len(line) > MaxBodyLine {
		return "", BodySignature{}, fault(KindLimit, "more than %d bytes", MaxBodyLine).at("line")
	}
	field := strings.SplitN(line, ":", 8)
	name = field[0]
	if f := parseBodyFields(field, &s); f != nil {
		return name, BodySignature{}, f
	}
	return name, s, nil
}

func parseBodyFields(field []string, s *BodySignature) *Error {
	if len(field) < 4 || len(field) > 6 {
		return fault(KindMalformed, "want NAME:TARGET:OFFSET:HEX[:minFL[:maxFL]]").at("line")
	}
	if f := checkLine(field); f != nil {
		return f
	}
	if len(field) > 4 {
		s.Engine = Range{Set: true, Max: maxRange}
		bounds := []*uint32{&s.Engine.Min, &s.Engine.Max}
		for i, text := range field[4:] {
			if f := parseUint32(text, bounds[i]); f != nil {
				return f.at("engine")
			}
			if f := checkEngine(s.Engine); f != nil { // as clamscan does, before the second is looked at
				return f
			}
		}
	}
	if field[1] != "*" {
		if f := parseTarget(field[1], &s.Target); f != nil {
			return f
		}
	}
	if f := parseOffset(field[2], &s.Offset); f != nil {
		return f
	}
	sub := Subsignature{Offset: s.Offset}
	if f := sub.parseBody(field[3]); f != nil {
		return f.at("body")
	}
	s.Body = sub.Body
	if f := s.check(); f != nil {
		return f
	}
	return checkName(field[0])
}

// checkLine finds what no field may hold.
func checkLine(field []string) *Error {
	if len(field[0]) > MaxName {
		return fault(KindLimit, "more than %d bytes", MaxName).at("name")
	}
	for _, text := range field {
		if strings.ContainsAny(text, "\x00\r\n") {
			return fault(KindLoose, "a line end or a NUL inside").at("line")
		}
	}
	return nil
}

// ParseLogicalLine reads a line of a .ldb or .ldu file, without its end: NAME;ATTRIBUTES;EXPRESSION;SUBSIGNATURE… As [ParseBodyLine] otherwise.
func ParseLogicalLine(line string) (name string, l Logical, err error) {
	if len(line) > MaxLogicalLine {
		return "", Logical{}, fault(KindLimit, "more than %d bytes", MaxLogicalLine).at("line")
	}
	field := strings.SplitN(line, ";", 4)
	name = field[0]
	if f := parseLogicalFields(field, &l); f != nil {
		return name, Logical{}, f
	}
	return name, l, nil
}

func parseLogicalFields(field []string, l *Logical) *Error {
	if len(field) < 4 {
		return fault(KindMalformed, "want NAME;ATTRIBUTES;EXPRESSION;SUBSIGNATURE…").at("line")
	}
	if f := checkLine(field); f != nil {
		return f
	}
	if f := l.parseAttributes(field[1]); f != nil {
		return f.at("attributes")
	}
	if f := checkEngine(l.Engine); f != nil {
		return f
	}
	if strings.Contains(field[3], "/") { // separators inside of the expression are its own: only a parser of these could go on
		return fault(KindPCRE, "/ begins a regular expression").at("subsignatures")
	}
	if f := parseExpression(field[2], &l.Expression); f != nil {
		return f.at("expression")
	}
	text := strings.SplitN(field[3], ";", MaxSubsignatures+1)
	if len(text) > MaxSubsignatures {
		return fault(KindMalformed, "more than %d subsignatures", MaxSubsignatures).at("subsignatures")
	}
	l.Subsignatures = make([]Subsignature, len(text))
	for i := range text {
		if f := l.Subsignatures[i].parse(text[i]); f != nil {
			return f.at(subName(i))
		}
	}
	if f := l.check(); f != nil {
		return f
	}
	return checkName(field[0])
}

// checkName comes last, for clamscan looks at no name of a line that it passes over.
func checkName(name string) *Error {
	if name == "" {
		return fault(KindMalformed, "empty").at("name")
	}
	return nil
}

func subName(i int) string { return fmt.Sprintf("subsignature %d", i) }

// parseAttributes reads NAME:VALUE,…
func (l *Logical) parseAttributes(text string) *Error {
	attributes := strings.SplitN(text, ",", 11)
	if len(attributes) > 10 {
		return fault(KindLoose, "more than 10, of which clamscan reads 10")
	}
	var seen []string
	for i, attribute := range attributes {
		name, value, ok := strings.Cut(attribute, ":")
		if !ok {
			return fault(KindMalformed, "%q is not NAME:VALUE", cut(attribute))
		}
		for _, other := range seen {
			if other == name {
				return fault(KindLoose, "%s twice", cut(name))
			}
		}
		seen = append(seen, name)
		var f *Error
		switch name {
		case "Target":
			f = parseTarget(value, &l.Target)
		case "Engine":
			if i != 0 {
				return fault(KindMalformed, "Engine is not the first")
			}
			f = parseRange(value, &l.Engine)
		case "FileSize":
			f = parseRange(value, &l.FileSize)
		case "EntryPoint":
			f = parseRange(value, &l.EntryPoint)
		case "NumberOfSections":
			f = parseRange(value, &l.Sections)
		case "Container":
			l.Container, f = parseFileType(value)
		case "Intermediates":
			types := strings.SplitN(value, ">", MaxIntermediates+1)
			if len(types) > MaxIntermediates {
				return fault(KindLimit, "more than %d intermediates", MaxIntermediates)
			}
			for _, text := range types {
				t, f := parseFileType(text)
				if f != nil {
					return f
				}
				l.Intermediates = append(l.Intermediates, t)
			}
		case "IconGroup1", "IconGroup2":
			return fault(KindIcon, "%s", name)
		case "HandlerType":
			return fault(KindHandler, "%s", name)
		default:
			return fault(KindAttribute, "%q", cut(name))
		}
		if f != nil {
			return f
		}
	}
	for _, name := range seen {
		if name == "Target" {
			return nil
		}
	}
	// clamscan looks at the level first, and passes over a line that is not for it.
	if f := checkEngine(l.Engine); f != nil {
		return f
	}
	return fault(KindMalformed, "no Target")
}

func parseFileType(text string) (FileType, *Error) {
	t, ok := FileTypeOf(text)
	if !ok {
		return TypeNone, fault(KindAttribute, "file type %q", cut(text))
	}
	return t, nil
}

// parseRange reads a-b.
func parseRange(text string, r *Range) *Error {
	least, most, ok := strings.Cut(text, "-")
	if !ok {
		return fault(KindMalformed, "%q is not a range", cut(text))
	}
	r.Set = true
	if f := parseUint32(least, &r.Min); f != nil {
		return f
	}
	return parseUint32(most, &r.Max)
}

func parseTarget(text string, t *Target) *Error {
	var v uint32
	if f := parseUint32(text, &v); f != nil {
		return f.at("target")
	}
	if v > uint32(TargetOther) {
		return fault(KindTarget, "target %d", v).at("target")
	}
	*t = Target(v)
	return nil
}

// parseUint32 reads a number. An empty one, which clamscan takes for 0, is not one.
func parseUint32(text string, to *uint32) *Error {
	v, f := parseNumber(text, maxRange)
	*to = uint32(v)
	return f
}

func parseNumber(text string, most uint64) (uint64, *Error) {
	v, ok := number(text)
	if ok && v <= most {
		return v, nil
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, fault(KindMalformed, "%q is no number", cut(text))
		}
	}
	if text == "" {
		return 0, fault(KindLoose, "an empty number")
	}
	return 0, fault(KindLimit, "number %s is over %d", cut(text), most)
}

// parseOffset reads an offset field.
func parseOffset(text string, o *Offset) *Error {
	f := o.parse(text)
	return f.at("offset")
}

func (o *Offset) parse(text string) *Error {
	if text == "*" {
		return nil
	}
	if len(text) > 64 {
		return fault(KindMalformed, "more than 64 bytes")
	}
	text, shift, shifted := strings.Cut(text, ",")
	if shifted {
		v, f := parseNumber(shift, MaxDistance)
		if f != nil {
			return f
		}
		o.Shift = uint32(v)
	}
	var n string
	section := func(text string) *Error {
		v, f := parseNumber(text, MaxSection)
		o.Section = uint16(v)
		return f
	}
	for _, p := range []struct {
		prefix string
		place  Place
	}{{"EP+", PlaceAfterEntry}, {"EP-", PlaceBeforeEntry}, {"EOF-", PlaceEnd}, {"SL+", PlaceLastSection}} {
		if rest, ok := strings.CutPrefix(text, p.prefix); ok {
			o.Place, n = p.place, rest
		}
	}
	switch {
	case o.Place != PlaceAny:
	case strings.HasPrefix(text, "SE"):
		o.Place = PlaceWholeSection
		return section(text[2:])
	case strings.HasPrefix(text, "S"):
		number, rest, ok := strings.Cut(text[1:], "+")
		if !ok {
			return fault(KindMalformed, "%q", cut(text))
		}
		o.Place, n = PlaceSection, rest
		if f := section(number); f != nil {
			return f.lenient()
		}
	case strings.HasPrefix(text, "VI"):
		return fault(KindVersionInfo, "VI")
	case strings.Contains(text, "$"):
		return fault(KindMacro, "%q", cut(text))
	default:
		o.Place, n = PlaceStart, text
	}
	v, f := parseNumber(n, MaxDistance)
	o.N = uint32(v)
	if o.Place == PlaceBeforeEntry && v == 0 && f == nil {
		o.Place = PlaceAfterEntry
	}
	if o.Place == PlaceSection {
		return f.lenient()
	}
	return f
}

// lenient is for numbers that clamscan reads up to the first thing that is none, and with blanks and signs before them.
func (e *Error) lenient() *Error {
	if e != nil && e.Kind == KindMalformed {
		e.Kind = KindLoose
	}
	return e
}

// parse reads [OFFSET:]HEX[::MODIFIERS].
func (s *Subsignature) parse(text string) *Error {
	switch {
	case strings.HasPrefix(text, "$"):
		return fault(KindMacro, "%q", cut(text))
	case strings.HasPrefix(text, "fuzzy_img#"):
		return fault(KindFuzzyImage, "%q", cut(text))
	case strings.Count(text, "#") > 1 && strings.Contains(text, "("):
		return fault(KindByteCompare, "%q", cut(text))
	}
	field := strings.SplitN(text, ":", 6)
	if len(field) > 4 || len(field) > 2 && field[len(field)-2] != "" {
		return fault(KindLoose, "want [OFFSET:]HEX[::MODIFIERS]; clamscan reads something else")
	}
	if len(field) > 2 {
		for _, c := range field[len(field)-1] {
			switch c {
			case 'i':
				s.Nocase = true
			case 'w':
				s.Wide = true
			case 'a':
				s.ASCII = true
			case 'f':
				s.FullWord = true
			default:
				return fault(KindMalformed, "modifier %q", c)
			}
		}
	}
	body := field[0]
	if len(field)%2 == 0 {
		if f := parseOffset(field[0], &s.Offset); f != nil {
			return f
		}
		body = field[1]
	}
	if s.ASCII && !s.Wide {
		if !s.Nocase && !s.FullWord && strings.Contains(body, "(") {
			return fault(KindLoose, "the modifier a alone says nothing, and yet clamscan takes fewer alternatives with it")
		}
		s.ASCII = false // it is the plain form anyway
	}
	return s.parseBody(body)
}
