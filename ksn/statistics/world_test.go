package statistics

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// entry is a type of another package, as far as this one can see.
type entry struct {
	ID     uint64
	Record []byte
}

func (e entry) String() string { return string(e.Record) }

// memorySpool is what the store promises, in memory.
type memorySpool struct {
	list  []entry
	last  uint64
	fails error  // of each call
	stuck bool   // removes nothing
	after func() // a record was put
}

func (s *memorySpool) Spool(record []byte, maxBytes int64) (dropped int, err error) {
	if s.fails != nil {
		return 0, s.fails
	}
	s.last++
	s.list = append(s.list, entry{s.last, slices.Clone(record)})
	size := int64(0)
	for i, e := range slices.Backward(s.list) {
		if size += int64(len(e.Record)); size > maxBytes {
			s.list = s.list[i+1:]
			return i + 1, nil
		}
	}
	if s.after != nil {
		s.after()
	}
	return 0, nil
}

func (s *memorySpool) Spooled(n int) ([]entry, error) {
	if n == 0 || n > len(s.list) {
		n = len(s.list)
	}
	return slices.Clone(s.list[:n]), s.fails
}

func (s *memorySpool) Unspool(ids []uint64) error {
	if s.stuck {
		return nil
	}
	s.list = slices.DeleteFunc(s.list, func(e entry) bool { return slices.Contains(ids, e.ID) })
	return s.fails
}

func (s *memorySpool) ClearSpool() error {
	s.list = nil
	return s.fails
}

// counter is randomness that is different each time and the same in each run.
type counter struct{ n uint64 }

func (c *counter) Read(b []byte) (int, error) {
	clear(b)
	c.n++
	binary.BigEndian.PutUint64(b[len(b)-8:], c.n)
	return len(b), nil
}

// A world is a device with a recorder and a receiver.
type world struct {
	*Recorder
	t     testing.TB
	facts ksn.Facts
	fails error // of reading the facts
	spool *memorySpool
	at    time.Time
	sent  [][]byte
}

func newWorld(t testing.TB, change func(*Config)) *world {
	w := &world{t: t, spool: &memorySpool{}, at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.facts.Install = "00112233445566778899aabbccddeeff"
	w.accept(1)
	w.mode(ksn.ModeExtended)
	c := Config{Facts: func() (ksn.Facts, error) { return w.facts, w.fails }, Program: "2.1.0", OS: "linux", Arch: "amd64", Rand: &counter{}}
	if change != nil {
		change(&c)
	}
	w.Recorder = must[*Recorder](t)(New(w.spool, c))
	w.Database(7, dbformat.VariantFull)
	return w
}

// accept takes the place of a user's yes to a statement of that version.
func (w *world) accept(version int) {
	w.at = w.at.Add(time.Second)
	w.facts.Consent.Accepted = &ksn.Acceptance{Version: version, Language: "en", SHA256: dbformat.Digest{1}, Time: dbformat.At(w.at), Mode: ksn.ModeOff}
}

func (w *world) mode(m ksn.Mode) {
	w.t.Helper()
	w.at = w.at.Add(time.Second)
	if m == ksn.ModeOff {
		w.facts.Consent = w.facts.Consent.Disable(w.at)
		return
	}
	w.facts.Consent = must[ksn.Consent](w.t)(w.facts.Consent.Enable(m, w.at))
}

// work counts something of everything.
func (w *world) work() {
	for _, o := range ksn.Objects() {
		w.Asked(o)
		w.Answered(o, 3*time.Millisecond)
		w.Suppressed(o)
	}
	w.Matched("Win.Trojan.Example-1")
	w.Failed(FailureTimeout)
}

func (w *world) flush() {
	w.t.Helper()
	if err := w.Flush(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) send(_ context.Context, body []byte) error {
	w.sent = append(w.sent, bytes.Clone(body))
	return nil
}

// deliver gives the records that the receiver got.
func (w *world) deliver() []Record {
	w.t.Helper()
	w.sent = nil
	if err := w.Deliver(w.t.Context(), w.send); err != nil {
		w.t.Fatal(err)
	}
	var all []Record
	for _, b := range w.sent {
		all = append(all, must[[]Record](w.t)(ParseBody(b))...)
	}
	return all
}

// manifests are those of the engine and a newer one, from the file after a change.
func manifests(t testing.TB, change func(first, second *manifest)) []Manifest {
	t.Helper()
	b := must[[]byte](t)(os.ReadFile("manifests/1.json"))
	var list [2]manifest
	for i := range list {
		list[i] = must[Manifest](t)(ParseManifest(b)).m
		list[i].Statement = i + 1
	}
	change(&list[0], &list[1])
	return []Manifest{{list[0]}, {list[1]}}
}

func without(list []Field, name string) []Field {
	return slices.DeleteFunc(slices.Clone(list), func(f Field) bool { return f.Field == name })
}

var errBroken = errors.New("broken")

var _ io.Reader = (*counter)(nil)
