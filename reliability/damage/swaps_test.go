//go:build check

package damage_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/matcher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// objects is the number of contents on which releases disagree.
const objects = 12

// maxReleases is more than are published.
const maxReleases = 100

// object is the content of the i-th one.
func object(i int) []byte { return fmt.Appendf(nil, "swapped object %d", i) }

// answer is what release k says of object i, of its content as of its SHA-256 alone: one release detects it under a name of its own, the
// next allows it, the next knows nothing of it.
func answer(k uint64, i int) (matcher.Verdict, string) {
	switch (int(k) + i) % 3 {
	case 0:
		return matcher.Malicious, fmt.Sprintf("Swap.R%d.Object%d", k, i)
	case 1:
		return matcher.Allowed, fmt.Sprintf("swap-r%d-object%d", k, i)
	}
	return matcher.Clean, ""
}

// swapSources are the sources of release k. Among them are records that no other release has, so that the same row number leads
// to another record in each.
func swapSources(k uint64) map[string]string {
	var detect, allow strings.Builder
	for i := range objects {
		s2 := sha256.Sum256(object(i))
		switch v, name := answer(k, i); v {
		case matcher.Malicious:
			fmt.Fprintf(&detect, "%x:%d:%s\n%x:*:%s:73\n", md5.Sum(object(i)), len(object(i)), name, s2, name)
		case matcher.Allowed:
			fmt.Fprintf(&allow, "%x:*:%s:73\n", s2, name)
			fmt.Fprintf(&detect, "%x:%d:Swap.Hidden.R%d\n", md5.Sum(object(i)), len(object(i)), k)
		}
	}
	for i := range 400 {
		fmt.Fprintf(&detect, "%x:*:Swap.Filler%d:73\n", sha256.Sum256(fmt.Appendf(nil, "filler %d %d", int(k)*i%977, i)), i%7)
	}
	return map[string]string{"a.hsb": detect.String(), "b.sfp": allow.String()}
}

// A watch counts what readers met. It is JSON, for readers in other processes tell theirs so.
type watch struct {
	Lookups, Failed, Mixed, Opened int64
	Quiet, Busy                    []time.Duration // a sample of how long look-ups took
	First                          string          // the first that was wrong
}

func (w *watch) add(v *watch) {
	w.Lookups, w.Failed, w.Mixed, w.Opened = w.Lookups+v.Lookups, w.Failed+v.Failed, w.Mixed+v.Mixed, w.Opened+v.Opened
	w.Quiet, w.Busy = append(w.Quiet, v.Quiet...), append(w.Busy, v.Busy...)
	if w.First == "" {
		w.First = v.First
	}
}

func (w *watch) wrong(count *int64, format string, args ...any) {
	*count++
	if w.First == "" {
		w.First = fmt.Sprintf(format, args...)
	}
}

// one looks at an object, by hash or by content, and compares with the releases up to newest and with the one in use. steps is how many changes of
// what is current have begun or come to an end for m. It gives the time that the look-up took.
func (w *watch) one(m *matcher.Matcher, rng *rand.Rand, busy bool, steps func() int64) time.Duration {
	i := rng.IntN(objects)
	sum := sha256.Sum256(object(i))
	byContent := rng.IntN(8) == 0
	step := steps()
	before, start := m.Generation().Version, time.Now()
	var r matcher.Result
	var err error
	if byContent {
		r = m.ScanReader(context.Background(), bytes.NewReader(object(i)))
		err = r.Err
	} else {
		r, err = m.Lookup(dbformat.SHA256, sum[:], int64(len(object(i))))
	}
	took, after := time.Since(start), m.Generation().Version
	w.Lookups++
	if !byContent && w.Lookups%4 == 0 {
		if busy {
			w.Busy = append(w.Busy, took)
		} else {
			w.Quiet = append(w.Quiet, took)
		}
	}
	if err != nil || r.Verdict == matcher.Failed {
		w.wrong(&w.Failed, "object %d: %+v, %v", i, r, err)
		return took
	}
	fits := func(k uint64) bool {
		v, name := answer(k, i)
		return r.Verdict == v && r.Name == name
	}
	// Generations go up and down: the same number means that it never changed only if no second change can have begun, however long this took.
	if before == after && step == steps() {
		if !fits(before) {
			w.wrong(&w.Mixed, "object %d under release %d: %+v", i, before, r)
		}
		return took
	}
	for k := uint64(1); k <= maxReleases; k++ {
		if fits(k) {
			return took
		}
	}
	w.wrong(&w.Mixed, "object %d between releases %d and %d: %+v fits none", i, before, after, r)
	return took
}

