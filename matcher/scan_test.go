package matcher

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// listed is a record for content in a section of algorithm a.
func listed(a dbformat.Algorithm, content string, size bool, name string) dbformat.Record {
	r := dbformat.Record{Name: name}
	switch a {
	case dbformat.MD5:
		s := md5.Sum([]byte(content))
		copy(r.Hash[:], s[:])
	case dbformat.SHA1:
		s := sha1.Sum([]byte(content))
		copy(r.Hash[:], s[:])
	case dbformat.SHA256:
		r.Hash = sha256.Sum256([]byte(content))
	}
	if size {
		r.Size = uint32(len(content))
	}
	return r
}

func hexSHA256(content string) string {
	s := sha256.Sum256([]byte(content))
	return hex.EncodeToString(s[:])
}

type sections = map[string][]dbformat.Record

// generation builds both layers from sections by name.
func generation(t testing.TB, s sections, vectors ...dbformat.Vector) (light, rest *dbformat.MemLayer) {
	t.Helper()
	c := &dbformat.Content{Sections: map[dbformat.SectionID][]dbformat.Record{}, Vectors: vectors}
	for name, records := range s {
		id, err := dbformat.ParseSection(name)
		if err != nil {
			t.Fatal(err)
		}
		c.Sections[id] = records
	}
	light, rest, err := dbformat.Build(c, dbformat.ChooseParams(c, nil))
	if err != nil {
		t.Fatal(err)
	}
	return light, rest
}

