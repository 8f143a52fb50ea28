package archive

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/bzip2"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// The parts of a zip file, by their signatures, with the bytes that each has at least.
const (
	sigLocal = "PK\x03\x04"
	sigEntry = "PK\x01\x02"
	sigEnd   = "PK\x05\x06"
	sigEnd64 = "PK\x06\x06"
	sigLoc64 = "PK\x06\x07"

	lenLocal = 30
	lenEntry = 46
	lenEnd   = 22
	lenEnd64 = 56
	lenLoc64 = 20
)

// Methods of packing.
const (
	zipStored  = 0
	zipDeflate = 8
	zipBzip2   = 12
	zipZstdOld = 20
	zipZstd    = 93
	zipAES     = 99 // WinZip's encryption; the method is elsewhere
)

// A zipFile is how to read one file: what an entry of the directory says, or a local header.
type zipFile struct {
	flags  uint16
	method uint16
	sum    uint32
	packed int64 // bytes
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

// A zipDirectory is where the central directory is.
type zipDirectory struct {
	from, to int64
	base     int64  // what positions in it are relative to
	count    uint64 // entries, as it claims
	tail     int64  // bytes of the records that end the file
}

// findDirectory finds the last end of a central directory whose comment may be cut or followed by other bytes.
func findDirectory(in *input) (zipDirectory, *DamageError) {
	bad := func(at int64, format string, args ...any) (zipDirectory, *DamageError) {
		return zipDirectory{}, &DamageError{Offset: at, Reason: fmt.Sprintf(format, args...)}
	}
	end, at := findEnd(in, 1<<10) // nearly all have no comment
	if end == nil {
		end, at = findEnd(in, lenEnd+1<<16-1)
	}
	if end == nil {
		return bad(in.size, "no end of a central directory; local headers are read instead")
	}
	le := binary.LittleEndian
	d := zipDirectory{to: at, count: uint64(le.Uint16(end[10:])), tail: lenEnd + int64(le.Uint16(end[20:]))}
	size, off := uint64(le.Uint32(end[12:])), uint64(le.Uint32(end[16:]))
	if d.count == 1<<16-1 || size == 1<<32-1 || off == 1<<32-1 {
		if e, ok := findEnd64(in, at); ok {
			d.to, d.tail = e.at, d.tail+at-e.at
			d.count, size, off = e.count, e.size, e.off
		}
	}
	if size > uint64(d.to) || off > uint64(d.to)-size {
		return bad(at, "the central directory of %d bytes at %d is not in front of its end; local headers are read instead", size, off)
	}
	d.from = d.to - int64(size)
	d.base = d.from - int64(off)
	if d.base > 0 && size > 0 && in.begins(int64(off), sigEntry) && !in.begins(d.from, sigEntry) {
		d.base, d.from = 0, int64(off)
	}
	return d, nil
}

// findEnd finds the last end of a directory in the last bytes of the file; nil for none.
func findEnd(in *input, last int64) (end []byte, at int64) {
	tail := make([]byte, min(in.size, last))
	from := in.size - int64(len(tail))
	if n, _ := in.ReadAt(tail, from); n < len(tail) {
		return nil, 0
	}
	for i := len(tail); ; {
		if i = bytes.LastIndex(tail[:i], []byte(sigEnd)); i < 0 {
			return nil, 0
		}
		if len(tail)-i >= lenEnd {
			return tail[i:], from + int64(i)
		}
	}
}

type end64 struct {
	at               int64
	count, size, off uint64
}

// findEnd64 finds the end in 64 bits by the locator in front of the other end.
func findEnd64(in *input, at int64) (end64, bool) {
	var loc [lenLoc64]byte
	if at < lenLoc64+lenEnd64 || !in.record(loc[:], at-lenLoc64, sigLoc64) {
		return end64{}, false
	}
	le := binary.LittleEndian
	var rec [lenEnd64]byte
	// Bytes in front of the archive make its own positions wrong; then the end is usually right in front of the locator.
	for _, p := range []uint64{le.Uint64(loc[8:]), uint64(at - lenLoc64 - lenEnd64)} {
		if p <= uint64(at-lenLoc64-lenEnd64) && in.record(rec[:], int64(p), sigEnd64) {
			return end64{at: int64(p), count: le.Uint64(rec[32:]), size: le.Uint64(rec[40:]), off: le.Uint64(rec[48:])}, true
		}
	}
	return end64{}, false
}

// record fills rec from a position, if it begins with sig.
func (in *input) record(rec []byte, at int64, sig string) bool {
	n, err := in.ReadAt(rec, at)
	return n == len(rec) && (err == nil || err == io.EOF) && string(rec[:len(sig)]) == sig
}

func (in *input) begins(at int64, sig string) bool {
	var b [4]byte
	return in.record(b[:], at, sig)
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
		folder := len(e.name) > 0 && e.name[len(e.name)-1] == '/' && e.packed == 0
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
			if folder && local.packed == 0 {
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
	return !entry.selfEnding() && !local.follows() && entry.packed != local.packed
}

// A zipEntry is an entry of the central directory.
type zipEntry struct {
	zipFile
	name   []byte // valid until the next one is read
	offset uint64 // of the local header
}

// readEntry reads an entry of n bytes. Text is used again for name and extra fields.
func readEntry(r *bufio.Reader, text *[]byte) (e zipEntry, n int64, err error) {
	var b [lenEntry]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return e, 0, fmt.Errorf("the central directory ends in an entry: %w", noEOF(err))
	}
	if string(b[:4]) != sigEntry {
		return e, 0, fmt.Errorf("no entry of a central directory where one should be")
	}
	le := binary.LittleEndian
	e.flags, e.method, e.sum = le.Uint16(b[8:]), le.Uint16(b[10:]), le.Uint32(b[16:])
	nameLen, extraLen, commentLen := int(le.Uint16(b[28:])), int(le.Uint16(b[30:])), int(le.Uint16(b[32:]))
	*text = slices.Grow((*text)[:0], nameLen+extraLen)[:nameLen+extraLen]
	if _, err := io.ReadFull(r, *text); err != nil {
		return e, 0, fmt.Errorf("the central directory ends in a name: %w", noEOF(err))
	}
	if _, err := r.Discard(commentLen); err != nil {
		return e, 0, fmt.Errorf("the central directory ends in a comment: %w", noEOF(err))
	}
	e.name = (*text)[:nameLen]
	packed, size, offset := uint64(le.Uint32(b[20:])), uint64(le.Uint32(b[24:])), uint64(le.Uint32(b[42:]))
	zip64((*text)[nameLen:], &size, &packed, &offset)
	e.packed, e.size, e.offset = clamp(packed), clamp(size), offset
	return e, int64(lenEntry + nameLen + extraLen + commentLen), nil
}

// readLocal reads the local header at an offset from base, and tells where it is.
func readLocal(in *input, base int64, offset uint64) (f zipFile, at int64, ok bool) {
	if offset > uint64(in.size) || int64(offset) > in.size-base {
		return f, 0, false
	}
	at = base + int64(offset)
	var b [lenLocal]byte
	if !in.record(b[:], at, sigLocal) {
		return f, at, false
	}
	f, extra := parseLocal(b[:], at)
	if extra > 0 && (f.packed == 1<<32-1 || f.size == 1<<32-1) {
		buf := make([]byte, min(extra, 1<<10)) // the field stands first wherever one is written
		n, _ := in.ReadAt(buf, f.data-extra)
		packed, size := uint64(f.packed), uint64(f.size)
		zip64(buf[:n], &size, &packed, nil)
		f.packed, f.size = clamp(packed), clamp(size)
	}
	return f, at, f.data <= in.size
}

// parseLocal takes a local header at a position apart; extra is the length of its extra fields.
func parseLocal(b []byte, at int64) (f zipFile, extra int64) {
	le := binary.LittleEndian
	extra = int64(le.Uint16(b[28:]))
	return zipFile{flags: le.Uint16(b[6:]), method: le.Uint16(b[8:]), sum: le.Uint32(b[14:]), packed: int64(le.Uint32(b[18:])),
		size: int64(le.Uint32(b[22:])), data: at + lenLocal + int64(le.Uint16(b[26:])) + extra}, extra
}

// zip64 replaces what did not fit into 32 bits by what an extra field says. What it lacks stays as it is.
func zip64(extra []byte, size, packed, offset *uint64) {
	const id = 1
	le := binary.LittleEndian
	for len(extra) >= 4 {
		n := int(le.Uint16(extra[2:]))
		if n > len(extra)-4 {
			return
		}
		field := extra[4 : 4+n]
		if le.Uint16(extra) == id {
			for _, v := range []*uint64{size, packed, offset} {
				if v != nil && *v == 1<<32-1 && len(field) >= 8 {
					*v, field = le.Uint64(field), field[8:]
				}
			}
			return
		}
		extra = extra[4+n:]
	}
}

// clamp makes a claim a number that can be added to.
func clamp(n uint64) int64 { return int64(min(n, 1<<62)) }

// zipMember visits one file, counted already.
func (v *visit) zipMember(name string, f zipFile, hidden bool) bool {
	m, _ := v.newZipMember(name, f, hidden)
	return v.member(m)
}

// newZipMember makes a member; ended is where its content ended once it was read to its end, -1 before.
func (v *visit) newZipMember(name string, f zipFile, hidden bool) (m *Member, ended func() int64) {
	m = &Member{Name: name, Size: f.size, Hidden: hidden, Encrypted: f.encrypted()}
	at := int64(-1)
	ended = func() int64 { return at }
	if hidden && f.follows() {
		m.Size = -1
	} else {
		m.check, m.want = true, f.sum
	}
	src := &packedReader{in: v.in, at: f.data, end: f.data + min(f.packed, max(0, v.in.size-f.data))}
	d := &v.b.u.decoder
	switch f.method {
	case zipStored:
		if hidden && f.follows() && f.packed == 0 {
			m.Method = "stored without a length"
		}
		m.start = func() (io.Reader, error) { return &storedReader{src, f.packed}, nil }
	case zipBzip2:
		m.start = func() (io.Reader, error) {
			b, done := d.buffered(src)
			m.stop = done
			return bzip2.NewReader(b), nil
		}
	case zipDeflate:
		m.start = func() (io.Reader, error) {
			src.beyond = true
			b, done := d.buffered(src)
			r, back, err := d.deflate(b)
			m.stop = func() { back(); done() }
			if err != nil {
				return nil, err
			}
			return readerFunc(func(p []byte) (int, error) {
				n, err := r.Read(p)
				if err == io.EOF {
					at = src.at - int64(b.Buffered())
				}
				return n, err
			}), nil
		}
	case zipZstd, zipZstdOld:
		m.start = func() (io.Reader, error) {
			r, done, err := d.zstd(src, v.b.u.limits.Window)
			m.stop = done
			return r, err
		}
	default:
		m.Method = fmt.Sprintf("method %d", f.method)
	}
	return m, ended
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A packedReader reads packed content, up to end, and if need be beyond: what ends by itself is believed more than a header. Beyond end it reads
// only when it is asked again, so that a small file costs no large read.
type packedReader struct {
	in      *input
	at, end int64
	beyond  bool
}

func (r *packedReader) Read(p []byte) (int, error) {
	if r.at < r.end {
		p = p[:min(int64(len(p)), r.end-r.at)]
	} else if !r.beyond {
		return 0, io.EOF
	} else {
		p = p[:min(len(p), 4<<10)]
	}
	n, err := r.in.ReadAt(p, r.at)
	r.at += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// A storedReader reports a file that is cut.
type storedReader struct {
	r    *packedReader
	left int64
}

func (s *storedReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.left -= int64(n)
	if err == io.EOF && s.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// zipGap visits the local headers in a part of the file that no entry accounts for.
func (v *visit) zipGap(from, to int64) bool {
	if to-from < lenLocal+1 {
		return !v.done
	}
	w := window{in: v.in, to: to, buf: v.b.u.chunk()}
	defer func() { v.b.u.free = append(v.b.u.free, w.buf) }()
	for at := from; ; {
		at = w.find(sigLocal, at)
		switch {
		case v.b.stop != nil:
			return v.fail(v.b.check())
		case v.in.err != nil:
			return v.fail(v.in.err)
		case at < 0:
			return true
		}
		head := w.at(at, lenLocal)
		if head == nil {
			return true
		}
		f, extra := parseLocal(head, at)
		nameLen := f.data - extra - at - lenLocal
		if !plausible(head, nameLen) || f.data > v.in.size {
			at += int64(len(sigLocal))
			continue
		}
		name := make([]byte, min(nameLen, 2*MaxName))
		n, _ := v.in.ReadAt(name, at+lenLocal)
		clean := cleanName(name[:n])
		if err := v.b.entry(clean); err != nil {
			return v.fail(err)
		}
		if f, _, ok := readLocal(v.in, 0, uint64(at)); ok { // with the extra fields
			m, ended := v.newZipMember(clean, f, true)
			folder := name[n-1] == '/' && f.packed == 0 && !f.follows()
			if !folder && !v.member(m) {
				return false
			}
			at = f.data
			if end := ended(); end >= 0 {
				at = end
			} else if f.packed <= to-f.data {
				at += f.packed
			}
		} else {
			at += int64(len(sigLocal))
		}
	}
}

// plausible tells a local header from four bytes that look like one.
func plausible(head []byte, nameLen int64) bool {
	le := binary.LittleEndian
	version, method := head[4], le.Uint16(head[8:])
	const newest = 63 // of the format that APPNOTE describes
	return version <= newest && nameLen > 0 && nameLen <= 4<<10 && (method <= 20 || method >= 90 && method <= zipAES)
}

// A window is a part of a file that moves forward.
type window struct {
	in   *input
	to   int64
	buf  []byte
	from int64
	n    int
}

// at gives n bytes at a position, nil when the part does not hold them; valid until the next call.
func (w *window) at(at int64, n int) []byte {
	if at < w.from || at+int64(n) > w.from+int64(w.n) {
		w.from, w.n = at, 0
		if at >= w.to {
			return nil
		}
		got, err := w.in.ReadAt(w.buf[:min(int64(len(w.buf)), w.to-at)], at)
		if err != nil && err != io.EOF {
			return nil
		}
		w.n = got
		if got < n {
			return nil
		}
	}
	i := at - w.from
	return w.buf[i : i+int64(n)]
}

// find gives the position of sig from a position on, -1 for none.
func (w *window) find(sig string, at int64) int64 {
	for w.at(at, len(sig)) != nil {
		rest := w.buf[at-w.from : w.n]
		if i := bytes.Index(rest, []byte(sig)); i >= 0 {
			return at + int64(i)
		}
		at += int64(len(rest) - len(sig) + 1)
	}
	return -1
}
