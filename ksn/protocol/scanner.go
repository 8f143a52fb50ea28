package protocol

import (
	"bytes"
	"math"

	"example.org/avdb/dbformat"
)

// A scanner reads the canonical spelling of answers, and nothing else: it knows what comes next. After the first thing that is not as it
// should be it stands still, and all it gives is zero.
type scanner struct {
	b   []byte
	off int
	bad bool
}

// try steps over lit if it comes next.
func (s *scanner) try(lit string) bool {
	if s.bad || !bytes.HasPrefix(s.b[s.off:], []byte(lit)) {
		return false
	}
	s.off += len(lit)
	return true
}

// lit steps over what must come next.
func (s *scanner) lit(lit string) {
	if !s.try(lit) {
		s.bad = true
	}
}

// number reads a decimal number of at most max, without a leading zero.
func (s *scanner) number(max uint64) uint64 {
	from, n := s.off, uint64(0)
	for ; !s.bad && s.off < len(s.b) && s.b[s.off]-'0' < 10; s.off++ {
		d := uint64(s.b[s.off] - '0')
		if n > (max-min(d, max))/10 || s.off > from && s.b[from] == '0' {
			s.bad = true
		}
		n = 10*n + d
	}
	if s.bad = s.bad || s.off == from || n > max; s.bad {
		return 0
	}
	return n
}

// text reads a string in which only " and \ are escaped.
func (s *scanner) text() string {
	s.lit(`"`)
	var b []byte
	for from := s.off; !s.bad && s.off < len(s.b); s.off++ {
		switch c := s.b[s.off]; {
		case c == '"':
			b = append(b, s.b[from:s.off]...)
			s.off++
			return string(b)
		case c == '\\':
			b = append(b, s.b[from:s.off]...)
			if s.off++; s.off == len(s.b) || s.b[s.off] != '"' && s.b[s.off] != '\\' {
				s.bad = true
				return ""
			}
			from = s.off
		case c < ' ':
			s.bad = true
		}
	}
	s.bad = true
	return ""
}

// time reads a time of whole seconds in UTC.
func (s *scanner) time() dbformat.Time {
	var t dbformat.Time
	if t.UnmarshalText([]byte(s.text())) != nil {
		s.bad = true
	}
	return t
}

// maxNested bounds the depth of what nested steps over.
const maxNested = 8

// object steps over an object and gives its bytes, without looking at what it says.
func (s *scanner) object() []byte { return s.nested('{') }

// nested steps over what begins with open, a brace or a bracket.
func (s *scanner) nested(open byte) []byte {
	from, depth := s.off, 0
	if s.bad || s.off == len(s.b) || s.b[s.off] != open {
		s.bad = true
		return nil
	}
	for quoted := false; s.off < len(s.b); s.off++ {
		switch c := s.b[s.off]; {
		case quoted && c == '\\':
			s.off++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxNested {
				s.bad = true
				return nil
			}
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				s.off++
				return s.b[from:s.off]
			}
		}
	}
	s.bad = true
	return nil
}

// objects reads a list of 1 to most objects, of which the opening bracket is read already, to its closing one.
func (s *scanner) objects(most int) [][]byte {
	var all [][]byte
	for !s.bad {
		if all = append(all, s.object()); len(all) > most {
			s.bad = true
		}
		if s.try("]") {
			return all
		}
		s.lit(",")
	}
	return nil
}

// end tells whether all was read, and was as it should be.
func (s *scanner) end() bool { return !s.bad && s.off == len(s.b) }

// scanHead reads a head; ok is false if b is not the canonical spelling of one. What it says is not checked yet.
func scanHead(b []byte) (h Head, ok bool) {
	s := scanner{b: b}
	s.lit(`{"v":`)
	h.V = int(s.number(math.MaxInt32))
	s.lit(`,"issued":`)
	h.Issued = s.time()
	s.lit(`,"ttl":`)
	h.TTL = uint32(s.number(math.MaxUint32))
	s.lit(`,"neg_ttl":`)
	h.NegTTL = uint32(s.number(math.MaxUint32))
	s.lit(`,"release":`)
	h.Release = s.number(maxReleases)
	s.lit("}")
	if !s.end() {
		return Head{}, false
	}
	return h, true
}

