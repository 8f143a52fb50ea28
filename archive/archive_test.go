package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"example.org/avdb/archive"
	"example.org/avdb/filetype"
)

func checksum(s string) uint32 { return crc32.ChecksumIEEE([]byte(s)) }

// random is text that does not shrink.
func random(n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return string(b)
}

func TestEachKindGivesItsMembers(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1<<14) // beyond every buffer
	for name, c := range map[string]struct {
		object []byte
		want   []string
	}{
		"zip":     {zipOf(t, file{"a", "alpha"}, file{"dir/", ""}, file{"dir/b", long}, file{"empty", ""}), []string{`!a: "alpha" ok`, `!dir/b: "262144 bytes" ok`, `!empty: "" ok`}},
		"stored":  {storedZip(t, file{"a", "alpha"}, file{"b", long}), []string{`!a: "alpha" ok`, `!b: "262144 bytes" ok`}},
		"tar":     {tarOf(t, file{"a", "alpha"}, file{"b", long}), []string{`!a: "alpha" ok`, `!b: "262144 bytes" ok`}},
		"gzip":    {gzipOf(t, "a", "alpha"), []string{`!a: "alpha" ok`}},
		"streams": {slices.Concat(gzipOf(t, "a", "al"), gzipOf(t, "b", ""), gzipOf(t, "c", "pha"), make([]byte, 100)), []string{`!a: "alpha" ok`}},
		"zstd":    {zstdOf(t, long), []string{`!: "262144 bytes" ok`}},
		"frames":  {slices.Concat(zstdOf(t, "al"), []byte("\x50\x2a\x4d\x18\x03\x00\x00\x00xyz"), zstdOf(t, "pha")), []string{`!: "alpha" ok`}},
		"tar.gz in zip": {zipOf(t, file{"x.tgz", string(gzipOf(t, "x.tar", string(tarOf(t, file{"a", "alpha"}))))}),
			[]string{`!x.tgz: "123 bytes" ok`, `!x.tgz!x.tar: "2048 bytes" ok`, `!x.tgz!x.tar!a: "alpha" ok`}},
		"text": {[]byte("nothing to see here"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := walk(t, c.object, archive.Limits{})
			if name == "tar.gz in zip" {
				c.want[0] = fmt.Sprintf(`!x.tgz: "%d bytes" ok`, len(got[0].content))
			}
			wantLines(t, got, c.want...)
			if name != "text" && !strings.HasPrefix(long, got[0].content) && got[0].content != "alpha" && name != "tar.gz in zip" {
				t.Errorf("content is %.40q", got[0].content)
			}
		})
	}
}

// What the standard library reads of a sound archive is what comes out here.
func TestAgreesWithTheStandardLibrary(t *testing.T) {
	var files []file
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		files = append(files, file{fmt.Sprintf("dir%d/file%d", i%7, i), random(1 << 18)[:r.IntN(1<<(i%18))]})
	}
	got := walk(t, zipOf(t, files...), archive.Limits{})
	if len(got) != len(files) {
		t.Fatalf("%d members of %d", len(got), len(files))
	}
	for i, l := range got {
		if l.path != "!"+files[i].name || l.content != files[i].content || l.err != nil || l.hidden {
			t.Errorf("member %d is %s", i, l)
		}
	}
}

// The tools of the system write dialects that the libraries do not.
func TestReadsWhatTheToolsOfTheSystemWrite(t *testing.T) {
	dir := t.TempDir()
	name := strings.Repeat("long/", 60) + "file"
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte("alpha"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, name), 1<<20); err != nil { // with a hole
		t.Fatal(err)
	}
	ran := 0
	for _, c := range [][]string{
		{"tar", "--format=gnu", "-S", "-cf", "out", "long"},
		{"tar", "--format=pax", "-S", "-cf", "out", "long"},
		{"tar", "--format=oldgnu", "-S", "-cf", "out", "long"},
		{"tar", "-czf", "out", "long"},
		{"tar", "--zstd", "-cf", "out", "long"},
		{"zip", "-qr", "out", "long"},
		{"zip", "-qr", "-Z", "bzip2", "out", "long"},
	} {
		if _, err := exec.LookPath(c[0]); err != nil {
			continue
		}
		cmd := exec.Command(c[0], c[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Logf("%q: %v %s", c, err, out) // an older tool
			continue
		}
		path := filepath.Join(dir, "out")
		if _, err := os.Stat(path); err != nil {
			path += ".zip"
		}
		object, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(path)
		ran++
		lines := walk(t, object, archive.Limits{})
		if !slices.ContainsFunc(lines, func(l line) bool {
			return strings.HasSuffix(l.path, "!"+name) && l.err == nil && !l.hidden && l.content == "alpha"+strings.Repeat("\x00", 1<<20-5)
		}) {
			t.Errorf("%q: got %v", c, lines)
		}
	}
	if ran == 0 {
		t.Skip("no tool of the system")
	}
}

