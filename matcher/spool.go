package matcher

import (
	"errors"
	"io"
	"os"

	"example.org/avdb/archive"
)

const (
	// spoolMask is XORed to each byte of a temporary file: whatever an object is, no other program that watches files finds it there.
	spoolMask = 0xa7
	// maskedAtOnce is how much is masked before it is written.
	maskedAtOnce = 32 << 10
)

// A maskedFile takes what spools do not hold in memory. It is gone once it is closed, and has no name where systems let go of it earlier.
type maskedFile struct {
	file  *os.File
	named bool // it still has its name, because the system removes no open files
	room  []byte
}

// newMaskedFile makes one in the folder for temporary files.
func newMaskedFile() (archive.File, error) {
	f, err := os.CreateTemp("", "avdb-scan-*") // mode 0600
	if err != nil {
		return nil, err
	}
	return &maskedFile{file: f, named: os.Remove(f.Name()) != nil, room: make([]byte, maskedAtOnce)}, nil
}

func mask(b []byte) {
	for i := range b {
		b[i] ^= spoolMask
	}
}

// Write implements [io.Writer], which leaves b as it is.
func (m *maskedFile) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		part := m.room[:copy(m.room, b[n:])]
		mask(part)
		var wrote int
		wrote, err = m.file.Write(part)
		n += wrote
	}
	return n, err
}

// ReadAt implements [io.ReaderAt].
func (m *maskedFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := m.file.ReadAt(b, off)
	mask(b[:n])
	return n, err
}

// Close throws the file away.
func (m *maskedFile) Close() error {
	err := m.file.Close()
	if m.named {
		err = errors.Join(err, os.Remove(m.file.Name()))
	}
	return err
}

// seekable is r as what stands in it from its position to its end, and the size of that: of files, and of what is in memory. ok is false for everything else, a
// file without a size among it. The position is moved to the end, where reading would leave it.
func seekable(r io.Reader) (at io.ReaderAt, size int64, ok bool, err error) {
	if f, isFile := r.(*os.File); isFile {
		if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() == 0 {
			return nil, 0, false, nil
		}
	}
	s, ok := r.(interface {
		io.ReaderAt
		io.Seeker
	})
	if !ok {
		return nil, 0, false, nil
	}
	begin, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, 0, false, nil // neither has it been read nor moved
	}
	end, err := s.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, false, err
	}
	if end < begin {
		if _, err := s.Seek(begin, io.SeekStart); err != nil {
			return nil, 0, false, err
		}
		return nil, 0, false, nil
	}
	if begin < 0 {
		return nil, 0, false, errors.New("the reader stands before its beginning")
	}
	return io.NewSectionReader(s, begin, end-begin), end - begin, true, nil
}
