package filetype

import (
	"bytes"
	"crypto/md5"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// programs builds one small program for each of the systems, without its runtime's debug information, and returns the paths.
func programs(t *testing.T, systems ...string) []string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds programs")
	}
	dir := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module probe\n", "main.go": "package main\n\nfunc main() { println(\"probe\") }\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	for _, s := range systems {
		goos, arch, _ := strings.Cut(s, "/")
		out := filepath.Join(dir, goos+arch)
		cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", out, ".")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build for %s: %v\n%s", s, err, b)
		}
		paths = append(paths, out)
	}
	return paths
}

// layoutOf reads the layout of a file.
func layoutOf(t *testing.T, path string) ([]byte, *Layout, error) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Read(bytes.NewReader(b), int64(len(b)), Detect(b, int64(len(b))))
	return b, l, err
}

// Sections are those that the standard library reads, rounded and cut as ClamAV does, and the entry point is at the same bytes.
func TestPESectionsAreThoseOfDebugPE(t *testing.T) {
	var files [][]byte
	for _, path := range programs(t, "windows/amd64", "windows/386", "windows/arm64") {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
	}
	for _, th := range threats() {
		if th.kind == PE {
			files = append(files, th.file)
		}
	}
	both := 0
	for i, b := range files {
		size := int64(len(b))
		l, err := Read(bytes.NewReader(b), size, PE)
		f, theirs := pe.NewFile(bytes.NewReader(b))
		if err != nil || theirs != nil {
			if i < 3 {
				t.Errorf("program %d: %v, %v", i, err, theirs)
			}
			continue
		}
		both++
		if len(l.Sections) != len(f.Sections) {
			t.Fatalf("file %d has %d sections, want %d", i, len(l.Sections), len(f.Sections))
		}
		align, entry, headers := uint32(0), uint32(0), uint32(0)
		switch o := f.OptionalHeader.(type) {
		case *pe.OptionalHeader32:
			align, entry, headers = o.FileAlignment, o.AddressOfEntryPoint, o.SizeOfHeaders
		case *pe.OptionalHeader64:
			align, entry, headers = o.FileAlignment, o.AddressOfEntryPoint, o.SizeOfHeaders
		}
		for j, s := range f.Sections {
			got := l.Sections[j]
			within := Range{min(int64(s.Offset), size), min(int64(s.Size), max(size-int64(s.Offset), 0))}
			if align > 1 && (s.Offset%align != 0 || s.Size%align != 0) || within.Size < int64(s.Size) {
				// Offset and size are rounded one without the other, so that the end of the header's range can be missing.
				if got.Size > 0 && (int64(got.Offset) > within.Offset || int64(got.Size) < within.Size) {
					t.Errorf("file %d, section %d: %+v, want about %+v", i, j, got, within)
				}
				continue
			}
			if int64(got.Offset) != int64(s.Offset) || int64(got.Size) != int64(s.Size) {
				t.Errorf("file %d, section %d: %+v, want %x and %x", i, j, got, s.Offset, s.Size)
			}
			if j == len(f.Sections)-1 || entry < headers || i >= 3 {
				continue
			}
			if entry >= s.VirtualAddress && entry < s.VirtualAddress+s.Size && l.Entry != entry-s.VirtualAddress+s.Offset {
				t.Errorf("file %d: entry point %x, want %x", i, l.Entry, entry-s.VirtualAddress+s.Offset)
			}
		}
	}
	if both < 40 {
		t.Errorf("only %d of %d files are read by both", both, len(files))
	}
}

