package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
)

// remembered stands for what a client keeps.
type remembered struct {
	State  string         `json:"state"`
	Counts map[string]int `json:"counts,omitempty"`
}

// objectKey is the n-th key of the tests.
func objectKey(n int) string {
	k := protocol.Key{Type: protocol.FileSHA256}
	k.Sum[0], k.Sum[1], k.Sum[2] = byte(n>>16), byte(n>>8), byte(n)
	return k.String()
}

// tries calls f until no other process is in its way: on a slow machine that takes more than one.
func tries(f func() error) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		err := f()
		if err == nil || time.Now().After(end) || !errors.Is(err, ErrLocked) && !strings.Contains(err.Error(), "locked by another process") {
			return err
		}
	}
}

func TestKSNRecord(t *testing.T) {
	s := newMemoryStore(t)
	v := remembered{State: "not of the store"}
	if ok, err := s.ReadKSN(&v); ok || err != nil || v.State != "" {
		t.Fatalf("without a file: %v, %v, %+v", ok, err, v)
	}
	must(t, s.UpdateKSN(&v, func(ok bool) error {
		if ok || v.State != "" {
			t.Errorf("the first change finds %v, %+v", ok, v)
		}
		v.State, v.Counts = "enabled", map[string]int{"a": 1}
		return nil
	}))
	stale := remembered{Counts: map[string]int{"stale": 7}}
	must(t, s.UpdateKSN(&stale, func(ok bool) error {
		if !ok || stale.State != "enabled" || len(stale.Counts) != 1 {
			t.Errorf("the second change finds %v, %+v", ok, stale)
		}
		stale.Counts["a"]++
		return nil
	}))
	if ok, err := s.ReadKSN(&v); !ok || err != nil || v.State != "enabled" || v.Counts["a"] != 2 {
		t.Errorf("read %v, %v, %+v", ok, err, v)
	}
}

// What a proxy keeps and what a client keeps are two records.
func TestKSNProxyRecord(t *testing.T) {
	s := newMemoryStore(t)
	var v remembered
	must(t, s.UpdateKSN(&v, func(bool) error { v.State = "client"; return nil }))
	if ok, err := s.ReadKSNProxy(&v); ok || err != nil || v.State != "" {
		t.Errorf("a proxy finds %v, %v, %+v", ok, err, v)
	}
	must(t, s.UpdateKSNProxy(&v, func(ok bool) error {
		if ok {
			t.Errorf("the first change finds %+v", v)
		}
		v.State = "proxy"
		return nil
	}))
	if ok, err := s.ReadKSN(&v); !ok || err != nil || v.State != "client" {
		t.Errorf("a client finds %v, %v, %+v", ok, err, v)
	}
	if ok, err := s.ReadKSNProxy(&v); !ok || err != nil || v.State != "proxy" {
		t.Errorf("a proxy finds %v, %v, %+v", ok, err, v)
	}
}

// A record of another engine that does not fit is absent as a whole, and the next change takes its place.
func TestKSNRecordOfAnotherShape(t *testing.T) {
	s := newMemoryStore(t)
	var other struct {
		State  string `json:"state"`
		Counts []int  `json:"counts"`
	}
	must(t, s.UpdateKSN(&other, func(bool) error { other.State, other.Counts = "other", []int{1}; return nil }))
	var v remembered
	if ok, err := s.ReadKSN(&v); ok || err != nil || v.State != "" {
		t.Errorf("read %v, %v, %+v", ok, err, v)
	}
	must(t, s.UpdateKSN(&v, func(ok bool) error {
		if ok || v.State != "" {
			t.Errorf("the change finds %v, %+v", ok, v)
		}
		v.State = "ours"
		return nil
	}))
	if ok, err := s.ReadKSN(&v); !ok || err != nil || v.State != "ours" {
		t.Errorf("read %v, %v, %+v", ok, err, v)
	}
}

