package matcher

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.org/avdb/dbformat"
)

// suspects writes n files of which light suspects every one; the names are in the order of the walk.
func suspects(t testing.TB, n int) (paths []string, e *Engine) {
	t.Helper()
	dir := t.TempDir()
	var records []dbformat.Record
	for i := range n {
		content := fmt.Sprint("bad ", i)
		records = append(records, listed(dbformat.SHA256, content, true, fmt.Sprint("Test.", i)))
		paths = append(paths, write(t, filepath.Join(dir, fmt.Sprintf("%05d", i)), content))
	}
	return paths, light(t, Options{}, sections{"hash/sha256": records})
}

// repeat gives one path n times; between is called before each, if it is set.
func repeat(path string, n int, between func(i int)) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range n {
			if between != nil {
				between(i)
			}
			if !yield(path) {
				return
			}
		}
	}
}

// watched is a cloud that knows how it was asked; how answers for it.
type watched struct {
	how func(ctx context.Context, hits []Hit) []Settled

	mu        sync.Mutex
	sizes     []int
	hits      []Hit
	now, most int
}

func (c *watched) Settle(ctx context.Context, hits []Hit) []Settled {
	c.mu.Lock()
	c.sizes, c.hits = append(c.sizes, len(hits)), append(c.hits, hits...)
	c.now++
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.now--
		c.mu.Unlock()
	}()
	return c.how(ctx, hits)
}

func (c *watched) running() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *watched) calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sizes)
}

// byPath is clean for even files and says which file it was for odd ones.
func byPath(_ context.Context, hits []Hit) []Settled {
	var all []Settled
	for _, h := range hits {
		s := Settled{Verdict: Clean}
		if n := filepath.Base(h.Path); n[len(n)-1]%2 == 1 {
			s = Settled{Verdict: Malicious, Name: "Test." + n}
		}
		all = append(all, s)
	}
	return all
}

// Every hit is asked about once, in calls of at most 256 and never more than four at once; results have their own answers and come in the
// order of the walk, with files between them that nobody asks about.
func TestScanAsksInBatches(t *testing.T) {
	paths, e := suspects(t, 1500)
	for i := range 300 {
		paths = append(paths, write(t, paths[i*5]+"-clean", "clean"))
	}
	for _, jobs := range []int{1, 8} {
		synctest.Test(t, func(t *testing.T) {
			c := &watched{how: func(ctx context.Context, hits []Hit) []Settled {
				time.Sleep(time.Duration(hits[0].Sum[0]) * time.Millisecond)
				return byPath(ctx, hits)
			}}
			var got []Result
			err := e.Scan(t.Context(), slices.Values([]string{filepath.Dir(paths[0])}), ScanOptions{Jobs: jobs, Cloud: c}, func(r Result) { got = append(got, r) })
			if err != nil || len(got) != len(paths) {
				t.Fatalf("%d results, %v; want %d", len(got), err, len(paths))
			}
			order := slices.Sorted(slices.Values(paths))
			for i, r := range got {
				n := filepath.Base(order[i])
				want := Result{Path: order[i], Verdict: Clean, SHA256: r.SHA256, Source: SourceCloud, Size: r.Size}
				switch {
				case strings.HasSuffix(n, "clean"):
					want.Source = SourceLocal
				case n[len(n)-1]%2 == 1:
					want.Verdict, want.Name, want.Signature = Malicious, "Test."+n, "hash/sha256"
				}
				if r != want {
					t.Fatalf("result %d:\ngot  %+v\nwant %+v", i, r, want)
				}
			}
			if len(c.hits) != 1500 || slices.Max(c.sizes) > 256 || c.most > 4 || c.now != 0 {
				t.Errorf("%d hits in calls of %v, %d at once, %d left; want 1500, at most 256 and 4", len(c.hits), c.sizes, c.most, c.now)
			}
			if len(c.sizes) > 100 {
				t.Errorf("%d calls: hits were not collected", len(c.sizes))
			}
		})
	}
}

// All hits of one object are in one call, whatever the batches.
func TestHitsOfAnObjectStayTogether(t *testing.T) {
	s := sections{}
	for _, a := range dbformat.Algorithms() {
		s["hash/"+a.String()] = badBy(a, true, "A")
	}
	e := light(t, Options{}, s)
	path := write(t, filepath.Join(t.TempDir(), "bad"), "bad")
	synctest.Test(t, func(t *testing.T) {
		c := &watched{how: func(_ context.Context, hits []Hit) []Settled {
			time.Sleep(time.Second)
			for i := range hits {
				if want := dbformat.SHA256 - dbformat.Algorithm(i%3); hits[i].Algorithm != want || len(hits)%3 != 0 {
					t.Errorf("hit %d of %d is by %s, want %s", i, len(hits), hits[i].Algorithm, want)
				}
			}
			return each(len(hits), Settled{Verdict: Malicious, Name: "A"})
		}}
		n := 0
		err := e.Scan(t.Context(), repeat(path, 1000, nil), ScanOptions{Cloud: c}, func(r Result) {
			if n++; r.Verdict != Malicious {
				t.Errorf("got %+v", r)
			}
		})
		if err != nil || n != 1000 || len(c.hits) != 3000 || slices.Max(c.sizes) != 255 || c.most != 4 {
			t.Errorf("%d results, %v, %d hits in calls of %v, %d at once; want 1000, 3000, up to 255, and 4", n, err, len(c.hits), c.sizes, c.most)
		}
	})
}

