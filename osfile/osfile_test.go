package osfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// openers are the three ways in. Each is given a name in a folder.
var openers = map[string]func(dir, name string) (*os.File, error){
	"Open": func(dir, name string) (*os.File, error) { return Open(filepath.Join(dir, name)) },
	"OpenIn": func(dir, name string) (*os.File, error) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		return OpenIn(root, name)
	},
	"OpenOwn": func(dir, name string) (*os.File, error) { return OpenOwn(filepath.Join(dir, name), os.O_RDONLY) },
}

func TestRegularFilesOpen(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "text")
	for how, open := range openers {
		f, err := open(dir, "file")
		if err != nil {
			t.Errorf("%s: %v", how, err)
			continue
		}
		if b, err := io.ReadAll(f); string(b) != "text" || err != nil {
			t.Errorf("%s: read %q, %v", how, b, err)
		}
		f.Close()
		if _, err := open(dir, "none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of a missing file: %v, want the system's error", how, err)
		}
	}
	f, err := OpenOwn(filepath.Join(dir, "file"), os.O_RDWR)
	must(t, err)
	defer f.Close()
	if _, err := f.WriteAt([]byte("T"), 0); err != nil {
		t.Errorf("write to a file opened for it: %v", err)
	}
}

// A file in use is tried again for two seconds and not longer; any other outcome is final.
func TestRetry(t *testing.T) {
	busy, other := errors.New("in use"), errors.New("other")
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name    string
		results []error // the last one goes on
		want    error
		calls   int
		atLeast time.Duration
	}{
		{"at once", []error{nil}, nil, 1, 0},
		{"after a while", []error{busy, busy, busy, nil}, nil, 4, 35 * time.Millisecond},
		{"another error is final", []error{busy, other}, other, 2, 5 * time.Millisecond},
		{"in use for ever", []error{busy}, busy, 15, inUseLimit - 200*time.Millisecond},
	} {
		now, calls, pause := began, 0, time.Duration(0)
		err := retry(func() error { calls++; return c.results[min(calls, len(c.results))-1] }, func(err error) bool { return err == busy },
			func() time.Time { return now }, func(d time.Duration) {
				if d < pause || d > 200*time.Millisecond {
					t.Errorf("%s: a pause of %v after one of %v", c.name, d, pause)
				}
				now, pause = now.Add(d), d
			})
		if err != c.want || calls != c.calls {
			t.Errorf("%s: %v after %d calls, want %v after %d", c.name, err, calls, c.want, c.calls)
		}
		if waited := now.Sub(began); waited < c.atLeast || waited > inUseLimit {
			t.Errorf("%s: waited %v, want %v to %v", c.name, waited, c.atLeast, inUseLimit)
		}
	}
}

func TestRenameReplaces(t *testing.T) {
	dir := t.TempDir()
	from, to := write(t, filepath.Join(dir, "from"), "new"), write(t, filepath.Join(dir, "to"), "old")
	must(t, Rename(from, to))
	if b, err := os.ReadFile(to); string(b) != "new" || err != nil {
		t.Errorf("after the rename: %q, %v", b, err)
	}
	must(t, SyncDir(dir))
	fastest := inUseLimit
	for range 10 { // a busy machine makes some of them slow, a wait for the file all
		began := time.Now()
		if err := Rename(from, to); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a missing file: %v, want the system's error", err)
		}
		fastest = min(fastest, time.Since(began))
	}
	if fastest > inUseLimit/2 {
		t.Errorf("a missing file: the error comes after %v, want it at once", fastest)
	}
	if err := SyncDir(from); runtime.GOOS != "windows" && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sync of a missing folder: %v", err)
	}
}

// Numbers that mean "in use" on Windows mean other things elsewhere.
func TestOnlyWindowsKnowsFilesInUse(t *testing.T) {
	if InUse(sharingViolation) != (runtime.GOOS == "windows") {
		t.Errorf("InUse(%d) on %s", sharingViolation, runtime.GOOS)
	}
}

func TestLinkErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{fs.ErrNotExist, false},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.ELOOP}, true},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EMLINK}, true},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, false},
		{&IrregularError{"x", fs.ModeSymlink}, true},
		{&IrregularError{"x", fs.ModeIrregular}, true}, // a junction
		{&IrregularError{"x", fs.ModeDir}, false},
		{&IrregularError{"x", fs.ModeNamedPipe}, false},
	} {
		if got := IsLinkError(c.err); got != c.want {
			t.Errorf("IsLinkError(%v) = %v", c.err, got)
		}
	}
}

func TestPrivateCopy(t *testing.T) {
	f, err := os.Open(write(t, filepath.Join(t.TempDir(), "file"), "text"))
	must(t, err)
	defer f.Close()
	t.Setenv("TMPDIR", t.TempDir())
	c, err := PrivateCopy(f)
	if runtime.GOOS == "windows" {
		if !windowsInUse(err) {
			t.Errorf("an open file keeps its name: %v", err)
		}
		return
	}
	must(t, err)
	defer c.Close()
	if b, err := io.ReadAll(io.NewSectionReader(c, 0, 9)); string(b) != "text" || err != nil {
		t.Errorf("the copy holds %q, %v", b, err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); len(left) != 0 || err != nil {
		t.Errorf("the copy has a name: %v, %v", left, err)
	}
}

func TestRoomAndPlace(t *testing.T) {
	dir := t.TempDir()
	if n, err := FreeBytes(dir); n <= 0 || err != nil {
		t.Errorf("FreeBytes = %d, %v", n, err)
	}
	if kind, remote := Remote(dir); remote {
		t.Errorf("the test's own folder counts as remote: %s", kind)
	}
	if _, err := FreeBytes(filepath.Join(dir, "none")); err == nil && runtime.GOOS != "windows" {
		t.Error("there is room in a folder that does not exist")
	}
}

// A replacement that ends at any of its steps leaves the old file or the new one, whole, and no other file if it could be removed.
func TestReplaceAtEachStep(t *testing.T) {
	broken := errors.New("broken")
	steps := []string{"create", "write", "sync", "rename"}
	for _, at := range append(steps, "none") {
		for _, after := range []bool{false, true} {
			dir := t.TempDir()
			path := write(t, filepath.Join(dir, "file"), "old")
			var seen []string
			err := Replace(path, func() (*os.File, error) { return os.CreateTemp(dir, "new-*") }, strings.NewReader("new"), 0o640, func(op, about, from string, do func() error) error {
				seen = append(seen, op)
				if (op == "remove") == (about == path) || (op == "rename") != (from != "") {
					t.Errorf("%s is about %s, from %q", op, about, from)
				}
				if op != at {
					return do()
				}
				if after {
					must(t, do())
				}
				return broken
			})
			want := "old"
			if at == "none" || at == "rename" && after {
				want = "new"
			}
			b, e := os.ReadFile(path)
			must(t, e)
			if (err == nil) != (at == "none") || at != "none" && !errors.Is(err, broken) || string(b) != want {
				t.Errorf("%s, after %v: %v, the file is %q, want %q", at, after, err, b, want)
			}
			left, e := os.ReadDir(dir)
			must(t, e)
			if len(left) != 1 {
				t.Errorf("%s, after %v: %v stay", at, after, left)
			}
			if at == "none" && !slices.Equal(seen, steps) {
				t.Errorf("steps %v", seen)
			}
			if i, e := os.Stat(path); at == "none" && runtime.GOOS != "windows" && (e != nil || i.Mode().Perm() != 0o640) {
				t.Errorf("mode %v, %v", i.Mode(), e)
			}
		}
	}
	dir := t.TempDir()
	if err := Replace(filepath.Join(dir, "file"), func() (*os.File, error) { return nil, broken }, strings.NewReader("x"), 0o600, nil); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