// A change that fails, panics or makes too long a record changes nothing, and what it says is not taken for damage of the file.
func TestKSNChangesThatFail(t *testing.T) {
	s := newMemoryStore(t)
	must(t, s.AppendHistory(Event{Kind: "update"}))
	var v remembered
	must(t, s.UpdateKSN(&v, func(bool) error { v.State = "kept"; return nil }))
	stop := errors.New("stop")
	for _, own := range []error{stop, damaged("elsewhere", "is damaged")} {
		if err := s.UpdateKSN(&v, func(bool) error { v.State = "lost"; return own }); err != own {
			t.Errorf("error is %v, want %v", err, own)
		}
	}
	if err := s.UpdateKSN(&v, func(bool) error { v.State = strings.Repeat("x", maxRecord); return nil }); err == nil || !strings.Contains(err.Error(), "the limit is 65536") {
		t.Errorf("a long record: %v", err)
	}
	func() {
		defer func() {
			if r := recover(); r != stop {
				t.Errorf("the panic is %v", r)
			}
		}()
		_ = s.UpdateKSN(&v, func(bool) error { panic(stop) })
	}()
	for _, wrong := range []any{nil, v, (*remembered)(nil)} {
		if err := s.UpdateKSN(wrong, func(bool) error { t.Error("called"); return nil }); err == nil {
			t.Errorf("%T was taken", wrong)
		}
		if _, err := s.ReadKSN(wrong); err == nil {
			t.Errorf("%T was read into", wrong)
		}
	}
	if ok, err := s.ReadKSN(&v); !ok || err != nil || v.State != "kept" {
		t.Errorf("read %v, %v, %+v", ok, err, v)
	}
	if events, err := s.History(0); err != nil || len(events) != 1 {
		t.Errorf("history is %+v, %v", events, err)
	}
}

// Nothing is written where nothing changes: clients ask for a change at every look-up.
func TestKSNUnchangedIsNotWritten(t *testing.T) {
	s := newMemoryStore(t)
	var v remembered
	set := func(bool) error { v.State = "same"; return nil }
	must(t, s.UpdateKSN(&v, set))
	before, err := os.ReadFile(s.statePath())
	must(t, err)
	must(t, s.UpdateKSN(&v, set))
	must(t, s.Undefer([]Deferred{{Key: objectKey(1), Path: "/a"}}))
	must(t, s.Unspool([]uint64{7}))
	must(t, s.ClearSpool())
	after, err := os.ReadFile(s.statePath())
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("state.db was written")
	}
}

// TestDamagedKSN flips bits of state.db, above all where pages begin: what is remembered, queued or spooled reads as it was or is absent, and
// everything can be written again.
func TestDamagedKSN(t *testing.T) {
	s := newMemoryStore(t)
	var v remembered
	must(t, s.UpdateKSN(&v, func(bool) error { v.State = "enabled"; return nil }))
	must(t, s.Defer([]Deferred{{Key: objectKey(1), Path: "/a", Name: "Test.A", Size: 7, Since: day(3), Tries: 2}}))
	_, err := s.Spool([]byte("record"), 1<<20)
	must(t, err)
	whole, err := os.ReadFile(s.statePath())
	must(t, err)
	noticed := 0
	for i := range whole {
		if i%boltPageSize > 128 && i%13 != 0 {
			continue
		}
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		must(t, os.WriteFile(s.statePath(), b, 0o600))
		ok, err := s.ReadKSN(&v)
		list, err2 := s.DeferredObjects(0)
		spooled, err3 := s.Spooled(0)
		if err := errors.Join(err, err2, err3); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("flip at %d: %v", i, err)
		}
		if want := (remembered{State: "enabled"}); ok && v.State != want.State || !ok && v.State != "" {
			t.Fatalf("flip at %d: remembered is %v, %+v", i, ok, v)
		}
		for _, d := range list {
			if d != (Deferred{Key: objectKey(1), Path: "/a", Name: "Test.A", Size: 7, Since: day(3), Tries: 2}) {
				t.Fatalf("flip at %d: queued is %+v", i, d)
			}
		}
		for _, p := range spooled {
			if string(p.Record) != "record" {
				t.Fatalf("flip at %d: spooled is %q", i, p.Record)
			}
		}
		if ok && len(list) == 1 && len(spooled) == 1 {
			continue
		}
		noticed++
		must(t, s.UpdateKSN(&v, func(bool) error { v.State = "again"; return nil }))
		if ok, err := s.ReadKSN(&v); !ok || err != nil || v.State != "again" {
			t.Fatalf("flip at %d: then %v, %v, %+v", i, ok, err, v)
		}
		must(t, s.Defer([]Deferred{{Key: objectKey(2), Path: "/b"}}))
		list, err = s.DeferredObjects(0)
		must(t, err)
		_, err = s.Spool([]byte("second"), 1<<20)
		must(t, err)
		spooled, err = s.Spooled(0)
		must(t, err)
		if len(list) == 0 || list[len(list)-1].Path != "/b" || len(spooled) == 0 || string(spooled[len(spooled)-1].Record) != "second" {
			t.Fatalf("flip at %d: then %+v, %+v", i, list, spooled)
		}
	}
	if noticed < 100 {
		t.Errorf("only %d flips were noticed", noticed)
	}
	t.Logf("%d flips were noticed", noticed)
}

