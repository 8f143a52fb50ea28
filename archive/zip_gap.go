package archive

import (
	"bytes"
	"encoding/binary"
	"io"
)

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
		name := make([]byte, nameLen)
		n, _ := v.in.ReadAt(name, at+lenLocal)
		clean := cleanName(name[:n])
		if err := v.b.entry(clean); err != nil {
			return v.fail(err)
		}
		if f, _, ok := readLocal(v.in, 0, uint64(at)); ok { // with the extra fields
			f = v.asStream(f, f)
			m, ended := v.newZipMember(clean, f, true)
			if bare := isFolder(name[:n]) && !v.yields(f); !bare && !v.member(m) {
				return false
			}
			at = f.data
			if end := ended(); end >= 0 {
				at = end
			} else if f.packed > 0 && f.packed <= to-f.data {
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
