package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"example.org/avdb/archive"
)

// FuzzWalk: whatever the bytes are, a walk through them ends within its limits, every error is of a known kind, names are fit for people, and
// a second walk with the same Unpacker gives the same.
func FuzzWalk(f *testing.F) {
	files := []file{{"a", "alpha"}, {"dir/b", strings.Repeat("beta", 100)}}
	inner := zipOf(f, files...)
	for _, seed := range [][]byte{
		inner, storedZip(f, files...), tarOf(f, files...), gzipOf(f, "a", "alpha"), zstdOf(f, "alpha"),
		tarOf(f, file{"x.zip", string(inner)}, file{"y.gz", string(gzipOf(f, "y", string(inner)))}), rawZip(3, deflated(f, "alpha"), 8, 5),
		storedZip(f, file{"z.zst", string(zstdOf(f, string(tarOf(f, files...))))}), inner[:len(inner)-30], rawZip(2, string(zstdOf(f, "alpha")), 93, 5),
		partsZip(zipPart{name: "d/", packed: "alpha", descriptor: descriptor("alpha", 5), flags: 8}, zipPart{name: "e/", method: 8, packed: deflated(f, "alpha")}),
		[]byte(plainTars()["records, less"].object), []byte(plainTars()["size, junk"].object), []byte(plainTars()["a sparse file"].object),
		hidingZips(f)["where the end points alone"], hidingZips(f)["in a directory without an end"], hidingZips(f)["behind the end of deflate"],
		embeddedZips(f)["data"], embeddedZips(f)["a script, no directory"], embeddedZips(f)["no name"],
	} {
		f.Add(seed)
	}
	limits := archive.Limits{Depth: 5, Members: 50, MemberBytes: 100_000, TotalBytes: 300_000, Window: 1 << 20, Memory: 128 << 10}
	f.Fuzz(func(t *testing.T, object []byte) {
		var first []string
		u := archive.New(limits, func() (archive.File, error) { return &memoryFile{room: -1}, nil })
		for range 2 {
			w := &walker{t: t, limits: limits, b: u.Budget(t.Context(), int64(len(object))), depth: 1, keep: true}
			w.container("", bytes.NewReader(object), int64(len(object)))
			s := w.b.Spent()
			if s.Bytes != w.bytes || s.Bytes > limits.TotalBytes || s.Members > limits.Members || s.Entries > 25*limits.Members || s.Depth > limits.Depth || w.live != 0 ||
				s.Read > 2*(int64(len(object))+limits.TotalBytes)+1<<20 {
				t.Errorf("spent %+v of %+v, and %d bytes were given", s, limits, w.bytes)
			}
			var lines []string
			for _, l := range w.lines {
				if int64(len(l.content)) > limits.MemberBytes {
					t.Errorf("%s has %d bytes", l.path, len(l.content))
				}
				if l.err != nil && !errors.Is(l.err, archive.ErrLimit) && !errors.Is(l.err, archive.ErrDamaged) &&
					!errors.Is(l.err, archive.ErrEncrypted) && !errors.Is(l.err, archive.ErrUnsupported) {
					t.Errorf("%s: an error of no known kind: %v", l.path, l.err)
				}
				lines = append(lines, fmt.Sprint(l, l.content, l.err))
			}
			if first == nil {
				first = lines
			} else if !slices.Equal(first, lines) {
				t.Errorf("the second walk differs:\n%q\n%q", first, lines)
			}
		}
	})
}

// bzip2Of is a stream of testdata.
func bzip2Of(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".bz2")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
