package archive

import (
	"archive/tar"
	"errors"
	"io"
)

// tarBlock is what everything in a tar file is a multiple of.
const tarBlock = 512

func (v *visit) tar() {
	var read []span
	for at := int64(0); at >= 0 && !v.done; {
		at = v.tarFrom(at, &read)
	}
	v.tarPlain(read)
}

// tarFrom visits members from a header on, and adds to read where their content is. Behind a broken header, and behind the end of an archive, it gives the position of
// the next; -1 for none.
func (v *visit) tarFrom(begin int64, read *[]span) int64 {
	src := v.in.from(begin)
	at := func() int64 {
		n, _ := src.Seek(0, io.SeekCurrent) // cannot fail
		return begin + n
	}
	r := tar.NewReader(src)
	for {
		h, err := contained(r.Next)
		switch {
		case v.b.stop != nil:
			v.fail(v.b.check())
			return -1
		case err == io.EOF: // two blocks of zeros, or the end of the file
			return v.nextHeader(at(), new([tarBlock]byte))
		case errors.Is(err, tar.ErrInsecurePath) && h != nil: // by a setting of the process: a path is nothing but a name here
		case err != nil:
			end := at()
			if !v.damage(end, err.Error()) {
				return -1
			}
			if v.zeros(end - 2*tarBlock) {
				end -= tarBlock // what a lone block of zeros stands before
			}
			end = max(end, begin+tarBlock)
			var b [tarBlock]byte
			if n, _ := v.in.ReadAt(b[:], end-tarBlock); n == tarBlock && isHeader(&b) { // what it was about, which tarPlain visits
				end = plainContent(&b, end, v.in.size).to
			}
			return v.nextHeader(end, &b)
		}
		name := cleanName([]byte(h.Name))
		if err := v.b.entry(name); err != nil {
			v.fail(err)
			return -1
		}
		switch h.Typeflag {
		case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
			continue
		case tar.TypeDir:
			if h.Size == 0 {
				continue
			}
		}
		*read = append(*read, span{at(), at() + h.Size})
		m := &Member{Name: name, Size: h.Size}
		m.start = func() (io.Reader, error) { return r, nil }
		if !v.member(m) {
			return -1
		}
	}
}

// zeros tells whether there is a block of zeros at a position.
func (v *visit) zeros(at int64) bool {
	var b [tarBlock]byte
	n, _ := v.in.ReadAt(b[:], at)
	return n == tarBlock && b == [tarBlock]byte{}
}

// nextHeader looks for a block that could be a header, from a position on, and keeps it in b; -1 when there is none. It reads ever more at once, so that a
// file of many ends is not read many times.
func (v *visit) nextHeader(from int64, b *[tarBlock]byte) int64 {
	buf := v.b.u.chunk()
	defer func() { v.b.u.free = append(v.b.u.free, buf) }()
	at := (from + tarBlock - 1) / tarBlock * tarBlock
	for want := tarBlock; ; want = min(2*want, len(buf)) {
		n, _ := v.in.ReadAt(buf[:want], at)
		for i := 0; i+tarBlock <= n; i += tarBlock {
			if isHeader((*[tarBlock]byte)(buf[i:])) {
				copy(b[:], buf[i:])
				return at + int64(i)
			}
		}
		if n < want {
			switch {
			case v.in.err != nil:
				v.fail(v.in.err)
			case v.b.stop != nil:
				v.fail(v.b.check())
			}
			return -1
		}
		at += int64(want)
	}
}
