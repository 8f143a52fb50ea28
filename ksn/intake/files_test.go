package intake

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/statistics"
)

func TestTake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "statistics")
	i := New(open(t, FilesConfig{Dir: dir}))
	all := records(t, 0, 5)
	for _, take := range []struct{ kind, body string }{
		{"application/json", string(body([]Record{all[0], all[1], all[0]}))},
		{"application/json", string(body(all[1:3]))},
		{"application/x-ndjson", string(all[3].JSON) + "\n" + string(all[4].JSON) + "\n"},
		{"application/x-ndjson", string(all[4].JSON)},
		{"application/json", string(body([]Record{all[0], all[0]}))},
	} {
		if err := i.Take(t.Context(), take.kind, []byte(take.body)); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []struct{ kind, body string }{
		{"application/json", ""}, {"application/json", "{}"}, {"application/json", string(all[0].JSON)}, {"text/plain", string(body(all))},
		{"application/x-ndjson", string(body(all))}, {"application/x-ndjson", string(all[0].JSON) + "\n\n" + string(all[1].JSON)}, {"application/x-ndjson", "\n"},
		{"application/json", strings.Replace(string(body(all)), `"os"`, `"host":"alice","os"`, 1)},
		{"application/x-ndjson", strings.Repeat(string(all[0].JSON)+"\n", statistics.MaxBody/len(all[0].JSON))},
	} {
		if err := i.Take(t.Context(), bad.kind, []byte(bad.body)); !errors.Is(err, protocol.ErrInvalid) {
			t.Errorf("%s %.60q: %v", bad.kind, bad.body, err)
		}
	}
	wantIDs(t, dir, all)
	if got, want := i.Counts(), (Counts{Accepted: 5, Duplicate: 5, Invalid: 9}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if runtime.GOOS != "windows" {
		for _, name := range names(t, dir) {
			if st := must[os.FileInfo](t)(os.Stat(filepath.Join(dir, name))); st.Mode() != 0o600 {
				t.Errorf("%s has mode %s", name, st.Mode())
			}
		}
	}
}

// Whatever a crash left of the last group: whole lines count, the rest is cut, and what is sent again stands there once.
func TestTornTail(t *testing.T) {
	line := string(record(t, 3).JSON) + "\n"
	for name, tail := range map[string]string{
		"nothing": "", "half a line": line[:20], "all but the newline": line[:len(line)-1], "zeros": strings.Repeat("\x00", 5000), "a zero in a line": line[:len(line)-6] + "\x00" + line[len(line)-5:],
		"a whole line": line, "one and a half": line + line[:9], "zeros with newlines": "\x00\n\x00\n", "very long": strings.Repeat("x", 3*statistics.MaxRecord),
		"very long line": strings.Repeat("x", 3*statistics.MaxRecord) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := open(t, FilesConfig{Dir: dir})
			must[int](t)(f.Put(t.Context(), records(t, 0, 3)))
			must[struct{}](t)(struct{}{}, f.Close())
			path := filepath.Join(dir, names(t, dir)[0])
			b := must[[]byte](t)(os.ReadFile(path))
			must[struct{}](t)(struct{}{}, os.WriteFile(path, append(b, tail...), 0o600))
			f = open(t, FilesConfig{Dir: dir})
			n := must[int](t)(f.Put(t.Context(), records(t, 0, 5)))
			wantIDs(t, dir, records(t, 0, 5))
			if known := 3 + strings.Count(tail, line); n != known {
				t.Errorf("%d duplicates, want %d", n, known)
			}
		})
	}
}

// A line in the middle that lost bits costs itself only.
func TestDamageInTheMiddleStays(t *testing.T) {
	dir := t.TempDir()
	f := open(t, FilesConfig{Dir: dir})
	must[int](t)(f.Put(t.Context(), records(t, 0, 3)))
	f.Close()
	path := filepath.Join(dir, names(t, dir)[0])
	b := must[[]byte](t)(os.ReadFile(path))
	b[len(b)/2] = 0
	must[struct{}](t)(struct{}{}, os.WriteFile(path, b, 0o600))
	f = open(t, FilesConfig{Dir: dir})
	if n := must[int](t)(f.Put(t.Context(), records(t, 0, 3))); n != 2 {
		t.Errorf("%d duplicates, want 2", n)
	}
}

