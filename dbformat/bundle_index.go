package dbformat

import (
	"bytes"
	"errors"
	"io"
	"math"
)

// A BundleIndex is what a bundle's head and table say: which frame has which blocks and
// where it is. With it one frame can be fetched and decoded without the others.
type BundleIndex struct {
	Layer    Layer
	Sections []SectionHeader // without leaves
	Frames   []BundleFrame
}

// ReadBundleIndex reads the head and the table of a bundle of size bytes: about 1 KiB
// at its beginning and less than a thousandth of it at its end. Nothing in it is proved until
// blocks are compared with the leaves of a verified header. Errors match [ErrCorrupt]
// or [ErrVersion], or are r's.
func ReadBundleIndex(r io.ReaderAt, size int64) (*BundleIndex, error) {
	if size < headerHead+trailerLen || size > MaxBundle {
		return nil, corrupt("bundle", 0, "%d bytes, want %d to %d", size, headerHead+trailerLen, int64(MaxBundle))
	}
	head := make([]byte, min(size, headerHead+MaxSections*(paramsRest+16)))
	if err := readAt(r, head, 0); err != nil {
		return nil, err
	}
	layer, n, err := parseHead("bundle", kindBundle, head)
	if err != nil {
		return nil, err
	}
	params := paramsLight
	if layer == Rest {
		params = paramsRest
	}
	end := headerHead + n*(params+16)
	if end > len(head) {
		return nil, corrupt("bundle", size, "ends within its head")
	}
	x := &BundleIndex{Layer: layer}
	c := &cursor{what: "bundle", b: head[headerHead:end], off: headerHead}
	if x.Sections, _, err = parseBundleSections(c, layer, n); err != nil {
		return nil, err
	}
	if err := x.readTable(r, size, int64(end)); err != nil {
		return nil, err
	}
	return x, nil
}

func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return corrupt("bundle", off+int64(n), "ends early")
	}
	return err
}

// readTable reads the table that ends a bundle of size bytes; the first frame begins at start.
func (x *BundleIndex) readTable(r io.ReaderAt, size, start int64) error {
	trailer := make([]byte, trailerLen)
	if err := readAt(r, trailer, size-trailerLen); err != nil {
		return err
	}
	c := &cursor{what: "bundle", b: trailer, off: size - trailerLen}
	table, n := c.u64("offset of the table"), int64(c.u32("number of frames"))
	if !bytes.Equal(c.b, []byte(trailerMagic)) {
		return corrupt("bundle", c.off, "does not end with %q", trailerMagic)
	}
	if n > MaxBlocks || table != uint64(size-trailerLen-n*tableEntryLen) || int64(table) < start {
		return corrupt("bundle", size-trailerLen, "table of %d frames cannot begin at byte %d", n, table)
	}
	b := make([]byte, n*tableEntryLen)
	if err := readAt(r, b, int64(table)); err != nil {
		return err
	}
	c = &cursor{what: "bundle", b: b, off: int64(table)}
	section, next, off := 0, 0, start
	for range n {
		f := BundleFrame{Section: int(c.u8("section"))}
		for _, v := range []*int{&f.First, &f.Blocks, &f.Size} {
			*v = int(min(c.u32("frame"), math.MaxInt32))
		}
		f.Offset, f.Length = int64(min(c.u64("offset"), MaxBundle)), int64(c.u32("length"))
		if section < len(x.Sections) && next == x.Sections[section].NumBlocks() {
			section, next = section+1, 0
		}
		switch {
		case f.Section != section || section >= len(x.Sections) || f.First != next || f.Blocks < 1 || f.Blocks > x.Sections[section].NumBlocks()-next:
			c.fail("frame of section %d, block %d, want section %d, block %d", f.Section, f.First, section, next)
		case f.Offset != off || f.Length <= frameHeadLen || f.Length > frameHeadLen+maxPayload:
			c.fail("frame of %d bytes at byte %d, the one before ends at byte %d", f.Length, f.Offset, off)
		}
		if c.err != nil {
			return c.err
		}
		next += f.Blocks
		off += f.Length
		x.Frames = append(x.Frames, f)
	}
	if off != int64(table) || len(x.Sections) > 0 && (section != len(x.Sections)-1 || next != x.Sections[section].NumBlocks()) {
		return corrupt("bundle", int64(table), "table does not cover all frames")
	}
	return nil
}

// Find gives the number of the frame that holds a block; -1 if there is none.
func (x *BundleIndex) Find(id SectionID, block int) int {
	for i, f := range x.Frames {
		if x.Sections[f.Section].ID == id && block >= f.First && block < f.First+f.Blocks {
			return i
		}
	}
	return -1
}

// DecodeFrame decodes frame i, given its bytes (Length of them from Offset on), and gives its blocks to
// sink. The caller compares each with its leaf.
func (x *BundleIndex) DecodeFrame(i int, data []byte, sink Sink) error {
	unpack, err := newUnpacker(nil)
	if err != nil {
		return err
	}
	defer unpack.close()
	want := x.Frames[i]
	c := &cursor{what: "bundle", b: data, off: want.Offset}
	f := parseFrameHead(c, x.Sections)
	switch {
	case c.err != nil:
		return c.err
	case f.section != want.Section || f.first != want.First || f.blocks != want.Blocks || f.size != want.Size || int64(len(data)) != want.Length || f.length != len(c.b):
		return corrupt("bundle", want.Offset, "frame is not the one that the table names")
	}
	s := &x.Sections[f.section]
	dec := frameDecoder{unpack: unpack}
	return dec.decode(x.Layer, s, f, c, func(index int, b []byte, _ int) error { return sink.PutBlock(s.ID, index, b) })
}
