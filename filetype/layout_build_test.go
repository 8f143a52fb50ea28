package filetype

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// A peFile is what buildPE makes a file of. Zero fields take what is usual.
type peFile struct {
	plus                              bool
	header, headers, entry            uint32 // e_lfanew, SizeOfHeaders, AddressOfEntryPoint
	sectionAlign, fileAlign           uint32
	optional, count                   int // SizeOfOptionalHeader and NumberOfSections, where they lie
	directories                       uint32
	subsystem, characteristics, magic uint16
	sections                          []peRow
	size                              int // of the file: cut or filled
}

type peRow struct{ vsize, address, size, offset uint32 }

// or is the first that is not zero.
func or[T comparable](a, b T) T {
	var zero T
	if a != zero {
		return a
	}
	return b
}

// usual is a PE file that every loader takes: three sections at 0x200, 0x400 and 0xa00, the entry point in the second.
func usual() peFile {
	return peFile{entry: 0x2010, size: 0x1000, sections: []peRow{{0x1f0, 0x1000, 0x200, 0x400}, {0x500, 0x2000, 0x600, 0x600}, {0x100, 0x3000, 0x200, 0xc00}}}
}

func buildPE(p peFile) []byte {
	le := binary.LittleEndian
	header := or(p.header, 0x80)
	b := make([]byte, header)
	copy(b, "MZ")
	le.PutUint32(b[60:], header)
	known := optionalHeader
	if p.plus {
		known = optionalHeader2
	}
	directories := or(p.directories, maxDirectories)
	b = append(b, "PE\x00\x00"...)
	b = le.AppendUint16(b, 0x14c)
	b = le.AppendUint16(b, uint16(or(p.count, len(p.sections))))
	b = append(b, make([]byte, 12)...)
	b = le.AppendUint16(b, uint16(or(p.optional, known+maxDirectories*directory)))
	b = le.AppendUint16(b, or(p.characteristics, 0x102))
	o := make([]byte, known+maxDirectories*directory)
	magic := or(p.magic, 0x10b)
	le.PutUint32(o[92:], directories)
	if p.plus {
		magic = plus
		le.PutUint32(o[92:], 0)
		le.PutUint32(o[108:], directories)
	}
	le.PutUint16(o, magic)
	le.PutUint32(o[16:], p.entry)
	le.PutUint32(o[32:], or(p.sectionAlign, 0x1000))
	le.PutUint32(o[36:], or(p.fileAlign, 0x200))
	le.PutUint32(o[60:], or(p.headers, 0x400))
	le.PutUint16(o[68:], or(p.subsystem, 3))
	b = append(b, o...)
	for _, s := range p.sections {
		b = append(b, ".name\x00\x00\x00"...)
		for _, v := range []uint32{s.vsize, s.address, s.size, s.offset} {
			b = le.AppendUint32(b, v)
		}
		b = append(b, make([]byte, 16)...)
	}
	return fill(b, p.size)
}

// word is the four bytes that fill has at a place: no two places have the same.
func word(at int) uint32 { return uint32(at) * 2654435761 }

// fill brings b to a size, with bytes that are another every four.
func fill(b []byte, size int) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	for len(b) < size {
		b = binary.BigEndian.AppendUint32(b, word(len(b)))
	}
	return b[:size]
}

// An elfFile is what buildELF makes a file of.
type elfFile struct {
	wide              bool
	order             binary.ByteOrder
	class, data       byte
	entry             uint64
	segments          []elfRow
	sections          []elfRow
	segmentSize       int // e_phentsize, where it lies
	sectionSize       int
	segmentCount      int
	sectionCount      int
	size              int
	segmentAt, tables uint64
}

type elfRow struct {
	kind                          uint32
	offset, address, size, memory uint64
}

