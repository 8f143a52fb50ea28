package filetype

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// A counter counts and checks what is read.
type counter struct {
	t     *testing.T
	b     []byte
	size  int64 // what was said
	reads int
	bytes int64
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	c.bytes += int64(len(p))
	if off < 0 || off+int64(len(p)) > c.size || len(p) > 4096 {
		c.t.Fatalf("read of %d bytes at %d of %d", len(p), off, c.size)
	}
	return bytes.NewReader(c.b).ReadAt(p, off)
}

// checkLayout reads a layout and holds what is promised of it.
func checkLayout(t *testing.T, b []byte, kind Kind) (*Layout, error) {
	t.Helper()
	size := int64(len(b))
	c := &counter{t: t, b: b, size: size}
	l, err := Read(c, size, kind)
	if c.reads > MaxReads || c.bytes > MaxReads*4096 {
		t.Fatalf("%d reads of %d bytes", c.reads, c.bytes)
	}
	if err != nil {
		if l != nil || !errors.Is(err, ErrFormat) {
			t.Fatalf("%v, %v", l, err)
		}
		return nil, err
	}
	if l.Kind != kind || len(l.Sections) > MaxSections {
		t.Fatalf("%s with %d sections", l.Kind, len(l.Sections))
	}
	if kind == PE && (len(l.Sections) == 0 || int64(l.Entry) >= size) {
		t.Fatalf("entry point %x of %x with %d sections", l.Entry, size, len(l.Sections))
	}
	// Each row of a section table was read, so that no count is believed.
	if int64(len(l.Sections))*40 > c.bytes {
		t.Fatalf("%d sections out of %d bytes", len(l.Sections), c.bytes)
	}
	for _, s := range l.Sections {
		in := func(what string, r Range) {
			if r.Offset < 0 || r.Size < 0 || r.Offset > size || r.Size > size-r.Offset {
				t.Fatalf("%s %+v of a file of %d bytes", what, r, size)
			}
		}
		in("section", s.Within(size))
		if kind == PE && s.Size > 0 && s.Within(size) != (Range{int64(s.Offset), int64(s.Size)}) {
			t.Fatalf("section %+v of a file of %d bytes", s, size)
		}
	}
	n := 0
	for r := range l.Hashed() {
		n++
		if r.Offset < 0 || r.Size <= 0 || r.Size > MaxHashed || r.Size > size-r.Offset {
			t.Fatalf("hashed %+v of a file of %d bytes", r, size)
		}
	}
	if kind != PE && n > 0 || n > len(l.Sections) {
		t.Fatalf("%d hashed ranges of %d sections", n, len(l.Sections))
	}
	return l, nil
}

func TestLayoutsOfThreats(t *testing.T) {
	valid := 0
	for _, th := range threats() {
		l, err := checkLayout(t, th.file, th.kind)
		if err == nil {
			valid++
		}
		if f, ok := errors.AsType[*FormatError](err); err != nil && (!ok || f.Kind != th.kind || f.Reason == "") {
			t.Errorf("%s: %v", th.name, err)
		}
		if strings.HasSuffix(th.name, " usual") && err != nil || strings.Contains(th.name, "of 63 bytes") && err == nil {
			t.Errorf("%s: %+v, %v", th.name, l, err)
		}
	}
	if valid < 140 {
		t.Errorf("%d threats have a layout", valid)
	}
}

func TestUsualLayouts(t *testing.T) {
	l, err := checkLayout(t, mangle(func(*peFile) {}), PE)
	want := &Layout{PE, 0x610, []Section{{0x400, 0x200, 0x1000, 0x1000}, {0x600, 0x600, 0x2000, 0x1000}, {0xc00, 0x200, 0x3000, 0x1000}}}
	if err != nil || !reflect.DeepEqual(l, want) {
		t.Errorf("%+v, %v, want %+v", l, err, want)
	}
	l, err = checkLayout(t, mangleELF(true, func(*elfFile) {}), ELF)
	want = &Layout{ELF, 0x620, []Section{{}, {0x600, 0x200, 0x401000, 0}, {0x800, 0x100, 0x402000, 0}}}
	if err != nil || !reflect.DeepEqual(l, want) {
		t.Errorf("%+v, %v, want %+v", l, err, want)
	}
}

