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

// A span is a part of the file that an entry accounts for.
type span struct{ from, to int64 }

func (v *visit) zip() {
	var spans []span
	dir, err := findDirectory(v.in)
	switch {
	case v.b.stop != nil:
		v.fail(v.b.check())
	case v.in.err != nil:
		v.fail(v.in.err)
	case err != nil:
		v.damage(err.Offset, err.Reason)
	default:
		spans = v.zipEntries(dir)
		spans = append(spans, span{dir.from, dir.to + dir.tail})
	}
	if v.done {
		return
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	at, overlaps := int64(0), 0
	for _, s := range spans {
		if s.from < at {
			overlaps++
		} else if !v.zipGap(at, s.from) {
			return
		}
		at = max(at, s.to)
	}
	if !v.zipGap(at, v.in.size) {
		return
	}
	if overlaps > 0 {
		v.damage(dir.from, fmt.Sprintf("%d entries share bytes with others", overlaps))
	}
}

// zipEntries visits what the central directory lists and tells which parts of the file that accounts for.
func (v *visit) zipEntries(d zipDirectory) (spans []span) {
	r, done := v.b.u.decoder.buffered(io.NewSectionReader(v.in, d.from, d.to-d.from))
	defer done()
	var seen uint64
	var text []byte
	at := d.from
	for v.in.size > 0 && at < d.to {
		e, n, err := readEntry(r, &text)
		switch {
		case v.b.stop != nil:
			v.fail(v.b.check())
			return nil
		case v.in.err != nil:
			v.fail(v.in.err)
			return nil
		case err != nil:
			v.damage(at, err.Error())
			return spans
		}
		seen++
		name := cleanName(e.name)
		folder := isFolder(e.name)
		if err := v.b.entry(name); err != nil {
			v.fail(err)
			return nil
		}
		local, first, ok := readLocal(v.in, d.base, e.offset)
		switch {
		case v.b.stop != nil || v.in.err != nil:
		case !ok:
			if !v.damage(at, fmt.Sprintf("entry %q points at byte %d, where no local header is", name, e.offset)) {
				return nil
			}
		default:
			e.data = local.data
			spans = append(spans, span{first, e.data + min(e.packed, v.in.size-e.data)})
			local = v.asStream(local, e.zipFile)
			if folder && !v.yields(e.zipFile) && !v.yields(local) {
				break
			}
			if !v.zipMember(name, e.zipFile, false) {
				return nil
			}
			if !differs(e.zipFile, local) {
				break
			}
			if err := v.b.entry(name); err != nil {
				v.fail(err)
				return nil
			}
			if !v.zipMember(name, local, true) {
				return nil
			}
		}
		switch {
		case v.b.stop != nil:
			v.fail(v.b.check())
			return nil
		case v.in.err != nil:
			v.fail(v.in.err)
			return nil
		}
		at += n
	}
	if uint16(seen) != uint16(d.count) {
		v.damage(d.to, fmt.Sprintf("the central directory has %d entries and claims %d", seen, d.count))
	}
	return spans
}

// differs tells whether a local header leads to other content than the entry that points at it.
func differs(entry, local zipFile) bool {
	if entry.method != local.method || entry.encrypted() != local.encrypted() {
		return true
	}
	return !entry.selfEnding() && entry.packed != local.packed
}

func isFolder(name []byte) bool { return len(name) > 0 && name[len(name)-1] == '/' }
