package archive

import (
	"bufio"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// bufferSize is what a decoder reads at once.
const bufferSize = 32 << 10

// decoders at rest. There are as many as containers were open inside each other.
type decoders struct {
	buffers []*bufio.Reader
	flates  []io.ReadCloser // flate.Resetter as well
	zstds   []*zstd.Decoder
}

// take pops the last of list, or nothing.
func take[T any](list *[]T) (v T, ok bool) {
	n := len(*list)
	if n == 0 {
		return v, false
	}
	v = (*list)[n-1]
	*list = (*list)[:n-1]
	return v, true
}

// A guarded decoder knows whether it panicked: then nobody knows its state, and it is not used again.
type guarded struct {
	r    io.Reader
	lost bool
}

func (g *guarded) Read(p []byte) (n int, err error) {
	g.lost = true // until Read returns
	n, err = g.r.Read(p)
	g.lost = false
	return n, err
}

// buffered reads r through a buffer; done gives it back.
func (d *decoders) buffered(r io.Reader) (b *bufio.Reader, done func()) {
	b, ok := take(&d.buffers)
	if ok {
		b.Reset(r)
	} else {
		b = bufio.NewReaderSize(r, bufferSize)
	}
	return b, func() {
		b.Reset(nil)
		d.buffers = append(d.buffers, b)
	}
}

// The decoders of deflate are the standard library's: those of klauspost/compress are faster, but what one of them says of a damaged stream depends on
// what it was used for before (FuzzWalk found that), and the same bytes have to give the same members.

// deflate decodes r, which is read byte by byte and so never beyond the end mark.
func (d *decoders) deflate(r *bufio.Reader) (f io.Reader, done func(), err error) {
	c, ok := take(&d.flates)
	if ok {
		err = c.(flate.Resetter).Reset(r, nil)
	} else {
		c = flate.NewReader(r)
	}
	g := &guarded{r: c}
	return g, func() {
		if !g.lost {
			d.flates = append(d.flates, c)
		}
	}, err
}

// zstd decodes r. A decoder whose stream failed, and that did not panic, is used again as well: Reset makes it as new.
func (d *decoders) zstd(r io.Reader, window int64) (f io.Reader, done func(), err error) {
	c, ok := take(&d.zstds)
	if ok {
		err = c.Reset(r)
	} else {
		// One goroutine, which is the caller's. Of a frame in one segment the window is its content.
		c, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(uint64(min(window, zstd.MaxWindowSize))))
	}
	if err != nil {
		return nil, nil, err
	}
	g := &guarded{r: zstdReader{c, window}}
	return g, func() {
		if g.lost {
			return
		}
		if _, err := contained(func() (any, error) { return nil, c.Reset(nil) }); err == nil {
			d.zstds = append(d.zstds, c)
		}
	}, nil
}

// A zstdReader names what a decoder refuses.
type zstdReader struct {
	d      *zstd.Decoder
	window int64
}

func (z zstdReader) Read(p []byte) (int, error) {
	n, err := z.d.Read(p)
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = &LimitError{Limit: LimitWindow, Max: z.window}
	case errors.Is(err, zstd.ErrUnknownDictionary):
		err = fmt.Errorf("%w: Zstandard with a dictionary", ErrUnsupported)
	}
	return n, err
}

func (v *visit) zstd() {
	if err := v.b.entry(""); err != nil {
		v.fail(err)
		return
	}
	m := &Member{Size: -1}
	m.start = func() (io.Reader, error) {
		f, done, err := v.b.u.decoder.zstd(v.in.from(0), v.b.u.limits.Window)
		m.stop = done
		return f, err
	}
	v.member(m)
}

func (v *visit) gzip() {
	d := &v.b.u.decoder
	r, done := d.buffered(v.in.from(0))
	defer done()
	name, err := gzipHeader(r)
	if v.b.stop != nil {
		v.fail(v.b.check())
		return
	}
	if err != nil {
		v.damage(0, err.Error())
		return
	}
	if err := v.b.entry(""); err != nil {
		v.fail(err)
		return
	}
	m := &Member{Size: -1, Name: name}
	m.start = func() (io.Reader, error) {
		g := &gzipStreams{r: r, d: d}
		m.stop = func() { g.done() }
		return g, g.begin()
	}
	v.member(m)
}

