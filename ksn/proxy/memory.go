package proxy

import (
	"context"
	"fmt"
	"time"

	"example.org/avdb/ksn"
)

// A Memory keeps over restarts what restrictions have counted. A *store.Store is one. No answer that is known waits for it.
type Memory interface {
	// ReadKSNProxy fills v with the proxy's record, if there is one.
	ReadKSNProxy(v any) (ok bool, err error)
	// UpdateKSNProxy fills v, lets change alter it and writes it back, durably and in one transaction. change takes no time and may be called twice.
	UpdateKSNProxy(v any, change func(ok bool) error) error
}

// A record is what a Memory keeps, as JSON.
type record struct {
	Counters ksn.Counters `json:"counters"`
}

// writeDelay is how long what is counted gathers before it is written, where no lease is about to end.
const writeDelay = 2 * time.Second

// remember reads what the last process counted, and begins to write what this one does. The proxy is not in use yet.
func (g *gate) remember(m Memory) {
	if m == nil {
		return
	}
	var r record
	if _, err := m.ReadKSNProxy(&r); err != nil {
		g.p.c.Log.Warn("KSN proxy: what restrictions have counted cannot be read, and begins anew", "error", err)
		r = record{}
	}
	g.memory, g.stored, g.counters = m, r.Counters, r.Counters.Resume(g.now())
	g.p.wg.Add(1)
	go g.behind()
}

// behind writes until the proxy ends.
func (g *gate) behind() {
	defer g.p.wg.Done()
	for {
		select {
		case <-g.counted:
			select {
			case <-time.After(writeDelay):
			case <-g.hurry:
			case <-g.p.base.Done():
				return
			}
		case <-g.hurry:
		case <-g.p.base.Done():
			return
		}
		g.write(false)
	}
}

// write merges what was counted here with what others wrote meanwhile. The last one gives back what was leased and not used.
func (g *gate) write(last bool) {
	var r record
	var ours, merged ksn.Counters
	now := g.now()
	err := g.update(&r, func(bool) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		ours = g.counters
		merged = ours.Merge(g.stored, r.Counters, now)
		if r.Counters = merged; last {
			r.Counters = merged.Settle()
		}
		return nil
	})
	g.mu.Lock()
	failed := g.failing
	if g.failing = err != nil; !g.failing {
		g.counters, g.stored = g.counters.Merge(ours, merged, now), merged // with what was counted since
	}
	close(g.wrote)
	g.wrote = make(chan struct{})
	g.mu.Unlock()
	switch {
	case err != nil && !failed: // the next one is written in two seconds, and fails likewise
		g.p.c.Log.Warn("KSN proxy: what restrictions have counted cannot be written", "error", err)
	case err == nil && failed:
		g.p.c.Log.Info("KSN proxy: what restrictions have counted is written again")
	}
}

// update is that of the memory, of which a panic is an error like others.
func (g *gate) update(r *record, change func(bool) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("a panic of type %T", v)
		}
	}()
	return g.memory.UpdateKSNProxy(r, change)
}

// covered waits until a process that starts after a kill would count all that this one did: a request goes upstream only then. Leases grow long before they
// are used up, so that there is seldom anything to wait for. A memory that fails holds nothing up.
func (g *gate) covered(ctx context.Context) {
	for {
		g.mu.Lock()
		wrote, done := g.wrote, g.memory == nil || g.failing || g.counters.Covered(g.stored)
		g.mu.Unlock()
		if done {
			return
		}
		signal(g.hurry)
		select {
		case <-wrote:
		case <-ctx.Done():
			return
		}
	}
}

// signal is for a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
