package patterntest

import (
	"encoding/binary"

	"example.org/avdb/pattern"
)

// headSize is how many bytes a program needs before its sections; false for targets whose files have none.
func headSize(t pattern.Target, sections int) (n int, ok bool) {
	switch t {
	case pattern.TargetPE:
		return (peAt + 24 + peOptional + 40*sections + 0x1ff) &^ 0x1ff, true
	case pattern.TargetELF:
		return 64 + 56 + 64*sections, true
	case pattern.TargetMachO:
		return 32 + 72 + 80*sections, true
	}
	return 0, false
}

const (
	peAt       = 0x40 // where the PE header stands
	peOptional = 224
)

// program writes headers over the beginning of data, which has room for them, and says what they mean to offsets. The entry point of a PE file lies in
// a section. A Mach-O file has none.
func program(t pattern.Target, data []byte, sections []pattern.Section, entry int) pattern.File {
	f := pattern.File{Data: data, Facts: pattern.Facts{Target: t, Header: pattern.HeaderParsed, EntryPoint: uint32(entry), Sections: sections}}
	head, _ := headSize(t, len(sections))
	clear(data[:head])
	switch t {
	case pattern.TargetPE:
		pe(data, sections, entry)
	case pattern.TargetELF:
		elf(data, sections, entry)
	case pattern.TargetMachO:
		macho(data, sections)
		f.EntryPoint = 0
	}
	return f
}

// pe writes the headers of a PE file of 32 bits, which ClamAV can parse.
func pe(b []byte, sections []pattern.Section, entry int) {
	const align = 0x1000
	le := binary.LittleEndian
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], peAt)
	h := b[peAt:]
	copy(h, "PE\x00\x00")
	le.PutUint16(h[4:], 0x14c)
	le.PutUint16(h[6:], uint16(len(sections)))
	le.PutUint16(h[20:], peOptional)
	le.PutUint16(h[22:], 0x102)
	o := h[24:]
	address := uint32(align)
	for i, s := range sections {
		row := o[peOptional+40*i:]
		copy(row, ".part")
		le.PutUint32(row[8:], s.Size)
		le.PutUint32(row[12:], address)
		le.PutUint32(row[16:], s.Size)
		le.PutUint32(row[20:], s.Offset)
		le.PutUint32(row[36:], 0x60000020)
		if at := uint32(entry); at >= s.Offset && at < s.Offset+s.Size {
			le.PutUint32(o[16:], address+at-s.Offset)
		}
		address += (s.Size + align - 1) &^ (align - 1)
	}
	head, _ := headSize(pattern.TargetPE, len(sections))
	le.PutUint16(o, 0x10b)
	le.PutUint32(o[20:], align)
	le.PutUint32(o[28:], 0x400000)
	le.PutUint32(o[32:], align)
	le.PutUint32(o[36:], 0x200)
	le.PutUint16(o[40:], 4)
	le.PutUint16(o[48:], 4)
	le.PutUint32(o[56:], address)
	le.PutUint32(o[60:], uint32(head))
	le.PutUint16(o[68:], 3)
	le.PutUint32(o[92:], 16)
}

// elf writes the headers of an ELF file of 64 bits, which ClamAV can parse.
func elf(b []byte, sections []pattern.Section, entry int) {
	const base = 0x400000
	le := binary.LittleEndian
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)
	le.PutUint16(b[18:], 62)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], uint64(base+entry))
	le.PutUint64(b[32:], 64)
	le.PutUint64(b[40:], 64+56)
	for i, v := range []int{64, 56, 1, 64, len(sections)} {
		le.PutUint16(b[52+2*i:], uint16(v))
	}
	ph := b[64:]
	le.PutUint32(ph, 1)
	le.PutUint32(ph[4:], 5)
	for i, v := range []int{0, base, base, len(b), len(b), 0x1000} {
		le.PutUint64(ph[8+8*i:], uint64(v))
	}
	for i, s := range sections {
		if s.Size == 0 {
			continue
		}
		sh := b[64+56+64*i:]
		le.PutUint32(sh[4:], 1)
		le.PutUint64(sh[8:], 6)
		le.PutUint64(sh[16:], uint64(base)+uint64(s.Offset))
		le.PutUint64(sh[24:], uint64(s.Offset))
		le.PutUint64(sh[32:], uint64(s.Size))
	}
}

// macho writes the headers of a Mach-O file of 64 bits.
func macho(b []byte, sections []pattern.Section) {
	le := binary.LittleEndian
	size := uint32(72 + 80*len(sections))
	for i, v := range []uint32{0xfeedfacf, 7 | 1<<24, 3, 2, 1, size} {
		le.PutUint32(b[4*i:], v)
	}
	c := b[32:]
	le.PutUint32(c, 0x19)
	le.PutUint32(c[4:], size)
	copy(c[8:], "__TEXT")
	le.PutUint32(c[64:], uint32(len(sections)))
	for i, s := range sections {
		row := c[72+80*i:]
		copy(row, "__part")
		le.PutUint64(row[32:], 0x1000+uint64(s.Offset))
		le.PutUint64(row[40:], uint64(s.Size))
		le.PutUint32(row[48:], s.Offset)
	}
}
