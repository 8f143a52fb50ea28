package filetype

import (
	"bytes"
	"strings"
	"testing"
)

func TestKindsWithoutClamAV(t *testing.T) {
	text := strings.Repeat("some words of text\n", 100)
	for _, c := range []struct {
		name, head string
		want       Kind
	}{
		{"nothing", "", Unknown},
		{"five bytes", "MZ\x90\x00\x03", Unknown},
		{"six bytes", "MZ\x90\x00\x03\x00", PE},
		{"ELF", "\x7fELF\x02\x01\x01\x00", ELF},
		{"Mach-O", "\xcf\xfa\xed\xfe\x07\x00\x00\x01", MachO},
		{"universal", "\xca\xfe\xba\xbe\x00\x00\x00\x02\x01\x00\x00\x07", Universal},
		{"class file of Java 17", "\xca\xfe\xba\xbe\x00\x00\x00\x3d\x00\x10", Java},
		{"class file of Java 21, which ClamAV does not know", "\xca\xfe\xba\xbe\x00\x00\x00\x41\x00\x10", Data},
		{"OLE2", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00\x00", OLE2},
		{"PDF", "%PDF-1.4\n", PDF},
		{"PDF behind a line of text", "a line\n%PDF-1.4\n", PDF},
		{"PNG", "\x89PNG\r\n\x1a\n", Graphics},
		{"Flash", "CWS\x0a\x00\x00\x00", Flash},
		{"zip", "PK\x03\x04\x14\x00", Zip},
		{"gzip", "\x1f\x8b\x08\x00\x00\x00", Gzip},
		{"Zstandard", "\x28\xb5\x2f\xfd\x04\x00", Zstd},
		{"tar", "name" + strings.Repeat("\x00", 253) + "ustar\x0000", Tar},
		{"text", text, Text},
		{"text in Latin-1", "caf\xe9 " + text, Text},
		{"text in UTF-16", "\xff\xfea\x00b\x00c\x00", Text},
		{"text with a bell and a form feed", "\a\f" + text, Text},
		{"a control character, for which ClamAV takes it for UTF-16", text[:900] + "\x01", Text},
		{"two control characters", text[:900] + "\x00\x01", Data},
		{"a control character behind the head", text[:HeadSize] + "\x01", Text},
		{"HTML", "<html><body>", HTML},
		{"HTML in UTF-16", "\xff\xfe<\x00h\x00t\x00m\x00l\x00>\x00", HTML},
		{"HTML behind the head", text[:HeadSize] + "<script>", HTML},
		{"HTML among data", "\x00\x01\x02<table border=0>", HTML},
		{"mail", "Received: from x\n", Mail},
		{"mail by two lines", "X: y\nFrom: me\nMIME-Version: 1.0\n", Mail},
		{"a saved page", "X: y\nMIME-Version: 1.0\nContent-Type: text/html\n", Other},
		{"a program in text", text[:100] + "MZ" + strings.Repeat(" ", 100) + "PE\x00\x00", PE},
		{"RTF", "{\\rtf1\\ansi", Other},
		{"a database of SQLite", "SQLite format 3\x00", Ignored},
	} {
		if got := Detect([]byte(c.head), int64(len(c.head))); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestEveryKindHasANameAndATarget(t *testing.T) {
	seen := map[string]bool{}
	for k := Unknown; k <= Other; k++ {
		if k.String() == "invalid" || seen[k.String()] {
			t.Errorf("kind %d is %q", k, k)
		}
		seen[k.String()] = true
		if k.Executable() && k.Target() != TargetPE && k.Target() != TargetELF && k.Target() != TargetMachO {
			t.Errorf("%s has target %d", k, k.Target())
		}
	}
	if s := (Other + 1).String(); s != "invalid" {
		t.Errorf("a kind that is none is %q", s)
	}
}

func TestDetectAllocatesNothing(t *testing.T) {
	for _, b := range benchmarked() {
		if n := testing.AllocsPerRun(20, func() { Detect(b.head, int64(len(b.head))) }); n != 0 {
			t.Errorf("%s: %v allocations", b.name, n)
		}
	}
}

// FuzzDetect: bytes behind the size, and behind MaxHead, change nothing; those behind HeadSize make text HTML or mail and nothing else; more of the
// head never takes back what was found.
func FuzzDetect(f *testing.F) {
	for _, c := range fragments {
		f.Add([]byte(c), int64(len(c)))
	}
	for i, c := range heads() {
		if i%97 == 0 {
			f.Add(c, int64(len(c)))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		got := Detect(b, size)
		if got > Other {
			t.Fatalf("kind %d", got)
		}
		if (got == Unknown) != (size < smallest) {
			t.Fatalf("%s for %d bytes", got, size)
		}
		if size < 0 {
			return
		}
		if n := min(int64(len(b)), size); Detect(append(bytes.Clone(b[:n]), "MZ\x00\xff<html>"...), n) != Detect(b[:n:n], n) {
			t.Fatalf("what follows %d bytes changes %s", n, got)
		}
		if len(b) >= MaxHead && size >= MaxHead && Detect(append(bytes.Clone(b), "\n<html>"...), size+7) != Detect(b, size+7) {
			t.Fatal("bytes behind MaxHead are looked at")
		}
		if len(b) > HeadSize && size > HeadSize {
			switch first := Detect(b[:HeadSize], size); {
			case first == Text && (got == Text || got == HTML || got == Mail):
			case first != got:
				t.Fatalf("%s by the first bytes, %s with more", first, got)
			}
		}
	})
}
