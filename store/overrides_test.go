package store

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
)

// override is the n-th of the tests.
func override(n int) Override {
	return Override{Key: objectKey(n), Verdict: protocol.Trusted, Object: fmt.Sprintf("tools/%d.exe", n), Note: fmt.Sprintf("ticket %d", n),
		Since: dbformat.At(day(n % 1000))}
}

func TestOverrides(t *testing.T) {
	s := newMemoryStore(t)
	if list, err := s.Overrides(); err != nil || list != nil {
		t.Fatalf("without a file: %v, %v", list, err)
	}
	add := func(more ...Override) func([]Override) ([]Override, error) {
		return func(list []Override) ([]Override, error) { return append(list, more...), nil }
	}
	must(t, s.UpdateOverrides(add()))
	if _, err := os.Lstat(s.overridesPath()); err == nil {
		t.Error("no overrides made a file")
	}
	md5 := Override{Key: "file-md5:" + strings.Repeat("0a", 16), Verdict: protocol.Untrusted}
	must(t, s.UpdateOverrides(add(override(5), md5, override(3))))
	list, err := s.Overrides()
	must(t, err)
	md5.Since = dbformat.At(day(100)) // the store's clock
	if want := []Override{md5, override(3), override(5)}; !reflect.DeepEqual(list, want) {
		t.Errorf("overrides are %+v, want %+v", list, want)
	}
	stop := errors.New("stop")
	if err := s.UpdateOverrides(func([]Override) ([]Override, error) { return nil, stop }); err != stop {
		t.Errorf("error is %v, want that of the change", err)
	}
	must(t, s.UpdateOverrides(func(list []Override) ([]Override, error) { return slices.Delete(list, 0, 2), nil }))
	if list, err := s.Overrides(); err != nil || !reflect.DeepEqual(list, []Override{override(5)}) {
		t.Errorf("left are %+v, %v", list, err)
	}
	must(t, s.UpdateOverrides(func([]Override) ([]Override, error) { return nil, nil }))
	if list, err := s.Overrides(); err != nil || len(list) > 0 {
		t.Errorf("removed, and there are %+v, %v", list, err)
	}
}

// A change that changes nothing is done only when what is there is durable: the process that wrote it may have died before.
func TestUnchangedOverridesAreSynced(t *testing.T) {
	s := newMemoryStore(t)
	must(t, putOverrides(1)(s))
	broken, err := Open(s.dir, Options{files: &faultFiles{}})
	must(t, err)
	requireError(t, putOverrides(1)(broken), ErrStorage, "cannot be synced")
}

// What cannot be is refused, and nothing changes.
func TestOverridesRefused(t *testing.T) {
	s := newMemoryStore(t)
	must(t, s.UpdateOverrides(func([]Override) ([]Override, error) { return []Override{override(1)}, nil }))
	change := func(f func(o *Override)) []Override {
		o := override(2)
		f(&o)
		return []Override{override(1), o}
	}
	many := make([]Override, MaxOverrides+1)
	for i := range many {
		many[i] = override(i)
	}
	for what, list := range map[string][]Override{
		"no key":         change(func(o *Override) { o.Key = "" }),
		"a short key":    change(func(o *Override) { o.Key = o.Key[:20] }),
		"no verdict":     change(func(o *Override) { o.Verdict = "" }),
		"unknown":        change(func(o *Override) { o.Verdict = protocol.Unknown }),
		"a long note":    change(func(o *Override) { o.Note = strings.Repeat("x", dbformat.MaxName+1) }),
		"a long object":  change(func(o *Override) { o.Object = strings.Repeat("x", dbformat.MaxName+1) }),
		"a hidden one":   change(func(o *Override) { o.Object = "a\u202eb" }),
		"a hidden note":  change(func(o *Override) { o.Note = "a\u202eb" }),
		"a long name":    change(func(o *Override) { o.Name = strings.Repeat("x", dbformat.MaxName+1) }),
		"a hidden name":  change(func(o *Override) { o.Signer = "a\u202eb" }),
		"a category":     change(func(o *Override) { o.Category = "Phishing!" }),
		"many users":     change(func(o *Override) { o.Popularity = 1 << 53 }),
		"a long ago":     change(func(o *Override) { t := dbformat.At(day(0).AddDate(-100, 0, 0)); o.FirstSeen = &t }),
		"a region":       change(func(o *Override) { o.Regions = []string{"de"} }),
		"a region twice": change(func(o *Override) { o.Regions = []string{"DE", "DE"} }),
		"regions":        change(func(o *Override) { o.Regions = regions(protocol.MaxRegions + 1) }),
		"one key twice":  change(func(o *Override) { o.Key = objectKey(1) }),
		"before its day": change(func(o *Override) { o.Since.Time = day(0).AddDate(-100, 0, 0) }),
		"too many":       many,
	} {
		err := s.UpdateOverrides(func([]Override) ([]Override, error) { return list, nil })
		if e := requireError(t, err, ErrSettings, ""); errors.Is(e, ErrStorage) || errors.Is(e, ErrDamaged) {
			t.Errorf("%s: a wrong value of the caller's counts as damage on disk", what)
		}
	}
	if list, err := s.Overrides(); err != nil || !reflect.DeepEqual(list, []Override{override(1)}) {
		t.Errorf("overrides are %+v, %v", list, err)
	}
}

