package reputation

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
	"example.org/avdb/store"
)

// writeDelay is how long changes gather before they are written.
const writeDelay = 2 * time.Second

// MaxPath is the greatest length of the path of an object that is deferred, in bytes.
const MaxPath = 4096

// maxPostponed bounds the suspicions that wait to be written to the queue: no more than it holds. The oldest go first.
const maxPostponed = store.MaxDeferred

// behind writes down what look-ups leave to be written, so that none of them waits for a disk.
func (c *Client) behind() {
	defer c.work.Done()
	for {
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			return
		}
		select {
		case <-time.After(writeDelay):
		case <-c.ctx.Done():
			return
		}
		if err := c.flush(false); err != nil {
			c.config.Log.Warn("KSN state cannot be written", "error", err)
		}
	}
}

// changed has the record written soon. Client.mu is held.
func (c *Client) changed() {
	c.dirty = true
	c.wakeUp()
}

func (c *Client) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// keep has an answer written to disk.
func (c *Client) keep(a *answer, value []byte) {
	if c.config.Memory == nil || len(value) > maxStored {
		return
	}
	key := c.cache.key(a.prefix)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.unwritten) >= maxUnwritten || c.unbytes+len(value) > maxUnwrittenBytes {
		return // it is cached in memory, and learnt again if that is lost
	}
	c.unbytes += len(value) - len(c.unwritten[key].Value)
	c.unwritten[key] = CacheEntry{Key: key, Value: value, Expires: a.expires()}
	c.wakeUp()
}

// forget has a damaged answer removed from disk.
func (c *Client) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.damaged) < maxUnwritten {
		c.damaged = append(c.damaged, key)
		c.wakeUp()
	}
}

// postpone has suspicions that nothing settled put into the queue.
func (c *Client) postpone(list []Deferred, queue bool) {
	if !queue || c.config.Memory == nil || len(list) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range list {
		if d.Path == "" || len(d.Path) > MaxPath {
			continue // nobody could say later what the verdict is about
		}
		if dbformat.CheckName(d.Name) != nil {
			d.Name = ""
		}
		c.deferred = append(c.deferred, d)
	}
	if over := len(c.deferred) - maxPostponed; over > 0 {
		c.deferred = slices.Clone(c.deferred[over:])
	}
	c.wakeUp()
}

// loadCache takes the answers that are on disk, in the background: a look-up that comes before them asks the network.
func (c *Client) loadCache() {
	if c.config.Memory == nil || c.cache == nil {
		close(c.loaded)
		return
	}
	begun := c.start(func() {
		defer close(c.loaded)
		n, now := 0, c.now()
		err := c.config.Memory.ReadCache(func(e CacheEntry) bool {
			if e.Expires.After(now) && c.cache.load(e) {
				n++
			}
			return n < maxLoaded && c.ctx.Err() == nil
		})
		if err != nil {
			c.config.Log.Warn("the answer cache cannot be read", "error", err)
		}
	})
	if !begun {
		close(c.loaded)
	}
}

// Warm waits until the answers that are kept on disk are in the cache, or ctx ends. A process that lives briefly calls it before it looks anything
// up; one that stays need not.
func (c *Client) Warm(ctx context.Context) {
	c.load.Do(c.loadCache)
	select {
	case <-c.loaded:
	case <-ctx.Done():
	}
}

// flush writes down all that is to be written. At the end of the client, leases that were not used are given back.
func (c *Client) flush(last bool) error {
	m := c.config.Memory
	if m == nil {
		return nil
	}
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	put, remove, deferred := slices.Collect(maps.Values(c.unwritten)), c.damaged, c.deferred
	state := c.dirty || last && len(c.state.Counters.Records) > 0
	c.unwritten, c.unbytes, c.damaged, c.deferred, c.dirty = map[string]CacheEntry{}, 0, nil, nil, false
	c.mu.Unlock()
	var errs []error
	if len(deferred) > 0 {
		if err := m.Defer(deferred); err != nil {
			errs = append(errs, err)
			c.mu.Lock()
			c.deferred = append(deferred, c.deferred...)
			c.deferred = c.deferred[max(0, len(c.deferred)-maxPostponed):]
			c.mu.Unlock()
		}
	}
	if len(put)+len(remove) > 0 {
		errs = append(errs, m.WriteCache(put, remove))
	}
	if state {
		errs = append(errs, c.writeState(m, last))
	}
	return errors.Join(errs...)
}

// writeState merges our record with what other processes wrote meanwhile.
func (c *Client) writeState(m Memory, last bool) error {
	var record, ours, merged state
	now := c.now()
	err := m.UpdateKSN(&record, func(bool) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		ours = c.state
		merged = merge(record, c.stored, ours, now)
		record = merged
		if last {
			record.Counters = record.Counters.Settle()
		}
		record = record.fit()
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.dirty = true
		return err
	}
	c.state = merge(merged, ours, c.state, now) // with what happened since
	c.stored = merged
	c.bits.Store(uint32(c.state.Bits))
	return nil
}

// tally counts a question about a kind of object, in the record of the device and in our own. Client.mu is held.
func (c *Client) tally(kind ksn.Object, count func(*ksn.Tally)) {
	for _, l := range []*ksn.Ledger{&c.state.Ledger, &c.ledger} {
		switch kind {
		case ksn.ObjectFile:
			count(&l.File)
		case ksn.ObjectURL:
			count(&l.URL)
		default:
			count(&l.Software)
		}
	}
}

// count notes that a question is sent, once for each.
func (c *Client) count(k *call, kind ksn.Object) {
	if k.asked {
		return
	}
	k.asked = true
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally(kind, func(t *ksn.Tally) { t.Asked++ })
	c.changed()
}

// suppress notes that the gate held a question back.
func (c *Client) suppress(kind ksn.Object, m miss) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally(kind, func(t *ksn.Tally) { t.Suppressed++ })
	if m.record != "" {
		by := map[string]int64{} // a new one: state.stored may hold the old
		maps.Copy(by, c.state.Ledger.SuppressedBy)
		by[m.record]++
		c.state.Ledger.SuppressedBy = by
	}
	c.changed()
}