// A lone hit waits 20 ms for company, and not even that when nobody can come any more.
func TestLoneHitsWaitShortly(t *testing.T) {
	paths, e := suspects(t, 1)
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var asked []time.Duration
		c := cloudFunc(func(_ context.Context, hits []Hit) []Settled {
			asked = append(asked, time.Since(begin))
			return each(len(hits), Settled{Verdict: Clean})
		})
		var came []time.Duration
		err := e.Scan(t.Context(), repeat(paths[0], 2, func(i int) { time.Sleep(time.Duration(i) * time.Second) }), ScanOptions{Cloud: c}, func(Result) {
			came = append(came, time.Since(begin))
		})
		want := []time.Duration{20 * time.Millisecond, time.Second}
		if err != nil || !slices.Equal(asked, want) || !slices.Equal(came, want) {
			t.Errorf("asked after %v, results after %v, %v; want %v", asked, came, err, want)
		}
	})
}

// Those that come meanwhile are asked about with it.
func TestHitsKeepEachOtherCompany(t *testing.T) {
	paths, e := suspects(t, 1)
	synctest.Test(t, func(t *testing.T) {
		c := &watched{how: byPath}
		err := e.Scan(t.Context(), repeat(paths[0], 30, func(int) { time.Sleep(time.Millisecond) }), ScanOptions{Cloud: c}, func(Result) {})
		if err != nil || len(c.sizes) != 2 || c.sizes[0] < 20 {
			t.Errorf("%v, calls of %v hits; want two, the first of all that came within 20 ms", err, c.sizes)
		}
	})
}

// While the cloud thinks the one worker goes on to the last file of the window.
func TestWorkersDoNotWaitForTheCloud(t *testing.T) {
	paths, e := suspects(t, 1)
	clean := write(t, filepath.Join(t.TempDir(), "clean"), "clean")
	synctest.Test(t, func(t *testing.T) {
		read := make(chan struct{})
		c := cloudFunc(func(_ context.Context, hits []Hit) []Settled {
			<-read
			return each(len(hits), Settled{Verdict: Clean})
		})
		roots := func(yield func(string) bool) {
			for i := range window - 2 {
				if !yield([]string{paths[0], clean}[i%2]) {
					return
				}
			}
			close(read) // a worker that waited would never take the last one
		}
		n := 0
		if err := e.Scan(t.Context(), roots, ScanOptions{Jobs: 1, Cloud: c}, func(Result) { n++ }); err != nil || n != window-2 {
			t.Errorf("%d results, %v", n, err)
		}
	})
}

// A scan is never more than a window ahead of the result that it waits for, be the walk endless.
func TestScanWithACloudIsBounded(t *testing.T) {
	paths, e := suspects(t, 1)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var walked atomic.Int64
		c := &watched{how: func(ctx context.Context, _ []Hit) []Settled { <-ctx.Done(); return nil }}
		time.AfterFunc(29*time.Second, func() {
			if n := walked.Load(); n > window+10 || n < window {
				t.Errorf("%d files were walked to, want %d and a few", n, window)
			}
			cancel()
		})
		n := 0
		err := e.Scan(ctx, repeat(paths[0], 1<<30, func(int) { walked.Add(1) }), ScanOptions{Jobs: 3, Cloud: c}, func(Result) { n++ })
		if !errors.Is(err, context.Canceled) || n != 0 || c.running() != 0 {
			t.Errorf("%d results, %v, %d calls left; want none and context.Canceled", n, err, c.running())
		}
	})
}

// The end of a scan ends its calls and waits for them: at once for those that heed their context, for a moment for others.
func TestEndOfAScanEndsItsCalls(t *testing.T) {
	paths, e := suspects(t, 40)
	for name, c := range map[string]struct {
		deaf  bool
		after time.Duration
	}{"heeds": {false, 5 * time.Second}, "deaf": {true, 6 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				never := make(chan struct{})
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(5*time.Second, cancel)
				cloud := &watched{how: func(ctx context.Context, _ []Hit) []Settled {
					if c.deaf {
						<-never
					}
					<-ctx.Done()
					return nil
				}}
				begin := time.Now()
				err := e.Scan(ctx, slices.Values(paths), ScanOptions{Cloud: cloud}, func(r Result) { t.Errorf("got %+v", r) })
				if took := time.Since(begin); !errors.Is(err, context.Canceled) || took != c.after || (cloud.running() > 0) != c.deaf {
					t.Errorf("%v after %s with %d calls left, want context.Canceled after %s", err, took, cloud.running(), c.after)
				}
				close(never)
			})
		})
	}
}

