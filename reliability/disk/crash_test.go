//go:build check && linux

package disk

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A tally counts the cells of one row.
type tally struct {
	row           string
	t             *testing.T
	started       time.Time
	cells, broken atomic.Int64
	left          atomic.Int64
	chosen        string
}

// newTally prints the row's line when the test and all that is in it has ended.
func newTally(t *testing.T, row string) *tally {
	y := &tally{row: row, t: t, started: time.Now(), chosen: os.Getenv("AVDB_CELLS")}
	t.Cleanup(func() {
		t.Logf("%s: %d cells, %d broken, %d leftovers", row, y.cells.Load(), y.broken.Load(), y.left.Load())
		if y.cells.Load() == 0 && !t.Skipped() && !t.Failed() {
			t.Errorf("%s: no cell was run; AVDB_CELLS is %q", row, y.chosen)
		}
	})
	return y
}

// wants tells whether a cell is to be run: all, those whose names match a pattern, or every nth of its kind.
func (y *tally) wants(cell string, i, nth int) bool {
	switch y.chosen {
	case "all":
		return true
	case "":
		return i%nth == 0
	}
	match, err := path.Match(y.chosen, cell)
	return match && err == nil
}

// count takes what came of a cell.
func (y *tally) count(t *testing.T, cell string, err error) {
	y.cells.Add(1)
	if err == nil {
		return
	}
	if errors.Is(err, errLeftover) {
		y.left.Add(1)
	} else {
		y.broken.Add(1)
	}
	t.Errorf("%s: %s: %v\n\tagain: AVDB_CELLS=%q go test -tags check -run '^%s$' ./reliability/disk", y.row, cell, err, cell, y.t.Name())
}

// A bench is one scenario on one mounted volume.
type bench struct {
	*scenario
	m *mounted
}

// eachScenario runs f for every scenario, two at a time.
func eachScenario(t *testing.T, f func(t *testing.T, b *bench)) {
	m := mount(t)
	t.Run("scenarios", func(t *testing.T) {
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				f(t, &bench{scenario: newScenario(t, s.name, s.build), m: m})
			})
		}
	})
}

// run carries the order out on a fresh cell with a worker. After it the cell is dead; the caller ends it.
func (b *bench) run(w *worker, decide func(*cell, call) verdict) (c *cell, name string, a answer, ok bool) {
	name = fmt.Sprintf("%s %d", b.name, b.m.runs.Add(1))
	c = b.m.begin(name, b.begin, decide)
	o := b.order
	o.State = stateIn(b.m.path(name))
	a, ok = w.do(o)
	b.m.mu.Lock()
	c.dead = true
	b.m.mu.Unlock()
	return c, name, a, ok
}

// calls is what an undisturbed run does to the disk.
func (b *bench) calls(t *testing.T) (list []call) {
	t.Helper()
	w := newWorker(t)
	defer w.end()
	c, name, a, ok := b.run(w, func(_ *cell, c call) verdict { list = append(list, c); return honest })
	defer b.m.end(name)
	if !ok || !a.Done {
		t.Fatalf("without a fault: %s%s", a.Error, a.Panic)
	}
	if err := b.judge(t, b.m.take(c, now), true); err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	if len(list) < 10 {
		t.Fatalf("only %d calls change the disk: the volume does not see them", len(list))
	}
	return list
}

// TestKilled is row A1: the process is killed before each call that changes the disk. Each cell goes on with a next run and a
// power cut at its end.
func TestKilled(t *testing.T) {
	y := newTally(t, "A1 SIGKILL before each call")
	eachScenario(t, func(t *testing.T, b *bench) {
		list := b.calls(t)
		t.Logf("%d calls", len(list))
		for i, c := range list {
			if cell := fmt.Sprintf("%s %d", b.name, c.n); y.wants(cell, i, 4) {
				y.count(t, cell, b.killedAt(t, c.n, verdict{}))
			}
		}
	})
}

// TestTornWrites is row A2: half of a write reaches the file, then the process is killed.
func TestTornWrites(t *testing.T) {
	y := newTally(t, "A2 torn write, then SIGKILL")
	eachScenario(t, func(t *testing.T, b *bench) {
		i := 0
		for _, c := range b.calls(t) {
			if c.op != "write" {
				continue
			}
			if cell := fmt.Sprintf("%s %d", b.name, c.n); y.wants(cell, i, 4) {
				y.count(t, cell, b.killedAt(t, c.n, verdict{apply: true, half: true}))
			}
			i++
		}
	})
}

// killedAt kills the process at call n, with what of the call, and judges what stays.
func (b *bench) killedAt(t *testing.T, n int, what verdict) error {
	w := newWorker(t)
	what.errno = syscall.EIO
	reached := false
	c, name, a, ok := b.run(w, func(x *cell, c call) verdict {
		if c.n != n {
			return honest
		}
		reached = true
		x.dead = true // threads of a process that was told to die may still make calls
		_ = w.cmd.Process.Kill()
		return what
	})
	w.end()
	defer b.m.end(name)
	switch {
	case ok && reached:
		return fmt.Errorf("was not killed (%s%s)", a.Error, a.Panic)
	case ok && a.Done && n < c.calls+3:
		// A download takes a write more where its body comes in more pieces, as it does now and then on a busy machine.
		return b.judge(t, b.m.take(c, now), true)
	case ok:
		return fmt.Errorf("there was no call %d (%s%s)", n, a.Error, a.Panic)
	}
	if err := b.judge(t, b.m.take(c, now), false); err != nil {
		return err
	}
	return b.cutAfterNext(t, c, name)
}

