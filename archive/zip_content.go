package archive

import (
	"compress/bzip2"
	"fmt"
	"io"
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

// bzip2Charge is how many bytes a decoder of bzip2 counts as: it clears up to 3.6 MB for a stream of forty bytes, which takes as long as that many bytes of deflate do.
const bzip2Charge = 128 << 10

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
	src := &packedReader{in: v.in, at: f.data, end: f.data + min(max(f.packed, 0), max(0, v.in.size-f.data)), beyond: f.packed < 0}
	d := &v.b.u.decoder
	switch f.method {
	case zipStored:
		if f.packed < 0 {
			m.Method = "stored without a length"
		}
		m.start = func() (io.Reader, error) { return &storedReader{src, f.packed}, nil }
	case zipBzip2:
		m.start = func() (io.Reader, error) {
			if err := v.b.charge(bzip2Charge); err != nil {
				return nil, err
			}
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