// aboutMost is as much as can be known of an object besides.
func aboutMost(text string) OverrideAbout {
	seen := dbformat.At(day(1))
	return OverrideAbout{Name: text, Category: strings.Repeat("x", 32), FirstSeen: &seen, Popularity: maxPopularity, Signer: text, Regions: regions(protocol.MaxRegions)}
}

// regions are n different ones.
func regions(n int) (all []string) {
	for i := range n {
		all = append(all, "A"+string(rune('A'+i)))
	}
	return all
}

// What is known besides comes back as it was given, times in whole seconds.
func TestOverrideTellsWhatIsKnown(t *testing.T) {
	s := newMemoryStore(t)
	o, seen := override(1), dbformat.Time{Time: day(1).Add(time.Millisecond)}
	o.OverrideAbout = aboutMost("Name")
	o.FirstSeen = &seen
	must(t, s.UpdateOverrides(func([]Override) ([]Override, error) { return []Override{o, override(2)}, nil }))
	o.OverrideAbout = aboutMost("Name")
	if list, err := s.Overrides(); err != nil || !reflect.DeepEqual(list, []Override{o, override(2)}) {
		t.Errorf("overrides are %+v, %v", list, err)
	}
}

// As many as can be, with the longest keys and notes, fit into the file.
func TestMostOverrides(t *testing.T) {
	s := newMemoryStore(t)
	list := make([]Override, MaxOverrides)
	for i := range list {
		list[i] = override(i)
		list[i].Verdict, list[i].Note = protocol.PotentiallyUnwanted, strings.Repeat(`"`, dbformat.MaxName)
		list[i].Object, list[i].OverrideAbout = list[i].Note, aboutMost(list[i].Note)
	}
	must(t, s.UpdateOverrides(func([]Override) ([]Override, error) { return list, nil }))
	if got, err := s.Overrides(); err != nil || !reflect.DeepEqual(got, list) {
		t.Errorf("%d came back, %v", len(got), err)
	}
}

// TestDamagedOverrides: whatever lies in the place of overrides.json is named, and nothing takes its place unasked.
func TestDamagedOverrides(t *testing.T) {
	s := newMemoryStore(t)
	must(t, s.UpdateOverrides(func([]Override) ([]Override, error) { return []Override{override(1), override(2)}, nil }))
	good, err := os.ReadFile(s.overridesPath())
	must(t, err)
	text := string(good)
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown field", `"note"`, `"reason"`, `unknown field "reason"`},
		{"field of another case", `"verdict"`, `"Verdict"`, `field "Verdict"`},
		{"field twice", `"schema": 1,`, `"schema": 1, "schema": 1,`, `field "schema" stands twice`},
		{"a newer schema", `"schema": 1`, `"schema": 2`, "field schema is 2"},
		{"one key twice", objectKey(1), objectKey(2), "stands twice"},
		{"another verdict", `"trusted"`, `"good"`, `verdict "good"`},
		{"no time", `"2026-01-02T00:00:00Z"`, `"2026-01-02"`, "is not of the form"},
		{"cut", text[20:], "", "ends too early"},
		{"something after it", text, text + text, "something follows"},
		{"too long", text, text + strings.Repeat(" ", maxOverridesFile), "has more than"},
		{"empty", text, "", "ends too early"},
	} {
		doc := strings.Replace(text, c.old, c.new, 1)
		if doc == text {
			t.Fatalf("%s changes nothing", c.name)
		}
		must(t, os.WriteFile(s.overridesPath(), []byte(doc), 0o600))
		_, err := s.Overrides()
		for _, err := range []error{err, s.UpdateOverrides(func([]Override) ([]Override, error) { t.Error("called"); return nil, nil })} {
			e := requireError(t, err, ErrSettings, c.want)
			if !errors.Is(e, ErrStorage) || !errors.Is(e, ErrDamaged) || e.Path != s.overridesPath() || e.Remedy == "" {
				t.Errorf("%s: error is %+v", c.name, e)
			}
		}
	}
	must(t, os.Remove(s.overridesPath()))
	must(t, os.Mkdir(s.overridesPath(), 0o700))
	_, err = s.Overrides()
	requireError(t, err, ErrDamaged, "is not a regular file")
	must(t, os.Remove(s.overridesPath()))
	// A person who adds a line need not know the order.
	must(t, os.WriteFile(s.overridesPath(), []byte(strings.Replace(text, objectKey(1), objectKey(3), 1)), 0o600))
	if list, err := s.Overrides(); err != nil || len(list) != 2 || list[0].Key != objectKey(2) {
		t.Errorf("out of order: %+v, %v", list, err)
	}
}

// TestOverridesOfManyWriters: processes that change overrides at once lose no change.
func TestOverridesOfManyWriters(t *testing.T) {
	s := newMemoryStore(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 5 {
				err := tries(func() error {
					return s.UpdateOverrides(func(list []Override) ([]Override, error) { return append(list, override(10*i+j)), nil })
				})
				if err != nil {
					t.Error(err)
				}
				if _, err := s.Overrides(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if list, err := s.Overrides(); err != nil || len(list) != 20 {
		t.Errorf("%d overrides, %v", len(list), err)
	}
}
