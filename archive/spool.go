package archive

import (
	"context"
	"fmt"
	"io"
	"math"
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

// A Spool is the content of a member, or of what came through a reader, to be read more than once. It belongs to the goroutine of its Unpacker.
type Spool struct {
	u      *Unpacker
	chunks [][]byte // all of chunkSize; nil once there is a file
	file   File
	size   int64
}

// Spool reads the member to its end. The Spool is never nil: beside an error it has what came until then. Errors are those of Read other than io.EOF, a
// [LimitError] of LimitMemory, and those of the file, which say so. The caller closes it, in spite of an error too.
func (m *Member) Spool() (*Spool, error) {
	s := &Spool{u: m.b.u}
	return s, s.fill(m, m.Name)
}

// Keep reads r to its end, of whoever has a top-level object that can be read only once; at most most bytes and one more, when most is above 0, so that
// Size tells whether there is more. It ends when ctx does. The Spool counts against Limits.Memory until it is closed, and is like that of a member otherwise.
func (u *Unpacker) Keep(ctx context.Context, r io.Reader, most int64) (*Spool, error) {
	if most > 0 && most < math.MaxInt64 {
		r = io.LimitReader(r, most+1)
	}
	s := &Spool{u: u}
	return s, s.fill(&stoppable{ctx, r}, "")
}

// A stoppable reader ends with its context. It gives at least one byte or an error.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s *stoppable) Read(p []byte) (n int, err error) {
	for range patience {
		if err := s.ctx.Err(); err != nil {
			return 0, err
		}
		if n, err = s.r.Read(p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// fill reads r, which belongs to the member of that name, to its end.
func (s *Spool) fill(r io.Reader, name string) error {
	for {
		if s.size == int64(len(s.chunks))*chunkSize && !s.grow() {
			break
		}
		n, err := r.Read(s.chunks[len(s.chunks)-1][s.size%chunkSize:])
		s.size += int64(n)
		if err != nil {
			return ended(err)
		}
	}
	buf := s.u.chunk()
	defer func() { s.u.free = append(s.u.free, buf) }()
	n, err := r.Read(buf)
	if n == 0 {
		return ended(err) // it has just fitted
	}
	if s.u.temp == nil {
		return &LimitError{Limit: LimitMemory, Max: s.u.limits.Memory, Member: name}
	}
	if err := s.toFile(); err != nil {
		return noRoom(name, err)
	}
	for ; ; n, err = r.Read(buf) {
		wrote, werr := s.file.Write(buf[:n])
		s.size += int64(wrote)
		if werr != nil {
			return noRoom(name, werr)
		}
		if err != nil {
			return ended(err)
		}
	}
}

// noRoom is the error of a file that content cannot go to.
func noRoom(name string, err error) error {
	if name == "" {
		return fmt.Errorf("no room for content that does not fit into memory: %w", err)
	}
	return fmt.Errorf("member %q: no room to unpack it: %w", name, err)
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
	if s.u.held+chunkSize > s.u.limits.Memory {
		return false
	}
	s.u.held += chunkSize
	s.chunks = append(s.chunks, s.u.chunk())
	return true
}

// toFile moves what there is into a file. When that fails it stays where it is.
func (s *Spool) toFile() error {
	f, err := s.u.temp()
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
	s.u.held -= int64(len(s.chunks)) * chunkSize
	s.u.free = append(s.u.free, s.chunks...)
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