// full is an engine over both layers.
func full(t testing.TB, o Options, s sections) *Engine {
	t.Helper()
	light, rest := generation(t, s)
	e, err := OpenGeneration(light, rest, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func write(t testing.TB, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// check compares a result with the fields that are named, and demands that there is no error.
func check(t testing.TB, got, want Result) {
	t.Helper()
	want.Source = SourceLocal
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestScanFileFindsByEachAlgorithm(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 40_000) // more than two buffers
	e := full(t, Options{}, sections{
		"hash/md5":    {listed(dbformat.MD5, "by md5", true, "Test.MD5")},
		"hash/sha1":   {listed(dbformat.SHA1, "by sha1", false, "Test.SHA1")},
		"hash/sha256": {listed(dbformat.SHA256, "by sha256", true, ""), listed(dbformat.SHA256, big, true, "Test.Big"), listed(dbformat.SHA256, "", false, "Test.Empty")},
		"allow/md5":   {listed(dbformat.MD5, "good", true, "Good")},
	})
	dir := t.TempDir()
	for i, c := range []struct{ content, name, signature string }{
		{"by md5", "Test.MD5", "hash/md5"},
		{"by sha1", "Test.SHA1", "hash/sha1"},
		{"by sha256", "Hash.SHA256." + hexSHA256("by sha256")[:16], "hash/sha256"},
		{big, "Test.Big", "hash/sha256"},
		{"", "Test.Empty", "hash/sha256"},
	} {
		path := write(t, filepath.Join(dir, fmt.Sprint(i)), c.content)
		want := Result{Path: path, Verdict: Malicious, Name: c.name, Signature: c.signature, SHA256: hexSHA256(c.content), Size: int64(len(c.content))}
		check(t, e.ScanFile(t.Context(), path), want)
		want.Path = ""
		check(t, e.ScanReader(t.Context(), strings.NewReader(c.content)), want)
	}
	path := write(t, filepath.Join(dir, "good"), "good")
	check(t, e.ScanFile(t.Context(), path), Result{Path: path, Verdict: Allowed, Name: "Good", Signature: "allow/md5", SHA256: hexSHA256("good"), Size: 4})
	path = write(t, filepath.Join(dir, "other"), "other")
	check(t, e.ScanFile(t.Context(), path), Result{Path: path, Verdict: Clean, SHA256: hexSHA256("other"), Size: 5})
}

// Only algorithms that the generation has are computed; a finding has its SHA-256 all the same.
func TestSHA256IsComputedForFindings(t *testing.T) {
	e := full(t, Options{}, sections{"hash/md5": {listed(dbformat.MD5, "bad", true, "Test.Bad")}})
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "bad"), "bad")
	check(t, e.ScanFile(t.Context(), path), Result{Path: path, Verdict: Malicious, Name: "Test.Bad", Signature: "hash/md5", SHA256: hexSHA256("bad"), Size: 3})
	path = write(t, filepath.Join(dir, "clean"), "clean")
	check(t, e.ScanFile(t.Context(), path), Result{Path: path, Verdict: Clean, Size: 5})
	check(t, e.ScanReader(t.Context(), strings.NewReader("clean")), Result{Verdict: Clean, SHA256: hexSHA256("clean"), Size: 5})
}

func TestSizeIsPartOfASignature(t *testing.T) {
	sum := sha256.Sum256([]byte("x"))
	e := full(t, Options{}, sections{"hash/sha256": {
		{Hash: sum, Size: 7, Name: "Test.Seven"}, {Hash: sum, Size: 8, Name: "Test.Eight"}, {Hash: [32]byte{9}, Name: "Test.Any"}}})
	for _, c := range []struct {
		hash [32]byte
		size int64
		name string
	}{
		{sum, 7, "Test.Seven"}, {sum, 8, "Test.Eight"}, {sum, 1, ""}, {sum, 0, ""}, {sum, -1, ""},
		{sum, 7 + 1<<32, ""}, // sizes are compared whole
		{[32]byte{9}, -1, "Test.Any"}, {[32]byte{9}, 1 << 40, "Test.Any"},
	} {
		r, err := e.Lookup(dbformat.SHA256, c.hash[:], c.size)
		if err != nil || r.Name != c.name || r.Size != c.size {
			t.Errorf("size %d: %+v, %v; want the name %q", c.size, r, err, c.name)
		}
	}
}

func TestLookupRefusesNonsense(t *testing.T) {
	e := full(t, Options{}, sections{"hash/md5": {listed(dbformat.MD5, "bad", true, "")}})
	for _, c := range []struct {
		a    dbformat.Algorithm
		sum  []byte
		size int64
	}{
		{dbformat.MD5, make([]byte, 15), 0}, {dbformat.MD5, make([]byte, 32), 0}, {dbformat.SHA256, nil, 0},
		{0, nil, 0}, {7, make([]byte, 64), 0}, {dbformat.MD5, make([]byte, 16), -2},
	} {
		if r, err := e.Lookup(c.a, c.sum, c.size); !errors.Is(err, ErrInput) || r.Verdict != Failed || r.Error == "" {
			t.Errorf("Lookup(%s, %d bytes, %d) = %+v, %v; want ErrInput", c.a, len(c.sum), c.size, r, err)
		}
	}
}

func TestUnwantedApplicationsOnlyOnDemand(t *testing.T) {
	s := sections{"pua/sha256": {listed(dbformat.SHA256, "split", true, "PUA.Split")}, "wholepua/sha1": {listed(dbformat.SHA1, "whole", true, "PUA.Whole")}}
	off, on := full(t, Options{}, s), full(t, Options{PUA: true}, s)
	dir := t.TempDir()
	for content, name := range map[string]string{"split": "PUA.Split", "whole": "PUA.Whole"} {
		path := write(t, filepath.Join(dir, content), content)
		if r := off.ScanFile(t.Context(), path); r.Verdict != Clean {
			t.Errorf("%s without PUA: %+v", content, r)
		}
		if r := on.ScanFile(t.Context(), path); r.Verdict != Malicious || r.Name != name {
			t.Errorf("%s with PUA: %+v", content, r)
		}
	}
	found := 0
	err := off.Scan(t.Context(), slices.Values([]string{dir}), ScanOptions{PUA: true}, func(r Result) {
		if r.Verdict == Malicious {
			found++
		}
	})
	if err != nil || found != 2 {
		t.Errorf("a scan that asks for PUA finds %d, %v; want 2", found, err)
	}
}

func TestLargeFilesAreSkippedAndSaySo(t *testing.T) {
	e := full(t, Options{MaxSize: 10}, sections{"hash/sha256": {listed(dbformat.SHA256, strings.Repeat("a", 11), true, "Test.A"), listed(dbformat.SHA256, strings.Repeat("a", 10), true, "Test.B")}})
	path := write(t, filepath.Join(t.TempDir(), "f"), strings.Repeat("a", 11))
	want := Result{Path: path, Verdict: Clean, Size: 11, Skipped: "larger than the limit of 10 bytes"}
	check(t, e.ScanFile(t.Context(), path), want)
	want.Path = ""
	check(t, e.ScanReader(t.Context(), strings.NewReader(strings.Repeat("a", 11))), want)
	want.Size = -1 // of a stream nobody knows it
	check(t, e.ScanReader(t.Context(), io.MultiReader(strings.NewReader(strings.Repeat("a", 11)))), want)
	if r := e.ScanReader(t.Context(), strings.NewReader(strings.Repeat("a", 10))); r.Name != "Test.B" {
		t.Errorf("at the limit: %+v", r)
	}
	for r := range scanAll(t, e, ScanOptions{MaxSize: 11}, path) {
		if r.Name != "Test.A" {
			t.Errorf("with a scan's own limit: %+v", r)
		}
	}
}

// scanAll gives the results of a scan of roots.
func scanAll(t testing.TB, e *Engine, o ScanOptions, roots ...string) func(func(Result) bool) {
	t.Helper()
	var all []Result
	if err := e.Scan(t.Context(), slices.Values(roots), o, func(r Result) { all = append(all, r) }); err != nil {
		t.Fatal(err)
	}
	return slices.Values(all)
}

func TestScanIsInTheOrderOfTheWalk(t *testing.T) {
	e := full(t, Options{}, sections{"hash/sha256": {listed(dbformat.SHA256, "bad", true, "Test.Bad")}})
	dir := t.TempDir()
	var want []string
	for i := range 40 {
		for j := range 40 {
			content := fmt.Sprint(i*j) + strings.Repeat("x", i*j*50)
			if i == 3 {
				content = "bad"
			}
			want = append(want, write(t, filepath.Join(dir, fmt.Sprintf("%02d", i), "a", fmt.Sprintf("%02d", j)), content))
		}
	}
	for _, jobs := range []int{0, 1, 7} {
		var got []string
		bad := 0
		for r := range scanAll(t, e, ScanOptions{Jobs: jobs}, dir) {
			got = append(got, r.Path)
			if r.Verdict == Malicious {
				bad++
			}
			if r.Err != nil {
				t.Fatalf("%+v", r)
			}
		}
		if !slices.Equal(got, want) || bad != 40 {
			t.Fatalf("jobs %d: %d results, %d bad; want %d in the order of the walk, 40 bad", jobs, len(got), bad, len(want))
		}
	}
}

func TestScanGoesOnAfterWhatItCannotRead(t *testing.T) {
	e := full(t, Options{}, sections{"hash/sha256": {listed(dbformat.SHA256, "bad", true, "Test.Bad")}})
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	bad := write(t, filepath.Join(dir, "bad"), "bad")
	got := slices.Collect(scanAll(t, e, ScanOptions{}, missing, bad, ""))
	if len(got) != 3 || got[0].Verdict != Failed || !errors.Is(got[0].Err, os.ErrNotExist) || got[0].Path != missing || got[1].Verdict != Malicious || got[2].Verdict != Failed {
		t.Fatalf("got %+v", got)
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	e := full(t, Options{}, sections{"hash/sha256": {listed(dbformat.SHA256, "bad", true, "Test.Bad")}})
	dir := t.TempDir()
	for i := range 300 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), "x")
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := e.Scan(ctx, slices.Values([]string{dir}), ScanOptions{Jobs: 3}, func(Result) {
		if n++; n == 5 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || n != 5 {
		t.Fatalf("%d results, %v; want 5 and context.Canceled", n, err)
	}
	if r := e.ScanReader(ctx, strings.NewReader("bad")); r.Verdict != Failed || !errors.Is(r.Err, context.Canceled) {
		t.Fatalf("with a context that is done: %+v", r)
	}
}

// A panic of the caller's function reaches the caller and leaves no goroutine behind (TestMain looks).
func TestScanPassesOnThePanicOfEmit(t *testing.T) {
	e := full(t, Options{}, sections{"hash/sha256": {listed(dbformat.SHA256, "bad", true, "Test.Bad")}})
	dir := t.TempDir()
	for i := range 50 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), "x")
	}
	defer func() {
		if recover() != "mine" {
			t.Error("the panic did not arrive")
		}
	}()
	e.Scan(t.Context(), slices.Values([]string{dir}), ScanOptions{}, func(Result) { panic("mine") })
}

