package filetype

import "encoding/binary"

// ClamAV's limits of an ELF file (probe).
const (
	maxSegments    = 128
	maxELFSections = 256
)

// elf reads an ELF file as ClamAV does: the entry point is at its place in the first segment whose memory has it, of whatever type; a file
// without an entry point or without segments has 0. Offsets are cut to 32 bits. Source: spec (System V ABI, chapters 4 and 5) for the places
// of the fields; probe for the rest.
func (l *Layout) elf(w *window) error {
	b, err := w.need(0, 52, "ELF header")
	if err != nil {
		return err
	}
	if string(b[:4]) != "\x7fELF" {
		return w.wrong(0, "no ELF header")
	}
	var o binary.ByteOrder = binary.BigEndian
	if b[5] == 1 { // whatever else counts as big-endian
		o = binary.LittleEndian
	}
	var (
		entry, segments, sections uint64
		counts                    []byte
		wide                      bool
	)
	switch b[4] {
	case 1:
		entry, segments, sections, counts = uint64(o.Uint32(b[24:])), uint64(o.Uint32(b[28:])), uint64(o.Uint32(b[32:])), b[42:]
	case 2:
		if b, err = w.need(0, 64, "ELF header"); err != nil {
			return err
		}
		entry, segments, sections, counts = o.Uint64(b[24:]), o.Uint64(b[32:]), o.Uint64(b[40:]), b[54:]
		wide = true
	default:
		return w.wrong(4, "neither of 32 nor of 64 bits")
	}
	segmentSize, segmentCount := o.Uint16(counts), int(o.Uint16(counts[2:]))
	sectionSize, sectionCount := o.Uint16(counts[4:]), int(o.Uint16(counts[6:]))
	if segmentCount > maxSegments {
		return w.wrong(0, "too many segments")
	}
	if segmentCount > 0 && entry > 0 {
		if err := l.elfEntry(w, o, wide, entry, segments, segmentSize, segmentCount); err != nil {
			return err
		}
	}
	return l.elfSections(w, o, wide, sections, sectionSize, sectionCount)
}

// elfEntry finds the file offset of the entry point. All segments must be there.
func (l *Layout) elfEntry(w *window, o binary.ByteOrder, wide bool, entry, table uint64, size uint16, count int) error {
	want := uint16(32)
	if wide {
		want = 56
	}
	if size != want {
		return w.wrong(0, "segment headers of another size")
	}
	found := false
	for i := range count {
		b, err := w.need(table+uint64(i)*uint64(size), int(size), "segment header")
		if err != nil {
			return err
		}
		if found {
			continue
		}
		if wide {
			address, offset, memory := o.Uint64(b[16:]), o.Uint64(b[8:]), o.Uint64(b[40:])
			if address <= entry && address+memory > entry { // the sum may wrap, as it does there
				l.Entry, found = uint32(entry-address+offset), true
			}
		} else {
			entry, address, offset, memory := uint32(entry), o.Uint32(b[8:]), o.Uint32(b[4:]), o.Uint32(b[20:])
			if address <= entry && address+memory > entry {
				l.Entry, found = entry-address+offset, true
			}
		}
	}
	if !found {
		return w.wrong(0, "the entry point is in no segment")
	}
	return nil
}

func (l *Layout) elfSections(w *window, o binary.ByteOrder, wide bool, table uint64, size uint16, count int) error {
	if count > maxELFSections {
		return w.wrong(0, "too many sections")
	}
	want := uint16(40)
	if wide {
		want = 64
	}
	if size != want { // also where there are none
		return w.wrong(0, "section headers of another size")
	}
	l.Sections = make([]Section, 0, count) // at most maxELFSections
	for i := range count {
		b, err := w.need(table+uint64(i)*uint64(size), int(size), "section header")
		if err != nil {
			return err
		}
		s := Section{Address: o.Uint32(b[12:]), Offset: o.Uint32(b[16:]), Size: o.Uint32(b[20:])}
		if wide {
			s = Section{Address: uint32(o.Uint64(b[16:])), Offset: uint32(o.Uint64(b[24:])), Size: uint32(o.Uint64(b[32:]))}
		}
		l.Sections = append(l.Sections, s)
	}
	return nil
}
