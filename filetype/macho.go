package filetype

import "encoding/binary"

const (
	maxCommands        = 1024 // ClamAV's limit
	maxSegmentSections = 255  // in one segment; ClamAV's limit

	loadSegment    = 0x1
	loadSegment64  = 0x19
	loadThread     = 0x4
	loadUnixThread = 0x5

	cpuX86     = 7
	cpuPowerPC = 18
	cpu64      = 1 << 24
)

// macho reads a Mach-O file as ClamAV does: sections are those of its segments, their sizes rounded up to their alignment, and 0 where the file
// has no bytes of them; one of 4 GiB and more is refused. There is an entry point in the thread state of programs for PowerPC only; LC_MAIN
// and the state of other processors are not looked at, so that today's programs have 0. Source: spec (Apple, OS X ABI Mach-O File Format
// Reference; loader.h) for the places of the fields; probe for the rest.
func (l *Layout) macho(w *window) error {
	b, err := w.need(0, 28, "Mach-O header")
	if err != nil {
		return err
	}
	var o binary.ByteOrder = binary.LittleEndian
	at, wide := uint64(28), false
	switch string(b[:4]) {
	case "\xce\xfa\xed\xfe":
	case "\xcf\xfa\xed\xfe":
		wide = true
	case "\xfe\xed\xfa\xce":
		o = binary.BigEndian
	case "\xfe\xed\xfa\xcf":
		o, wide = binary.BigEndian, true
	default:
		return w.wrong(0, "no Mach-O header")
	}
	if wide {
		at = 32
	}
	cpu, commands := o.Uint32(b[4:]), int64(o.Uint32(b[16:]))
	if commands == 0 || commands > maxCommands {
		return w.wrong(0, "no load commands, or too many")
	}
	entry := uint32(0)
	for range commands {
		if b, err = w.need(at, 8, "load command"); err != nil {
			return err
		}
		command, size := o.Uint32(b), o.Uint32(b[4:])
		threaded := command == loadThread || command == loadUnixThread
		switch {
		case !wide && command == loadSegment, wide && command == loadSegment64:
			// The next command is behind the last section, whatever the size of the command is.
			if at, err = l.machoSegment(w, o, wide, at+8); err != nil {
				return err
			}
		case threaded && cpu == cpuX86:
			if _, err = w.need(at+16, 64, "thread state"); err != nil {
				return err
			}
			at += 16 + 64
		case threaded && cpu == cpuPowerPC:
			if b, err = w.need(at+16, 160, "thread state"); err != nil {
				return err
			}
			entry = o.Uint32(b)
			at += 16 + 160
		case threaded && cpu == cpuPowerPC|cpu64:
			if b, err = w.need(at+16, 312, "thread state"); err != nil {
				return err
			}
			entry = uint32(o.Uint64(b))
			at += 16 + 312
		default:
			at += uint64(max(size, 8))
		}
	}
	return l.machoEntry(w, entry)
}

// machoSegment reads the segment at and its sections, and returns where they end.
func (l *Layout) machoSegment(w *window, o binary.ByteOrder, wide bool, at uint64) (uint64, error) {
	header, count, section := 48, 40, 68
	if wide {
		header, count, section = 64, 56, 80
	}
	b, err := w.need(at, header, "segment")
	if err != nil {
		return 0, err
	}
	sections := o.Uint32(b[count:])
	if sections > maxSegmentSections || len(l.Sections)+int(sections) > MaxSections {
		return 0, w.wrong(at, "too many sections")
	}
	at += uint64(header)
	for range sections {
		if b, err = w.need(at, section, "section"); err != nil {
			return 0, err
		}
		at += uint64(section)
		s := Section{Address: o.Uint32(b[32:]), VirtualSize: o.Uint32(b[36:]), Offset: o.Uint32(b[40:])}
		align, flags, large := o.Uint32(b[44:]), o.Uint32(b[56:]), false
		if wide {
			s = Section{Address: uint32(o.Uint64(b[32:])), VirtualSize: uint32(o.Uint64(b[40:])), Offset: o.Uint32(b[48:])}
			align, flags, large = o.Uint32(b[52:]), o.Uint32(b[64:]), o.Uint64(b[40:])>>32 != 0
		}
		if align > 31 {
			return 0, w.wrong(at, "alignment of a section is too large")
		}
		if !zeroFilled(flags) {
			if s.Size = up(s.VirtualSize, 1<<align); large || s.Size < s.VirtualSize {
				return 0, w.wrong(at, "a section is larger than 32 bits can say")
			}
		}
		l.Sections = append(l.Sections, s)
	}
	return at, nil
}

// zeroFilled says whether a section of these flags has no bytes in the file. Source: spec (loader.h, the types of sections); probe.
func zeroFilled(flags uint32) bool {
	const zeros, largeZeros, threadZeros = 0x1, 0xc, 0x12
	t := flags & 0xff
	return t == zeros || t == largeZeros || t == threadZeros
}

// machoEntry finds the file offset of the entry point at an address.
func (l *Layout) machoEntry(w *window, entry uint32) error {
	if entry == 0 || len(l.Sections) == 0 {
		l.Entry = entry // without sections it stays an address
		return nil
	}
	for _, s := range l.Sections {
		if s.Address <= entry && s.Address+s.VirtualSize > entry { // the sum may wrap, as it does there
			l.Entry = entry - s.Address + s.Offset
			return nil
		}
	}
	return w.wrong(0, "the entry point is in no section")
}