// The panic of the caller's function ends the calls as well.
func TestPanicOfEmitEndsCalls(t *testing.T) {
	paths, e := suspects(t, 600)
	synctest.Test(t, func(t *testing.T) {
		first := true
		c := &watched{}
		var mu sync.Mutex
		c.how = func(ctx context.Context, hits []Hit) []Settled {
			mu.Lock()
			quick := first
			first = false
			mu.Unlock()
			if !quick {
				<-ctx.Done()
			}
			return each(len(hits), Settled{Verdict: Clean})
		}
		defer func() {
			if p := recover(); p != "mine" || c.running() != 0 {
				t.Errorf("recovered %v with %d calls left", p, c.running())
			}
		}()
		e.Scan(t.Context(), slices.Values(paths), ScanOptions{Cloud: c}, func(Result) { panic("mine") })
	})
}

// A cloud that is silent costs a scan 30 seconds and no verdict: all stays suspected. It costs two more if its calls do not end: one to see that
// they are lost, one at the end. Once all calls that may be made are lost nobody waits
// any more; calls that end with their context are made anew, a window at a time.
func TestSilentCloud(t *testing.T) {
	paths, e := suspects(t, 1)
	const n = window + 600
	for name, c := range map[string]struct {
		deaf  bool
		takes time.Duration
		calls int
		whys  []string
	}{
		"deaf":  {true, 30*time.Second + 2*grace, 4, []string{"the cloud has not answered earlier calls of this scan", "the cloud has not answered within 30s"}},
		"heeds": {false, time.Minute, 8, []string{"the cloud has not answered within 30s"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				never := make(chan struct{})
				cloud := &watched{how: func(ctx context.Context, hits []Hit) []Settled {
					if c.deaf {
						<-never
					}
					<-ctx.Done()
					return each(len(hits), Settled{Verdict: Clean})
				}}
				whys := map[string]int{}
				begin := time.Now()
				err := e.Scan(t.Context(), repeat(paths[0], n, nil), ScanOptions{Jobs: 2, Cloud: cloud}, func(r Result) {
					if whys[r.Why]++; r.Verdict != Suspected {
						t.Errorf("got %+v", r)
					}
				})
				var got []string
				total := 0
				for why, n := range whys {
					if total += n; n > 1 || why != "the cloud was busy with earlier calls of this scan" { // the one after the last of four calls
						got = append(got, why)
					}
				}
				slices.Sort(got)
				if took := time.Since(begin); err != nil || total != n || took != c.takes || !slices.Equal(got, c.whys) || cloud.calls() > c.calls {
					t.Errorf("%v, %d results after %s and %d calls: %v; want %d after %s and %d calls: %v", err, total, took, cloud.calls(), whys, n, c.takes, c.calls, c.whys)
				}
				close(never)
			})
		})
	}
}

// No hit waits longer than 30 seconds in all, also when the cloud is slow and calls queue up; and what it settles in that time counts.
func TestSlowCloud(t *testing.T) {
	s := sections{}
	for _, a := range dbformat.Algorithms() {
		s["hash/"+a.String()] = badBy(a, true, "A")
	}
	e := light(t, Options{}, s)
	path := write(t, filepath.Join(t.TempDir(), "bad"), "bad")
	for name, c := range map[string]struct {
		takes   time.Duration
		settled int // of 1000 objects with three hits, for which twelve calls are needed
		calls   int
	}{
		"three rounds, of which the last ends after 36 s": {12 * time.Second, 8 * 85, 12},
		"no round ends":  {40 * time.Second, 0, 4},
		"all rounds end": {9 * time.Second, 1000, 12},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud := &watched{how: func(ctx context.Context, hits []Hit) []Settled {
					select {
					case <-time.After(c.takes):
					case <-ctx.Done():
					}
					return each(len(hits), Settled{Verdict: Malicious, Name: "A"})
				}}
				settled, open := 0, 0
				var last time.Duration
				begin := time.Now()
				err := e.Scan(t.Context(), repeat(path, 1000, nil), ScanOptions{Cloud: cloud}, func(r Result) {
					last = time.Since(begin)
					if r.Verdict == Malicious {
						settled++
					} else if open++; r.Verdict != Suspected || !strings.HasPrefix(r.Why, "the cloud ") {
						t.Errorf("got %+v", r)
					}
				})
				if err != nil || settled != c.settled || settled+open != 1000 || last > 30*time.Second+company || cloud.calls() != c.calls {
					t.Errorf("%v, %d settled and %d open in %d calls, the last after %s; want %d settled in %d calls, the rest open after 30 s",
						err, settled, open, cloud.calls(), last, c.settled, c.calls)
				}
			})
		})
	}
}
