package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHistoryIsBoundedAndNewestFirst(t *testing.T) {
	s := newMemoryStore(t)
	if events, err := s.History(0); err != nil || events != nil {
		t.Fatalf("history without a file is %v, %v", events, err)
	}
	for i := range maxHistory + 7 {
		must(t, s.AppendHistory(Event{Kind: "update", To: uint64(i)}))
	}
	events, err := s.History(0)
	must(t, err)
	if len(events) != maxHistory || events[0].To != maxHistory+6 || events[maxHistory-1].To != 7 {
		t.Errorf("%d events from %d to %d", len(events), events[0].To, events[len(events)-1].To)
	}
	events, err = s.History(2)
	must(t, err)
	if len(events) != 2 || events[1].To != maxHistory+5 || !events[0].Time.Equal(day(100)) {
		t.Errorf("newest two are %+v", events)
	}
}

func TestSourceStates(t *testing.T) {
	s := newMemoryStore(t)
	until := day(101)
	must(t, s.UpdateSource("http://a/", nil, func(st *SourceState) { st.CoolDownUntil, st.Failures, st.LastError = until, 3, "gone" }))
	must(t, s.UpdateSource("http://b/", nil, func(st *SourceState) { st.LastSuccess = day(99) }))
	must(t, s.UpdateSource("http://a/", nil, func(st *SourceState) { st.Failures++ }))
	states, err := s.SourceStates()
	must(t, err)
	if a := states["http://a/"]; len(states) != 2 || a.Failures != 4 || !a.CoolDownUntil.Equal(until) || a.LastError != "gone" {
		t.Errorf("states are %+v", states)
	}
	must(t, s.UpdateSource("http://b/", []string{"http://b/"}, func(*SourceState) {}))
	states, err = s.SourceStates()
	must(t, err)
	if _, ok := states["http://a/"]; ok || len(states) != 1 || states["http://b/"].LastSuccess.IsZero() {
		t.Errorf("states are %+v, want b only", states)
	}
}

// TestDamagedStateBeginsAgain: whatever is wrong with state.db, writing to it works, what was readable or
// nothing is read, and the damaged file is put aside.
func TestDamagedStateBeginsAgain(t *testing.T) {
	s := newMemoryStore(t)
	for i := range 20 {
		must(t, s.AppendHistory(Event{Kind: "update", To: uint64(i), Source: "http://a/"}))
	}
	whole, err := os.ReadFile(s.statePath())
	must(t, err)
	check := func(what string, b []byte) {
		t.Helper()
		must(t, os.WriteFile(s.statePath(), b, 0o600))
		events, err := s.History(0)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s: History gives %v", what, err)
		}
		for i, e := range events {
			if e.Kind != "unreadable" && (e.Kind != "update" || e.Source != "http://a/" || int(e.To) > 19) {
				t.Fatalf("%s: event %d is silently wrong: %+v", what, i, e)
			}
		}
		must(t, s.AppendHistory(Event{Kind: "rollback", To: 77}))
		events, err = s.History(0)
		must(t, err)
		if len(events) == 0 || events[0].Kind != "rollback" || events[0].To != 77 {
			t.Fatalf("%s: history is %+v", what, events)
		}
	}
	for i := 1; i < len(whole); i += 101 {
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i % 8)
		check(fmt.Sprintf("flip at %d", i), b)
	}
	for n := 0; n < len(whole); n += 1536 {
		check(fmt.Sprintf("cut to %d", n), whole[:n])
	}
	check("garbage", bytes.Repeat([]byte("garbage!"), 4096))
	events, err := s.History(0)
	must(t, err)
	if len(events) != 2 || events[1].Kind != "state_recreated" || events[1].Error == "" {
		t.Errorf("the new file begins with %+v", events)
	}
	if _, err := os.Stat(s.statePath() + asideSuffix); err != nil {
		t.Error(err)
	}
}