// A file that does not hold still is an error, whichever way it moves.
func TestFilesThatChangeWhileRead(t *testing.T) {
	e := full(t, Options{}, sections{"hash/md5": {listed(dbformat.MD5, "bad", true, "Test.Bad")}})
	for name, change := range map[string]func(path string) error{
		"shrinks": func(path string) error { return os.Truncate(path, 100) },
		"grows":   func(path string) error { return os.Truncate(path, 1<<20) },
		"grows unseen by the clock": func(path string) error {
			fi, err := os.Stat(path)
			return errors.Join(err, os.Truncate(path, 1<<20), os.Chtimes(path, time.Time{}, fi.ModTime()))
		},
		"changes": func(path string) error {
			return os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour))
		},
	} {
		path := write(t, filepath.Join(t.TempDir(), "f"), strings.Repeat("x", 600_000))
		f, fi, err := openRegular(path, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := change(path); err != nil {
			t.Fatal(err)
		}
		l := ScanOptions{}.look(e, newHasher())
		r := l.content(t.Context(), content{r: f, size: fi.Size(), name: path}, path, 0, func() error { return unchanged(f, fi) })
		f.Close()
		if r.Verdict != Failed || !errors.Is(r.Err, ErrChanged) || !strings.Contains(r.Error, path) {
			t.Errorf("a file that %s: %+v, want ErrChanged with the path", name, r)
		}
	}
}

