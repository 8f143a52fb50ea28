package dbformat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	tableEntryLen = frameHeadLen - 4 + 8 + 4 // section, first, blocks, size, offset, length
	trailerLen    = 16                       // offset of the table, number of frames, magic
	trailerMagic  = "AVDE"
)

// A BundleFrame says where in a bundle a run of blocks is.
type BundleFrame struct {
	Section int   // its number in the bundle, from 0
	First   int   // its first block
	Blocks  int   // how many
	Size    int   // canonical bytes of these blocks
	Offset  int64 // of the frame's head in the bundle
	Length  int64 // head included
}

func (f BundleFrame) append(b []byte) []byte {
	b = append(b, byte(f.Section))
	for _, v := range []int{f.First, f.Blocks, f.Size} {
		b = binary.BigEndian.AppendUint32(b, uint32(v))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(f.Offset))
	return binary.BigEndian.AppendUint32(b, uint32(f.Length))
}

// appendBundleHead writes what stands before the frames: the sections' parameters and how much
// of each there is.
func appendBundleHead(h *Header) []byte {
	b := append([]byte(magic), kindBundle, FormatVersion, byte(h.Layer), byte(len(h.Sections)))
	for i := range h.Sections {
		s := &h.Sections[i]
		b = s.appendParams(b, h.Layer)
		b = binary.BigEndian.AppendUint64(b, s.Rows())
		b = binary.BigEndian.AppendUint64(b, uint64(s.Bytes()))
	}
	return b
}

// WriteBundle writes a whole layer. The bytes depend on the version of the compression
// library: two bundles of one layer may differ, what they decode to may not. It holds
// one frame in memory. Errors are those of w and l.
func WriteBundle(w io.Writer, l LayerReader) error {
	pack := &packer{level: zstd.SpeedBetterCompression}
	defer pack.close()
	h := l.Header()
	b := bundleWriter{w: w, l: l, enc: frameEncoder{pack: pack}}
	if err := b.write(appendBundleHead(h)); err != nil {
		return err
	}
	for i := range h.Sections {
		if err := b.section(i); err != nil {
			return err
		}
	}
	return b.finish()
}

type bundleWriter struct {
	w      io.Writer
	l      LayerReader
	enc    frameEncoder
	off    int64
	frames []BundleFrame
}

func (b *bundleWriter) write(p []byte) error {
	b.off += int64(len(p))
	if b.off > MaxBundle {
		return corrupt("bundle", MaxBundle, "it would be longer than is allowed")
	}
	_, err := b.w.Write(p)
	return err
}

// section writes the frames of section i.
func (b *bundleWriter) section(i int) error {
	s := &b.l.Header().Sections[i]
	for first := 0; first < len(s.Blocks); {
		var blocks [][]byte
		size := 0
		for first+len(blocks) < len(s.Blocks) {
			n := int(s.Blocks[first+len(blocks)].Bytes)
			if len(blocks) > 0 && size+n > frameTarget {
				break
			}
			data, err := b.l.Block(i, first+len(blocks))
			if err != nil {
				return err
			}
			if len(data) != n {
				return corrupt(blockName(s.ID, first+len(blocks)), -1, "%d bytes, header says %d", len(data), n)
			}
			blocks = append(blocks, data)
			size += n
		}
		payload, err := b.enc.encode(b.l.Header().Layer, s, first, blocks)
		if err != nil {
			return err
		}
		f := frameHead{section: i, first: first, blocks: len(blocks), size: size, length: len(payload)}
		b.frames = append(b.frames, BundleFrame{Section: i, First: first, Blocks: len(blocks), Size: size,
			Offset: b.off, Length: int64(frameHeadLen + len(payload))})
		if err := b.write(f.append(nil)); err != nil {
			return err
		}
		if err := b.write(payload); err != nil {
			return err
		}
		first += len(blocks)
	}
	return nil
}

func (b *bundleWriter) finish() error {
	return b.write(appendTable(nil, b.off, b.frames))
}

// appendTable writes the table of frames and the trailer; table is its offset.
func appendTable(dst []byte, table int64, frames []BundleFrame) []byte {
	for _, f := range frames {
		dst = f.append(dst)
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(table))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(frames)))
	return append(dst, trailerMagic...)
}

// ReadBundle decodes a bundle of layer want and gives its blocks to sink in order. The
// header that it returns is computed from these blocks, so that its digest says what
// was really read; the caller compares it with the signed one before anything is
// used. The bundle must end where r does. It holds one frame in memory, and the leaves: a few
// MiB for usual bundles, less than 100 whatever the input. Errors of the input match [ErrCorrupt] or [ErrVersion], others are r's
// or sink's.
func ReadBundle(r io.Reader, want Layer, sink Sink) (*Header, error) {
	unpack, err := newUnpacker(nil)
	if err != nil {
		return nil, err
	}
	defer unpack.close()
	b := bundleReader{r: r, dec: frameDecoder{unpack: unpack}}
	layer, err := b.layer()
	if err != nil {
		return nil, err
	}
	if layer != want {
		return nil, corrupt("bundle", 6, "layer %s, want %s", layer, want)
	}
	asm := newAssembler("bundle", want, sink)
	for i := range b.sections {
		if err := b.section(i, asm); err != nil {
			return nil, err
		}
	}
	if err := b.trailer(); err != nil {
		return nil, err
	}
	return asm.h, nil
}