func TestABombEndsInALimit(t *testing.T) {
	zeros := strings.Repeat("\x00", 64<<20)
	layer := string(gzipOf(t, "", zeros))
	ten := func(content string) []byte {
		var files []file
		for i := range 10 {
			files = append(files, file{fmt.Sprint(i), content})
		}
		return zipOf(t, files...)
	}
	nested := ten(string(ten(string(ten(layer))))) // 64 GB, as 42.zip has them
	for name, c := range map[string]struct {
		object []byte
		limits archive.Limits
		want   archive.Limit
		bytes  int64 // at most
	}{
		"ratio":        {nested, archive.Limits{RatioFrom: 16 << 20}, archive.LimitRatio, max(16<<20, int64(len(nested))*1000)},
		"total bytes":  {nested, archive.Limits{Ratio: 1 << 40, TotalBytes: 100 << 20}, archive.LimitTotalBytes, 100 << 20},
		"member bytes": {[]byte(layer), archive.Limits{MemberBytes: 1 << 20}, archive.LimitMemberBytes, 1 << 20},
		"zstd":         {zstdOf(t, zeros), archive.Limits{RatioFrom: 16 << 20}, archive.LimitRatio, 16 << 20},
		"members":      {nested, archive.Limits{Members: 5, Ratio: 1 << 40}, archive.LimitMembers, 65 << 20},
		"depth":        {nested, archive.Limits{Depth: 3}, archive.LimitDepth, 64 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWalker(t, c.limits, len(c.object), tempFile(t))
			w.keep = false
			w.container("", bytes.NewReader(c.object), int64(len(c.object)))
			hit := slices.ContainsFunc(w.lines, func(l line) bool {
				e, ok := errors.AsType[*archive.LimitError](l.err)
				return ok && e.Limit == c.want
			})
			spent := w.b.Spent()
			if !hit || spent.Bytes > c.bytes || spent.Bytes != w.bytes {
				t.Errorf("%d bytes given, %d counted, want at most %d and the limit %q: %v", w.bytes, spent.Bytes, c.bytes, c.want, w.lines)
			}
		})
	}
}

// A limit is told once, and what came before it is there.
func TestWhatCameBeforeALimitStays(t *testing.T) {
	inner := string(zipOf(t, file{"b", random(100)}, file{"c", random(100)}))
	object := tarOf(t, file{"a", "alpha"}, file{"inner.zip", inner}, file{"d", "delta"})
	wantLines(t, walk(t, object, archive.Limits{TotalBytes: int64(5 + len(inner) + 150)}),
		`!a: "alpha" ok`, fmt.Sprintf(`!inner.zip: "%d bytes" ok`, len(inner)), `!inner.zip!b: "100 bytes" ok`, `!inner.zip!c: "50 bytes" limit total bytes`)
	// One that concerns a member ends that member only.
	wantLines(t, walk(t, tarOf(t, file{"a", "alpha"}, file{"b", "beta"}, file{"c", "gamma"}), archive.Limits{MemberBytes: 4}),
		`!a: "alph" limit member bytes`, `!b: "beta" ok`, `!c: "gamm" limit member bytes`)
	// So does depth.
	packed := string(gzipOf(t, "a", "alpha"))
	wantLines(t, walk(t, tarOf(t, file{"a.gz", packed}, file{"b", "beta"}), archive.Limits{Depth: 2}),
		fmt.Sprintf(`!a.gz: "%d bytes" ok`, len(packed)), `!a.gz: "" limit depth`, `!b: "beta" ok`)
	wantLines(t, walk(t, tarOf(t, file{"a", "alpha."}, file{"b", "beta.."}, file{"c", "gamma."}), archive.Limits{Members: 2}), `!a: "alpha." ok`, `!b: "beta.." ok`, `!c: "" limit members`)
}

