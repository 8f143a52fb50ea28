package archive

import (
	"fmt"
	"io"
)

// A File takes content that does not fit into memory. It is empty at first, written from its beginning to its end, then read, and closed by
// [Spool.Close]. An *os.File that was removed right after it was made is one.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
}

// chunkSize is the unit of memory of spools.
const chunkSize = 64 << 10

// A Spool is the content of a member, to be read more than once. It belongs to the goroutine of its Budget.
type Spool struct {
	b      *Budget
	chunks [][]byte // all of chunkSize; nil once there is a file
	file   File
	size   int64
}

// Spool reads the member to its end. The Spool is never nil: beside an error it has what came until then. Errors are those of Read other than io.EOF, a
// [LimitError] of LimitMemory, and those of the file, which say so. The caller closes it, in spite of an error too.
func (m *Member) Spool() (*Spool, error) {
	s := &Spool{b: m.b}
	for {
		if s.size == int64(len(s.chunks))*chunkSize && !s.grow() {
			break
		}
		n, err := m.Read(s.chunks[len(s.chunks)-1][s.size%chunkSize:])
		s.size += int64(n)
		if err != nil {
			return s, ended(err)
		}
	}
	buf := m.b.u.chunk()
	defer func() { m.b.u.free = append(m.b.u.free, buf) }()
	n, err := m.Read(buf)
	if n == 0 {
		return s, ended(err) // it has just fitted
	}
	if m.b.u.temp == nil {
		return s, &LimitError{Limit: LimitMemory, Max: m.b.u.limits.Memory, Member: m.Name}
	}
	if err := s.toFile(); err != nil {
		return s, fmt.Errorf("member %q: no room to unpack it: %w", m.Name, err)
	}
	for ; ; n, err = m.Read(buf) {
		wrote, werr := s.file.Write(buf[:n])
		s.size += int64(wrote)
		if werr != nil {
			return s, fmt.Errorf("member %q: no room to unpack it: %w", m.Name, werr)
		}
		if err != nil {
			return s, ended(err)
		}
	}
}

// ended makes the end of a member no error.
func ended(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// chunk is a buffer at rest, or a new one.
func (u *Unpacker) chunk() []byte {
	if c, ok := take(&u.free); ok {
		return c
	}
	return make([]byte, chunkSize)
}

// grow makes room in memory, if there may be more.
func (s *Spool) grow() bool {
	if s.b.held+chunkSize > s.b.u.limits.Memory {
		return false
	}
	s.b.held += chunkSize
	s.chunks = append(s.chunks, s.b.u.chunk())
	return true
}

// toFile moves what there is into a file. When that fails it stays where it is.
func (s *Spool) toFile() error {
	f, err := s.b.u.temp()
	if err != nil {
		return err
	}
	for _, c := range s.chunks { // all full
		if _, err := f.Write(c); err != nil {
			f.Close()
			return err
		}
	}
	s.file = f
	s.drop()
	return nil
}

// drop gives memory back.
func (s *Spool) drop() {
	s.b.held -= int64(len(s.chunks)) * chunkSize
	s.b.u.free = append(s.b.u.free, s.chunks...)
	s.chunks = nil
}

// Size is how many bytes there are.
func (s *Spool) Size() int64 { return s.size }

// ReadAt gives content; see [io.ReaderAt].
func (s *Spool) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d: negative position", off)
	}
	if off >= s.size {
		return 0, io.EOF
	}
	if left := s.size - off; int64(len(p)) > left {
		p, err = p[:left], io.EOF
	}
	if s.file != nil {
		n, ferr := s.file.ReadAt(p, off)
		if n < len(p) {
			return n, ferr
		}
		return n, err
	}
	for n < len(p) {
		i := (off + int64(n)) / chunkSize
		n += copy(p[n:], s.chunks[i][(off+int64(n))%chunkSize:])
	}
	return n, err
}

// Close gives memory and file back. The Spool has no content afterwards. Closing twice does nothing.
func (s *Spool) Close() error {
	s.drop()
	s.size = 0
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}
