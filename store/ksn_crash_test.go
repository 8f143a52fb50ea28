package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/ksn/protocol"
)

// A write is a change of what clients keep that can be broken at each of its calls. Made twice it comes to the same.
type write struct {
	name    string
	prepare func(s *Store) error // nil for none
	change  func(s *Store) error
}

func both(f ...func(s *Store) error) func(s *Store) error {
	return func(s *Store) error {
		for _, f := range f {
			if err := f(s); err != nil {
				return err
			}
		}
		return nil
	}
}

func remember(state string) func(*Store) error {
	return func(s *Store) error {
		var v remembered
		return s.UpdateKSN(&v, func(bool) error { v.State = state; return nil })
	}
}

func rememberProxy(state string) func(*Store) error {
	return func(s *Store) error {
		var v remembered
		return s.UpdateKSNProxy(&v, func(bool) error { v.State = state; return nil })
	}
}

func deferTwo(s *Store) error {
	return s.Defer([]Deferred{{Key: objectKey(1), Path: "/a", Since: day(1)}, {Key: objectKey(2), Path: "/b", Since: day(2)}})
}

func spool(record string) func(*Store) error {
	return func(s *Store) error {
		_, err := s.Spool([]byte(record), 100)
		return err
	}
}

func putNetwork(b string) func(*Store) error {
	return func(s *Store) error { return s.PutNetwork(protocol.Private, []byte(b)) }
}

func putOverrides(n ...int) func(*Store) error {
	return func(s *Store) error {
		return s.UpdateOverrides(func([]Override) (list []Override, _ error) {
			for _, n := range n {
				list = append(list, override(n))
			}
			return list, nil
		})
	}
}

func putCache(round int) func(*Store) error {
	return func(s *Store) error { return s.WriteCache(cached(0, 20, round), nil) }
}

func damage(path func(*Store) string) func(*Store) error {
	return func(s *Store) error { return os.WriteFile(path(s), []byte(strings.Repeat("garbage!", 4096)), 0o600) }
}

var writes = []write{
	{"remember first", nil, remember("new")},
	{"remember", remember("old"), remember("new")},
	{"remember in the place of damage", damage((*Store).statePath), remember("new")},
	{"remember what a proxy counted", both(remember("of the client"), rememberProxy("old")), rememberProxy("new")},
	{"defer first", nil, deferTwo},
	{"defer", deferTwo, func(s *Store) error { return s.Defer([]Deferred{{Key: objectKey(1), Path: "/a", Tries: 1}}) }},
	{"undefer", deferTwo, func(s *Store) error {
		return s.Undefer([]Deferred{{Key: objectKey(1), Path: "/a"}, {Key: objectKey(2), Path: "/b"}})
	}},
	{"spool", spool("old"), spool("new")},
	{"spool and drop", spool(strings.Repeat("o", 60)), spool(strings.Repeat("n", 60))},
	{"unspool", both(spool("old"), spool("new")), func(s *Store) error {
		list, err := s.Spooled(0)
		if err != nil || len(list) == 0 {
			return err
		}
		return s.Unspool([]uint64{list[0].ID, list[len(list)-1].ID})
	}},
	{"clear the spool", both(spool("old"), spool("new")), (*Store).ClearSpool},
	{"put the first network", nil, putNetwork("new")},
	{"put a network without a folder", func(s *Store) error { return os.Remove(s.ksnDir()) }, putNetwork("new")},
	{"put a network", putNetwork("old"), putNetwork("new")},
	{"remove a network", putNetwork("old"), func(s *Store) error { return s.RemoveNetwork(protocol.Private) }},
	{"make the first override", nil, putOverrides(1)},
	{"change overrides", putOverrides(1, 2), putOverrides(2, 3)},
	{"begin the cache", nil, putCache(1)},
	{"write the cache", putCache(0), putCache(1)},
	{"write in the place of a damaged cache", damage((*Store).cachePath), putCache(1)},
	{"clear the cache", putCache(0), (*Store).ClearCache},
}

// kept describes all that clients keep. What is spooled twice counts once.
func kept(t *testing.T, s *Store) string {
	t.Helper()
	var v remembered
	var out []string
	add := func(what any, err error) {
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(what))
	}
	_, err := s.ReadKSN(&v)
	add(v, err)
	_, err = s.ReadKSNProxy(&v)
	add(v, err)
	list, err := s.DeferredObjects(0)
	add(list, err)
	spooled, err := s.Spooled(0)
	var records []string
	for _, p := range spooled {
		records = append(records, string(p.Record))
	}
	add(slices.Compact(records), err)
	b, _, err := s.Network(protocol.Private)
	add(string(b), err)
	overrides, err := s.Overrides()
	add(overrides, err)
	err = s.ReadCache(func(e CacheEntry) bool { out = append(out, fmt.Sprint(e)); return true })
	add("", err)
	return strings.Join(out, "\n")
}

// tidy cleans and demands that no file without a reason is left.
func tidy(t *testing.T, s *Store, what string) {
	t.Helper()
	locked(t, s, func() { must(t, s.Clean()) })
	for _, name := range tree(t, s) {
		if !slices.Contains([]string{"settings.json", "settings.lock", "update.lock", "state.db", "state.db.damaged", "cache.db", "overrides.json", "ksn/private.json"}, name) {
			t.Errorf("%s: leftover file %s", what, name)
		}
	}
}

