//go:build check

package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"example.org/avdb/updater"
)

// steps is how many of them a history has.
const steps = 20

// A step is one thing that the device does, with all that goes wrong meanwhile.
type step struct {
	number  int
	tree    int // what the publisher has by then
	hours   int // since it was published
	clock   string
	before  []act // with the device at rest
	op      string
	variant string // of an update; "" is the settings' choice
	sources []source
	fault   fault
	stop    stop
	cut     uint64 // the power goes at the end of the step (with the process, if that dies), and this says what it leaves; 0 for no cut
}

// An act is what a user or an attacker of the state folder does between two updates.
type act struct {
	what string
	at   uint64 // which file, where in it
}

// A stop is what happens before a step of the update cycle comes for the nth time.
type stop struct {
	step string // "" for nothing
	nth  int
	what string // dies, cancelled, second update, reader
}

// The acts. "older" puts back what a file was at an earlier time.
var acts = []string{"cloud mode", "cloud mode", "rollback", "hold", "release-hold", "release-hold",
	"flip layer", "cut layer", "remove layer", "flip index", "remove index", "cut index", "flip CURRENT", "remove CURRENT", "older CURRENT",
	"remove floors", "flip floors", "older floors", "remove set", "flip set", "older set", "remove newest root", "flip newest root",
	"remove floors and set", "older floors and set", "remove roots", "flip restrictions", "remove restrictions", "older restrictions",
	"garbage state.db", "remove state.db", "garbage downloads", "cut downloads", "leftovers"}

// clocks of A12, and mostly the right one.
var clocks = map[string]func(time.Time) time.Time{
	"":          func(t time.Time) time.Time { return t },
	"1970":      func(time.Time) time.Time { return time.Unix(3600, 0).UTC() },
	"-10 years": func(t time.Time) time.Time { return t.AddDate(-10, 0, 0) },
	"-1 day":    func(t time.Time) time.Time { return t.AddDate(0, 0, -1) },
	"-3 days":   func(t time.Time) time.Time { return t.AddDate(0, 0, -3) },
	"+1 day":    func(t time.Time) time.Time { return t.AddDate(0, 0, 1) },
	"+10 years": func(t time.Time) time.Time { return t.AddDate(10, 0, 0) },
	"2038":      func(time.Time) time.Time { return time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC) },
	"9999":      func(time.Time) time.Time { return time.Date(9999, 12, 1, 0, 0, 0, 0, time.UTC) },
}

var clockNames = []string{"1970", "-10 years", "-1 day", "-3 days", "+1 day", "+10 years", "2038", "9999"}

// A history is a seed, or what shrinking left of it.
type history struct {
	seed  uint64
	steps []step
}

