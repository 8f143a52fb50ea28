package dbformat

import (
	"encoding/binary"
	"math"
)

// frameTarget is how many canonical bytes a frame of a bundle holds at most, unless it
// is one block: enough to compress names well, little enough to fetch again.
const frameTarget = 1 << 20

// maxFrame bounds the canonical bytes of a frame.
const maxFrame = max(frameTarget, MaxBlock)

// maxPayload bounds the coded bytes of a frame: columns never grow, only what
// is around them does.
const maxPayload = maxFrame + 1<<16

// A frameHead stands before each frame of a bundle.
type frameHead struct {
	section int // number of the section in the bundle
	first   int // its first block
	blocks  int
	size    int // canonical bytes
	length  int // coded bytes that follow
}

const frameHeadLen = 17

func (f frameHead) append(b []byte) []byte {
	b = append(b, byte(f.section))
	for _, v := range []int{f.first, f.blocks, f.size, f.length} {
		b = binary.BigEndian.AppendUint32(b, uint32(v))
	}
	return b
}

// parseFrameHead reads a head and proves that its numbers are possible in sections.
func parseFrameHead(c *cursor, sections []SectionHeader) frameHead {
	start := c.off
	f := frameHead{section: int(c.u8("section"))}
	for _, v := range []*int{&f.first, &f.blocks, &f.size, &f.length} {
		*v = int(min(c.u32("frame"), math.MaxInt32))
	}
	if c.err != nil {
		return frameHead{}
	}
	switch {
	case f.section >= len(sections):
		c.fail("frame of section %d, there are %d", f.section, len(sections))
	case f.blocks < 1 || f.first > sections[f.section].NumBlocks()-f.blocks:
		c.fail("frame of blocks %d to %d, section %s has %d", f.first, f.first+f.blocks, sections[f.section].ID, sections[f.section].NumBlocks())
	case f.size > maxFrame || f.size > frameTarget && f.blocks > 1:
		c.fail("frame of %d blocks and %d canonical bytes", f.blocks, f.size)
	case f.length < 1 || f.length > maxPayload:
		c.fail("frame of %d bytes, want 1 to %d", f.length, maxPayload)
	}
	if c.err != nil {
		c.err.(*FormatError).Offset = start
		return frameHead{}
	}
	return f
}

// A frameEncoder codes runs of blocks column by column. It keeps its buffers.
type frameEncoder struct {
	pack     *packer
	out      []byte
	prefixes []uint64
	counts   []byte
	keys     []byte
	planes   [4][]byte
	lens     []byte
	names    []byte
	lengths  []byte
	masked   []byte
}

// encode gives the payload of the frame of blocks, which begin at block first of s. It is
// valid until the next call.
func (e *frameEncoder) encode(l Layer, s *SectionHeader, first int, blocks [][]byte) ([]byte, error) {
	e.out = e.out[:0]
	var err error
	switch {
	case s.ID.Split() && l == Light:
		err = e.encodePrefixes(s, first, blocks)
	case s.ID.Rows():
		err = e.encodeRows(s, first, blocks)
	case s.ID.OfPatterns():
		err = e.encodePatterns(s, first, blocks)
	default:
		e.out = e.pack.appendColumn(e.out, blocks[0])
	}
	if err == nil {
		err = e.pack.err
	}
	return e.out, err
}

// encodePrefixes: number of rows, then the p-bit prefixes of all rows as gaps, counted from
// where the frame's first block begins. The ranges follow from the prefixes.
func (e *frameEncoder) encodePrefixes(s *SectionHeader, first int, blocks [][]byte) error {
	e.prefixes = e.prefixes[:0]
	for i, data := range blocks {
		b, err := ParsePrefixBlock(data, s, first+i)
		if err != nil {
			return err
		}
		e.prefixes = b.AppendPrefixes(e.prefixes)
	}
	e.out = binary.AppendUvarint(e.out, uint64(len(e.prefixes)))
	block := uint(s.P - s.B + s.K) // bits of a prefix below the block's number
	base := uint64(first) << block
	w := newRiceWriter(e.out, uint64(len(blocks))<<block, len(e.prefixes), false)
	for _, v := range e.prefixes {
		w.add(v - base)
	}
	e.out = w.finish()
	return nil
}

