package intake

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.org/avdb/ksn/statistics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func record(t testing.TB, n int) Record {
	r := statistics.Record{V: 1, ID: fmt.Sprintf("%032x", n), OS: "linux"}
	return Record{r.ID, must[[]byte](t)(r.Marshal())}
}

func records(t testing.TB, from, to int) (all []Record) {
	for i := from; i < to; i++ {
		all = append(all, record(t, i))
	}
	return all
}

func body(all []Record) []byte {
	var parts [][]byte
	for _, r := range all {
		parts = append(parts, r.JSON)
	}
	return []byte(`{"v":1,"records":[` + string(bytes.Join(parts, []byte(","))) + `]}`)
}

// ids are those of all lines in a folder, in the order of the files, each of them a record.
func ids(t testing.TB, dir string) (all []string) {
	t.Helper()
	for _, name := range names(t, dir) {
		b := must[[]byte](t)(os.ReadFile(filepath.Join(dir, name)))
		if len(b) > 0 && b[len(b)-1] != '\n' {
			t.Errorf("%s ends in the middle of a line", name)
		}
		for line := range bytes.Lines(b) {
			all = append(all, must[statistics.Record](t)(statistics.ParseRecord(bytes.TrimSuffix(line, []byte("\n")))).ID)
		}
	}
	return all
}

func names(t testing.TB, dir string) (all []string) {
	t.Helper()
	for _, e := range must[[]os.DirEntry](t)(os.ReadDir(dir)) {
		all = append(all, e.Name())
	}
	return all
}

func wantIDs(t testing.TB, dir string, want []Record) {
	t.Helper()
	got := ids(t, dir)
	slices.Sort(got)
	var all []string
	for _, r := range want {
		all = append(all, r.ID)
	}
	if slices.Sort(all); !slices.Equal(got, all) {
		t.Errorf("%d lines, want %d\n got %.400s\nwant %.400s", len(got), len(all), strings.Join(got, " "), strings.Join(all, " "))
	}
}

func open(t testing.TB, c FilesConfig) *Files {
	t.Helper()
	if c.Delay == 0 {
		c.Delay = time.Millisecond
	}
	f := must[*Files](t)(OpenFiles(c))
	t.Cleanup(func() { f.Close() })
	return f
}

var errDisk = errors.New("the disk is full")

// faulty is a disk that fails as told: of the calls with the name, the ones that come before it is 0 work.
type faulty struct {
	disk
	call   string
	after  int
	times  int // that it fails
	tear   int // bytes that a failing write writes
	syncs  int
	broken bool // writes are torn, and nothing can be cut
}

func (d *faulty) fails(call string) bool {
	if d.call != call {
		return false
	}
	if d.after > 0 {
		d.after--
		return false
	}
	d.times--
	return d.times >= 0
}

func (d *faulty) open(name string) (file, error) {
	f, err := d.disk.open(name)
	return &faultyFile{f, d}, err
}

func (d *faulty) create(name string) (file, error) {
	if d.fails("create") {
		return nil, errDisk
	}
	f, err := d.disk.create(name)
	return &faultyFile{f, d}, err
}

type faultyFile struct {
	file
	d *faulty
}

func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if f.d.broken || f.d.fails("write") {
		n, err := f.file.WriteAt(b[:min(len(b), f.d.tear)], off)
		return n, errors.Join(errDisk, err)
	}
	return f.file.WriteAt(b, off)
}

func (f *faultyFile) Sync() error {
	f.d.syncs++
	if f.d.fails("sync") {
		return errDisk
	}
	return f.file.Sync()
}

func (f *faultyFile) Truncate(n int64) error {
	if f.d.broken || f.d.fails("truncate") {
		return errDisk
	}
	return f.file.Truncate(n)
}
