package matcher

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/store"
)

// A device is a store whose CURRENT the test sets: only a signed release may be made current for real.
type device struct {
	*store.Store
	mu      sync.Mutex
	current store.Current
	err     error         // of Current
	slow    chan struct{} // when set, layers open once it is closed
	files   []*store.LayerFile
}

// openings is how many layers were opened so far.
func (d *device) openings() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.files)
}

// stillOpen is how many of them are held by somebody. Call it last: it holds them itself.
func (d *device) stillOpen() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, f := range d.files {
		if f.Retain() {
			n++
		}
	}
	return n
}

func newDevice(t testing.TB) *device {
	t.Helper()
	s, err := store.Create(filepath.Join(t.TempDir(), "state"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lock, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Unlock() })
	return &device{Store: s, err: &store.Error{Kind: store.ErrNoDatabase, Path: "state", What: "empty"}}
}

func (d *device) Current() (store.Current, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current, d.err
}

func (d *device) OpenLayer(digest dbformat.Digest, l dbformat.Layer) (*store.LayerFile, error) {
	d.mu.Lock()
	slow := d.slow
	d.mu.Unlock()
	if slow != nil {
		<-slow
	}
	f, err := d.Store.OpenLayer(digest, l)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.files = append(d.files, f)
	}
	return f, err
}

// install writes the layers of a generation and makes it current; rest may be nil.
func (d *device) install(t testing.TB, version uint64, light, rest *dbformat.MemLayer) store.Generation {
	t.Helper()
	g := store.Generation{Version: version, Light: d.write(t, light)}
	if rest != nil {
		ref := d.write(t, rest)
		g.Rest = &ref
	}
	d.set(g, nil)
	return g
}

func (d *device) set(g store.Generation, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current, d.err = store.Current{Generation: g}, err
}

