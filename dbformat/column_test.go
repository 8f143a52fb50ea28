package dbformat

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// columnSeeds are columns as they are written, and frames that zstd allows and the format does not.
func columnSeeds(f *testing.F) (all [][]byte) {
	f.Helper()
	p := &packer{level: zstd.SpeedDefault}
	defer p.close()
	texts := [][]byte{nil, []byte("a"), bytes.Repeat([]byte("name"), 40), make([]byte, 3000), bytes.Repeat([]byte{7}, 200<<10)}
	rising := make([]byte, 5000)
	for i := range rising {
		rising[i] = byte(i * i >> 3)
	}
	texts = append(texts, rising)
	for _, text := range texts {
		whole := p.appendColumn(nil, text)
		all = append(all, whole, append(bytes.Clone(whole), 0), whole[:len(whole)-min(1, len(whole))], whole[:len(whole)/2])
		for i := range min(len(whole), 12) {
			b := bytes.Clone(whole)
			b[i] ^= 1 << (i % 8)
			all = append(all, b)
		}
	}
	text := bytes.Repeat([]byte("words and more words "), 50)
	column := func(n int, how uint64, frame []byte) []byte {
		c := append([]byte{}, uvarint(uint64(n)<<2|how)...)
		return append(append(c, uvarint(uint64(len(frame)))...), frame...)
	}
	frame := func(o ...zstd.EOption) []byte {
		e, err := zstd.NewWriter(nil, o...)
		if err != nil {
			f.Fatal(err)
		}
		defer e.Close()
		return e.EncodeAll(text, nil)
	}
	plain := frame(zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0}, 1, 2, 3, 4)
	for _, b := range [][]byte{
		plain, frame(), frame(zstd.WithEncoderCRC(true), zstd.WithSingleSegment(true)), append(bytes.Clone(plain), plain...), skippable,
		append(bytes.Clone(skippable), plain...), append(bytes.Clone(plain), skippable...), plain[:6], plain[:8], plain[:9], plain[:len(plain)-1],
		{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0xff, 0x07, 0, 0},                          // a reserved kind of block
		{0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x1a, 3, 0x03, 0, 0x40, 'a'},               // one byte, repeated
		{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0x7f, 0x03, 0, 0, 'a'},   // a length of 2 GiB
		{0x28, 0xb5, 0x2f, 0xfd, 0x80, 0xf8, 0x1a, 4, 0, 0, 0x03, 0, 0, 'a', 'b'}, // a window of terabytes
	} {
		for how := range uint64(4) {
			all = append(all, column(len(text), how, b))
		}
		all = append(all, column(len(text)+1, columnZstd, b))
	}
	return all
}

// A column is refused or gives what it declares, within the limit, and what it gives can be written and read again. Nothing
// more is allocated, whatever a zstd frame declares.
func FuzzColumn(f *testing.F) {
	for _, b := range columnSeeds(f) {
		f.Add(b)
	}
	dict := bytes.Repeat([]byte("words and more words "), 10)
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 256 << 10
		for _, d := range [][]byte{nil, dict} {
			u, err := newUnpacker(d)
			if err != nil {
				t.Fatal(err)
			}
			c := &cursor{what: "column", b: b}
			got := u.column(c, limit, "text")
			u.close()
			if len(got) > limit || c.err != nil && got != nil {
				t.Fatalf("%d bytes and %v", len(got), c.err)
			}
			if c.err != nil {
				continue
			}
			p := &packer{level: zstd.SpeedFastest}
			again := p.appendColumn(nil, got)
			p.close()
			plain, err := newUnpacker(nil)
			if err != nil {
				t.Fatal(err)
			}
			c = &cursor{what: "column", b: again}
			if back := plain.column(c, limit, "text"); c.end() != nil || !bytes.Equal(back, got) {
				t.Fatalf("written again it is %d bytes instead of %d: %v", len(back), len(got), c.err)
			}
			plain.close()
		}
	})
}

func uvarint(v uint64) (b []byte) {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}
