package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"example.org/avdb/archive"
	"example.org/avdb/filetype"
)

// A line of a walk is what one member, or one error of a container, came to.
type line struct {
	path    string // names from the top-level object on, with "!" between
	content string
	err     error
	hidden  bool
}

func (l line) String() string {
	kind := "ok"
	limit, isLimit := errors.AsType[*archive.LimitError](l.err)
	switch {
	case isLimit:
		kind = "limit " + string(limit.Limit)
	case errors.Is(l.err, archive.ErrDamaged):
		kind = "damaged"
	case errors.Is(l.err, archive.ErrEncrypted):
		kind = "encrypted"
	case errors.Is(l.err, archive.ErrUnsupported):
		kind = "unsupported"
	case l.err != nil:
		kind = l.err.Error()
	}
	if l.hidden {
		kind += " hidden"
	}
	content := l.content
	if len(content) > 20 {
		content = fmt.Sprintf("%d bytes", len(content))
	}
	return fmt.Sprintf("%s: %q %s", l.path, content, kind)
}

// A walker goes through an object and everything inside it, and holds the package to its promises on the way.
type walker struct {
	t      testing.TB
	limits archive.Limits
	b      *archive.Budget
	lines  []line
	bytes  int64
	live   int // spools
	depth  int
	keep   bool // content, not its length only
}

func newWalker(t testing.TB, l archive.Limits, size int, temp func() (archive.File, error)) *walker {
	return &walker{t: t, limits: l, b: archive.New(l, temp).Budget(t.Context(), int64(size)), depth: 1, keep: true}
}

// walk gives the lines of an object that is in memory.
func walk(t testing.TB, object []byte, l archive.Limits) []line {
	t.Helper()
	w := newWalker(t, l, len(object), tempFile(t))
	w.container("", bytes.NewReader(object), int64(len(object)))
	if w.live != 0 {
		t.Errorf("%d spools are left", w.live)
	}
	return w.lines
}

func (w *walker) add(l line) {
	if l.err == io.EOF {
		l.err = nil
	}
	w.lines = append(w.lines, l)
	if _, isLimit := errors.AsType[*archive.LimitError](l.err); isLimit != errors.Is(l.err, archive.ErrLimit) {
		w.t.Errorf("%v is a limit or not", l.err)
	}
	if l.err != nil && strings.Contains(l.err.Error(), "panicked") {
		w.t.Errorf("%s: %v", l.path, l.err)
	}
}

func (w *walker) container(path string, r io.ReaderAt, size int64) {
	w.depth++
	defer func() { w.depth-- }()
	head := make([]byte, min(size, filetype.MaxHead))
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		w.t.Fatal(err)
	}
	kind := filetype.Detect(head, size)
	w.members(path, w.b.Members(kind, r, size))
	if !archive.Embeds(kind) {
		return
	}
	whole := make([]byte, size)
	if _, err := r.ReadAt(whole, 0); err != nil && err != io.EOF {
		w.t.Fatal(err)
	}
	if from := archive.FindEmbedded(whole); from >= 0 {
		w.members(path, w.b.Embedded(r, size, int64(from)))
	}
}

func (w *walker) members(path string, members iter.Seq2[*archive.Member, error]) {
	for m, err := range members {
		if m == nil {
			w.add(line{path: path, err: err})
			continue
		}
		if w.depth > w.limits.Depth && w.limits.Depth > 0 {
			w.t.Errorf("a member at depth %d", w.depth)
		}
		w.name(m.Name)
		s, err := m.Spool()
		w.live++
		l := line{path: path + "!" + m.Name, err: err, hidden: m.Hidden}
		if w.keep {
			content := make([]byte, s.Size())
			if n, rerr := s.ReadAt(content, 0); int64(n) != s.Size() || rerr != nil && rerr != io.EOF {
				w.t.Errorf("%s: %d of %d bytes can be read again: %v", l.path, n, s.Size(), rerr)
			}
			l.content = string(content)
		}
		w.bytes += s.Size()
		if again, aerr := m.Read(make([]byte, 1)); again != 0 || aerr == nil {
			w.t.Errorf("%s: %d bytes and %v behind the end", l.path, again, aerr)
		}
		w.add(l)
		w.container(l.path, s, s.Size())
		if err := s.Close(); err != nil {
			w.t.Error(err)
		}
		w.live--
	}
}

// name holds a name to what MaxName promises.
func (w *walker) name(s string) {
	bad := func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
	}
	if len(s) > archive.MaxName || !utf8.ValidString(s) || strings.ContainsFunc(s, bad) {
		w.t.Errorf("the name %q is not fit for people", s)
	}
}

func tempFile(t testing.TB) func() (archive.File, error) {
	return func() (archive.File, error) { return os.CreateTemp(t.TempDir(), "") }
}

// wantLines compares a walk with what was expected of it.
func wantLines(t *testing.T, got []line, want ...string) {
	t.Helper()
	var lines []string
	for _, l := range got {
		lines = append(lines, l.String())
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(lines, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// file is what goes into a container.
type file struct{ name, content string }

func zipOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		into, err := w.Create(f.name)
		if err == nil {
			_, err = io.WriteString(into, f.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// storedZip has no data descriptors: sizes and checksums stand in both headers.
func storedZip(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		into, err := w.CreateRaw(&zip.FileHeader{Name: f.name, CRC32: checksum(f.content), CompressedSize64: uint64(len(f.content)),
			UncompressedSize64: uint64(len(f.content))})
		if err == nil {
			_, err = io.WriteString(into, f.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.content)), Mode: 0o644, Typeflag: tar.TypeReg})
		if err == nil {
			_, err = io.WriteString(w, f.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipOf(t testing.TB, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Name = name
	_, err := io.WriteString(w, content)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstdOf(t testing.TB, content string, o ...zstd.EOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, append(o, zstd.WithEncoderConcurrency(1))...)
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func deflated(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// cancelled is a context that is over.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