func buildELF(e elfFile) []byte {
	var o binary.ByteOrder = binary.LittleEndian
	if e.order != nil {
		o = e.order
	}
	head, segment, section := 52, 32, 40
	if e.wide {
		head, segment, section = 64, 56, 64
	}
	b := make([]byte, head)
	copy(b, "\x7fELF\x01\x01\x01")
	if e.wide {
		b[4] = 2
	}
	if o == binary.BigEndian {
		b[5] = 2
	}
	b[4], b[5] = or(e.class, b[4]), or(e.data, b[5])
	o.PutUint16(b[16:], 2)
	o.PutUint16(b[18:], 62)
	o.PutUint32(b[20:], 1)
	segments, sections := or(e.segmentAt, uint64(head)), or(e.tables, uint64(head+segment*len(e.segments)))
	counts := b[42:]
	if e.wide {
		o.PutUint64(b[24:], e.entry)
		o.PutUint64(b[32:], segments)
		o.PutUint64(b[40:], sections)
		counts = b[54:]
	} else {
		o.PutUint32(b[24:], uint32(e.entry))
		o.PutUint32(b[28:], uint32(segments))
		o.PutUint32(b[32:], uint32(sections))
	}
	for i, v := range []int{or(e.segmentSize, segment), or(e.segmentCount, len(e.segments)), or(e.sectionSize, section), or(e.sectionCount, len(e.sections))} {
		o.PutUint16(counts[2*i:], uint16(v))
	}
	for _, r := range e.segments {
		row := make([]byte, segment)
		o.PutUint32(row, r.kind)
		if e.wide {
			o.PutUint64(row[8:], r.offset)
			o.PutUint64(row[16:], r.address)
			o.PutUint64(row[32:], r.size)
			o.PutUint64(row[40:], r.memory)
		} else {
			o.PutUint32(row[4:], uint32(r.offset))
			o.PutUint32(row[8:], uint32(r.address))
			o.PutUint32(row[16:], uint32(r.size))
			o.PutUint32(row[20:], uint32(r.memory))
		}
		b = append(b, row...)
	}
	for _, r := range e.sections {
		row := make([]byte, section)
		o.PutUint32(row[4:], r.kind)
		if e.wide {
			o.PutUint64(row[16:], r.address)
			o.PutUint64(row[24:], r.offset)
			o.PutUint64(row[32:], r.size)
		} else {
			o.PutUint32(row[12:], uint32(r.address))
			o.PutUint32(row[16:], uint32(r.offset))
			o.PutUint32(row[20:], uint32(r.size))
		}
		b = append(b, row...)
	}
	return fill(b, e.size)
}

func usualELF(wide bool) elfFile {
	return elfFile{wide: wide, entry: 0x401020, size: 0x1000,
		segments: []elfRow{{6, 0x40, 0x400040, 0x100, 0x100}, {1, 0, 0x400000, 0x400, 0x400}, {1, 0x600, 0x401000, 0x200, 0x200}},
		sections: []elfRow{{}, {1, 0x600, 0x401000, 0x200, 0}, {1, 0x800, 0x402000, 0x100, 0}}}
}

// A machoFile is what buildMachO makes a file of.
type machoFile struct {
	wide     bool
	order    binary.ByteOrder
	cpu      uint32
	commands [][]byte
	count    int // ncmds, where it lies
	size     int
}

type machoRow struct {
	address, size uint64
	offset, align uint32
	flags         uint32
}

func buildMachO(m machoFile) []byte {
	var o binary.ByteOrder = binary.LittleEndian
	if m.order != nil {
		o = m.order
	}
	b := make([]byte, 28)
	o.PutUint32(b, 0xfeedface)
	if m.wide {
		b = make([]byte, 32)
		o.PutUint32(b, 0xfeedfacf)
	}
	o.PutUint32(b[4:], m.cpu)
	o.PutUint32(b[12:], 2)
	o.PutUint32(b[16:], uint32(or(m.count, len(m.commands))))
	all := bytes.Join(m.commands, nil)
	o.PutUint32(b[20:], uint32(len(all)))
	return fill(slices.Concat(b, all), m.size)
}

// segmentCommand is a segment with sections.
func segmentCommand(o binary.ByteOrder, wide bool, rows ...machoRow) []byte {
	b := make([]byte, 56)
	count, kind := 48, uint32(loadSegment)
	if wide {
		b, count, kind = make([]byte, 72), 64, loadSegment64
	}
	o.PutUint32(b, kind)
	copy(b[8:], "__TEXT")
	o.PutUint32(b[count:], uint32(len(rows)))
	for _, r := range rows {
		if wide {
			row := make([]byte, 80)
			copy(row, "__text")
			o.PutUint64(row[32:], r.address)
			o.PutUint64(row[40:], r.size)
			o.PutUint32(row[48:], r.offset)
			o.PutUint32(row[52:], r.align)
			o.PutUint32(row[64:], r.flags)
			b = append(b, row...)
		} else {
			row := make([]byte, 68)
			copy(row, "__text")
			o.PutUint32(row[32:], uint32(r.address))
			o.PutUint32(row[36:], uint32(r.size))
			o.PutUint32(row[40:], r.offset)
			o.PutUint32(row[44:], r.align)
			o.PutUint32(row[56:], r.flags)
			b = append(b, row...)
		}
	}
	o.PutUint32(b[4:], uint32(len(b)))
	return b
}

// threadCommand is a thread state of size bytes that begins with an entry point.
func threadCommand(o binary.ByteOrder, size int, entry uint64, wide bool) []byte {
	b := make([]byte, 16+size)
	o.PutUint32(b, loadUnixThread)
	o.PutUint32(b[4:], uint32(len(b)))
	if wide {
		o.PutUint64(b[16:], entry)
	} else {
		o.PutUint32(b[16:], uint32(entry))
	}
	return b
}
