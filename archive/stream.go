package archive

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// bufferSize is what a decoder reads at once.
const bufferSize = 32 << 10

// decoders at rest. There are as many as containers were open inside each other.
type decoders struct {
	buffers []*bufio.Reader
	flates  []io.ReadCloser // flate.Resetter as well
	gzips   []*gzip.Reader
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
	z, ok := take(&d.gzips)
	if !ok {
		z = new(gzip.Reader)
	}
	g := &guarded{r: &gzipStreams{r: r, z: z}}
	defer func() {
		if !g.lost {
			d.gzips = append(d.gzips, z)
		}
	}()
	_, err := contained(func() (any, error) {
		g.lost = true
		err := z.Reset(r)
		g.lost = false
		return nil, err
	})
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
	m := &Member{Size: -1, Name: cleanName([]byte(z.Name))}
	z.Multistream(false)
	m.start = func() (io.Reader, error) { return g, nil }
	v.member(m)
}

// gzipStreams are all streams of a gzip file. The decoder could do that as well, but it takes padding for damage.
type gzipStreams struct {
	r *bufio.Reader
	z *gzip.Reader // in a stream, or at the end of one
}

func (g *gzipStreams) Read(p []byte) (int, error) {
	for { // a file may hold any number of empty streams
		n, err := g.z.Read(p)
		if n > 0 && err == io.EOF {
			return n, nil // the next call has 0, io.EOF
		}
		if n > 0 || err != io.EOF {
			return n, err
		}
		head, err := g.r.Peek(1)
		switch {
		case len(head) == 0:
			return 0, err
		case head[0] == 0:
			return 0, g.padding()
		}
		if err := g.z.Reset(g.r); err != nil {
			if err == gzip.ErrHeader {
				err = errors.New("bytes behind the last stream are no stream")
			}
			return 0, noEOF(err)
		}
		g.z.Multistream(false)
	}
}

// padding is what tapes leave behind the last stream.
func (g *gzipStreams) padding() error {
	for {
		c, err := g.r.ReadByte()
		if err != nil {
			return err
		}
		if c != 0 {
			return errors.New("bytes behind the last stream are no stream")
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