// prepared makes a state folder as a write finds it, and tells what is kept before and after that write.
func prepared(t *testing.T, w write, o Options) (dir, before, after string) {
	t.Helper()
	dir = memoryDir(t)
	s, err := Create(filepath.Join(dir, "prepared"), o)
	must(t, err)
	if w.prepare != nil {
		must(t, w.prepare(s))
	}
	before = kept(t, s)
	must(t, os.CopyFS(filepath.Join(dir, "done"), os.DirFS(s.dir)))
	done, err := Open(filepath.Join(dir, "done"), o)
	must(t, err)
	must(t, w.change(done))
	if after = kept(t, done); after == before {
		t.Fatal("the write changes nothing")
	}
	must(t, w.change(done))
	if again := kept(t, done); again != after {
		t.Fatalf("made twice it comes to\n%s\nand not to\n%s", again, after)
	}
	return s.dir, before, after
}

// TestEveryCallOfAWriteFails is TestEveryCallFails for what clients keep.
func TestEveryCallOfAWriteFails(t *testing.T) {
	o := Options{Now: func() time.Time { return day(100) }}
	for _, w := range writes {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			base, before, after := prepared(t, w, o)
			breakWrite := func(f fault) int {
				what := fmt.Sprintf("%+v", f)
				dir := memoryDir(t)
				defer os.RemoveAll(dir)
				must(t, os.CopyFS(filepath.Join(dir, "state"), os.DirFS(base)))
				files := &faultFiles{fault: f}
				broken, err := Open(filepath.Join(dir, "state"), Options{Now: o.Now, files: files})
				must(t, err)
				failure := w.change(broken)
				s, err := Open(broken.dir, o)
				must(t, err)
				switch got := kept(t, s); {
				case got == after:
				case failure == nil:
					t.Fatalf("%s: no error, and kept is\n%s", what, got)
				case got != before:
					t.Fatalf("%s: kept is\n%s", what, got)
				}
				if failure != nil && !errors.Is(failure, ErrStorage) {
					t.Errorf("%s: %v does not match ErrStorage", what, failure)
				}
				must(t, w.change(s))
				if got := kept(t, s); got != after {
					t.Fatalf("%s: made again, kept is\n%s", what, got)
				}
				tidy(t, s, what)
				return files.calls
			}
			calls := breakWrite(fault{at: 1 << 30})
			if calls < 1 {
				t.Fatal("the write made no calls")
			}
			for n := range calls {
				for _, f := range []fault{{n, false, false}, {n, true, false}, {n, false, true}, {n, true, true}} {
					breakWrite(f)
				}
			}
			t.Logf("%d calls, %d cells", calls, 4*calls)
		})
	}
}

// emptied is what is kept where nothing was.
func emptied(t *testing.T, o Options) string {
	t.Helper()
	dir := memoryDir(t)
	defer os.RemoveAll(dir)
	s, err := Create(filepath.Join(dir, "state"), o)
	must(t, err)
	return kept(t, s)
}

// TestPowerCutInAWrite is TestPowerCut for what clients keep. Of the cache, which is not synced, nothing but its removal is promised
// (TestCacheAfterPowerCut has the rest).
func TestPowerCutInAWrite(t *testing.T) {
	o := Options{Now: func() time.Time { return day(100) }}
	for _, w := range writes {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			base, before, after := prepared(t, w, o)
			cache := strings.Contains(w.name, "cache") && w.name != "clear the cache"
			nothing := emptied(t, o)
			for n := 0; ; n++ {
				dir := memoryDir(t)
				must(t, os.CopyFS(filepath.Join(dir, "state"), os.DirFS(base)))
				lossy := newLossy(t, filepath.Join(dir, "state"), n)
				if ksn := filepath.Join(lossy.root, "ksn"); lossy.names[ksn] == nil { // the write makes it
					lossy.names[ksn], lossy.durable[ksn] = map[string]int{}, map[string]int{}
				}
				broken, err := Open(lossy.root, Options{Now: o.Now, files: lossy})
				must(t, err)
				failure := w.change(broken)
				for i, ahead := range []func(string) bool{
					func(string) bool { return false },
					func(string) bool { return true },
					func(folder string) bool { return folder == "." },
					func(folder string) bool { return folder == "ksn" },
				} {
					what := fmt.Sprintf("cut after %d calls, way %d", n, i)
					left := filepath.Join(dir, fmt.Sprint(i))
					lossy.after(t, left, ahead)
					s, err := Open(left, o)
					must(t, err)
					switch got := kept(t, s); {
					case got == after:
					case failure == nil && !cache:
						t.Fatalf("%s: the write said that it is done, and kept is\n%s", what, got)
					case got != before && !(cache && got == nothing):
						t.Fatalf("%s: kept is\n%s", what, got)
					}
					must(t, w.change(s))
					if got := kept(t, s); got != after {
						t.Fatalf("%s: made again, kept is\n%s", what, got)
					}
					tidy(t, s, what)
				}
				os.RemoveAll(dir)
				if failure == nil && lossy.left > 0 {
					break
				}
				if n > 50 {
					t.Fatal("the write does not end")
				}
			}
		})
	}
}
