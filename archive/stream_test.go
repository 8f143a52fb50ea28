package archive

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"example.org/avdb/filetype"
)

// A panicking reader gives what is before a place, and the directory at the end of a zip, and panics elsewhere, once: in the middle of the decoder that asks.
type panicking struct {
	object []byte
	at     int64
	done   bool
}

func (p *panicking) ReadAt(b []byte, off int64) (int, error) {
	if end := int64(len(p.object)); !p.done && off+int64(len(b)) > p.at && off < end-2000 {
		p.done = true
		panic("on purpose")
	}
	return bytes.NewReader(p.object).ReadAt(b, off)
}

// Nobody knows what state a decoder is in that panicked: it must not decode anything more. Wherever it panics, in its middle, in its header, and while
// a limit asks whether there is more.
func TestADecoderThatPanickedIsNotUsedAgain(t *testing.T) {
	content := make([]byte, 300_000)
	rand.NewChaCha8([32]byte{1}).Read(content)
	var g, s, z bytes.Buffer
	gw := gzip.NewWriter(&g)
	sw, err := zstd.NewWriter(&s)
	if err != nil {
		t.Fatal(err)
	}
	zw := zip.NewWriter(&z)
	w, err := zw.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	for _, into := range []io.Writer{gw, sw, w} {
		if _, err := into.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(gw.Close(), sw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind    filetype.Kind
		object  []byte
		resting func(*decoders) int
		head    bool // is read by the decoder
	}{
		{filetype.Gzip, g.Bytes(), func(d *decoders) int { return len(d.flates) }, false},
		{filetype.Zstd, s.Bytes(), func(d *decoders) int { return len(d.zstds) }, true},
		{filetype.Zip, z.Bytes(), func(d *decoders) int { return len(d.flates) }, false},
	} {
		size := int64(len(c.object))
		read := func(u *Unpacker, r io.ReaderAt) (n int64, err error) {
			for m, merr := range u.Budget(t.Context(), size).Members(c.kind, r, size) {
				if err = merr; m != nil {
					n, err = io.Copy(io.Discard, m)
				}
			}
			return n, err
		}
		sound := func(u *Unpacker, what string) {
			t.Helper()
			if n := c.resting(&u.decoder); n != 0 {
				t.Errorf("%s, %s: %d decoders are kept", c.kind, what, n)
			}
			if n, err := read(u, bytes.NewReader(c.object)); n != int64(len(content)) || err != nil || c.resting(&u.decoder) != 1 {
				t.Errorf("%s, %s: then %d bytes, %v, and %d decoders are kept", c.kind, what, n, err, c.resting(&u.decoder))
			}
		}
		u := New(Limits{}, nil)
		n, err := read(u, &panicking{object: c.object, at: 150_000})
		if n == 0 || n >= int64(len(content)) || err == nil || !strings.Contains(err.Error(), "on purpose") {
			t.Fatalf("%s: %d bytes, %v", c.kind, n, err)
		}
		sound(u, "in the middle")
		u = New(Limits{MemberBytes: n}, nil)
		if again, err := read(u, &panicking{object: c.object, at: 150_000}); again != n || err == nil || !strings.Contains(err.Error(), "on purpose") {
			t.Fatalf("%s: %d bytes, %v", c.kind, again, err)
		}
		u.limits.MemberBytes = 1 << 30
		sound(u, "at a limit")
		if c.head {
			u = New(Limits{}, nil)
			if n, err := read(u, &panicking{object: c.object, at: 5}); n != 0 || err == nil || !strings.Contains(err.Error(), "on purpose") {
				t.Fatalf("%s: %d bytes, %v", c.kind, n, err)
			}
			sound(u, "in its header")
		}
	}
}