// TestTheTreeThatIsCheckedIsTheOneThatIsRead: bbolt goes by magic, version and sum of a meta page. One with those and another mistake must not be passed
// over: then the tree before it would be checked, and bbolt would read the newer one.
func TestTheTreeThatIsCheckedIsTheOneThatIsRead(t *testing.T) {
	s := newMemoryStore(t)
	must(t, s.AppendHistory(Event{Kind: "update"}))
	whole, err := os.ReadFile(s.statePath())
	must(t, err)
	if err := checkPages(bytes.NewReader(whole), int64(len(whole)), false); err != nil {
		t.Fatal(err)
	}
	for page := range 2 {
		for i := range boltHeader + boltMetaSum + 8 {
			b := bytes.Clone(whole)
			b[page*boltPageSize+i] ^= 1
			err := checkPages(bytes.NewReader(b), int64(len(b)), false)
			switch {
			case i < 10 && err == nil: // number and kind, which the sum does not cover
				t.Errorf("meta page %d, byte %d: it was passed over", page, i)
			case i >= boltHeader && err != nil:
				t.Errorf("meta page %d, byte %d: the other page is not taken: %v", page, i, err)
			}
		}
	}
}

// TestFreeListsThatLie: bbolt makes room for what a free list says it has, and walks the whole file if there is said to be none, before anything is checked. Neither
// may end the process.
func TestFreeListsThatLie(t *testing.T) {
	for _, count := range []uint64{0, 1 << 20, 1 << 36, 1 << 47, 1 << 63} {
		s := newMemoryStore(t)
		must(t, s.AppendHistory(Event{Kind: "update"}))
		b, err := os.ReadFile(s.statePath())
		must(t, err)
		le, lists := binary.LittleEndian, 0
		for at := 0; at < len(b); at += boltPageSize {
			switch page := b[at:][:boltPageSize]; {
			case count > 0 && le.Uint16(page[8:]) == boltFreeList:
				le.PutUint16(page[10:], 0xffff)
				le.PutUint64(page[boltHeader:], count)
				lists++
			case count == 0 && le.Uint16(page[8:]) == boltMetaPage:
				m := page[boltHeader:]
				le.PutUint64(m[32:], 1<<64-1)
				h := fnv.New64a()
				h.Write(m[:boltMetaSum])
				le.PutUint64(m[boltMetaSum:], h.Sum64())
				lists++
			}
		}
		if lists < 2 {
			t.Fatalf("%d lists", lists)
		}
		must(t, os.WriteFile(s.statePath(), b, 0o600))
		must(t, s.AppendHistory(Event{Kind: "rollback"}))
		events, err := s.History(0)
		must(t, err)
		if len(events) != 2 || events[1].Kind != "state_recreated" {
			t.Errorf("a list of %d: history is %+v", count, events)
		}
	}
}

// TestTornBeginningOfState: a crash while bbolt began state.db leaves a file that never held anything. It is begun again
// and nothing is put aside: a file that nobody could want would stay for ever.
func TestTornBeginningOfState(t *testing.T) {
	s, err := Create(filepath.Join(memoryDir(t), "state"), Options{})
	must(t, err)
	must(t, s.AppendHistory(Event{Kind: "update", To: 1}))
	whole, err := os.ReadFile(s.statePath())
	must(t, err)
	for _, n := range []int{1, boltPageSize, 2 * boltPageSize, 4*boltPageSize - 1} {
		must(t, os.WriteFile(s.statePath(), whole[:n], modeSecret))
		must(t, s.AppendHistory(Event{Kind: "update", To: 2}))
		events, err := s.History(0)
		if err != nil || len(events) != 1 || events[0].To != 2 {
			t.Errorf("cut to %d: history is %+v, %v", n, events, err)
		}
		if _, err := os.Lstat(s.statePath() + asideSuffix); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("cut to %d: something was put aside: %v", n, err)
		}
	}
}