// phase is what readers and swaps agree on by a file, since some are other processes.
func phase(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "phase"))
	if err != nil {
		return ""
	}
	return string(b)
}

func setPhase(t *testing.T, dir, what string) {
	t.Helper()
	temp := filepath.Join(dir, "phase.new")
	if err := os.WriteFile(temp, []byte(what), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, filepath.Join(dir, "phase")); err != nil {
		t.Fatal(err)
	}
}

// watchProcess is a process that looks up until it is told to end. It opens the generation anew now and then, as a scan from a
// shell does each time. No other goroutine looks at what is current, and none is left opening it when a look-up begins, so that it changes once at
// most within one.
func watchProcess(dir string, seed uint64) (w watch) {
	s, err := store.Open(filepath.Join(dir, "state"), store.Options{})
	if err != nil {
		w.wrong(&w.Failed, "%v", err)
		return w
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	for {
		p := phase(dir)
		if p == "end" && w.Opened > 1 || w.First != "" {
			return w
		}
		m, err := matcher.Open(s, matcher.Options{})
		if err != nil {
			w.wrong(&w.Failed, "open: %v", err)
			return w
		}
		w.Opened++
		refresh := func() {
			if err := m.Refresh(context.Background()); err != nil {
				w.wrong(&w.Failed, "refresh: %v", err)
			}
		}
		for range 20 {
			for range 50 {
				if took := w.one(m, rng, p == "busy", func() int64 { return 0 }); took > 10*time.Millisecond { // it may have tired of waiting for an opening
					refresh()
				}
			}
			time.Sleep(time.Millisecond)
			refresh()
		}
		m.Close()
		if w.Opened == 1 {
			if err := os.WriteFile(readsFile(dir, seed), nil, 0o600); err != nil {
				w.wrong(&w.Failed, "%v", err)
			}
		}
	}
}

// readsFile is there as soon as a reading process has read for a while.
func readsFile(dir string, seed uint64) string {
	return filepath.Join(dir, fmt.Sprintf("reads-%d", seed))
}

// A swapper makes generations current, back and forth, and new releases now and then.
type swapper struct {
	t         *testing.T
	p         *fixtures.Publisher
	e         *fixtures.Endpoint
	published uint64
	back      bool // the release before the newest is current
	release   signing.Release
	newest    store.Generation
}

// next publishes a release and updates to it: the product's own cycle.
func (s *swapper) next() {
	s.t.Helper()
	s.published++
	s.p.Publish(swapSources(s.published))
	if err := s.unlocked(func() error { return s.e.Store.ReleaseHold() }); err != nil && !errors.Is(err, store.ErrNoDatabase) {
		s.t.Fatal(err)
	}
	if _, err := s.e.Update(updater.Options{}); err != nil {
		s.t.Fatal(err)
	}
	trust, err := signing.OpenTrust(s.e.Store.TrustDir())
	if err != nil {
		s.t.Fatal(err)
	}
	stored, err := trust.Stored()
	if err != nil {
		s.t.Fatal(err)
	}
	target := s.p.Target(dbformat.ReleaseTarget)
	b, err := os.ReadFile(filepath.Join(s.p.Public(), "targets", fmt.Sprintf("%s.%s", target.SHA256, dbformat.ReleaseTarget)))
	if err != nil {
		s.t.Fatal(err)
	}
	if s.release, err = stored.Release(b); err != nil {
		s.t.Fatal(err)
	}
	c, err := s.e.Store.Current()
	if err != nil || c.Version != s.published {
		s.t.Fatalf("release %d is current after %d was published, %v", c.Version, s.published, err)
	}
	s.newest = c.Generation
}

// unlocked runs f with the update lock.
func (s *swapper) unlocked(f func() error) error {
	lock, err := s.e.Store.Lock()
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return f()
}

// swap changes the current generation once.
func (s *swapper) swap(i int) {
	s.t.Helper()
	var err error
	switch {
	case i%50 >= 48 && !s.back:
		s.next()
	case !s.back:
		s.back = true
		err = s.unlocked(func() error { _, err := s.e.Store.Rollback(false); return err })
	default:
		s.back = false
		err = s.unlocked(func() error {
			if err := s.e.Store.ReleaseHold(); err != nil {
				return err
			}
			return s.e.Store.Activate(s.newest, s.release, 1)
		})
	}
	if err != nil {
		s.t.Fatalf("swap %d: %v", i, err)
	}
}

// Readers are goroutines that share a matcher, and processes.
type readers struct {
	t       *testing.T
	dir     string // the processes'
	m       *matcher.Matcher
	wg      sync.WaitGroup
	mu      sync.Mutex
	all     watch        // of those that have ended
	busy    atomic.Bool  // what is current changes
	end     atomic.Bool  // of the goroutines
	steps   atomic.Int64 // how many changes of what is current have begun or come to an end
	lookups atomic.Int64 // of the goroutines
}

const readingProcesses = 3

func (r *readers) start() {
	add := func(w *watch) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all.add(w)
	}
	for i := range 8 {
		r.wg.Go(func() {
			var w watch
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			for !r.end.Load() {
				for range 50 {
					w.one(r.m, rng, r.busy.Load(), r.steps.Load)
				}
				r.lookups.Add(50)
				time.Sleep(time.Millisecond)
			}
			add(&w)
		})
	}
	for i := range readingProcesses {
		r.wg.Go(func() {
			w, err := watcher(r.dir, i)
			if err != nil {
				r.t.Errorf("process %d: %v", i, err)
			}
			add(&w)
		})
	}
}

