package patterns

import (
	"testing"

	"example.org/avdb/filetype"
	"example.org/avdb/pattern"
	"example.org/avdb/pattern/patterntest"
)

// A writer makes up signatures and objects. Its alphabet is small, so that parts meet, overlap and repeat.
type writer struct{ *patterntest.Writer }

func newWriter(seed uint64) *writer {
	w := &writer{patterntest.New(seed)}
	w.Alphabet = w.Pick("ab", "abcAB \x00", "abcdefghXYZ019 _-.\n\r\x00\x80\xff", "\x90\x00\xcc")
	w.Most, w.Reach, w.Containers = 84, 300, true
	return w
}

// records makes up some signatures for files of a target, or of any; parts of them are the same now and then.
func (w *writer) records(t pattern.Target, n int) []pattern.Record {
	var all []pattern.Record
	for range n {
		of := t
		if w.IntN(4) == 0 {
			of = pattern.TargetAny
		}
		_, _, r := w.Line("A", of)
		if len(all) > 0 && w.IntN(4) == 0 {
			from := all[w.IntN(len(all))]
			if from.Logical != nil && r.Logical != nil && from.Logical.Target == r.Logical.Target {
				k := min(len(from.Logical.Subsignatures), len(r.Logical.Subsignatures))
				copy(r.Logical.Subsignatures[:k], from.Logical.Subsignatures)
			}
		}
		all = append(all, r)
	}
	return all
}

func encode(t testing.TB, all []pattern.Record) [][]byte {
	t.Helper()
	var records [][]byte
	for _, r := range all {
		b, err := pattern.AppendRecord(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, b)
	}
	return records
}

func subsignaturesOf(r pattern.Record) []pattern.Subsignature { return patterntest.Subsignatures(r) }

// chain gives bytes that the parts of a variant match, mostly; of a very long one the beginning.
func (w *writer) chain(v pattern.Variant) []byte {
	m, _ := w.Match(v, 1<<20)
	return m.Bytes
}

// object makes a file of about n bytes of matches, near misses, overlaps and other bytes.
func (w *writer) object(all []pattern.Record, n int) []byte {
	b := w.Filler(w.IntN(10))
	for len(b) < n {
		subs := subsignaturesOf(all[w.IntN(len(all))])
		s := &subs[w.IntN(len(subs))]
		variants := s.Variants()
		found := w.chain(variants[w.IntN(len(variants))])
		switch w.IntN(8) {
		case 0: // a near miss
			found[w.IntN(len(found))] ^= 1 << w.IntN(8)
		case 1: // cut off
			found = found[:w.IntN(len(found))]
		case 2: // over the end of what is there
			b = b[:len(b)-w.IntN(min(len(b), 6)+1)]
		case 3: // several times
			found = append(found, found...)
		}
		b = append(b, found...)
		b = append(b, w.Filler(w.IntN(1+w.IntN(60)))...)
	}
	if w.IntN(3) == 0 {
		b = b[:w.IntN(len(b))+1]
	}
	// At fixed places as well.
	for _, r := range all {
		for _, s := range subsignaturesOf(r) {
			first, last, ok := s.Offset.Bounds(int64(len(b)), &pattern.Facts{})
			if !ok || s.Offset.Place == pattern.PlaceAny || w.IntN(2) > 0 {
				continue
			}
			v := s.Variants()[0]
			copy(b[first+w.Int64N(last-first+1):], w.chain(v))
		}
	}
	return b
}

// facts makes up what is known about an object of n bytes and a target.
func (w *writer) facts(t pattern.Target, n int) Object {
	o := Object{Size: int64(n)}
	if w.IntN(3) == 0 {
		zip, _ := pattern.FileTypeOf("CL_TYPE_ZIP")
		o.Containers = []pattern.FileType{zip}
	}
	switch t {
	case pattern.TargetPE:
		o.Kind = filetype.PE
	case pattern.TargetELF:
		o.Kind = filetype.ELF
	case pattern.TargetOLE2:
		o.Kind = filetype.OLE2
	}
	if o.Kind.Executable() && w.IntN(8) > 0 {
		o.Layout = &filetype.Layout{Kind: o.Kind, Entry: uint32(w.IntN(n + 10))}
		for range w.IntN(5) {
			o.Layout.Sections = append(o.Layout.Sections, filetype.Section{Offset: uint32(w.IntN(n + 10)), Size: uint32(w.IntN(n + 10))})
		}
	}
	return o
}

func randomBytes(w *writer, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.IntN(256))
	}
	return b
}
