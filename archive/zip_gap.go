package archive

import (
	"bytes"
	"io"
)

// gap visits the local headers in a part of the file that nothing accounts for, and entries that lead to anything that was not read.
func (z *zipVisit) gap(from, to int64) bool {
	if to-from < lenLocal+1 {
		return !z.done
	}
	w := window{in: z.in, to: to, buf: z.b.u.chunk()}
	defer func() { z.b.u.free = append(z.b.u.free, w.buf) }()
	for at := from; ; {
		at = w.find(sig, at)
		if z.failed() {
			return false
		}
		if at < 0 {
			return true
		}
		var ok bool
		switch head := w.at(at, len(sigLocal)); string(head) {
		case sigLocal:
			at, ok = z.gapLocal(&w, at)
		case sigEntry:
			at, ok = z.gapEntry(&w, at)
		default:
			at, ok = at+int64(len(sig)), true
		}
		if !ok {
			return false
		}
	}
}

// gapEntry visits what may be an entry; next is where to go on.
func (z *zipVisit) gapEntry(w *window, at int64) (next int64, ok bool) {
	next = at + int64(len(sigEntry))
	head := w.at(at, lenEntry)
	if head == nil {
		return next, true
	}
	e, textLen, _ := parseEntry(head)
	text := w.at(at+lenEntry, textLen)
	if text == nil {
		return next, true
	}
	e.setText(text)
	return next, z.unlisted(e)
}

// gapLocal visits what may be a local header; next is where to go on.
func (z *zipVisit) gapLocal(w *window, at int64) (next int64, ok bool) {
	next = at + int64(len(sigLocal))
	head := w.at(at, lenLocal)
	if head == nil {
		return next, true
	}
	f, extra := parseLocal(head, at)
	nameLen := f.data - extra - at - lenLocal
	if f.data > z.in.size || !z.plausible(head, f, nameLen) {
		return next, true
	}
	name := make([]byte, nameLen)
	n, _ := z.in.ReadAt(name, at+lenLocal)
	clean := cleanName(name[:n])
	if err := z.b.entry(clean); err != nil {
		return next, z.fail(err)
	}
	f, _, ok = readLocal(z.in, 0, uint64(at)) // with the extra fields
	if z.failed() || !ok {
		return next, !z.done
	}
	f = z.asStream(f, f)
	if z.known(f) || isFolder(name[:n]) && !z.yields(f) {
		return next, !z.failed()
	}
	end, ok := z.member(clean, f, at, true)
	if end > f.data {
		next = end
	}
	return next, ok
}

// plausible tells a local header from four bytes that look like one. Embedded ones are what clamscan 1.4.6 takes for one, whatever their names are, if there is
// something to read.
func (z *zipVisit) plausible(head []byte, f zipFile, nameLen int64) bool {
	if z.embedded {
		return !f.encrypted() && (f.follows() || f.selfEnding() || f.packed > 0 && f.packed <= z.in.size-f.data)
	}
	version := head[4]
	const newest = 63 // of the format that APPNOTE describes
	return version <= newest && nameLen > 0 && nameLen <= 4<<10 && (f.method <= 20 || f.method >= 90 && f.method <= zipAES)
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

// FindEmbedded gives the position of what looks like the first local header of a zip in b, -1 for none. It costs a small part of what a hash does.
func FindEmbedded(b []byte) int {
	const second = 1 // the byte of sigLocal that other files have least of
	hits := 0
	for at := second; at < len(b); at++ {
		i := bytes.IndexByte(b[at:], sigLocal[second])
		if i < 0 {
			break
		}
		if at += i; bytes.HasPrefix(b[at-second:], []byte(sigLocal)) {
			return at - second
		}
		if hits++; hits > 64+at/16 { // such a file is made for it, or has many capitals
			if i = bytes.Index(b[at:], []byte(sigLocal)); i >= 0 {
				i += at
			}
			return i
		}
	}
	return -1
}