// encodeRows: the number of rows of each block; the keys as they are, each block padded as it
// is; four columns of the sizes' bytes, most significant first; lengths of names; names.
func (e *frameEncoder) encodeRows(s *SectionHeader, first int, blocks [][]byte) error {
	e.counts, e.keys, e.lens, e.names = e.counts[:0], e.keys[:0], e.lens[:0], e.names[:0]
	for i := range e.planes {
		e.planes[i] = e.planes[i][:0]
	}
	for i, data := range blocks {
		b, err := parseRowBlock(data, s.ID, s.P, first+i)
		if err != nil {
			return err
		}
		e.counts = binary.AppendUvarint(e.counts, uint64(b.rows))
		e.keys = append(e.keys, b.keys...)
		for r := range b.rows {
			v := b.Size(r)
			for i := range e.planes {
				e.planes[i] = append(e.planes[i], byte(v>>(24-8*i)))
			}
		}
		e.lens = append(e.lens, b.lens...)
		e.names = append(e.names, b.names...)
	}
	e.out = append(e.out, e.counts...)
	e.out = append(e.out, e.keys...)
	for i := range e.planes {
		e.out = e.pack.appendColumn(e.out, e.planes[i])
	}
	e.out = e.pack.appendColumn(e.out, e.lens)
	e.out = e.pack.appendColumn(e.out, e.names)
	return nil
}

// encodePatterns: the number of rows of each block; lengths of names; names; lengths of patterns; patterns.
func (e *frameEncoder) encodePatterns(s *SectionHeader, first int, blocks [][]byte) error {
	e.lens, e.names, e.lengths, e.masked = e.lens[:0], e.names[:0], e.lengths[:0], e.masked[:0]
	for i, data := range blocks {
		b, err := ParsePatternBlock(data, s, first+i)
		if err != nil {
			return err
		}
		e.out = binary.AppendUvarint(e.out, uint64(b.rows))
		e.lens = append(e.lens, b.lens...)
		e.names = append(e.names, b.names...)
		for r := range b.rows {
			e.lengths = appendUint(e.lengths, b.length(r))
		}
		e.masked = append(e.masked, b.masked...)
	}
	for _, column := range [][]byte{e.lens, e.names, e.lengths, e.masked} {
		e.out = e.pack.appendColumn(e.out, column)
	}
	return nil
}

// A frameDecoder decodes the payloads of frames. It keeps its buffers.
type frameDecoder struct {
	unpack   *unpacker
	prefixes prefixEncoder
	counts   []int
	lengths  []int
	buf      []byte
}

// putBlock receives the blocks of a frame; it must not keep data.
type putBlock func(index int, data []byte, rows int) error

// decode gives the blocks of a frame to put. It proves that payload holds nothing else
// and that the blocks are canonical as far as one layer shows.
func (d *frameDecoder) decode(l Layer, s *SectionHeader, f frameHead, c *cursor, put putBlock) error {
	size := 0
	count := func(index int, data []byte, rows int) error {
		if size += len(data); size > f.size {
			return corrupt(c.what, c.off, "frame has more than the %d canonical bytes that it declares", f.size)
		}
		return put(index, data, rows)
	}
	var err error
	switch {
	case s.ID.Split() && l == Light:
		err = d.decodePrefixes(s, f, c, count)
	case s.ID.Rows():
		err = d.decodeRows(s, f, c, count)
	case s.ID.OfPatterns():
		err = d.decodePatterns(s, f, c, count)
	default:
		err = d.decodeText(s, f, c, count)
	}
	if err != nil {
		return err
	}
	if size != f.size {
		return corrupt(c.what, c.off, "frame has %d canonical bytes, it declares %d", size, f.size)
	}
	return c.end()
}

