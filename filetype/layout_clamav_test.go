package filetype

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A threat is an executable that is not as it should be, or as usual.
type threat struct {
	name string
	kind Kind
	file []byte
}

// behindAndNegative is where the package comment says that hashes differ.
const behindAndNegative = "negative address of a section behind the file's end"

// mangle is a usual PE file with changes.
func mangle(change func(p *peFile)) []byte {
	p := usual()
	change(&p)
	return buildPE(p)
}

func mangleELF(wide bool, change func(e *elfFile)) []byte {
	e := usualELF(wide)
	change(&e)
	return buildELF(e)
}

// threats are executables that try each rule of the layouts.
func threats() []threat {
	var all []threat
	add := func(name string, kind Kind, file []byte) { all = append(all, threat{name, kind, file}) }
	pe := func(name string, change func(p *peFile)) {
		add("pe32 "+name, PE, mangle(change))
		add("pe32+ "+name, PE, mangle(func(p *peFile) { p.plus = true; change(p) }))
	}
	pe("usual", func(p *peFile) {})
	pe("DLL without an entry point", func(p *peFile) { p.entry, p.characteristics = 0, 0x2102 })
	pe("entry point in the headers", func(p *peFile) { p.entry = 0x300 })
	pe("entry point at the end of the rounded headers", func(p *peFile) { p.entry = 0xffc })
	pe("entry point behind the headers and before the sections", func(p *peFile) { p.sections[0].address = 0x2000; p.entry = 0x1000 })
	pe("headers larger than the file", func(p *peFile) { p.headers, p.entry = 0x5000, 0x1800 })
	pe("headers larger than the file, entry point too", func(p *peFile) { p.headers, p.entry = 0x5000, 0x4000 })
	pe("headers that wrap", func(p *peFile) { p.headers = 0xfffffff0 })
	pe("entry point in no section", func(p *peFile) { p.entry = 0x9000 })
	pe("entry point in the virtual tail of a section", func(p *peFile) { p.sections[2].vsize = 0x1000; p.entry = 0x3800 })
	pe("entry point in two sections", func(p *peFile) { p.sections[2].address = 0x2000 })
	pe("first section address not aligned", func(p *peFile) { p.sections[1].address = 0x2010; p.entry = 0x2010 })
	pe("raw offsets not aligned", func(p *peFile) { p.sections[1].offset, p.sections[2].offset = 0x610, 0xc04 })
	pe("raw sizes not aligned", func(p *peFile) { p.sections[1].size, p.sections[2].size = 0x504, 0x11 })
	pe("file alignment 0", func(p *peFile) { p.fileAlign = 0; p.sections[1].offset = 0x610 })
	pe("file alignment 1", func(p *peFile) { p.fileAlign = 1; p.sections[1].offset = 0x610; p.sections[1].size = 0x104 })
	pe("file alignment 0x10", func(p *peFile) { p.fileAlign = 0x10; p.sections[1].offset = 0x614; p.sections[1].size = 0x104 })
	pe("file alignment 0x1000 and finer sections", func(p *peFile) { p.fileAlign = 0x1000 })
	pe("file alignment 0x1000 and sections at odd places", func(p *peFile) {
		p.fileAlign = 0x1000
		p.sections[0].offset, p.sections[1].offset, p.sections[2].offset = 0x404, 0x604, 0xc04
	})
	pe("section alignment 0", func(p *peFile) { p.sectionAlign = 0x10 })
	pe("section alignment of a driver", func(p *peFile) { p.sectionAlign, p.subsystem = 0x20, 1 })
	pe("a section cut by the file's end", func(p *peFile) { p.sections[2].size = 0x2000 })
	pe("a section behind the file's end", func(p *peFile) { p.sections[2].offset = 0x2000 })
	pe("a section at the file's end", func(p *peFile) { p.sections[2].offset = 0x1000 })
	pe("a file that ends in a sector", func(p *peFile) { p.size = 0xc84 })
	pe("the first section behind the file's end", func(p *peFile) { p.sections[0].offset = 0x20000 })
	pe("all sections behind the file's end", func(p *peFile) {
		for i := range p.sections {
			p.sections[i].offset = 0x8000
		}
		p.entry = 0x300
	})
	pe("negative address", func(p *peFile) { p.sections[2].address = 0x80003000 })
	pe(behindAndNegative, func(p *peFile) { p.sections[2].address, p.sections[2].offset = 0x80003000, 0x8000 })
	pe("negative virtual size", func(p *peFile) { p.sections[2].vsize = 0x80000000 })
	pe("negative raw size", func(p *peFile) { p.sections[2].size = 0x80000000 })
	pe("negative raw offset", func(p *peFile) { p.sections[2].offset = 0x80000000 })
	pe("negative raw offset without a size", func(p *peFile) { p.sections[2].offset, p.sections[2].size = 0x80000000, 0 })
	pe("no virtual size", func(p *peFile) { p.sections[2].vsize = 0 })
	pe("no raw size", func(p *peFile) { p.sections[2].size = 0 })
	pe("overlapping sections", func(p *peFile) { p.sections[2].offset = 0x600 })
	pe("one section", func(p *peFile) { p.sections = p.sections[1:2] })
	pe("no sections", func(p *peFile) { p.sections = nil })
	pe("more sections than the file has", func(p *peFile) { p.count = 200 })
	pe("a table that the end cuts", func(p *peFile) { p.size = 0x1e0 })
	pe("100 sections", func(p *peFile) { hundred(p, 100) })
	pe("300 sections", func(p *peFile) { hundred(p, 300) })
	pe("optional header too short", func(p *peFile) { p.optional = 90 })
	pe("optional header longer than its directories", func(p *peFile) { p.directories = 2 })
	pe("optional header shorter than its directories", func(p *peFile) { p.directories, p.optional = 16, 112 })
	pe("more directories than there are", func(p *peFile) { p.directories = 0xffffffff })
	pe("a ROM image", func(p *peFile) { p.magic = 0x107 })
	pe("header at an odd place", func(p *peFile) { p.header = 0x85 })
	pe("header close behind the DOS header", func(p *peFile) { p.header = 0x40 })
	for name, change := range map[string]func(b []byte){
		"a DOS program":         func(b []byte) { binary.LittleEndian.PutUint32(b[60:], 0) },
		"header behind the end": func(b []byte) { binary.LittleEndian.PutUint32(b[60:], 0x7fffffff) },
		"negative header":       func(b []byte) { binary.LittleEndian.PutUint32(b[60:], 0xffffffff) },
		"an NE program":         func(b []byte) { copy(b[0x80:], "NE") },
	} {
		b := mangle(func(*peFile) {})
		change(b)
		add("pe "+name, PE, b)
	}
	add("pe of 63 bytes", PE, mangle(func(*peFile) {})[:63])

	for _, wide := range []bool{false, true} {
		elf := func(name string, change func(e *elfFile)) {
			add(fmt.Sprintf("elf wide=%t %s", wide, name), ELF, mangleELF(wide, change))
		}
		elf("usual", func(e *elfFile) {})
		elf("big-endian", func(e *elfFile) { e.order = binary.BigEndian })
		elf("byte order 3", func(e *elfFile) { e.order = binary.BigEndian; e.data = 3 })
		elf("class 3", func(e *elfFile) { e.class = 3 })
		elf("no entry point", func(e *elfFile) { e.entry = 0 })
		elf("entry point in no segment", func(e *elfFile) { e.entry = 0x900000 })
		elf("entry point in memory only", func(e *elfFile) { e.segments[2].memory = 0x10000; e.entry = 0x401400 })
		elf("entry point in a segment that is not loaded", func(e *elfFile) { e.segments[0].memory = 0x10000; e.segments[0].address = 0x400000 })
		elf("a segment that wraps", func(e *elfFile) { e.segments[0].memory = 1<<64 - 1; e.segments[0].address = 0x400000 })
		elf("a segment behind the end", func(e *elfFile) { e.segments[2].offset = 0x10000 })
		elf("a segment at an offset of 33 bits", func(e *elfFile) { e.segments[2].offset = 1<<32 + 0x800 })
		elf("no segments", func(e *elfFile) { e.segments = nil })
		elf("segment headers of another size", func(e *elfFile) { e.segmentSize = 57 })
		elf("more segments than the file has", func(e *elfFile) { e.segmentCount = 128 })
		elf("128 segments", func(e *elfFile) { e.segments = slices.Repeat(e.segments[2:], 128); e.size = 0x4000 })
		elf("129 segments", func(e *elfFile) { e.segments = slices.Repeat(e.segments[2:], 129); e.size = 0x4000 })
		elf("segments behind the end", func(e *elfFile) { e.segmentAt = 1<<32 - 64 })
		elf("no sections", func(e *elfFile) { e.sections = nil })
		elf("no sections of any size", func(e *elfFile) { e.sections = nil; e.sectionSize = 1 })
		elf("section headers of another size", func(e *elfFile) { e.sectionSize = 41 })
		elf("256 sections", func(e *elfFile) { e.sections = slices.Repeat(e.sections[1:2], 256); e.size = 0x5000 })
		elf("257 sections", func(e *elfFile) { e.sections = slices.Repeat(e.sections[1:2], 257); e.size = 0x5000 })
		elf("sections behind the end", func(e *elfFile) { e.tables = 0x10000 })
		elf("a section behind the end", func(e *elfFile) { e.sections[2].offset = 0x10000 })
		elf("a section larger than the file", func(e *elfFile) { e.sections[1].size = 0x10000 })
		elf("a section at an offset of 33 bits", func(e *elfFile) { e.sections[2].offset = 1<<32 + 0x900 })
	}

	for _, wide := range []bool{false, true} {
		for _, o := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			macho := func(name string, cpu uint32, count int, commands ...[]byte) {
				add(fmt.Sprintf("macho wide=%t %s %s", wide, o, name), MachO, buildMachO(machoFile{wide, o, cpu, commands, count, 0x1000}))
			}
			rows := []machoRow{{0x1000, 0x104, 0x800, 4, 0}, {0x2000, 0x200, 0xa00, 0, 0}}
			text := segmentCommand(o, wide, rows...)
			other := []byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}
			o.PutUint32(other, 2)
			o.PutUint32(other[4:], uint32(len(other)))
			macho("usual", cpuX86, 0, text)
			macho("an unknown command", cpuX86, 0, other, text)
			macho("a thread of x86", cpuX86, 0, text, threadCommand(o, 64, 0x1010, false))
			macho("a thread of PowerPC", cpuPowerPC, 0, text, threadCommand(o, 160, 0x1010, false))
			macho("a thread of PowerPC and its segment behind", cpuPowerPC, 0, threadCommand(o, 160, 0x1010, false), text)
			macho("a thread of PowerPC with 64 bits", cpuPowerPC|cpu64, 0, text, threadCommand(o, 312, 0x2010, true), text)
			macho("a thread of PowerPC in no section", cpuPowerPC, 0, text, threadCommand(o, 160, 0x9010, false))
			macho("a thread of PowerPC without sections", cpuPowerPC, 0, threadCommand(o, 160, 0x900, false))
			macho("a thread of another processor", 12, 0, threadCommand(o, 160, 0x1010, false), text)
			macho("no commands", cpuX86, -1<<32, text)
			macho("more commands than the file has", cpuX86, 1000, text)
			macho("1025 commands", cpuX86, 1025, text)
			macho("a segment without sections", cpuX86, 0, segmentCommand(o, wide), text)
			macho("an alignment of 2^32", cpuX86, 0, segmentCommand(o, wide, machoRow{0x1000, 0x104, 0x800, 32, 0}))
			macho("a section behind the end", cpuX86, 0, segmentCommand(o, wide, machoRow{0x1000, 0x104, 0x8000, 2, 0}, rows[1]))
			for _, flags := range []uint32{1, 2, 0xb, 0xc, 0xd, 0x11, 0x12, 0x13, 0x101, 0x80000001} {
				macho(fmt.Sprintf("flags %x", flags), cpuPowerPC, 0, segmentCommand(o, wide, machoRow{0x1000, 0x104, 0x800, 4, flags}, rows[1]), threadCommand(o, 160, 0x1010, false))
			}
			macho("a section of 4 GiB", cpuX86, 0, segmentCommand(o, wide, machoRow{0x1000, 1<<32 - 1, 0x800, 0, 0}, rows[1]))
			macho("a section of 4 GiB when it is rounded", cpuX86, 0, segmentCommand(o, wide, machoRow{0x1000, 1<<32 - 1, 0x800, 2, 0}, rows[1]))
			macho("zeros of 4 GiB when they are rounded", cpuX86, 0, segmentCommand(o, wide, machoRow{0x1000, 1<<32 - 1, 0x800, 2, 1}, rows[1]))
			macho("zeros of 8 GiB", cpuX86, 0, segmentCommand(o, wide, machoRow{0x1000, 1 << 33, 0x800, 2, 1}, rows[1]))
			macho("zeros with an alignment of 2^32", cpuX86, 0, segmentCommand(o, wide, machoRow{0x1000, 0x104, 0x800, 32, 1}, rows[1]))
			macho("a section at an address of 33 bits", cpuX86, 0, segmentCommand(o, wide, machoRow{0x100001000, 0x104, 0x800, 2, 0}, rows[1]))
			long := bytes.Clone(text)
			o.PutUint32(long[4:], 0x400)
			macho("a segment whose command is longer", cpuX86, 0, long, text)
			many := bytes.Clone(text)
			o.PutUint32(many[map[bool]int{false: 48, true: 64}[wide]:], 256)
			macho("a segment with 256 sections", cpuX86, 0, many)
			macho("a segment of the other width", cpuX86, 0, segmentCommand(o, !wide, rows...), text)
		}
	}
	slices.SortStableFunc(all, func(a, b threat) int { return strings.Compare(a.name, b.name) })
	return all
}

