package filetype

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// kindOf is our kind for a type of ClamAV's; what is missing is Other.
var kindOf = map[string]Kind{
	"": Unknown, "BINARY_DATA": Data, "PYTHON_COMPILED": Data, "TEXT_ASCII": Text, "TEXT_UTF8": Text, "TEXT_UTF16LE": Text, "TEXT_UTF16BE": Text,
	"HTML": HTML, "HTML_UTF16": HTML, "MAIL": Mail, "MSEXE": PE, "ELF": ELF, "MACHO": MachO, "MACHO_UNIBIN": Universal, "MSOLE2": OLE2,
	"GRAPHICS": Graphics, "GIF": Graphics, "PNG": Graphics, "JPEG": Graphics, "TIFF": Graphics, "PDF": PDF, "SWF": Flash, "JAVA": Java,
	"ZIP": Zip, "OOXML_WORD": Zip, "OOXML_PPT": Zip, "OOXML_XL": Zip, "OOXML_HWP": Zip, "GZ": Gzip, "POSIX_TAR": Tar, "OLD_TAR": Tar, "IGNORED": Ignored,
}

// agree compares what we take files for with what clamscan does; read gives the first bytes of each.
func agree(t *testing.T, files []string) {
	t.Helper()
	theirs := types(t, files)
	count, wrong := map[Kind]int{}, 0
	for _, f := range files {
		head, size := headOf(t, f)
		got := Detect(head, size)
		name := theirs[f]
		want, ok := kindOf[name]
		if !ok {
			want = Other
		}
		count[got]++
		if got == want || got == Zstd {
			continue
		}
		if want == Text && Detect(head[:min(len(head), HeadSize)], size) == Text {
			continue // found behind the head, where ClamAV changes its mind after it has told: TestTargetsAgreeWithClamAV
		}
		if got == Text && want == Other && len(head) == MaxHead { // marks behind the head, without a target
			continue
		}
		if wrong++; wrong <= 5 {
			t.Errorf("%s (%d bytes): we say %s, ClamAV %q\n%q\n%q", f, size, got, name, head[:min(len(head), 100)], head[max(0, len(head)-600):])
		}
	}
	t.Logf("%d files, %d differ; by kind: %v", len(files), wrong, count)
}

func headOf(t *testing.T, path string) ([]byte, int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, min(MaxHead, fi.Size()))
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b, fi.Size()
}

// heads are contents that try each rule, and what lies just beside it.
func heads() [][]byte {
	var all [][]byte
	add := func(s string) { all = append(all, []byte(s)) }
	text := strings.Repeat("some words of text\n", 80)
	data := strings.Repeat("\x00\x01\x02\x03", 400)
	const tnef = "\x78\x9f\x3e\x22" // clamscan 1.4.6 takes hours for what may follow
	for _, m := range magics {
		pad := strings.Repeat("x", m.at)
		for _, rest := range []string{"", text, data, "\n<html>" + text} {
			if m.bytes == tnef && len(rest) > 8 {
				continue
			}
			add(pad + m.bytes + rest)
			add(pad + m.bytes[:len(m.bytes)-1] + rest)
			add(pad + m.bytes[:len(m.bytes)-1] + "\xee" + rest)
			add("x" + pad + m.bytes + rest)
		}
	}
	for _, v := range compiled {
		add(string([]byte{byte(v), byte(v >> 8), '\r', '\n'}) + data + "<table")
		add(string([]byte{byte(v), byte(v >> 8), '\r', '\n'}) + "<table")
	}
	for c := range 256 {
		add("a byte: " + string([]byte{byte(c)}) + " in text")
		add("\xff\xfea\x00" + string([]byte{byte(c), 0}) + "b\x00")
		add("\xfe\xff\x00a" + string([]byte{0, byte(c)}) + "\x00b")
		add("\x00a" + string([]byte{0, byte(c)}) + "\x00b\x00c")
		add("\xca\xfe\xba\xbe\x00\x00\x00" + string([]byte{byte(c)}) + data)
		add("\xca\xfe\xba\xbe\x00\x00" + string([]byte{byte(c)}) + "\x34" + data)
	}
	for n := range 12 {
		add(strings.Repeat("a", n))
		add(("MZ" + data)[:n])
	}
	for _, f := range fragments {
		for _, pad := range []string{"", "x", text, text[:1000], text[:1010], text[:1024], strings.Repeat(text, 30)[:MaxHead-200], data, data[:1000]} {
			add(pad + f)
			add(pad + f + text)
			add(pad + f[:len(f)-1])
		}
		for _, o := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			for _, pad := range []string{"", "\ufeff", "<?xml ", "a text: ", "é and ë: "} {
				var wide, wider []byte
				for _, r := range utf16.Encode([]rune(pad + f + " and text")) {
					wide = o.AppendUint16(wide, r)
					wider = o.AppendUint32(wider, uint32(r))
				}
				all = append(all, wide, wider)
			}
		}
	}
	for gap := 50; gap < 310; gap += 5 {
		add("a text MZ" + strings.Repeat("-", gap) + "PE\x00\x00")
		add("a text MZ" + strings.Repeat("-", gap) + "PE\x00\x00<html>")
		add("<html> MZ" + strings.Repeat("-", gap) + "PE\x00\x00")
	}
	header := make([]byte, 512)
	copy(header, "name")
	copy(header[100:], "0000644\x000000000\x000000000\x0000000000012\x0000000000000\x00")
	sum := 8 * 32
	for _, c := range header {
		sum += int(c)
	}
	for _, said := range []string{"%06o\x00 ", "%7o\x00", " %5o\x00 ", "%06o  ", "%06o!\x00", "1%06o\x00", "%08o"} {
		h := slices.Clone(header)
		copy(h[148:156], fmt.Sprintf(said, sum))
		all = append(all, h, append(slices.Clone(h), data...), h[:511])
		h = slices.Clone(h)
		h[0]++
		all = append(all, h)
	}
	sector := make([]byte, 1024)
	sector[510], sector[511] = 0x55, 0xaa
	all = append(all, sector, sector[:512], sector[:511])
	apple := make([]byte, 1024)
	copy(apple, "ER")
	copy(apple[512:], "PM\x00\x00")
	all = append(all, apple, apple[:516], apple[:515])
	return all
}