func TestELFSectionsAreThoseOfDebugELF(t *testing.T) {
	paths := programs(t, "linux/amd64", "linux/386", "linux/mips")
	must := len(paths)
	for _, dir := range []string{"/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/sbin"} {
		entries, _ := os.ReadDir(dir) // a system without them has the programs
		for i, e := range entries {
			if e.Type().IsRegular() && i%7 == 0 {
				paths = append(paths, filepath.Join(dir, e.Name()))
			}
		}
	}
	compared := 0
	for i, path := range paths {
		fi, err := os.Stat(path)
		if err != nil || fi.Size() > 8<<20 {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil || Detect(b, int64(len(b))) != ELF {
			continue
		}
		l, err := Read(bytes.NewReader(b), int64(len(b)), ELF)
		f, theirs := elf.NewFile(bytes.NewReader(b))
		if theirs != nil || err != nil && (i < must || len(f.Sections) <= maxELFSections) {
			t.Errorf("%s: %v, %v", path, err, theirs)
			continue
		}
		if err != nil {
			continue // more sections than ClamAV reads
		}
		compared++
		if len(l.Sections) != len(f.Sections) {
			t.Fatalf("%s has %d sections, want %d", path, len(l.Sections), len(f.Sections))
		}
		for j, s := range f.Sections {
			if got := l.Sections[j]; uint64(got.Offset) != s.Offset || uint64(got.Size) != s.FileSize && s.Type != elf.SHT_NOBITS && s.Flags&elf.SHF_COMPRESSED == 0 {
				t.Errorf("%s, section %s: %+v, want %x and %x", path, s.Name, got, s.Offset, s.FileSize)
			}
		}
		want := uint64(0)
		for _, p := range f.Progs {
			if f.Entry != 0 && p.Type == elf.PT_LOAD && f.Entry >= p.Vaddr && f.Entry < p.Vaddr+p.Filesz {
				want = f.Entry - p.Vaddr + p.Off
			}
		}
		if uint64(l.Entry) != want {
			t.Errorf("%s: entry point %x, want %x", path, l.Entry, want)
		}
	}
	if compared < must {
		t.Errorf("only %d of %d files compared", compared, len(paths))
	}
	t.Logf("%d files", compared)
}

func TestMachOSectionsAreThoseOfDebugMachO(t *testing.T) {
	for _, path := range programs(t, "darwin/amd64", "darwin/arm64") {
		b, l, err := layoutOf(t, path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := macho.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Sections) != len(f.Sections) || l.Entry != 0 {
			t.Fatalf("%s has %d sections and the entry point %x, want %d and 0", path, len(l.Sections), l.Entry, len(f.Sections))
		}
		for i, s := range f.Sections {
			got := l.Sections[i]
			if zeroFilled(s.Flags) && got.Size == 0 && uint64(got.VirtualSize) == s.Size {
				continue
			}
			if got.Offset != s.Offset || uint64(got.VirtualSize) != s.Size || got.Size < got.VirtualSize || got.Size-got.VirtualSize >= 1<<s.Align {
				t.Errorf("%s, section %s: %+v, want %x and %x", path, s.Name, got, s.Offset, s.Size)
			}
		}
	}
}

// Real programs: signatures of the bytes at the places that the layout says are found at the offsets that it says, and one byte further they are not.
func TestRealProgramsAgreeWithClamAV(t *testing.T) {
	clamscan(t)
	paths := programs(t, "windows/amd64", "windows/386", "windows/arm64", "linux/amd64", "linux/mips", "darwin/amd64", "darwin/arm64")
	for _, p := range []string{"/usr/bin/ls", "/usr/bin/bash", "/usr/bin/env"} {
		if _, err := os.Stat(p); err == nil {
			paths = append(paths, p)
		}
	}
	var ndb, mdb strings.Builder
	want := map[string]map[string]bool{}
	for i, path := range paths {
		b, l, err := layoutOf(t, path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		want[path] = map[string]bool{}
		sign := func(offset string, at int64, hit bool) {
			if at < 0 || at+24 > int64(len(b)) || bytes.Count(b, b[at:at+24]) != 1 {
				return
			}
			name := fmt.Sprintf("File%d.%s.%x", i, offset, at)
			// Without a wildcard clamscan 1.4.6 looks for SEx at the first byte of the section only, in PE files of 256 KiB and more.
			fmt.Fprintf(&ndb, "%s:%d:%s:%x??%x\n", name, l.Kind.Target(), offset, b[at:at+11], b[at+12:at+24])
			if hit {
				want[path][name] = true
			}
		}
		for _, o := range offsets {
			if from, to, ok := o.in(l, int64(len(b))); ok {
				sign(o.text, from, true)
				sign(o.text, from+1, from != to)
				sign(o.text, to, true)
				sign(o.text, to+1, false)
				sign(o.text, from-1, false)
			}
		}
		for r := range l.Hashed() {
			name := fmt.Sprintf("Hash.%x", md5.Sum(b[r.Offset:][:r.Size]))
			want[path][name] = true
			fmt.Fprintf(&mdb, "%d:%x:%s\n", r.Size, md5.Sum(b[r.Offset:][:r.Size]), name)
		}
	}
	found := hits(t, map[string]string{"a.ndb": ndb.String(), "a.mdb": mdb.String()}, paths)
	total := 0
	for i, p := range paths {
		for name := range found[p] {
			if strings.HasPrefix(name, "File") && !strings.HasPrefix(name, fmt.Sprintf("File%d.", i)) {
				delete(found[p], name)
			}
		}
		total += len(want[p])
		if !maps.Equal(found[p], want[p]) {
			t.Errorf("%s:\n  ours   %v\n  theirs %v", p, short(want[p], found[p]), short(found[p], want[p]))
		}
	}
	t.Logf("%d files, %d hits", len(paths), total)
}

// Signatures for targets: each kind's own and none other, as far as bytes are matched as they are; HTML and text are matched normalised, so
// their marker is in lower case and alone on its line.
func TestTargetsAgreeWithClamAV(t *testing.T) {
	clamscan(t)
	const marker = "markerwordofthistest"
	text := strings.Repeat("some words of text\n", 80)
	var ndb strings.Builder
	for target := range 15 {
		fmt.Fprintf(&ndb, "T%d:%d:*:%x\n", target, target, marker)
	}
	class := append([]byte("\xca\xfe\xba\xbe\x00\x00\x00\x34"), marker...)
	fat := append([]byte("\xca\xfe\xba\xbe\x00\x00\x00\x02"), make([]byte, 64)...)
	cases := []struct {
		name string
		file []byte
		also []Target // that ClamAV matches as well
	}{
		{"pe", append(mangle(func(*peFile) {}), marker...), nil},
		{"dos program", []byte("MZ" + text + marker), nil},
		{"elf", append(mangleELF(true, func(*elfFile) {}), marker...), nil},
		{"macho", append(buildMachO(machoFile{wide: true, commands: [][]byte{segmentCommand(binary.LittleEndian, true)}, size: 0x200}), marker...), nil},
		{"universal", append(fat, marker...), nil},
		{"java", class, nil},
		{"flash", []byte("FWS\x05" + text + marker), nil},
		{"gif", []byte("GIF89a" + text + marker), nil},
		{"png", []byte("\x89PNG\r\n" + text + marker), nil},
		{"text", []byte(text + marker + "\n"), nil},
		{"text, the bytes of which are upper case", []byte(text + strings.ToUpper(marker) + "\n"), nil},
		{"utf-16", wideText16(text + marker + "\n"), nil},
		{"html", []byte("<html>\n" + marker + "\n</html>"), nil},
		{"html behind the head", []byte(text + "<html>\n" + marker + "\n</html>"), nil},
		{"html behind the head of UTF-8", []byte("é" + text + "<html>\n" + marker + "\n</html>"), nil},
		{"mail, whose body is an object of its own", []byte("From: me\nTo: you\n\n" + marker + "\n"), []Target{TargetText}},
		{"mail behind the head", []byte(text + "\nReceived: by\nContent-Type: text/plain\n\n" + marker + "\n"), []Target{TargetText}},
		{"ole2", append([]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), append(make([]byte, 600), marker...)...), nil},
		{"pdf", []byte("%PDF-1.7\n" + text + marker), nil},
		{"data", []byte("\x00\x01\x02\x03" + marker + "\x00\x00\x00\x00"), nil},
		{"rtf", []byte("{\\rtf1 " + text + marker), nil},
	}
	var contents [][]byte
	for _, c := range cases {
		contents = append(contents, c.file)
	}
	files := write(t, contents)
	found := hits(t, map[string]string{"a.ndb": ndb.String()}, files)
	for i, c := range cases {
		kind := Detect(c.file, int64(len(c.file)))
		want := map[string]bool{}
		for _, target := range append(c.also, kind.Target()) {
			if target != TargetAny {
				want[fmt.Sprintf("T%d", target)] = true
			}
		}
		delete(found[files[i]], "T0")
		if !maps.Equal(found[files[i]], want) {
			t.Errorf("%s, which we take for %s: ours %v, theirs %v", c.name, kind, want, found[files[i]])
		}
	}
}

func wideText16(s string) []byte {
	b := []byte("\xff\xfe")
	for _, c := range []byte(s) {
		b = append(b, c, 0)
	}
	return b
}