// cutAfterNext lets another process take over where one was killed, and cuts the power when it says that it is done: what the
// first one renamed and did not sync must be durable then, too.
func (b *bench) cutAfterNext(t *testing.T, c *cell, name string) error {
	b.m.mu.Lock()
	c.dead, c.decide = false, nil
	b.m.mu.Unlock()
	w := newWorker(t)
	defer w.end()
	o := b.order
	o.State = stateIn(b.m.path(name))
	if a, ok := w.do(o); !ok || !a.Done {
		return fmt.Errorf("the next run fails: %s%s", a.Error, a.Panic)
	}
	for _, l := range []look{durable, ahead} {
		if err := b.judge(t, b.m.take(c, l), true); err != nil {
			return fmt.Errorf("the next run, then a power cut: %w", err)
		}
	}
	return nil
}

var errnos = []struct {
	name  string
	errno syscall.Errno
}{
	{"ENOSPC", syscall.ENOSPC}, {"EIO", syscall.EIO}, {"EROFS", syscall.EROFS}, {"EDQUOT", syscall.EDQUOT}, {"EACCES", syscall.EACCES}, {"EMFILE", syscall.EMFILE},
}

// TestFailingCalls is row A3: each call fails, with and without its effect, and the process goes on.
func TestFailingCalls(t *testing.T) {
	y := newTally(t, "A3 six errors at each call, with and without effect")
	eachScenario(t, func(t *testing.T, b *bench) {
		list := b.calls(t)
		w := newWorker(t)
		defer func() { w.end() }()
		i := 0
		for _, c := range list {
			for _, e := range errnos {
				for _, effect := range []bool{false, true} {
					cell := fmt.Sprintf("%s %d %s", b.name, c.n, e.name)
					if effect {
						cell += " effect"
					}
					if i++; !y.wants(cell, i, 29) {
						continue
					}
					err := b.failsAt(t, w, c.n, verdict{apply: effect, errno: e.errno})
					if err != nil {
						err = fmt.Errorf("%w (call %s)", err, c)
					}
					if errors.Is(err, errDied) {
						w.end()
						w = newWorker(t)
					}
					y.count(t, cell, err)
				}
			}
		}
	})
}

var errDied = errors.New("the process died")

// failsAt has call n fail and judges the answer and what stays.
func (b *bench) failsAt(t *testing.T, w *worker, n int, what verdict) error {
	struck := false
	c, name, a, ok := b.run(w, func(_ *cell, c call) verdict {
		if c.n == n {
			struck = true
			return what
		}
		return honest
	})
	defer b.m.end(name)
	switch {
	case ok && !struck:
		return fmt.Errorf("there was no call %d", n)
	case !ok:
		return errDied
	case a.Panic != "":
		return fmt.Errorf("panic: %s", a.Panic)
	case a.Code != 0 && a.Code != 15:
		return fmt.Errorf("exit code %d, want 15: %s", a.Code, a.Error)
	}
	if err := b.judge(t, b.m.take(c, now), a.Done); err != nil {
		return fmt.Errorf("exit code %d (%s): %w", a.Code, a.Error, err)
	}
	if !a.Done {
		return nil
	}
	if err := b.judge(t, b.m.take(c, durable), true); err != nil {
		return fmt.Errorf("exit code 0, then a power cut: %w", err)
	}
	return nil
}

// TestPowerCut is row A4 on the volume: the power is cut before each call and after the end.
func TestPowerCut(t *testing.T) {
	y := newTally(t, "A4 power cut before each call and after the end, three ways each")
	eachScenario(t, func(t *testing.T, b *bench) {
		for i, m := range b.moments(t, nil) {
			if y.wants(m.cell, i, 1) {
				y.count(t, m.cell, b.judge(t, m.left, m.claimed))
			}
		}
	})
}

// A moment is what a power cut would leave at one time.
type moment struct {
	cell    string
	left    tree
	claimed bool // the run had said by then that it is done
}

// moments takes what a power cut would leave before each call of one run and after its end: the least, all names ahead of
// their files, and a mixture of what the disk may have written unasked. lie tells which calls the disk says to have done and does
// not; nil for none.
func (b *bench) moments(t *testing.T, lie func(call) bool) (list []moment) {
	t.Helper()
	h := fnv.New64a()
	h.Write([]byte(b.name))
	take := func(c *cell, n int, claimed bool) {
		for _, l := range []struct {
			name string
			look look
		}{{"synced", durable}, {"names ahead", ahead}, {"mixed", mixed(rand.New(rand.NewPCG(h.Sum64(), uint64(n))))}} {
			list = append(list, moment{fmt.Sprintf("%s %d %s", b.name, n, l.name), c.take(l.look), claimed})
		}
	}
	w := newWorker(t)
	defer w.end()
	c, name, a, ok := b.run(w, func(c *cell, k call) verdict {
		take(c, k.n, false)
		if lie != nil && lie(k) {
			return verdict{}
		}
		return honest
	})
	defer b.m.end(name)
	if !ok || !a.Done {
		t.Fatalf("without a fault: %s%s", a.Error, a.Panic)
	}
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	take(c, c.calls, true)
	return list
}