func (d *frameDecoder) decodePrefixes(s *SectionHeader, f frameHead, c *cursor, put putBlock) error {
	rows := int(c.uvarint(uint64(len(c.b))*8, "number of rows"))
	packed := c.take(int64(len(c.b)), "prefixes")
	if c.err != nil {
		return c.err
	}
	if f.size < f.blocks*4<<s.K+packedLen(rows, int(s.P-s.B)) {
		return corrupt(c.what, c.off, "%d rows do not fit into %d canonical bytes", rows, f.size)
	}
	width := uint(s.P - s.B)
	block := width + uint(s.K)
	r := newRiceReader(packed, uint64(f.blocks)<<block, rows, false)
	v, ok := uint64(0), true
	more := rows > 0
	if more {
		v, ok = r.read()
	}
	for i := range f.blocks {
		d.prefixes.reset()
		for rng := range uint64(1) << s.K {
			for high := uint64(i)<<s.K | rng; ok && more && v>>width == high; {
				d.prefixes.add(v)
				if more = r.left > 0; more {
					v, ok = r.read()
				}
			}
			d.prefixes.endRange()
		}
		if !ok {
			return corrupt(c.what, c.off, "prefixes end early or leave the frame's ranges")
		}
		if err := put(f.first+i, d.prefixes.bytes(width), len(d.prefixes.low)); err != nil {
			return err
		}
	}
	if more || !r.closed() {
		return corrupt(c.what, c.off, "bits are left after the last prefix")
	}
	return nil
}

func (d *frameDecoder) decodeRows(s *SectionHeader, f frameHead, c *cursor, put putBlock) error {
	keyBits := 8*s.ID.Algorithm().Size() - int(s.P)
	total := d.rows(f, c, true)
	if c.err != nil {
		return c.err
	}
	var keys int64
	for _, n := range d.counts {
		keys += int64(packedLen(n, keyBits))
	}
	packed := c.take(keys, "keys")
	var planes [4][]byte
	for i := range planes {
		planes[i] = d.sized(c, total, "sizes")
	}
	lens := d.sized(c, total, "lengths of names")
	names := d.unpack.column(c, int64(f.size), "names")
	if err := c.end(); err != nil {
		return err
	}
	if sumBytes(lens) != len(names) {
		return corrupt(c.what, c.off, "names have %d bytes, their lengths say %d", len(names), sumBytes(lens))
	}
	for i, n := range d.counts {
		var most [4]byte
		for p := range planes {
			for _, v := range planes[p][:n] {
				most[p] |= v
			}
		}
		w := sizeWidth(binary.BigEndian.Uint32(most[:]))
		k, text := packedLen(n, keyBits), sumBytes(lens[:n])
		b := binary.BigEndian.AppendUint32(d.buf[:0], uint32(n))
		b = append(b, byte(w))
		b = append(b, packed[:k]...)
		for r := range n {
			for p := 4 - w; p < 4; p++ {
				b = append(b, planes[p][r])
			}
		}
		b = append(b, lens[:n]...)
		b = append(b, names[:text]...)
		d.buf = b
		packed, lens, names = packed[k:], lens[n:], names[text:]
		for p := range planes {
			planes[p] = planes[p][n:]
		}
		if err := checkBlock(s, f.first+i, b); err != nil {
			return err
		}
		if err := put(f.first+i, b, n); err != nil {
			return err
		}
	}
	return nil
}

// rows reads how many rows each block of a frame has, and gives their sum. With plain keys each row has bytes in the payload.
func (d *frameDecoder) rows(f frameHead, c *cursor, plainKeys bool) (total int) {
	d.counts = d.counts[:0]
	for range f.blocks {
		most := uint64(f.size)
		if plainKeys {
			most = uint64(len(c.b))
		}
		n := int(c.uvarint(most, "number of rows"))
		d.counts = append(d.counts, n)
		total += n
		if total > f.size {
			c.fail("%d rows do not fit into %d canonical bytes", total, f.size)
		}
		if c.err != nil {
			return 0
		}
	}
	return total
}