// newHistory draws everything that happens under a seed.
func newHistory(seed uint64, trees int) history {
	r := rand.New(rand.NewPCG(seed, 0xa14))
	h := history{seed: seed}
	at := r.IntN(trees / 2)
	for i := range steps {
		if r.IntN(10) < 6 {
			at = min(at+1+r.IntN(2), trees-1)
		}
		h.steps = append(h.steps, newStep(r, i+1, at))
	}
	return h
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// chance is true in n of 100 cases.
func chance(r *rand.Rand, n int) bool { return r.IntN(100) < n }

func newStep(r *rand.Rand, number, at int) step {
	s := step{number: number, tree: at, hours: 1 + r.IntN(16), op: "update"}
	if chance(r, 12) {
		s.clock = pick(r, clockNames)
	}
	for chance(r, 30) && len(s.before) < 3 {
		s.before = append(s.before, act{pick(r, acts), r.Uint64()})
	}
	switch {
	case chance(r, 8):
		s.op = pick(r, []string{"check", "rollback", "rollback", "hold", "release-hold"})
	case chance(r, 25):
		s.variant = pick(r, []string{"light", "full"})
	}
	for n := 1 + r.IntN(3); len(s.sources) < n; {
		s.sources = append(s.sources, newSource(r, at))
	}
	if chance(r, 35) {
		s.fault = fault{how: pick(r, faults), at: 1 + r.IntN(1+r.IntN(60)), errno: pick(r, errnos)}
	}
	if chance(r, 20) {
		s.stop = stop{step: pick(r, updater.Steps()[1:]), nth: 1 + r.IntN(2), what: pick(r, []string{"dies", "cancelled", "second update", "reader", "reader"})}
	}
	if chance(r, 20) {
		s.cut = r.Uint64() | 1
	}
	return s
}

func newSource(r *rand.Rand, at int) source {
	s := source{tree: at}
	if chance(r, 15) {
		s.tree = r.IntN(at + 1)
	}
	if chance(r, 4) {
		s.tree = -1
	}
	if chance(r, 5) && s.tree >= 0 {
		s.mixed = 1 + r.IntN(at+1)
	}
	if chance(r, 40) {
		s.lie, s.class, s.at = pick(r, lies), pick(r, classes), r.Uint64()
		if chance(r, 40) {
			s.times = 1 + r.IntN(3)
		}
	}
	return s
}

// String is the step in one line.
func (s step) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%2d", s.number)
	for _, a := range s.before {
		fmt.Fprintf(&b, " [%s @%d]", a.what, a.at)
	}
	fmt.Fprintf(&b, " %s", s.op)
	if s.variant != "" {
		fmt.Fprintf(&b, " %s", s.variant)
	}
	fmt.Fprintf(&b, ", published is state %d + %d h", s.tree, s.hours)
	if s.clock != "" {
		fmt.Fprintf(&b, ", clock %s", s.clock)
	}
	for _, src := range s.sources {
		fmt.Fprintf(&b, "; source %s", src)
	}
	if s.fault.how != "" {
		fmt.Fprintf(&b, "; disk: %s", s.fault)
	}
	if s.stop.step != "" {
		fmt.Fprintf(&b, "; %s before %s %d", s.stop.what, s.stop.step, s.stop.nth)
	}
	if s.cut != 0 {
		fmt.Fprintf(&b, "; power cut %d", s.cut)
	}
	return b.String()
}

func (h history) String() string {
	var b strings.Builder
	for _, s := range h.steps {
		b.WriteString(s.String() + "\n")
	}
	return b.String()
}

// smaller are histories with less in them, the smallest first.
func (h history) smaller(yield func(history) bool) {
	for n := max(1, len(h.steps)/2); ; n /= 2 {
		for from := 0; from < len(h.steps); from += n {
			if !yield(history{h.seed, slices.Concat(h.steps[:from], h.steps[min(from+n, len(h.steps)):])}) {
				return
			}
		}
		if n <= 1 {
			break
		}
	}
	for i := range h.steps {
		for _, calm := range h.steps[i].calmer() {
			next := slices.Clone(h.steps)
			next[i] = calm
			if !yield(history{h.seed, next}) {
				return
			}
		}
	}
}

// calmer are versions of a step with one thing less going wrong.
func (s step) calmer() (list []step) {
	less := func(change func(*step)) {
		c := s
		c.before, c.sources = slices.Clone(s.before), slices.Clone(s.sources)
		change(&c)
		list = append(list, c)
	}
	for i := range s.before {
		less(func(c *step) { c.before = slices.Delete(c.before, i, i+1) })
	}
	if len(s.sources) > 1 {
		for i := range s.sources {
			less(func(c *step) { c.sources = slices.Delete(c.sources, i, i+1) })
		}
	}
	for i := range s.sources {
		if !s.sources[i].clean() {
			less(func(c *step) { c.sources[i] = source{tree: max(0, s.sources[i].tree)} })
		}
	}
	if s.fault.how != "" {
		less(func(c *step) { c.fault = fault{} })
	}
	if s.stop.step != "" {
		less(func(c *step) { c.stop = stop{} })
	}
	if s.cut != 0 {
		less(func(c *step) { c.cut = 0 })
	}
	if s.clock != "" {
		less(func(c *step) { c.clock = "" })
	}
	if s.variant != "" {
		less(func(c *step) { c.variant = "" })
	}
	return list
}
