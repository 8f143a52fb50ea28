//go:build check

package damage_test

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"example.org/avdb/matcher"
	"example.org/avdb/store"
)

// An outcome is what one look-up, one opening or one cell came to. A greater one is worse.
type outcome int

const (
	right   outcome = iota // the answer of the undamaged generation
	noticed                // an error that says that the database is damaged
	unknown                // an error that does not say so
	silent                 // another answer
	crashed
)

func (o outcome) String() string {
	return [...]string{"right", "noticed", "an error that does not match store.ErrDamaged", "SILENT WRONG VERDICT", "CRASH"}[o]
}

// judge compares a result with what it must be. Beside an error no verdict may be another one, but for suspected and error, which
// both ask for a second opinion.
func judge(r matcher.Result, err error, want matcher.Verdict, name string) outcome {
	switch {
	case r.Verdict == want && r.Name == name && (err == nil || errors.Is(err, store.ErrDamaged)):
		return right
	case err == nil || r.Verdict != matcher.Failed && r.Verdict != matcher.Suspected:
		return silent
	case !errors.Is(err, store.ErrDamaged) || !errors.Is(err, store.ErrStorage):
		return unknown
	}
	return noticed
}

// A reader is a process that has just begun: it opens the store and the generation, and holds nothing that another has proved.
type reader struct {
	m   *matcher.Matcher
	why string // what the last look-up that was not right said
}

// open is what every process does first. A nil reader means that it ended there.
func (g *generation) open() (r *reader, o outcome, why string) {
	s, err := store.Open(g.dir, store.Options{})
	if err == nil {
		var m *matcher.Matcher
		if m, err = matcher.Open(s, matcher.Options{PUA: true}); err == nil {
			return &reader{m: m}, right, ""
		}
	}
	if !errors.Is(err, store.ErrStorage) || !errors.Is(err, store.ErrDamaged) {
		return nil, unknown, err.Error()
	}
	return nil, noticed, err.Error()
}

func (r *reader) close() { r.m.Close() }

// look looks one hash up.
func (r *reader) look(e *entry, hash []byte, size int64, want matcher.Verdict, name string) outcome {
	got, err := r.m.Lookup(e.id.Algorithm(), hash, size)
	o := judge(got, err, want, name)
	if o != right {
		r.why = fmt.Sprintf("%x of %s is %s %q, want %s %q, error: %v", hash, e.id, got.Verdict, got.Name, want, name, err)
	}
	return o
}

// present looks a record up, and with absent also what differs from it in the last byte, and in the size.
func (r *reader) present(e *entry, absent bool) outcome {
	o := r.look(e, e.hash, e.lookupSize(), e.verdict, e.name)
	if !absent {
		return o
	}
	twin := slices.Clone(e.hash)
	twin[len(twin)-1] ^= 0x55
	o = max(o, r.look(e, twin, e.lookupSize(), matcher.Clean, ""))
	if e.size >= 0 {
		o = max(o, r.look(e, e.hash, e.size+1, matcher.Clean, ""))
	}
	return o
}

// reads looks up what reads byte at of a block: the row that it belongs to, its neighbours, the first and the last one, present and
// absent. It stops at an error: all of them prove the block before they read it.
func (r *reader) reads(b *block, at int) outcome {
	if len(b.entries) == 0 {
		return right
	}
	row, last := 0, len(b.entries)-1
	if b.row != nil {
		row = min(b.row(b, at), last)
	}
	for _, i := range []int{row, max(0, row-1), min(last, row+1), 0, last} {
		if o := r.present(&b.entries[i], i == row); o != right {
			return o
		}
	}
	return right
}

// everyBlock looks up a present and an absent record of each block of the generation.
func (r *reader) everyBlock(g *generation) (o outcome) {
	for _, f := range g.files {
		for i := range f.blocks {
			if e := f.blocks[i].entries; len(e) > 0 {
				o = max(o, r.present(&e[len(e)/2], true))
			}
		}
	}
	return o
}

// everything looks up every record of the generation, and next to each tenth one what is absent.
func (r *reader) everything(g *generation) (o outcome) {
	for i := range g.all {
		o = max(o, r.present(&g.all[i], i%10 == 0))
	}
	return o
}

// contained runs f and tells of a panic. A fault that is no panic ends the test, which is noticed too.
func contained(f func() (outcome, string)) (o outcome, why string) {
	defer func() {
		if p := recover(); p != nil {
			o, why = crashed, fmt.Sprint(p)
		}
	}()
	return f()
}

// heal puts a file back that a matcher has replaced: a damaged index is built anew.
func (f *file) heal() error {
	now, err := os.Stat(f.path)
	if err == nil {
		if was, err := os.Stat(f.keep); err == nil && os.SameFile(was, now) {
			return nil
		}
		if err := os.Remove(f.path); err != nil {
			return err
		}
	}
	return os.Link(f.keep, f.path)
}
