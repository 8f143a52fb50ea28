//go:build check && linux

package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// limits are those of a cell whose mirrors answer: ample, so that a machine that stands still for seconds is not taken for a slow mirror.
func limits() updater.Limits {
	return updater.Limits{Update: 2 * time.Minute, Header: 20 * time.Second, Idle: 20 * time.Second, IdleBytes: 2000,
		RetryWait: time.Millisecond, RetryWaitMax: 5 * time.Millisecond, RetryAfter: 50 * time.Millisecond}
}

// hasty are the limits of a cell whose mirrors are waited for in vain, which costs seconds.
func hasty(l *updater.Limits) {
	l.Update, l.Header, l.Idle = 30*time.Second, 5*time.Second, 5*time.Second
}

// What the rules of retrying allow under the limits of Limits that cells leave at their defaults: a request is tried three times if no
// answer came, and after a body that broke off up to three more times; a target starts over from nothing once.
const (
	slack        = 64 << 10
	tries        = 3
	bodies       = 4
	requests     = tries * bodies
	targetBodies = 2
)

// A client is what the mirrors meet: the product, or a weakened one that shows that the oracle can fail.
type client func(c *updater.Config)

// product is the updater as it is, with its own transport.
func product(*updater.Config) {}

// A run is one update against some mirrors.
type run struct {
	w       *world
	device  *fixtures.Endpoint
	mirrors []*mirror // the bad ones
	honest  *mirror   // behind them; nil for none
	client  client
	limits  updater.Limits

	report updater.Report
	err    error
	took   time.Duration
	found  []string // violations
}

func (r *run) violation(format string, args ...any) {
	r.found = append(r.found, fmt.Sprintf(format, args...))
}

// update runs the cycle once and holds it against everything that is true of each run, whoever the mirrors are.
func (r *run) update(t *testing.T) {
	t.Helper()
	floorsBefore := floors(t, r.device)
	var urls []string
	for _, m := range r.mirrors {
		urls = append(urls, m.url)
	}
	if r.honest != nil {
		urls = append(urls, r.honest.url)
	}
	r.device.SetSources(urls...)
	c := updater.Config{Store: r.device.Store, Now: func() time.Time { return r.w.now }, Random: func() float64 { return 0.5 }, Limits: r.limits}
	r.client(&c)
	u, err := updater.New(c)
	if err != nil {
		t.Fatal(err)
	}
	// Who never comes back is fetched back, and found out by the time it took.
	ctx, cancel := context.WithTimeout(watched(t.Context()), r.limits.Update+10*time.Second)
	defer cancel()
	started := time.Now()
	r.report, r.err = u.Update(ctx, updater.Options{})
	r.took = time.Since(started)
	if r.took > r.limits.Update+5*time.Second {
		r.violation("the run took %s, its deadline is %s", r.took, r.limits.Update)
	}
	r.judgeState(t, floorsBefore)
	for _, m := range r.mirrors {
		r.judgeTraffic(m)
		if after := m.behaviour.after; after != nil {
			if s := after(m); s != "" {
				r.violation("%s", s)
			}
		}
	}
}

// judgeState demands a whole generation, the old or a new one, that report and error agree with.
func (r *run) judgeState(t *testing.T, floorsBefore map[string]uint64) {
	got, err := r.device.Installed()
	switch {
	case err != nil:
		r.violation("the generation in use: %v", err)
	case got == r.w.oldGen && r.err == nil:
		r.violation("no error, and still %s", got)
	case got == r.w.oldGen:
		if r.report.Result != updater.ResultFailed || r.report.To != got.Version {
			r.violation("%s is in use, the report says %s to %d", got, r.report.Result, r.report.To)
		}
	case got != r.w.newGen && got != r.w.otherGen:
		r.violation("in use is %s, which is neither the old nor a new generation", got)
	case r.report.Result != updater.ResultUpdated || r.report.To != got.Version:
		r.violation("%s is in use, the report says %s to %d", got, r.report.Result, r.report.To)
	}
	after, err := r.device.Floors()
	if err != nil {
		r.violation("the stored metadata: %v", err)
	}
	for role, v := range floorsBefore {
		if after[role] < v {
			r.violation("the floor of %s went back from %d to %d", role, v, after[role])
		}
	}
	if s := strays(r.device.Dir); len(s) != 0 {
		r.violation("written outside of the state folder: %q", s)
	}
}

// figures are the largest that any cell saw.
var figures struct {
	sync.Mutex
	took     time.Duration
	requests int   // for one file in one run
	beyond   int64 // bytes of one request beyond the signed length
}

