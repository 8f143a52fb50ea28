package archive

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// The parts of a zip file, by their signatures, with the bytes that each has at least.
const (
	sig      = "PK" // that all begin with
	sigLocal = "PK\x03\x04"
	sigEntry = "PK\x01\x02"
	sigEnd   = "PK\x05\x06"
	sigEnd64 = "PK\x06\x06"
	sigLoc64 = "PK\x06\x07"
	sigSizes = "PK\x07\x08" // a data descriptor, which may do without it

	lenLocal = 30
	lenEntry = 46
	lenEnd   = 22
	lenEnd64 = 56
	lenLoc64 = 20
	lenSizes = 12 // behind the signature: checksum and both sizes, in 32 bits
)

// A zipDirectory is where the central directory is.
type zipDirectory struct {
	from, to int64
	base     int64  // what positions in it are relative to
	count    uint64 // entries, as it claims
	tail     int64  // bytes of the records that end the file
	other    int64  // where it says that it is, if that is something else than from
}

// leads tells whether the first entry leads to a local header.
func (d *zipDirectory) leads(in *input) bool {
	var b [lenEntry]byte
	if !in.record(b[:], d.from, sigEntry) {
		return false
	}
	e, _, _ := parseEntry(b[:])
	_, _, ok := readLocal(in, d.base, e.offset)
	return ok
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
	d.from, d.other = d.to-int64(size), int64(off)
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

// A zipEntry is an entry of the central directory.
type zipEntry struct {
	zipFile
	name    []byte // valid until the next one is read
	nameLen int
	offset  uint64 // of the local header
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
	e, textLen, commentLen := parseEntry(b[:])
	*text = slices.Grow((*text)[:0], textLen)[:textLen]
	if _, err := io.ReadFull(r, *text); err != nil {
		return e, 0, fmt.Errorf("the central directory ends in a name: %w", noEOF(err))
	}
	if _, err := r.Discard(commentLen); err != nil {
		return e, 0, fmt.Errorf("the central directory ends in a comment: %w", noEOF(err))
	}
	e.setText(*text)
	return e, int64(lenEntry + textLen + commentLen), nil
}

// parseEntry takes an entry apart but for its text, which is name and extra fields and follows, as does a comment.
func parseEntry(b []byte) (e zipEntry, textLen, commentLen int) {
	le := binary.LittleEndian
	e.flags, e.method, e.sum = le.Uint16(b[8:]), le.Uint16(b[10:]), le.Uint32(b[16:])
	e.nameLen = int(le.Uint16(b[28:]))
	e.packed, e.size, e.offset = int64(le.Uint32(b[20:])), int64(le.Uint32(b[24:])), uint64(le.Uint32(b[42:]))
	return e, e.nameLen + int(le.Uint16(b[30:])), int(le.Uint16(b[32:]))
}

// setText adds name and extra fields.
func (e *zipEntry) setText(text []byte) {
	e.name = text[:e.nameLen]
	packed, size := uint64(e.packed), uint64(e.size)
	zip64(text[e.nameLen:], &size, &packed, &e.offset)
	e.packed, e.size = clamp(packed), clamp(size)
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
