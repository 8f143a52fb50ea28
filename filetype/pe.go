package filetype

import "encoding/binary"

// Sizes of the headers of a PE file. Source: spec (Microsoft, PE Format).
const (
	dosHeader       = 64
	coffHeader      = 24 // with its signature
	optionalHeader  = 96 // up to the data directories
	optionalHeader2 = 112
	directory       = 8
	maxDirectories  = 16
	peSection       = 40

	plus   = 0x20b // magic of an optional header of 64 bits; whatever else counts as 32 (probe)
	sector = 0x200
)

// down and up round to a multiple of a, in 32 bits; 0 and 1 leave n alone.
func down(n, a uint32) uint32 {
	if a == 0 {
		return n
	}
	return n / a * a
}

func up(n, a uint32) uint32 {
	if a == 0 || n%a == 0 {
		return n
	}
	return (n/a + 1) * a
}

// pe reads a PE file as ClamAV does. Source: spec for the places of the fields; probe for what is refused, rounded and cut
// (TestOffsetsAgreeWithClamAV). Neither alignments nor the order of sections are held against the file.
func (l *Layout) pe(w *window) error {
	le := binary.LittleEndian
	b, err := w.need(0, dosHeader, "DOS header")
	if err != nil {
		return err
	}
	if magic := string(b[:2]); magic != "MZ" && magic != "ZM" {
		return w.wrong(0, "no DOS header")
	}
	header := uint64(le.Uint32(b[60:]))
	if header == 0 {
		return w.wrong(60, "a DOS program")
	}
	if b, err = w.need(header, coffHeader, "PE header"); err != nil {
		return err
	}
	if string(b[:4]) != "PE\x00\x00" {
		return w.wrong(header, "no signature of PE")
	}
	count, optional := int(le.Uint16(b[6:])), int(le.Uint16(b[20:]))
	if count == 0 {
		return w.wrong(header, "no sections")
	}

	at, known := header+coffHeader, optionalHeader
	if optional < known {
		return w.wrong(header, "optional header is too short")
	}
	if b, err = w.need(at, known, "optional header"); err != nil {
		return err
	}
	directories := le.Uint32(b[92:])
	entry, sectionAlign, fileAlign, headers := le.Uint32(b[16:]), le.Uint32(b[32:]), le.Uint32(b[36:]), le.Uint32(b[60:])
	if le.Uint16(b) == plus {
		if known = optionalHeader2; optional < known {
			return w.wrong(header, "optional header is too short")
		}
		if b, err = w.need(at, known, "optional header"); err != nil {
			return err
		}
		directories = le.Uint32(b[108:])
	}
	known += int(min(directories, maxDirectories)) * directory
	if optional < known {
		return w.wrong(header, "optional header is shorter than its directories")
	}
	if _, err = w.need(at, known, "optional header"); err != nil {
		return err
	}
	if err := l.peSections(w, at+uint64(optional), count, sectionAlign, fileAlign); err != nil {
		return err
	}
	return l.peEntry(w, at, entry, up(headers, sectionAlign))
}

// peSections reads the section table and puts the sections where ClamAV takes them to be.
func (l *Layout) peSections(w *window, table uint64, count int, sectionAlign, fileAlign uint32) error {
	le := binary.LittleEndian
	l.Sections = make([]Section, 0, min(count, 16)) // it grows with what was read
	coarse := fileAlign != 0 && fileAlign != sector
	for i := range count {
		b, err := w.need(table+uint64(i)*peSection, peSection, "section header")
		if err != nil {
			return err
		}
		s := Section{VirtualSize: le.Uint32(b[8:]), Address: le.Uint32(b[12:]), Size: le.Uint32(b[16:]), Offset: le.Uint32(b[20:])}
		l.Sections = append(l.Sections, s)
		if coarse && s.Size != 0 && s.Offset%fileAlign != 0 && s.Offset%sector == 0 {
			fileAlign, coarse = sector, false // one section at a finer alignment makes it that of all
		}
	}
	for i := range l.Sections {
		s := &l.Sections[i]
		said := *s
		s.Address, s.VirtualSize = down(said.Address, sectionAlign), up(said.VirtualSize, sectionAlign)
		s.Offset, s.Size = down(said.Offset, fileAlign), up(said.Size, fileAlign)
		if s.Size > 0 {
			if int64(said.Offset) >= w.size {
				s.Size, said.Size = 0, 0
			} else {
				s.Size = uint32(min(int64(s.Size), w.size-int64(s.Offset)))
				said.Size = uint32(min(int64(said.Size), w.size-int64(said.Offset)))
			}
		}
		if said.Address>>31 != 0 || said.VirtualSize>>31 != 0 || s.Size > 0 && said.Offset>>31 != 0 || said.Size>>31 != 0 {
			return w.wrong(table+uint64(i)*peSection, "an address or size of a section is negative")
		}
		if s.VirtualSize == 0 && s.Size > 0 {
			s.VirtualSize = up(said.Size, sectionAlign)
		}
	}
	return nil
}

// peEntry finds the file offset of the entry point at an address: below headers, the rounded size of the headers, it is that
// address itself; otherwise the last section with it in its bytes has it.
func (l *Layout) peEntry(w *window, optional uint64, entry, headers uint32) error {
	if entry < headers {
		if int64(entry) >= w.size {
			return w.wrong(optional, "the entry point lies behind the file's end")
		}
		l.Entry = entry
		return nil
	}
	for i := len(l.Sections) - 1; i >= 0; i-- {
		if s := l.Sections[i]; s.Address <= entry && entry-s.Address < s.Size {
			l.Entry = entry - s.Address + s.Offset
			return nil
		}
	}
	return w.wrong(optional, "the entry point is in no section")
}