func TestReaderErrorsAreResults(t *testing.T) {
	e := full(t, Options{}, sections{"hash/md5": {listed(dbformat.MD5, "bad", true, "Test.Bad")}})
	broken := errors.New("line is dead")
	r := e.ScanReader(t.Context(), io.MultiReader(bytes.NewReader(make([]byte, 10)), errorReader{broken}))
	if r.Verdict != Failed || r.Err != broken || r.Error != "line is dead" {
		t.Fatalf("got %+v", r)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestLinksAreFollowedOnlyWhenNamed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("symbolic links need a privilege on Windows: only the walk of plain files is tested there")
		return
	}
	e := full(t, Options{}, sections{"hash/sha256": {listed(dbformat.SHA256, "bad", true, "Test.Bad")}})
	dir := t.TempDir()
	bad := write(t, filepath.Join(dir, "out", "bad"), "bad")
	in := filepath.Join(dir, "in")
	write(t, filepath.Join(in, "file"), "x")
	for link, target := range map[string]string{"file-link": bad, "folder-link": filepath.Join(dir, "out"), "dangling": "nowhere", "loop": "."} {
		if err := os.Symlink(target, filepath.Join(in, link)); err != nil {
			t.Fatal(err)
		}
	}
	if got := slices.Collect(scanAll(t, e, ScanOptions{}, in)); len(got) != 1 || got[0].Path != filepath.Join(in, "file") {
		t.Errorf("inside a folder links were followed: %+v", got)
	}
	got := slices.Collect(scanAll(t, e, ScanOptions{}, filepath.Join(in, "file-link"), filepath.Join(in, "folder-link")))
	if len(got) != 2 || got[0].Verdict != Malicious || got[1].Verdict != Malicious || got[1].Path != filepath.Join(in, "folder-link", "bad") {
		t.Errorf("links as arguments: %+v", got)
	}
	// An entry that becomes a link between the walk and the opening leads nowhere.
	h := newHasher()
	l := look{e: e, h: h}
	if r := l.file(t.Context(), filepath.Join(in, "file-link"), false); r.Verdict != Failed || !errors.Is(r.Err, ErrChanged) {
		t.Errorf("a link that was a file before: %+v", r)
	}
}

func TestPathsKeepTheirSpelling(t *testing.T) {
	sep := string(os.PathSeparator)
	for _, c := range []struct{ folder, want string }{
		{"a", "a" + sep + "x"}, {"a" + sep, "a" + sep + "x"}, {".", "." + sep + "x"},
		{"a" + sep + "..", "a" + sep + ".." + sep + "x"}, {sep, sep + "x"},
	} {
		if got := join(c.folder, "x"); got != c.want {
			t.Errorf("join(%q, x) = %q, want %q", c.folder, got, c.want)
		}
	}
}