// TestKSNOfManyWriters: several processes (several stores stand for them) that count at once lose nothing.
func TestKSNOfManyWriters(t *testing.T) {
	s := newMemoryStore(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			s, err := Open(s.dir, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			for j := range 5 {
				var v remembered
				err := tries(func() error {
					return s.UpdateKSN(&v, func(bool) error {
						if v.Counts == nil {
							v.Counts = map[string]int{}
						}
						v.Counts["n"]++
						return nil
					})
				})
				err2 := tries(func() error { return s.Defer([]Deferred{{Key: objectKey(i), Path: fmt.Sprint(j)}}) })
				err3 := tries(func() error { _, err := s.Spool(fmt.Appendf(nil, "%d %d", i, j), 1<<20); return err })
				if err := errors.Join(err, err2, err3); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var v remembered
	_, err := s.ReadKSN(&v)
	must(t, err)
	list, err := s.DeferredObjects(0)
	must(t, err)
	spooled, err := s.Spooled(0)
	must(t, err)
	if v.Counts["n"] != 20 || len(list) != 20 || len(spooled) != 20 {
		t.Errorf("counted %d, queued %d, spooled %d, want 20 of each", v.Counts["n"], len(list), len(spooled))
	}
}

func TestDeferredObjects(t *testing.T) {
	s := newMemoryStore(t)
	if list, err := s.DeferredObjects(0); err != nil || list != nil {
		t.Fatalf("without a file: %v, %v", list, err)
	}
	odd := "/odd/\xff\xfe\x00\n" // names of files are bytes
	must(t, s.Defer([]Deferred{
		{Key: objectKey(1), Path: "/young", Name: "Test.A", Size: 1, Release: 7, Since: day(9)},
		{Key: objectKey(1), Path: odd, Size: 1 << 40, Since: day(2), Tries: 3},
		{Key: objectKey(2), Path: "/now"},
	}))
	list, err := s.DeferredObjects(0)
	must(t, err)
	want := []Deferred{{Key: objectKey(1), Path: odd, Size: 1 << 40, Since: day(2), Tries: 3},
		{Key: objectKey(1), Path: "/young", Name: "Test.A", Size: 1, Release: 7, Since: day(9)},
		{Key: objectKey(2), Path: "/now", Since: day(100)}}
	if fmt.Sprint(list) != fmt.Sprint(want) {
		t.Errorf("queued are\n%+v, want\n%+v", list, want)
	}
	// Again: everything is the newer one's, but for Since.
	must(t, s.Defer([]Deferred{{Key: objectKey(1), Path: "/young", Release: 8, Since: day(50), Tries: 1}}))
	list, err = s.DeferredObjects(2)
	must(t, err)
	if len(list) != 2 || list[1] != (Deferred{Key: objectKey(1), Path: "/young", Release: 8, Since: day(9), Tries: 1}) {
		t.Errorf("the oldest two are %+v", list)
	}
	must(t, s.Undefer([]Deferred{{Key: objectKey(1), Path: odd}, {Key: objectKey(2), Path: "/elsewhere"}}))
	must(t, s.Undefer([]Deferred{{Key: objectKey(1), Path: odd}}))
	if list, err = s.DeferredObjects(0); err != nil || len(list) != 2 || list[0].Path != "/young" || list[1].Path != "/now" {
		t.Errorf("left are %+v, %v", list, err)
	}
}

// What cannot be queued does not keep others out.
func TestDeferRefuses(t *testing.T) {
	for what, d := range map[string]Deferred{
		"a long path":          {Key: objectKey(1), Path: strings.Repeat("x", MaxDeferredPath+1)},
		"no path":              {Key: objectKey(1)},
		"no key":               {Path: "/a"},
		"a key without a type": {Key: strings.Repeat("0", 64), Path: "/a"},
		"a key in capitals":    {Key: strings.ToUpper(objectKey(0xabcdef)), Path: "/a"},
		"a long name":          {Key: objectKey(1), Path: "/a", Name: strings.Repeat("x", dbformat.MaxName+1)},
		"an unprintable name":  {Key: objectKey(1), Path: "/a", Name: "a\x1b[2J"},
	} {
		s := newMemoryStore(t)
		err := s.Defer([]Deferred{d, {Key: objectKey(2), Path: "/good"}})
		if err == nil || errors.Is(err, ErrStorage) || len(err.Error()) > 1000 {
			t.Errorf("%s: error is %v", what, err)
		}
		if list, err := s.DeferredObjects(0); err != nil || len(list) != 1 || list[0].Path != "/good" {
			t.Errorf("%s: queued are %+v, %v", what, list, err)
		}
	}
	s := newMemoryStore(t)
	must(t, s.Defer([]Deferred{{Key: objectKey(1), Path: strings.Repeat("x", MaxDeferredPath), Name: strings.Repeat("x", dbformat.MaxName)}}))
}

// An object under the key of another could never be taken out of the queue: it is none.
func TestDeferredBelongUnderTheirKeys(t *testing.T) {
	v, err := seal(deferredRecord{Key: objectKey(1), Path: []byte("/a"), Since: day(1)})
	must(t, err)
	if d, ok := readDeferred(deferredKey(objectKey(1), "/a"), v); !ok || d.Path != "/a" {
		t.Errorf("%+v, %v", d, ok)
	}
	for _, k := range [][]byte{nil, deferredKey(objectKey(1), "/b"), deferredKey(objectKey(2), "/a")} {
		if d, ok := readDeferred(k, v); ok {
			t.Errorf("under %x stands %+v", k, d)
		}
	}
}

func TestDeferredIsBounded(t *testing.T) {
	s := newMemoryStore(t)
	var list []Deferred
	for i := range MaxDeferred + 5 {
		list = append(list, Deferred{Key: objectKey(i), Path: "/a", Since: day(0).Add(time.Duration(i) * time.Second)})
	}
	must(t, s.Defer(list))
	must(t, s.Defer([]Deferred{{Key: objectKey(MaxDeferred + 5), Path: "/a"}}))
	got, err := s.DeferredObjects(0)
	must(t, err)
	if len(got) != MaxDeferred || got[0].Key != objectKey(6) || got[MaxDeferred-1].Key != objectKey(MaxDeferred+5) {
		t.Errorf("%d are queued, from %s to %s", len(got), got[0].Key, got[len(got)-1].Key)
	}
	list = list[:0]
	for i := range 4000 {
		list = append(list, Deferred{Key: objectKey(i), Path: strings.Repeat("p", MaxDeferredPath)})
	}
	must(t, s.Defer(list))
	if i, err := os.Stat(s.statePath()); err != nil || i.Size() > 3*maxDeferredBytes {
		t.Errorf("state.db has %d bytes, %v", i.Size(), err)
	}
	got, err = s.DeferredObjects(0)
	must(t, err)
	if len(got) < 2000 || len(got) > 4000 || got[0].Path != list[0].Path {
		t.Errorf("%d long ones are queued", len(got))
	}
}

func TestSpool(t *testing.T) {
	s := newMemoryStore(t)
	if list, err := s.Spooled(0); err != nil || list != nil {
		t.Fatalf("without a file: %v, %v", list, err)
	}
	texts := func(list []Spooled) (all string) {
		for i, p := range list {
			if i > 0 && p.ID <= list[i-1].ID {
				t.Errorf("id %d after %d", p.ID, list[i-1].ID)
			}
			all += string(p.Record) + " "
		}
		return all
	}
	for i := range 5 {
		dropped, err := s.Spool(fmt.Appendf(nil, "record%d", i), 30)
		must(t, err)
		if want := max(0, min(1, i-3)); dropped != want {
			t.Errorf("record %d: dropped %d, want %d", i, dropped, want)
		}
	}
	list, err := s.Spooled(0)
	must(t, err)
	if texts(list) != "record1 record2 record3 record4 " {
		t.Errorf("spooled are %q", texts(list))
	}
	if first, err := s.Spooled(2); err != nil || texts(first) != "record1 record2 " {
		t.Errorf("the first two are %q, %v", texts(first), err)
	}
	for range 2 {
		must(t, s.Unspool([]uint64{list[0].ID, list[2].ID, list[3].ID + 1}))
	}
	left, err := s.Spooled(0)
	must(t, err)
	if texts(left) != "record2 record4 " {
		t.Errorf("left are %q", texts(left))
	}
	if dropped, err := s.Spool(make([]byte, 10), 10); err != nil || dropped != 2 {
		t.Errorf("dropped %d, %v, want 2", dropped, err)
	}
}

// Ids are never used twice, so that what was sent and is removed late is not another record: neither after all were cleared, nor in a state.db that was begun
// again.
func TestSpoolIDsGrow(t *testing.T) {
	now := day(100)
	s, err := Create(filepath.Join(memoryDir(t), "state"), Options{Now: func() time.Time { return now }})
	must(t, err)
	newest := func() uint64 {
		_, err := s.Spool([]byte("x"), 1<<20)
		must(t, err)
		list, err := s.Spooled(0)
		must(t, err)
		return list[len(list)-1].ID
	}
	var last uint64
	for _, c := range []struct {
		what   string
		change func() error
	}{
		{"begun", func() error { return nil }},
		{"grown", func() error { return nil }},
		{"cleared", s.ClearSpool},
		{"all were sent", func() error { return s.Unspool([]uint64{last}) }},
		{"state.db was lost a second later", func() error { now = now.Add(time.Second); return os.Remove(s.statePath()) }},
	} {
		must(t, c.change())
		id := newest()
		if id <= last {
			t.Errorf("%s: id %d after %d", c.what, id, last)
		}
		last = id
	}
	must(t, s.ClearSpool())
	if list, err := s.Spooled(0); err != nil || len(list) > 0 {
		t.Errorf("cleared, and %d are there, %v", len(list), err)
	}
}

func TestSpoolLimits(t *testing.T) {
	s := newMemoryStore(t)
	for _, c := range []struct {
		length   int
		maxBytes int64
	}{{0, 100}, {MaxSpoolRecord + 1, 1 << 20}, {11, 10}, {1, 0}, {1, -1}} {
		if _, err := s.Spool(make([]byte, c.length), c.maxBytes); err == nil || errors.Is(err, ErrStorage) {
			t.Errorf("%d bytes of %d: %v", c.length, c.maxBytes, err)
		}
	}
	if _, err := os.Lstat(s.statePath()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("what was refused made a state.db")
	}
	_, err := s.Spool(make([]byte, MaxSpoolRecord), MaxSpoolRecord)
	must(t, err)
}
