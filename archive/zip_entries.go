package archive

import (
	"fmt"
	"io"
)

// entries visits what the central directory lists.
func (z *zipVisit) entries(d zipDirectory) {
	r, done := z.b.u.decoder.buffered(io.NewSectionReader(z.in, d.from, d.to-d.from))
	defer done()
	var seen uint64
	var text []byte
	for at := d.from; z.in.size > 0 && at < d.to; {
		e, n, err := readEntry(r, &text)
		if z.failed() {
			return
		}
		if err != nil {
			z.damage(at, err.Error())
			return
		}
		seen++
		if !z.listed(e, at) {
			return
		}
		at += n
	}
	if uint16(seen) != uint16(d.count) {
		z.damage(d.to, fmt.Sprintf("the central directory has %d entries and claims %d", seen, d.count))
	}
}

// failed tells whether reading has, and says so.
func (z *zipVisit) failed() bool {
	switch {
	case z.b.stop != nil:
		z.fail(z.b.check())
	case z.in.err != nil:
		z.fail(z.in.err)
	default:
		return false
	}
	return true
}

// listed visits the file of an entry that stands at a position.
func (z *zipVisit) listed(e zipEntry, at int64) bool {
	name := cleanName(e.name)
	if err := z.b.entry(name); err != nil {
		return z.fail(err)
	}
	local, first, ok := readLocal(z.in, z.base, e.offset)
	if z.failed() {
		return false
	}
	if !ok {
		return z.damage(at, fmt.Sprintf("entry %q points at byte %d, where no local header is", name, e.offset))
	}
	e.data = local.data
	local = z.asStream(local, e.zipFile)
	if isFolder(e.name) && !z.yields(e.zipFile) && !z.yields(local) {
		z.spans = append(z.spans, zipSpan{first, e.data, true})
		return !z.failed()
	}
	if _, ok := z.member(name, e.zipFile, first, false); !ok {
		return false
	}
	if !differs(e.zipFile, local) {
		return !z.failed()
	}
	if err := z.b.entry(name); err != nil {
		return z.fail(err)
	}
	_, ok = z.member(name, local, first, true)
	return ok && !z.failed()
}

// second visits what another directory lists otherwise, which is where the end of the directory says that it is, while the one that was read is right in front of
// that end: unpackers follow one or the other.
func (z *zipVisit) second(d zipDirectory) {
	if z.done || d.other == d.from || !z.in.begins(d.other, sigEntry) {
		return
	}
	r, done := z.b.u.decoder.buffered(io.NewSectionReader(z.in, d.other, d.to-d.other))
	defer done()
	var text []byte
	for at := d.other; at < d.to; {
		e, n, err := readEntry(r, &text)
		if z.failed() || err != nil || !z.unlisted(e) {
			break
		}
		at += n
	}
}

// unlisted visits the file of an entry that the directory has not, if it is to be read in another way than before.
func (z *zipVisit) unlisted(e zipEntry) bool {
	name := cleanName(e.name)
	if err := z.b.entry(name); err != nil {
		return z.fail(err)
	}
	local, first, ok := readLocal(z.in, 0, e.offset)
	if !ok && z.base != 0 {
		local, first, ok = readLocal(z.in, z.base, e.offset)
	}
	if z.failed() {
		return false
	}
	e.data = local.data
	if !ok || z.known(e.zipFile) || isFolder(e.name) && !z.yields(e.zipFile) {
		return !z.failed()
	}
	_, ok = z.member(name, e.zipFile, first, true)
	return ok
}