// mangled are usual files with up to three fields of their headers changed at random, the same in each run.
func mangled(n int) []threat {
	var usual []threat
	for _, th := range threats() {
		if strings.HasSuffix(th.name, " usual") || strings.Contains(th.name, "thread of PowerPC") {
			usual = append(usual, th)
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	values := []uint64{0, 1, 2, 4, 0x10, 0x20, 0x40, 0x200, 0x600, 0x604, 0xa00, 0x1000, 0x2000, 0xfff0, 0x10000, 1<<31 - 1, 1 << 31, 1<<32 - 4, 1<<32 - 1, 1<<32 + 0x800, 1<<64 - 1}
	var all []threat
	for i := range n {
		th := usual[rng.IntN(len(usual))]
		th.file, th.name = bytes.Clone(th.file), fmt.Sprintf("%s, change %d", th.name, i)
		from := 4
		if th.kind == PE {
			from = 0x84
		}
		for range 1 + rng.IntN(3) {
			at := from + rng.IntN(0x200)/2*2
			if th.kind == PE && rng.IntN(20) == 0 {
				at = 60
			}
			var b []byte
			switch v := values[rng.IntN(len(values))]; rng.IntN(4) {
			case 0:
				b = binary.LittleEndian.AppendUint16(nil, uint16(v))
			case 1:
				b = binary.LittleEndian.AppendUint32(nil, uint32(v))
			case 2:
				b = binary.BigEndian.AppendUint32(nil, uint32(v))
			case 3:
				b = binary.LittleEndian.AppendUint64(nil, v)
			}
			th.name += fmt.Sprintf(" %x=%x", at, b)
			copy(th.file[at:], b)
		}
		if Detect(th.file, int64(len(th.file))) == th.kind {
			all = append(all, th)
		}
	}
	return all
}

// hundred gives a file n sections.
func hundred(p *peFile, n int) {
	p.size, p.headers, p.entry, p.sections = 0x5000, 0x3800, 0, nil
	for i := range n {
		p.sections = append(p.sections, peRow{0x1000, uint32(0x4000 + i*0x1000), 0x200, 0x3800 + uint32(i%12)*0x200})
	}
}

// offsets are the offsets that are tried, and the places that a layout says they stand for: from, up to and with to.
var offsets = []struct {
	text string
	in   func(l *Layout, size int64) (from, to int64, ok bool)
}{
	{"EP+0", func(l *Layout, _ int64) (int64, int64, bool) { return int64(l.Entry), int64(l.Entry), true }},
	{"EP+16", func(l *Layout, _ int64) (int64, int64, bool) { return int64(l.Entry) + 16, int64(l.Entry) + 16, true }},
	{"EP-16", func(l *Layout, _ int64) (int64, int64, bool) { return int64(l.Entry) - 16, int64(l.Entry) - 16, true }},
	{"S0+4", section(0, 4)}, {"S1+0", section(1, 0)}, {"S2+0", section(2, 0)}, {"S3+0", section(3, 0)}, {"S99+0", section(99, 0)}, {"S255+0", section(255, 0)},
	{"SL+0", func(l *Layout, size int64) (int64, int64, bool) { return section(len(l.Sections)-1, 0)(l, size) }},
	{"SE0", whole(0)}, {"SE1", whole(1)}, {"SE2", whole(2)},
	{"EOF-16", func(_ *Layout, size int64) (int64, int64, bool) { return size - 16, size - 16, true }},
}

func section(i int, plus int64) func(l *Layout, size int64) (int64, int64, bool) {
	return func(l *Layout, _ int64) (int64, int64, bool) {
		if i < 0 || i >= len(l.Sections) {
			return 0, 0, false
		}
		at := int64(l.Sections[i].Offset) + plus
		return at, at, true
	}
}

func whole(i int) func(l *Layout, size int64) (int64, int64, bool) {
	return func(l *Layout, _ int64) (int64, int64, bool) {
		if i >= len(l.Sections) {
			return 0, 0, false
		}
		s := l.Sections[i]
		return int64(s.Offset), int64(s.Offset + s.Size), true // the end wraps there: a section of 4 GiB has no places
	}
}

// Each offset stands for the same place in both engines. The files have other bytes at each place, and there is a signature for
// each pair of an offset and a place, so that the hits tell the place that ClamAV takes.
func TestOffsetsAgreeWithClamAV(t *testing.T) {
	clamscan(t)
	const largest = 0x5000
	number := 300
	if thorough {
		number = 6000
	}
	database, last := map[string]string{}, map[string]string{}
	all := append(threats(), mangled(number)...)
	for _, target := range []Target{TargetPE, TargetELF, TargetMachO} {
		var b, sl strings.Builder
		for _, o := range offsets {
			to := &b
			if o.text[:2] == "SL" {
				to = &sl
			}
			for at := 4; at < largest; at += 4 {
				if o.text[:2] == "SE" && at%32 != 0 {
					continue
				}
				fmt.Fprintf(to, "%s@%x:%d:%s:%08x\n", o.text, at, target, o.text, word(at))
			}
		}
		database[fmt.Sprintf("%d.ndb", target)] = b.String()
		last[fmt.Sprintf("%d.ndb", target)] = sl.String()
	}
	var files []string
	var contents [][]byte
	for _, th := range all {
		contents = append(contents, th.file)
	}
	files = write(t, contents)
	found := hits(t, database, files)
	var sectioned []string // clamscan 1.4.6 crashes when it looks for the last section of a file without sections
	for i, th := range all {
		if l, err := Read(bytes.NewReader(th.file), int64(len(th.file)), th.kind); err != nil || len(l.Sections) > 0 {
			sectioned = append(sectioned, files[i])
		}
	}
	for f, names := range hits(t, last, sectioned) {
		maps.Copy(found[f], names)
	}
	valid, placed, wrong := 0, 0, 0
	for i, th := range all {
		if got := Detect(th.file, int64(len(th.file))); got != th.kind {
			t.Errorf("%s: detected as %s", th.name, got)
		}
		want := map[string]bool{}
		size := int64(len(th.file))
		l, err := Read(bytes.NewReader(th.file), size, th.kind)
		if err == nil {
			valid++
			for _, o := range offsets {
				from, to, ok := o.in(l, size)
				if !ok {
					continue
				}
				for at := max(from, 4); at <= min(to, size-4); at++ {
					if at%4 == 0 && binary.BigEndian.Uint32(th.file[at:]) == word(int(at)) && (o.text[:2] != "SE" || at%32 == 0) {
						want[fmt.Sprintf("%s@%x", o.text, at)] = true
					}
				}
			}
		} else if !errors.Is(err, ErrFormat) {
			t.Fatalf("%s: %v", th.name, err)
		}
		placed += len(want)
		if got := found[files[i]]; !maps.Equal(got, want) {
			if wrong++; wrong < 12 {
				t.Errorf("%s: we and ClamAV differ (%v)\n  ours   %v\n  theirs %v", th.name, err, short(want, got), short(got, want))
			}
		}
	}
	t.Logf("%d files, %d with a layout, %d places, %d files differ", len(all), valid, placed, wrong)
}

// short is what a has and b has not, the first few.
func short(a, b map[string]bool) []string {
	var s []string
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if !b[k] {
			s = append(s, k)
		}
	}
	return s[:min(len(s), 8)]
}

// What is hashed of a section: the signatures are of the range that Hashed yields and, where they are others, of the header's range with the size as
// it says, as far as the file goes.
func TestSectionHashesAgreeWithClamAV(t *testing.T) {
	clamscan(t)
	var contents [][]byte
	var names []string
	for _, th := range append(threats(), mangled(1000)...) {
		if th.kind == PE {
			contents, names = append(contents, th.file), append(names, th.name)
		}
	}
	files := write(t, contents)
	var mdb, msb strings.Builder
	want, signed := map[string]map[string]bool{}, map[string]bool{}
	for i, c := range contents {
		want[files[i]] = map[string]bool{}
		sign := func(r Range, hit bool) {
			b := c[r.Offset:][:r.Size]
			name := fmt.Sprintf("%x-%x.%x", r.Offset, r.Size, md5.Sum(b))
			if !signed[name] {
				fmt.Fprintf(&mdb, "%d:%x:%s\n", r.Size, md5.Sum(b), name)
				fmt.Fprintf(&msb, "%d:%x:%s.2\n", r.Size, sha256.Sum256(b), name)
			}
			signed[name] = true
			if hit {
				want[files[i]][name], want[files[i]][name+".2"] = true, true
			}
		}
		ours := map[Range]bool{}
		if l, err := Read(bytes.NewReader(c), int64(len(c)), PE); err == nil {
			for r := range l.Hashed() {
				sign(r, true)
				ours[r] = true
			}
		}
		for _, r := range claims(c) {
			if !ours[r] && r.Size > 0 {
				sign(r, false)
			}
		}
	}
	found := hits(t, map[string]string{"a.mdb": mdb.String(), "a.msb": msb.String()}, files)
	total := 0
	for i, f := range files {
		total += len(want[f])
		if strings.HasSuffix(names[i], behindAndNegative) {
			if len(want[f]) > 0 || len(found[f]) == 0 {
				t.Errorf("%s: we hash %d ranges, ClamAV %d", names[i], len(want[f]), len(found[f]))
			}
			continue
		}
		if !maps.Equal(found[f], want[f]) {
			t.Errorf("%s:\n  ours   %v\n  theirs %v", names[i], short(want[f], found[f]), short(found[f], want[f]))
		}
	}
	t.Logf("%d files, %d hits", len(files), total)
}

// claims are the ranges that the section headers of a usual file name, cut at the file's end.
func claims(c []byte) []Range {
	le := binary.LittleEndian
	if len(c) < 0x100 || string(c[0x80:0x84]) != "PE\x00\x00" {
		return nil
	}
	var all []Range
	at := 0x80 + coffHeader + int(le.Uint16(c[0x94:]))
	for range min(int(le.Uint16(c[0x86:])), 12) {
		if at+peSection > len(c) {
			break
		}
		size, off := int64(le.Uint32(c[at+16:])), int64(le.Uint32(c[at+20:]))
		off = min(off, int64(len(c)))
		all = append(all, Range{off, min(size, int64(len(c))-off)})
		at += peSection
	}
	return all
}
