//go:build check

package history

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/avdb/fixtures"
)

// sample is how many histories run without AVDB_CELLS: the same ones each time.
const sample = 300

// A result is what came of one history.
type result struct {
	violation string
	trace     string
	updates   int
	most      int
}

// play runs one history in a folder of its own below dir.
func play(g *graph, dir string, h history, sabot func(*device)) result {
	state, err := os.MkdirTemp(dir, "h-")
	if err != nil {
		return result{violation: err.Error()}
	}
	defer os.RemoveAll(state)
	d, err := newDevice(g, filepath.Join(state, "state"), h.seed)
	if err != nil {
		return result{violation: err.Error()}
	}
	if sabot != nil {
		sabot(d)
	}
	v := d.live(h)
	return result{v, d.trace.String(), d.updates, d.most}
}

// shrink leaves out of a failing history what it does not need to fail, as far as it comes within a minute.
func shrink(g *graph, dir string, h history) (history, result) {
	last := play(g, dir, h, nil)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		found := false
		h.smaller(func(c history) bool {
			if r := play(g, dir, c, nil); alike(r.violation) == alike(last.violation) {
				h, last, found = c, r, true
			}
			return !found && time.Now().Before(end)
		})
		if !found {
			break
		}
	}
	return h, last
}

// alike is the same for violations that are likely to be the same fault.
func alike(violation string) string {
	_, what, _ := strings.Cut(violation, ": ")
	return what[:min(len(what), 24)]
}

// report says how to run a failing history alone.
func report(h history, r result) string {
	return fmt.Sprintf("seed %d: %s\nreplay: AVDB_SEED=%d go test -tags check -run '^TestHistories$' -v ./reliability/history", h.seed, r.violation, h.seed)
}

// reduced is the history that shrinking leaves, a line a step, and what comes of each.
func reduced(g *graph, dir string, h history) string {
	small, r := shrink(g, dir, h)
	return fmt.Sprintf("seed %d reduced to %d of %d steps: %s\n%s%s", h.seed, len(small.steps), len(h.steps), r.violation, small, r.trace)
}

// TestHistories runs histories by their seeds. AVDB_SEED=N runs that one, with all that comes of it.
func TestHistories(t *testing.T) {
	g := newGraph(t)
	dir := fixtures.MemoryDir(t)
	if v := os.Getenv("AVDB_SEED"); v != "" {
		seed, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("AVDB_SEED=%s: %v", v, err)
		}
		h := newHistory(seed, len(g.trees))
		r := play(g, dir, h, nil)
		t.Logf("seed %d\n%s%s", seed, h, r.trace)
		if r.violation != "" {
			t.Error(report(h, r))
			t.Log(reduced(g, dir, h))
		}
		return
	}
	first, last := cells(t)
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // many short lives: a third of the time went into collecting them
	begin := time.Now()
	broken, updates, most := run(t, g, dir, first, last)
	n := last - first + 1
	t.Logf("A14 seeded histories of %d steps: %d histories, %d updates, %d broken, at most %d requests in one update, %.1f ms a history",
		steps, n, updates, broken, most, float64(time.Since(begin).Milliseconds())/float64(n))
}

// cells are the seeds that AVDB_CELLS asks for: all, a number of them, or from one to another as in 301-400.
func cells(t *testing.T) (first, last int) {
	t.Helper()
	v := os.Getenv("AVDB_CELLS")
	switch v {
	case "":
		return 1, sample
	case "all":
		return 1, 10000
	}
	first = 1
	from, to, ok := strings.Cut(v, "-")
	if !ok {
		to = from
	}
	var err, err2 error
	if ok {
		first, err = strconv.Atoi(from)
	}
	if last, err2 = strconv.Atoi(to); err != nil || err2 != nil || last < first {
		t.Fatalf("AVDB_CELLS=%s: want all, a number or two with - between them", v)
	}
	return first, last
}

// run plays the seeds from first to last on all cores.
func run(t *testing.T, g *graph, dir string, first, last int) (failures, updates, most int) {
	var next atomic.Int64
	next.Store(int64(first) - 1)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed []history
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1); seed <= int64(last); seed = next.Add(1) {
				h := newHistory(uint64(seed), len(g.trees))
				r := play(g, dir, h, nil)
				mu.Lock()
				updates, most = updates+r.updates, max(most, r.most)
				if r.violation != "" {
					t.Error(report(h, r))
					failed = append(failed, h)
					if testing.Short() { // the first says enough
						next.Store(int64(last))
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if !testing.Short() {
		for _, h := range failed[:min(3, len(failed))] {
			t.Log(reduced(g, dir, h))
		}
	}
	return len(failed), updates, most
}

// A seed is a history: what happens in it and what comes of it is the same each time.
func TestSameSeedSameHistory(t *testing.T) {
	g := newGraph(t)
	dir := fixtures.MemoryDir(t)
	for seed := uint64(1); seed <= 10; seed++ {
		h := newHistory(seed, len(g.trees))
		if again := newHistory(seed, len(g.trees)); h.String() != again.String() {
			t.Fatalf("seed %d gives two histories:\n%s\n%s", seed, h, again)
		}
		one, two := play(g, dir, h, nil), play(g, dir, h, nil)
		if one.trace != two.trace || one.violation != two.violation {
			t.Errorf("seed %d goes two ways:\n%s\n%s", seed, strings.TrimSpace(one.trace), two.trace)
		}
	}
}