// errNoGzip is the error of bytes that no stream of gzip begins with.
var errNoGzip = errors.New("no header of gzip")

// Flags of a header of gzip, RFC 1952 section 2.3.1.
const (
	gzipHeaderCRC = 1 << 1
	gzipExtra     = 1 << 2
	gzipName      = 1 << 3
	gzipComment   = 1 << 4
)

// gzipHeader reads the header of a stream, RFC 1952 section 2.3, up to its content. Package compress/gzip does that as well, but refuses names of more than 511 bytes, which
// unpackers take. The checksum of the header is not looked at: there are unpackers that do not.
func gzipHeader(r *bufio.Reader) (name string, err error) {
	var fixed [10]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return "", noEOF(err)
	}
	const deflate = 8
	if fixed[0] != 0x1f || fixed[1] != 0x8b || fixed[2] != deflate {
		return "", errNoGzip
	}
	flags := fixed[3]
	if flags&gzipExtra != 0 {
		var length [2]byte
		if _, err := io.ReadFull(r, length[:]); err != nil {
			return "", noEOF(err)
		}
		if _, err := r.Discard(int(binary.LittleEndian.Uint16(length[:]))); err != nil {
			return "", noEOF(err)
		}
	}
	if flags&gzipName != 0 {
		if name, err = gzipText(r); err != nil {
			return "", err
		}
	}
	if flags&gzipComment != 0 {
		if _, err := gzipText(r); err != nil {
			return "", err
		}
	}
	if flags&gzipHeaderCRC != 0 {
		if _, err := r.Discard(2); err != nil {
			return "", noEOF(err)
		}
	}
	return name, nil
}

// gzipText reads a name or comment, which is Latin-1 and ends with a zero, of any length. It keeps as much of it as a name may have.
func gzipText(r *bufio.Reader) (string, error) {
	var text []byte
	for {
		c, err := r.ReadByte()
		switch {
		case err != nil:
			return "", noEOF(err)
		case c == 0:
			return cleanName(text), nil
		case len(text) <= MaxName:
			text = utf8.AppendRune(text, rune(c))
		}
	}
}

// gzipStreams are all streams of a gzip file.
type gzipStreams struct {
	r       *bufio.Reader
	d       *decoders
	content io.Reader // of the stream that is read
	done    func()    // gives its decoder back
	sum     uint32    // CRC-32 of the stream's content so far
	n       uint32    // its length so far, modulo 2^32
}

// begin starts with the content of a stream, whose header was read.
func (g *gzipStreams) begin() (err error) {
	g.sum, g.n = 0, 0
	g.content, g.done, err = g.d.deflate(g.r)
	return err
}

func (g *gzipStreams) Read(p []byte) (int, error) {
	for { // a file may hold any number of empty streams
		n, err := g.content.Read(p)
		g.sum, g.n = crc32.Update(g.sum, crc32.IEEETable, p[:n]), g.n+uint32(n)
		if n > 0 && err == io.EOF {
			return n, nil // the next call has 0, io.EOF
		}
		if n > 0 || err != io.EOF {
			return n, err
		}
		if err := g.next(); err != nil {
			return 0, err
		}
	}
}

// next goes over the end of a stream to the content of the next one. It gives io.EOF behind the last.
func (g *gzipStreams) next() error {
	var end [8]byte
	if _, err := io.ReadFull(g.r, end[:]); err != nil {
		return noEOF(err)
	}
	if binary.LittleEndian.Uint32(end[:]) != g.sum || binary.LittleEndian.Uint32(end[4:]) != g.n {
		return errors.New("its checksum is another")
	}
	head, err := g.r.Peek(1)
	switch {
	case len(head) == 0:
		return err
	case head[0] == 0:
		return g.padding()
	}
	if _, err := gzipHeader(g.r); err == errNoGzip {
		return errNoStream
	} else if err != nil {
		return err
	}
	g.done()
	return g.begin()
}

var errNoStream = errors.New("bytes behind the last stream are no stream")

// padding is what tapes leave behind the last stream.
func (g *gzipStreams) padding() error {
	for {
		c, err := g.r.ReadByte()
		if err != nil {
			return err
		}
		if c != 0 {
			return errNoStream
		}
	}
}

// noEOF keeps an end in the middle of something from being taken for its end.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