// A bundleSection is what a bundle's head says of a section.
type bundleSection struct {
	rows  uint64
	bytes uint64
}

type bundleReader struct {
	r        io.Reader
	off      int64
	buf      []byte
	dec      frameDecoder
	sections []SectionHeader
	totals   []bundleSection
	frames   []BundleFrame
	visit    func(s *SectionHeader, f frameHead, start int64, payload []byte) // of each valid frame; may be nil
}

// read gives the next n bytes; they are valid until the next call.
func (b *bundleReader) read(n int) (*cursor, error) {
	if b.off+int64(n) > MaxBundle {
		return nil, corrupt("bundle", b.off, "longer than %d bytes", int64(MaxBundle))
	}
	if cap(b.buf) < n {
		b.buf = make([]byte, n)
	}
	p := b.buf[:n]
	m, err := io.ReadFull(b.r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, corrupt("bundle", b.off+int64(m), "ends early")
	}
	if err != nil {
		return nil, err
	}
	c := &cursor{what: "bundle", b: p, off: b.off}
	b.off += int64(n)
	return c, nil
}

// layer reads the head.
func (b *bundleReader) layer() (Layer, error) {
	c, err := b.read(headerHead)
	if err != nil {
		return 0, err
	}
	layer, sections, err := parseHead("bundle", kindBundle, c.b)
	if err != nil {
		return 0, err
	}
	params := paramsLight
	if layer == Rest {
		params = paramsRest
	}
	if c, err = b.read(sections * (params + 16)); err != nil {
		return 0, err
	}
	b.sections, b.totals, err = parseBundleSections(c, layer, sections)
	return layer, err
}

// parseBundleSections reads the sections of a bundle's head.
func parseBundleSections(c *cursor, l Layer, n int) (sections []SectionHeader, totals []bundleSection, err error) {
	prev, blocks := SectionID(0), 0
	for range n {
		s, n, err := parseParams("bundle", l, c.b, c.off, prev)
		if err != nil {
			return nil, nil, err
		}
		prev = s.ID
		c.take(int64(n), "parameters")
		blocks += s.NumBlocks()
		t := bundleSection{rows: c.u64("rows"), bytes: c.u64("bytes")}
		if t.rows == 0 || t.rows > MaxRows || blocks > MaxBlocks {
			c.fail("section %s has %d rows, all have %d blocks", s.ID, t.rows, blocks)
		}
		if c.err != nil {
			return nil, nil, c.err
		}
		sections, totals = append(sections, s), append(totals, t)
	}
	return sections, totals, c.end()
}

// section reads the frames of section i.
func (b *bundleReader) section(i int, asm *assembler) error {
	s := &b.sections[i]
	if err := asm.begin(*s); err != nil {
		return err
	}
	for asm.next() < s.NumBlocks() {
		start := b.off
		c, err := b.read(frameHeadLen)
		if err != nil {
			return err
		}
		f := parseFrameHead(c, b.sections)
		if c.err != nil {
			return c.err
		}
		if f.section != i || f.first != asm.next() {
			return corrupt("bundle", start, "frame of section %d, block %d, want section %d, block %d", f.section, f.first, i, asm.next())
		}
		b.frames = append(b.frames, BundleFrame{Section: i, First: f.first, Blocks: f.blocks, Size: f.size,
			Offset: start, Length: int64(frameHeadLen + f.length)})
		if c, err = b.read(f.length); err != nil {
			return err
		}
		payload := c.b
		err = b.dec.decode(asm.h.Layer, s, f, c, func(index int, data []byte, rows int) error {
			return asm.put(data, rows)
		})
		if err != nil {
			return err
		}
		if b.visit != nil {
			b.visit(s, f, start, payload)
		}
	}
	if got := uint64(asm.section().Bytes()); asm.rows != b.totals[i].rows || got != b.totals[i].bytes {
		return corrupt("bundle", b.off, "section %s has %d rows in %d bytes, head says %d in %d", s.ID, asm.rows, got, b.totals[i].rows, b.totals[i].bytes)
	}
	return asm.end()
}

// trailer compares the table with the frames that were read and proves that nothing follows.
func (b *bundleReader) trailer() error {
	start := b.off
	want := appendTable(nil, start, b.frames)
	c, err := b.read(len(want))
	if err != nil {
		return err
	}
	if !bytes.Equal(c.b, want) {
		return corrupt("bundle", start, "table does not say where the frames are")
	}
	var one [1]byte
	switch n, err := io.ReadFull(b.r, one[:]); {
	case n > 0:
		return corrupt("bundle", b.off, "bytes after the end")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}
