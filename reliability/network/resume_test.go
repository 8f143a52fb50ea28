//go:build check && linux

package network

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
)

// cutAt breaks off every body at byte k the first time that it is asked for.
func cutAt(k int) func(*mirror, *request) {
	return func(m *mirror, r *request) {
		if r.r.Method != http.MethodGet || r.n > 1 || r.content == nil || k >= len(r.content) {
			r.honestly()
			return
		}
		r.raw(func(c *paced) {
			io.WriteString(c, r.head(0))
			c.Write(r.content[:k])
			c.drained()
		})
	}
}

// everywhere is the kind of file of behaviours that answer every request.
const everywhere = "everything"

// bytesWhenCutAt is what a run costs at such a mirror: each file once, and the first k bytes of what is not resumed once more.
func (m *mirror) bytesWhenCutAt(k int) (n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for path := range m.asked {
		content := m.tree.File(path[1:])
		n += int64(len(content))
		if content == nil {
			n += int64(len(notThere))
		} else if k < len(content) && !isTarget(kindOf(path)) {
			n += int64(k)
		}
	}
	return n
}

// sampled is the distance between the bytes that are tried: all of them on demand.
func sampled() int {
	if os.Getenv("AVDB_CELLS") == "all" {
		return 1
	}
	return 5
}

// Every body of a run broken off at byte k, for each k of a small bundle: the run goes on where it stopped, and each byte of a
// bundle crosses the network once.
func TestEveryBodyCutAtEachByte(t *testing.T) {
	w := newWorld(t, 4)
	light, rest := w.newer.File(w.bundles[0]), w.newer.File(w.bundles[1])
	most := max(len(light), len(rest))
	var good atomic.Int64
	n := 0
	t.Run("byte", func(t *testing.T) {
		for k := 0; k < most; k += sampled() {
			n++
			t.Run(fmt.Sprint(k), func(t *testing.T) {
				t.Parallel()
				m := start(t, &mirror{w: w, tree: w.newer, file: everywhere, behaviour: &behaviour{answer: cutAt(k)}})
				r := &run{w: w, device: w.blankDevice(t), client: product, limits: limits(), mirrors: []*mirror{m}}
				r.update(t)
				if r.err != nil {
					r.violation("the run came to %v", r.err)
				}
				if want := m.bytesWhenCutAt(k); r.report.Bytes != want {
					r.violation("%d bytes of bodies, want %d: nothing of a bundle twice", r.report.Bytes, want)
				}
				if left, err := r.device.Leftovers(); err != nil || len(left) != 0 {
					r.violation("left behind are %q (%v)", left, err)
				}
				if r.show(t) {
					good.Add(1)
				}
			})
		}
	})
	t.Logf("B every body cut at byte k: %d of %d runs updated (bundles of %d and %d bytes)", good.Load(), n, len(light), len(rest))
}

// goneAfter sends k bytes of the file, once, and then nothing but refusals to this run.
func goneAfter(k int) func(*mirror, *request) {
	return func(m *mirror, r *request) {
		if m.turns.Add(1) > 1 {
			r.WriteHeader(http.StatusForbidden)
			return
		}
		r.raw(func(c *paced) {
			io.WriteString(c, r.head(0))
			c.Write(r.content[:k])
			c.drained()
		})
	}
}

// A run that ends in the middle of a bundle, at byte k for each k: the next run, at another mirror, fetches what is missing and no more.
func TestTheNextRunGoesOnAtEachByte(t *testing.T) {
	w := newWorld(t, 4)
	content := w.newer.File(w.bundles[1])
	var good atomic.Int64
	n := 0
	t.Run("byte", func(t *testing.T) {
		for k := 0; k < len(content); k += sampled() {
			n++
			t.Run(fmt.Sprint(k), func(t *testing.T) {
				t.Parallel()
				m := start(t, &mirror{w: w, tree: w.newer, file: rest, behaviour: &behaviour{answer: goneAfter(k)}})
				r := &run{w: w, device: w.device(t), client: product, limits: limits(), mirrors: []*mirror{m}}
				if r.update(t); r.outcome() != unavailable {
					r.violation("the run came to %q: %v", r.outcome(), r.err)
				}
				next := start(t, &mirror{w: w, tree: w.newer, file: everywhere, behaviour: &behaviour{}})
				r.heals(t, next)
				if bytes := next.bodyOf(rest); bytes != int64(len(content)-k) {
					r.violation("the next run took %d bytes of the bundle, %d were missing", bytes, len(content)-k)
				}
				if r.show(t) {
					good.Add(1)
				}
			})
		}
	})
	t.Logf("B resumed by the next run: %d of %d runs went on where the one before had ended (a bundle of %d bytes)", good.Load(), n, len(content))
}

// bodyOf is how many bytes of files of a kind an honest mirror was asked for.
func (m *mirror) bodyOf(kind string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bodies[kind]
}