// After a failure nothing is acknowledged that is not durable, and nothing stands there twice when it comes again.
func TestDiskThatFails(t *testing.T) {
	for _, c := range []struct {
		call  string
		after int
		times int
	}{{"write", 0, 1}, {"write", 1, 1}, {"write", 1, 3}, {"sync", 0, 1}, {"sync", 1, 2}, {"sync", 2, 5}, {"create", 0, 2}} {
		for _, tear := range []int{0, 10, 90, 1 << 20} {
			dir := t.TempDir()
			d := &faulty{disk: disk{dir}, call: c.call, after: c.after, times: c.times, tear: tear}
			f := must[*Files](t)(openFiles(FilesConfig{Dir: dir, Delay: time.Microsecond}, d))
			failed := 0
			var extra []Record
			for i := range 4 {
				for {
					n, err := f.Put(t.Context(), records(t, i*3, i*3+3))
					if err == nil {
						if n != 0 {
							t.Errorf("%+v: %d duplicates of records that were refused", c, n)
						}
						break
					}
					if failed++; !errors.Is(err, errDisk) || failed > 20 {
						t.Fatalf("%+v: %v", c, err)
					}
					if n, err := f.Put(t.Context(), records(t, 100, 101)); err == nil && n == 0 { // less than what is left of the other
						extra = append(extra, record(t, 100))
					}
				}
			}
			f.Close()
			if wantIDs(t, dir, append(records(t, 0, 12), extra...)); failed == 0 {
				t.Errorf("%+v: nothing failed", c)
			}
		}
	}
}

// A file that cannot be cut after a failure is not written to, and does not count as kept, until it can.
func TestDiskThatCannotEvenCut(t *testing.T) {
	dir := t.TempDir()
	d := &faulty{disk: disk{dir}, tear: 1 << 20}
	f := must[*Files](t)(openFiles(FilesConfig{Dir: dir, Delay: time.Microsecond}, d))
	defer f.Close()
	must[int](t)(f.Put(t.Context(), records(t, 0, 1)))
	d.broken = true
	for range 3 {
		if _, err := f.Put(t.Context(), records(t, 0, 3)); !errors.Is(err, errDisk) {
			t.Fatalf("put: %v", err)
		}
	}
	d.broken = false
	if n := must[int](t)(f.Put(t.Context(), append(records(t, 0, 1), record(t, 9)))); n != 1 {
		t.Errorf("%d duplicates, want 1", n)
	}
	wantIDs(t, dir, append(records(t, 0, 1), record(t, 9)))
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 3, 1, 23, 59, 59, 0, time.UTC)
	f := open(t, FilesConfig{Dir: dir, MaxFile: MinFile, MaxTotal: 2 * MinFile, Now: func() time.Time { return now }})
	must[struct{}](t)(struct{}{}, os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("mine"), 0o600))
	put := func(from, to int) {
		t.Helper()
		must[int](t)(f.Put(t.Context(), records(t, from, to)))
	}
	put(0, 1)
	now = now.Add(time.Second)
	put(1, 2)
	now = now.Add(-time.Hour) // a clock that was set back begins no older file
	put(2, 3)
	f.Close()
	if got := strings.Join(names(t, dir), " "); got != "notes.txt stats-00000001-2026-03-01.ndjson stats-00000002-2026-03-02.ndjson stats-00000003-2026-03-01.ndjson" {
		t.Errorf("files %s", got)
	}
	f = open(t, FilesConfig{Dir: dir, MaxFile: MinFile, MaxTotal: 2 * MinFile, Now: func() time.Time { return now }})
	const many = 60000
	each := len(record(t, 0).JSON) + 1
	for i := 10; i < many; i += 2000 {
		put(i, i+2000)
		total, files := int64(0), 0
		for _, name := range names(t, dir) {
			st := must[os.FileInfo](t)(os.Stat(filepath.Join(dir, name)))
			if total += st.Size(); st.Size() > MinFile {
				t.Errorf("%s has %d bytes", name, st.Size())
			}
			files++
		}
		if total > 2*MinFile+4 || files > 6 {
			t.Fatalf("%d bytes in %d files", total, files)
		}
	}
	f.Close()
	os.Remove(filepath.Join(dir, "notes.txt"))
	if n := len(ids(t, dir)); n < MinFile/each || n*each > 2*MinFile {
		t.Errorf("%d records are left", n)
	}
}

