package dbformat

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"
)

// How a column is stored, the low two bits of its first number.
const (
	columnPlain = 0
	columnZstd  = 1
	columnDict  = 2 // zstd with a dictionary that both sides have
)

// maxWindow is the largest window that a decoder accepts.
const maxWindow = 8 << 20

// sumLen is the length of the CRC-32C after a frame. It covers the whole column before it, for a frame that makes no use
// of its dictionary says the same with and without one.
const sumLen = 4

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// A packer codes columns: each one as it is or compressed, whichever is shorter. Its
// encoders are made when they are first needed, for most deltas need none. It is not safe
// for concurrent use.
type packer struct {
	level zstd.EncoderLevel
	plain *zstd.Encoder
	long  *zstd.Encoder // of columns that are longer than a window
	dict  *zstd.Encoder
	text  func() ([]byte, error) // gives the dictionary, nil if there is none
	total int64                  // bytes of all columns so far, as they are
	buf   []byte
	err   error // the first one
}

func newEncoder(level zstd.EncoderLevel, opts ...zstd.EOption) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, append([]zstd.EOption{
		zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithSingleSegment(true), zstd.WithWindowSize(maxWindow),
	}, opts...)...)
}

// useDict sets the dictionary of the texts that follow.
func (p *packer) useDict(text func() ([]byte, error)) {
	p.text = text
	if p.dict != nil {
		_ = p.dict.Close() // nothing was streamed, so nothing is flushed
		p.dict = nil
	}
}

func (p *packer) close() {
	for _, e := range []*zstd.Encoder{p.plain, p.long} {
		if e != nil {
			_ = e.Close()
		}
	}
	p.useDict(nil)
}

// shortColumn is the length up to which a column stays as it is: the least zstd frame has 10 bytes, and what stands around it 7.
const shortColumn = 17

// appendColumn appends data: its length and how it is stored in one number, the
// stored length where it differs, the stored bytes, which end in a sum where they are a frame.
func (p *packer) appendColumn(dst, data []byte) []byte { return p.append(dst, data, nil) }

// appendText does the same with the dictionary, if there is one.
func (p *packer) appendText(dst, data []byte) []byte {
	if p.dict == nil && p.text != nil && len(data) > shortColumn && p.err == nil {
		var dict []byte
		if dict, p.err = p.text(); len(dict) > 0 && p.err == nil {
			p.dict, p.err = newEncoder(p.level, zstd.WithEncoderDictRaw(0, dict))
		}
	}
	return p.append(dst, data, p.dict)
}

// append uses dict if it is not nil: what has helped the old names helps the new ones.
func (p *packer) append(dst, data []byte, dict *zstd.Encoder) []byte {
	p.total += int64(len(data))
	best, how := data, uint64(columnPlain)
	if len(data) > shortColumn {
		enc, coded := dict, uint64(columnDict)
		if len(data) > maxWindow {
			enc, coded = p.longEncoder(), columnZstd
		} else if enc == nil {
			enc, coded = p.encoder(), columnZstd
		}
		if p.err != nil {
			return dst
		}
		p.buf = enc.EncodeAll(data, p.buf[:0])
		if len(p.buf)+sumLen+3 < len(best) {
			best, how = p.buf, coded
		}
	}
	start := len(dst)
	dst = binary.AppendUvarint(dst, uint64(len(data))<<2|how)
	if how == columnPlain {
		return append(dst, best...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(best)+sumLen))
	dst = append(dst, best...)
	return binary.BigEndian.AppendUint32(dst, castagnoli(dst[start:]))
}

// encoder is the one without a dictionary.
func (p *packer) encoder() *zstd.Encoder {
	if p.plain == nil && p.err == nil {
		p.plain, p.err = newEncoder(p.level)
	}
	return p.plain
}

// longEncoder is the one whose frames have a window and not their content at once, which decoders would refuse above maxWindow.
func (p *packer) longEncoder() *zstd.Encoder {
	if p.long == nil && p.err == nil {
		p.long, p.err = newEncoder(p.level, zstd.WithSingleSegment(false))
	}
	return p.long
}