func (d *device) write(t testing.TB, m *dbformat.MemLayer) store.LayerRef {
	t.Helper()
	w, err := d.NewLayer(m.Header().Layer)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for i := range m.Header().Sections {
		s := &m.Header().Sections[i]
		for j := range s.Blocks {
			b, err := m.Block(i, j)
			if err == nil {
				err = w.PutBlock(s.ID, j, b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	ref, err := w.Finish(m.Header(), m.Header().Digest())
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (d *device) file(l store.LayerRef) string {
	return filepath.Join(d.Dir(), "db", "layers", l.Digest.String()+".db")
}

func (d *device) indexes(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(d.Dir(), "db", "index", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// noIndex cannot be written.
type noIndex struct{ *device }

func (noIndex) PutIndex(string, iter.Seq[[]byte]) error { return os.ErrPermission }

func openMatcher(t testing.TB, from generations, o Options, recheck time.Duration) *Matcher {
	t.Helper()
	m, err := open(from, o, recheck)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// release has one record of content in hash/sha256 and enough others to fill some lines.
func release(t testing.TB, content string) (light, rest *dbformat.MemLayer) {
	records := []dbformat.Record{listed(dbformat.SHA256, content, true, "Test."+content)}
	for i := range 500 {
		records = append(records, listed(dbformat.SHA256, fmt.Sprint("other", i, content), true, "Test.Other"))
	}
	return generation(t, sections{"hash/sha256": records})
}

func nameOf(t testing.TB, m *Matcher, content string) string {
	t.Helper()
	r := listed(dbformat.SHA256, content, true, "")
	got, err := m.Lookup(dbformat.SHA256, r.Hash[:], int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return got.Name
}

func TestOpenWithoutDatabase(t *testing.T) {
	if _, err := Open(newDevice(t).Store, Options{}); !errors.Is(err, store.ErrNoDatabase) {
		t.Fatalf("error %v, want ErrNoDatabase", err)
	}
}

func TestMatcherFollowsCurrent(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	first := d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{}, -1)
	if nameOf(t, m, "one") != "Test.one" || m.Generation().Version != 1 {
		t.Fatal("the first release is not in use")
	}
	light, rest = release(t, "two")
	d.install(t, 2, light, rest)
	if err := m.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if nameOf(t, m, "one") != "" || nameOf(t, m, "two") != "Test.two" || m.Generation().Version != 2 {
		t.Fatal("the second release is not in use")
	}
	// Full to light, by an ordinary call and without Refresh.
	d.install(t, 2, light, nil)
	for end := time.Now().Add(time.Minute); !strings.HasPrefix(nameOf(t, m, "two"), "Prefix.SHA256."); {
		if time.Now().After(end) {
			t.Fatal("the light variant never came into use")
		}
	}
	// A rollback, and a release with layers that are in use: the number changes, nothing is opened.
	d.set(first, nil)
	if err := m.Refresh(t.Context()); err != nil || nameOf(t, m, "one") != "Test.one" {
		t.Fatal("the rollback was not followed", err)
	}
	before := d.openings()
	first.Version = 7
	d.set(first, nil)
	if err := m.Refresh(t.Context()); err != nil || m.Generation().Version != 7 || d.openings() != before {
		t.Fatalf("release with the same layers: version %d, %d layers opened, %v", m.Generation().Version, d.openings()-before, err)
	}
}

// CURRENT is not looked at for every object.
func TestMatcherLooksNowAndThen(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{}, time.Hour)
	light, rest = release(t, "two")
	d.install(t, 2, light, rest)
	if nameOf(t, m, "one") != "Test.one" {
		t.Fatal("CURRENT was read before its time")
	}
	m.due.Store(true)
	for end := time.Now().Add(time.Minute); nameOf(t, m, "two") == ""; {
		if time.Now().After(end) {
			t.Fatal("CURRENT was not read when it was time")
		}
		m.due.Store(true)
	}
}

// counting counts how often CURRENT is read.
type counting struct {
	*device
	looks atomic.Int64
}

func (c *counting) Current() (store.Current, error) {
	c.looks.Add(1)
	return c.device.Current()
}

// A matcher in use reads CURRENT about ten times a second, one that nobody asks anything does not, and nothing of it is left after Close.
func TestMatcherLooksWhileItIsInUse(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 1, light, rest)
	synctest.Test(t, func(t *testing.T) {
		c := &counting{device: d}
		m := openMatcher(t, c, Options{}, recheckDefault)
		c.looks.Store(0)
		for range 1000 {
			time.Sleep(time.Millisecond)
			nameOf(t, m, "one")
		}
		if n := c.looks.Load(); n < 9 || n > 10 {
			t.Errorf("CURRENT was read %d times in a second, want about 10", n)
		}
		time.Sleep(time.Hour)
		before := c.looks.Load()
		time.Sleep(time.Hour)
		if m.timer.Stop() || c.looks.Load() != before {
			t.Errorf("nothing was asked in an hour: a timer was left, or CURRENT was read %d times", c.looks.Load()-before)
		}
		for range 3 {
			nameOf(t, m, "one")
		}
		if n := c.looks.Load() - before; n != 1 {
			t.Errorf("after an idle hour CURRENT was read %d times by three look-ups, want once", n)
		}
		m.Close()
		m.due.Store(true)
		if _, err := m.Lookup(dbformat.SHA256, make([]byte, 32), 1); !errors.Is(err, ErrClosed) || m.timer.Stop() {
			t.Errorf("a timer is left after Close, or %v", err)
		}
	})
}

// While a generation takes its time to open, look-ups go on with the old one.
func TestNoLookupWaitsForAnUpdate(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{}, -1)
	light, rest = release(t, "two")
	d.install(t, 2, light, rest)
	slow := make(chan struct{})
	d.mu.Lock()
	d.slow = slow
	d.mu.Unlock()
	for range 3 {
		if nameOf(t, m, "one") != "Test.one" {
			t.Fatal("the old generation is not in use")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Refresh(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Refresh with a context that is done: %v", err)
	}
	close(slow)
	if err := m.Refresh(t.Context()); err != nil || nameOf(t, m, "two") != "Test.two" {
		t.Fatal("the new generation is not in use", err)
	}
}

func TestOldGenerationStaysWhenTheNewOneCannotBeOpened(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{}, -1)
	light, rest = release(t, "two")
	second := d.install(t, 2, light, rest)
	path := d.file(*second.Rest)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := m.Refresh(t.Context()); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "release 2") || !strings.Contains(err.Error(), path) {
		t.Fatalf("error %v, want damage that names the release and the file", err)
	}
	if nameOf(t, m, "one") != "Test.one" || m.Err() == nil || m.Generation().Version != 1 {
		t.Fatal("the old generation is not in use, or hides the problem")
	}
	opened := d.openings()
	nameOf(t, m, "one")
	if d.openings() != opened {
		t.Fatal("a generation that just failed was tried again at once")
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if err := m.Refresh(t.Context()); err != nil || nameOf(t, m, "two") != "Test.two" || m.Err() != nil {
		t.Fatal("healed, but not in use:", err)
	}
	d.set(second, errors.New("disk is gone"))
	if err := m.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "disk is gone") || nameOf(t, m, "two") != "Test.two" {
		t.Fatalf("with CURRENT unreadable: %v", err)
	}
}

// An update that replaces the generation between reading CURRENT and opening its files is followed.
func TestOpenFollowsAnUpdateInItsMiddle(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	first := d.install(t, 1, light, rest)
	light, rest = release(t, "two")
	d.install(t, 2, light, rest)
	if err := os.Remove(d.file(first.Light)); err != nil {
		t.Fatal(err)
	}
	m := openMatcher(t, &racing{device: d, stale: first}, Options{}, time.Hour)
	if nameOf(t, m, "two") != "Test.two" {
		t.Fatal("the generation that replaced the first is not in use")
	}
}

// racing gives an outdated CURRENT once.
type racing struct {
	*device
	stale store.Generation
	asked atomic.Bool
}

func (r *racing) Current() (store.Current, error) {
	if r.asked.CompareAndSwap(false, true) {
		return store.Current{Generation: r.stale}, nil
	}
	return r.device.Current()
}

func TestClosedMatcher(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{}, -1)
	m.Close()
	m.Close()
	if _, err := m.Lookup(dbformat.SHA256, make([]byte, 32), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("Lookup: %v", err)
	}
	if r := m.ScanFile(t.Context(), "x"); !errors.Is(r.Err, ErrClosed) || r.Verdict != Failed {
		t.Errorf("ScanFile: %+v", r)
	}
	if r := m.ScanReader(t.Context(), strings.NewReader("")); !errors.Is(r.Err, ErrClosed) {
		t.Errorf("ScanReader: %+v", r)
	}
	if err := m.Scan(t.Context(), slices.Values([]string{"."}), ScanOptions{}, func(Result) {}); !errors.Is(err, ErrClosed) {
		t.Errorf("Scan: %v", err)
	}
	if err := m.Refresh(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Refresh: %v", err)
	}
	if m.Generation().Version != 0 {
		t.Error("a closed matcher has a generation")
	}
}

// Look-ups and scans from many goroutines while generations are swapped: each answer is that of
// one generation, nothing fails, and all files are let go of in the end.
func TestManyReadersDuringSwaps(t *testing.T) {
	d := newDevice(t)
	// Both releases know both contents, under names that tell the release.
	var gens []store.Generation
	for _, v := range []string{"one", "two"} {
		records := []dbformat.Record{listed(dbformat.SHA256, "a", true, "Test.A."+v), listed(dbformat.SHA256, "b", true, "Test.B."+v)}
		for i := range 300 {
			records = append(records, listed(dbformat.SHA256, fmt.Sprint(i, v), true, ""))
		}
		light, rest := generation(t, sections{"hash/sha256": records, "whole/md5": {listed(dbformat.MD5, "a", true, "Test.A."+v)}})
		gens = append(gens, d.install(t, 1, light, rest))
	}
	m := openMatcher(t, d, Options{}, -1)
	dir := t.TempDir()
	for i := range 40 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), []string{"a", "b"}[i%2])
	}
	a := listed(dbformat.SHA256, "a", true, "")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var lookups, files atomic.Int64
	bad := func(r Result) bool {
		return r.Verdict != Malicious || r.Err != nil || !strings.HasPrefix(r.Name, "Test.")
	}
	for range 6 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r, err := m.Lookup(dbformat.SHA256, a.Hash[:], 1); bad(r) {
					t.Errorf("look-up: %+v, %v", r, err)
					return
				}
				lookups.Add(1)
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := m.Scan(t.Context(), slices.Values([]string{dir}), ScanOptions{Jobs: 2}, func(r Result) {
					files.Add(1)
					if bad(r) {
						t.Errorf("scan: %+v", r)
					}
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	const swaps = 100
	// On a busy machine the readers may need more than these: they have to be in the middle of some.
	for i := 0; i < swaps || (lookups.Load() < swaps || files.Load() < 40) && i < 100*swaps; i++ {
		d.set(gens[i%2], nil)
		if err := m.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	if lookups.Load() < swaps || files.Load() < 40 {
		t.Errorf("%d look-ups and %d files during %d swaps: too few to mean anything", lookups.Load(), files.Load(), swaps)
	}
	last := m.now.Load()
	m.Close()
	if last.index.Retain() {
		t.Error("the index is still open")
	}
	if opened, n := d.openings(), d.stillOpen(); n != 0 || opened < swaps {
		t.Errorf("%d of %d layer files are still open", n, opened)
	}
}

// Whoever closes a matcher in the middle of a swap finds nothing open behind it.
func TestCloseWhileOpening(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{}, time.Hour)
	light, rest = release(t, "two")
	d.install(t, 2, light, rest)
	slow := make(chan struct{})
	d.mu.Lock()
	d.slow = slow
	d.mu.Unlock()
	if m.check(0, true) == nil {
		t.Fatal("the second release is not being opened")
	}
	time.AfterFunc(20*time.Millisecond, func() { close(slow) })
	m.Close()
	if opened, n := d.openings(), d.stillOpen(); n != 0 || opened != 4 {
		t.Errorf("%d of %d layer files are still open, want 0 of 4", n, opened)
	}
}

func TestNoAllocationOnAMiss(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	d.install(t, 1, light, rest)
	m := openMatcher(t, d, Options{PUA: true}, time.Hour)
	sum := make([]byte, 32)
	n := byte(0)
	got := testing.AllocsPerRun(1000, func() {
		n++
		sum[0], sum[9] = n, n
		if r, err := m.Lookup(dbformat.SHA256, sum, 100); r.Verdict != Clean || err != nil {
			t.Fatalf("%+v, %v", r, err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations for each look-up that finds nothing, want 0", got)
	}
}