// TestStateOfManyWriters: processes that write at once (several stores stand for them) lose nothing.
func TestStateOfManyWriters(t *testing.T) {
	dir := filepath.Join(memoryDir(t), "state")
	_, err := Create(dir, Options{})
	must(t, err)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			s, err := Open(dir, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			for j := range 5 {
				err := s.AppendHistory(Event{Kind: "update", From: uint64(i), To: uint64(j)})
				for err != nil && strings.Contains(err.Error(), "locked by another process") { // on a slow machine
					err = s.AppendHistory(Event{Kind: "update", From: uint64(i), To: uint64(j)})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s, err := Open(dir, Options{})
	must(t, err)
	events, err := s.History(0)
	must(t, err)
	if len(events) != 20 {
		t.Errorf("%d events, want 20", len(events))
	}
}

func TestRestrictionsHighestEpochWins(t *testing.T) {
	s := newMemoryStore(t)
	if b, ok, err := s.Restrictions(); b != nil || ok || err != nil {
		t.Fatalf("without a file: %q %v %v", b, ok, err)
	}
	five := []byte(`{"epoch":5,"text":"<ä>"}`)
	must(t, s.PutRestrictions(five, 5))
	must(t, s.PutRestrictions(five, 5))
	requireError(t, s.PutRestrictions([]byte(`{"epoch":4}`), 4), ErrHeld, "epoch 5 is in force")
	requireError(t, s.PutRestrictions([]byte(`{"epoch":5}`), 5), ErrHeld, "epoch 5")
	b, ok, err := s.Restrictions()
	if string(b) != string(five) || !ok || err != nil {
		t.Fatalf("in force: %q %v %v", b, ok, err)
	}
	must(t, s.PutRestrictions([]byte(`{"epoch":6}`), 6))
	for _, b := range [][]byte{make([]byte, 64<<10+1), {0xff}} {
		if err := s.PutRestrictions(b, 7); err == nil {
			t.Errorf("%d bytes were taken", len(b))
		}
	}
	whole, err := os.ReadFile(s.restrictionsPath())
	must(t, err)
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1 << (i % 8)
		must(t, os.WriteFile(s.restrictionsPath(), bad, 0o644))
		if b, ok, err := s.Restrictions(); err == nil || ok || b != nil || !errors.Is(err, ErrDamaged) {
			t.Fatalf("flip at %d: %q %v %v", i, b, ok, err)
		}
	}
	must(t, s.PutRestrictions([]byte(`{"epoch":7}`), 7))
	if i, err := os.Stat(s.restrictionsPath()); err != nil || i.Mode().Perm() != 0o644 {
		t.Errorf("mode is %v, %v", i.Mode(), err)
	}
	must(t, s.ReplaceRestrictions(five, 5)) // for who has proved that 7 was nobody's
	if b, _, err := s.Restrictions(); string(b) != string(five) || err != nil {
		t.Errorf("in the place of 7: %q %v", b, err)
	}
	if err := s.ReplaceRestrictions([]byte{0xff}, 8); err == nil {
		t.Error("bytes that are no text were taken")
	}
	for range 2 {
		must(t, s.RemoveRestrictions())
		if b, ok, err := s.Restrictions(); b != nil || ok || err != nil {
			t.Errorf("removed: %q %v %v", b, ok, err)
		}
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(dir, Options{})
	must(t, err)
	_, err = s.Lock()
	requireError(t, err, ErrStorage, "run init first")
	s, err = Create(dir, Options{})
	must(t, err)
	lock, err := s.Lock()
	must(t, err)
	other, err := Open(dir, Options{})
	must(t, err)
	for what, s := range map[string]*Store{"another process's": other, "the same one's": s} {
		if d := fastest(20, func() {
			_, err := s.Lock()
			requireError(t, err, ErrLocked, "another update is running")
		}); d > 500*time.Millisecond {
			t.Errorf("%s lock is refused after %v", what, d)
		}
	}
	if err := other.Clean(); err == nil {
		t.Error("Clean worked without the lock")
	}
	must(t, lock.Unlock())
	must(t, lock.Unlock())
	lock, err = other.Lock()
	must(t, err)
	must(t, lock.Unlock())
}

func TestNetworkFileSystemRefusal(t *testing.T) {
	if got := existing(filepath.Join(t.TempDir(), "a", "b")); filepath.Base(got) == "b" {
		t.Errorf("existing gives %s", got)
	}
	s := newMemoryStore(t)
	if n, err := s.FreeBytes(); err != nil || n <= 0 {
		t.Errorf("FreeBytes gives %d, %v", n, err)
	}
	// A store that does not exist yet has room, no database and no files.
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, err := Open(dir, Options{})
	must(t, err)
	if n, err := s.FreeBytes(); err != nil || n <= 0 {
		t.Errorf("FreeBytes gives %d, %v", n, err)
	}
	_, err = s.Current()
	requireError(t, err, ErrNoDatabase, "run an update")
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Open made a folder")
	}
}