// An unpacker reads columns. It is not safe for concurrent use.
type unpacker struct {
	plain *zstd.Decoder
	dict  *zstd.Decoder
}

func newDecoder(opts ...zstd.DOption) (*zstd.Decoder, error) {
	return zstd.NewReader(nil, append([]zstd.DOption{
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderMaxMemory(MaxDelta), zstd.WithDecodeAllCapLimit(true),
	}, opts...)...)
}

func newUnpacker(dict []byte) (*unpacker, error) {
	var u unpacker
	var err error
	if u.plain, err = newDecoder(); err != nil {
		return nil, err
	}
	if len(dict) > 0 {
		if u.dict, err = newDecoder(zstd.WithDecoderDictRaw(0, dict)); err != nil {
			return nil, err
		}
	}
	return &u, nil
}

func (u *unpacker) close() {
	u.plain.Close()
	if u.dict != nil {
		u.dict.Close()
	}
}

// column reads a column of at most limit bytes. The result is valid until the input is
// changed; no more than limit bytes are allocated.
func (u *unpacker) column(c *cursor, limit int64, field string) []byte {
	n, how, stored := readStored(c, limit, field)
	d := u.plain
	if how == columnDict {
		d = u.dict
	}
	if c.err != nil || how == columnPlain {
		return stored
	}
	if d == nil {
		c.fail("%s is compressed with a dictionary, there is none", field)
		return nil
	}
	out, err := d.DecodeAll(stored, make([]byte, 0, n))
	if err != nil || int64(len(out)) != n {
		c.fail("%s does not decompress to %d bytes: %v", field, n, err)
		return nil
	}
	return out
}

// readStored reads a column of at most limit bytes as it is stored: the n bytes themselves, or one frame that has its sum and
// declares n bytes.
func readStored(c *cursor, limit int64, field string) (n int64, how uint64, stored []byte) {
	whole, start := c.b, c.off
	v := c.uvarint(uint64(limit)<<2|3, field)
	n, how = int64(v>>2), v&3
	if how == columnPlain {
		return n, how, c.take(n, field)
	}
	if how > columnDict {
		c.fail("%s is stored in the unknown way %d", field, how)
	}
	size := int64(c.uvarint(uint64(len(c.b)), field))
	stored = c.take(size, field)
	if c.err != nil {
		return 0, how, nil
	}
	frame := size - sumLen
	if frame < 0 || size >= n {
		c.fail("%s is not one zstd frame of %d bytes", field, n)
		return 0, how, nil
	}
	got, want := castagnoli(whole[:c.off-start-sumLen]), binary.BigEndian.Uint32(stored[frame:])
	if got != want {
		c.fail("%s has the CRC-32C %08x, %08x is stored", field, got, want)
		c.err.(*FormatError).Offset = start // any byte of it may be wrong
		return 0, how, nil
	}
	if !oneFrame(stored[:frame], n) {
		c.fail("%s is not one zstd frame of %d bytes", field, n)
		return 0, how, nil
	}
	return n, how, stored[:frame:frame]
}

// oneFrame tells whether b is exactly one zstd frame that declares n bytes, without
// checksum and dictionary id. It follows the block headers and decompresses nothing, so that
// what follows it need not fear a second frame, a skippable one or one of unknown length.
func oneFrame(b []byte, n int64) bool {
	var h zstd.Header
	rest, err := h.DecodeAndStrip(b)
	if err != nil || h.Skippable || !h.HasFCS || h.FrameContentSize != uint64(n) {
		return false
	}
	if b[4]&0x1f != 0 { // checksum, dictionary id, and two bits that decoders may pass over
		return false
	}
	for {
		if len(rest) < 3 {
			return false
		}
		head := uint32(rest[0]) | uint32(rest[1])<<8 | uint32(rest[2])<<16
		size := int(head >> 3)
		switch head >> 1 & 3 {
		case 1: // one byte, repeated
			size = 1
		case 3: // reserved
			return false
		}
		rest = rest[3:]
		if len(rest) < size {
			return false
		}
		rest = rest[size:]
		if head&1 == 1 {
			return len(rest) == 0
		}
	}
}