// The window spans files, and forgets the oldest.
func TestWindow(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	c := FilesConfig{Dir: dir, Window: 10, Now: func() time.Time { return now }}
	f := open(t, c)
	for i := range 5 {
		must[int](t)(f.Put(t.Context(), records(t, i*5, i*5+5)))
		now = now.Add(24 * time.Hour)
	}
	for range 2 {
		if n := must[int](t)(f.Put(t.Context(), records(t, 15, 25))); n != 10 {
			t.Errorf("%d duplicates of the newest 10", n)
		}
		f.Close()
		f = open(t, c)
	}
	if n := must[int](t)(f.Put(t.Context(), records(t, 0, 5))); n != 0 {
		t.Errorf("%d duplicates of what was forgotten", n)
	}
	if len(f.w.ids.known) > 10 || len(f.w.ids.ring) > 10 {
		t.Error("the window grows")
	}
}

// A link in the place of the last file is not followed.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(t.TempDir(), "precious")
	must[struct{}](t)(struct{}{}, os.WriteFile(target, []byte("no newline"), 0o600))
	if err := os.Symlink(target, filepath.Join(dir, "stats-00000001-2026-03-01.ndjson")); errors.Is(err, fs.ErrPermission) || runtime.GOOS == "windows" {
		t.Skip("links take a privilege here")
	}
	if _, err := OpenFiles(FilesConfig{Dir: dir}); err == nil {
		t.Error("opened")
	}
	if b := must[[]byte](t)(os.ReadFile(target)); string(b) != "no newline" {
		t.Errorf("the target holds %q", b)
	}
}

// Many small bodies share syncs; none waits long; one alone does not wait at all.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d := &faulty{disk: disk{dir}}
		f := must[*Files](t)(openFiles(FilesConfig{Dir: dir}, d))
		begin := time.Now()
		must[int](t)(f.Put(t.Context(), records(t, 0, 1)))
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("the first one waited %s", waited)
		}
		const many = 500
		var all sync.WaitGroup
		for i := range many {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				from := time.Now()
				if _, err := f.Put(t.Context(), records(t, i+1, i+2)); err != nil {
					t.Error(err)
				}
				if waited := time.Since(from); waited > 100*time.Millisecond {
					t.Errorf("number %d waited %s", i, waited)
				}
			})
		}
		all.Wait()
		f.Close()
		wantIDs(t, dir, records(t, 0, many+1))
		if d.syncs > 8 {
			t.Errorf("%d syncs for %d bodies in half a second", d.syncs, many+1)
		}
	})
}

// Who sends faster than the disk keeps waits, and in the end is refused.
func TestBackPressure(t *testing.T) {
	dir := t.TempDir()
	d := &slowDisk{disk: disk{dir}, hold: make(chan struct{})}
	f := must[*Files](t)(openFiles(FilesConfig{Dir: dir, Delay: time.Microsecond}, d))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for i := range 4 * maxQueued {
		all.Go(func() {
			if _, err := f.Put(ctx, records(t, i, i+1)); !errors.Is(err, context.Canceled) {
				t.Errorf("put: %v", err)
			}
		})
	}
	for began := time.Now(); len(f.queue) < maxQueued && time.Since(began) < time.Minute; {
		time.Sleep(time.Millisecond)
	}
	cancel()
	all.Wait()
	if n := len(f.queue); n != maxQueued {
		t.Errorf("%d bodies wait", n)
	}
	close(d.hold)
	f.Close()
	if _, err := f.Put(t.Context(), records(t, 0, 1)); err == nil {
		t.Error("a closed intake takes records")
	}
}

type slowDisk struct {
	disk
	hold chan struct{}
}

func (d *slowDisk) create(name string) (file, error) {
	<-d.hold
	return d.disk.create(name)
}

func TestConfigOfFiles(t *testing.T) {
	for _, c := range []FilesConfig{{}, {Dir: "d", MaxFile: 1}, {Dir: "d", MaxTotal: 1}, {Dir: "d", Window: -1}, {Dir: "d", Delay: time.Hour}} {
		if f, err := OpenFiles(c); err == nil {
			f.Close()
			t.Errorf("%+v accepted", c)
		}
	}
	if _, err := open(t, FilesConfig{Dir: t.TempDir()}).Put(t.Context(), []Record{{ID: "../x"}}); err == nil {
		t.Error("an id that is none was taken")
	}
}

func BenchmarkFiles(b *testing.B) {
	f := must[*Files](b)(OpenFiles(FilesConfig{Dir: b.TempDir()}))
	defer f.Close()
	next := make(chan int, 1)
	next <- 0
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			n := <-next
			next <- n + 1
			if _, err := f.Put(b.Context(), records(b, n, n+1)); err != nil {
				b.Error(err)
			}
		}
	})
}