// wait gives readers some time, and all that they need to begin.
func (r *readers) wait() {
	r.t.Helper()
	time.Sleep(2 * time.Second)
	begun := func() bool {
		for i := range readingProcesses {
			if _, err := os.Stat(readsFile(r.dir, uint64(i))); err != nil {
				return false
			}
		}
		return r.lookups.Load() >= 2000
	}
	for deadline := time.Now().Add(2 * time.Minute); !begun(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("after two minutes some process does not read yet, or %d look-ups are all", r.lookups.Load())
		}
	}
}

func (r *readers) stop() {
	r.end.Store(true)
	setPhase(r.t, r.dir, "end")
	r.wg.Wait()
}

// TestA11ReadersDuringSwaps lets 8 goroutines and 3 processes look up while generations change.
func TestA11ReadersDuringSwaps(t *testing.T) {
	swaps := 200
	if os.Getenv("AVDB_CELLS") == "all" {
		swaps = 1000
	}
	dir := fixtures.MemoryDir(t)
	p := fixtures.NewPublisher(t, fixtures.PublisherOptions{})
	p.Publish(swapSources(1))
	s := &swapper{t: t, p: p, e: fixtures.NewEndpoint(t, filepath.Join(dir, "state"), p.Root(), nil, p.FileURL()), published: 1}
	if _, err := s.e.Update(updater.Options{}); err != nil {
		t.Fatal(err)
	}
	s.next()
	m, err := matcher.Open(s.e.Store, matcher.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	setPhase(t, dir, "quiet")

	r := &readers{t: t, dir: dir, m: m}
	r.start()
	stop := sync.OnceFunc(r.stop)
	defer stop()
	r.wait()
	r.busy.Store(true)
	setPhase(t, dir, "busy")
	start, before, swapped := time.Now(), r.lookups.Load(), 0
	// Readers who come to few turns have more swaps to read through.
	for ; swapped < swaps || r.lookups.Load()-before < int64(10*swaps) && s.published < maxReleases-1; swapped++ {
		r.steps.Add(1)
		s.swap(swapped)
		if err := m.Refresh(t.Context()); err != nil {
			t.Errorf("swap %d: %v", swapped, err)
		}
		r.steps.Add(1)
	}
	took := time.Since(start)
	stop()
	all := &r.all
	if all.Failed != 0 || all.Mixed != 0 {
		t.Errorf("%d look-ups failed, %d answers fit no generation, the first: %s", all.Failed, all.Mixed, all.First)
	}
	if len(all.Busy) < swaps || len(all.Quiet) < 100 || all.Opened < 2*readingProcesses {
		t.Errorf("%d look-ups during swaps, %d before, %d openings: too few to mean anything", len(all.Busy), len(all.Quiet), all.Opened)
	}
	quiet, during := percentile(all.Quiet), percentile(all.Busy)
	t.Logf("A11 readers during swaps: %d swaps in %s (%d of them to new releases), 8 goroutines and %d processes, %d look-ups, %d openings, %d failed, %d mixed; p99 %s quiet, %s during swaps: %.1f times",
		swapped, took.Round(time.Second), s.published-2, readingProcesses, all.Lookups, all.Opened, all.Failed, all.Mixed, quiet, during, float64(during)/float64(quiet))
}

// percentile is the 99th.
func percentile(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)*99/100]
}