// 65535 sections are read, for a file that has them; a file that says so and has none costs a few reads.
func TestCountsAreNotBelieved(t *testing.T) {
	p := usual()
	p.entry, p.size = 0x10, 1<<20
	p.count = 0xffff
	b := buildPE(p)
	c := &counter{t: t, b: b, size: int64(len(b))}
	if l, err := Read(c, int64(len(b)), PE); err == nil || l != nil {
		t.Errorf("%v, %v", l, err)
	}
	p.sections = make([]peRow, 0xffff)
	p.size = 3 << 20
	l, err := checkLayout(t, buildPE(p), PE)
	if err != nil || len(l.Sections) != 0xffff {
		t.Errorf("%v", err)
	}
	if _, err := checkLayout(t, buildPE(p)[:200], PE); err == nil {
		t.Error("a table that is not there was read")
	}
	var m machoFile
	for range 300 { // 300 commands of 255 sections are more than a layout has
		m.commands = append(m.commands, segmentCommand(binary.LittleEndian, false, make([]machoRow, 255)...))
	}
	m.size = 8 << 20
	if l, err := checkLayout(t, buildMachO(m), MachO); err == nil {
		t.Errorf("%d sections", len(l.Sections))
	}
}

// Headers that the file's end cuts, at each byte.
func TestCutHeaders(t *testing.T) {
	text := segmentCommand(binary.LittleEndian, true, machoRow{0x1000, 0x104, 0x10, 4, 0})
	for _, c := range []struct {
		kind Kind
		file []byte
		end  int // of the headers
	}{
		{PE, mangle(func(p *peFile) { p.entry = 0x10 }), 0x80 + coffHeader + 224 + 3*peSection},
		{ELF, mangleELF(true, func(*elfFile) {}), 64 + 3*56 + 3*64},
		{ELF, mangleELF(false, func(*elfFile) {}), 52 + 3*32 + 3*40},
		{MachO, buildMachO(machoFile{wide: true, commands: [][]byte{make([]byte, 8), text}, size: 0x1000}), 32 + 8 + len(text)},
	} {
		for n := range c.end {
			if l, err := checkLayout(t, c.file[:n], c.kind); err == nil {
				t.Errorf("%s of %d bytes: %+v", c.kind, n, l)
			}
		}
		if _, err := checkLayout(t, c.file[:c.end], c.kind); err != nil {
			t.Errorf("%s of %d bytes: %v", c.kind, c.end, err)
		}
	}
}

func TestReadOfWhatIsNotExecutable(t *testing.T) {
	for k := Unknown; k <= Other+1; k++ {
		if k.Executable() {
			continue
		}
		r := &counter{t: t}
		if l, err := Read(r, 1<<20, k); l != nil || !errors.Is(err, ErrFormat) || r.reads > 0 {
			t.Errorf("%s: %v, %v after %d reads", k, l, err, r.reads)
		}
		if n := testing.AllocsPerRun(10, func() { Read(r, 1<<20, k) }); n != 0 {
			t.Errorf("%s: %v allocations", k, n)
		}
	}
}

// A reader that fails, or a file that became shorter, is no file without a layout.
func TestReadErrorsAreTheReaders(t *testing.T) {
	b := mangle(func(*peFile) {})
	if _, err := Read(bytes.NewReader(b[:0x90]), int64(len(b)), PE); !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrFormat) {
		t.Errorf("a file that shrank: %v", err)
	}
	broken := errors.New("broken disk")
	if _, err := Read(failing{broken}, int64(len(b)), PE); !errors.Is(err, broken) || errors.Is(err, ErrFormat) {
		t.Errorf("a broken disk: %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// FuzzLayout: whatever the bytes, the limits hold and every range lies in the file; garbage behind the size changes nothing.
func FuzzLayout(f *testing.F) {
	for _, th := range threats() {
		if len(th.file) <= 0x1000 {
			f.Add(th.file, uint8(th.kind))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, k uint8) {
		kind := []Kind{PE, ELF, MachO}[k%3]
		l, err := checkLayout(t, b, kind)
		again, err2 := Read(bytes.NewReader(append(bytes.Clone(b), "MZ\x00\x01\x02garbage"...)), int64(len(b)), kind)
		if !reflect.DeepEqual(l, again) || (err == nil) != (err2 == nil) {
			t.Fatalf("garbage changes %+v, %v to %+v, %v", l, err, again, err2)
		}
	})
}
