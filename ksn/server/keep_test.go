package server_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/server"
)

// A telling database tells what it answers from.
type telling struct {
	*memory
	content uint64
	asked   int // questions
	told    func()
}

func (d *telling) WithPrefixes(a dbformat.Algorithm, bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	d.asked += len(values)
	return d.memory.WithPrefixes(a, bits, values, visit)
}

func (d *telling) WithURLPrefixes(bits uint8, values []uint32, visit func(int, server.Known) bool) (uint64, error) {
	d.asked += len(values)
	return d.memory.WithURLPrefixes(bits, values, visit)
}

func (d *telling) Content() (c server.Content, release uint64, err error) {
	if d.told != nil {
		d.told()
	}
	binary.BigEndian.PutUint64(c[:], d.content)
	return c, d.release, d.err
}

// replace puts another database in the place of the one that was.
func (d *telling) replace(release uint64, rows ...server.Known) {
	d.content++
	d.release, d.rows = release, map[dbformat.Algorithm][]server.Known{}
	d.put(dbformat.SHA256, rows...)
}

// newTelling is a world whose database tells what it answers from, without other sources.
func newTelling(t *testing.T, change ...func(*server.Config)) (*world, *telling) {
	d := &telling{}
	w := newWorld(t, append([]func(*server.Config){func(c *server.Config) {
		d.memory = c.Database.(*memory)
		c.Database, c.Sources = d, nil
	}}, change...)...)
	return w, d
}

// all says what several answers say.
func all(answers []protocol.Signed) (lines []string) {
	for _, s := range answers {
		lines = append(lines, fmt.Sprintf("%s from %d: %q", s.Answer.Prefix, s.Answer.Release, said(s.Answer)))
	}
	return lines
}

// The database is asked twice about what batches ask again, in any company and under any later head; a look-up of one prefix is always made anew.
func TestBatchesThatAreAskedAgain(t *testing.T) {
	w, d := newTelling(t)
	one, two, three := prefix(protocol.FileSHA256, 24, malware), prefix(protocol.URL, 24, several), prefix(protocol.FileMD5, 24, nothing)
	first := all(w.askAll(one, two, three))
	if w.askAll(one, two, three); d.asked != 6 {
		t.Fatalf("the database was asked %d times", d.asked)
	}
	w.now = w.now.Add(3 * time.Minute)
	again := w.askAll(one, two, three)
	if got := all(again); !slices.Equal(got, first) || d.asked != 6 || !again[0].Answer.Issued.Equal(w.now) {
		t.Errorf("asked %d times, issued at %s: %q, the first time %q", d.asked, again[0].Answer.Issued, got, first)
	}
	if got := all(w.askAll(three, prefix(protocol.FileSHA1, 24, malware), one)); d.asked != 7 || got[2] != first[0] || got[0] != first[2] {
		t.Errorf("asked %d times in other company: %q", d.asked, got)
	}
	if w.ask(one); d.asked != 8 {
		t.Errorf("asked %d times with a look-up of one", d.asked)
	}
	if w.tally.entries != 3*(1+1)+2+1 {
		t.Errorf("counted %+v", w.tally)
	}
}

// What is kept is of one database and one set of overrides: after either has changed nothing of it is given, and a release with the same content has its own
// number.
func TestNothingIsKeptLongerThanItIsTrue(t *testing.T) {
	w, d := newTelling(t)
	one, two := prefix(protocol.FileSHA256, 24, malware), prefix(protocol.FileSHA256, 24, allowed)
	k := key(protocol.FileSHA256, sum(dbformat.SHA256, malware, "one"))
	first := all(w.askAll(one, two))
	w.askAll(one, two)
	override := []server.Override{{Key: k, Verdict: protocol.Trusted}}
	for again := range 3 { // after the first time they are the same ones, which changes nothing
		asked := d.asked
		if err := w.SetOverrides(slices.Clone(override)); err != nil {
			t.Fatal(err)
		}
		got := w.askAll(one, two)
		if e := got[0].Answer.Entries; len(e) != 1 || e[0].Verdict != protocol.Trusted {
			t.Fatalf("overridden: %q", all(got))
		}
		if got := d.asked - asked; got != []int{2, 0, 0}[again] {
			t.Errorf("set %d times, the database was asked %d times", again+1, got)
		}
	}
	if err := w.SetOverrides(nil); err != nil {
		t.Fatal(err)
	}
	if got := all(w.askAll(one, two)); !slices.Equal(got, first) {
		t.Errorf("%q, before the override %q", got, first)
	}
	asked := d.asked
	d.release = 8 // the same layers
	got := w.askAll(one, two)
	if got[0].Answer.Release != 8 || d.asked != asked {
		t.Errorf("asked %d times for %q", d.asked-asked, all(got))
	}
	d.replace(8, server.Known{Sum: k.Sum, Name: "Other"})
	if got := w.askAll(one, two); got[0].Answer.Entries[0].Name != "Other" || len(got[1].Answer.Entries) != 0 {
		t.Errorf("another database of the same release: %q", all(got))
	}
	d.err = errors.New("damaged")
	w.problem(w.do("POST", protocol.PathBatch, `{"v":1,"queries":["`+one.String()+`","`+two.String()+`"]}`), protocol.CodeUnavailable)
	if got := w.askAll(prefix(protocol.Software, 24, malware), prefix(protocol.Software, 24, nothing)); len(got) != 2 { // needs no database
		t.Errorf("%q", all(got))
	}
}

