package dbformat

import (
	"bytes"
	"encoding/binary"
	"math"
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
		c = append(append(c, uvarint(uint64(len(frame)+sumLen))...), frame...)
		return binary.BigEndian.AppendUint32(c, castagnoli(c))
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
	return append(all, column(100, columnZstd, nil), column(len(plain)+sumLen, columnZstd, plain), []byte{100<<2&0x7f | 0x80 | columnZstd, 3, 3, 1, 2, 3})
}

// sealed gives b with the right CRC-32C, if it begins with a column that has one: what a fuzzer makes of a frame would not get further.
func sealed(b []byte) []byte {
	c := &cursor{b: bytes.Clone(b)}
	whole := c.b
	how := c.uvarint(math.MaxUint64, "") & 3
	frame := c.take(int64(c.uvarint(uint64(len(b)), ""))-sumLen, "")
	if c.err != nil || how == columnPlain || frame == nil || len(c.b) < sumLen {
		return b
	}
	binary.BigEndian.PutUint32(c.b, castagnoli(whole[:c.off]))
	return whole
}

// unpacked reads the column that b begins with, which has n bytes.
func unpacked(t *testing.T, dict, b []byte, limit int64) (text []byte, n int, err error) {
	t.Helper()
	u, err := newUnpacker(dict)
	if err != nil {
		t.Fatal(err)
	}
	defer u.close()
	c := &cursor{what: "column", b: b}
	text = u.column(c, limit, "text")
	return text, int(c.off), c.err
}

// A column is refused or gives what it declares, within the limit, and what it gives can be written and read again. Nothing
// more is allocated, whatever a zstd frame declares. A compressed one with any byte changed is refused, or is another text.
func FuzzColumn(f *testing.F) {
	for i, b := range columnSeeds(f) {
		f.Add(b, uint16(i), byte(1)<<(i%8))
	}
	dict := bytes.Repeat([]byte("words and more words "), 10)
	f.Fuzz(func(t *testing.T, b []byte, at uint16, by byte) {
		const limit = 256 << 10
		for _, b := range [][]byte{b, sealed(b)} {
			for _, d := range [][]byte{nil, dict} {
				got, n, err := unpacked(t, d, b, limit)
				if len(got) > limit || err != nil && got != nil {
					t.Fatalf("%d bytes and %v", len(got), err)
				}
				if err != nil {
					continue
				}
				p := &packer{level: zstd.SpeedFastest}
				again := p.appendColumn(nil, got)
				p.close()
				if back, _, err := unpacked(t, nil, again, limit); err != nil || !bytes.Equal(back, got) {
					t.Fatalf("written again it is %d bytes instead of %d: %v", len(back), len(got), err)
				}
				if b[0]&3 == columnPlain || by == 0 {
					continue
				}
				changed := bytes.Clone(b)
				changed[int(at)%n] ^= by
				if other, _, err := unpacked(t, d, changed, limit); err == nil && bytes.Equal(other, got) {
					t.Fatalf("byte %d does not matter", int(at)%n)
				}
			}
		}
	})
}

func uvarint(v uint64) (b []byte) {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}
