package dbformat

import (
	"fmt"
	"io"
	"strings"
)

// Describe names every field of a header, bundle or delta of size bytes, a line or more each:
// offset, bytes in hex, name, meaning. Of long fields the first and last bytes are
// shown. What is compressed against an old layer is not decompressed. The first error
// ends it, after the fields before it; errors match [ErrCorrupt] or [ErrVersion], or are those of r and w.
// The text is for people, it may change.
func Describe(w io.Writer, r io.ReaderAt, size int64) error {
	head := make([]byte, min(size, headerHead))
	if err := readAt(r, head, 0); err != nil {
		return err
	}
	if len(head) < headerHead || string(head[:4]) != magic {
		return corrupt("file", 0, "does not begin with %q", magic)
	}
	d := describer{w: w, r: r, size: size}
	switch kind := head[4]; kind {
	case kindHeader:
		d.header()
	case kindBundle:
		d.bundle()
	case kindLightDelta, kindRestDelta:
		d.delta(kind)
	default:
		return corrupt("file", 4, "is of the unknown kind %q", kind)
	}
	return d.err
}

type describer struct {
	w    io.Writer
	r    io.ReaderAt
	size int64
	err  error
}

// fail keeps the first error.
func (d *describer) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// hexLine is how many bytes stand in a line, hexMost how many of a field are shown.
const (
	hexLine = 16
	hexMost = 64
)

// field prints the field that has the bytes from from to to.
func (d *describer) field(name string, from, to int64, value string) {
	if d.err != nil {
		return
	}
	b := make([]byte, min(to-from, hexMost))
	if err := readAt(d.r, b, from); err != nil {
		d.fail(err)
		return
	}
	line := fmt.Sprintf("%8d  %-47s  %-20s %s", from, hexBytes(b[:min(len(b), hexLine)]), name, value)
	_, err := fmt.Fprintln(d.w, strings.TrimRight(line, " "))
	for i := hexLine; i < len(b) && err == nil; i += hexLine {
		_, err = fmt.Fprintf(d.w, "%8d  %s\n", from+int64(i), hexBytes(b[i:min(len(b), i+hexLine)]))
	}
	if left := to - from - int64(len(b)); left > 0 && err == nil {
		_, err = fmt.Fprintf(d.w, "%8d  and %d bytes more\n", from+int64(len(b)), left)
	}
	if err != nil {
		d.fail(err)
	}
}

func hexBytes(b []byte) string {
	s := make([]string, len(b))
	for i, c := range b {
		s[i] = fmt.Sprintf("%02x", c)
	}
	return strings.Join(s, " ")
}

// all reads the whole file, which must not be longer than limit.
func (d *describer) all(what string, limit int64) []byte {
	if d.size > limit {
		d.fail(corrupt(what, limit, "longer than %d bytes", limit))
		return nil
	}
	b := make([]byte, d.size)
	if err := readAt(d.r, b, 0); err != nil {
		d.fail(err)
		return nil
	}
	return b
}

// head prints the 8 bytes that headers and bundles begin with.
func (d *describer) head(what string, l Layer, sections int) {
	d.field("magic", 0, 4, fmt.Sprintf("%q", magic))
	d.field("kind", 4, 5, what)
	d.field("version", 5, 6, fmt.Sprint(FormatVersion))
	d.field("layer", 6, 7, l.String())
	d.field("sections", 7, 8, fmt.Sprint(sections))
}

// params prints a section's parameters, which begin at off, and gives where they end.
func (d *describer) params(s *SectionHeader, l Layer, off int64) int64 {
	d.field("section", off, off+2, s.ID.String())
	d.field("p", off+2, off+3, fmt.Sprintf("%d bits of each hash are in light", s.P))
	d.field("b", off+3, off+4, fmt.Sprintf("2^%d ranges", s.B))
	d.field("k", off+4, off+5, fmt.Sprintf("2^%d ranges a block, %d blocks", s.K, s.NumBlocks()))
	if l == Rest {
		meaning := "digest of the light section"
		if s.ID.Placed() {
			meaning = "none: the rows are whole"
		}
		d.field("pair", off+paramsLight, off+paramsRest, meaning)
		return off + paramsRest
	}
	return off + paramsLight
}

func (d *describer) header() {
	b := d.all("header", MaxHeader)
	h, err := ParseHeader(b)
	if err != nil {
		d.fail(err)
		return
	}
	d.head("header", h.Layer, len(h.Sections))
	off := int64(headerHead)
	for i := range h.Sections {
		s := &h.Sections[i]
		off = d.params(s, h.Layer, off)
		for j := range s.Blocks {
			d.field("rows", off, off+4, fmt.Sprintf("%d, block %d", s.Blocks[j].Rows, j))
			d.field("bytes", off+4, off+8, fmt.Sprint(s.Blocks[j].Bytes))
			d.field("block digest", off+8, off+leafLen, "")
			off += leafLen
		}
	}
}