// A batch of which a part is kept is answered from one database, also where that changes on the way.
func TestOneDatabaseForWhatIsKeptAndWhatIsNot(t *testing.T) {
	one, two := prefix(protocol.FileSHA256, 24, malware), prefix(protocol.FileSHA256, 24, several)
	k := key(protocol.FileSHA256, sum(dbformat.SHA256, malware, "one"))
	for _, release := range []uint64{7, 8} { // another content may have the same number
		for when, change := range map[string]func(d *telling, f func()){
			"while it reads": func(d *telling, f func()) { d.visited = f },
			"before it reads": func(d *telling, f func()) {
				n := 0
				d.told = func() {
					if n++; n == 1 {
						d.told = func() { d.told = nil; f() }
					}
				}
			},
		} {
			w, d := newTelling(t)
			for range 2 {
				w.askAll(one, prefix(protocol.FileSHA256, 24, nothing))
			}
			done := false
			change(d, func() {
				if !done {
					done = true
					// with holds the lock of memory, which nobody else wants
					d.content++
					d.release, d.rows = release, map[dbformat.Algorithm][]server.Known{dbformat.SHA256: {{Sum: k.Sum, Name: "Other"}}}
				}
			})
			got := w.askAll(one, two)
			if !done || got[0].Answer.Entries[0].Name != "Other" || len(got[1].Answer.Entries) != 0 || got[0].Answer.Release != release {
				t.Errorf("%s, to release %d (%t): %q", when, release, done, all(got))
			}
		}
	}
}

// Whatever is asked in whatever order, and whatever changes meanwhile, a server that keeps answers says what one says that does not, and keeps no more than
// it may.
func TestKeepingChangesNoAnswer(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	keeping, d := newTelling(t, func(c *server.Config) { c.KeepBytes = 40 << 10 })
	plain, e := newTelling(t, func(c *server.Config) { c.KeepBytes = -1 })
	value := func() uint32 { return rnd.Uint32N(300) << 8 }
	for range 400 {
		switch rnd.IntN(12) {
		case 0:
			var rows []server.Known
			for i := range 200 {
				rows = append(rows, server.Known{Sum: sum(dbformat.SHA256, value(), fmt.Sprint(i)), Name: fmt.Sprint("N", rnd.IntN(1000)), Size: rnd.Uint32N(3), Allowed: rnd.IntN(9) == 0})
			}
			r := uint64(rnd.IntN(3) + 7)
			d.replace(r, rows...)
			e.replace(r, rows...)
		case 1:
			var list []server.Override
			for i := range rnd.IntN(3) {
				list = append(list, server.Override{Key: key(protocol.FileSHA256, sum(dbformat.SHA256, value(), fmt.Sprint("o", i))), Verdict: protocol.Untrusted})
			}
			for _, w := range []*world{keeping, plain} {
				if err := w.SetOverrides(list); err != nil {
					t.Fatal(err)
				}
			}
		}
		seen := map[protocol.Prefix]bool{}
		var ask []protocol.Prefix
		for range 2 + rnd.IntN(60) {
			if p := prefix([]protocol.Type{protocol.FileSHA256, protocol.FileSHA256, protocol.URL, protocol.Software}[rnd.IntN(4)], 24, value()); !seen[p] {
				seen[p], ask = true, append(ask, p)
			}
		}
		if got, want := all(keeping.askAll(ask...)), all(plain.askAll(ask...)); !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	if d.asked >= e.asked*19/20 {
		t.Errorf("the database was asked %d times, without keeping %d times", d.asked, e.asked)
	}
}
