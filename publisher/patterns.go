package publisher

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"slices"

	"example.org/avdb/dbformat"
	"example.org/avdb/pattern"
)

// A patternEntry is one valid line about the content of files. Two with one key say the same.
type patternEntry struct {
	key    [sha256.Size]byte // of record
	name   string
	record []byte // in clear
}

// A patternTable collects the patterns of one family.
type patternTable []patternEntry

// sorted gives all entries in the order of key and name, and empties the table.
func (t *patternTable) sorted() []patternEntry {
	entries := *t
	*t = nil
	slices.SortFunc(entries, func(x, y patternEntry) int {
		if c := bytes.Compare(x.key[:], y.key[:]); c != 0 {
			return c
		}
		return cmp.Compare(x.name, y.name)
	})
	return entries
}

// A fault says why the line of a pattern is a reject; the reason is "" for a valid one. The kind is what rejects are counted by.
type fault struct{ reason, kind string }

// A patternReader reads the lines of patterns. It keeps its buffers.
type patternReader struct {
	reasons  map[fault]string // by place and kind: all texts of reasons that there are
	detailed int              // rejects whose reason says all that is known
	record   []byte
	records  byteArena
	test     *selfTestFiles
}

// maxDetailed is the number of rejects whose reason says, in parentheses, what exactly is wrong. Those after them say place and kind only, of
// which there are a thousand at most, so that ten million rejects need no memory for texts.
const maxDetailed = 1000

// pattern takes in a line of a body or a logical signature.
func (in *intake) pattern(k kind, text []byte) fault {
	var name string
	var r pattern.Record
	var err error
	if k == kindBody || k == kindBodyPUA {
		var s pattern.BodySignature
		name, s, err = pattern.ParseBodyLine(string(text))
		r.Body = &s
	} else {
		var l pattern.Logical
		name, l, err = pattern.ParseLogicalLine(string(text))
		r.Logical = &l
	}
	if err == nil {
		in.patternLine.record, err = pattern.AppendRecord(in.patternLine.record[:0], r)
	}
	if err == nil && len(in.patternLine.record) > dbformat.MaxPattern {
		err = &pattern.Error{Kind: pattern.KindLimit, Where: "record", Reason: "longer than a layer can store"}
	}
	if err != nil {
		return in.patternLine.fault(name, err)
	}
	if reason := nameFault([]byte(name)); reason != "" {
		return fault{reason, reason}
	}
	if in.patternLine.test == nil {
		in.patternLine.test = newSelfTestFiles()
	}
	if in.patternLine.test.matches(&r) {
		return fault{reasonSelfTestHit, reasonSelfTestHit}
	}
	if len(in.ignore) > 0 && in.ignore[name].covers(text) {
		in.Ignored++
		return fault{}
	}
	to := familyNormal
	if k == kindBodyPUA || k == kindLogicalPUA {
		to = familyPUA
	}
	record := in.patternLine.records.keep(in.patternLine.record)
	in.patterns[to] = append(in.patterns[to], patternEntry{sha256.Sum256(record), in.names.keep([]byte(name)), record})
	return fault{}
}

// fault turns an error of the parser into a reason. Of names and levels it speaks as the parsers of hashes do.
func (p *patternReader) fault(name string, err error) fault {
	e, ok := errors.AsType[*pattern.Error](err)
	switch {
	case !ok: // no error of the parser is another one; what it says has no bound
		return fault{reasonPattern, reasonPattern}
	case e.Kind == pattern.KindEngine:
		return fault{reasonLevelRange, reasonLevelRange}
	case e.Where == "name" && name == "":
		return fault{reasonNoName, reasonNoName}
	case e.Where == "name":
		return fault{reasonNameLong, reasonNameLong}
	}
	f := fault{kind: e.Kind.String()}
	at := fault{e.Where, f.kind}
	if f.reason, ok = p.reasons[at]; !ok {
		if p.reasons == nil {
			p.reasons = map[fault]string{}
		}
		f.reason = e.Where + ": " + f.kind
		p.reasons[at] = f.reason
	}
	if p.detailed < maxDetailed {
		p.detailed++
		f.reason += " (" + e.Reason + ")"
	}
	return f
}

// A byteArena keeps short pieces of bytes in large ones.
type byteArena []byte

// keep copies b.
func (a *byteArena) keep(b []byte) []byte {
	if cap(*a)-len(*a) < len(b) {
		*a = make(byteArena, 0, max(arenaPiece, len(b)))
	}
	start := len(*a)
	*a = append(*a, b...)
	return (*a)[start:len(*a):len(*a)]
}

// placePatterns puts the patterns into c: those that the policy wants whole into light, all others into rest. One that is both wanted always and
// unwanted is kept as the first.
func (in *intake) placePatterns(c *dbformat.Content, policy *Policy, held map[wholeKey]bool) (duplicates uint64) {
	normal := map[[sha256.Size]byte]bool{}
	for f, class := range []dbformat.Class{dbformat.ClassPattern, dbformat.ClassPatternPUA} {
		id := class.Section(dbformat.SHA256)
		entries := in.patterns[f].sorted()
		for len(entries) > 0 {
			first, n, light := entries[0], 0, false
			for ; n < len(entries) && entries[n].key == first.key; n++ {
				light = light || policy.namesWhole(entries[n].name)
			}
			entries = entries[n:]
			if f == int(familyPUA) && normal[first.key] {
				duplicates += uint64(n)
				continue
			}
			duplicates += uint64(n - 1)
			normal[first.key] = true
			row := dbformat.PatternRecord{Name: first.name, Pattern: first.record}
			if light || held[wholeKey{dbformat.ClassPattern, dbformat.SHA256, first.key, 0}] {
				c.Patterns[id] = append(c.Patterns[id], row)
			} else {
				c.RestPatterns[id] = append(c.RestPatterns[id], row)
			}
		}
	}
	return duplicates
}