// fragments are what marks are made of.
var fragments = []string{
	"<HEAD>", "<head>", "<Head>", "<hEAD>", "<HTML>", "<html>", "<Html>", "<html ", "<IFRAME", "<iframe", "<Iframe", "<IMG", "<img", "<Img", "<iMG", "<OBJECT",
	"<object", "<Object", "<SCRIPT", "<script", "<Script", "<TABLE", "<table", "<Table", "<A HREF", "<a href", "<a x=y hrEF", "<A x Href", "<a HreF", "<b href",
	"<%@ LANGUAGE =", "%PDF-1.", "%pdf-1.", "%PDF-12", "PK\x03\x04", "Rar!\x1a\x07\x00", "MSCF\x00\x00\x00\x00", "7z\xbc\xaf\x27\x1c", "<xdp:xdp", "\x00BEA01",
	"\x60\xea1234567\x00\x02", "\x60\xea1234567\x02\x02", "\x60\xea1234567\x03\x02", "\xef\xbe\xad\xdeNullsoftInst", "/RGB\nID\n" + ones, "/RGB\nID\n" + ones[1:],
	"\nFrom: me\n", "\nfrom: me\n", "\nMIME-Version: 1.0\n", "\nmime-version: 1.0\n", "\nContent-Type: text/plain\n", "\ncontent-type: text/plain\n",
	"\nMessage-ID: <1>\n", "\nMessage-Id: <1>\n", "\nmessage-id: <1>\n", "\nReceived: by\n", "\nreceived: by\n", "Delivered-To:", "Received:", "MIME-Version: 1.0",
	"\nMIME-VERSION: 1.0", "\r\n", "\n\n", strings.Repeat("word ", 60), strings.Repeat("word ", 220), "MZ", strings.Repeat("-", 100), "PE\x00\x00",
	`<?xml version="1.0"`, "<Workbook", "<wordDocument", "<ss:Workbook", "<w:wordDocument", "<ab:wordDocument", `progid="Word.Document"?>`,
	"\xef\xbb\xbf" + `<?xml version="1.0"`, "<HWPML", "\x00", "\x0b", "\xff\xfe", "é", "-lh5-", "ab-lh5-", "ab-lhx-", "ab-lh8-", "ab-lzs-", "ab-lz6-", "ab-pm0-", "\x19\x04\x00\x10",
	"12345678\x19\x04\x00\x10", "\n\r\r\n", "4\r\r\n",
}

// compositions are fragments in any order, the same in each run.
func compositions(n int) [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var all [][]byte
	for range n {
		var b []byte
		for range 1 + rng.IntN(8) {
			b = append(b, fragments[rng.IntN(len(fragments))]...)
			if rng.IntN(4) == 0 {
				b = append(b, "some text"...)
			}
		}
		all = append(all, b)
	}
	return all
}

// Kinds are those that clamscan reports: for a file on each side of every rule, for marks in any company, and for files of this system.
// Without the build tag check it is a part of them.
func TestDetectAgreesWithClamAV(t *testing.T) {
	clamscan(t)
	rules, any, first, every := heads(), compositions(4000), 3, 97
	if !thorough {
		for i := range len(rules) / 5 {
			rules[i] = rules[i*5+i%5]
		}
		rules, any, first, every = rules[:len(rules)/5], any[:500], 1, 499
	}
	t.Run("rules", func(t *testing.T) { agree(t, write(t, rules)) })
	t.Run("compositions", func(t *testing.T) { agree(t, write(t, any)) })
	t.Run("system", func(t *testing.T) { agree(t, systemFiles(t, first, every)) })
}

// systemFiles are files of this system: of every folder the first few, and of all others one in every.
func systemFiles(t *testing.T, first, every int) []string {
	t.Helper()
	var files []string
	n := 0
	for _, root := range []string{"/usr/bin", "/usr/lib", "/usr/share"} {
		seen := map[string]int{}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || strings.ContainsAny(path, "\n:") {
				return nil
			}
			n++
			kind := filepath.Ext(path)
			if seen[kind]++; seen[kind] > first && n%every != 0 {
				return nil
			}
			if fi, err := d.Info(); err == nil && fi.Size() > 0 && fi.Size() < 4<<20 && fi.Mode().Perm()&0o004 != 0 {
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}