func (d *frameDecoder) decodePatterns(s *SectionHeader, f frameHead, c *cursor, put putBlock) error {
	total := d.rows(f, c, false)
	if c.err == nil && total > (f.size-f.blocks*patternHead)/leastPattern {
		c.fail("%d rows do not fit into %d canonical bytes", total, f.size)
	}
	lens := d.sized(c, total, "lengths of names")
	names := d.unpack.column(c, int64(f.size), "names")
	lengths := d.unpack.column(c, maxLengths(total), "lengths of patterns")
	sum := checkLengths(c, lengths, total)
	masked := d.unpack.column(c, int64(f.size), "patterns")
	if err := c.end(); err != nil {
		return err
	}
	if sumBytes(lens) != len(names) || sum != len(masked) {
		return corrupt(c.what, c.off, "names have %d and patterns %d bytes, their lengths say %d and %d", len(names), len(masked), sumBytes(lens), sum)
	}
	for i, n := range d.counts {
		d.lengths = d.lengths[:0]
		text, body := sumBytes(lens[:n]), 0
		for range n {
			var v uint32
			v, lengths = nextSize(lengths)
			d.lengths = append(d.lengths, int(v))
			body += int(v)
		}
		d.buf = appendPatternBlock(d.buf[:0], lens[:n], d.lengths, names[:text], masked[:body])
		lens, names, masked = lens[n:], names[text:], masked[body:]
		if err := checkBlock(s, f.first+i, d.buf); err != nil {
			return err
		}
		if err := put(f.first+i, d.buf, n); err != nil {
			return err
		}
	}
	return nil
}

// maxLengths bounds the column of n lengths of patterns: a number of at most MaxPattern has three bytes.
func maxLengths(n int) int64 { return 3 * int64(n) }

// checkLengths proves that column holds n lengths of patterns, and gives their sum.
func checkLengths(c *cursor, column []byte, n int) (sum int) {
	if c.err != nil {
		return 0
	}
	probe := cursor{what: c.what, b: column, off: c.off}
	for range n {
		v := int(probe.uvarint(MaxPattern, "length"))
		if probe.err == nil && v == 0 {
			probe.fail("a pattern is empty")
		}
		if probe.err != nil {
			break
		}
		sum += v
	}
	if err := probe.end(); err != nil {
		c.fail("lengths of patterns: %v", err)
	}
	return sum
}

// sized reads a column of exactly n bytes.
func (d *frameDecoder) sized(c *cursor, n int, field string) []byte {
	b := d.unpack.column(c, int64(n), field)
	if c.err == nil && len(b) != n {
		c.fail("%s: %d bytes for %d rows", field, len(b), n)
		return nil
	}
	return b
}

// sumBytes adds bytes, eight at a time: pairs of them in each quarter of a word, then the quarters in the topmost one.
func sumBytes(b []byte) int {
	const odd, ones = 0x00ff00ff00ff00ff, 0x0001000100010001
	n := 0
	for ; len(b) >= 8; b = b[8:] {
		v := binary.LittleEndian.Uint64(b)
		n += int((v&odd + v>>8&odd) * ones >> 48)
	}
	for _, c := range b {
		n += int(c)
	}
	return n
}

func (d *frameDecoder) decodeText(s *SectionHeader, f frameHead, c *cursor, put putBlock) error {
	b := d.unpack.column(c, int64(f.size), "block")
	if err := c.end(); err != nil {
		return err
	}
	rows, err := checkText(s.ID, b)
	if err != nil {
		return err
	}
	return put(0, b, rows)
}

// checkText proves that b is the block of an ignore or selftest section and gives the number of its rows.
func checkText(id SectionID, b []byte) (rows int, err error) {
	if id.Class() == ClassIgnore {
		names, err := IgnoreNames(b)
		return len(names), err
	}
	vectors, err := Vectors(b)
	return len(vectors), err
}

// checkBlock proves that b is a canonical tail, record or pattern block, as far as it alone shows.
func checkBlock(s *SectionHeader, index int, b []byte) error {
	if s.ID.OfPatterns() {
		v, err := ParsePatternBlock(b, s, index)
		if err != nil {
			return err
		}
		return v.Check()
	}
	if s.ID.Split() {
		v, err := ParseTailBlock(b, s, index)
		if err != nil {
			return err
		}
		return v.Check()
	}
	v, err := ParseRecordBlock(b, s, index)
	if err != nil {
		return err
	}
	return v.Check()
}
