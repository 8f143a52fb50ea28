package archive

import (
	"cmp"
	"fmt"
	"io"
	"slices"
)

// A zipFile is how to read one file: what an entry of the directory says, or a local header.
type zipFile struct {
	flags  uint16
	method uint16
	sum    uint32
	packed int64 // bytes; -1 where only the content tells
	size   int64 // bytes when unpacked
	data   int64 // where its content begins
}

func (f zipFile) encrypted() bool { return f.flags&(1<<0|1<<6|1<<13) != 0 || f.method == zipAES }

// follows tells whether sizes and checksum come behind the content.
func (f zipFile) follows() bool { return f.flags&(1<<3) != 0 }

// selfEnding tells whether the content says itself where it ends.
func (f zipFile) selfEnding() bool { return f.method == zipDeflate }

// A zipSpan is a part of the file that was read as something, and is looked through no more. That of an entry is its own alone.
type zipSpan struct {
	from, to int64
	entry    bool
}

// A zipReading is what makes the content of a file, and no name.
type zipReading struct {
	data, packed int64
	method       uint16
	encrypted    bool
}

func (f zipFile) reading() zipReading {
	r := zipReading{f.data, f.packed, f.method, f.encrypted()}
	if f.selfEnding() {
		r.packed = -1
	}
	return r
}

// A zipVisit is the visit of a zip, with what was read.
type zipVisit struct {
	*visit
	base  int64 // what positions in the directory are relative to
	spans []zipSpan
	read  []zipReading
	set   map[zipReading]struct{} // the same, once somebody asks for it
}

// zip visits a zip that begins at from; what is before that is other than a zip.
func (v *visit) zip(from int64) {
	z := zipVisit{visit: v}
	dir, err := findDirectory(v.in)
	switch {
	case v.b.stop != nil:
		v.fail(v.b.check())
	case v.in.err != nil:
		v.fail(v.in.err)
	case v.embedded && (err != nil || !dir.leads(v.in)): // most files that have the four bytes somewhere hold no zip
	case err != nil:
		v.damage(err.Offset, err.Reason)
	default:
		z.base = dir.base
		z.entries(dir)
		z.spans = append(z.spans, zipSpan{from: dir.from, to: dir.to + dir.tail})
		z.second(dir)
	}
	if !v.done {
		z.gaps(from, dir.from)
	}
}

// gaps visits what no entry accounts for.
func (z *zipVisit) gaps(at, dir int64) {
	slices.SortFunc(z.spans, func(a, b zipSpan) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	last, overlaps := int64(0), 0 // of entries
	for _, s := range z.spans {   // what comes in a gap is of no interest to the others
		if s.entry && s.from < last {
			overlaps++
		}
		if s.entry {
			last = max(last, s.to)
		}
		if s.from > at && !z.gap(at, s.from) {
			return
		}
		at = max(at, s.to)
	}
	if !z.gap(at, z.in.size) {
		return
	}
	if overlaps > 0 {
		z.damage(dir, fmt.Sprintf("%d entries share bytes with others", overlaps))
	}
}

// member visits a file, counted already, of which the local header is at a position. It is not visited again in this way of reading it, and looked through for no
// headers as far as somebody was given it: what is packed goes as far as it goes, whatever the headers say of that. end is where that is.
func (z *zipVisit) member(name string, f zipFile, local int64, hidden bool) (end int64, ok bool) {
	m, ended := z.newZipMember(name, f, hidden)
	m.quiet = z.embedded && hidden
	if z.set != nil {
		z.set[f.reading()] = struct{}{}
	} else {
		z.read = append(z.read, f.reading())
	}
	if m.quiet && (m.Encrypted || m.Method != "") {
		return f.data, true
	}
	ok = z.visit.member(m)
	if end = ended(); end < 0 {
		end = f.data
		if f.packed > 0 && !f.encrypted() && (f.method == zipStored || m.err == io.EOF) {
			end += min(f.packed, max(0, z.in.size-f.data))
		}
	}
	z.spans = append(z.spans, zipSpan{local, end, !hidden})
	return end, ok
}

// known tells whether a file was read in that way before.
func (z *zipVisit) known(f zipFile) bool {
	if z.set == nil {
		z.set = make(map[zipReading]struct{}, len(z.read))
		for _, r := range z.read {
			z.set[r] = struct{}{}
		}
		z.read = nil
	}
	_, ok := z.set[f.reading()]
	return ok
}

// differs tells whether a local header leads to other content than the entry that points at it.
func differs(entry, local zipFile) bool {
	if entry.method != local.method || entry.encrypted() != local.encrypted() {
		return true
	}
	return !entry.selfEnding() && entry.packed != local.packed
}

func isFolder(name []byte) bool { return len(name) > 0 && name[len(name)-1] == '/' }