func (d *describer) delta(kind byte) {
	b := d.all("delta", MaxDelta)
	if d.err != nil {
		return
	}
	p := deltaParser{visit: d.field, blind: true}
	if _, err := p.parse(b, kind); err != nil {
		d.fail(err)
	}
}

func (d *describer) bundle() {
	unpack, err := newUnpacker(nil)
	if err != nil {
		d.fail(err)
		return
	}
	defer unpack.close()
	b := bundleReader{r: io.NewSectionReader(d.r, 0, d.size), dec: frameDecoder{unpack: unpack}}
	layer, err := b.layer()
	if err != nil {
		d.fail(err)
		return
	}
	d.head("bundle", layer, len(b.sections))
	off := int64(headerHead)
	for i := range b.sections {
		off = d.params(&b.sections[i], layer, off)
		d.field("rows", off, off+8, fmt.Sprint(b.totals[i].rows))
		d.field("bytes", off+8, off+16, fmt.Sprintf("%d, canonical", b.totals[i].bytes))
		off += 16
	}
	asm := newAssembler("bundle", layer, discard{})
	for i := range b.sections {
		b.visit = func(s *SectionHeader, f frameHead, start int64, payload []byte) {
			d.frame(layer, s, f, start, payload, unpack)
		}
		if err := b.section(i, asm); err != nil {
			d.fail(err)
			return
		}
	}
	end := b.off
	if err := b.trailer(); err != nil {
		d.fail(err)
		return
	}
	for i, f := range b.frames {
		d.field("table", end, end+tableEntryLen, fmt.Sprintf("frame %d: section %d, blocks %d to %d, %d canonical bytes, at byte %d, %d bytes",
			i, f.Section, f.First, f.First+f.Blocks-1, f.Size, f.Offset, f.Length))
		end += tableEntryLen
	}
	d.field("table offset", end, end+8, fmt.Sprint(end-int64(len(b.frames))*tableEntryLen))
	d.field("frames", end+8, end+12, fmt.Sprint(len(b.frames)))
	d.field("magic", end+12, end+16, fmt.Sprintf("%q, end of the bundle", trailerMagic))
}

// discard is a sink that keeps nothing.
type discard struct{}

func (discard) PutBlock(SectionID, int, []byte) error { return nil }

// frame prints a frame that has been proved to be valid; it begins at start.
func (d *describer) frame(l Layer, s *SectionHeader, f frameHead, start int64, payload []byte, unpack *unpacker) {
	d.field("section", start, start+1, s.ID.String())
	d.field("first", start+1, start+5, fmt.Sprintf("block %d", f.first))
	d.field("blocks", start+5, start+9, fmt.Sprint(f.blocks))
	d.field("size", start+9, start+13, fmt.Sprintf("%d canonical bytes", f.size))
	d.field("length", start+13, start+frameHeadLen, fmt.Sprintf("%d bytes follow", f.length))
	c := &cursor{what: "bundle", b: payload, off: start + frameHeadLen}
	number := func(name, value string) int {
		at := c.off
		n := int(c.uvarint(MaxRows, name))
		d.field(name, at, c.off, fmt.Sprintf(value, n))
		return n
	}
	column := func(name string) {
		at, sum := c.off, sumAfter(c.b)
		how := [...]string{"as it is", "zstd", "zstd"}[c.b[0]&3]
		b := unpack.column(c, maxFrame, name)
		visitColumn(d.field, name, at, c.off, sum, fmt.Sprintf("%d bytes, %s", len(b), how))
	}
	switch {
	case s.ID.Split() && l == Light:
		n := number("rows", "%d")
		span := uint64(f.blocks) << (s.P - s.B + s.K)
		d.field("prefixes", c.off, c.off+int64(len(c.b)), fmt.Sprintf("Rice gaps with %d low bits", riceParam(span, n)))
	case s.ID.Rows():
		keys := 0
		for i := range f.blocks {
			n := number("rows", fmt.Sprintf("%%d, block %d", f.first+i))
			keys += packedLen(n, 8*s.ID.Algorithm().Size()-int(s.P))
		}
		d.field("keys", c.off, c.off+int64(keys), fmt.Sprintf("bits from %d on", s.P))
		c.take(int64(keys), "keys")
		for i := range 4 {
			column(fmt.Sprintf("sizes, byte %d", i))
		}
		column("lengths of names")
		column("names")
	case s.ID.OfPatterns():
		for i := range f.blocks {
			number("rows", fmt.Sprintf("%%d, block %d", f.first+i))
		}
		column("lengths of names")
		column("names")
		column("lengths of patterns")
		column("patterns")
	default:
		column("block")
	}
}