// scanAnswer reads an answer but for its head, likewise.
func scanAnswer(b []byte) (a Answer, ok bool) {
	s := scanner{b: b}
	p, err := ParseTypedPrefix(s.text())
	s.bad = s.bad || err != nil
	a.Prefix = p
	s.lit(":[")
	a.Entries = []Entry{}
	for !s.bad && !s.try("]") {
		if len(a.Entries) > 0 {
			s.lit(",")
		}
		if a.Entries = append(a.Entries, s.entry(p.Type)); len(a.Entries) > MaxEntries {
			s.bad = true
		}
	}
	if !s.end() {
		return Answer{}, false
	}
	return a, true
}

// key reads the hash of a key.
func (s *scanner) key(t Type) Key {
	k := Key{Type: t}
	digits := s.text()
	if len(digits) != 2*t.KeySize() || !isHex(digits) {
		s.bad = true
		return Key{}
	}
	for i := range k.Bytes() {
		k.Sum[i] = digitValues[digits[2*i]]<<4 | digitValues[digits[2*i+1]]
	}
	return k
}

func (s *scanner) entry(t Type) Entry {
	var e Entry
	text := func(name string, to *string) {
		if s.try(name) {
			*to = s.text()
			s.bad = s.bad || *to == "" // what is empty is left out
		}
	}
	number := func(name string, max uint64) (n uint64) {
		if s.try(name) {
			n = s.number(max)
			s.bad = s.bad || n == 0
		}
		return n
	}
	s.lit(`{"key":`)
	e.Key = s.key(t)
	e.Size = uint32(number(`,"size":`, math.MaxUint32))
	s.lit(`,"verdict":`)
	e.Verdict = Verdict(s.text())
	text(`,"name":`, &e.Name)
	text(`,"category":`, &e.Category)
	if s.try(`,"first_seen":`) {
		t := s.time()
		e.FirstSeen = &t
	}
	e.Popularity = number(`,"popularity":`, math.MaxUint64)
	text(`,"signer":`, &e.Signer)
	if s.try(`,"regions":[`) {
		for more := true; more && !s.bad; more = s.try(",") {
			if e.Regions = append(e.Regions, s.text()); len(e.Regions) > MaxRegions {
				s.bad = true
			}
		}
		s.lit("]")
	}
	e.TTL = uint32(number(`,"ttl":`, math.MaxUint32))
	s.lit("}")
	return e
}

// A reply is the form of signed answers on the wire, before anything of it is believed.
type reply struct {
	head    []byte
	answers [][]byte
	proof   proof
}

// scanReply takes a reply apart.
func scanReply(b []byte) (r reply, ok bool) {
	s := scanner{b: b}
	s.lit(`{"head":`)
	r.head = s.object()
	s.lit(`,"answers":{`)
	for more := true; more && !s.bad; more = s.try(",") {
		from := s.off
		s.text()
		s.lit(":")
		s.nested('[')
		if r.answers = append(r.answers, s.b[from:s.off]); len(r.answers) > MaxBatch {
			s.bad = true
		}
	}
	s.lit(`},"proof":{"keyid":`)
	r.proof.KeyID = s.text()
	if s.try(`,"path":[`) {
		for more := true; more && !s.bad; more = s.try(",") {
			if r.proof.Path = append(r.proof.Path, s.text()); len(r.proof.Path) > maxPathUp {
				s.bad = true
			}
		}
		s.lit("]")
	}
	s.lit(`,"sig":`)
	r.proof.Sig = s.text()
	s.lit("}}")
	return r, s.end()
}

// scanReplies takes what POST /v1/lookup gives apart.
func scanReplies(b []byte, most int) (all [][]byte, ok bool) {
	s := scanner{b: b}
	s.lit(`{"replies":[`)
	all = s.objects(most)
	s.lit("}")
	return all, s.end()
}
