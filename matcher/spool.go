package matcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	// spoolMemory is how much of what comes through a reader is kept in memory; the rest goes to a temporary file.
	spoolMemory = 4 << 20
	// spoolMask is XORed to each byte of that file: whatever an object is, no other program that watches files finds it there.
	spoolMask = 0xa7
)

// A spool keeps what comes through a reader, so that it can be read again and by position. Its memory is used again.
type spool struct {
	memory []byte // the first bytes, at most spoolMemory
	file   *os.File
	named  bool // the file still has its name, because the system removes no open files
	size   int64
}

// fill reads r to its end, at most most bytes when that is above 0; more says that there is more. buf is room for reading. The spool must be
// emptied afterwards, whatever the error is.
func (s *spool) fill(ctx context.Context, r io.Reader, buf []byte, most int64) (more bool, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := io.ReadFull(r, buf)
		if most > 0 && s.size+int64(n) > most {
			return true, nil
		}
		if e := s.add(buf[:n]); e != nil {
			return false, e
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// add appends b, which it changes.
func (s *spool) add(b []byte) error {
	fits := min(len(b), spoolMemory-len(s.memory))
	s.memory = append(s.memory, b[:fits]...)
	s.size += int64(len(b))
	if b = b[fits:]; len(b) == 0 {
		return nil
	}
	if s.file == nil {
		f, err := os.CreateTemp("", "avdb-scan-*") // mode 0600
		if err != nil {
			return fmt.Errorf("an object of more than %d bytes needs a temporary file: %w", spoolMemory, err)
		}
		s.file, s.named = f, os.Remove(f.Name()) != nil
	}
	mask(b)
	if _, err := s.file.Write(b); err != nil {
		return fmt.Errorf("an object of more than %d bytes needs a temporary file: %w", spoolMemory, err)
	}
	return nil
}

func mask(b []byte) {
	for i := range b {
		b[i] ^= spoolMask
	}
}

// ReadAt implements [io.ReaderAt].
func (s *spool) ReadAt(b []byte, off int64) (n int, err error) {
	if off < int64(len(s.memory)) {
		n = copy(b, s.memory[off:])
	}
	if n == len(b) {
		return n, nil
	}
	if s.file == nil {
		return n, io.EOF
	}
	got, err := s.file.ReadAt(b[n:], off+int64(n)-int64(len(s.memory)))
	mask(b[n : n+got])
	return n + got, err
}

// empty forgets everything.
func (s *spool) empty() {
	s.memory, s.size = s.memory[:0], 0
	if s.file == nil {
		return
	}
	s.file.Close() // it is thrown away
	if s.named {
		os.Remove(s.file.Name())
	}
	s.file = nil
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
