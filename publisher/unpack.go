package publisher

import (
	"compress/gzip"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// unpack gives a source's text: .gz and .zst are unpacked, of which zstd may want a window of 128 MiB. Text beyond
// limit bytes is an error.
func unpack(name string, r io.Reader, limit int64) (io.ReadCloser, error) {
	var in io.ReadCloser
	switch {
	case strings.HasSuffix(name, ".gz"):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		in = z
	case strings.HasSuffix(name, ".zst"):
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		in = z.IOReadCloser()
	default:
		in = io.NopCloser(r)
	}
	return &boundedReader{in, limit, limit}, nil
}

type boundedReader struct {
	io.ReadCloser
	left, limit int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("more than %d bytes", b.limit)
	}
	return n, err
}
