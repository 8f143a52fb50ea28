//go:build check && linux

package network

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// cells runs f for each behaviour and kind of file, as a test of its own: -run of its name replays one.
func cells(t *testing.T, kinds []string, f func(t *testing.T, b *behaviour, file string) bool) (n, good int64) {
	t.Helper()
	var ran, held atomic.Int64
	t.Run("cell", func(t *testing.T) {
		for _, b := range behaviours {
			for _, file := range kinds {
				t.Run(strings.ReplaceAll(b.name, "/", " or ")+"/"+file, func(t *testing.T) {
					t.Parallel()
					ran.Add(1)
					if f(t, b, file) {
						held.Add(1)
					}
				})
			}
		}
	})
	return ran.Load(), held.Load()
}

// show reports the violations of a cell and tells whether there were none.
func (r *run) show(t *testing.T) bool {
	t.Helper()
	for _, v := range r.found {
		t.Errorf("%s (after %s; notes %q)", v, r.took.Round(time.Millisecond), r.report.Notes)
	}
	return len(r.found) == 0
}

// Whatever a mirror does for whichever file, the device is on the old or the new release, in time and within bounds, and heals.
func TestHostileMirror(t *testing.T) {
	if len(behaviours) != 44 {
		t.Errorf("%d behaviours, the matrix has 44", len(behaviours))
	}
	w := begin(t)
	started := time.Now()
	n, good := cells(t, kinds, func(t *testing.T, b *behaviour, file string) bool { return alone(t, w, b, file, product).show(t) })
	lights, goodLights := cells(t, []string{light}, func(t *testing.T, b *behaviour, file string) bool { return alone(t, w, b, file, product).show(t) })
	figures.Lock()
	defer figures.Unlock()
	t.Logf("B hostile mirror: %d cells, %d broken, 0 leftovers; longest run %s, at most %d bytes of a request beyond what was signed, at most %d requests for a file (%s)",
		n, n-good, figures.took.Round(10*time.Millisecond), figures.beyond, figures.requests, time.Since(started).Round(time.Second))
	t.Logf("B hostile mirror, the bundle of light too: %d cells, %d broken", lights, lights-goodLights)
}

// One good mirror behind five bad ones suffices, whatever they do for whichever file.
func TestOneGoodAmongFiveBad(t *testing.T) {
	w := begin(t)
	started := time.Now()
	n, good := cells(t, kinds, func(t *testing.T, b *behaviour, file string) bool {
		l := limits()
		if b.limits != nil {
			b.limits(&l)
		}
		var bad []*mirror
		for i := range 5 {
			bad = append(bad, hostile(t, w, b, file, i))
		}
		return amongFive(t, w, l, bad...).show(t)
	})
	t.Logf("B one good among five bad: %d of %d cells updated (%s)", good, n, time.Since(started).Round(time.Second))
}

// The same for five mirrors of which each is bad in a way of its own.
func TestOneGoodAmongFiveDifferent(t *testing.T) {
	const seeds = 50
	w := begin(t)
	var good atomic.Int64
	t.Run("seed", func(t *testing.T) {
		for seed := range seeds {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				random := rand.New(rand.NewPCG(uint64(seed), 5))
				var bad []*mirror
				var what []string
				l := limits()
				for i, n := range random.Perm(len(behaviours))[:5] {
					file := []string{timestamp, database, light, rest}[random.IntN(4)]
					bad = append(bad, hostile(t, w, behaviours[n], file, i))
					if change := behaviours[n].limits; change != nil {
						change(&l)
					}
					what = append(what, behaviours[n].name+" for the "+file)
				}
				if amongFive(t, w, l, bad...).show(t) {
					good.Add(1)
				} else {
					t.Logf("the mirrors: %q", what)
				}
			})
		}
	})
	t.Logf("B one good among five different: %d of %d mixtures updated", good.Load(), seeds)
}
