package archive

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// asStream is a local header as those take it who read a stream: where a descriptor follows the content, the sizes before it say nothing. The listed
// file is what the directory says of the same content.
func (v *visit) asStream(local, listed zipFile) zipFile {
	if !local.follows() || local.encrypted() || local.selfEnding() {
		return local
	}
	n := listed.packed
	switch {
	case local.method == zipStored:
		n = v.storedLength(local, listed)
	case !v.describes(listed, local.data):
		n = -1
	}
	if n >= 0 || local.packed == 0 { // some tools write the sizes, and that they follow, and no descriptor
		local.packed = n
	}
	return local
}

// describes tells whether there is a descriptor where the content from a position on ends, if the directory is right.
func (v *visit) describes(listed zipFile, data int64) bool {
	var b [len(sigSizes) + lenSizes]byte
	n, _ := v.in.ReadAt(b[:], data+listed.packed)
	d, signed := bytes.CutPrefix(b[:n], []byte(sigSizes))
	if len(d) < lenSizes || !signed && listed.packed >= 1<<32-1 {
		return false
	}
	le := binary.LittleEndian
	return le.Uint32(d) == listed.sum && le.Uint32(d[4:]) == uint32(listed.packed)
}

// storedLength is the number of stored bytes up to their descriptor: the first that has the checksum of what is before it, which is what libarchive
// goes by, or else the first that has their number; -1 when there is none. A descriptor without a signature can be seen only where the directory
// has the end.
func (v *visit) storedLength(local, listed zipFile) int64 {
	w := window{in: v.in, to: v.in.size, buf: v.b.u.chunk()}
	defer func() { v.b.u.free = append(v.b.u.free, w.buf) }()
	le := binary.LittleEndian
	sum, at, bySize := uint32(0), local.data, int64(-1)
	end := int64(-1)
	if v.describes(listed, local.data) {
		end = local.data + listed.packed
	}
	for w.at(at, len(sigSizes)) != nil {
		rest := w.buf[at-w.from : w.n]
		n := bytes.Index(rest, []byte(sigSizes))
		found := n >= 0
		if !found {
			n = len(rest) - len(sigSizes) + 1
		}
		if at <= end && end <= at+int64(n) && crc32.Update(sum, crc32.IEEETable, rest[:end-at]) == listed.sum {
			return listed.packed
		}
		sum = crc32.Update(sum, crc32.IEEETable, rest[:n])
		at += int64(n)
		if !found {
			continue
		}
		length := at - local.data
		if d := w.at(at, len(sigSizes)+lenSizes); d != nil {
			d = d[len(sigSizes):]
			if le.Uint32(d) == sum {
				return length
			}
			if bySize < 0 && le.Uint32(d[4:]) == uint32(length) { // also of one in 64 bits
				bySize = length
			}
		}
		sum = crc32.Update(sum, crc32.IEEETable, []byte(sigSizes[:1]))
		at++
	}
	return bySize
}

// yields tells whether a file that looks like a folder has content: some bytes, or deflate, which needs no size in any header.
func (v *visit) yields(f zipFile) bool {
	if f.packed != 0 || f.encrypted() {
		return f.packed != 0 || f.follows()
	}
	if !f.selfEnding() {
		return false
	}
	m, _ := v.newZipMember("", f, true)
	defer m.release()
	src, err := contained(m.start)
	if err != nil {
		return false
	}
	var b [1]byte
	n, err := step(src, b[:])
	return n > 0 || err == io.ErrNoProgress
}
