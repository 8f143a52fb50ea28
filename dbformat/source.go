package dbformat

import (
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// maxSourceWindow is the zstd window that a compressed source may need: what `zstd --long=27`
// makes. Our own format has a smaller one.
const maxSourceWindow = 128 << 20

// SourceName is name without the extension of a compression that [SourceReader] undoes:
// "main.hdb" for "main.hdb.zst".
func SourceName(name string) string {
	switch ext := path.Ext(name); strings.ToLower(ext) {
	case ".gz", ".zst":
		return name[:len(name)-len(ext)]
	}
	return name
}

// SourceReader reads a source that is plain, gzip or zstd by the extension of its name (none, .gz,
// .zst). It gives at most limit bytes: one more is an error, as are damaged and empty
// compressed files. These match [ErrCorrupt] and name the source; errors of r are given as they are.
// Closing it does not close r. It is not safe for concurrent use.
func SourceReader(name string, r io.Reader, limit int64) (io.ReadCloser, error) {
	in := &rememberError{r: r}
	s := &sourceReader{name: name, in: in, left: limit, limit: limit, out: in}
	compressed := bufio.NewReader(in)
	ext := strings.ToLower(path.Ext(name))
	if ext != ".gz" && ext != ".zst" {
		return s, nil
	}
	if _, err := compressed.Peek(1); err != nil {
		if in.err != nil {
			return nil, in.err
		}
		return nil, corrupt(name, 0, "is empty, which no %s file is", ext)
	}
	if ext == ".gz" {
		z, err := gzip.NewReader(compressed)
		if err != nil {
			return nil, s.failed(err)
		}
		s.out, s.close = z, func() { _ = z.Close() } // has nothing to report but what Read did
		return s, nil
	}
	z, err := zstd.NewReader(compressed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxSourceWindow))
	if err != nil {
		return nil, s.failed(err)
	}
	s.out, s.close = z, z.Close
	return s, nil
}

// rememberError tells errors of the input from those of the decoder above it.
type rememberError struct {
	r   io.Reader
	err error
}

func (r *rememberError) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

type sourceReader struct {
	name  string
	in    *rememberError
	out   io.Reader
	close func()
	left  int64
	limit int64
	err   error
}

func (s *sourceReader) failed(err error) error {
	if s.in.err != nil {
		return s.in.err
	}
	return corrupt(s.name, s.limit-s.left, "cannot be decompressed: %v", err)
}

// Read implements [io.Reader].
func (s *sourceReader) Read(p []byte) (int, error) {
	if s.err != nil || len(p) == 0 {
		return 0, s.err
	}
	// One byte more than is allowed is read, so that "too long" is an error and not a cut.
	if int64(len(p)) > s.left { // so that left+1 cannot overflow
		p = p[:s.left+1]
	}
	n, err := s.out.Read(p)
	if int64(n) > s.left {
		s.err = corrupt(s.name, s.limit, "has more than %d bytes", s.limit)
		n, s.left = int(s.left), 0
		return n, s.err
	}
	s.left -= int64(n)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		s.err = io.EOF
	default:
		s.err = s.failed(err)
	}
	return n, s.err
}

// Close releases the decoder. It does not close the reader below.
func (s *sourceReader) Close() error {
	if s.close != nil {
		s.close()
		s.close = nil
	}
	if s.err == nil {
		s.err = errors.New(s.name + ": read after close")
	}
	return nil
}