// Names and checks of the second copy are the same as of the first, so that only depth and count end this.
func TestAnArchiveInsideItselfEnds(t *testing.T) {
	object := []byte("alpha beta")
	for range 30 {
		object = storedZip(t, file{"me.zip", string(object)})
	}
	lines := walk(t, object, archive.Limits{})
	last := lines[len(lines)-1]
	if e, ok := errors.AsType[*archive.LimitError](last.err); !ok || e.Limit != archive.LimitDepth || len(lines) != 17 {
		t.Errorf("%d lines, the last is %s", len(lines), last)
	}
}

// An endless container costs what the limits say even when it gives nothing.
func TestMembersWithoutContentEnd(t *testing.T) {
	var z, g bytes.Buffer
	w := zip.NewWriter(&z)
	const n = 1_000_000
	for i := range n {
		if _, err := w.CreateRaw(&zip.FileHeader{Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	empty := gzipOf(t, "", "")
	for range n {
		g.Write(empty)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var seen int
	var last error
	for m, err := range archive.New(archive.Limits{}, nil).Budget(t.Context(), int64(z.Len())).Members(filetype.Zip, bytes.NewReader(z.Bytes()), int64(z.Len())) {
		if last = err; m != nil {
			seen++
		}
	}
	runtime.ReadMemStats(&after)
	if e, ok := errors.AsType[*archive.LimitError](last); !ok || e.Limit != archive.LimitEntries || seen != 250_000 {
		t.Errorf("%d members, then %v", seen, last)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<10*uint64(seen) {
		t.Errorf("%d bytes were allocated for %d members", took, seen)
	}
	wantLines(t, walk(t, g.Bytes(), archive.Limits{}), `!: "" ok`)
}

// A decoder of bzip2 costs milliseconds before it gives a byte: ten thousand streams of some forty bytes end at the limit of what is read.
func TestDecodersOfBzip2AreBounded(t *testing.T) {
	var z bytes.Buffer
	w := zip.NewWriter(&z)
	packed := bzip2Of(t, "small")
	for i := range 9990 {
		into, err := w.CreateRaw(&zip.FileHeader{Name: fmt.Sprint(i), Method: 12, CompressedSize64: uint64(len(packed))})
		if err == nil {
			_, err = io.WriteString(into, packed)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	lines := walk(t, z.Bytes(), archive.Limits{TotalBytes: 64 << 20})
	last := lines[len(lines)-1]
	if e, ok := errors.AsType[*archive.LimitError](last.err); !ok || e.Limit != archive.LimitRead || len(lines) < 1000 || len(lines) > 1100 {
		t.Errorf("%d lines, the last is %s", len(lines), last)
	}
}

// A gzip header may be as long as it likes, and what unpackers pass over does not hide what follows.
func TestAnyHeaderOfGzip(t *testing.T) {
	for name, object := range headersOfGzip(t) {
		if got := walk(t, object, archive.Limits{}); len(got) != 1 || got[0].content != marker || got[0].err != nil {
			t.Errorf("%s: %v", name, got)
		}
		for n := 6; n < len(object); n++ { // of fewer it is no gzip
			if n > 600 && n < len(object)-600 {
				continue
			}
			got := walk(t, object[:n], archive.Limits{})
			if len(got) != 1 || !errors.Is(got[0].err, archive.ErrDamaged) || !strings.HasPrefix(marker, got[0].content) {
				t.Errorf("%s, %d bytes: %v", name, n, got)
			}
		}
	}
	long := walk(t, headersOfGzip(t)["a name of 70000 bytes"], archive.Limits{})
	if n := len(long[0].path) - len("!"); n > archive.MaxName || n < archive.MaxName-4 {
		t.Errorf("a name of %d bytes", n)
	}
}

// headersOfGzip are streams with the marker, by what is in their header.
func headersOfGzip(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for what, h := range map[string]gzip.Header{
		"a name of 511 bytes":      {Name: strings.Repeat("n", 511)},
		"a name of 512 bytes":      {Name: strings.Repeat("n", 512)},
		"a name of 70000 bytes":    {Name: strings.Repeat("ä", 70000)},
		"a comment of 70000 bytes": {Comment: strings.Repeat("c", 70000)},
		"all":                      {Name: strings.Repeat("n", 600), Comment: strings.Repeat("c", 600), Extra: make([]byte, 65535)},
	} {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Header = h
		_, err := io.WriteString(w, marker)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		all[what] = b.Bytes()
	}
	checked := slices.Clone(gzipOf(t, "m", marker))
	const head = 10 + len("m") + 1
	checked[3] |= 1 << 1 // a checksum of the header
	all["a checksum"] = slices.Insert(checked, head, binary.LittleEndian.AppendUint16(nil, uint16(crc32.ChecksumIEEE(checked[:head])))...)
	text := slices.Clone(gzipOf(t, "", marker))
	text[3] |= 1 // it may be text
	all["a flag of text"] = text
	return all
}

// Deflate can be long and yield nothing, and a zip can name it ten thousand times.
func TestWhatIsReadIsBounded(t *testing.T) {
	nothing := strings.Repeat("\x00\x00\x00\xff\xff", 1<<20) + "\x01\x00\x00\xff\xff"
	object := rawZip(1000, nothing, 8, 0)
	w := newWalker(t, archive.Limits{TotalBytes: 20 << 20}, len(object), nil)
	w.container("", bytes.NewReader(object), int64(len(object)))
	last := w.lines[len(w.lines)-1]
	most := 2*(int64(len(object))+20<<20) + 1<<20
	if e, ok := errors.AsType[*archive.LimitError](last.err); !ok || e.Limit != archive.LimitRead || w.b.Spent().Read > most {
		t.Errorf("%d bytes were read, at most %d may be; the last line is %s", w.b.Spent().Read, most, last)
	}
}

// rawZip has n entries for the same local header.
func rawZip(n int, packed string, method uint16, size uint32) []byte {
	le := binary.LittleEndian
	local := append([]byte("PK\x03\x04"), make([]byte, 26)...)
	le.PutUint16(local[8:], method)
	le.PutUint32(local[18:], uint32(len(packed)))
	le.PutUint32(local[22:], size)
	le.PutUint16(local[26:], 1)
	object := slices.Concat(local, []byte("x"), []byte(packed))
	entry := append([]byte("PK\x01\x02"), make([]byte, 42)...)
	copy(entry[8:28], local[6:26])
	le.PutUint16(entry[28:], 1)
	from := len(object)
	for range n {
		object = append(append(object, entry...), 'x')
	}
	end := append([]byte("PK\x05\x06"), make([]byte, 18)...)
	le.PutUint16(end[10:], uint16(n))
	le.PutUint32(end[12:], uint32(len(object)-from))
	le.PutUint32(end[16:], uint32(from))
	return append(object, end...)
}

func TestEntriesThatShareBytesAreRead(t *testing.T) {
	object := rawZip(3, deflated(t, "alpha"), 8, 5)
	binary.LittleEndian.PutUint32(object[14:], checksum("alpha"))
	lines := walk(t, object, archive.Limits{})
	// The entries claim checksum 0; their bytes come in spite of it.
	wantLines(t, lines, `!x: "alpha" damaged`, `!x: "alpha" damaged`, `!x: "alpha" damaged`, `: "" damaged`)
	if got := lines[3].err.Error(); !strings.Contains(got, "2 entries share bytes") {
		t.Error(got)
	}
}

// patch replaces what must be there exactly once at or behind a place.
func patch(t *testing.T, object []byte, sig string, at int, with ...byte) []byte {
	t.Helper()
	i := bytes.LastIndex(object, []byte(sig))
	if i < 0 {
		t.Fatalf("no %q", sig)
	}
	object = slices.Clone(object)
	copy(object[i+at:], with)
	return object
}

func TestBothListsOfAZipAreRead(t *testing.T) {
	object := storedZip(t, file{"a", "alpha"})
	const local, entry, end = "PK\x03\x04", "PK\x01\x02", "PK\x05\x06"
	for name, c := range map[string]struct {
		object []byte
		want   []string
	}{
		"shorter in the directory": {patch(t, patch(t, object, entry, 20, 2), entry, 24, 2),
			[]string{`!a: "al" damaged`, `!a: "alpha" ok hidden`}},
		"shorter in the local header": {patch(t, patch(t, object, local, 18, 2), local, 22, 2),
			[]string{`!a: "alpha" ok`, `!a: "al" damaged hidden`}},
		"encrypted in the directory only":     {patch(t, object, entry, 8, 1), []string{`!a: "" encrypted`, `!a: "alpha" ok hidden`}},
		"encrypted in both":                   {patch(t, patch(t, object, entry, 8, 1), local, 6, 1), []string{`!a: "" encrypted`}},
		"another method in the directory":     {patch(t, object, entry, 10, 97), []string{`!a: "" unsupported`, `!a: "alpha" ok hidden`}},
		"another name in the directory":       {patch(t, object, entry, 46, 'b'), []string{`!b: "alpha" ok`}},
		"size of 4 GiB":                       {patch(t, patch(t, object, entry, 20, 255, 255, 255, 255), local, 18, 255, 255, 255, 255), nil},
		"an entry that points nowhere":        {patch(t, object, entry, 42, 1), []string{`: "" damaged`, `!a: "alpha" ok hidden`}},
		"no directory":                        {object[:bytes.Index(object, []byte(entry))], []string{`: "" damaged`, `!a: "alpha" ok hidden`}},
		"an end that points nowhere":          {patch(t, object, end, 16, 255, 255), []string{`: "" damaged`, `!a: "alpha" ok hidden`}},
		"a count that is wrong":               {patch(t, object, end, 10, 9), []string{`!a: "alpha" ok`, `: "" damaged`}},
		"behind other bytes":                  {slices.Concat([]byte(local+"MZ"), make([]byte, 1000), object), []string{`!a: "alpha" ok`}},
		"before other bytes":                  {slices.Concat(object, make([]byte, 1000)), []string{`!a: "alpha" ok`}},
		"bytes before its end":                {slices.Insert(slices.Clone(object), len(object)-22, []byte("other bytes")...), []string{`!a: "alpha" ok`, `: "" damaged`}},
		"cut, with a descriptor to come":      {patch(t, object, local, 6, 8)[:33], []string{`: "" damaged`, `!a: "al" damaged hidden`}},
		"behind another zip":                  {slices.Concat(storedZip(t, file{"b", "beta"}), object), []string{`!a: "alpha" ok`, `!b: "beta" ok hidden`}},
		"before the beginning of another zip": {slices.Concat(object, storedZip(t, file{"b", "beta"})[:35]), []string{`!a: "alpha" ok`, `!b: "beta" ok hidden`}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want == nil {
				for _, l := range walk(t, c.object, archive.Limits{}) {
					if l.path != "" && !strings.HasPrefix(l.content, "alpha") || !errors.Is(l.err, archive.ErrDamaged) {
						t.Errorf("got %s", l)
					}
				}
				return
			}
			wantLines(t, walk(t, c.object, archive.Limits{}), c.want...)
		})
	}
}

// Deflate says where it ends; sizes in headers, descriptors or not, do not cut it.
func TestDeflatedContentEndsWhereItEnds(t *testing.T) {
	object := zipOf(t, file{"a", strings.Repeat("alpha", 100)}, file{"b", "beta"})
	lying := bytes.Replace(object, []byte("PK\x01\x02"), []byte("PK\x01\x02"), 1)
	i := bytes.Index(lying, []byte("PK\x01\x02"))
	copy(lying[i+20:], "\x01\x00\x00\x00\x01\x00\x00\x00")
	wantLines(t, walk(t, lying, archive.Limits{}), `!a: "500 bytes" damaged`, `!b: "beta" ok`)
	cut := object[:bytes.Index(object, []byte("PK\x01\x02"))]
	wantLines(t, walk(t, cut, archive.Limits{}), `: "" damaged`, `!a: "500 bytes" ok hidden`, `!b: "beta" ok hidden`)
}

func TestZip64(t *testing.T) {
	le := binary.LittleEndian
	object := storedZip(t, file{"a", "alpha"})
	end := bytes.LastIndex(object, []byte("PK\x05\x06"))
	dir := le.Uint32(object[end+16:])
	rec := append([]byte("PK\x06\x06"), make([]byte, 52)...)
	le.PutUint64(rec[4:], 44)
	le.PutUint64(rec[32:], 1)
	le.PutUint64(rec[40:], uint64(end)-uint64(dir))
	le.PutUint64(rec[48:], uint64(dir))
	loc := append([]byte("PK\x06\x07"), make([]byte, 16)...)
	le.PutUint64(loc[8:], uint64(end))
	tail := slices.Clone(object[end:])
	copy(tail[8:20], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	big := slices.Concat(object[:end], rec, loc, tail)
	wantLines(t, walk(t, big, archive.Limits{}), `!a: "alpha" ok`)
	// A claim of 2^64-1 entries, bytes or a position leads to nothing but the local headers.
	for at := 32; at <= 48; at += 8 {
		lying := slices.Clone(big)
		copy(lying[end+at:], "\xff\xff\xff\xff\xff\xff\xff\xff")
		want := []string{`: "" damaged`, `!a: "alpha" ok hidden`}
		if at == 32 {
			want = []string{`!a: "alpha" ok`, `: "" damaged`}
		}
		wantLines(t, walk(t, lying, archive.Limits{}), want...)
	}
}

func TestABrokenMemberDoesNotHideTheOthers(t *testing.T) {
	files := []file{{"a", "alpha"}, {"b", random(5000)}, {"c", "gamma"}}
	z := storedZip(t, files...)
	z[bytes.Index(z, []byte(files[1].content))+4000] ^= 1
	wantLines(t, walk(t, z, archive.Limits{}), `!a: "alpha" ok`, `!b: "5000 bytes" damaged`, `!c: "gamma" ok`)
	r := tarOf(t, files...)
	r[1024+20] ^= 1 // in b's header
	wantLines(t, walk(t, r, archive.Limits{}), `!a: "alpha" ok`, `: "" damaged`, `!c: "gamma" ok`)
	r = slices.Insert(tarOf(t, files...), 1024, make([]byte, 512)...) // a lone block of zeros
	wantLines(t, walk(t, r, archive.Limits{}), `!a: "alpha" ok`, `: "" damaged`, `!b: "5000 bytes" ok`, `!c: "gamma" ok`)
	g := append(gzipOf(t, "a", "alpha"), "other bytes"...)
	wantLines(t, walk(t, g, archive.Limits{}), `!a: "alpha" damaged`)
	s := append(zstdOf(t, "alpha"), "other bytes"...)
	wantLines(t, walk(t, s, archive.Limits{}), `!: "alpha" damaged`)
}

// However a container is cut, what was whole before the cut comes out whole, and something says that it was cut.
func TestCutAtEveryByte(t *testing.T) {
	files := []file{{"a", "alpha"}, {"b", strings.Repeat("beta", 20)}}
	for name, object := range map[string][]byte{
		"zip": zipOf(t, files...), "stored": storedZip(t, files...), "tar": tarOf(t, files...), "gzip": gzipOf(t, "a", "alpha"), "zstd": zstdOf(t, "alpha"),
	} {
		t.Run(name, func(t *testing.T) {
			whole := walk(t, object, archive.Limits{})
			for n := 6; n < len(object); n++ { // of fewer it is no gzip
				lines := walk(t, object[:n], archive.Limits{})
				for _, l := range lines {
					sound := slices.ContainsFunc(whole, func(w line) bool {
						return w.path == l.path && (w.content == l.content || strings.HasPrefix(w.content, l.content) && l.err != nil)
					})
					if l.path != "" && !sound {
						t.Errorf("cut at %d: %s", n, l)
					}
				}
				// Nobody can tell a tar file that ends behind a member from one that lost the others.
				noticed := len(lines) == len(whole) || name == "tar" && n >= 517 && n <= 1024 || slices.ContainsFunc(lines, func(l line) bool { return l.err != nil })
				if k := filetype.Detect(object[:n], int64(n)); archive.Unpacks(k) && !noticed {
					t.Errorf("cut at %d of %d: nothing says so: %v", n, len(object), lines)
				}
			}
		})
	}
}

func TestNamesAreForPeopleOnly(t *testing.T) {
	for name, want := range map[string]string{
		"../../etc/passwd":            "../../etc/passwd",
		"C:\\x\x00.exe":               "C:\\x\uFFFD.exe",
		"a\x1b[31m\nb\u202etxt\u0085": "a\uFFFD[31m\uFFFDb\uFFFDtxt\uFFFD",
		"caf\xe9":                     "caf\uFFFD",
		strings.Repeat("ä", 2000):     strings.Repeat("ä", 510) + "…",
		strings.Repeat("n", 1021):     strings.Repeat("n", 1021),
	} {
		lines := walk(t, storedZip(t, file{name, "x"}), archive.Limits{})
		if len(lines) != 1 || lines[0].path != "!"+want {
			t.Errorf("%q is shown as %v, want %q", name, lines, want)
		}
	}
}

func TestTheWindowOfZstandardIsBounded(t *testing.T) {
	content := random(1<<20) + strings.Repeat("x", 9<<20)
	wide := zstdOf(t, content, zstd.WithWindowSize(16<<20))
	wantLines(t, walk(t, wide, archive.Limits{}), `!: "" limit window`)
	wantLines(t, walk(t, wide, archive.Limits{Window: 16 << 20}), `!: "10485760 bytes" ok`)
	narrow := zstdOf(t, content, zstd.WithWindowSize(1<<20))
	wantLines(t, walk(t, narrow, archive.Limits{}), `!: "10485760 bytes" ok`)
	// One segment: its window is its content.
	e, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true))
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, walk(t, e.EncodeAll([]byte(content), nil), archive.Limits{}), `!: "" limit window`)
	// A header is all that a claim costs.
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	walk(t, []byte("\x28\xb5\x2f\xfd\x00\x68\x01\x00\x00"), archive.Limits{})
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 24<<20 {
		t.Errorf("%d bytes were allocated for a frame of nine", took)
	}
}

func TestLinksAndFoldersAreNoMembers(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "link", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}, {Name: "hard", Linkname: "a", Typeflag: tar.TypeLink},
		{Name: "dir/", Typeflag: tar.TypeDir}, {Name: "dev", Typeflag: tar.TypeChar}, {Name: "a", Typeflag: tar.TypeReg, Size: 5},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(w, "alpha"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wantLines(t, walk(t, b.Bytes(), archive.Limits{}), `!a: "alpha" ok`)
	wantLines(t, walk(t, b.Bytes(), archive.Limits{Members: 1}), `!a: "alpha" ok`)
}

// What has no content takes nothing from what has, as in clamscan; but its number is bounded.
func TestOnlyContentCountsAsAMember(t *testing.T) {
	const n = 120
	var folders, empty, tiny []zipPart
	var links []byte
	for i := range n {
		folders = append(folders, zipPart{name: fmt.Sprintf("%d/", i)})
		empty = append(empty, zipPart{name: fmt.Sprint(i)})
		tiny = append(tiny, zipPart{name: fmt.Sprint(i), packed: "alpha", local: 5, listed: 5, size: 5, sum: checksum("alpha")})
		links = append(links, tarHeader(0, tarField{0, fmt.Sprint(i)}, tarField{156, []string{"1", "2", "3", "5"}[i%4]})...)
	}
	full := zipPart{name: "m", packed: marker, local: uint32(len(marker)), listed: uint32(len(marker)), size: uint32(len(marker)), sum: checksum(marker)}
	for name, object := range map[string][]byte{
		"folders": partsZip(append(folders, full)...), "empty": partsZip(append(empty, full)...), "a few bytes": partsZip(append(tiny, full)...),
		"links": slices.Concat(links, []byte(tarHeader(len(marker))+padded(marker)), make([]byte, 1024)),
	} {
		t.Run(name, func(t *testing.T) {
			for members, found := range map[int64]bool{1: false, 5: true} { // 25 and 125 entries
				lines := walk(t, object, archive.Limits{Members: members})
				last := lines[len(lines)-1]
				if e, ok := errors.AsType[*archive.LimitError](last.err); found != (last.content == marker) || !found && (!ok || e.Limit != archive.LimitEntries || e.Max != 25) {
					t.Errorf("of %d members the last is %s", members, last)
				}
			}
		})
	}
	lines := walk(t, partsZip(full, full, full), archive.Limits{Members: 2})
	if last := lines[len(lines)-1]; len(lines) != 3 || last.String() != `!m: "" limit members` {
		t.Errorf("%d lines, the last is %s", len(lines), last)
	}
}

// A header of a few hundred bytes can claim a file of 2^62 bytes that is all hole.
func TestASparseFileIsBounded(t *testing.T) {
	var b bytes.Buffer
	h := make([]byte, 512)
	copy(h, "sparse")
	copy(h[124:], "00000000000\x00") // on tape
	h[156] = 'S'
	copy(h[257:], "ustar  \x00")
	copy(h[386:], "77777777777\x00") // where the only piece is, and its length
	copy(h[398:], "00000000000\x00")
	copy(h[483:], "77777777777\x00") // in truth
	seal(h)
	b.Write(h)
	b.Write(make([]byte, 1024))
	w := newWalker(t, archive.Limits{MemberBytes: 1 << 20}, b.Len(), nil)
	w.container("", bytes.NewReader(b.Bytes()), int64(b.Len()))
	wantLines(t, w.lines, `!sparse: "1048576 bytes" limit member bytes`)
}

func TestLargeHeadersOfTarAreRefused(t *testing.T) {
	var b bytes.Buffer
	h := make([]byte, 512)
	copy(h, "././@LongLink")
	copy(h[124:], "77777777777\x00")
	h[156] = 'L'
	copy(h[257:], "ustar  \x00")
	seal(h)
	b.Write(h)
	b.Write(bytes.Repeat([]byte("n"), 4<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	lines := walk(t, b.Bytes(), archive.Limits{})
	runtime.ReadMemStats(&after)
	wantLines(t, lines, `: "" damaged`)
	if took := after.TotalAlloc - before.TotalAlloc; took > 8<<20 {
		t.Errorf("%d bytes were allocated", took)
	}
}

type failingReader struct {
	io.ReaderAt
	after int64
}

var errDisk = errors.New("disk is on fire")

func (f failingReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.after {
		return 0, errDisk
	}
	return f.ReaderAt.ReadAt(p, off)
}

// A disk that fails is not an archive that is damaged.
func TestAFailureOfTheReaderIsItsOwn(t *testing.T) {
	content := random(100_000)
	for k, object := range map[filetype.Kind][]byte{
		filetype.Zip: zipOf(t, file{"a", content}), filetype.Tar: tarOf(t, file{"a", content}), filetype.Gzip: gzipOf(t, "a", content), filetype.Zstd: zstdOf(t, content),
	} {
		b := archive.New(archive.Limits{}, nil).Budget(t.Context(), int64(len(object)))
		var errs []error
		for m, err := range b.Members(k, failingReader{bytes.NewReader(object), 50_000}, int64(len(object))) {
			if m != nil {
				_, err = io.Copy(io.Discard, m)
			}
			errs = append(errs, err)
		}
		if len(errs) == 0 || !errors.Is(errs[len(errs)-1], errDisk) || errors.Is(errs[len(errs)-1], archive.ErrDamaged) {
			t.Errorf("%s: %v", k, errs)
		}
		// Shorter than it was said to be: somebody writes to it.
		errs = nil
		for m, err := range b.Members(k, bytes.NewReader(object[:50_000]), int64(len(object))) {
			if m != nil {
				_, err = io.Copy(io.Discard, m)
			}
			errs = append(errs, err)
		}
		if len(errs) == 0 || !errors.Is(errs[len(errs)-1], io.ErrUnexpectedEOF) || errors.Is(errs[len(errs)-1], archive.ErrDamaged) {
			t.Errorf("%s cut under the reader: %v", k, errs)
		}
	}
}

func TestAContextEndsEverything(t *testing.T) {
	object := zipOf(t, file{"a", "alpha"}, file{"b", "beta"})
	b := archive.New(archive.Limits{}, nil).Budget(cancelled(), int64(len(object)))
	n := 0
	for m, err := range b.Members(filetype.Zip, bytes.NewReader(object), int64(len(object))) {
		n++
		if m != nil || !errors.Is(err, cancelled().Err()) {
			t.Errorf("member %v, error %v", m, err)
		}
	}
	if n != 1 {
		t.Errorf("told %d times", n)
	}
}

func TestAMemberIsValidUntilTheNext(t *testing.T) {
	object := zipOf(t, file{"a", "alpha"}, file{"b", "beta"})
	var first *archive.Member
	for m, err := range archive.New(archive.Limits{}, nil).Budget(t.Context(), 0).Members(filetype.Zip, bytes.NewReader(object), int64(len(object))) {
		if err != nil {
			t.Fatal(err)
		}
		if first != nil {
			if n, err := first.Read(make([]byte, 9)); n != 0 || err == nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			break
		}
		first = m
	}
}