// judgeTraffic holds what was taken from a mirror against the rules.
func (r *run) judgeTraffic(m *mirror) {
	allowed, total, asked := map[string]int64{}, map[string]int64{}, map[string]int{}
	m.mu.Lock()
	conns := append([]*paced(nil), m.log...)
	paths := maps.Clone(m.asked)
	m.mu.Unlock()
	for path := range paths {
		kind := kindOf(path)
		n := int64(len(m.tree.File(strings.TrimPrefix(path, "/"))))
		if kind == timestamp {
			n = signing.MaxTimestamp
		}
		allowed[kind] = max(allowed[kind], n)
	}
	if _, ok := allowed[m.file]; !ok && m.file != "" {
		allowed[m.file] = int64(len(m.tree.File(r.w.pathOf(m.file))))
	}
	for _, c := range conns {
		kind := c.kind.Load()
		if kind == nil || m.behaviour.keep {
			continue
		}
		sent := c.taken.Load()
		total[*kind] += sent
		asked[*kind]++
		if sent > allowed[*kind]+slack {
			r.violation("%s: %d bytes of one answer were taken for the %s, signed are %d", m.url, sent, *kind, allowed[*kind])
		}
		figures.Lock()
		figures.beyond = max(figures.beyond, sent-allowed[*kind])
		figures.requests = max(figures.requests, asked[*kind])
		figures.Unlock()
	}
	for kind, n := range total {
		times := int64(bodies)
		if isTarget(kind) {
			times = targetBodies
		}
		if most := times*allowed[kind] + tries*slack; n > most {
			r.violation("%s: %d bytes were taken for the %s in %d requests, allowed are %d", m.url, n, kind, asked[kind], most)
		}
		if asked[kind] > requests {
			r.violation("%s: %d requests for the %s, allowed are %d", m.url, asked[kind], kind, requests)
		}
	}
	figures.Lock()
	figures.took = max(figures.took, r.took)
	figures.Unlock()
}

// outcome is what the run came to, in the words of the table. An error that matches no kind, or two, is none of them.
func (r *run) outcome() string {
	if r.err == nil {
		return updated
	}
	matched := ""
	for kind, word := range map[error]string{signing.ErrUntrusted: untrusted, updater.ErrUnavailable: unavailable, updater.ErrCoolDown: coolDown,
		store.ErrStorage: "storage", dbformat.ErrVersion: "version", store.ErrLocked: "locked"} {
		if errors.Is(r.err, kind) {
			matched += word
		}
	}
	return matched
}

// heals demands that the next run, with an honest mirror only, ends in the new generation and leaves nothing behind.
func (r *run) heals(t *testing.T, h *mirror) {
	t.Helper()
	next := &run{w: r.w, device: r.device, honest: h, client: product, limits: limits()}
	before, err := r.device.Installed()
	if err != nil {
		return // found already
	}
	next.updateHonestly(t, before)
	for _, v := range next.found {
		r.violation("the next honest run: %s", v)
	}
}

// updateHonestly is a run with an honest mirror, which has to come to the end of the story.
func (r *run) updateHonestly(t *testing.T, before fixtures.Installed) {
	r.device.SetSources(r.honest.url)
	r.report, r.err = r.device.Update(updater.Options{})
	got, err := r.device.Installed()
	if r.err != nil || err != nil || got != r.w.newGen && got != r.w.otherGen || before == r.w.otherGen && got != before {
		r.violation("%v, in use is %s (%v)", r.err, got, err)
	}
	left, err := r.device.Leftovers()
	if err != nil || len(left) != 0 {
		r.violation("left behind are %q (%v)", left, err)
	}
}

// alone runs a cell with mirrors of one behaviour only and judges it.
func alone(t *testing.T, w *world, b *behaviour, file string, c client) *run {
	t.Helper()
	r := &run{w: w, device: w.device(t), client: c, limits: limits()}
	if b.limits != nil {
		b.limits(&r.limits)
	}
	for i := range max(1, b.mirrors) {
		r.mirrors = append(r.mirrors, hostile(t, w, b, file, i))
	}
	r.update(t)
	for i, m := range r.mirrors {
		if m.hits.Load() == 0 {
			r.violation("mirror %d was never asked for what it is bad at", i)
		}
	}
	want := b.want[indexOf(file)]
	if got := r.outcome(); got != want {
		r.violation("the run came to %q, want %s: %v", got, want, r.err)
	}
	r.heals(t, honest(t, w, w.newer))
	return r
}

// amongFive runs an update with bad mirrors and an honest one behind them: the update succeeds.
func amongFive(t *testing.T, w *world, l updater.Limits, bad ...*mirror) *run {
	t.Helper()
	l.Update *= 6
	r := &run{w: w, device: w.device(t), client: product, limits: l, mirrors: bad, honest: honest(t, w, w.newer)}
	r.update(t)
	if got, err := r.device.Installed(); r.err != nil || err != nil || got == w.oldGen {
		r.violation("with an honest mirror behind them: %v, in use is %s (%v)", r.err, got, err)
	}
	if left, err := r.device.Leftovers(); err != nil || len(left) != 0 {
		r.violation("left behind are %q (%v)", left, err)
	}
	return r
}

// isTarget tells files that are resumed from those that are fetched whole.
func isTarget(kind string) bool { return kind == light || kind == rest }

func indexOf(file string) int {
	if i := slices.Index(kinds, file); i >= 0 {
		return i
	}
	return 2 // light
}
